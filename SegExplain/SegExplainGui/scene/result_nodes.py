"""Which nodes belong to one run: references from its table of answers, and a folder in the subject hierarchy."""

from collections.abc import Iterator
from typing import Any

import slicer
from slicer.i18n import tr as _

from SegExplainGui.scene.unit_segments import empty
from SegExplainLib.contract import InvalidRequest

MARK = "SegExplain.Result"
NAME = "SegExplain.Name"

CLASSES = {
    "labels": "vtkMRMLLabelMapVolumeNode",
    "units": "vtkMRMLSegmentationNode",
    "strongest": "vtkMRMLSegmentationNode",
    "map": "vtkMRMLScalarVolumeNode",
    "colours": "vtkMRMLColorTableNode",
    "unit_colours": "vtkMRMLColorTableNode",
    "table": "vtkMRMLTableNode",
    "bars": "vtkMRMLTableNode",
    "raises": "vtkMRMLPlotSeriesNode",
    "lowers": "vtkMRMLPlotSeriesNode",
    "chart": "vtkMRMLPlotChartNode",
}
"""Role -> class of the nodes that a run makes besides the head."""
VOXEL_CLASSES = {"shades": "vtkMRMLLabelMapVolumeNode", "shade_colours": "vtkMRMLColorTableNode"}
"""Role -> class of the nodes that a map of voxels needs, too: an empty volume could not be saved."""


def title_of(role: str) -> str:
    """What a node is called, after the name of its run."""
    return {
        "answers": _("all answers"),
        "labels": _("unit labels"),
        "units": _("all units"),
        "strongest": _("strongest units"),
        "map": _("importance map"),
        "colours": _("colour scale"),
        "unit_colours": _("colours of units"),
        "table": _("table"),
        "bars": _("chart data"),
        "raises": _("bars above zero"),
        "lowers": _("bars below zero"),
        "chart": _("chart"),
        "shades": _("map in shades"),
        "shade_colours": _("colours of shades"),
    }[role]


def make_nodes(scene: Any, ct: Any, name: str) -> Any:
    """Makes the nodes of a run, named and under the CT, and gives the head: the table of all answers.

    No node is hidden from editors: Slicer's Save dialog would leave it out of the scene that it saves.
    """
    name = _unique_name(scene, name)
    head = _add(scene, "vtkMRMLTableNode", name, "answers")
    head.SetAttribute(MARK, "1")
    head.SetAttribute(NAME, name)
    head.SetNodeReferenceID(_reference("ct"), ct.GetID())
    for role, class_name in CLASSES.items():
        head.SetNodeReferenceID(_reference(role), _add(scene, class_name, name, role).GetID())
    for role in ("labels", "units", "strongest", "map"):
        node_of(head, role).SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    _put_into_folder(scene, ct, head, name)
    return head


def add_voxel_nodes(head: Any) -> None:
    """Makes the nodes that a map of voxels needs, where they are not there yet, beside the others."""
    scene, hierarchy = head.GetScene(), _hierarchy(head.GetScene())
    folder, map_node = _folder_of(hierarchy, head), required_node(head, "map")
    for role, class_name in VOXEL_CLASSES.items():
        if node_of(head, role) is None:
            node = _add(scene, class_name, head.GetAttribute(NAME), role)
            head.SetNodeReferenceID(_reference(role), node.GetID())
            if folder:
                _put_under(hierarchy, folder, node)
    node_of(head, "shades").SetAndObserveTransformNodeID(map_node.GetTransformNodeID())


def name_map(head: Any, noun: str) -> None:
    """Calls the map what its numbers are: a sensitivity is no importance."""
    name = _("{run}: {what} map").format(run=head.GetAttribute(NAME), what=noun)
    required_node(head, "map").SetName(head.GetScene().GenerateUniqueName(name))


def node_of(head: Any, role: str) -> Any:
    """A run's node, or None when it was deleted. Role ``ct`` is the CT."""
    return head.GetNodeReference(_reference(role))


def required_node(head: Any, role: str) -> Any:
    """A run's node.

    Raises:
        InvalidRequest: it was deleted.
    """
    node = node_of(head, role)
    if node is None:
        raise InvalidRequest(
            _("The result {name} has lost its node “{what}”; it was deleted.").format(
                name=head.GetAttribute(NAME), what=title_of(role)
            ),
            _("Load the results folder again, or explain again."),
        )
    return node


