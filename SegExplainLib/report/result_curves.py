"""The curves of one result, two panels in a row, so that a page shows them at a size that can be read."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from SegExplainLib.evaluation.scorecard import Evaluation
from SegExplainLib.report.evaluation_curves import draw_curves

PANELS_IN_A_ROW = 2


def write_result_curves(path: Path, alone: Evaluation) -> None:
    """Writes a PNG of an evaluation of one result."""
    figure = draw_curves(alone)
    wrap_panels(figure)
    _round_places(figure)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def wrap_panels(figure: Figure) -> None:
    """Puts a figure's only row of panels into rows of `PANELS_IN_A_ROW`, each as large as before or larger.

    What stands above and below the panels keeps its size and its distance from the edges.
    """
    panels = figure.axes
    n_rows = -(-len(panels) // PANELS_IN_A_ROW)
    if n_rows < 2:
        return
    width, height = figure.get_size_inches()
    figure.set_size_inches(width * PANELS_IN_A_ROW / len(panels), height * n_rows)
    grid = figure.add_gridspec(n_rows, PANELS_IN_A_ROW)
    for place, axes in enumerate(panels):
        row, column = divmod(place, PANELS_IN_A_ROW)
        axes.set_subplotspec(grid[row, column])
        if row and not column:
            _take_over_y_label(axes, panels[0])
    for text in figure.texts:
        text.set_y(1 - (1 - text.get_position()[1]) / n_rows)
    layout = figure.get_layout_engine()
    if isinstance(layout, ConstrainedLayoutEngine):
        left, bottom, width, height = layout.get()["rect"]
        layout.set(rect=(left, bottom / n_rows, width, 1 - (1 - height) / n_rows))


def _round_places(figure: Figure) -> None:
    """Lays the panels out to a fifth of a pixel: the solver's last digits vary, and one evaluation is one picture."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(Bbox.from_bounds(*(round(edge, 4) for edge in axes.get_position().bounds)))


def _take_over_y_label(axes: Axes, first: Axes) -> None:
    """Of the panel that now begins a row, if it has the same y axis as the first."""
    if first.get_shared_y_axes().joined(first, axes):
        label = first.yaxis.label
        axes.set_ylabel(label.get_text(), color=label.get_color(), size=label.get_fontsize())
