"""Tiles become one prediction: the weighted mean of the logits of all tiles that hold a voxel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.model.memory import require_memory
from SegExplainLib.model.segmenter import NetworkInput, Segmenter
from SegExplainLib.model.tile_runner import TileRunner
from SegExplainLib.model.tiling import TileGrid
from SegExplainLib.progress import Progress

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class RegionTiles:
    """The tiles that can reach a region R, and how their logits become the fused logits of R's bounding box.

    Every voxel of R lies only in tiles of ``numbers``, so that fusion over these is complete there; a voxel of the
    box that is not in R may also lie in other tiles, and its fused logits mean nothing.

    Attributes:
        grid: All tiles of the image.
        numbers: int64 (n,), the tiles that hold a voxel of R: K(R), in the framework's order.
        mask: bool (k, j, i) of the bounding box, True on R.
        box: Where the bounding box lies in the image.
        in_tile: For each tile, the part of it that lies in the box.
        in_box: For each tile, where that part lies in the box.
        shares: For each tile, float32 weights of that part divided by the sum of the weights of all tiles.
    """

    grid: TileGrid
    numbers: NDArray[np.int64]
    mask: NDArray[np.bool_]
    box: Slices
    in_tile: tuple[Slices, ...]
    in_box: tuple[Slices, ...]
    shares: tuple[torch.Tensor, ...]

    @classmethod
    def of(cls, mask: NDArray[np.bool_], grid: TileGrid, *, device: torch.device) -> Self:
        """The tiles of ``grid`` that meet ``mask``, a bool (k, j, i) of the image with at least one voxel."""
        numbers = grid.tiles_meeting(mask)
        box = bounding_box(mask)
        in_tile, in_box, shares = [], [], []
        for number in numbers:
            tile = grid.slices(int(number))
            meeting = [slice(max(b.start, t.start), min(b.stop, t.stop)) for b, t in zip(box, tile, strict=True)]
            in_tile.append(_relative(meeting, tile))
            in_box.append(_relative(meeting, box))
            weights = grid.weights[in_tile[-1]].to(device, torch.float32)
            shares.append(weights / grid.weight_sum[tuple(meeting)].to(device))
        return cls(grid, numbers, mask[box], box, tuple(in_tile), tuple(in_box), tuple(shares))

    @property
    def n_tiles(self) -> int:
        """Tiles that meet the region."""
        return len(self.numbers)


def bounding_box(mask: NDArray[np.bool_]) -> Slices:
    """The smallest block (k, j, i) that holds every True of a mask that has one."""
    ranges = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        ranges.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return ranges[0], ranges[1], ranges[2]


def _relative(block: list[slice], origin: Slices) -> Slices:
    k, j, i = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(block, origin, strict=True))
    return k, j, i


@torch.no_grad()
def fused_logits(segmenter: Segmenter, network_input: NetworkInput, progress: Progress) -> torch.Tensor:
    """float32 (n_channels, k, j, i) on the CPU: the network's prediction of the whole input, every tile run once.

    Raises:
        OutOfMemory: the logits of the whole volume do not fit into memory.
    """
    grid = segmenter.tile_grid(network_input.grid.shape_kji)
    image = torch.from_numpy(network_input.array)
    n_bytes = 4 * segmenter.n_channels * math.prod(grid.image_shape)
    hint = "Give an organ map with --organs, or crop the CT."
    require_memory(n_bytes, torch.device("cpu"), what="The prediction of the whole CT", hint=hint)
    fused = torch.zeros((segmenter.n_channels, *grid.image_shape), dtype=torch.float32)

    def make_tiles(jobs: Sequence[int]) -> torch.Tensor:
        return torch.stack([image[:, *grid.slices(tile)] for tile in jobs]).to(segmenter.device)

    def take(tile: int, logits: torch.Tensor) -> None:
        fused[:, *grid.slices(tile)] += logits.float().cpu() * grid.weights

    runner = TileRunner(segmenter, grid.tile_shape, warn=progress.warn)
    runner.on_batch = lambda: progress.step(runner.n_tiles, grid.n_tiles, tiles=runner.n_tiles)
    runner.run(grid.n_tiles, make_tiles, take)
    return fused.div_(grid.weight_sum)
