"""Which voxel belongs to which unit: the worker's label file, on the CT's grid, cut to where units are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk import vtkImageData, vtkMatrix4x4
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk, vtk_to_numpy

from SegExplainGui.scene.ct_grid import CtGrid, as_array, as_matrix, moved, to_world
from SegExplainLib.contract import GeometryMismatch, InvalidRequest

MOST_UNITS = 65535


@dataclass(frozen=True, eq=False)
class UnitLabels:
    """A box of voxels with the units in it.

    Attributes:
        labels: uint16 (k, j, i): player number + 1, 0 where no unit is.
        ijk_to_ras: (4, 4) index (i, j, k, 1) in the box -> the CT's own RAS in mm.
    """

    labels: NDArray[np.uint16]
    ijk_to_ras: NDArray[np.float64]


def read_unit_labels(path: Path, grid: CtGrid) -> UnitLabels:
    """The units of a label file, cut to their bounding box.

    Args:
        path: units.nrrd or players.seg.nrrd.
        grid: The CT's.

    Raises:
        InvalidRequest: the file is missing, cannot be read, or holds no unit.
        GeometryMismatch: it does not lie on the CT's voxels.
    """
    labels = read_on_grid(path, grid, slicer.vtkMRMLLabelMapVolumeNode())
    box = box_of(labels)
    if box is None or labels.max() > MOST_UNITS:
        raise InvalidRequest(
            _("{path} holds {found}.").format(path=path, found=_("no unit") if box is None else labels.max()),
            _("Expected label values from 1 to {most}. Run the explanation again.").format(most=MOST_UNITS),
        )
    return UnitLabels(np.ascontiguousarray(labels[box], dtype=np.uint16), shifted(grid.ijk_to_ras, box))


def read_on_grid(path: Path, grid: CtGrid, node: Any) -> NDArray:
    """(k, j, i) the voxels of a file that the worker wrote on the CT's grid; as `read_part`, and nothing is missing."""
    voxels, _part = read_part(path, grid, node)
    if voxels.shape != tuple(grid.shape_kji):
        raise _other_grid(path)
    return voxels


def read_part(path: Path, grid: CtGrid, node: Any) -> tuple[NDArray, tuple[slice, slice, slice]]:
    """The voxels (k, j, i) of a file that the worker wrote on a box of the CT's grid, or all of it; and that box.

    Args:
        path: An NRRD file.
        grid: The CT's.
        node: vtkMRMLScalarVolumeNode or vtkMRMLLabelMapVolumeNode in no scene, to read with.

    Raises:
        InvalidRequest: the file is missing or cannot be read.
        GeometryMismatch: it does not lie on the CT's voxels.
    """
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(path))
    image = node.GetImageData() if path.is_file() and storage.ReadData(node) else None
    if image is None:
        raise InvalidRequest(_("{path} cannot be read as an image.").format(path=path), _("Run the explanation again."))
    voxels = voxels_of(node)
    return voxels, _box_on(grid, voxels.shape, axes_of(node), path)


def voxels_of(node: Any) -> NDArray:
    """(k, j, i) a volume's own memory, not a copy."""
    image = node.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def axes_of(node: Any) -> NDArray[np.float64]:
    """(4, 4) index (i, j, k, 1) -> the volume's own RAS in mm."""
    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return as_array(matrix)


def present_labels(labels: NDArray) -> NDArray[np.int64]:
    """(n,) the label values that have a voxel, ascending, without 0."""
    is_present = np.zeros(1 + int(labels.max(initial=0)), dtype=bool)
    is_present[labels.ravel()] = True
    return np.flatnonzero(is_present[1:]) + 1


def set_voxels(node: Any, array: NDArray, ijk_to_ras: NDArray) -> None:
    """Gives a volume a copy of ``array`` (k, j, i) and its place; ``ijk_to_ras`` (4, 4) may be any affine."""
    image = vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True, array_type=get_vtk_array_type(array.dtype)))
    was_modifying = node.StartModify()
    node.SetIJKToRASMatrix(as_matrix(ijk_to_ras))
    node.SetAndObserveImageData(image)
    node.EndModify(was_modifying)


