"""The module ``ctk`` of Slicer: stand-ins with the properties and signals that are used, drawn recognisably."""

from typing import Any

import qt
from PySide6 import QtCore, QtGui, QtWidgets


def stored(kind: Any, name: str, default: Any) -> Any:
    """A Qt property that only keeps its value."""

    def read(self: Any) -> Any:
        return self.__dict__.get("_stored_" + name, default)

    def write(self: Any, value: Any) -> None:
        self.__dict__["_stored_" + name] = value

    return QtCore.Property(kind, read, write)


class ctkCollapsibleButton(qt.QWidget):
    """A heading with an arrow; its contents below are shown or not."""

    SIGNATURES = ("contentsCollapsed(bool)",)
    contentsCollapsed = QtCore.Signal(bool)
    HEADING_PX = 24

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._is_collapsed, self._is_forcing, self._text = False, False, ""
        self._hidden_on_purpose: set[int] = set()
        self.setFocusPolicy(QtCore.Qt.StrongFocus)

    def _read_text(self) -> str:
        return self._text

    def _write_text(self, text: str) -> None:
        self._text = text
        self.update()

    def _read_collapsed(self) -> bool:
        return self._is_collapsed

    def _write_collapsed(self, is_collapsed: bool) -> None:
        if is_collapsed != self._is_collapsed:
            self._is_collapsed = is_collapsed
            self._show_children()
            self.contentsCollapsed.emit(is_collapsed)

    text = QtCore.Property(str, _read_text, _write_text)
    collapsed = QtCore.Property(bool, _read_collapsed, _write_collapsed)
    flat = stored(bool, "flat", False)
    contentsFrameShape = stored(int, "contentsFrameShape", 0)

    def _show_children(self) -> None:
        self._is_forcing = True  # as in CTK: what was hidden on purpose stays hidden
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and id(child) not in self._hidden_on_purpose:
                QtWidgets.QWidget.setVisible(child, not self._is_collapsed)
        self._is_forcing = False
        self.setMaximumHeight(self.HEADING_PX if self._is_collapsed else 16777215)
        self.updateGeometry()

    def childEvent(self, event: Any) -> None:
        if event.type() == QtCore.QEvent.ChildAdded and event.child().isWidgetType():
            event.child().installEventFilter(self)
        elif event.type() == QtCore.QEvent.ChildPolished and not self._is_forcing:
            self._show_children()

    def eventFilter(self, child: Any, event: Any) -> bool:
        kinds = {QtCore.QEvent.ShowToParent: True, QtCore.QEvent.HideToParent: False}
        if not self._is_forcing and event.type() in kinds:
            change = self._hidden_on_purpose.discard if kinds[event.type()] else self._hidden_on_purpose.add
            change(id(child))
        return False

    def showEvent(self, event: Any) -> None:
        self.setContentsMargins(0, self.HEADING_PX, 0, 0)
        self._show_children()

    def mousePressEvent(self, event: Any) -> None:
        self.collapsed = not self.collapsed

    def minimumSizeHint(self) -> Any:
        size = QtWidgets.QWidget.minimumSizeHint(self)
        return QtCore.QSize(size.width(), self.HEADING_PX) if self._is_collapsed else size

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.size.width(), self.HEADING_PX)
        if not self.flat:
            self.style().drawPrimitive(QtWidgets.QStyle.PE_PanelButtonCommand, option, painter, self)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 6, 12, 12)
        kind = QtWidgets.QStyle.PE_IndicatorArrowRight if self._is_collapsed else QtWidgets.QStyle.PE_IndicatorArrowDown
        self.style().drawPrimitive(kind, arrow, painter, self)
        where = QtCore.QRect(24, 0, self.size.width() - 28, self.HEADING_PX)
        text = painter.fontMetrics().elidedText(self._text, QtCore.Qt.ElideRight, where.width())
        painter.drawText(where, QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft, text)
        painter.end()


class _Value:
    """A float with bounds and ``valueChanged``, for sliders that PySide6 does not have."""

    def _keep(self, value: float) -> None:
        value = min(max(float(value), self.minimum), self.maximum)
        if value != self._value:
            self._value = value
            self._draw()
            self.valueChanged.emit(value)


def _bound(name: str, default: float) -> Any:
    def read(self: Any) -> float:
        return self.__dict__.get("_bound_" + name, default)

    def write(self: Any, value: float) -> None:
        self.__dict__["_bound_" + name] = value
        self._draw()

    return QtCore.Property(float, read, write)


class ctkSliderWidget(qt.QWidget, _Value):
    """A slider beside a spin box, both of a float."""

    SIGNATURES = ("valueChanged(double)",)
    valueChanged = QtCore.Signal(float)
    minimum, maximum = _bound("minimum", 0.0), _bound("maximum", 99.0)
    singleStep, pageStep = _bound("singleStep", 1.0), _bound("pageStep", 10.0)
    decimals, suffix = stored(int, "decimals", 2), stored(str, "suffix", "")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._value = 0.0
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider, self._box = QtWidgets.QSlider(QtCore.Qt.Horizontal), QtWidgets.QDoubleSpinBox()
        row.addWidget(self._slider, 1)
        row.addWidget(self._box)
        self._box.valueChanged.connect(self._keep)
        self._slider.valueChanged.connect(lambda at: self._keep(self._at(at)))

    def _read(self) -> float:
        return self._value

    value = QtCore.Property(float, _read, _Value._keep)

    def setValue(self, value: float) -> None:
        self.value = value

    def _at(self, position: int) -> float:
        share = position / 1000
        return round((self.minimum + share * (self.maximum - self.minimum)) / self.singleStep) * self.singleStep

    def _draw(self) -> None:
        if "_box" not in self.__dict__:
            return
        for part in (self._slider, self._box):
            part.blockSignals(True)
        self._box.setDecimals(self.decimals)
        self._box.setRange(self.minimum, self.maximum)
        self._box.setSingleStep(self.singleStep)
        self._box.setSuffix(self.suffix)
        self._box.setValue(self._value)
        self._slider.setRange(0, 1000)
        self._slider.setValue(round(1000 * (self._value - self.minimum) / max(self.maximum - self.minimum, 1e-9)))
        for part in (self._slider, self._box):
            part.blockSignals(False)


class ctkPathLineEdit(qt.QWidget):
    """A line for a path and a button to look for it."""

    SIGNATURES = ("currentPathChanged(QString)",)
    Files, Dirs, Executable = 2, 1, 64
    currentPathChanged = QtCore.Signal(str)
    filters = stored(int, "filters", 2)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._line, self._button = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        self._button.setText("…")
        row.addWidget(self._line, 1)
        row.addWidget(self._button)
        self._line.textChanged.connect(self.currentPathChanged)

    def _read(self) -> str:
        return self._line.text()

    def _write(self, path: str) -> None:
        self._line.setText(path)

    currentPath = QtCore.Property(str, _read, _write)


class ctkComboBox(qt.QComboBox):
    pass


class ctkCheckBox(qt.QCheckBox):
    pass


class _Unused(qt.QWidget):
    pass


class ctkCheckablePushButton(qt.QPushButton):
    pass


class ctkDoubleSlider(_Unused):
    pass


class ctkDoubleSpinBox(_Unused):
    pass


class ctkRangeWidget(_Unused):
    pass


class ctkDoubleRangeSlider(_Unused):
    pass


class ctkDirectoryButton(qt.QPushButton):
    pass


class ctkColorPickerButton(qt.QPushButton):
    pass


class ctkCheckableComboBox(qt.QComboBox):
    pass


qt.WIDGETS |= {name: kind for name, kind in globals().items() if name.startswith("ctk")}
