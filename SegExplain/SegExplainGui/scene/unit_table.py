"""The units as a table for people, and the strongest as a bar chart."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk import vtkTable

from SegExplainGui.scene.colour_scale import ColourScale
from SegExplainGui.scene.quantity_words import short_name, unit_label
from SegExplainGui.scene.stored_answers import number_column, text_column
from SegExplainGui.scene.unit_answers import Answer, UnitAnswers
from SegExplainLib.report.colours import NEGATIVE_HEX, POSITIVE_HEX

UNIT, RAISES, LOWERS = "unit", "raises", "lowers"


def fill_table(node: Any, units: UnitAnswers, answer: Answer, *, noun: str) -> None:
    """Writes all units into a vtkMRMLTableNode, the strongest first; numbers have the digits that their error supports.

    Columns: rank, unit, importance, standard_error, low_95, high_95, volume_ml, id; without the three of the error
    where no error is told. All but the unit's name are numbers, so that a view sorts them. ``noun`` is what the
    importances are called.
    """
    order, half_widths = answer.order, answer.half_widths
    decimals = [_decimals(answer.values[place], half_widths[place]) for place in order]

    def readable(values: NDArray) -> NDArray[np.float64]:
        return np.array([round(float(value), places) for value, places in zip(values[order], decimals)])

    errors = {
        "standard_error": answer.standard_errors,
        "low_95": answer.values - half_widths,
        "high_95": answer.values + half_widths,
    }
    table, is_told = vtkTable(), np.isfinite(answer.standard_errors).any()
    for column in (
        number_column("rank", np.arange(1, len(order) + 1, dtype=np.int32)),
        text_column(UNIT, [units.names[place] for place in order]),
        number_column("importance", readable(answer.values)),
        *(number_column(name, readable(values)) for name, values in errors.items() if is_told),
        number_column("volume_ml", np.round(units.volumes_ml[order], 1)),
        number_column("id", units.ids[order].astype(np.int32)),
    ):
        table.AddColumn(column)
    was_modifying = node.StartModify()
    _replace(node, table)
    node.SetUseColumnTitleAsColumnHeader(True)
    for name, title in _titles(noun).items():
        node.SetColumnTitle(name, title)
    for name in ("importance", *errors):
        node.SetColumnUnitLabel(name, unit_label(answer.unit))
    node.SetDescription(_("{what} of each unit for {target}, {quantity}").format(**_words(answer, noun)))
    node.EndModify(was_modifying)


def prepare_chart(chart: Any, raises: Any, lowers: Any, bars: Any) -> None:
    """Makes a chart of two bar series over a table, red above zero and blue below."""
    for series, column, colour in ((raises, RAISES, POSITIVE_HEX), (lowers, LOWERS, NEGATIVE_HEX)):
        series.SetPlotType(series.PlotTypeBar)
        series.SetAndObserveTableNodeID(bars.GetID())
        series.SetYColumnName(column)
        series.SetLabelColumnName(UNIT)
        series.SetColor(*(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)))
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetXAxisTitle(_("Rank of the unit, as in the table"))
    chart.SetLegendVisibility(False)  # the colours say what the side of the axis says already


def colour_bars(raises: Any, scale: ColourScale) -> None:
    """Gives the bars above zero red where a sign speaks, else the middle of the scale."""
    raises.SetColor(*scale.rgb(scale.limit if scale.is_signed else scale.limit / 2))


def fill_bars(bars: Any, chart: Any, units: UnitAnswers, answer: Answer, places: NDArray, *, noun: str) -> None:
    """Writes the shown units into the chart's table, the strongest first, and names the chart."""
    values = answer.values[places]
    table = vtkTable()
    table.AddColumn(text_column(UNIT, [units.names[place] for place in places]))
    table.AddColumn(number_column(RAISES, np.maximum(values, 0.0)))
    table.AddColumn(number_column(LOWERS, np.minimum(values, 0.0)))
    _replace(bars, table)
    if chart is not None:
        words = _words(answer, noun)
        was_modifying = chart.StartModify()
        chart.SetTitle(_("{what} for {target}, {quantity}").format(**words))
        unit = unit_label(answer.unit)
        chart.SetYAxisTitle(_("{what} ({unit})").format(unit=unit, **words) if unit else words["what"])
        chart.EndModify(was_modifying)


def _replace(node: Any, table: Any) -> None:
    """New content for a table node; the vtkTable stays, so that views and selections on it do, too."""
    shown = node.GetTable()
    if shown is None:
        node.SetAndObserveTable(table)
        return
    shown.DeepCopy(table)
    shown.Modified()
    node.Modified()


def _titles(noun: str) -> dict[str, str]:
    return {
        "rank": _("Rank"),
        UNIT: _("Unit"),
        "importance": noun.capitalize(),
        "standard_error": _("Standard error"),
        "low_95": _("95 % from"),
        "high_95": _("95 % to"),
        "volume_ml": _("Volume (ml)"),
        "id": _("Label"),
    }


def _words(answer: Answer, noun: str) -> dict[str, str]:
    return {"what": noun.capitalize(), "target": answer.target, "quantity": short_name(answer.quantity)}


def _decimals(value: float, half_width: float) -> int:
    """Decimal places that show two digits of the half width, or three of the value where no error is known."""
    known = half_width if half_width and math.isfinite(half_width) else abs(value) / 10
    return max(0, 1 - math.floor(math.log10(known))) if known and math.isfinite(known) else 0
