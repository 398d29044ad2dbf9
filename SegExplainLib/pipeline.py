"""The whole story, top to bottom: a request becomes a results folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from SegExplainLib import peer_shapley
from SegExplainLib.atomic import require_free_space
from SegExplainLib.attribution import Attribution, Estimate
from SegExplainLib.baseline_record import BASELINE_NAME, BaselineRecord
from SegExplainLib.baselines import SEARCHED, Baselines, baseline_record, baselines_for, restored_baselines
from SegExplainLib.contract import Cancelled, ExplainRequest, InvalidRequest, ResultManifest
from SegExplainLib.game_record import RECORD_NAME, GameRecord
from SegExplainLib.gradient_run import gradient_budget, show_preview, take_gradients
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.organ_map import OrganMap, write_organ_map
from SegExplainLib.partial_results import PartialResults
from SegExplainLib.play import Estimator, play
from SegExplainLib.progress import Progress
from SegExplainLib.question import (
    OpenGame,
    Question,
    chosen_device,
    native_parts,
    open_game,
    predicted_organs,
    prepared_question,
)
from SegExplainLib.record_file import fingerprints_of
from SegExplainLib.results_folder import kept_in, refuse_finished, refuse_other_method, write_results
from SegExplainLib.roi import parse_roi
from SegExplainLib.shapley.adjusted_shap import adjusted_shap, fewest_pairs
from SegExplainLib.shapley.exact import MOST_PLAYERS, exact_shapley
from SegExplainLib.shapley.kernel_regression import kernel_shap
from SegExplainLib.shapley.leverage import leverage_shap
from SegExplainLib.shapley.permutation import permutation_shapley
from SegExplainLib.shapley.stopping import BEFORE_THE_BUDGET
from SegExplainLib.volume_io import LABEL_SUFFIXES, read_ct
from SegExplainLib.warm import WarmState

ESTIMATORS: dict[str, Estimator] = {
    "adjusted-shap": adjusted_shap,
    "kernel-shap": kernel_shap,
    "leverage-shap": leverage_shap,
    "exact": exact_shapley,
    "permutation": permutation_shapley,
    "shap": peer_shapley.shap_kernel_explainer,
    "captum": peer_shapley.captum_kernel_shap,
}
MANY_UNITS = 400
FEW_COALITIONS = 256
SMALLEST_BUDGET: dict[str, Callable[[int], int]] = {
    "adjusted-shap": lambda n: 2 + 2 * fewest_pairs(n),
    "kernel-shap": lambda n: 2 * n + 4,
    "leverage-shap": lambda n: 2 * n + 4,
    "permutation": lambda n: 4 * n - 2,
    "shap": lambda n: 2 * n + 2,
    "captum": lambda n: 2 * n + 2,
    "exact": lambda n: 2**n,
}


def explain(
    request: ExplainRequest,
    out: Path,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    warm: WarmState | None = None,
    partial_to: Path | None = None,
) -> ResultManifest:
    """Answers one request and leaves a results folder; nothing is written before the network's first tile has run.

    Args:
        request: What is asked.
        out: Results folder.
        progress: Is told stages, steps and warnings.
        resume: Go on with what an interrupted run left in ``out``.
        warm: What earlier questions left, and where this one leaves its own for the next.
        partial_to: Folder for interim importances.

    Raises:
        SegExplainError: of the kind that fits: what was expected, what was found, what to do.
        Cancelled: after what was evaluated has been saved to ``out``, for ``resume``.
    """
    progress, warm = progress or Progress(), warm or WarmState()
    check_request(request)
    request = _without_unused_removal(request.with_paths_from(Path.cwd()))
    refuse_finished(out, resume=resume)
    refuse_other_method(request, out)
    if request.unused_options:
        progress.warn(
            f"{request.method} does not use {', '.join(request.unused_options)}: what was given has no effect."
        )
    with _told_what_is_kept(out):
        question = prepared_question(request, progress, warm=warm)
        segmenter, case = question.segmenter, question.case
        request = with_budget(request, question.partition.n_players)
        _warn_of_many_units(request, question.partition.n_players, progress)
        with progress.stage("remove units"):
            baselines = _kept_baselines(request, question, out, resume=resume, warm=warm, progress=progress)
        with progress.stage("run unperturbed tiles"):
            game = _opened_game(request, question, baselines, out, resume=resume, warm=warm, progress=progress)
        partial = PartialResults(partial_to, case.ct.grid) if partial_to else None
        answered = _answered(
            request, question, game, baselines, out=out, resume=resume, partial=partial, progress=progress
        )
        with progress.stage("write results"):
            return write_results(
                out,
                request=answered.request,
                record=game.record,
                estimate=answered.estimate,
                answers=answered.answers,
                ct=case.ct,
                model_name=segmenter.name,
                device=str(segmenter.device),
                counts=answered.counts | {"n_image_tiles": float(case.tiles.n_tiles)} | baselines.facts,
                progress=progress,
            )


def _without_unused_removal(request: ExplainRequest) -> ExplainRequest:
    """A removal that takes long is not made for a method that removes nothing."""
    if not request.uses_removal and request.removal in ("counterfactual", "references"):
        return replace(request, removal="local-mean", reference_cts=())
    return request


@dataclass(frozen=True, eq=False)
class _Answered:
    """What the method found.

    Attributes:
        request: With what the method chose by itself filled in.
        estimate: Of the request's question.
        answers: That of the request first.
        counts: Of tiles, by name.
    """

    request: ExplainRequest
    estimate: Estimate
    answers: list[Attribution]
    counts: dict[str, float]


def _answered(
    request: ExplainRequest,
    question: Question,
    game: OpenGame,
    baselines: Baselines,
    *,
    out: Path,
    resume: bool,
    partial: PartialResults | None,
    progress: Progress,
) -> _Answered:
    """The question, answered by the request's method."""
    if request.uses_gradients:
        with progress.stage("take gradients"):
            found = take_gradients(
                request,
                question,
                game,
                baselines=baselines.images,
                progress=progress,
                partial=partial,
                out=out,
                resume=resume,
            )
            request = replace(request, layer=found.estimate.layer)
            return _Answered(request, found.estimate, [found.attribution], game.counts | found.counts)
    if partial is not None and len(game.record.table) <= 1:
        with progress.stage("show preview"):
            show_preview(request, question, game, partial=partial, progress=progress)
    with progress.stage("evaluate coalitions"):
        estimate, answers = play(
            ESTIMATORS[request.method],
            request,
            game.record,
            tolerance=request.tolerance,
            settle=request.settle,
            tallier=game.tallier,
            out=out,
            progress=progress,
            partial=partial,
        )
        return _Answered(request, estimate, answers, game.counts)


