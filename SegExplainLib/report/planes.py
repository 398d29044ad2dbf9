"""Anatomical planes through any voxel grid, shown as radiologists do: patient's right on the left, front up, head up.

A plane is sampled in RAS at square pixels. Flipped, permuted, oblique and anisotropic grids so all give the same
picture in true proportion; where the grid is parallel to the plane, the plane goes through voxel centres and nothing is
blurred across slices.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.attribution import Attribution
from SegExplainLib.volume import VoxelGrid

# Name -> unit vectors in RAS: towards the right of the picture, towards its bottom, and the axis (R, A, S) across.
_VIEWS = {
    "axial": ((-1, 0, 0), (0, -1, 0), 2),
    "coronal": ((-1, 0, 0), (0, 0, -1), 1),
    "sagittal": ((0, -1, 0), (0, 0, -1), 0),
}
PLANES = tuple(_VIEWS)

_LETTERS = ("RL", "AP", "SI")

LONG_SIDE_PIXELS = 512
"""Of a sampled plane: about what a panel shows."""

MARGIN_SHARE = 0.03
"""Of the longest side of what must be seen, left free around it."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A picture's place in the patient.

    Attributes:
        name: One of ``PLANES``.
        first_ras: (3,) RAS in mm of the centre of the pixel at the top left.
        pixel_mm: Side of the square pixels.
        shape: Rows, columns. Row 0 is at the top, column 0 at the left.
    """

    name: str
    first_ras: NDArray[np.float64]
    pixel_mm: float
    shape: tuple[int, int]

    @property
    def across(self) -> NDArray[np.float64]:
        """(3,) RAS unit vector towards the right of the picture."""
        return np.array(_VIEWS[self.name][0], dtype=np.float64)

    @property
    def down(self) -> NDArray[np.float64]:
        """(3,) RAS unit vector towards the bottom of the picture."""
        return np.array(_VIEWS[self.name][1], dtype=np.float64)

    @property
    def letters(self) -> dict[str, str]:
        """Patient directions at the picture's ``left``, ``right``, ``top`` and ``bottom``."""
        right, bottom = _letter_of(self.across), _letter_of(self.down)
        return {"left": _letter_of(-self.across), "right": right, "top": _letter_of(-self.down), "bottom": bottom}

    @property
    def position(self) -> str:
        """Where the plane lies, as 3D Slicer writes it: ``S 112.5 mm``."""
        axis = _VIEWS[self.name][2]
        at_mm = float(self.first_ras[axis])
        return f"{_LETTERS[axis][at_mm < 0]} {abs(at_mm):.1f} mm"

    @cached_property
    def ras(self) -> NDArray[np.float64]:
        """(rows, columns, 3) RAS in mm of the pixels' centres."""
        rows, columns = np.indices(self.shape)[..., np.newaxis] * self.pixel_mm
        return self.first_ras + rows * self.down + columns * self.across


def plane_through(point_ras: NDArray, name: str, *, bounds_ras: NDArray) -> Plane:
    """The plane ``name`` through a point, as large as a box with a margin.

    Args:
        point_ras: (3,) in mm.
        name: One of ``PLANES``.
        bounds_ras: (2, 3) the box: lower and upper RAS in mm.
    """
    across, down, axis = _VIEWS[name]
    lower, upper = np.asarray(bounds_ras, dtype=np.float64)
    sides = [float(np.abs((upper - lower) @ np.abs(direction))) for direction in (across, down)]
    margin_mm = MARGIN_SHARE * max(sides)
    pixel_mm = (max(sides) + 2 * margin_mm) / LONG_SIDE_PIXELS
    columns, rows = (max(1, round((side + 2 * margin_mm) / pixel_mm)) for side in sides)
    centre = (lower + upper) / 2
    centre[axis] = point_ras[axis]
    first = centre - (np.array(across) * (columns - 1) + np.array(down) * (rows - 1)) * pixel_mm / 2
    return Plane(name, first, pixel_mm, (rows, columns))


def sampled(
    array: NDArray, grid: VoxelGrid, plane: Plane, *, is_smooth: bool, outside: float = np.nan
) -> NDArray[np.float32]:
    """float32 (rows, columns): the picture of ``array`` (k, j, i) on a plane, as displayed.

    Args:
        is_smooth: Linear between voxel centres; else the nearest voxel's value, for labels.
        outside: Value farther than half a voxel from the outermost voxel centres.
    """
    kji = np.moveaxis(grid.kji_of(plane.ras), -1, 0)
    last = np.array(grid.shape_kji).reshape(3, 1, 1) - 1
    is_inside = ((kji >= -0.5) & (kji <= last + 0.5)).all(axis=0)
    picture = ndimage.map_coordinates(array, kji, output=np.float32, order=int(is_smooth), mode="nearest")
    return np.where(is_inside, picture, np.float32(outside))


def picture_of_importances(attribution: Attribution, plane: Plane) -> NDArray[np.float32]:
    """float32 (rows, columns): each pixel has the importance of its unit, or that of the voxels around it; 0 elsewhere.

    Where the attribution has a voxel map it is drawn inside the units, linear between voxel centres.
    """
    partition = attribution.partition
    labels = sampled(partition.labels, partition.grid, plane, is_smooth=False, outside=0.0).astype(np.int64)
    if attribution.voxel_map is not None:
        voxels = sampled(attribution.voxel_map, partition.grid, plane, is_smooth=True, outside=0.0)
        return np.where(labels > 0, voxels, np.float32(0.0))
    return np.concatenate([[0.0], attribution.player_values]).astype(np.float32)[labels]


def centre_voxel_ras(grid: VoxelGrid, predicted: NDArray[np.bool_], roi: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(3,) RAS in mm of the voxel nearest to the centre of the target in the region, or of a region without it.

    A voxel of the target itself, so that each plane through it shows the target, however bent it is.
    """
    kji = np.argwhere(predicted & roi)
    if not len(kji):
        kji = np.argwhere(roi)
    ras = grid.ras_of(kji)
    return ras[np.argmin(((ras - ras.mean(axis=0)) ** 2).sum(axis=1))]


def bounds_to_show(attribution: Attribution, ct_grid: VoxelGrid, roi: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(2, 3) lower and upper RAS in mm of the box around all units and the region, within the CT."""
    partition = attribution.partition
    boxes = np.stack([_bounds_of(partition.labels > 0, partition.grid), _bounds_of(roi, ct_grid)])
    ct_lower, ct_upper = _bounds_of(None, ct_grid)
    return np.stack([np.maximum(boxes[:, 0].min(axis=0), ct_lower), np.minimum(boxes[:, 1].max(axis=0), ct_upper)])


def _bounds_of(mask: NDArray[np.bool_] | None, grid: VoxelGrid) -> NDArray[np.float64]:
    """(2, 3) lower and upper RAS in mm of the box around a mask's voxels, or around all voxels."""
    ends = []
    for axis, n_voxels in enumerate(grid.shape_kji):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.arange(n_voxels) if mask is None else np.flatnonzero(mask.any(axis=others))
        ends.append((occupied[0] - 0.5, occupied[-1] + 0.5))
    corners = grid.ras_of(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1)).reshape(-1, 3)
    return np.stack([corners.min(axis=0), corners.max(axis=0)])


def _letter_of(direction: NDArray) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return _LETTERS[axis][int(direction[axis] < 0)]
