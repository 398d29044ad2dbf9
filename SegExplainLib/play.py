"""Play a game to its end: run an estimator, tell how far it is, save as it goes; and answer every other question."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from SegExplainLib.answers import Estimator, Question, asked_question, attribution_of, every_answer
from SegExplainLib.attribution import Attribution
from SegExplainLib.contract import Cancelled, ExplainRequest, InvalidRequest
from SegExplainLib.game import RegionGame, RegionTallier
from SegExplainLib.game_record import RECORD_NAME, GameRecord
from SegExplainLib.partial_results import PartialResults
from SegExplainLib.progress import Progress
from SegExplainLib.shapley.value_function import ShapleyEstimate
from SegExplainLib.target import TargetScore

SAVE_EVERY_S = 20.0
TELL_EVERY_S = 0.25
SHOW_EVERY_S = 2.0


def play(
    estimator: Estimator,
    request: ExplainRequest,
    record: GameRecord,
    *,
    tallier: RegionTallier | None,
    tolerance: float,
    out: Path | None,
    progress: Progress,
    settle: int = 0,
    partial: PartialResults | None = None,
) -> tuple[ShapleyEstimate, list[Attribution]]:
    """Runs the estimator for the request's question, and replays what it evaluated for every other question.

    Args:
        estimator: One of the pipeline's.
        request: With its budget filled in.
        record: As for `estimated`.
        tallier: Likewise.
        tolerance: Likewise.
        out: Likewise.
        progress: Likewise.
        settle: Likewise.
        partial: Likewise.

    Returns:
        The estimate of the request's question; and all answers, that of the request first.
    """
    estimate = estimated(
        estimator,
        request,
        record,
        tallier=tallier,
        tolerance=tolerance,
        settle=settle,
        out=out,
        progress=progress,
        partial=partial,
    )
    return estimate, every_answer(estimator, request, record, estimate, progress=progress)


def estimated(
    estimator: Estimator,
    request: ExplainRequest,
    record: GameRecord,
    *,
    tallier: RegionTallier | None,
    tolerance: float,
    progress: Progress,
    settle: int = 0,
    out: Path | None = None,
    partial: PartialResults | None = None,
) -> ShapleyEstimate:
    """The estimator's last estimate of the request's question.

    The record grows as coalitions are evaluated, and is saved to ``out`` now and then and in the end, however it ends.

    Args:
        estimator: One of the pipeline's.
        request: With its budget filled in.
        record: Of the game; may hold coalitions already, which are not asked again.
        tallier: Asks the network for what the record lacks; None for a replay.
        tolerance: At which to stop; 0 plays a replay to its end.
        settle: Units whose ranking also ends the run once it is settled; 0 for none, and for a replay.
        progress: Is told after each block.
        out: Results folder; None saves nothing.
        partial: Keeps interim importances for those who watch.
    """
    require_full(record, tallier)
    question = asked_question(request, record)
    watch = _Watch(request, record, question, tallier, out, progress, partial)
    estimate = None
    try:
        # Nobody looks at a replay on its way, and each look takes time.
        interim = tallier is not None or tolerance > 0.0 or settle > 0
        stream = _started(estimator, request, watch.game, tolerance=tolerance, settle=settle, interim=interim)
        for estimate in stream:
            watch.estimate(estimate)
        watch.show_partial()
    except Cancelled:
        watch.show_partial()
        raise
    finally:
        watch.end()
    if estimate is None:
        raise InvalidRequest(f"A budget of {request.budget} gives no estimate.", "Raise --budget.")
    return estimate


def _started(
    estimator: Estimator,
    request: ExplainRequest,
    game: RegionGame,
    *,
    tolerance: float,
    settle: int,
    interim: bool,
) -> Iterator[ShapleyEstimate]:
    """The estimator's stream; estimators check budget and number of players before they ask the game anything."""
    try:
        return estimator(
            game, budget=request.budget, tolerance=tolerance, seed=request.seed, settle=settle, interim=interim
        )
    except ValueError as error:
        raise InvalidRequest(f"The estimator {request.method} refuses: {error}.") from error


