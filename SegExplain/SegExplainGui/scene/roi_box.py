"""Which voxels of the CT lie in a markups ROI.

The voxels of a box along one row of the volume are consecutive: three pairs of faces cut three intervals out of the
row. So the first and the last voxel of each row are all there is to find, at any angle, and no voxel is visited.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SegExplainGui.scene.ct_grid import CtGrid, as_array, corners, ct_grid, moved, to_world
from SegExplainLib.contract import InvalidRequest

# Voxel centres on a face are inside; transforms round them by less than this.
FACE_MM = 1e-3


@dataclass(frozen=True)
class RoiExtent:
    """What a panel says of an ROI.

    Attributes:
        n_voxels: Voxels of the CT whose centres are in the ROI; at least 1.
        ijk_bounds: (i0, i1, j0, j1, k0, k1) the smallest block that holds them, half-open.
        volume_ml: Volume of these voxels in millilitres.
        is_axis_aligned: They are the whole block.
        is_cut: The ROI reaches beyond the CT, where there are no voxels.
    """

    n_voxels: int
    ijk_bounds: tuple[int, int, int, int, int, int]
    volume_ml: float
    is_axis_aligned: bool
    is_cut: bool


@dataclass(frozen=True, eq=False)
class RoiRows:
    """The voxels of an ROI, row by row.

    Attributes:
        grid: Of the CT.
        first_kj: (k, j) index of the first row.
        start_i: (k, j) int, first voxel of each row.
        stop_i: (k, j) int, after the last voxel; not above ``start_i`` where there is none.
        is_cut: The ROI reaches beyond the CT.
    """

    grid: CtGrid
    first_kj: tuple[int, int]
    start_i: NDArray[np.int64]
    stop_i: NDArray[np.int64]
    is_cut: bool

    @cached_property
    def n_voxels(self) -> int:
        """How many there are."""
        return int(np.maximum(self.stop_i - self.start_i, 0).sum())

    @cached_property
    def ijk_bounds(self) -> tuple[int, int, int, int, int, int]:
        """(i0, i1, j0, j1, k0, k1) the smallest block that holds them, half-open; only when there are any."""
        is_full = self.stop_i > self.start_i
        rows_k, rows_j = (np.flatnonzero(is_full.any(axis=axis)) for axis in (1, 0))
        return (
            int(self.start_i[is_full].min()),
            int(self.stop_i[is_full].max()),
            int(rows_j[0]) + self.first_kj[1],
            int(rows_j[-1]) + self.first_kj[1] + 1,
            int(rows_k[0]) + self.first_kj[0],
            int(rows_k[-1]) + self.first_kj[0] + 1,
        )

    @property
    def is_block(self) -> bool:
        """True when they are a whole block of the volume."""
        i0, i1, j0, j1, k0, k1 = self.ijk_bounds
        return self.n_voxels == (i1 - i0) * (j1 - j0) * (k1 - k0)

    def mask(self) -> NDArray[np.uint8]:
        """(k, j, i) uint8 on the CT's grid, 1 inside."""
        found = np.zeros(self.grid.shape_kji, dtype=np.uint8)
        i0, i1, *_rest = self.ijk_bounds
        (k0, j0), (n_k, n_j) = self.first_kj, self.start_i.shape
        i = np.arange(i0, i1)
        for k in range(n_k):  # plane by plane, so that nothing else is as large as the volume
            found[k0 + k, j0 : j0 + n_j, i0:i1] = (i >= self.start_i[k, :, None]) & (i < self.stop_i[k, :, None])
        return found


def roi_extent(roi_node: Any, ct_node: Any) -> RoiExtent:
    """How many voxels of the CT an ROI holds, and where; exact, for rotated ROIs too.

    Cheap enough to call while the ROI is dragged: a few milliseconds, 20 for a box around a CT of 100 million voxels.

    Raises:
        InvalidRequest: as `roi_rows`.
    """
    rows = roi_rows(roi_node, ct_node)
    volume_ml = rows.n_voxels * rows.grid.voxel_volume_ml
    return RoiExtent(rows.n_voxels, rows.ijk_bounds, volume_ml, rows.is_block, rows.is_cut)


