"""Stand-ins for Slicer's own widgets over a real MRML scene, drawn so that a picture of the panel tells the truth."""

from typing import Any

import ctk
import qt
import slicer
from PySide6 import QtCore, QtWidgets


class qMRMLWidget(qt.QWidget):
    """Knows the scene and tells it on; follows nodes that come, go and change."""

    SIGNATURES = ("mrmlSceneChanged(vtkMRMLScene*)",)
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._tags = None, []

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndBatchProcessEvent)
            self._tags = [scene.AddObserver(event, lambda *_: self._on_scene()) for event in events]
        self.mrmlSceneChanged.emit(scene)
        self._on_scene()

    def mrmlScene(self) -> Any:
        return self._scene

    def _on_scene(self) -> None:
        pass


class _NodeChoice(qMRMLWidget):
    """A combo box of nodes."""

    nodeTypes = ctk.stored("QStringList", "nodeTypes", [])
    noneEnabled, noneDisplay = ctk.stored(bool, "noneEnabled", False), ctk.stored(str, "noneDisplay", "None")
    showHidden = ctk.stored(bool, "showHidden", False)
    showChildNodeTypes = ctk.stored(bool, "showChildNodeTypes", True)
    addEnabled, removeEnabled = ctk.stored(bool, "addEnabled", True), ctk.stored(bool, "removeEnabled", True)
    renameEnabled, editEnabled = ctk.stored(bool, "renameEnabled", False), ctk.stored(bool, "editEnabled", False)
    selectNodeUponCreation = ctk.stored(bool, "selectNodeUponCreation", True)
    currentNodeChanged = QtCore.Signal(object)
    SIGNATURES = ("currentNodeChanged(vtkMRMLNode*)",)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node = None
        rows = QtWidgets.QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        self._combo = QtWidgets.QComboBox()
        rows.addWidget(self._combo)
        self._combo.activated.connect(self._on_activated)
        self.setFocusProxy(self._combo)
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._combo.setMinimumContentsLength(8)
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)

    def nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        found = [
            self._scene.GetNthNodeByClass(at, kind)
            for kind in self.nodeTypes
            for at in range(self._scene.GetNumberOfNodesByClass(kind))
        ]
        is_wanted = lambda node: self.showChildNodeTypes or node.GetClassName() in self.nodeTypes  # noqa: E731
        return [node for node in found if is_wanted(node) and (self.showHidden or not node.GetHideFromEditors())]

    def nodeFromIndex(self, at: int) -> Any:
        return self.nodes()[at]

    def currentNode(self) -> Any:
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        if node is not None and not any(node.IsA(kind) for kind in self.nodeTypes):
            node = None
        is_new, self._node = node is not self._node, node
        self._fill()
        if is_new:
            self.currentNodeChanged.emit(node)

    def _on_scene(self) -> None:
        if self._scene is None or (self._node is not None and not self._scene.IsNodePresent(self._node)):
            self.setCurrentNode(None)
        self._fill()

    def _fill(self) -> None:
        nodes = self.nodes()
        names = [node.GetName() for node in nodes]
        self._combo.clear()
        self._combo.addItems(([self.noneDisplay] if self.noneEnabled else []) + names)
        at = nodes.index(self._node) + bool(self.noneEnabled) if self._node in nodes else 0 if self.noneEnabled else -1
        self._combo.setCurrentIndex(at)

    def _on_activated(self, at: int) -> None:
        at -= bool(self.noneEnabled)
        self.setCurrentNode(self.nodes()[at] if at >= 0 else None)


class qMRMLNodeComboBox(_NodeChoice):
    pass


