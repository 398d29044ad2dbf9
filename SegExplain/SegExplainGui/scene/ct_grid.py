"""Where the voxels of the CT lie: in the volume's own RAS, which the worker sees, and in the scene's world."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk import vtkMatrix4x4
from vtk.util.numpy_support import vtk_to_numpy

from SegExplainLib.contract import InvalidRequest


@dataclass(frozen=True, eq=False)
class CtGrid:
    """The voxels of a CT in the scene.

    Attributes:
        shape_kji: Number of voxels along k, j, i.
        ijk_to_ras: (4, 4) index (i, j, k, 1) of a voxel's centre -> the volume's own RAS in mm; any invertible affine.
        ijk_to_world: The same -> RAS in mm with the volume's parent transforms applied.
    """

    shape_kji: tuple[int, int, int]
    ijk_to_ras: NDArray[np.float64]
    ijk_to_world: NDArray[np.float64]

    @property
    def shape_ijk(self) -> NDArray[np.int64]:
        """(3,) number of voxels along i, j, k."""
        return np.array(self.shape_kji[::-1])

    @cached_property
    def spacing_ijk_mm(self) -> NDArray[np.float64]:
        """(3,) distance in mm between neighbours along i, j, k."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    @cached_property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    @cached_property
    def world_to_ijk(self) -> NDArray[np.float64]:
        """(4, 4) RAS in mm in the world -> fractional index (i, j, k, 1)."""
        return np.linalg.inv(self.ijk_to_world).astype(np.float64)


def ct_grid(ct_node: Any) -> CtGrid:
    """The grid of a scalar volume.

    Raises:
        InvalidRequest: there is no volume or it is no CT (label map, colour, vectors, a single slice, no voxels), its
            geometry is degenerate, or it is under a non-linear transform.
    """
    _require_ct(ct_node)
    image, matrix = ct_node.GetImageData(), vtkMatrix4x4()
    ct_node.GetIJKToRASMatrix(matrix)
    # An image cut by VTK may begin at another index than 0; in a file it begins at 0.
    first = np.eye(4)
    first[:3, 3] = image.GetExtent()[::2]
    ijk_to_ras = as_array(matrix) @ first
    if not np.isfinite(ijk_to_ras).all() or abs(np.linalg.det(ijk_to_ras[:3, :3])) < 1e-9:
        raise InvalidRequest(
            _("The volume {name} has no valid spacing or axes.").format(name=ct_node.GetName()),
            _("Correct its geometry in the Volumes module, or load it again."),
        )
    return CtGrid(image.GetDimensions()[::-1], ijk_to_ras, to_world(ct_node) @ ijk_to_ras)


def ct_voxels(ct_node: Any) -> NDArray:
    """(k, j, i) the volume's own memory, not a copy; only after `ct_grid` has accepted the node."""
    image = ct_node.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def to_world(node: Any) -> NDArray[np.float64]:
    """(4, 4) a node's own RAS -> the world's, both in mm.

    Raises:
        InvalidRequest: one of the transforms above the node is not linear.
    """
    parent, matrix = node.GetParentTransformNode(), vtkMatrix4x4()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear() or not parent.GetMatrixTransformToWorld(matrix):
        raise InvalidRequest(
            _("{name} is under the transform {transform}, which is not linear.").format(
                name=node.GetName(), transform=parent.GetName()
            ),
            _(
                "Harden the transform on it in the Data module and try again. This holds for an acquisition transform, "
                "which a CT with uneven slices has, too: the network sees a regular grid of voxels."
            ),
        )
    return as_array(matrix)


def as_array(matrix: vtkMatrix4x4) -> NDArray[np.float64]:
    """(4, 4) copy."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def as_matrix(array: NDArray) -> vtkMatrix4x4:
    """vtkMatrix4x4 with the elements of a (4, 4) array."""
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=float).ravel().tolist())
    return matrix


def moved(points: NDArray, affine: NDArray) -> NDArray[np.float64]:
    """(n, 3) points through a (4, 4) affine."""
    return points @ affine[:3, :3].T + affine[:3, 3]


def corners(low: NDArray, high: NDArray) -> NDArray[np.float64]:
    """(8, 3) corners of the box from ``low`` to ``high``."""
    return np.array(np.meshgrid(*zip(low, high), indexing="ij"), dtype=float).reshape(3, -1).T


def _require_ct(node: Any) -> None:
    """Says what a node is when it is no CT."""
    if node is None:
        raise InvalidRequest(_("No CT is chosen."), _("Load a CT and choose it."))
    image, found = node.GetImageData() if node.IsA("vtkMRMLVolumeNode") else None, ""
    scalars = image.GetPointData().GetScalars() if image else None
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        found = _("is not a scalar volume")
    elif node.IsA("vtkMRMLLabelMapVolumeNode"):
        found = _("is a label map")
    elif scalars is None or not scalars.GetNumberOfTuples():
        found = _("holds no image")
    elif scalars.GetNumberOfComponents() != 1:
        found = _("has {count} values at each voxel").format(count=scalars.GetNumberOfComponents())
    elif image is not None and min(image.GetDimensions()) < 2:
        found = _("has {size} voxels").format(size=" x ".join(map(str, image.GetDimensions())))
    if found:
        raise InvalidRequest(
            _("{name} {found}; expected a CT with one value at each voxel and several slices.").format(
                name=node.GetName(), found=found
            ),
            _("Choose the CT itself."),
        )
