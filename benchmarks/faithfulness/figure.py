"""The figure: curves of three kinds of units along both axes, and every method beside chance."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.faithfulness.judged import Judged
from benchmarks.faithfulness.run import Games
from benchmarks.faithfulness.tables import (
    CONTROLS,
    OF_A_METHOD,
    count_range,
    mean_and_deviation,
    methods_of,
    speaker,
    values_of,
)
from SegExplainLib.atomic import atomic_path
from SegExplainLib.report.methods import METHOD_WORDS

# Okabe & Ito (2008): apart under every common colour blindness.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
DASHES = ("-", "--", "-.", ":")
SHARES = np.linspace(0.0, 1.0, 101)
AXIS_LABELS = {"units": "removed units, %", "volume": "removed volume, %"}


def write_figure(judged: Sequence[Judged], games: Games, path: Path) -> None:
    """Writes a PNG."""
    n_methods = len(methods_of(judged))
    figure = Figure(figsize=(10.5, 4.2 + 0.27 * n_methods), dpi=130, facecolor="white", layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(3.6, 0.6 + 0.27 * n_methods))
    top, bottom = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    curves = top.subplots(1, 2, sharey=True)
    for axes, axis in zip(curves, ("units", "volume"), strict=True):
        _draw_curves(axes, judged, games, axis)
    curves[0].set_ylabel("explained number,\n% of the way from no unit to all")
    curves[1].legend(title="units (how many)", title_fontsize=9, frameon=False, fontsize=9)
    top.suptitle(
        f"Units removed one by one ({games.removals[0]}), the most important by {_name(speaker(judged))} first; "
        "thin: one case",
        fontsize=10.5,
    )
    dots = bottom.subplots(1, 2, sharex=True, sharey=True)
    default = [game for game in judged if games.is_default(game)]
    for axes, name in zip(dots, ("ABPC, units", "ABPC, volume"), strict=True):
        _draw_methods(axes, default, name)
    bottom.suptitle(
        f"Every method: units {games.units[0].words}, removal {games.removals[0]}; small dots are cases, bars their "
        "standard deviation, the dashed line is chance",
        fontsize=10.5,
    )
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})


def _draw_curves(axes: Axes, judged: Sequence[Judged], games: Games, axis: str) -> None:
    """Mean over the cases, and each case as a thin line."""
    for number, units in enumerate((*games.units, *games.fine_units)):
        chosen = [game for game in judged if (game.units, game.removal) == (units.name, games.removals[0])]
        heights = _heights(chosen, speaker(judged), axis)
        if len(heights) == 0:
            continue
        colour = COLOURS[number % len(COLOURS)]
        for height in heights:
            axes.plot(100 * SHARES, 100 * height, color=colour, linewidth=0.6, alpha=0.4)
        label = f"{units.words} ({count_range(game.n_units for game in chosen)})"
        dashes = DASHES[number % len(DASHES)]
        axes.plot(100 * SHARES, 100 * heights.mean(axis=0), dashes, color=colour, linewidth=2.2, label=label)
    axes.axhline(0, color="#666666", linewidth=0.8)
    axes.set(xlabel=AXIS_LABELS[axis], xlim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)


def _heights(games: Sequence[Judged], method: str, axis: str) -> np.ndarray:
    """(n_cases, 101): curves of one method at whole percents."""
    found = [
        np.interp(SHARES, curve.shares, curve.values)
        for game in games
        for curve in game.curves
        if (curve.method, curve.axis) == (method, axis)
    ]
    return np.array(found)


def _draw_methods(axes: Axes, games: Sequence[Judged], name: str) -> None:
    """A dot for each method, with its spread between cases; the controls below the line."""
    methods = methods_of(games)
    for place, method in enumerate(reversed(methods)):
        values = values_of([(games, method)], *OF_A_METHOD[name])
        if not values:
            axes.text(0.02, place, "not defined", fontsize=7.5, va="center", color="#666666")
            continue
        mean, deviation = mean_and_deviation(values)
        colour = "#666666" if method in CONTROLS else COLOURS[0]
        axes.plot(values, [place] * len(values), ".", color=colour, alpha=0.45, markersize=4)
        axes.errorbar(mean, place, xerr=deviation, fmt="o", color=colour, markersize=5.5, capsize=2.5, linewidth=1.2)
    if chance := values_of([(games, "random")], *OF_A_METHOD[name]):
        axes.axvline(float(np.mean(chance)), color="#666666", linestyle="--", linewidth=0.9)
    axes.axhline(len(CONTROLS) - 0.5, color="#bbbbbb", linewidth=0.8)
    axes.set_yticks(range(len(methods)), labels=[_name(method) for method in reversed(methods)], fontsize=8.5)
    axes.set(xlabel=f"{name}: area between least and most important first", ylim=(-0.6, len(methods) - 0.4))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#eeeeee")


def _name(method: str) -> str:
    """For people."""
    return METHOD_WORDS[method].name if method in METHOD_WORDS else method
