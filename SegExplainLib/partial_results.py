"""Interim importances in a folder, for those who watch a run: the units once, their values again and again."""

import logging
from pathlib import Path

from SegExplainLib.atomic import atomic_path
from SegExplainLib.attribution import Attribution, native_labels_of
from SegExplainLib.report.tables import PLAYERS_CSV, write_players_csv
from SegExplainLib.results_folder import interval_factor
from SegExplainLib.shapley.value_function import ShapleyEstimate
from SegExplainLib.volume import Volume, VoxelGrid
from SegExplainLib.volume_io import smallest_labels, write_nrrd

UNITS_NRRD = "units.nrrd"

_log = logging.getLogger(__name__)


class PartialResults:
    """A folder with ``units.nrrd``, the label player number + 1 on the CT's grid, 0 elsewhere, and ``players.csv``.

    Args:
        folder: Where; made with the first estimate.
        native_grid: Of the CT.
    """

    def __init__(self, folder: Path, native_grid: VoxelGrid) -> None:
        self._folder = folder
        self._native_grid = native_grid
        self._has_units = False

    def write(self, answer: Attribution, estimate: ShapleyEstimate) -> Path:
        """Writes an interim answer as ``players.csv`` of finished results is written; a reader never sees half of it.

        Returns:
            The folder.

        Raises:
            OutOfDisk: the disk is full.
        """
        if not self._has_units:
            labels = smallest_labels(native_labels_of(answer.partition, self._native_grid))
            write_nrrd(Volume(labels, self._native_grid), self._folder / UNITS_NRRD, compress=False)
            self._has_units = True
        try:
            with atomic_path(self._folder / PLAYERS_CSV) as table:
                write_players_csv(table, answer, interval_factor=interval_factor(estimate))
        except PermissionError as error:  # on Windows, while somebody reads the last one: the next will come through
            _log.info("The interim importances were not replaced: %s", error)
        return self._folder
