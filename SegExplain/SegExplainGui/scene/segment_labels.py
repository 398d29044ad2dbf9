"""Segments as one label map on the CT's grid. Nothing is added to the scene, and no node in it changes.

Each shared label map (layer) is sampled once, however many segments it holds. A segment that exists as a surface only
is filled on the CT's grid. Any linear transform between the two is right, shear too, which Slicer's own resampling of
label maps cannot hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer import vtkOrientedImageDataResample
from slicer.i18n import tr as _
from vtk import (
    vtkAlgorithm,
    vtkImageData,
    vtkImageReslice,
    vtkImageStencilToImage,
    vtkMatrix3x3,
    vtkMatrix4x4,
    vtkPolyDataToImageStencil,
    vtkTransform,
    vtkTransformPolyDataFilter,
)
from vtk.util.numpy_support import vtk_to_numpy

from SegExplainGui.scene.ct_grid import CtGrid, as_array, as_matrix, corners, moved, to_world
from SegExplainLib.contract import InvalidRequest

LABELMAP = "Binary labelmap"
SURFACE = "Closed surface"


@dataclass(frozen=True, eq=False)
class SegmentLabels:
    """Segments on the CT's grid.

    Attributes:
        labels: (k, j, i) uint8 or uint16, number of the segment at each voxel, from 1 in the order asked for; 0 none.
        overlapping: Numbers of segments that share voxels with another.
        has_content: Some segment has voxels or a surface, be it on the CT or elsewhere.
    """

    labels: NDArray
    overlapping: frozenset[int]
    has_content: bool


def segment_labels(segmentation_node: Any, segment_ids: Sequence[str], grid: CtGrid) -> SegmentLabels:
    """The segments by nearest neighbour at the CT's voxel centres; of two that overlap the later one has the voxel.

    Raises:
        InvalidRequest: a segment has neither a binary label map nor a closed surface, or the segmentation is under a
            non-linear transform.
    """
    to_ct = grid.world_to_ijk @ to_world(segmentation_node)
    labels = np.zeros(grid.shape_kji, dtype=np.uint8 if len(segment_ids) < 2**8 else np.uint16)
    overlapping: set[int] = set()
    has_content = False
    for part in _parts(segmentation_node.GetSegmentation(), segment_ids):
        extent = part.extent_on(grid, to_ct)
        has_content |= extent is not None
        if extent is not None and (extent[1::2] >= extent[::2]).all():
            _merge(labels, extent, part.sampled(extent, to_ct), part.number_of, overlapping)
    return SegmentLabels(labels, frozenset(overlapping), has_content)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A label map that one or several segments share; ``number_of`` takes its values to the segments' numbers."""

    image: Any
    number_of: NDArray

    def extent_on(self, grid: CtGrid, to_ct: NDArray) -> NDArray[np.int64] | None:
        filled = [0, -1, 0, -1, 0, -1]
        # Many a label map is as large as the CT and holds one small organ.
        if self.image.GetPointData().GetScalars() is None or not vtkOrientedImageDataResample.CalculateEffectiveExtent(
            self.image, filled
        ):
            return None
        extent = np.array(filled)
        return _extent(corners(extent[::2] - 0.5, extent[1::2] + 0.5), to_ct @ self._to_ras(), grid)

    def sampled(self, extent: NDArray, to_ct: NDArray) -> NDArray:
        plain = vtkImageData()
        plain.ShallowCopy(self.image)
        plain.SetSpacing(1, 1, 1)
        plain.SetOrigin(0, 0, 0)
        plain.SetDirectionMatrix(vtkMatrix3x3())
        reslice = vtkImageReslice()
        reslice.SetInputData(plain)
        reslice.SetResliceAxes(as_matrix(np.linalg.inv(to_ct @ self._to_ras())))
        reslice.SetInterpolationModeToNearestNeighbor()
        reslice.SetOutputSpacing(1, 1, 1)
        reslice.SetOutputOrigin(0, 0, 0)
        reslice.SetOutputExtent(extent.tolist())
        reslice.Update()
        return _array(reslice.GetOutput())

    def _to_ras(self) -> NDArray[np.float64]:
        matrix = vtkMatrix4x4()
        self.image.GetImageToWorldMatrix(matrix)  # "world" is the segmentation's own RAS here
        return as_array(matrix)


