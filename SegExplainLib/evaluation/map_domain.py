"""Where a map is judged: a mask on its grid, and a domain that both are cut to."""

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.volume import Volume, VoxelGrid


def require_mask(mask: Volume, grid: VoxelGrid) -> NDArray[np.bool_]:
    """The mask's array (k, j, i).

    Raises:
        GeometryMismatch: it does not lie on the grid of the map.
        InvalidRequest: it is not boolean.
    """
    if not mask.grid.is_same_as(grid):
        raise GeometryMismatch(
            f"The mask (shape {mask.grid.shape_kji}) and the map (shape {grid.shape_kji}) lie on different grids.",
            "Bring the mask to the map's grid by nearest neighbour.",
        )
    return _boolean(mask.array, "A mask")


def require_domain(within: NDArray | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """bool (k, j, i): ``within``, or all voxels where it is None.

    Raises:
        GeometryMismatch: its shape is not ``shape``.
        InvalidRequest: it is not boolean, or empty.
    """
    if within is None:
        return np.ones(shape, dtype=bool)
    if within.shape != shape:
        raise GeometryMismatch(f"The domain has shape {within.shape}, the map {shape}.")
    if not _boolean(within, "A domain").any():
        raise InvalidRequest("The domain has no voxel to judge the map in.", "Check that it covers the units.")
    return within


def why_one_sided(n_inside: int, n: int, *, noun: str = "voxel") -> str:
    """A sentence why ``n`` voxels, ``n_inside`` of them in a mask, tell nothing apart; empty where they do."""
    if n_inside == 0:
        return f"No {noun} of the domain lies in the mask."
    return f"Every {noun} of the domain lies in the mask." if n_inside == n else ""


def _boolean(array: NDArray, what: str) -> NDArray[np.bool_]:
    if array.dtype != np.bool_:
        raise InvalidRequest(f"{what} must be boolean; found {array.dtype}.", "Choose a label: labels == number.")
    return array
