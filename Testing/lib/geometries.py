"""Grids in any position, and one physical volume stored in another order of axes."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
from hypothesis import strategies as st

from SegExplainLib.volume import VoxelGrid


@st.composite
def grids(draw, *, shortest=3, longest=9) -> VoxelGrid:
    """A grid of a few voxels, anisotropic or not, straight or turned, flipped, away from the origin."""
    shape = tuple(draw(st.integers(shortest, longest)) for _ in range(3))
    spacing = [draw(st.integers(7, 60)) / 10 for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)
    if draw(st.booleans()):
        rotation, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 10**6))).normal(size=(3, 3)))
        affine[:3, :3] = rotation @ affine[:3, :3]
    affine[:3, 3] = [draw(st.integers(-3000, 3000)) / 10 for _ in range(3)]
    return VoxelGrid(shape, affine)


storages = st.tuples(st.sampled_from(list(permutations(range(3)))), st.tuples(*[st.booleans()] * 3))


def stored_otherwise(grid: VoxelGrid, order, flips) -> tuple[VoxelGrid, Callable[[np.ndarray], np.ndarray]]:
    """The grid of the same voxels with axes permuted and then flipped, and what does so to an array (..., k, j, i)."""
    shape = tuple(grid.shape_kji[axis] for axis in order)
    from_new, offset = np.zeros((3, 3)), np.zeros(3)
    for new, (old, is_flipped) in enumerate(zip(order, flips, strict=True)):
        from_new[old, new] = -1.0 if is_flipped else 1.0
        offset[old] = shape[new] - 1 if is_flipped else 0.0

    def stored(array: np.ndarray) -> np.ndarray:
        lead = array.ndim - 3
        moved = array.transpose(*range(lead), *(lead + axis for axis in order))
        return np.ascontiguousarray(np.flip(moved, [lead + a for a in range(3) if flips[a]]))

    return grid.mapped(shape, from_new, offset), stored


def blobs(shape, n: int, *, seed: int) -> np.ndarray:
    """int32 (k, j, i) with values 0 to n in patches of a few voxels, often in several pieces."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, n + 1, [-(-size // 2) for size in shape])
    fine = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)[tuple(slice(size) for size in shape)]
    return np.where(rng.random(shape) < 0.15, rng.integers(0, n + 1, shape), fine).astype(np.int32)