def _kept_baselines(
    request: ExplainRequest, question: Question, out: Path, *, resume: bool, warm: WarmState, progress: Progress
) -> Baselines:
    """The request's removal of every unit; one that was searched for is kept in ``out``, for a run that goes on."""
    path = out / BASELINE_NAME
    is_searched = request.removal in SEARCHED

    def made() -> Baselines:
        if is_searched and resume and path.exists():
            return restored_baselines(BaselineRecord.load(path), request, question, progress)
        return baselines_for(request, question, progress)

    n_told = len(progress.warnings)
    baselines = warm.take(question.keys.absent, made, progress)
    if is_searched and not path.exists():
        baseline_record(baselines, request, question, warnings=progress.warnings[n_told:]).save(path)
    return baselines


@contextmanager
def _told_what_is_kept(out: Path) -> Iterator[None]:
    """A run that is stopped in this block says what of it can be gone on with."""
    try:
        yield
    except Cancelled as error:
        error.hint = "Nothing had been evaluated yet."
        if kept_in(out):
            error.hint = f"What was evaluated is kept in {out}; give the same command with --resume to go on."
        raise


def _warn_of_many_units(request: ExplainRequest, n_units: int, progress: Progress) -> None:
    if n_units > MANY_UNITS and not request.uses_gradients:
        progress.warn(
            f"{n_units} units share {request.budget} evaluations: small importances will stay uncertain. Larger units "
            "(--unit-mm) give a surer answer."
        )


def _opened_game(
    request: ExplainRequest,
    question: Question,
    baselines: Baselines,
    out: Path,
    *,
    resume: bool,
    warm: WarmState,
    progress: Progress,
) -> OpenGame:
    """The game, with the coalitions of an earlier question and, to resume, of the interrupted run in ``out``."""
    game = open_game(request, question, baselines.images[0], warm, progress)
    n_at_hand = len(game.record.table)
    if n_at_hand > 1 and not request.uses_gradients:
        progress.warn(
            f"{n_at_hand} coalitions were at hand from an earlier question about the same units; the counts of tiles "
            "and the times tell of the rest."
        )
    require_free_space(out, 60 * 2**20 + 12 * question.case.ct.array.size)
    if resume and (out / RECORD_NAME).exists():
        game.record.take_over(GameRecord.load(out / RECORD_NAME))
        progress.warn(
            f"{len(game.record.table) - n_at_hand} coalitions were taken over from an interrupted run; the counts of "
            "tiles and the times tell of the rest."
        )
    return game


