"""The module ``qt`` of Slicer's Python, over PySide6: PythonQt's manners, so that code which breaks them fails here.

In PythonQt a property is an attribute (``label.text``, never ``label.text()``), ``w.name`` is the object name, signals
connect by signature (``button.connect("clicked()", f)``) or by name, and file dialogs give a plain string.
"""

from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

WIDGETS: dict[str, type] = {}
"""Class name in a .ui file -> stand-in class; filled by `ctk` and `qmrml`."""

_OWN_NAMES = ("metaObject", "property", "setProperty")
_VIRTUAL_GETTERS = (
    "sizeHint",
    "minimumSizeHint",
    "spacing",
)  # C++ calls them back: reading the property would never end


_PARTS = ("horizontalHeader", "verticalHeader", "lineEdit", "completer")  # made by Qt itself, hence of PySide6's kind


class _Part:
    """PythonQt's manners for an object that Qt made within another."""

    def __init__(self, part: Any) -> None:
        self.__dict__["_part"] = part

    def __getattr__(self, name: str) -> Any:
        is_property = self._part.metaObject().indexOfProperty(name) >= 0
        return self._part.property(name) if is_property else getattr(self._part, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not self._part.setProperty(name, value):
            raise AttributeError(f"{type(self._part).__name__} has no property {name!r}")

    def connect(self, signature: str, slot: Any) -> bool:
        if self._part.metaObject().indexOfSignal(signature) < 0:
            raise AttributeError(f"{type(self._part).__name__} has no signal {signature}")
        getattr(self._part, signature.split("(")[0]).connect(slot)
        return True


class PythonQtObject:
    """PythonQt's way to reach properties and signals, mixed into a class of PySide6."""

    _property_names: frozenset[str] | None = None

    @classmethod
    def _properties(cls) -> frozenset[str]:
        if "_property_names" not in cls.__dict__ or cls._property_names is None:
            meta = cls.staticMetaObject
            names = {meta.property(at).name() for at in range(meta.propertyCount())}
            text = {"text"} if issubclass(cls, QtWidgets.QProgressBar) else set()  # of others it is not virtual
            cls._property_names = frozenset(names - set(_VIRTUAL_GETTERS) - text)
        return cls._property_names

    def __getattribute__(self, name: str) -> Any:
        if name in ("connect", "disconnect", "className", "findChildren", "findChild"):
            return getattr(PythonQtObject, name).__get__(self)
        if not name.startswith("_") and name not in _OWN_NAMES:
            name = "objectName" if name == "name" else name
            if name in type(self)._properties():
                return QtCore.QObject.property(self, name)
        found = super().__getattribute__(name)
        return (lambda: _Part(found())) if name in _PARTS else found

    def __setattr__(self, name: str, value: Any) -> None:
        name = "objectName" if name == "name" else name
        if name in type(self)._properties():
            QtCore.QObject.setProperty(self, name, list(value) if isinstance(value, tuple) else value)
        elif name.startswith("_") or hasattr(type(self), name) or isinstance(value, QtCore.QObject):  # set by QUiLoader
            super().__setattr__(name, value)
        else:
            raise AttributeError(f"{type(self).__name__} has no property {name!r}")

    def connect(self, signature: str, slot: Any) -> bool:
        """Connects a signal by its C++ signature; the slot gets as many arguments as the signature names."""
        name, _, arguments = signature.partition("(")
        if self.metaObject().indexOfSignal(QtCore.QMetaObject.normalizedSignature(signature).data().decode()) < 0:
            self._check_stand_in_signal(name, signature)
        n_arguments = 0 if arguments == ")" else arguments.count(",") + 1
        heard = lambda *given: slot(*given[:n_arguments])  # noqa: E731 -- the very object is needed to disconnect
        self.__dict__.setdefault("_heard", {})[signature, slot] = heard
        self._signal(name, arguments.rstrip(")")).connect(heard)
        return True

    def disconnect(self, signature: str, slot: Any) -> bool:
        name, _, arguments = signature.partition("(")
        heard = self.__dict__.get("_heard", {}).pop((signature, slot), None)
        if heard is not None:
            self._signal(name, arguments.rstrip(")")).disconnect(heard)
        return heard is not None

    def _signal(self, name: str, arguments: str) -> Any:
        return super().__getattribute__(name)

    def _check_stand_in_signal(self, name: str, signature: str) -> None:
        signatures = getattr(type(self), "SIGNATURES", ())
        if signature not in signatures:
            raise AttributeError(f"{type(self).__name__} has no signal {signature}")

    def className(self) -> str:
        return type(self).__name__

    def findChildren(self, kind: type = QtCore.QObject, *rest: Any) -> list[Any]:
        return QtCore.QObject.findChildren(self, getattr(kind, "_base", kind), *rest)

    def findChild(self, kind: type, *rest: Any) -> Any:
        return QtCore.QObject.findChild(self, getattr(kind, "_base", kind), *rest)


class _Kind(type(QtCore.QObject)):
    """isinstance holds for objects that PySide6 made itself, such as a spin box's line edit."""

    def __instancecheck__(cls, candidate: Any) -> bool:
        base = cls.__dict__.get("_base")
        return type.__instancecheck__(cls, candidate) or (base is not None and isinstance(candidate, base))


def _fill_module() -> None:
    wrapped = (QtWidgets.QWidget, QtWidgets.QLayout, QtGui.QAction, QtCore.QTimer, QtWidgets.QButtonGroup)
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            found = getattr(module, name)
            if name.startswith("_"):
                continue
            if isinstance(found, type) and issubclass(found, (*wrapped, QtWidgets.QCompleter)):
                found = _Kind(name, (PythonQtObject, found), {"_base": found, "__module__": __name__})
            globals()[name] = found


_fill_module()


class QFileDialog(globals()["QFileDialog"]):
    """Without a user: what a test puts into ``answers`` is chosen, else the dialog is dismissed."""

    answers: list[str] = []  # noqa: RUF012 -- a test fills it

    @classmethod
    def _answer(cls, *_given: Any) -> str:
        return cls.answers.pop(0) if cls.answers else ""

    getExistingDirectory = getSaveFileName = getOpenFileName = _answer


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file with stand-ins for Slicer's and CTK's widgets; an unknown class is an error."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[str, Any] = {}

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        kind = WIDGETS.get(class_name) or globals().get(class_name)
        if kind is None:
            raise RuntimeError(f"The .ui file uses the unknown widget class {class_name}.")
        return self._named(kind(parent) if parent is not None else kind(), name)

    def createLayout(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        kind = globals()[class_name]
        return self._named(kind(parent) if isinstance(parent, QtWidgets.QWidget) else kind(), name)

    def _named(self, made: Any, name: str) -> Any:
        made.setObjectName(name)
        self._made[name] = made
        return made

    def load(self, file: Any) -> Any:
        """The root widget; the file's connections, whose signatures speak of VTK pointers, are made in Python."""
        import xml.etree.ElementTree as ElementTree

        root = ElementTree.fromstring(bytes(file.readAll()))
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, None)
        if widget is None:
            raise RuntimeError(self.errorString())
        widget.__dict__["_made"] = self._made  # else PySide6 forgets the Python halves
        for connection in connections if connections is not None else ():
            sender, signal, receiver, slot = (connection.findtext(k) for k in ("sender", "signal", "receiver", "slot"))
            getattr(self._made[sender], signal.split("(")[0]).connect(getattr(self._made[receiver], slot.split("(")[0]))
        return widget
