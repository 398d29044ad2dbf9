"""Bars of the strongest units with their 95 % intervals."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.certainty import certainty_of
from SegExplainLib.report.maps import DPI, Picture
from SegExplainLib.report.methods import method_words, uses_gradients
from SegExplainLib.report.rounding import suffix_of, with_error
from SegExplainLib.report.shown import PERCENT, as_shown, bar_hex, is_unsampled, sign_words
from SegExplainLib.report.wording import counted, quantity_words, readable, shortened

RANKING_PNG = "ranking.png"

MOST_BARS = 15

_INK, _SOFT = "#26292e", "#6b7078"
_ROW_INCHES, _WIDTH_INCHES = 0.29, 9.4


@dataclass(frozen=True)
class Bar:
    """One line of the ranking.

    Attributes:
        name: For people, shortened where it is long.
        value: Importance of a unit, or the sum of those not shown.
        half_width: Of the 95 % interval; inf where it is not known.
        is_clear: Whether the interval excludes zero.
    """

    name: str
    value: float
    half_width: float
    is_clear: bool


def write_ranking(path: Path, attribution: Attribution, *, interval_factor: float = 1.96) -> Picture:
    """Writes the bars of the up to 15 units of largest absolute value, and of the sum of all others.

    Bars are full where the 95 % interval excludes zero, pale where it does not. The sum has no whisker: its error would
    need the covariances of the values; means have no sum. The axis is that of the units: a larger sum is cut off, with
    an arrow.
    """
    attribution = as_shown(attribution)
    figure = draw_ranking(attribution, interval_factor=interval_factor)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})
    n_bars = min(MOST_BARS, attribution.partition.n_players)
    best = readable(attribution.partition.names[attribution.ranking[0]])
    noun = method_words(attribution.method).noun
    what = "importances" if noun == "importance" else f"{noun} values"
    has_intervals = not (uses_gradients(attribution.method) and _has_no_intervals(attribution))
    alt = (
        f"Bars of the {what} of the {counted(n_bars, 'unit')} with the largest absolute values"
        f"{', with 95 % intervals' if has_intervals else ''}. The largest is {best}. The table below holds all numbers."
    )
    caption = f"{what[0].upper() + what[1:]} with 95 % intervals (whiskers). Pale bars cannot be told from zero. "
    caption += "Of two units, which is larger is certain only where their intervals do not meet."
    if not has_intervals:
        caption = f"{what[0].upper() + what[1:]}. Nothing was sampled, so there are no intervals."
    return Picture(path, alt, caption, round(float(figure.get_size_inches()[0]) * DPI / 2))


def ranking_bars(attribution: Attribution, *, interval_factor: float = 1.96) -> list[Bar]:
    """The bars from the top: the strongest units, then the sum of the others where there are any."""
    certainty = certainty_of(attribution, interval_factor)
    is_clear = certainty.signs.astype(bool) | is_unsampled(attribution)
    shown, others = attribution.ranking[:MOST_BARS], attribution.ranking[MOST_BARS:]
    names = [shortened(readable(attribution.partition.names[player]), 42) for player in shown]
    bars = [
        Bar(name, float(certainty.values[player]), float(certainty.half_widths[player]), bool(is_clear[player]))
        for name, player in zip(names, shown)
    ]
    if len(others) and not method_words(attribution.method).is_mean:
        bars.append(Bar(f"{counted(len(others), 'other')}, sum", float(certainty.values[others].sum()), np.inf, False))
    return bars


def draw_ranking(attribution: Attribution, *, interval_factor: float = 1.96) -> Figure:
    """The bars as a matplotlib figure."""
    attribution = as_shown(attribution)
    bars = ranking_bars(attribution, interval_factor=interval_factor)
    size = (_WIDTH_INCHES, 0.95 + _ROW_INCHES * len(bars))
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    axes = figure.add_subplot()
    low, high = _axis_of(bars[:MOST_BARS])
    has_plus = method_words(attribution.method).is_signed
    for row, bar in enumerate(bars):
        _draw_bar(axes, row, bar, low=low, high=high, colour=bar_hex(attribution, bar.value))
        text = with_error(bar.value, bar.half_width, attribution.unit, has_plus=has_plus)
        text = text.removesuffix(suffix_of(attribution.unit))
        axes.annotate(
            text,
            (1, row),
            (8, 0),
            ("axes fraction", "data"),
            "offset points",
            annotation_clip=False,
            va="center",
            size=8,
            color=_INK,
        )
    if len(bars) > MOST_BARS:
        axes.axhline(MOST_BARS - 0.5, color="#c9ccd1", lw=0.8)
    axes.set_xlim(low, high)
    _dress(axes, [bar.name for bar in bars], attribution)
    return figure


def _axis_of(bars: list[Bar]) -> tuple[float, float]:
    """Ends of the axis: zero, all units and their known whiskers, and a little more."""
    reach = [(bar.value, bar.half_width if np.isfinite(bar.half_width) else 0.0) for bar in bars]
    low = min(0.0, *(value - half_width for value, half_width in reach))
    high = max(0.0, *(value + half_width for value, half_width in reach))
    margin = 0.04 * (high - low) or 1.0
    return (low - margin if low < 0 else -margin / 4), high + margin


def _has_no_intervals(attribution: Attribution) -> bool:
    """Whether nothing was sampled: all errors are 0, or there are none."""
    return is_unsampled(attribution) or not attribution.standard_errors.any()


def _draw_bar(axes: Axes, row: int, bar: Bar, *, low: float, high: float, colour: str) -> None:
    axes.barh(row, bar.value, height=0.66, color=colour, alpha=1.0 if bar.is_clear else 0.32, linewidth=0)
    if bar.half_width and np.isfinite(bar.half_width):
        axes.errorbar(bar.value, row, xerr=bar.half_width, color=_INK, elinewidth=1.1, capsize=2.5, capthick=1.1)
    if not low <= bar.value <= high:
        edge, marker = (high, ">") if bar.value > high else (low, "<")
        axes.plot([edge], [row], marker=marker, color=colour, markersize=8, clip_on=False, zorder=5)


def _dress(axes: Axes, names: list[str], attribution: Attribution) -> None:
    words = quantity_words(attribution.quantity)
    axes.axvline(0, color=_INK, lw=0.9)
    axes.set_yticks(range(len(names)), names, size=8.5, color=_INK)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(axis="x", color="#e3e5e8", lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, pad=10)
    axes.tick_params(axis="x", labelsize=8, colors=_SOFT, length=0)
    axes.spines[:].set_visible(False)
    unit = "" if attribution.unit in ("share", "logit") else f" ({attribution.unit})"
    if attribution.unit == PERCENT:
        unit = ", % of the largest"
    raised, lowered = sign_words(attribution)
    arrows = f"\n\u2190 {lowered}      {raised} \u2192" if raised else ""
    method = method_words(attribution.method)
    axes.set_xlabel(
        f"{method.noun} {method.joint} the {words.short}{unit}{arrows}", size=8.5, color=_INK, linespacing=1.5
    )