def require_full(record: GameRecord, tallier: RegionTallier | None) -> None:
    """The tally of the full coalition says which classes are defined; it costs no tile, the baseline is at hand."""
    everyone = np.ones((1, record.table.n_players), dtype=bool)
    RegionGame(record.table, [(0, TargetScore("tp", 1.0))], tallier=tallier)(everyone)


class _Watch:
    """Progress, forecast, interim results and regular saving while coalitions are evaluated.

    Attributes:
        game: The question's game, watched.
    """

    def __init__(
        self,
        request: ExplainRequest,
        record: GameRecord,
        question: Question,
        tallier: RegionTallier | None,
        out: Path | None,
        progress: Progress,
        partial: PartialResults | None,
    ) -> None:
        self._request = request
        self._record = record
        self._question = question
        self._tallier = tallier
        self._out = out
        self._progress = progress
        self._partial = partial
        self._n_known = len(record.table)
        self._begin = self._saved = self._told = time.monotonic()
        self._shown = -math.inf
        self._save_every_s = SAVE_EVERY_S
        self._total = request.budget
        self._unshown: ShapleyEstimate | None = None
        self._error: float | None = None
        name, score = question
        self.game = RegionGame(
            record.table,
            [(record.channel_of(name), score)],
            tallier=tallier,
            closeness=lambda: record.closeness,
            on_block=self.block,
        )
        if tallier is not None:
            tallier.cache.runner.on_batch = self.batch

    @property
    def has_news(self) -> bool:
        """Whether the table holds what is worth keeping and lies in no file yet."""
        if self._out is None:
            return False
        n_now = len(self._record.table)
        is_new = n_now > self._n_known or not (self._out / RECORD_NAME).exists()
        return self._tallier is not None and n_now > 1 and is_new

    def batch(self) -> None:
        """After each call of the network: stop here when the user asked to, tell a few times a second."""
        self._progress.check_cancelled()
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._tell()

    def block(self) -> None:
        """After each evaluated block: tell, and save now and then."""
        begin = time.monotonic()
        if begin - self._saved > self._save_every_s:
            self._save()
            self._saved = time.monotonic()
            self._save_every_s = max(SAVE_EVERY_S, 50 * (self._saved - begin))  # a large case saves less often
        self._tell()

    def estimate(self, estimate: ShapleyEstimate) -> None:
        """After each interim estimate: a new forecast of how many evaluations are needed, at most.

        It is that of the values' errors, which end every run: when a ranking will be settled cannot be said before.
        """
        self._error = estimate.relative_error
        forecast = estimate.forecast_evaluations(self._request.tolerance)
        self._total = int(min(self._request.budget, max(forecast, estimate.n_evaluations)))
        self._unshown = estimate
        if time.monotonic() - self._shown > SHOW_EVERY_S:
            self.show_partial()
        self._tell()

    def show_partial(self) -> None:
        """Shows the last estimate to those who watch, if they have not seen it."""
        if self._partial is None or self._unshown is None:
            return
        answer = attribution_of(self._request, self._record, self._unshown, self._question)
        folder = self._partial.write(answer, self._unshown)
        n_done = self._unshown.n_evaluations
        self._progress.partial(folder, n_done, max(n_done, self._total), error=self._error, tiles=self._n_tiles)
        self._unshown = None
        self._shown = time.monotonic()

    def end(self) -> None:
        """Saves what is new, and lets go of the engine, which may outlive the run."""
        if self._tallier is not None:
            self._tallier.cache.runner.on_batch = lambda: None
        if self.has_news:
            self._save()

    def _save(self) -> None:
        if self._out is not None:
            self._record.save(self._out / RECORD_NAME)

    @property
    def _n_tiles(self) -> int:
        return self._tallier.cache.runner.n_tiles if self._tallier else 0

    def _tell(self) -> None:
        done = self.game.n_answered
        self._told = time.monotonic()
        n_new = len(self._record.table) - self._n_known
        left_s = (self._told - self._begin) / n_new * max(0, self._total - done) if n_new else None
        self._progress.step(done, max(done, self._total), left_s=left_s, error=self._error, tiles=self._n_tiles)
