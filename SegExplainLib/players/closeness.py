"""How close players are to the region that is explained: what one believes of their influence before asking."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects

from SegExplainLib.volume import VoxelGrid

FALLS_OVER_MM = 15.0
"""Distance to the region at which a voxel counts 1 / e."""

FAR_MM = 150.0
"""Beyond this a voxel counts nothing: e^-10."""


def closeness(labels: NDArray, roi: NDArray[np.bool_], grid: VoxelGrid, *, n_players: int) -> NDArray[np.float64]:
    """(n_players,) in [0, 1], 1 for the closest: the sum over a player's voxels of exp(-distance / 15 mm).

    Networks look mostly near by: large units in and around the region matter more often than small or distant ones. It
    is a belief for estimators that learn; nothing rests on its being true. Our own.

    Args:
        labels: int (k, j, i), player p has label p + 1.
        roi: bool (k, j, i), True on the region; without one all players are alike.
        grid: Of both.
        n_players: Of the game.
    """
    if not roi.any():
        return np.ones(n_players)
    margin = np.ceil(FAR_MM / grid.spacing_kji_mm).astype(int)
    (box,) = find_objects(roi.astype(np.int8))
    near = tuple(slice(max(0, part.start - more), part.stop + more) for part, more in zip(box, margin, strict=True))
    distance_mm = distance_transform_edt(~roi[near], sampling=tuple(grid.spacing_kji_mm))
    shares = np.bincount(
        labels[near].ravel(), weights=np.exp(-distance_mm / FALLS_OVER_MM).ravel(), minlength=n_players + 1
    )[1 : n_players + 1]
    return shares / shares.max() if shares.any() else np.ones(n_players)
