"""Games whose players are groups of voxels, on the engine of the game of units; what they answer is kept."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.answers import Question
from SegExplainLib.evaluation.remembered_game import RememberedGame
from SegExplainLib.game import RegionGame, TallyTable
from SegExplainLib.question import OpenGame
from SegExplainLib.record_file import fingerprints_of, read_record, require_same_question, write_record

VOXEL_RECORD_NAME = "voxel_coalitions.npz"
RECORD_VERSION = 1


@dataclass(eq=False)
class VoxelGames:
    """Makes them. Their answers stay; of the games, each with a volume of groups, the last one alone.

    Attributes:
        opened: The game of units: same CT, removal, region and reference.
        question: Class and number that are asked for.
        on_block: Is called after each evaluated block.
    """

    opened: OpenGame
    question: Question
    on_block: Callable[[], None]
    _last: tuple[str, RememberedGame] | None = field(default=None, init=False, repr=False)
    _tables: dict[str, TallyTable] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, bins: NDArray[np.int32]) -> RememberedGame:
        """The game of ``bins`` (k, j, i) on the network's grid: 1 to n, 0 for what is never removed."""
        key = fingerprints_of({"bins": bins})["bins"]
        if self._last is None or self._last[0] != key:
            self._last = None  # gives back its memory
            if key not in self._tables:
                self._tables[key] = TallyTable(int(bins.max()), self.opened.record.table.n_channels)
                self._take_ends(self._tables[key], bins)
            target, score = self.question
            game = RegionGame(
                self._tables[key],
                [(self.opened.record.channel_of(target), score)],
                tallier=self.opened.tallier.for_players(bins),
                on_block=self.on_block,
            )
            self._last = key, RememberedGame(game)
        return self._last[1]

    def _take_ends(self, table: TallyTable, bins: NDArray[np.int32]) -> None:
        """Takes from the game of units what it knows of all voxels absent and all present, where they are the same."""
        record = self.opened.record
        if np.array_equal(bins > 0, record.partition.labels > 0):
            of_units = _ends(record.table)
            known = record.table.is_known(of_units)
            table.append(_ends(table)[known], record.table.tallies_of(of_units[known]))

    @property
    def n_coalitions(self) -> int:
        """Evaluated in all of them, but for all voxels absent and all present: these are of the game of units."""
        return sum(len(table) - int(table.is_known(_ends(table)).sum()) for table in self._tables.values())

    def save(self, path: Path) -> None:
        """Writes what was evaluated; a reader never sees half of it."""
        keys = [key for key, table in self._tables.items() if len(table)]
        header = {
            "record_version": RECORD_VERSION,
            "games": {key: [self._tables[key].n_players, self._tables[key].n_channels] for key in keys},
            "fingerprints": self.opened.record.fingerprints,
        }
        parts = {f"{key}_coalitions": self._tables[key].coalitions for key in keys}
        write_record(path, header, parts | {f"{key}_tallies": self._tables[key].tallies for key in keys})

    def take_over(self, path: Path) -> None:
        """Takes over what an interrupted evaluation of the same game of units has evaluated, before any game is made.

        Raises:
            InvalidRequest: the file is damaged, or belongs to another game.
        """
        with read_record(path, version=RECORD_VERSION, holds="coalitions of voxels") as (header, parts):
            require_same_question(self.opened.record.fingerprints, header["fingerprints"], holds="coalitions of voxels")
            for key, (n_players, n_channels) in header["games"].items():
                self._tables[key] = TallyTable(n_players, n_channels)
                self._tables[key].append(parts[f"{key}_coalitions"], parts[f"{key}_tallies"])


def _ends(table: TallyTable) -> NDArray[np.bool_]:
    """bool (2, n_players): all absent, all present."""
    return np.repeat([[False], [True]], table.n_players, axis=1)