def predict(
    ct_path: str,
    model: str,
    out: Path,
    *,
    device: str = "auto",
    mirroring: str = "model",
    folds: tuple[str, ...] = (),
    trust_model: bool = False,
    progress: Progress | None = None,
) -> OrganMap:
    """The model's own segmentation on the CT's grid, by our tiles, written to ``out`` (.nii.gz, .nrrd or .mha).

    The names of the labels are written beside it, so that it can serve as an organ map.

    Raises:
        SegExplainError: of the kind that fits; a name that cannot be written is told before the work.
    """
    progress = progress or Progress()
    if not out.name.lower().endswith(LABEL_SUFFIXES):
        raise InvalidRequest(f"Labels cannot be written as {out.name}.", f"Choose one of {', '.join(LABEL_SUFFIXES)}.")
    with progress.stage("load model"):
        segmenter = load_segmenter(
            model, device=chosen_device(device), trust=trust_model, folds=folds, mirroring=mirroring
        )
    with progress.stage("read CT"):
        ct = read_ct(ct_path, warn=progress.warn)
    with progress.stage("predict"):
        organ_map = predicted_organs(segmenter, ct, segmenter.prepared(ct), progress)
    with progress.stage("write results"):
        write_organ_map(organ_map, out)
    return organ_map


def revalue(results: Path, out: Path, *, target: str, value: str, progress: Progress | None = None) -> ResultManifest:
    """Another class or value function from the coalitions of a finished run; the network is not asked.

    Raises:
        InvalidRequest: the results are not finished, the CT has changed, the quantity is undefined for the class, or
            the results, themselves revalued, do not know the reference mask that the class is measured against.
    """
    progress = progress or Progress()
    with progress.stage("read results"):
        earlier = ResultManifest.read(results)
        record = GameRecord.load(results / RECORD_NAME)
        request = replace(ExplainRequest.from_mapping(earlier.request), target=target, value=value)
        if request.uses_gradients:
            raise InvalidRequest(
                f"{results} was made by {request.method}, which holds the answer to one question only.",
                "Ask the new question with `segexplain explain`; a Shapley method's results can be revalued.",
            )
        if earlier.estimate["stop_reason"] in BEFORE_THE_BUDGET:
            request = replace(request, budget=int(earlier.estimate["n_evaluations"]))
        if target == record.reference_class and not request.reference:
            raise InvalidRequest(
                f"{results} was made from a run in which {target!r} is measured against a reference mask, and does not "
                "know the mask.",
                "Revalue the results folder of that run.",
            )
        if request.reference and target != record.reference_class:
            request = replace(request, reference="")
            progress.warn(
                f"The reference mask of that run is of {record.reference_class!r}; {target!r} is measured against the "
                "network's own unperturbed prediction."
            )
        check_request(request)
        refuse_finished(out, resume=False)
        ct = read_ct(request.ct, warn=progress.warn)
        if any(record.fingerprints[part] != digest for part, digest in fingerprints_of(native_parts(ct)).items()):
            raise InvalidRequest(f"{request.ct} is no longer the CT that was explained.", "Explain the new CT.")
    with progress.stage("evaluate coalitions"):
        estimate, answers = play(
            ESTIMATORS[request.method], request, record, tolerance=0.0, tallier=None, out=out, progress=progress
        )
    with progress.stage("write results"):
        return write_results(
            out,
            request=request,
            record=record,
            estimate=estimate,
            answers=answers,
            ct=ct,
            model_name=Path(request.model).name,
            device=earlier.device,
            counts=earlier.counts,
            progress=progress,
        )


def check_request(request: ExplainRequest) -> None:
    """Raises:
    InvalidRequest: with all faults that can be seen without opening a file.
    """
    problems = request.problems()
    if problems:
        raise InvalidRequest(f"The request cannot be served: {'; '.join(problems)}.")
    parse_roi(request.roi)


def with_budget(request: ExplainRequest, n_players: int) -> ExplainRequest:
    """The request with an automatic budget filled in.

    For coalitions shap's rule, 2 n + 2048, or every coalition where these are few; for gradients the method's own.

    Raises:
        InvalidRequest: the budget cannot serve so many units.
    """
    if request.uses_gradients:
        return replace(request, budget=gradient_budget(request))
    every = 2**n_players
    if request.method == "exact" and n_players > MOST_PLAYERS:
        raise InvalidRequest(
            f"The exact method serves up to {MOST_PLAYERS} units; here are {n_players}.",
            "Use --method adjusted-shap, or fewer units (--units organs, a larger --unit-mm).",
        )
    smallest = min(every, SMALLEST_BUDGET[request.method](n_players))
    if not request.budget:
        # Few units are enumerated, exactly; from some on, sampling meets the tolerance with fewer evaluations.
        sampled = max(smallest, min(every - 1, 2 * n_players + 2048))
        return replace(request, budget=every if every <= FEW_COALITIONS or request.method == "exact" else sampled)
    if request.budget < smallest:
        raise InvalidRequest(
            f"{n_players} units need at least {smallest} evaluations; the budget is {request.budget}.",
            "Raise --budget, or take fewer units (--units organs, a larger --unit-mm).",
        )
    return request
