"""Interim answers in a folder, for those who watch a run: the units once, their values and the map again and again."""

import logging
from pathlib import Path

import numpy as np
from scipy import ndimage

from SegExplainLib.atomic import atomic_path
from SegExplainLib.attribution import Attribution, Estimate, native_labels_of, painted_natively
from SegExplainLib.report.tables import PLAYERS_CSV, write_players_csv
from SegExplainLib.results_folder import interval_factor
from SegExplainLib.volume import Volume, VoxelGrid
from SegExplainLib.volume_io import smallest_labels, write_nrrd

UNITS_NRRD = "units.nrrd"
MAP_NRRD = "map.nrrd"

_log = logging.getLogger(__name__)


class PartialResults:
    """A folder for interim answers.

    It holds ``units.nrrd``, the label player number + 1 on the CT's grid, 0 elsewhere; ``players.csv``; and, from
    methods that tell voxels apart, ``map.nrrd``, float32 on the part of the CT's grid outside of which it is 0: a
    watcher that shows it cannot do much else while it reads.

    Args:
        folder: Where; made with the first estimate.
        native_grid: Of the CT.
    """

    def __init__(self, folder: Path, native_grid: VoxelGrid) -> None:
        self._folder = folder
        self._native_grid = native_grid
        self._has_units = False

    def write(self, answer: Attribution, estimate: Estimate) -> Path:
        """Writes an interim answer as finished results are written; a reader never sees half of a file.

        Returns:
            The folder.

        Raises:
            OutOfDisk: the disk is full.
        """
        if not self._has_units:
            labels = smallest_labels(native_labels_of(answer.partition, self._native_grid))
            write_nrrd(Volume(labels, self._native_grid), self._folder / UNITS_NRRD, compress=False)
            self._has_units = True
        self.write_map(answer)
        try:
            with atomic_path(self._folder / PLAYERS_CSV) as table:
                write_players_csv(table, answer, interval_factor=interval_factor(estimate))
        except PermissionError as error:  # on Windows, while somebody reads the last one: the next will come through
            _log.info("The interim importances were not replaced: %s", error)
        return self._folder

    def write_map(self, answer: Attribution) -> Path:
        """Writes the voxel map of an answer, where it has one.

        Returns:
            The folder.

        Raises:
            OutOfDisk: the disk is full.
        """
        if answer.voxel_map is not None:
            voxels = Volume(painted_natively(answer, self._native_grid), self._native_grid)
            try:
                write_nrrd(_cut(voxels), self._folder / MAP_NRRD, compress=False)
            except PermissionError as error:  # on Windows, as below
                _log.info("The interim map was not replaced: %s", error)
        return self._folder


def _cut(volume: Volume) -> Volume:
    """The box of all voxels that are not 0; one voxel where there are none."""
    boxes = ndimage.find_objects((volume.array != 0).astype(np.uint8))
    box = boxes[0] if boxes else (slice(0, 1),) * 3
    array = np.ascontiguousarray(volume.array[box])
    k, j, i = array.shape
    return Volume(array, volume.grid.cropped(tuple(side.start for side in box), (k, j, i)))
