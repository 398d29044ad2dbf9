"""Small real things for tests: a segmenter with a real network, grids in odd positions, partitions of blocks."""

import threading
from contextlib import nullcontext

import numpy as np
import torch

from SegExplainLib.model.segmenter import NetworkInput, SegmentClass, TilePass
from SegExplainLib.model.tiling import TileGrid, tile_starts
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.volume import Volume, VoxelGrid


def oblique_grid(shape_kji=(12, 14, 16), *, spacing_ijk_mm=(2.0, 3.0, 4.0), flip=True) -> VoxelGrid:
    """A grid turned about two axes, with one axis flipped, away from the origin."""
    a, b = np.deg2rad(20.0), np.deg2rad(-35.0)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(spacing_ijk_mm) @ np.diag([-1.0 if flip else 1.0, 1.0, 1.0])
    affine[:3, 3] = [31.0, -12.5, 107.0]
    return VoxelGrid(shape_kji, affine)


class TinySegmenter:
    """A random convolutional network with instance norm on small tiles, whose input is the CT in units of 100 HU.

    As in the real ones every voxel of a tile touches every logit of it. Tiles are placed at uneven distances.

    Attributes:
        n_tiles_run: Tiles that the network has labelled.
    """

    name = "tiny"

    def __init__(self, *, n_channels=3, tile_shape=(8, 8, 8), is_exclusive=True, seed=0, out_of_memory_above=None):
        self.n_channels = n_channels
        self.tile_shape = tile_shape
        self.is_exclusive = is_exclusive
        self.device = torch.device("cpu")
        first = 1 if is_exclusive else 0
        self.classes = tuple(SegmentClass(f"organ {c}", c, c) for c in range(first, n_channels))
        self.n_tiles_run = 0
        self._lock = threading.Lock()
        self._out_of_memory_above = out_of_memory_above
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = torch.nn.Sequential(
                torch.nn.Conv3d(1, 6, 3, padding=1),
                torch.nn.InstanceNorm3d(6, affine=True),
                torch.nn.LeakyReLU(),
                torch.nn.Conv3d(6, n_channels, 3, padding=1),
            ).eval()
            with torch.no_grad():  # wider margins between the classes
                self.network[-1].weight *= 4
                self.network[-1].bias *= 4
        self.passes = (TilePass(self.network),)

    def prepared(self, ct: Volume) -> NetworkInput:
        return NetworkInput((ct.array / 100.0).astype(np.float32)[None], ct.grid)

    def tile_grid(self, image_shape) -> TileGrid:
        starts = [
            sorted({0, *range(0, n - t, max(1, t // 2 + 1)), n - t}) for n, t in zip(image_shape, self.tile_shape)
        ]
        axes = [torch.exp(-((torch.arange(t) - t // 2) ** 2) / (2 * (t / 8) ** 2)) + 1e-3 for t in self.tile_shape]
        weights = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
        return TileGrid(tuple(image_shape), self.tile_shape, tile_starts(starts), weights.float())

    @torch.no_grad()
    def tile_logits(self, tiles: torch.Tensor) -> torch.Tensor:
        if self._out_of_memory_above is not None and len(tiles) > self._out_of_memory_above:
            raise RuntimeError("CUDA out of memory (as told by a device that is too small)")
        with self._lock:  # several tiles run side by side on a CPU
            self.n_tiles_run += len(tiles)
        return self.network(tiles)

    def precision(self):
        return nullcontext()

    def input_value(self, hu: float, prepared: NetworkInput) -> np.ndarray:
        return np.array([hu / 100.0], dtype=np.float32)

    def mean_value(self, prepared: NetworkInput) -> np.ndarray:
        return np.zeros(1, dtype=np.float32)

    def native_labels(self, logits: torch.Tensor, prepared: NetworkInput) -> Volume:
        return Volume(logits.argmax(0).numpy().astype(np.uint8), prepared.grid)


def noise_ct(shape_kji=(12, 14, 16), *, seed=0, grid: VoxelGrid | None = None) -> Volume:
    """A CT of smooth noise between about -300 and 300 HU."""
    rng = np.random.default_rng(seed)
    grid = grid or oblique_grid(shape_kji)
    coarse = rng.normal(size=grid.shape_kji).astype(np.float32)
    return Volume(150.0 * coarse, grid)


def block_partition(grid: VoxelGrid, *, edge_voxels=5, context_share=0.1, seed=0) -> PlayerPartition:
    """Cubes of voxels as players, with some voxels left as context."""
    rng = np.random.default_rng(seed)
    n = [-(-size // edge_voxels) for size in grid.shape_kji]
    k, j, i = np.indices(grid.shape_kji) // edge_voxels
    labels = (k * n[1] + j) * n[2] + i + 1
    labels[rng.random(grid.shape_kji) < context_share] = 0
    return PlayerPartition(labels.astype(np.int32), grid, tuple(f"block {p}" for p in range(np.prod(n))), "fcc")
