"""One axial slice under every method: the docs' figure of answers side by side.

    python -m benchmarks.method_gallery OUT.png RESULTS...

The results folders answer one question; the slice goes through the explained label in the region.
"""

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from SegExplainLib.comparison import compared
from SegExplainLib.contract import ResultManifest
from SegExplainLib.game_record import RECORD_NAME, GameRecord
from SegExplainLib.report.maps import grey_window
from SegExplainLib.report.methods import method_words
from SegExplainLib.report.planes import Plane, centre_voxel_ras, plane_through, sampled
from SegExplainLib.report.shown import picture_rgba
from SegExplainLib.results_folder import ATTRIBUTION_NAME, read_attribution
from SegExplainLib.volume import Volume, resampled_nearest
from SegExplainLib.volume_io import read_ct

COLUMNS = 4
PANEL_INCHES = 2.6
AROUND_MM = 45.0
ROBUST_SHARE = 0.999


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    options = parser.parse_args()
    if len(options.results) > 1:
        compared(options.results)  # refuses answers to different questions
    first = ResultManifest.read(options.results[0])
    record = GameRecord.load(options.results[0] / RECORD_NAME)
    ct = read_ct(first.request["ct"])
    channel = record.channel_of(first.request["target"])
    on_input = Volume(record.painted_on_roi(record.own_prediction[channel]), record.partition.grid)
    predicted = resampled_nearest(on_input, ct.grid)
    plane = _plane(ct, predicted, record.roi_native)
    n_rows = -(-(len(options.results) + 1) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL_INCHES, n_rows * (PANEL_INCHES + 0.28)), dpi=130, facecolor="white")
    for place in range(len(options.results) + 1):
        axes = figure.add_subplot(n_rows, COLUMNS, place + 1)
        black, white = grey_window(ct.array[predicted]).limits
        hu = sampled(ct.array, ct.grid, plane, is_smooth=True)
        axes.imshow(np.nan_to_num(hu, nan=black), cmap="gray", vmin=black, vmax=white)
        if place:
            folder = options.results[place - 1]
            axes.imshow(_overlay(folder, ct, plane))
            axes.set_title(method_words(read_attribution(folder).method).name, size=9)
        else:
            axes.set_title(f"CT, “{first.request['target']}” and region", size=9)
            axes.contour(sampled(record.roi_native, ct.grid, plane, is_smooth=False, outside=0.0), [0.5], colors="w")
        label = np.nan_to_num(sampled(predicted, ct.grid, plane, is_smooth=True))
        axes.contour(label, [0.5], colors="#ffd60a", linewidths=0.9)
        axes.set(xticks=[], yticks=[])
    figure.tight_layout(pad=0.4)
    FigureCanvasAgg(figure).print_png(options.out, metadata={"Software": None})


def _plane(ct: Volume, predicted: NDArray[np.bool_], roi: NDArray[np.bool_]) -> Plane:
    """Axial, through the label, as wide as the region and ``AROUND_MM`` around it."""
    ras = ct.grid.ras_of(np.argwhere(roi))
    bounds = np.stack([ras.min(axis=0) - AROUND_MM, ras.max(axis=0) + AROUND_MM])
    return plane_through(centre_voxel_ras(ct.grid, predicted, roi), "axial", bounds_ras=bounds)


def _overlay(folder: Path, ct: Volume, plane: Plane) -> NDArray[np.float64]:
    """(rows, columns, 4): the answer in the colours of its method, up to the high quantile of what is shown."""
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / ATTRIBUTION_NAME)))
    picture = sampled(voxels, ct.grid, plane, is_smooth=True, outside=0.0)
    sizes = np.abs(picture[picture != 0])
    limit = float(np.quantile(sizes, ROBUST_SHARE)) if sizes.size else 1.0
    return picture_rgba(read_attribution(folder), picture, limit=limit)


if __name__ == "__main__":
    main()
