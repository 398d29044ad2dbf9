"""Deletion curves of every result beside random orders and the order by volume."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from SegExplainLib.evaluation.scorecard import Evaluation, ResultScores
from SegExplainLib.evaluation.unit_curves import AXES, Axis, UnitCurve
from SegExplainLib.evaluation.unit_scores import ORDER_ALONG, family_of
from SegExplainLib.report.colours import NEGATIVE_HEX, POSITIVE_HEX
from SegExplainLib.report.evaluation_words import p_words
from SegExplainLib.report.maps import DPI
from SegExplainLib.report.rounding import percent, suffix_of
from SegExplainLib.report.wording import quantity_words, readable, shortened

_INK, _SOFT, _BAND, _MEAN = "#26292e", "#6b7078", "#d9dce0", "#9a9fa6"
_WIDTH_INCHES, _ROW_INCHES, _HEAD_INCHES, _FOOT_INCHES = 10.0, 3.1, 0.38, 0.42
_REST_INCHES = 0.25 + _HEAD_INCHES + _FOOT_INCHES
_LABELS: dict[Axis, str] = {"units": "units removed", "volume": "volume removed (ml)"}
_ORDERS: dict[Axis, str] = {"units": "largest value first", "volume": "largest value per ml first"}


def write_curves(path: Path, evaluation: Evaluation) -> None:
    """Writes a PNG with a row for each result: over removed units on the left, over removed volume on the right."""
    FigureCanvasAgg(draw_curves(evaluation)).print_png(path, metadata={"Software": None})


def draw_curves(evaluation: Evaluation) -> Figure:
    """The picture as a matplotlib figure."""
    n = len(evaluation.results)
    height = _REST_INCHES + _ROW_INCHES * n
    foot, head = _FOOT_INCHES / height, _HEAD_INCHES / height
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, rect=(0, foot, 1, 1 - foot - head))
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=DPI, facecolor="white", layout=layout)
    grid = figure.subplots(n, len(AXES), squeeze=False, sharey=True, sharex="col")
    for row, result in zip(grid, evaluation.results, strict=True):
        for axes, axis in zip(row, AXES, strict=True):
            _draw_panel(axes, evaluation, result, axis)
    for axes, axis in zip(grid[-1], AXES, strict=True):
        axes.set_xlabel(_LABELS[axis], color=_INK, size=9)
    what = quantity_words(evaluation.quantity).short
    unit = suffix_of(evaluation.unit).strip()
    for axes in grid[:, 0]:
        axes.set_ylabel(f"{what}{f' ({unit})' if unit else ''}", color=_INK, size=9)
    target = shortened(readable(evaluation.target), 40)
    title = f"What the network still sees of “{target}” as units are removed ({evaluation.removal})"
    figure.text(0.012, 1 - 0.1 / height, title, ha="left", va="top", size=11, color=_INK)
    _legend(figure, evaluation)
    return figure


def _draw_panel(axes: Axes, evaluation: Evaluation, result: ResultScores, axis: Axis) -> None:
    sticks, found = evaluation.sticks, result.units.curves[ORDER_ALONG[axis]]
    most_x = sticks.n_units if axis == "units" else sum(sticks.volumes_ml)
    if sticks.random:
        band = sticks.random.bands[axis]
        x = np.array(band.shares) * most_x
        axes.fill_between(x, band.low, band.high, color=_BAND, lw=0, zorder=1)
        axes.plot(x, band.mean, color=_MEAN, lw=1.0, zorder=2)
    _plot(axes, sticks.volume_only.most_first, axis, colour=_INK, style=(0, (1, 1.4)), width=1.3)
    _plot(axes, found.least_first, axis, colour=NEGATIVE_HEX, style=(0, (4, 1.6)), width=1.7)
    _plot(axes, found.most_first, axis, colour=POSITIVE_HEX, style="solid", width=2.1)
    axes.set_title(f"{shortened(result.name, 44)}: {_ORDERS[axis]}", loc="left", size=9.5, color=_INK, pad=19)
    note = axes.text(0, 1.025, _place(result, axis), transform=axes.transAxes, va="bottom", size=8, color=_SOFT)
    note.set_in_layout(False)  # it must not make the panel narrower
    axes.set_xlim(0, most_x)
    if axis == "units":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=8, colors=_SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_MEAN)


def _plot(axes: Axes, curve: UnitCurve, axis: Axis, *, colour: str, style: str | tuple, width: float) -> None:
    x = curve.removed_count if axis == "units" else curve.removed_ml
    has_dots = len(x) <= 40 and style == "solid"
    axes.plot(x, curve.values, color=colour, ls=style, lw=width, marker="o" if has_dots else None, ms=3, zorder=3)


def _place(result: ResultScores, axis: Axis) -> str:
    """Where the order stands among random ones."""
    family = family_of(ORDER_ALONG[axis])
    fall, gap = (result.metric(family, f"{area}-{axis}-percentile") for area in ("aopc", "abpc"))
    if fall.value is None or gap.value is None:
        return "the values rank no units" if "rank" in fall.why_undefined else "not held against random orders"
    p = p_words(result.metric(family, f"abpc-{axis}-p-value"))
    below, wider = percent(fall.value / 100), percent(gap.value / 100)
    return f"falls more than {below} of random orders; gap wider than {wider}, {p}"


def _legend(figure: Figure, evaluation: Evaluation) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=POSITIVE_HEX, lw=2.1, marker="o", ms=3, label="most important first"),
        Line2D([], [], color=NEGATIVE_HEX, lw=1.7, ls=(0, (4, 1.6)), label="least important first"),
        Line2D([], [], color=_INK, lw=1.3, ls=(0, (1, 1.4)), label="largest unit first"),
    ]
    if evaluation.sticks.random:
        handles.append(Line2D([], [], color=_MEAN, lw=1.0, label="random orders, mean"))
        handles.append(Patch(color=_BAND, label="95 % of them"))
    figure.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False, fontsize=8.5, labelcolor=_INK)
