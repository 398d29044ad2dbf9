"""Maps, masks and grids to judge, and the same seen by other axes."""

import numpy as np
from builders import oblique_grid

from SegExplainLib.volume import Volume, VoxelGrid

SHAPE = (5, 6, 7)


def random_case(seed=0, *, shape=SHAPE, levels=None):
    """(signed map, mask, domain) of noise; with ``levels`` the map has few distinct values."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape) if levels is None else rng.integers(-levels, levels + 1, shape).astype(float)
    grid = oblique_grid(shape)
    return Volume(values.astype(np.float32), grid), Volume(rng.random(shape) < 0.3, grid), rng.random(shape) < 0.8


def box_grid(shape, spacing_kji_mm):
    return VoxelGrid(shape, np.diag([*spacing_kji_mm[::-1], 1.0]))


def on(grid, array):
    return Volume(np.asarray(array), grid)


VIEWS = {
    "k flipped": lambda array: array[::-1],
    "j and i flipped": lambda array: array[:, ::-1, ::-1],
    "(i, k, j)": lambda array: np.transpose(array, (2, 0, 1)),
}


def viewed(volume: Volume, name: str) -> Volume:
    """The same voxels in the same places, with axes flipped or permuted."""
    n = volume.array.shape
    matrix, offset = {
        "k flipped": (np.diag([-1.0, 1, 1]), [n[0] - 1, 0, 0]),
        "j and i flipped": (np.diag([1.0, -1, -1]), [0, n[1] - 1, n[2] - 1]),
        "(i, k, j)": (np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]), [0, 0, 0]),
    }[name]
    array = VIEWS[name](volume.array)
    return Volume(array, volume.grid.mapped(array.shape, matrix, np.array(offset)))
