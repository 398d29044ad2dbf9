"""All files of a report, in one folder."""

from collections.abc import Callable
from pathlib import Path

from numpy.typing import NDArray

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.maps import write_maps
from SegExplainLib.report.page import REPORT_HTML, write_page
from SegExplainLib.report.ranking import RANKING_PNG, write_ranking
from SegExplainLib.report.segments import PLAYERS_SEG_NRRD, write_players_seg_nrrd
from SegExplainLib.report.tables import PLAYERS_CSV, write_players_csv
from SegExplainLib.volume import Volume


def write_report(
    folder: Path,
    attribution: Attribution,
    findings: Findings,
    *,
    ct: Volume,
    predicted: NDArray,
    roi: NDArray,
    reference: NDArray | None = None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Writes players.csv, players.seg.nrrd, map_{axial,coronal,sagittal}.png, ranking.png and report.html.

    Args:
        folder: Where; made if missing.
        attribution: The importances.
        findings: How they came about.
        ct: In HU, on its native grid.
        predicted: bool (k, j, i) on the CT's grid: where the network sets the target's label.
        roi: bool (k, j, i) on the CT's grid; holds a voxel at least.
        reference: bool (k, j, i) on the CT's grid: the truth, if there is one.
        check_cancelled: Is called before each part that takes long; may raise ``Cancelled``.

    Returns:
        The files, the page last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    factor = findings.interval_factor
    write_players_csv(folder / PLAYERS_CSV, attribution, interval_factor=factor)
    write_players_seg_nrrd(folder / PLAYERS_SEG_NRRD, attribution, ct.grid, interval_factor=factor)
    check_cancelled()
    maps = write_maps(folder, attribution, ct, predicted=predicted, roi=roi, reference=reference)
    check_cancelled()
    ranking = write_ranking(folder / RANKING_PNG, attribution, interval_factor=factor)
    check_cancelled()
    write_page(folder / REPORT_HTML, attribution, findings, maps=maps, ranking=ranking)
    pictures = [picture.path for picture in (*maps, ranking)]
    return [folder / PLAYERS_CSV, folder / PLAYERS_SEG_NRRD, *pictures, folder / REPORT_HTML]