class qMRMLCheckableNodeComboBox(_NodeChoice):
    """Several nodes, each checked or not."""

    SIGNATURES = ("checkedNodesChanged()",)
    checkedNodesChanged = QtCore.Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._checked: set[Any] = set()

    def checkedNodes(self) -> list[Any]:
        return [node for node in self.nodes() if node in self._checked]

    def check(self, node: Any) -> None:
        self._set(self._checked | {node})

    def uncheck(self, node: Any) -> None:
        self._set(self._checked - {node})

    def _set(self, checked: set[Any]) -> None:
        is_new, self._checked = checked != self._checked, checked
        self._fill()
        if is_new:
            self.checkedNodesChanged.emit()

    def _fill(self) -> None:
        checked = self.checkedNodes() if hasattr(self, "_checked") else []
        self._combo.clear()
        self._combo.addItem(", ".join(node.GetName() for node in checked))


class qMRMLSegmentSelectorWidget(_NodeChoice):
    """A segmentation, and below it one of its segments."""

    SIGNATURES = ("currentNodeChanged(vtkMRMLNode*)", "currentSegmentChanged(QString)")
    currentSegmentChanged = QtCore.Signal(str)
    segmentationNodeSelectorVisible = ctk.stored(bool, "segmentationNodeSelectorVisible", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._segment_ids: list[str] = []
        row = QtWidgets.QHBoxLayout()
        row.setContentsMargins(4, 0, 0, 0)
        self._segments = QtWidgets.QComboBox()
        row.addWidget(QtWidgets.QLabel("Segment:"))
        row.addWidget(self._segments, 1)
        self.layout().addLayout(row)
        self._segments.currentIndexChanged.connect(lambda _: self.currentSegmentChanged.emit(self.currentSegmentID()))

    def setCurrentNode(self, node: Any) -> None:
        super().setCurrentNode(node)
        segmentation = node.GetSegmentation() if node is not None else None
        n_segments = segmentation.GetNumberOfSegments() if segmentation else 0
        ids = [segmentation.GetNthSegmentID(at) for at in range(n_segments)]
        if ids != self._segment_ids:
            self._segment_ids = ids
            self._segments.clear()
            self._segments.addItems([segmentation.GetSegment(one).GetName() for one in ids])

    def currentSegmentID(self) -> str:
        at = self._segments.currentIndex()
        return self._segment_ids[at] if 0 <= at < len(self._segment_ids) else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        if segment_id in self._segment_ids:
            self._segments.setCurrentIndex(self._segment_ids.index(segment_id))


class qMRMLSegmentsTableView(qMRMLWidget):
    """An eye, a colour and a name for each segment."""

    readOnly = ctk.stored(bool, "readOnly", False)
    opacityColumnVisible = ctk.stored(bool, "opacityColumnVisible", True)
    statusColumnVisible = ctk.stored(bool, "statusColumnVisible", False)
    layerColumnVisible = ctk.stored(bool, "layerColumnVisible", False)
    headerVisible = ctk.stored(bool, "headerVisible", True)
    selectionMode = ctk.stored(int, "selectionMode", 3)
    SIGNATURES = ("selectionChanged(QItemSelection,QItemSelection)",)
    selectionChanged = QtCore.Signal(object, object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node = None
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._list = QtWidgets.QListWidget()
        column.addWidget(self._list)

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        self._list.clear()
        segmentation = node.GetSegmentation() if node is not None else None
        for at in range(segmentation.GetNumberOfSegments() if segmentation else 0):
            self._list.addItem("◉ ■ " + segmentation.GetNthSegment(at).GetName())

    def segmentationNode(self) -> Any:
        return self._node


class qMRMLSegmentationShow3DButton(qt.QPushButton):
    """A button that shows a segmentation's surfaces."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node = None
        self.setCheckable(True)

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        self.setEnabled(node is not None)

    def segmentationNode(self) -> Any:
        return self._node


class qMRMLSliderWidget(ctk.ctkSliderWidget):
    pass


class qMRMLSpinBox(qt.QWidget):
    pass


class qMRMLRangeWidget(qt.QWidget):
    pass


class qSlicerWidget(qMRMLWidget):
    pass


def publish() -> None:
    """Makes the widgets ``slicer.qMRML...`` and known to ``qt.QUiLoader``."""
    for name, kind in list(globals().items()):
        if name.startswith(("qMRML", "qSlicer")):
            setattr(slicer, name, kind)
            qt.WIDGETS[name] = kind
