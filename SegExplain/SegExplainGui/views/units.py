"""The table of units: importance with its standard error and volume, strongest first; a chosen row tells its unit."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from SegExplainGui.shown_result import UnitRow
from SegExplainGui.views.wording import value_unit_words

SWATCH_PX = 12
RIGHT_MIDDLE = 0x0082  # Qt::AlignRight | Qt::AlignVCenter as a number: not every PythonQt takes combined flags
NAME, IMPORTANCE, VOLUME = range(3)


class UnitsView:
    """Fills a QTableWidget and sorts it by the heading that is clicked."""

    def __init__(self, table: Any, *, on_pick: Callable[[int | None], None]) -> None:
        self._table, self._on_pick = table, on_pick
        self._rows: list[UnitRow] = []
        self._scale: Any = None
        self._has_errors, self._is_relative = False, False
        self._column = IMPORTANCE
        header = table.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(IMPORTANCE, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(VOLUME, qt.QHeaderView.ResizeToContents)
        header.connect("sectionClicked(int)", self._sort_by)
        table.connect("itemSelectionChanged()", self._on_selection)
        table.connect("cellClicked(int,int)", self._on_click)

    @property
    def picked(self) -> int | None:
        """The chosen unit's id, or None."""
        chosen = self._table.selectedItems()
        return self._rows[chosen[0].row()].id if chosen else None

    def show(self, rows: Sequence[UnitRow], *, unit_of_value: str, noun: str, scale: Any, has_errors: bool) -> None:
        """Shows other rows; the chosen unit stays chosen, and nobody is told.

        Args:
            rows: One for each unit.
            unit_of_value: Of the importances; "relative" ones are shown in percent of the largest.
            noun: What they are called.
            scale: Colours of the importances, as `ShownResult.scale` gives them.
            has_errors: Whether an error that is not known is one that will come.
        """
        picked = self.picked
        self._rows, self._scale, self._has_errors = list(rows), scale, has_errors
        words = value_unit_words(unit_of_value)
        self._is_relative = unit_of_value == "relative"
        self._table.horizontalHeaderItem(NAME).setText(_("Unit"))
        self._table.horizontalHeaderItem(IMPORTANCE).setText(
            _("{what} ({unit})").format(what=noun, unit=words) if words else noun
        )
        self._table.horizontalHeaderItem(VOLUME).setText(_("ml"))
        self._draw(picked)

    def clear(self) -> None:
        """Shows no rows."""
        self.show([], unit_of_value="", noun=_("Importance"), scale=None, has_errors=False)

    def _sort_by(self, column: int) -> None:
        self._column = column
        self._draw(self.picked)

    def _draw(self, picked: int | None) -> None:
        self._rows.sort(key=self._sort_key)
        limit = self._scale.limit if self._scale is not None else 1.0
        factor = 100 / limit if self._is_relative else 1.0
        decimals = 1 if self._is_relative else _decimals(limit)
        was = self._table.blockSignals(True)
        self._table.setRowCount(len(self._rows))
        for at, row in enumerate(self._rows):
            name = qt.QTableWidgetItem(_swatch(self._scale.rgb(row.importance)), row.name)
            name.setToolTip(row.name)
            importance = qt.QTableWidgetItem(self._value_words(row, factor, decimals))
            volume = qt.QTableWidgetItem(f"{row.volume_ml:,.1f}")
            for cell in (importance, volume):
                cell.setData(qt.Qt.TextAlignmentRole, RIGHT_MIDDLE)
            for column, cell in ((NAME, name), (IMPORTANCE, importance), (VOLUME, volume)):
                self._table.setItem(at, column, cell)
            if row.id == picked:
                self._table.selectRow(at)
        if picked not in {row.id for row in self._rows}:
            self._table.clearSelection()
        self._table.blockSignals(was)

    def _sort_key(self, row: UnitRow) -> tuple[Any, ...]:
        if self._column == NAME:
            return (row.name.lower(), row.id)
        strength = row.volume_ml if self._column == VOLUME else abs(row.importance)
        return (-strength if math.isfinite(strength) else 0.0, row.id)

    def _value_words(self, row: UnitRow, factor: float, decimals: int) -> str:
        sign, error = "+" if self._scale.is_signed else "", row.standard_error
        value = f"{factor * row.importance:{sign},.{decimals}f}".replace("-", "\u2212")
        if error == 0 or not (self._has_errors or math.isfinite(error)):
            return value
        return f"{value} ± {factor * error:,.{decimals}f}" if math.isfinite(error) else f"{value} ± ?"

    def _on_selection(self) -> None:
        self._on_pick(self.picked)

    def _on_click(self, _row: int, _column: int) -> None:
        """Also the row that is chosen already: the user has scrolled the views away and wants to come back."""
        self._on_selection()


def _decimals(limit: float) -> int:
    """So that the strongest importance has three significant digits."""
    return min(8, max(0, 2 - math.floor(math.log10(limit))))


def _swatch(rgb: Any) -> Any:
    red, green, blue = (round(255 * float(channel)) for channel in rgb)
    pixmap = qt.QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(qt.QColor(red, green, blue))
    icon = qt.QIcon(pixmap)
    icon.addPixmap(pixmap, qt.QIcon.Selected)  # else the style greys the colour of the chosen row
    return icon
