"""The games that judge an explanation: of units, and of groups of voxels, on one engine. What they answer is kept."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.answers import Question
from SegExplainLib.contract import Cancelled
from SegExplainLib.evaluation.remembered_game import RememberedGame
from SegExplainLib.game import RegionGame
from SegExplainLib.game_record import GameRecord
from SegExplainLib.play import SAVE_EVERY_S
from SegExplainLib.progress import Progress
from SegExplainLib.question import OpenGame
from SegExplainLib.rerun_record import RERUNS_NAME
from SegExplainLib.voxel_games import VOXEL_RECORD_NAME, VoxelGames

UNIT_RECORD_NAME = "unit_coalitions.npz"
"""Not a run's own record: this one is deleted at the end, in whatever folder it lies."""
KEPT_NAMES = (UNIT_RECORD_NAME, VOXEL_RECORD_NAME, RERUNS_NAME)
"""Files of the folder that hold what was evaluated, until the evaluation is written."""


class JudgingGames:
    """Both games; they know what the results evaluated, and from `go_on` what an interrupted evaluation left.

    Args:
        opened: The game of units.
        question: Class and number that are asked for.
        out: Folder of the evaluation.
        progress: Is told after each block.

    Attributes:
        record: Of the game of units.
        units: Asked once for each coalition.
        voxels: Makes games of groups of voxels.
        n_known: Coalitions of units that were known beforehand.
        n_voxels_known: Coalitions of groups of voxels that an interrupted evaluation left, by any seed and steps.
        n_total: Coalitions that are going to be asked for, at most; told with the progress.
    """

    def __init__(self, opened: OpenGame, question: Question, out: Path, *, progress: Progress) -> None:
        self._opened, self._out, self._progress = opened, out, progress
        self.record = opened.record
        target, score = question
        channels = [(self.record.channel_of(target), score)]
        self.units = RememberedGame(
            RegionGame(self.record.table, channels, tallier=opened.tallier, on_block=self._tell)
        )
        self.voxels = VoxelGames(opened, question, self._tell)
        self.n_known, self.n_voxels_known = len(self.record.table), 0
        self.n_total = 0
        self._begun = self._saved = time.monotonic()
        self._save_every_s = SAVE_EVERY_S

    def go_on(self) -> None:
        """Takes over what an interrupted evaluation left in the folder, before anything is asked.

        Raises:
            InvalidRequest: it belongs to another game, or cannot be read.
        """
        if (self._out / UNIT_RECORD_NAME).exists():
            self.record.take_over(GameRecord.load(self._out / UNIT_RECORD_NAME))
        if (self._out / VOXEL_RECORD_NAME).exists():
            self.voxels.take_over(self._out / VOXEL_RECORD_NAME)
        self.n_known, self.n_voxels_known = len(self.record.table), self.voxels.n_coalitions

    @property
    def volumes_ml(self) -> NDArray[np.float64]:
        """(n_units,) of the units."""
        return self.record.partition.volumes_ml

    @property
    def n_new(self) -> int:
        """Coalitions of units that the network was asked for."""
        return len(self.record.table) - self.n_known

    @property
    def n_new_voxels(self) -> int:
        """Coalitions of groups of voxels that the network was asked for."""
        return self.voxels.n_coalitions - self.n_voxels_known

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What the block evaluates is kept in the folder now and then, and for good unless the block ends well."""
        try:
            yield
            for name in KEPT_NAMES:
                (self._out / name).unlink(missing_ok=True)
        except BaseException as error:
            self._save()
            if isinstance(error, Cancelled):
                error.hint = self._kept_words()
            raise

    def _kept_words(self) -> str:
        """For who stopped it."""
        if any((self._out / name).exists() for name in KEPT_NAMES):
            return f"What was evaluated is kept in {self._out}; the same command goes on with it."
        return "Nothing new had been evaluated yet."

    def _save(self) -> None:
        if self.n_new:
            self.record.save(self._out / UNIT_RECORD_NAME)
        if self.n_new_voxels:
            self.voxels.save(self._out / VOXEL_RECORD_NAME)

    def _tell(self) -> None:
        begin = time.monotonic()
        if begin - self._saved > self._save_every_s:
            self._save()
            self._saved = time.monotonic()
            self._save_every_s = max(SAVE_EVERY_S, 50 * (self._saved - begin))  # a large case saves less often
        done = self.n_new + self.n_new_voxels
        total = max(done, self.n_total)
        left_s = (begin - self._begun) / done * (total - done) if done else None
        self._progress.step(done, total, left_s=left_s, tiles=self._opened.tallier.cache.runner.n_tiles)
