"""ROIs put where they are wanted: where the user looks, or around a segment; along the axes of the CT."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SegExplainGui.scene.ct_grid import CtGrid, as_array, as_matrix, corners, ct_grid, moved, to_world
from SegExplainGui.scene.segment_labels import segment_labels
from SegExplainLib.contract import InvalidRequest

NEW_EDGE_MM = 32.0
SLICE_VIEWS = ("Red", "Green", "Yellow")


def new_roi(scene: Any, ct_node: Any, *, name: str = "ROI") -> Any:
    """A new markups ROI (vtkMRMLMarkupsROINode): a box of 32 mm, or less on a small CT, along the CT's axes.

    It stands where the three slice views cross when that is on the CT, else in its middle. It is under the CT's
    transform unless that scales or shears.
    Its fill is faint and its label hidden, so that the CT and the overlay stay visible.

    Raises:
        InvalidRequest: the CT is none, as `ct_grid`.
    """
    grid = ct_grid(ct_node)
    half_voxels = np.minimum(NEW_EDGE_MM / 2 / grid.spacing_ijk_mm, grid.shape_ijk / 2)
    center_ijk = _looked_at_ijk(scene, grid)
    # Moved inwards, so that all of the box is on the CT.
    center_ijk = np.clip(center_ijk, half_voxels - 0.5, grid.shape_ijk - 0.5 - half_voxels)
    roi_node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", scene.GenerateUniqueName(name))
    if _is_rigid(to_world(ct_node)):
        roi_node.SetAndObserveTransformNodeID(ct_node.GetTransformNodeID())
    roi_node.CreateDefaultDisplayNodes()
    display = roi_node.GetDisplayNode()
    display.SetFillOpacity(0.1)
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    display.SetHandlesInteractive(True)
    _place(roi_node, grid, center_ijk - half_voxels, center_ijk + half_voxels)
    return roi_node


def fit_roi_to_segment(
    roi_node: Any, segmentation_node: Any, segment_id: str, ct_node: Any, *, margin_mm: float
) -> None:
    """Makes an ROI the smallest box along the CT's axes that holds a segment's voxels on the CT, and a margin.

    The box goes to the outer faces of these voxels and ``margin_mm`` farther, but not beyond the CT.

    Raises:
        InvalidRequest: no voxel of the segment lies on the CT; the margin is negative; there is no such node or
            segment; or the ROI is under a transform that scales, shears, or is not linear.
    """
    if roi_node is None or segmentation_node is None:
        raise InvalidRequest(_("No ROI or no segmentation is chosen."), _("Choose both."))
    if not 0 <= margin_mm < np.inf:
        raise InvalidRequest(_("The margin is {margin} mm.").format(margin=margin_mm), _("Give 0 mm or more."))
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise InvalidRequest(
            _("{name} has no such segment any more.").format(name=segmentation_node.GetName()), _("Choose another.")
        )
    grid = ct_grid(ct_node)
    is_inside = segment_labels(segmentation_node, [segment_id], grid).labels
    if not is_inside.any():
        raise InvalidRequest(
            _("No voxel of the segment {name} lies on the CT.").format(name=segment.GetName()),
            _("Choose a segment that the CT shows."),
        )
    filled = [np.flatnonzero(is_inside.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    margin = margin_mm / grid.spacing_ijk_mm
    low = np.array([where[0] for where in filled]) - 0.5 - margin
    high = np.array([where[-1] for where in filled]) + 0.5 + margin
    _place(roi_node, grid, low.clip(-0.5), np.minimum(high, grid.shape_ijk - 0.5))


def _place(roi_node: Any, grid: CtGrid, low_ijk: NDArray, high_ijk: NDArray) -> None:
    """Sets the box from ``low_ijk`` to ``high_ijk``; on sheared axes the smallest upright one around it."""
    node_to_world = to_world(roi_node)
    if not _is_rigid(node_to_world):
        raise InvalidRequest(
            _("The ROI {name} is under a transform that scales or shears.").format(name=roi_node.GetName()),
            _("Take the ROI out of the transform in the Data module."),
        )
    ijk_to_node = np.linalg.inv(node_to_world) @ grid.ijk_to_world
    object_to_node = np.eye(4)
    object_to_node[:3, :3] = _rotation_near(ijk_to_node[:3, :3])
    reach = moved(corners(low_ijk, high_ijk), np.linalg.inv(object_to_node) @ ijk_to_node)
    low, high = reach.min(axis=0), reach.max(axis=0)
    object_to_node[:3, 3] = object_to_node[:3, :3] @ (low + high) / 2
    was_modifying = roi_node.StartModify()
    roi_node.SetROIType(roi_node.ROITypeBox)
    roi_node.SetInsideOut(False)
    roi_node.SetAndObserveObjectToNodeMatrix(as_matrix(object_to_node))
    roi_node.SetSize(*(high - low))
    roi_node.EndModify(was_modifying)


def _is_rigid(matrix: NDArray) -> bool:
    return np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3), atol=1e-6)


def _rotation_near(axes: NDArray) -> NDArray[np.float64]:
    """(3, 3) right-handed rotation whose columns are along the three axes, one reversed where they are left-handed."""
    left, _scale, right = np.linalg.svd(axes / np.linalg.norm(axes, axis=0))
    rotation = left @ right
    rotation[:, 2] *= np.sign(np.linalg.det(rotation))
    return rotation


def _looked_at_ijk(scene: Any, grid: CtGrid) -> NDArray[np.float64]:
    """(3,) index (i, j, k) where the slice views cross when that is on the CT, else its middle."""
    n_views = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    views = [scene.GetNthNodeByClass(n, "vtkMRMLSliceNode") for n in range(n_views)]
    to_ras = {view.GetLayoutName(): as_array(view.GetSliceToRAS()) for view in views}
    if all(name in to_ras for name in SLICE_VIEWS):
        planes = np.array([to_ras[name] for name in SLICE_VIEWS])
        normals, origins = planes[:, :3, 2], planes[:, :3, 3]
        if abs(np.linalg.det(normals)) > 0.1:
            crossing = np.linalg.solve(normals, (normals * origins).sum(axis=1))
            ijk = moved(crossing[None], grid.world_to_ijk)[0]
            if ((ijk >= -0.5) & (ijk <= grid.shape_ijk - 0.5)).all():
                return ijk
    return (grid.shape_ijk - 1) / 2