def heads_in(scene: Any) -> list[Any]:
    """The heads of all runs in a scene, the oldest first."""
    tables = _nodes(scene, "vtkMRMLTableNode")
    return [table for table in tables if table.GetAttribute(MARK)]


def remove_nodes(head: Any) -> None:
    """Takes the nodes of a run out of the scene, with their display and storage nodes and, once empty, the folder."""
    scene, hierarchy = head.GetScene(), _hierarchy(head.GetScene())
    folder = _folder_of(hierarchy, head)
    nodes = [node for role in reversed([*CLASSES, *VOXEL_CLASSES]) if (node := node_of(head, role))]
    scene.StartState(scene.BatchProcessState)
    try:
        for node in (*nodes, head):
            _remove(scene, hierarchy, node)
        if folder and not hierarchy.GetNumberOfItemChildren(folder):
            hierarchy.RemoveItem(folder)
    finally:
        scene.EndState(scene.BatchProcessState)


def composites_in(scene: Any) -> list[Any]:
    """The vtkMRMLSliceCompositeNodes of all slice views."""
    return list(_nodes(scene, "vtkMRMLSliceCompositeNode"))


def _reference(role: str) -> str:
    return f"SegExplain.{role}"


def _nodes(scene: Any, class_name: str) -> Iterator[Any]:
    for place in range(scene.GetNumberOfNodesByClass(class_name)):
        yield scene.GetNthNodeByClass(place, class_name)


def _unique_name(scene: Any, name: str) -> str:
    taken, number, found = {head.GetAttribute(NAME) for head in heads_in(scene)}, 1, name
    while found in taken:
        number += 1
        found = f"{name} ({number})"
    return found


def _add(scene: Any, class_name: str, name: str, role: str) -> Any:
    return scene.AddNewNodeByClass(class_name, scene.GenerateUniqueName(f"{name}: {title_of(role)}"))


def _hierarchy(scene: Any) -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _put_into_folder(scene: Any, ct: Any, head: Any, name: str) -> None:
    hierarchy = _hierarchy(scene)
    # Slicer makes an item for each node; without its user interface nobody has.
    of_ct = hierarchy.GetItemByDataNode(ct) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), ct)
    folder = hierarchy.CreateFolderItem(of_ct, name)
    hierarchy.SetItemAttribute(folder, MARK, "1")
    hierarchy.SetItemExpanded(folder, False)
    for node in (*(node_of(head, role) for role in CLASSES), head):
        _put_under(hierarchy, folder, node)


def _put_under(hierarchy: Any, folder: int, node: Any) -> None:
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, folder)
    else:
        hierarchy.CreateItem(folder, node)


def _folder_of(hierarchy: Any, head: Any) -> int:
    """The item of the run's folder; 0 when the user has moved the table out of it."""
    item = hierarchy.GetItemByDataNode(head)
    parent = hierarchy.GetItemParent(item) if item else 0
    return parent if parent and hierarchy.HasItemAttribute(parent, MARK) else 0


def remove_node(node: Any) -> None:
    """Takes a node out of its scene, with its display and storage nodes."""
    _remove(node.GetScene(), _hierarchy(node.GetScene()), node)


def displays_of(node: Any) -> list[Any]:
    """The display nodes of a node, a legend's too; none where it cannot have any."""
    if not node.IsA("vtkMRMLDisplayableNode"):
        return []
    found = (node.GetNthDisplayNode(place) for place in range(node.GetNumberOfDisplayNodes()))
    return [display for display in found if display is not None]


def _remove(scene: Any, hierarchy: Any, node: Any) -> None:
    belongings = displays_of(node)
    if node.IsA("vtkMRMLStorableNode"):
        belongings += [node.GetNthStorageNode(place) for place in range(node.GetNumberOfStorageNodes())]
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)
    if node.IsA("vtkMRMLSegmentationNode"):
        empty(node)
    scene.RemoveNode(node)
    for belonging in belongings:
        if belonging is not None and belonging.GetScene() is scene:
            scene.RemoveNode(belonging)
