"""The picture before the first importances: a quick map over the CT, named so that nobody takes it for the answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegExplainGui.scene import importance_map
from SegExplainGui.scene.ct_grid import ct_grid
from SegExplainGui.scene.result_nodes import displays_of, remove_node
from SegExplainGui.scene.voxel_map import read_voxel_map, show_voxels


@dataclass(frozen=True, eq=False)
class PreviewMap:
    """Nodes of its own, apart from every result; they go when the first importances come, or the run ends.

    Attributes:
        volume: vtkMRMLScalarVolumeNode with the numbers.
        shades: vtkMRMLLabelMapVolumeNode that is seen in the slice views.
        colours: The vtkMRMLColorTableNodes of both.
        ct_id: Of the vtkMRMLScalarVolumeNode below.
        covered: ID of a slice view's vtkMRMLSliceCompositeNode -> what it showed before.
        hidden: Display nodes of results that were seen before.
    """

    volume: Any
    shades: Any
    colours: tuple[Any, ...]
    ct_id: str
    covered: dict[str, importance_map.Layers] = field(default_factory=dict)
    hidden: list[Any] = field(default_factory=list)

    def lay_over(self, composite_nodes: Iterable[Any], opacity: float, *, instead_of: Iterable[Any] = ()) -> None:
        """Shows it in slice views, each given by its vtkMRMLSliceCompositeNode; nothing where it was deleted.

        The display nodes ``instead_of`` which it is seen are hidden until it goes.
        """
        scene, composites = self.volume.GetScene(), list(composite_nodes)
        if scene is None or self.shades.GetScene() is not scene:
            return
        for display in instead_of:
            if display.GetVisibility():
                self.hidden.append(display)
                display.SetVisibility(False)
        for composite in composites:
            self.covered.setdefault(composite.GetID(), importance_map.layers_of(composite))
        ct = scene.GetNodeByID(self.ct_id)
        importance_map.lay_over(self.volume, self.shades, ct, composites, opacity)

    def remove(self) -> None:
        """Takes its nodes out of the scene, those that are still there; views that show it get back what they had."""
        scene = self.volume.GetScene() or self.shades.GetScene()
        views = [
            (scene.GetNodeByID(one) if scene is not None else None, layers) for one, layers in self.covered.items()
        ]
        views = [(view, layers) for view, layers in views if view and view.GetLabelVolumeID() == self.shades.GetID()]
        for view, layers in views:
            importance_map.set_layers(view, layers)
        for display in self.hidden if views else ():  # else the user has chosen another picture meanwhile
            display.SetVisibility(True)
        for node in (self.shades, self.volume, *self.colours):
            if node.GetScene() is not None:
                remove_node(node)


def create_preview(scene: Any, ct_node: Any, path: Path, *, target: str, colors_logic: Any) -> PreviewMap:
    """The nodes of a preview, under the CT's transform.

    Args:
        scene: vtkMRMLScene.
        ct_node: vtkMRMLScalarVolumeNode that is explained.
        path: map.nrrd.
        target: The class, for the legend.
        colors_logic: vtkSlicerColorLogic.

    Raises:
        InvalidRequest: the file cannot be read.
        GeometryMismatch: it does not lie on the CT's voxels.
    """
    found = read_voxel_map(path, ct_grid(ct_node), method="seg-grad-cam")
    name = _("Seg-Grad-CAM preview (not the answer)")
    title = _("Seg-Grad-CAM\npreview\n(not the answer)\n{target}").format(target=target)

    def add(class_name: str, what: str) -> Any:
        return scene.AddNewNodeByClass(class_name, scene.GenerateUniqueName(name + what))

    volume, shades = add("vtkMRMLScalarVolumeNode", ""), add("vtkMRMLLabelMapVolumeNode", ": " + _("shades"))
    colours = tuple(add("vtkMRMLColorTableNode", ": " + _("colours")) for _number in range(2))
    for node in (volume, shades):
        node.SetAndObserveTransformNodeID(ct_node.GetTransformNodeID())
    importance_map.prepare_map(volume, colours[0], colors_logic)
    importance_map.prepare_labels(shades, colours[1])
    show_voxels(found, volume, shades, keep_user_window=False)
    importance_map.title_legend(volume, title, found.scale, is_percent=True)
    volume.SetAttribute("SegExplain.Preview", "1")  # whoever looks for a CT knows that it is none
    for node in (*displays_of(volume), *displays_of(shades), volume, shades, *colours):
        node.SaveWithSceneOff()  # in a scene that is loaded nobody would take it away
    return PreviewMap(volume, shades, colours, ct_node.GetID())
