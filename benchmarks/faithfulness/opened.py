"""One case with one kind of units and one removal, opened once for every method and every evaluation."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.faithfulness.cases import Case, Units
from SegExplainLib.answers import asked_question
from SegExplainLib.baselines import baselines_for
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.evaluation.remembered_game import RememberedGame
from SegExplainLib.game import RegionGame
from SegExplainLib.play import require_full
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.progress import Progress
from SegExplainLib.question import OpenGame, Question, open_game, prepared_question, record_for, tallier_for
from SegExplainLib.shapley.coalitions import every_coalition
from SegExplainLib.volume import Volume
from SegExplainLib.warm import WarmState


@dataclass(frozen=True, eq=False)
class OpenedGame:
    """A game that remembers: no coalition is asked of the network twice, whoever asks.

    Attributes:
        request: With units and removal.
        question: Its open files.
        game: The engine and its record.
        memory: The explained number of coalitions.
        absent: float32 (channels, k, j, i), every unit removed.
        is_full: Every coalition is known.
    """

    request: ExplainRequest
    question: Question
    game: OpenGame
    memory: RememberedGame
    absent: NDArray[np.float32]
    is_full: bool

    @property
    def n_asked(self) -> int:
        """Coalitions that the network was asked for."""
        return len(self.game.record.table)

    @property
    def predicted(self) -> Volume:
        """bool (k, j, i) on the network's grid: the target in the region, as the network labels it."""
        record = self.game.record
        voxels = record.own_prediction[record.channel_of(self.request.target)]
        return Volume(record.painted_on_roi(voxels), record.partition.grid)


def opened_game(case: Case, units: Units, removal: str, *, warm: WarmState, most_in_full: int) -> OpenedGame:
    """Opens a game; one of at most ``most_in_full`` coalitions is played in full at once."""
    request = replace(units.of(case.request), removal=removal)
    progress = Progress()
    question = prepared_question(request, progress, warm=warm)
    (absent,) = baselines_for(request, question, progress).images
    game = open_game(request, question, absent, warm, progress)
    memory = _memory_of(request, game)
    is_full = 2**memory.n_players <= most_in_full
    if is_full:
        everything = every_coalition(memory.n_players)
        memory.announce(everything)
        memory(everything)
    return OpenedGame(request, question, game, memory, absent, is_full)


def voxel_game(opened: OpenedGame, players: PlayerPartition) -> RememberedGame:
    """The same number where other sets of voxels are removed, to the same intensities."""
    request, question = opened.request, opened.question
    case, segmenter = question.case, question.segmenter
    tallier = tallier_for(request, case, players, opened.absent, segmenter, Progress())
    return _memory_of(request, OpenGame(tallier, record_for(request, case, players, opened.absent, segmenter, tallier)))


def _memory_of(request: ExplainRequest, game: OpenGame) -> RememberedGame:
    require_full(game.record, game.tallier)
    target, score = asked_question(request, game.record)
    channel = game.record.channel_of(target)
    return RememberedGame(RegionGame(game.record.table, [(channel, score)], tallier=game.tallier))
