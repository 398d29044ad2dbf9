"""Small CTs in any position, ROIs, segmentations and transforms, put into a scene."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from vtk import vtkImageData, vtkMatrix4x4
from vtk.util.numpy_support import numpy_to_vtk

POSITIONS = ("straight", "left-handed", "permuted", "oblique", "oblique left-handed", "sheared")
PARENTS = ("none", "rigid", "scaled", "sheared")


def rotation(seed: int) -> NDArray:
    """(3, 3) a random right-handed rotation."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    matrix[:, 0] *= np.linalg.det(matrix)
    return matrix


def affine(axes: NDArray, origin: Sequence[float] = (0, 0, 0)) -> NDArray:
    """(4, 4) from (3, 3) axes and an origin."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, origin
    return matrix


def ijk_to_ras(position: str, *, seed: int = 0, spacing: Sequence[float] = (0.7, 0.9, 2.3)) -> NDArray:
    """(4, 4) voxels of 0.7 x 0.9 x 2.3 mm, lying in one of ``POSITIONS``, away from the origin."""
    axes = {
        "straight": np.eye(3),
        "left-handed": np.diag([-1.0, -1.0, -1.0]),
        "permuted": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
        "oblique": rotation(seed),
        "oblique left-handed": rotation(seed) @ np.diag([1.0, 1.0, -1.0]),
        "sheared": rotation(seed) @ np.array([[1.0, 0, 0], [0, 1, 0.3], [0, 0, 1]]),
    }[position]
    return affine(axes * spacing, [-31.3, 17.9, 211.1])


def parent(scene: Any, kind: str, *, seed: int = 1) -> Any:
    """A linear transform node of one of ``PARENTS``; None for "none"."""
    if kind == "none":
        return None
    axes = {
        "rigid": rotation(seed),
        "scaled": rotation(seed) @ np.diag([1.3, 0.8, 1.1]),
        "sheared": rotation(seed) @ np.array([[1.0, 0.2, 0], [0, 1, 0], [0.1, 0, 1]]),
    }[kind]
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", kind)
    node.SetMatrixTransformToParent(as_vtk(affine(axes, [5.0, -7.0, 11.0])))
    return node


def warped(scene: Any) -> Any:
    """A transform node that is not linear."""
    return scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")


def add_ct(scene: Any, voxels: NDArray, matrix: NDArray, *, under: Any = None, kind: str = "Scalar") -> Any:
    """A volume node with (k, j, i) voxels, or (k, j, i, component)."""
    node = scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", "Müller^Änne")
    node.SetAndObserveImageData(_filled(vtkImageData(), voxels))
    node.SetIJKToRASMatrix(as_vtk(matrix))
    return _under(node, under)


def add_roi(scene: Any, object_to_node: NDArray, size_mm: Sequence[float], *, under: Any = None) -> Any:
    """A markups ROI."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    node.SetAndObserveObjectToNodeMatrix(as_vtk(object_to_node))
    node.SetSize(*size_mm)
    return _under(node, under)


def add_segmentation(
    scene: Any, layers: Sequence[Mapping[str, NDArray]], matrix: NDArray, *, first=(0, 0, 0), under: Any = None
) -> Any:
    """A segmentation of binary label maps; ids are the names.

    Args:
        layers: For each shared label map, name -> bool (k, j, i); the masks of one layer must not overlap.
        matrix: Index (i, j, k) -> RAS of the label maps.
        first: Index (i, j, k) at which the label maps begin, as they do when Slicer crops them.
    """
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    for masks in layers:
        labels = sum((mask * np.uint8(3 * n) for n, mask in enumerate(masks.values(), start=1)), start=np.uint8(0))
        image = _filled(slicer.vtkOrientedImageData(), labels)
        n_k, n_j, n_i = labels.shape
        i, j, k = first
        image.SetExtent(i, i + n_i - 1, j, j + n_j - 1, k, k + n_k - 1)
        image.SetImageToWorldMatrix(as_vtk(matrix))
        for n, name in enumerate(masks, start=1):
            segment = slicer.vtkSegment()
            segment.SetName(name)
            segment.SetLabelValue(3 * n)
            segment.AddRepresentation("Binary labelmap", image)
            node.GetSegmentation().AddSegment(segment, name)
    return _under(node, under)


def add_surface(scene: Any, mesh: Any, name: str, *, under: Any = None) -> Any:
    """A segmentation with one segment that is a closed surface only."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation("Closed surface", mesh)
    node.GetSegmentation().AddSegment(segment, name)
    return _under(node, under)


def world_of(node: Any) -> NDArray:
    """(4, 4) a node's own RAS -> world."""
    matrix = vtkMatrix4x4()
    if node.GetParentTransformNode():
        node.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    return as_numpy(matrix)


def voxel_centres(ct_node: Any) -> NDArray:
    """(n, 3) RAS in the world of all voxels, in the order of a raveled (k, j, i) array."""
    matrix = vtkMatrix4x4()
    ct_node.GetIJKToRASMatrix(matrix)
    kji = np.indices(ct_node.GetImageData().GetDimensions()[::-1]).reshape(3, -1)
    return through(world_of(ct_node) @ as_numpy(matrix), kji[::-1].T)


def through(matrix: NDArray, points: NDArray) -> NDArray:
    """(n, 3) points through a (4, 4) affine."""
    return (matrix @ np.c_[points, np.ones(len(points))].T)[:3].T


def as_vtk(array: NDArray) -> vtkMatrix4x4:
    """A (4, 4) array as VTK has it."""
    matrix = vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(array[row, column]))
    return matrix


def as_numpy(matrix: vtkMatrix4x4) -> NDArray:
    """A VTK matrix as (4, 4) array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _filled(image: Any, voxels: NDArray) -> Any:
    image.SetDimensions(*voxels.shape[2::-1])
    flat = voxels.reshape(-1, *voxels.shape[3:])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(flat), deep=True))
    return image


def _under(node: Any, transform: Any) -> Any:
    if transform is not None:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node