def centre_of_unit(labels_volume: Any, unit_id: int) -> NDArray[np.float64]:
    """(3,) the world's RAS in mm of the unit's voxel that is nearest to its centroid.

    Raises:
        InvalidRequest: the unit is so small that no voxel of the CT belongs to it.
    """
    ijk_to_world = to_world(labels_volume) @ axes_of(labels_volume)
    ijk = inner_voxel(voxels_of(labels_volume), unit_id, ijk_to_world[:3, :3])
    if ijk is None:
        raise InvalidRequest(
            _("The unit {number} is so small that no voxel of the CT belongs to it.").format(number=unit_id),
            _("It cannot be shown; its importance is in the table."),
        )
    return moved(ijk[np.newaxis], ijk_to_world)[0]


def inner_voxel(labels: NDArray, unit_id: int, axes_mm: NDArray) -> NDArray[np.int64] | None:
    """(3,) index (i, j, k) of the unit's voxel that is nearest to its centroid; None when it has no voxel.

    The centroid itself may lie outside: that of a bowed organ, or of one that wraps another.

    Args:
        labels: (k, j, i).
        unit_id: Label value.
        axes_mm: (3, 3) index (i, j, k) -> mm, up to an offset.
    """
    found = np.flatnonzero(labels == unit_id)
    if not found.size:
        return None
    ijk = np.stack(np.unravel_index(found, labels.shape)[::-1], axis=1)
    distances = np.linalg.norm((ijk - ijk.mean(axis=0)) @ axes_mm.T, axis=1)
    return ijk[distances.argmin()]


def box_of(voxels: NDArray) -> tuple[slice, slice, slice] | None:
    """Where voxels (k, j, i) are not zero; None when all are."""
    along_k = np.asarray(voxels.any(axis=0))
    found = [
        np.flatnonzero(plane)
        for plane in (voxels.reshape(len(voxels), -1).any(axis=1), along_k.any(axis=1), along_k.any(axis=0))
    ]
    if not found[0].size:
        return None
    k, j, i = (slice(int(places[0]), int(places[-1]) + 1) for places in found)
    return k, j, i


def shifted(ijk_to_ras: NDArray, box: tuple[slice, ...]) -> NDArray[np.float64]:
    """(4, 4) index (i, j, k, 1) in a box (k, j, i) of a grid -> RAS in mm."""
    moved = np.array(ijk_to_ras, dtype=np.float64)
    moved[:3, 3] += moved[:3, :3] @ [part.start for part in reversed(box)]
    return moved


def _box_on(grid: CtGrid, shape_kji: tuple[int, ...], ijk_to_ras: NDArray, path: Path) -> tuple[slice, slice, slice]:
    """Which voxels of the CT's are those of a file."""
    first_ijk = np.rint(np.linalg.solve(grid.ijk_to_ras, ijk_to_ras[:, 3])[:3]).astype(int)
    k, j, i = (slice(int(start), int(start) + n) for start, n in zip(first_ijk[::-1], shape_kji))
    ends = np.array([[0, 0, 0, 1], [*(n - 1 for n in shape_kji[::-1]), 1]], dtype=float).T
    apart_mm = np.abs((ijk_to_ras - shifted(grid.ijk_to_ras, (k, j, i))) @ ends)[:3].max()
    is_inside = all(side.start >= 0 and side.stop <= n for side, n in zip((k, j, i), grid.shape_kji))
    # A hundredth of a voxel: single precision in a header is far below, another grid far above.
    if not is_inside or apart_mm > 0.01 * grid.spacing_ijk_mm.min():
        raise _other_grid(path)
    return k, j, i


def _other_grid(path: Path) -> GeometryMismatch:
    return GeometryMismatch(
        _("{path} does not lie on the voxels of the CT.").format(path=path),
        _("The CT has changed since the explanation began, or another one is chosen. Choose the CT explained."),
    )
