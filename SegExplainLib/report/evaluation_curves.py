"""Deletion curves of every result beside random orders and the order by volume; Dice of its best segments."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from SegExplainLib.evaluation.scorecard import Evaluation, ResultScores
from SegExplainLib.evaluation.unit_curves import Axis, UnitCurve
from SegExplainLib.evaluation.unit_scores import ORDER_ALONG, family_of
from SegExplainLib.evaluation.voxel_scores import VOXELS
from SegExplainLib.report.colours import NEGATIVE_HEX, POSITIVE_HEX
from SegExplainLib.report.evaluation_words import p_words
from SegExplainLib.report.maps import DPI
from SegExplainLib.report.rounding import percent, rounded, suffix_of
from SegExplainLib.report.wording import quantity_words, readable, shortened

_INK, _SOFT, _BAND, _MEAN = "#26292e", "#6b7078", "#d9dce0", "#9a9fa6"
_PANEL_INCHES, _ROW_INCHES, _HEAD_INCHES, _FOOT_INCHES = 5.0, 3.1, 0.38, 0.42
_REST_INCHES = 0.25 + _HEAD_INCHES + _FOOT_INCHES
_ORDERS: dict[Axis, str] = {"units": "largest value first", "volume": "largest value per ml first"}


COLUMNS_OF_ONE = 2
"""On a page four in a row could not be read."""


@dataclass(frozen=True)
class Panel:
    """One picture of a result: what draws it, and the label of its x axis."""

    draw: Callable[[Axes, Evaluation, ResultScores], None]
    x_label: str


def write_curves(path: Path, evaluation: Evaluation) -> None:
    """Writes a PNG with a row for each result; of one result alone, two panels in a row.

    Over removed units; over removed volume; over removed voxels, where maps were judged voxel by voxel; and the Dice of
    the mask with the best segments.
    """
    figure = draw_curves(evaluation)
    _round_places(figure)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _round_places(figure: Figure) -> None:
    """Lays the panels out to a fifth of a pixel: the solver's last digits vary, and one evaluation is one picture."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(Bbox.from_bounds(*(round(edge, 4) for edge in axes.get_position().bounds)))


def draw_curves(evaluation: Evaluation) -> Figure:
    """The picture as a matplotlib figure."""
    cells = [(result, panel) for result in evaluation.results for panel in _panels(evaluation)]
    is_alone = len(evaluation.results) == 1
    n_columns = COLUMNS_OF_ONE if is_alone else len(_panels(evaluation))
    n_rows = -(-len(cells) // n_columns)
    figure, height = _figure(n_rows, n_columns)
    places = figure.add_gridspec(n_rows, n_columns)
    of_number: list[Axes] = []
    for place, (result, panel) in enumerate(cells):
        axes = figure.add_subplot(places[place])
        panel.draw(axes, evaluation, result)
        _plain(axes)
        if is_alone or place + n_columns >= len(cells):
            axes.set_xlabel(panel.x_label, color=_INK, size=9)
        if panel.draw is not _draw_dice:
            of_number.append(axes)
            axes.sharey(of_number[0])
            if place % n_columns == 0:
                axes.set_ylabel(_number_label(evaluation), color=_INK, size=9)
    target = shortened(readable(evaluation.target), 40)
    title = f"What the network still sees of “{target}” as units are removed ({evaluation.removal})"
    figure.text(0.012, 1 - 0.1 / height, title, ha="left", va="top", size=11, color=_INK)
    _legend(figure, evaluation)
    return figure


def _figure(n_rows: int, n_columns: int) -> tuple[Figure, float]:
    """An empty figure with room for a title and a legend, and its height in inches."""
    height = _REST_INCHES + _ROW_INCHES * n_rows
    foot, head = _FOOT_INCHES / height, _HEAD_INCHES / height
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, rect=(0, foot, 1, 1 - foot - head))
    size = (_PANEL_INCHES * n_columns, height)
    return Figure(figsize=size, dpi=DPI, facecolor="white", layout=layout), height


def _number_label(evaluation: Evaluation) -> str:
    unit = suffix_of(evaluation.unit).strip()
    return f"{quantity_words(evaluation.quantity).short}{f' ({unit})' if unit else ''}"


def _panels(evaluation: Evaluation) -> list[Panel]:
    """What is drawn of each result."""
    panels = [Panel(_draw_units, "units removed"), Panel(_draw_volume, "volume removed (ml)")]
    if evaluation.voxel_sticks:
        panels.append(Panel(_draw_voxels, "voxels removed (%)"))
    return [*panels, Panel(_draw_dice, "best segments kept (% of the volume)")]


def _draw_units(axes: Axes, evaluation: Evaluation, result: ResultScores) -> None:
    _draw_along(axes, evaluation, result, axis="units")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_volume(axes: Axes, evaluation: Evaluation, result: ResultScores) -> None:
    _draw_along(axes, evaluation, result, axis="volume")


def _draw_along(axes: Axes, evaluation: Evaluation, result: ResultScores, *, axis: Axis) -> None:
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
    _title(axes, f"{shortened(result.name, 44)}: {_ORDERS[axis]}", _place(result, axis))
    axes.set_xlim(0, most_x)


def _draw_voxels(axes: Axes, evaluation: Evaluation, result: ResultScores) -> None:
    """The mean of random voxels is one line: scattered voxels differ little from draw to draw."""
    if evaluation.voxel_sticks is None or result.voxels is None:
        return
    found = result.voxels.curves["value"]
    for curve, colour, style, width in (
        (evaluation.voxel_sticks.random.most_first, _MEAN, "solid", 1.0),
        (found.least_first, NEGATIVE_HEX, (0, (4, 1.6)), 1.7),
        (found.most_first, POSITIVE_HEX, "solid", 2.1),
    ):
        axes.plot(100 * curve.shares("volume"), curve.values, color=colour, ls=style, lw=width, zorder=3)
    fidelity = result.metric(VOXELS, "fidelity-value-relative")
    note = fidelity.why_undefined if fidelity.value is None else f"fidelity {rounded(fidelity.value, 2)}; chance is 0"
    _title(axes, f"{shortened(result.name, 44)}: largest voxels first", note)
    axes.set_xlim(0, 100)


def _draw_dice(axes: Axes, evaluation: Evaluation, result: ResultScores) -> None:
    curve = result.map.segment_dice
    title = f"{shortened(result.name, 38)}: Dice with the mask"
    if curve.why_undefined:
        _title(axes, title, curve.why_undefined)
        return
    x = 100 * np.array(curve.kept_shares)
    axes.plot(x, curve.chance, color=_MEAN, lw=1.0, zorder=2)
    axes.plot(x, curve.dice, color=POSITIVE_HEX, lw=2.1, marker="o", ms=3, zorder=3)
    _title(axes, title, f"{shortened(evaluation.mask, 44)}; {curve.n_segments} segments, best mean first")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)


def _title(axes: Axes, title: str, note: str) -> None:
    axes.set_title(shortened(title, 58), loc="left", size=9.5, color=_INK, pad=19)
    text = axes.text(0, 1.025, note, transform=axes.transAxes, va="bottom", size=8, color=_SOFT)
    text.set_in_layout(False)  # it must not make the panel narrower


def _plain(axes: Axes) -> None:
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
        handles.append(Line2D([], [], color=_MEAN, lw=1.0, label="random orders or voxels, mean"))
        handles.append(Patch(color=_BAND, label="95 % of them"))
    figure.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False, fontsize=8.5, labelcolor=_INK)
