"""Can the explanation be trusted? Finished results are judged by the game that they were made from, and by a mask."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.answers import asked_question
from SegExplainLib.atomic import atomic_folder
from SegExplainLib.baselines import baselines_for
from SegExplainLib.case import body_on_input, prepared_case
from SegExplainLib.contract import Cancelled, ExplainRequest, InvalidRequest
from SegExplainLib.evaluated_maps import judged_maps
from SegExplainLib.evaluation.map_scores import MapScores
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.plan import Plan, planned
from SegExplainLib.evaluation.remembered_game import RememberedGame
from SegExplainLib.evaluation.scorecard import Evaluation, ResultScores
from SegExplainLib.evaluation.unit_orders import why_unranked
from SegExplainLib.evaluation.unit_scores import (
    UnitScores,
    Yardsticks,
    curve_coalitions,
    curve_orders,
    order_metrics,
    unit_scores,
    yardsticks,
)
from SegExplainLib.finished import FinishedResult, finished_results, judging_removal
from SegExplainLib.game import RegionGame
from SegExplainLib.game_record import RECORD_NAME, GameRecord
from SegExplainLib.play import require_full
from SegExplainLib.progress import Progress
from SegExplainLib.question import OpenGame, Opening, Question, native_parts, open_game
from SegExplainLib.question_keys import QuestionKeys
from SegExplainLib.record_file import fingerprints_of
from SegExplainLib.report.evaluation import EVALUATION_JSON, write_evaluation
from SegExplainLib.warm import WarmState


def evaluate(
    folders: Sequence[Path],
    out: Path,
    *,
    mask: str = "",
    removal: str = "",
    budget: int = 0,
    seed: int = 0,
    device: str = "",
    trust_model: bool = False,
    progress: Progress | None = None,
    on_plan: Callable[[Plan], None] | None = None,
) -> Evaluation:
    """Judges finished results of one question and leaves a folder with tables, curves and sentences.

    One game judges all of them: that of one removal, whatever each was made with. What any of them evaluated of it, or
    an evaluation into the same folder that was stopped, is not asked of the network again. The results folders stay as
    they are.

    Args:
        folders: Finished results on one CT, model, region, class, number and choice of units.
        out: Folder for the evaluation.
        mask: File of what the maps should agree with; empty takes the predicted target in the region.
        removal: Of the judging game; empty takes that of the first result whose method removes units.
        budget: Most new coalitions; 0 for an automatic one (``evaluation.plan.planned``).
        seed: Of all draws.
        device: Where the network runs; empty for that of the results' request.
        trust_model: Allow a model file that executes code when it is opened; results folders do not decide that.
        progress: Is told stages, steps and warnings.
        on_plan: Is told what will be asked of the network before it is.

    Raises:
        InvalidRequest: the results cannot be judged together, or CT or model have changed since.
        Cancelled: somebody asked to stop; what was evaluated is kept in ``out``.
        SegExplainError: of the kind that fits: what was expected, what was found, what to do.
    """
    progress = progress or Progress()
    _refuse_finished(out)
    with progress.stage("read results"):
        results = finished_results(folders)
        request, removal_from = judging_removal(results, removal)
        request = replace(request, trust_model=trust_model, device=device or request.device)
    question, game = _opened(request, results, progress)
    if (out / RECORD_NAME).exists():
        game.record.take_over(GameRecord.load(out / RECORD_NAME))
    with progress.stage("compare with the mask"):  # before the long work, which a wrong mask should not follow
        of_maps, mask_words = judged_maps(results, question.case.ct, mask=mask, progress=progress)
    with _kept(game.record, out):
        judge = _Judge.of(request, game, results, progress=progress, budget=budget, seed=seed)
        if on_plan:
            on_plan(judge.plan)
        with progress.stage("evaluate coalitions"):
            sticks, of_units = judge.unit_scores()
    evaluation = Evaluation(
        target=request.target,
        quantity=request.value,
        unit=judge.unit,
        removal=request.removal,
        removal_from=removal_from,
        mask=mask_words,
        ct=Path(request.ct).name,
        unit_names=question.partition.names,
        sticks=sticks,
        results=tuple(map(_scores_of, results, of_units, of_maps)),
        volume_only=_volume_only(sticks),
        n_known=judge.n_known,
        n_new=len(game.record.table) - judge.n_known,
        counts=game.counts,
        warnings=tuple(progress.warnings),
    )
    with progress.stage("write results"), atomic_folder(out, last=EVALUATION_JSON) as folder:
        write_evaluation(folder, evaluation)
    return evaluation


def _refuse_finished(out: Path) -> None:
    if (out / EVALUATION_JSON).exists():
        raise InvalidRequest(f"{out} already holds an evaluation.", "Give another --out, or delete the folder.")
    if out.exists() and not out.is_dir():
        raise InvalidRequest(f"{out} is not a folder.", "Give another --out.")


def _opened(
    request: ExplainRequest, results: Sequence[FinishedResult], progress: Progress
) -> tuple[Question, OpenGame]:
    """The question as it was, with the units and the region of its record, and the game of the judging removal.

    Raises:
        InvalidRequest: CT or model are no longer those that were explained.
    """
    record, warm = results[0].record, WarmState()
    opening = Opening(request, QuestionKeys.of(request), warm, progress)
    segmenter = opening.segmenter()
    ct, network_input = opening.ct_and_input(segmenter)
    if any(record.fingerprints[part] != digest for part, digest in fingerprints_of(native_parts(ct)).items()):
        raise InvalidRequest(f"{request.ct} is no longer the CT that was explained.", "Explain the new CT.")
    if fingerprints_of({"the CT": network_input.array})["the CT"] != record.fingerprints["the CT"]:
        raise InvalidRequest(
            f"{request.model} prepares the CT otherwise than when it was explained.", "Use the model as it was."
        )
    with progress.stage("find region"):
        body = body_on_input(ct, network_input)
        case = prepared_case(ct, record.roi_native, segmenter, network_input=network_input, body=body)
    question = Question(segmenter, case, record.partition, opening.keys)
    with progress.stage("remove units"):
        absent = baselines_for(request, question, progress).images[0]
    with progress.stage("run unperturbed tiles"):
        game = open_game(request, question, absent, warm, progress)
        _take_over(game.record, request, results, progress)
        require_full(game.record, game.tallier)
    return question, game


def _take_over(
    record: GameRecord, request: ExplainRequest, results: Sequence[FinishedResult], progress: Progress
) -> None:
    """Puts what the results evaluated of the same game into its record.

    Raises:
        InvalidRequest: model, tiles or reference are no longer those that were explained.
    """
    for result in results:
        then = result.record.fingerprints
        differing = [part for part, digest in record.fingerprints.items() if then.get(part) != digest]
        if not differing:
            record.take_over(result.record)
        elif differing != ["the removal"]:
            changed = [part for part in differing if part != "the removal"]
            raise InvalidRequest(
                f"{result.folder} was made otherwise: {', '.join(changed)} differ(s) from what {request.model} gives "
                "now.",
                f"Use the model as it was, on the device that was used ({result.manifest.device}), or explain again.",
            )
        elif result.removes and result.request.removal == request.removal:
            progress.warn(
                f"The removal {request.removal} of {result.name} does not come out as it was; none of its coalitions "
                "is taken over."
            )


@contextmanager
def _kept(record: GameRecord, out: Path) -> Iterator[None]:
    """What the block evaluates is kept in ``out``, however it ends."""
    n_known = len(record.table)
    try:
        yield
    except Cancelled as error:
        error.hint = "Nothing new had been evaluated yet."
        if len(record.table) > n_known:
            error.hint = f"What was evaluated is kept in {out}; the same command goes on with it."
        raise
    finally:
        if len(record.table) > n_known:
            record.save(out / RECORD_NAME)


@dataclass(frozen=True, eq=False)
class _Judge:
    """The game that judges, and what will be asked of it.

    Attributes:
        game: Asked once for each coalition.
        results: To be judged.
        volumes_ml: (n_units,).
        orders: Whose curves are drawn.
        plan: What else is asked.
        seed: Of all draws.
        unit: Of the explained number.
        n_known: Coalitions that were known beforehand.
    """

    game: RememberedGame
    results: Sequence[FinishedResult]
    volumes_ml: NDArray[np.float64]
    orders: list[NDArray[np.int64]]
    plan: Plan
    seed: int
    unit: str
    n_known: int

    @classmethod
    def of(
        cls,
        request: ExplainRequest,
        game: OpenGame,
        results: Sequence[FinishedResult],
        *,
        progress: Progress,
        budget: int,
        seed: int,
    ) -> "_Judge":
        """Plans; asks nothing yet."""
        record = game.record
        volumes_ml = record.partition.volumes_ml
        orders = curve_orders([result.amounts for result in results], volumes_ml, seed=seed)
        n_known, n_units = len(record.table), record.partition.n_players
        n_curves = int((~record.table.is_known(curve_coalitions(orders))).sum())
        plan = planned(n_units=n_units, n_curves=n_curves, n_unknown=2**n_units - n_known, budget=budget)

        def tell() -> None:
            progress.step(len(record.table) - n_known, plan.n_new_most, tiles=game.tallier.cache.runner.n_tiles)

        target, score = asked_question(request, record)
        region_game = RegionGame(
            record.table, [(record.channel_of(target), score)], tallier=game.tallier, on_block=tell
        )
        return cls(RememberedGame(region_game), results, volumes_ml, orders, plan, seed, score.unit, n_known)

    def unit_scores(self) -> tuple[Yardsticks, list[UnitScores]]:
        """Asks the game for everything that is planned."""
        curves = curve_coalitions(self.orders)
        self.game.announce(curves)
        self.game(curves)  # all curves in one batch; each then finds its answers known
        sticks = yardsticks(self.game, self.orders, volumes_ml=self.volumes_ml, plan=self.plan, seed=self.seed)
        of_units = [
            unit_scores(self.game, result.amounts, sticks, has_scale=result.has_scale) for result in self.results
        ]
        return sticks, of_units


def _scores_of(result: FinishedResult, of_units: UnitScores, of_map: MapScores) -> ResultScores:
    removal = result.request.removal if result.removes else ""
    return ResultScores(result.name, str(result.folder), result.request.method, removal, of_units, of_map)


def _volume_only(sticks: Yardsticks) -> tuple[Metric, ...]:
    why = why_unranked("volume", sticks.volumes_ml, volumes_ml=sticks.volumes_ml)
    return order_metrics(sticks.volume_only, sticks, why=why)
