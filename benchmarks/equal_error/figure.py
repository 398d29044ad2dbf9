"""The figure: error against network tiles, a line a scheme, a panel a game."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.equal_error.measured import TARGETS, Measured
from benchmarks.equal_error.schemes import SCHEMES
from benchmarks.equal_error.tables import title
from SegExplainLib.atomic import atomic_path

# Okabe & Ito (2008): apart under every common colour blindness.
COLOURS = ("#cc79a7", "#e69f00", "#d55e00", "#56b4e9", "#009e73", "#0072b2")


def write_figure(results: Sequence[Measured], path: Path) -> None:
    """Writes a PNG."""
    n_rows = (len(results) + 1) // 2
    figure = Figure(figsize=(11.0, 0.9 + 3.7 * n_rows), dpi=130, facecolor="white", layout="constrained")
    panels = figure.subplots(n_rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, one in zip(panels, results, strict=False):
        _draw(axes, one)
    for axes in panels[len(results) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(
        "Error of the Shapley values against network tiles. Dots: runs on the network; lines: a stand-in fitted to it",
        fontsize=10.5,
    )
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})


def _draw(axes: Axes, one: Measured) -> None:
    for scheme, colour in zip(SCHEMES, COLOURS, strict=True):
        line, dots = one.on_stand_in[scheme.name], one.on_network.get(scheme.name, [])
        axes.plot(
            [p.n_tiles for p in line], [100 * p.error for p in line], color=colour, linewidth=1.6, label=scheme.name
        )
        axes.plot(
            [p.n_tiles for p in dots], [100 * p.error for p in dots], "o", color=colour, markersize=4.5, mec="white"
        )
    for target in TARGETS:
        axes.axhline(100 * target, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", title=title(one), xlabel="network tiles", ylabel="error, % of the range")
    axes.title.set_fontsize(9.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(bottom=0.2)
    axes.spines[["top", "right"]].set_visible(False)