@dataclass(frozen=True, eq=False)
class _Surface:
    """A closed surface; filled with 1."""

    mesh: Any
    number_of: NDArray

    def extent_on(self, grid: CtGrid, to_ct: NDArray) -> NDArray[np.int64] | None:
        if not self.mesh.GetNumberOfCells():
            return None
        bounds = np.array(self.mesh.GetBounds())
        return _extent(corners(bounds[::2], bounds[1::2]), to_ct, grid)

    def sampled(self, extent: NDArray, to_ct: NDArray) -> NDArray:
        plain, transform = self.mesh.NewInstance(), vtkTransform()
        plain.ShallowCopy(self.mesh)
        transform.SetMatrix(as_matrix(to_ct))
        on_ct = vtkTransformPolyDataFilter()
        on_ct.SetInputData(plain)
        on_ct.SetTransform(transform)
        on_ct.SetOutputPointsPrecision(vtkAlgorithm.DOUBLE_PRECISION)
        stencil = vtkPolyDataToImageStencil()
        stencil.SetInputConnection(on_ct.GetOutputPort())
        stencil.SetOutputSpacing(1, 1, 1)
        stencil.SetOutputOrigin(0, 0, 0)
        stencil.SetOutputWholeExtent(extent.tolist())
        filled = vtkImageStencilToImage()
        filled.SetInputConnection(stencil.GetOutputPort())
        filled.SetInsideValue(1)
        filled.SetOutsideValue(0)
        filled.SetOutputScalarTypeToUnsignedChar()
        filled.Update()
        return _array(filled.GetOutput())


def _parts(segmentation: Any, segment_ids: Sequence[str]) -> Iterator[_Layer | _Surface]:
    """The label maps, each once, and the surfaces of segments without one."""
    layers: dict[Any, dict[int, int]] = {}
    surfaces: dict[int, Any] = {}
    for number, segment_id in enumerate(segment_ids, start=1):
        segment = segmentation.GetSegment(segment_id)
        image, mesh = segment.GetRepresentation(LABELMAP), segment.GetRepresentation(SURFACE)
        if image is not None:
            layers.setdefault(image, {})[segment.GetLabelValue()] = number
        elif mesh is not None:
            surfaces[number] = mesh
        else:
            raise InvalidRequest(
                _("The segment {name} has neither a binary label map nor a closed surface.").format(
                    name=segment.GetName()
                ),
                _("Create the binary labelmap representation in the Segmentations module."),
            )
    yield from (_Layer(image, _table(numbers)) for image, numbers in layers.items())
    yield from (_Surface(mesh, _table({1: number})) for number, mesh in surfaces.items())


def _table(number_of: dict[int, int]) -> NDArray[np.uint16]:
    """Value -> number, with a 0 at either end for values below and above."""
    table = np.zeros(max(number_of) + 2, dtype=np.uint16)
    table[list(number_of)] = list(number_of.values())
    return table


def _merge(labels: NDArray, extent: NDArray, values: NDArray, number_of: NDArray, overlapping: set[int]) -> None:
    """Writes what one label map has at ``extent`` into ``labels``; the higher number stays."""
    i0, j0, k0 = extent[::2]
    i1, j1, _k1 = extent[1::2] + 1
    for k, plane in enumerate(values, start=k0):  # plane by plane: looking up needs eight bytes for each voxel
        if not plane.any():
            continue
        found = np.take(number_of, plane, mode="clip").astype(labels.dtype, copy=False)
        there = labels[k, j0:j1, i0:i1]
        is_both = (there > 0) & (found > 0)
        if is_both.any():
            overlapping.update(np.unique(there[is_both]).tolist(), np.unique(found[is_both]).tolist())
        np.maximum(there, found, out=there)


def _extent(points: NDArray, to_ct: NDArray, grid: CtGrid) -> NDArray[np.int64]:
    """(i0, i1, j0, j1, k0, k1), last included, of the voxels between points; i1 < i0 and so on where there is none."""
    ijk = moved(points, to_ct)
    low = np.floor(ijk.min(axis=0)).clip(0, grid.shape_ijk)
    high = np.ceil(ijk.max(axis=0)).clip(-1, grid.shape_ijk - 1)
    return np.stack([low, high], axis=1).astype(np.int64).ravel()


def _array(image: Any) -> NDArray:
    """(k, j, i) view of a filter's output."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
