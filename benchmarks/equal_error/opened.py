"""One game, opened once, that keeps every coalition that the network has answered."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.answers import asked_question
from SegExplainLib.baselines import baselines_for
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.game import RegionGame
from SegExplainLib.game_record import GameRecord
from SegExplainLib.model.tile_cache import players_in_tiles
from SegExplainLib.play import require_full
from SegExplainLib.progress import Progress
from SegExplainLib.question import OpenGame, Question, open_game, prepared_question
from SegExplainLib.warm import WarmState

SAVE_EVERY_S = 20.0


@dataclass(frozen=True)
class Case:
    """What is asked.

    Attributes:
        units: As given.
        request: The question.
    """

    units: str
    request: ExplainRequest

    @property
    def name(self) -> str:
        """Of its files."""
        digest = hashlib.sha256(f"{self.request.roi} {self.request.target} {self.request.removal}".encode())
        return f"{self.units.replace(':', '')}-{digest.hexdigest()[:8]}"


class OpenedCase:
    """A game that asks the network for what it does not know yet, and saves it.

    Args:
        case: What is asked.
        question: Its open files.
        game: The engine and what is known.
        path: Where what is known is kept.
    """

    def __init__(self, case: Case, question: Question, game: OpenGame, path: Path) -> None:
        self.case = case
        self.question = question
        self.game = game
        self.players_in_tile = players_in_tiles(question.partition.labels, question.case.region)
        self._path = path
        self._saved = time.monotonic()
        require_full(game.record, game.tallier)
        target, score = asked_question(case.request, game.record)
        self.score = (game.record.channel_of(target), score)

    @property
    def n_players(self) -> int:
        """Units."""
        return self.question.partition.n_players

    def live(self) -> RegionGame:
        """The game, with the network behind it."""
        return RegionGame(
            self.game.record.table,
            [self.score],
            tallier=self.game.tallier,
            closeness=lambda: self.game.record.closeness,
            on_block=self._save_now_and_then,
        )

    def known(self) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Every coalition (n, n_players) that the network has answered, and its worth (n,)."""
        table = self.game.record.table
        channel, score = self.score
        return table.coalitions, np.asarray(score.of(table.tallies[:, channel]))

    def save(self) -> None:
        """Keeps what is known."""
        self.game.record.save(self._path)
        self._saved = time.monotonic()

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()


def opened(case: Case, folder: Path, warm: WarmState) -> OpenedCase:
    """Opens a case, with what an earlier run in ``folder`` knew of it."""
    progress = Progress()
    question = prepared_question(case.request, progress, warm=warm)
    (absent,) = baselines_for(case.request, question, progress).images
    game = open_game(case.request, question, absent, warm, progress)
    path = folder / f"{case.name}.npz"
    if path.exists():
        game.record.take_over(GameRecord.load(path))
    return OpenedCase(case, question, game, path)
