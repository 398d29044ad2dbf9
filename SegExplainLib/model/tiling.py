"""Where the tiles of a sliding window lie and how much each voxel of a tile weighs: nnU-Net's way and MONAI's."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest


@dataclass(frozen=True, eq=False)
class TileGrid:
    """All tiles of one image, in the order in which the framework visits them.

    Attributes:
        image_shape: (k, j, i) of the network's input, at least one tile along each axis.
        tile_shape: (k, j, i) of a tile.
        starts: int64 (n_tiles, 3), first voxel (k, j, i) of each tile.
        weights: float32 (k, j, i) of a tile, the fusion weight of each of its voxels, all positive.
    """

    image_shape: tuple[int, int, int]
    tile_shape: tuple[int, int, int]
    starts: NDArray[np.int64]
    weights: torch.Tensor

    def __post_init__(self) -> None:
        if any(n < t for n, t in zip(self.image_shape, self.tile_shape, strict=True)):
            raise InvalidRequest(
                f"The image {self.image_shape} is smaller than a tile {self.tile_shape}: pad it first."
            )
        if tuple(self.weights.shape) != self.tile_shape or not bool((self.weights > 0).all()):
            raise InvalidRequest("Fusion weights must be positive, one for each voxel of a tile.")

    @property
    def n_tiles(self) -> int:
        """Tiles of the whole image."""
        return len(self.starts)

    def slices(self, tile: int) -> tuple[slice, slice, slice]:
        """Where tile number ``tile`` lies in the image."""
        k, j, i = (slice(int(s), int(s) + n) for s, n in zip(self.starts[tile], self.tile_shape, strict=True))
        return k, j, i

    def tiles_meeting(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Numbers of the tiles that hold at least one voxel of ``mask`` (k, j, i): K(R) of a region R."""
        return np.array([t for t in range(self.n_tiles) if mask[self.slices(t)].any()], dtype=np.int64)

    def union_of(self, tiles: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool (k, j, i) of the image: voxels that lie in at least one of ``tiles``."""
        union = np.zeros(self.image_shape, dtype=bool)
        for tile in tiles:
            union[self.slices(int(tile))] = True
        return union

    @cached_property
    def weight_sum(self) -> torch.Tensor:
        """float32 (k, j, i) of the image: the sum of the fusion weights of all tiles at each voxel."""
        total = torch.zeros(self.image_shape, dtype=torch.float64)
        for tile in range(self.n_tiles):
            total[self.slices(tile)] += self.weights.to("cpu", torch.float64)
        return total.float()


def tile_starts(axis_starts: list[list[int]]) -> NDArray[np.int64]:
    """int64 (n_tiles, 3) from the starts along each axis, the last axis running fastest."""
    return np.array(list(product(*axis_starts)), dtype=np.int64).reshape(-1, 3)


def as_shape(lengths: Iterable[int]) -> tuple[int, int, int]:
    """Three lengths (k, j, i) of whatever type a framework has them in, as plain integers."""
    k, j, i = lengths
    return int(k), int(j), int(i)
