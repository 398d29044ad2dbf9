"""Which result the views show: one at a time, its map over its CT, its strongest units, its legend."""

from typing import Any

from SegExplainGui.scene import importance_map
from SegExplainGui.scene.preview_map import PreviewMap
from SegExplainGui.scene.result import Result, results_in, show_in_slices
from SegExplainGui.scene.result_nodes import composites_in


def bring_to_views(result: Result, scene: Any, *, opacity: float) -> None:
    """Shows a result and hides the others.

    Args:
        result: The one to show.
        scene: vtkMRMLScene.
        opacity: Of the map, in 0..1.

    Raises:
        InvalidRequest: the result's map was deleted.
    """
    for other in results_in(scene):
        _set_visible(other, other == result)
    show_in_slices(result, composites_in(scene), opacity)


def show_preview(preview: PreviewMap, scene: Any, *, opacity: float) -> None:
    """Shows a preview and hides the results."""
    for other in results_in(scene):
        _set_visible(other, False)
    preview.lay_over(composites_in(scene), opacity)


def _set_visible(result: Result, is_visible: bool) -> None:
    legend = importance_map.legend_of(result.overlay) if result.overlay is not None else None
    segments = result.segmentation.GetDisplayNode() if result.segmentation is not None else None
    for display in (legend, segments):
        if display is not None:
            display.SetVisibility(is_visible)
