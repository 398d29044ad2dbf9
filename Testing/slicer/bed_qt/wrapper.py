"""The part of ``slicer.parameterNodeWrapper`` that is used, over a real vtkMRMLScriptedModuleNode.

As strict as Slicer's own: only these pairs of widget and type connect, values outside their range are refused, an enum
is kept by its member's name.
"""

import enum
import typing
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
from PySide6 import QtCore
from vtk import vtkCommand


class WithinRange:
    """Annotation: smallest and largest value."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within {self.minimum} and {self.maximum}, is {value}")


class _Parameter:
    """One member: its type, bounds, default, and how it is written."""

    def __init__(self, name: str, hint: Any, default: Any) -> None:
        self.name, self.hint = name, hint
        self.kind, *annotations = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        unknown = [a for a in annotations if not isinstance(a, WithinRange)]
        if unknown:
            raise TypeError(f"{name} has annotations that Slicer would leave unused: {unknown}")
        self.range = annotations[0] if annotations else None
        self.is_node = issubclass(self.kind, slicer.vtkMRMLNode)
        self.default = self._first_choice() if default is None and not self.is_node else default

    def _first_choice(self) -> Any:
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):  # a scene that was closed has emptied the node
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if issubclass(self.kind, enum.Enum):
            if text not in self.kind.__members__:
                raise ValueError(f"Found {text!r} in parameter node but it is not a name in {self.kind!r}")
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)

    def write(self, node: Any, value: Any) -> None:
        allowed = (int, float) if self.kind is float else self.kind
        if not isinstance(value, allowed) and not (self.is_node and value is None):
            raise TypeError(f"Value of {self.name} must be of type {self.kind}, is {value!r}")
        if self.range:
            self.range.validate(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))


def parameterNodeWrapper(kind: type) -> type:
    """Gives a class with typed members properties that live in a parameter node."""
    hints = typing.get_type_hints(kind, include_extras=True)
    kind.allParameters = {name: _Parameter(name, hint, getattr(kind, name, None)) for name, hint in hints.items()}
    for name, parameter in kind.allParameters.items():
        setattr(kind, name, _property_of(parameter))
    kind.__init__, kind.dataType, kind.getValue, kind.setValue = _init, _data_type, _get_value, _set_value
    kind.connectGui, kind.disconnectGui = _connect_gui, _disconnect_gui
    kind.StartModify, kind.EndModify, kind.Modified = _start_modify, _end_modify, _modified
    kind.AddObserver, kind.RemoveObserver = _add_observer, _remove_observer
    return kind


def _property_of(parameter: _Parameter) -> property:
    """Slicer caches: a value is read again only after the node told that it was modified."""

    def read(self: Any) -> Any:
        return self._cache[parameter.name]

    def write(self: Any, value: Any) -> None:
        with slicer.util.NodeModify(self.parameterNode):
            parameter.write(self.parameterNode, value)
            self._cache[parameter.name] = parameter.read(self.parameterNode)

    return property(read, write)


def _init(self: Any, parameterNode: Any) -> None:
    self.parameterNode, self._connections, self._cache, self._is_writing_gui = parameterNode, {}, {}, False
    for name, parameter in self.allParameters.items():
        if not parameterNode.HasParameter(name):
            parameter.write(parameterNode, parameter.default)
    self._read_all = lambda *_: self._cache.update({n: p.read(parameterNode) for n, p in self.allParameters.items()})
    self._read_all()
    parameterNode.AddObserver(vtkCommand.ModifiedEvent, self._read_all)


def _data_type(self: Any, name: str) -> Any:
    return self.allParameters[name].hint


def _get_value(self: Any, name: str) -> Any:
    return getattr(self, name)


def _set_value(self: Any, name: str, value: Any) -> None:
    setattr(self, name, value)


def _start_modify(self: Any) -> int:
    return self.parameterNode.StartModify()


def _end_modify(self: Any, was: int) -> int:
    return self.parameterNode.EndModify(was)


def _modified(self: Any) -> None:
    self.parameterNode.Modified()


def _add_observer(self: Any, event: Any, callback: Any, priority: float = 0.0) -> int:
    return self.parameterNode.AddObserver(event, callback, priority)


def _remove_observer(self: Any, tag: int) -> None:
    self.parameterNode.RemoveObserver(tag)


class _Connector:
    """A widget's signal, and how its value is read and written."""

    def __init__(self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self.widget, self.signal, self.read, self.write = widget, signal, read, write
        self.connection: Any = None

    def connect(self, slot: Callable[[], None]) -> None:
        self.connection = getattr(self.widget, self.signal).connect(lambda *_: slot())

    def disconnect(self) -> None:
        QtCore.QObject.disconnect(
            self.connection
        )  # a signal's own disconnect takes a reference from True (PySide6 6.12)


def _connect_gui(self: Any, gui: Any) -> int:
    widgets = [w for w in gui.__dict__.values() if w.property("SlicerParameterName")]
    connectors = {}
    for widget in widgets:
        name = widget.property("SlicerParameterName")
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        connectors[name] = _connector(widget, self.allParameters[name])
    for name, connector in connectors.items():
        connector.write(getattr(self, name))
        connector.connect(lambda name=name, connector=connector: _take(self, name, connector))
    observer = self.parameterNode.AddObserver(vtkCommand.ModifiedEvent, lambda *_: _write_gui(self, connectors))
    tag = len(self._connections)
    self._connections[tag] = (connectors, observer)
    return tag


def _take(self: Any, name: str, connector: _Connector) -> None:
    if not self._is_writing_gui:
        setattr(self, name, connector.read())


def _write_gui(self: Any, connectors: dict[str, _Connector]) -> None:
    if self._is_writing_gui:
        return
    self._is_writing_gui = True
    try:
        for name, connector in connectors.items():
            connector.write(getattr(self, name))
    finally:
        self._is_writing_gui = False


def _disconnect_gui(self: Any, tag: int) -> None:
    connectors, observer = self._connections.pop(tag, ({}, None))
    for connector in connectors.values():
        connector.disconnect()
    if observer is not None:
        self.parameterNode.RemoveObserver(observer)


def _connector(widget: Any, parameter: _Parameter) -> _Connector:
    kind, is_a = parameter.kind, type(widget)
    if parameter.is_node and is_a is slicer.qMRMLNodeComboBox:
        widget.nodeTypes = [kind().GetClassName()]
        return _Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    if issubclass(kind, enum.Enum) and is_a in (qt.QComboBox, ctk.ctkComboBox):
        return _enum_connector(widget, kind)
    if kind is bool and is_a in (qt.QCheckBox, ctk.ctkCheckBox):
        return _of_property(widget, "checked", "stateChanged")
    if kind is str and is_a is qt.QLineEdit:
        return _of_property(widget, "text", "textChanged")
    is_number = kind is int and is_a is qt.QSpinBox
    if is_number or (kind is float and is_a in (qt.QDoubleSpinBox, ctk.ctkSliderWidget)):
        if parameter.range is None:
            raise RuntimeError(f"{parameter.name} needs a range to connect to {is_a.__name__}")
        widget.minimum, widget.maximum = kind(parameter.range.minimum), kind(parameter.range.maximum)
        return _of_property(widget, "value", "valueChanged")
    raise RuntimeError(f"Unable to create GUI connector from datatype {kind} to widget type {is_a}")


def _of_property(widget: Any, name: str, signal: str) -> _Connector:
    def write(value: Any) -> None:
        if getattr(widget, name) != value:
            setattr(widget, name, value)

    return _Connector(widget, signal, lambda: getattr(widget, name), write)


def _enum_connector(widget: Any, kind: Any) -> _Connector:
    members = list(kind)
    widget.clear()
    widget.addItems([kind.label(member) if hasattr(kind, "label") else member.name for member in members])

    def write(value: Any) -> None:
        widget.currentIndex = members.index(value)

    return _Connector(widget, "currentIndexChanged", lambda: members[widget.currentIndex], write)
