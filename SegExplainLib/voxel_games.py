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
    """Makes them, each once.

    Attributes:
        opened: The game of units: same CT, removal, region and reference.
        question: Class and number that are asked for.
        on_block: Is called after each evaluated block.
    """

    opened: OpenGame
    question: Question
    on_block: Callable[[], None]
    _games: dict[str, RememberedGame] = field(default_factory=dict, init=False, repr=False)
    _tables: dict[str, TallyTable] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, bins: NDArray[np.int32]) -> RememberedGame:
        """The game of ``bins`` (k, j, i) on the network's grid: 1 to n, 0 for what is never removed."""
        key = fingerprints_of({"bins": bins})["bins"]
        if key not in self._games:
            n_channels = self.opened.record.table.n_channels
            table = self._tables.setdefault(key, TallyTable(int(bins.max()), n_channels))
            target, score = self.question
            game = RegionGame(
                table,
                [(self.opened.record.channel_of(target), score)],
                tallier=self.opened.tallier.for_players(bins),
                on_block=self.on_block,
            )
            self._games[key] = RememberedGame(game)
        return self._games[key]

    @property
    def n_coalitions(self) -> int:
        """Evaluated in all of them."""
        return sum(map(len, self._tables.values()))

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
