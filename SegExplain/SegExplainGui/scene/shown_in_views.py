"""Which result the views show: one at a time, its map over its CT, its strongest units, its legend."""

from collections.abc import Iterable
from typing import Any

from SegExplainGui.scene import importance_map
from SegExplainGui.scene.preview_map import PreviewMap
from SegExplainGui.scene.result import Result, results_in
from SegExplainGui.scene.result_nodes import composites_in, required_node


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


def show_in_slices(result: Result, composite_nodes: Iterable[Any], opacity: float) -> None:
    """Lays a result over its CT in slice views, each given by its vtkMRMLSliceCompositeNode.

    The views' label layer shows the units, or the shades of a map of voxels, with ``opacity`` in 0..1; the foreground
    holds the numbers, clear.

    Raises:
        InvalidRequest: a volume of the result was deleted.
    """
    seen = required_node(result.head, "shades" if result.has_voxel_map else "labels")
    volumes = required_node(result.head, "map"), seen, result.ct
    importance_map.lay_over(*volumes, composite_nodes, opacity)


def show_preview(preview: PreviewMap, scene: Any, *, opacity: float) -> None:
    """Shows a preview and hides the results, until it goes."""
    displays = [display for result in results_in(scene) for display in _displays_of(result)]
    preview.lay_over(composites_in(scene), opacity, instead_of=displays)


def _set_visible(result: Result, is_visible: bool) -> None:
    for display in _displays_of(result):
        display.SetVisibility(is_visible)


def _displays_of(result: Result) -> list[Any]:
    legend = importance_map.legend_of(result.overlay) if result.overlay is not None else None
    segments = result.segmentation.GetDisplayNode() if result.segmentation is not None else None
    return [display for display in (legend, segments) if display is not None]
