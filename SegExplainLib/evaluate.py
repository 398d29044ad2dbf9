"""Can the explanation be trusted? Finished results are judged by the game that they were made from, and by a mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.answers import asked_question
from SegExplainLib.atomic import atomic_folder
from SegExplainLib.contract import InvalidRequest, nearest_names
from SegExplainLib.evaluated_maps import judged_maps
from SegExplainLib.evaluated_results import tell_results
from SegExplainLib.evaluated_voxels import judged_voxels, voxel_words, why_no_voxels
from SegExplainLib.evaluation.map_scores import MapScores
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.plan import Plan, planned
from SegExplainLib.evaluation.scorecard import Evaluation, ResultScores
from SegExplainLib.evaluation.stability import StabilityScores
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
from SegExplainLib.evaluation.voxel_scores import N_STEPS, VoxelScores, VoxelYardsticks, most_coalitions
from SegExplainLib.finished import FinishedResult, finished_results, judging_removal
from SegExplainLib.judging_games import JudgingGames
from SegExplainLib.progress import Progress
from SegExplainLib.question import Question
from SegExplainLib.reopened import reopened
from SegExplainLib.report.evaluation import EVALUATION_JSON, write_evaluation
from SegExplainLib.results_folder import MANIFEST_NAME
from SegExplainLib.stability_plan import KINDS, planned_reruns
from SegExplainLib.stability_run import measured_stability
from SegExplainLib.warm import WarmState


def evaluate(
    folders: Sequence[Path],
    out: Path,
    *,
    mask: str = "",
    removal: str = "",
    budget: int = 0,
    voxel_steps: int = N_STEPS,
    stability: Sequence[str] = (),
    n_repeats: int = 3,
    noise_hu: float = 20.0,
    seed: int = 0,
    device: str = "",
    trust_model: bool = False,
    progress: Progress | None = None,
    warm: WarmState | None = None,
    on_plan: Callable[[str], None] | None = None,
) -> Evaluation:
    """Judges finished results of one question and leaves a folder with tables, curves and sentences.

    One game judges all of them: that of one removal, whatever each was made with. What any of them evaluated of it, or
    an evaluation into the same folder that was stopped, is not asked of the network again. Each result's manifest and
    report then tell what was found of it; all else in its folder stays as it is.

    Args:
        folders: Finished results on one CT, model, region, class, number and choice of units.
        out: Folder for the evaluation.
        mask: File of what the maps should agree with; empty takes the predicted target in the region.
        removal: Of the judging game; empty takes that of the first result whose method removes units.
        budget: Most new coalitions of units; 0 for an automatic one (``evaluation.plan.planned``).
        voxel_steps: Of the curves over voxels, where a result tells voxels apart; 0 for none, otherwise 2 or more.
        stability: Which of ``stability_plan.KINDS`` to measure, by running each result's method again.
        n_repeats: Runs under noise, and with other seeds.
        noise_hu: Bound of the noise, either way.
        seed: Of all draws.
        device: Where the network runs; empty for that of the results' request.
        trust_model: Allow a model file that executes code when it is opened; results folders do not decide that.
        progress: Is told stages, steps and warnings.
        warm: Where an earlier question may have left network and CT.
        on_plan: Is told in sentences what will be asked of the network before it is.

    Raises:
        InvalidRequest: the results cannot be judged together, or CT or model have changed since.
        Cancelled: somebody asked to stop; what was evaluated is kept in ``out``.
        SegExplainError: of the kind that fits: what was expected, what was found, what to do.
    """
    progress = progress or Progress()
    _require_sound(out, budget=budget, voxel_steps=voxel_steps, stability=stability, seed=seed)
    with progress.stage("read results"):
        results = finished_results(folders)
        request, removal_from = judging_removal(results, removal)
        request = replace(request, trust_model=trust_model, device=device or request.device)
    question, game = reopened(request, results, progress, warm=warm or WarmState())
    with progress.stage("compare with the mask"):  # before the long work, which a wrong mask should not follow
        of_maps, mask_words = judged_maps(results, question.case, mask=mask, progress=progress)
    games = JudgingGames(game, asked_question(request, game.record), out, progress=progress)
    orders = curve_orders([result.amounts for result in results], games.volumes_ml, seed=seed)
    plan = _planned_and_gone_on(games, orders, budget=budget)
    again = {"kinds": stability, "n_repeats": n_repeats, "noise_hu": noise_hu, "seed": seed}
    work = _Work(
        results=results,
        question=question,
        games=games,
        orders=orders,
        plan=plan,
        voxel_steps=voxel_steps,
        again=again,
        seed=seed,
        out=out,
        progress=progress,
    )
    for words in work.words:
        if on_plan:
            on_plan(words)
    with games.kept():
        sticks, of_units = work.judged_units()
        voxel_sticks, of_voxels = work.judged_voxels()
        of_runs = work.measured_stability()
        evaluation = Evaluation(
            target=request.target,
            quantity=request.value,
            unit=asked_question(request, game.record)[1].unit,
            removal=request.removal,
            removal_from=removal_from,
            mask=mask_words,
            ct=Path(request.ct).name,
            unit_names=question.partition.names,
            sticks=sticks,
            voxel_sticks=voxel_sticks,
            why_no_voxels=work.why_no_voxels,
            results=tuple(map(_scores_of, results, of_units, of_voxels, of_maps, of_runs)),
            volume_only=_volume_only(sticks),
            n_known=games.n_known,
            n_new=games.n_new,
            n_voxels=games.n_new_voxels,
            noise_hu=noise_hu if "noise" in stability else 0.0,
            counts=game.counts,
            warnings=tuple(progress.warnings),
        )
        with progress.stage("write results"), atomic_folder(out, last=EVALUATION_JSON) as folder:
            write_evaluation(folder, evaluation)
            # While the folder is unfinished: the same command goes on with what is stopped here.
            tell_results(evaluation, out, progress=progress)
    return evaluation


@dataclass(frozen=True, eq=False, kw_only=True)
class _Work:
    """What is asked of the network, and what it will take.

    Attributes:
        results: That are judged.
        question: Of theirs, open.
        games: That judge.
        orders: Of the units, whose curves are drawn.
        plan: For units.
        voxel_steps: Of the curves over voxels; 0 for none.
        again: What stability is measured by.
        seed: Of all draws.
        out: Folder of the evaluation.
        progress: Is told.
    """

    results: Sequence[FinishedResult]
    question: Question
    games: JudgingGames
    orders: Sequence[NDArray[np.int64]]
    plan: Plan
    voxel_steps: int
    again: dict[str, Any]
    seed: int
    out: Path
    progress: Progress

    @property
    def why_no_voxels(self) -> str:
        """A sentence; empty where maps are judged voxel by voxel."""
        return why_no_voxels(self.results, n_steps=self.voxel_steps)

    @property
    def words(self) -> list[str]:
        """For the user, before it begins."""
        of_voxels = voxel_words(self.results, n_steps=self.voxel_steps, n_kept=self.games.n_voxels_known)
        told = [self.plan.words, *([of_voxels] if of_voxels else [])]
        if not self.again["kinds"]:
            return told
        return told + [
            planned_reruns(result, self.question, kept=self.out, **self.again).words for result in self.results
        ]

    def judged_units(self) -> tuple[Yardsticks, list[UnitScores]]:
        """Asks the game of units for everything that is planned."""
        games, curves = self.games, curve_coalitions(self.orders)
        n_voxels = 0 if self.why_no_voxels else most_coalitions(len(self.results), n_steps=self.voxel_steps)
        games.n_total = self.plan.n_new_most + max(0, n_voxels - games.n_voxels_known)
        with self.progress.stage("evaluate coalitions"):
            games.units.announce(curves)
            games.units(curves)  # all curves in one batch; each then finds its answers known
            sticks = yardsticks(games.units, self.orders, volumes_ml=games.volumes_ml, plan=self.plan, seed=self.seed)
            return sticks, [
                unit_scores(games.units, result.amounts, sticks, has_scale=result.has_scale) for result in self.results
            ]

    def judged_voxels(self) -> tuple[VoxelYardsticks | None, Sequence[VoxelScores | None]]:
        """Asks the games of groups of voxels; nothing where no result tells voxels apart."""
        if self.why_no_voxels:
            return None, [None] * len(self.results)
        with self.progress.stage("evaluate voxels"):
            return judged_voxels(
                self.games.voxels,
                self.results,
                self.question.case.ct,
                n_steps=self.voxel_steps,
                seed=self.seed,
                progress=self.progress,
            )

    def measured_stability(self) -> Sequence[StabilityScores | None]:
        """Runs the methods again; nothing where that was not asked for."""
        if not self.again["kinds"]:
            return [None] * len(self.results)
        with self.progress.stage("measure stability"):
            return [
                measured_stability(result, self.question, kept=self.out, progress=self.progress, **self.again)
                for result in self.results
            ]


def _require_sound(out: Path, *, budget: int, voxel_steps: int, stability: Sequence[str], seed: int) -> None:
    for kind in stability:
        if kind not in KINDS:
            raise InvalidRequest(f"Stability has no kind {kind!r}.", nearest_names(kind, KINDS))
    if voxel_steps < 0 or voxel_steps == 1:
        raise InvalidRequest(f"Curves over voxels have 2 steps or more; found {voxel_steps}.", "0 draws none.")
    if min(budget, seed) < 0:
        raise InvalidRequest(f"Budget and seed must be 0 or more; found {budget} and {seed}.")
    if (out / MANIFEST_NAME).exists():
        raise InvalidRequest(f"{out} holds a result.", "Give another --out: an evaluation has a folder of its own.")
    if (out / EVALUATION_JSON).exists():
        raise InvalidRequest(f"{out} already holds an evaluation.", "Give another --out, or delete the folder.")
    if out.exists() and not out.is_dir():
        raise InvalidRequest(f"{out} is not a folder.", "Give another --out.")


def _planned_and_gone_on(games: JudgingGames, orders: Sequence[NDArray[np.int64]], *, budget: int) -> Plan:
    """The plan, made of what the results know: who was stopped and goes on gets the numbers of who was not."""
    table, curves = games.record.table, curve_coalitions(orders)
    n_units, n_of_results = len(games.volumes_ml), games.n_known
    n_curves = int((~table.is_known(curves)).sum())
    games.go_on()
    return planned(
        n_units=n_units,
        n_curves=n_curves,
        n_unknown=2**n_units - n_of_results,
        budget=budget,
        n_kept=games.n_known - n_of_results,
        n_curves_kept=n_curves - int((~table.is_known(curves)).sum()),
    )


def _scores_of(
    result: FinishedResult,
    of_units: UnitScores,
    of_voxels: VoxelScores | None,
    of_map: MapScores,
    of_runs: StabilityScores | None,
) -> ResultScores:
    removal = result.request.removal if result.removes else ""
    return ResultScores(
        name=result.name,
        folder=str(result.folder),
        method=result.request.method,
        removal=removal,
        units=of_units,
        voxels=of_voxels,
        map=of_map,
        stability=of_runs,
    )


def _volume_only(sticks: Yardsticks) -> tuple[Metric, ...]:
    why = why_unranked("volume", sticks.volumes_ml, volumes_ml=sticks.volumes_ml)
    return order_metrics(sticks.volume_only, sticks, why=why)
