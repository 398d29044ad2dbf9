"""The answers of any method to a planted case, without results folders."""

from dataclasses import dataclass, field, replace

from benchmarks.planted.case import PlantedCase
from SegExplainLib.answers import asked_question, attribution_of
from SegExplainLib.attribution import Attribution
from SegExplainLib.baselines import baselines_for
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.game import RegionGame
from SegExplainLib.gradient_run import take_gradients
from SegExplainLib.pipeline import ESTIMATORS, with_budget
from SegExplainLib.play import require_full
from SegExplainLib.progress import Progress
from SegExplainLib.question import OpenGame, open_game, prepared_question
from SegExplainLib.warm import WarmState


@dataclass(frozen=True, eq=False)
class Asker:
    """Asks about one case; what one question opens and evaluates serves the next."""

    case: PlantedCase
    warm: WarmState = field(default_factory=WarmState)

    def answer(
        self,
        method: str,
        *,
        value: str,
        removal: str = "local-mean",
        units: str = "organs",
        unit_mm: float = 30.0,
        budget: int = 0,
        layer: str = "",
    ) -> Attribution:
        """What the pipeline would report of the case for these fields of a request."""
        request = replace(
            self.case.request,
            method=method,
            value=value,
            removal=removal,
            units=units,
            unit_mm=unit_mm,
            budget=budget,
            layer=layer,
        )
        progress = Progress()
        question = prepared_question(request, progress, warm=self.warm)
        request = with_budget(request, question.partition.n_players)
        baselines = self.warm.take(question.keys.absent, lambda: baselines_for(request, question, progress), progress)
        game = open_game(request, question, baselines.images[0], self.warm, progress)
        if not request.uses_gradients:
            return _played(request, game)
        return take_gradients(request, question, game, baselines=baselines.images, progress=progress).attribution


def _played(request: ExplainRequest, game: OpenGame) -> Attribution:
    require_full(game.record, game.tallier)
    name, score = asked_question(request, game.record)
    number = RegionGame(game.record.table, [(game.record.channel_of(name), score)], tallier=game.tallier)
    estimator = ESTIMATORS[request.method]
    *_, estimate = estimator(number, budget=request.budget, tolerance=request.tolerance, seed=request.seed)
    return attribution_of(request, game.record, estimate, (name, score))
