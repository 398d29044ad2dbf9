"""A segment selector bound to two parameters, for which parameterNodeWrapper has no connector."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters


class SegmentChoice:
    """Keeps a qMRMLSegmentSelectorWidget and a pair of parameters the same.

    Args:
        widget: The selector.
        names: Of the parameters: the segmentation node, and the segment's id.
        on_change: Called when the user chose.
    """

    def __init__(self, widget: Any, names: tuple[str, str], on_change: Callable[[], None]) -> None:
        self._widget = widget
        self._node_name, self._segment_name = names
        self._on_change = on_change
        self._parameters: Parameters | None = None
        self._is_writing = False
        widget.connect("currentNodeChanged(vtkMRMLNode*)", self._take)
        widget.connect("currentSegmentChanged(QString)", self._take)

    def set_parameters(self, parameters: "Parameters | None") -> None:
        """Binds other parameters, or none."""
        self._parameters = parameters
        self.refresh()

    def refresh(self) -> None:
        """Shows what the parameters say."""
        if self._parameters is None:
            return
        node, segment = getattr(self._parameters, self._node_name), getattr(self._parameters, self._segment_name)
        self._is_writing = True
        try:
            if self._widget.currentNode() is not node:
                self._widget.setCurrentNode(node)
            if segment and self._widget.currentSegmentID() != segment:
                self._widget.setCurrentSegmentID(segment)
        finally:
            self._is_writing = False

    def _take(self, _changed: Any) -> None:
        if self._is_writing or self._parameters is None:
            return
        with slicer.util.NodeModify(self._parameters):
            setattr(self._parameters, self._node_name, self._widget.currentNode())
            setattr(self._parameters, self._segment_name, self._widget.currentSegmentID() or "")
        self._on_change()