def roi_rows(roi_node: Any, ct_node: Any) -> RoiRows:
    """The voxels whose centres lie in an ROI, faces included; at least one.

    The ROI is the box that Slicer draws: where a parent transform scales or shears, ``GetPlanesWorld`` gives another.

    Raises:
        InvalidRequest: the ROI is absent, not placed, without size, inside out, under a non-linear transform, or holds
            no voxel of the CT; or the CT as in `ct_grid`.
    """
    grid = ct_grid(ct_node)
    half_mm = _half_size(roi_node)
    to_world(roi_node)  # refuses what is not linear
    ijk_to_box = np.linalg.inv(as_array(roi_node.GetObjectToWorldMatrix())) @ grid.ijk_to_world
    reach = moved(corners(-half_mm, half_mm), np.linalg.inv(ijk_to_box))
    slack = FACE_MM / grid.spacing_ijk_mm
    start = np.clip(np.ceil(reach.min(axis=0) - slack), 0, grid.shape_ijk).astype(int).tolist()
    stop = np.clip(np.floor(reach.max(axis=0) + slack) + 1, start, grid.shape_ijk).astype(int).tolist()
    is_cut = bool(((reach < -0.5 - slack) | (reach > grid.shape_ijk - 0.5 + slack)).any())
    rows = RoiRows(grid, (start[2], start[1]), *_intervals(ijk_to_box, half_mm + FACE_MM, start, stop), is_cut)
    if not rows.n_voxels:
        raise _no_voxel(roi_node, grid)
    return rows


def _intervals(
    ijk_to_box: NDArray, half_mm: NDArray, start: list[int], stop: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(k, j) first voxel and the one after the last, of each row of the block from ``start`` to ``stop`` (i, j, k)."""
    j = np.arange(start[1], stop[1])[None, :]
    k = np.arange(start[2], stop[2])[:, None]
    low = np.full((k.size, j.size), float(start[0]))
    high = np.full((k.size, j.size), float(stop[0] - 1))
    for (per_i, per_j, per_k, offset), half in zip(ijk_to_box[:3], half_mm):
        at_i_0 = per_j * j + per_k * k + offset
        if abs(per_i) < 1e-12:  # the faces are along the row, which is inside or outside as a whole
            high[np.abs(at_i_0) > half] = -1.0
            continue
        ends = (-half - at_i_0) / per_i, (half - at_i_0) / per_i
        np.maximum(low, np.minimum(*ends), out=low)
        np.minimum(high, np.maximum(*ends), out=high)
    # Far from the box the ends are far out, too: bounded, so that they are whole numbers.
    bounds = start[0] - 1, stop[0] + 1
    return np.ceil(low).clip(*bounds).astype(np.int64), np.floor(high).clip(*bounds).astype(np.int64) + 1


def _half_size(roi_node: Any) -> NDArray[np.float64]:
    """(3,) half the ROI's edges, in its own mm."""
    if roi_node is None:
        raise InvalidRequest(_("No region of interest is chosen."), _("Place an ROI on the CT."))
    name = roi_node.GetName()
    if not roi_node.IsA("vtkMRMLMarkupsROINode"):
        raise InvalidRequest(_("{name} is not a markups ROI.").format(name=name), _("Choose a markups ROI."))
    if not roi_node.GetNumberOfControlPoints():
        raise InvalidRequest(
            _("The ROI {name} has no place yet.").format(name=name),
            _("Draw it on a slice, or fit it to a segment."),
        )
    size_mm = np.array(roi_node.GetSize())
    if not (size_mm > 0).all() or not np.isfinite(size_mm).all():
        raise InvalidRequest(
            _("The ROI {name} is empty: {size} mm.").format(name=name, size=_size_text(size_mm)),
            _("Drag its handles, or fit it to a segment."),
        )
    if roi_node.GetInsideOut():
        raise InvalidRequest(
            _("The ROI {name} is inside out: it stands for all but its box.").format(name=name),
            _("Switch Inside out off in the Markups module."),
        )
    return size_mm / 2


def _no_voxel(roi_node: Any, grid: CtGrid) -> InvalidRequest:
    size, center = [0.0] * 3, [0.0] * 3
    roi_node.GetSizeWorld(size)
    roi_node.GetCenterWorld(center)
    center_ijk = moved(np.array([center]), grid.world_to_ijk)[0]
    if ((center_ijk < -0.5) | (center_ijk > grid.shape_ijk - 0.5)).any():
        found, hint = _("lies outside the CT"), _("Move it onto the CT.")
    else:
        found = _("holds no voxel centre of the CT")
        hint = _("Make it larger than a voxel ({size} mm).").format(size=_size_text(grid.spacing_ijk_mm))
    message = _("The ROI {name} ({size} mm, centre R {r:.1f} A {a:.1f} S {s:.1f}) {found}.").format(
        name=roi_node.GetName(), size=_size_text(size), r=center[0], a=center[1], s=center[2], found=found
    )
    return InvalidRequest(message, hint)


def _size_text(size_mm: Any) -> str:
    return " x ".join(f"{edge:.4g}" for edge in size_mm)
