"""Run a gradient method on a question: tell how far it is, show what it has, and give the answer as an attribution."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.attribution import Attribution
from SegExplainLib.contract import DIFFERENTIABLE_VALUES, PATH_METHODS, Cancelled, ExplainRequest, SegExplainError
from SegExplainLib.gradient_record import GRADIENTS_NAME, GradientRecord
from SegExplainLib.gradients.backward import StitchedNetwork
from SegExplainLib.gradients.expected_gradients import expected_gradients
from SegExplainLib.gradients.guided_backprop import guided_backprop
from SegExplainLib.gradients.integrated_gradients import integrated_gradients
from SegExplainLib.gradients.saliency import input_x_gradient, saliency
from SegExplainLib.gradients.seg_grad_cam import seg_grad_cam
from SegExplainLib.gradients.smoothgrad import smoothgrad, smoothgrad_squared, vargrad
from SegExplainLib.gradients.stitched_score import StitchedScore, stitched_score
from SegExplainLib.gradients.voxel_estimate import VoxelEstimate
from SegExplainLib.gradients.xrai import xrai
from SegExplainLib.model.memory import available_bytes
from SegExplainLib.model.segmenter import class_named
from SegExplainLib.partial_results import PartialResults
from SegExplainLib.play import SAVE_EVERY_S, require_full
from SegExplainLib.progress import Progress
from SegExplainLib.question import OpenGame, Question
from SegExplainLib.record_file import fingerprints_of

_log = logging.getLogger(__name__)

GRAPH_SHARE = 0.25
"""Of the free memory: for graphs that are kept for the way back, so that tiles need not run forward twice."""
PREVIEW = "Seg-Grad-CAM preview"
TELL_EVERY_S = 0.25
SHOW_EVERY_S = 2.0
RELATIVE = "relative"
"""Unit of maps on a scale of their own, of which only ratios mean something."""


@dataclass(frozen=True)
class GradientMethod:
    """One gradient method, as a request reaches it.

    Attributes:
        stream: ``stream(score, partition, *, baselines, budget, tolerance, seed, **options)``.
        budget: Most gradients, where the request leaves it open; 1 for methods that know no more than one.
        is_in_unit: Whether its values are in the explained number's own unit.
        has_errors: Whether its standard errors are sampling errors, from which intervals follow.
        budget_by_baseline: Whether ``budget`` is that of each baseline.
        can_resume: Whether it takes many gradients, and goes on from a ``memory`` of those that were taken.
        options: Keyword -> field of the request.
    """

    stream: Callable[..., Iterator[VoxelEstimate]]
    budget: int = 1
    is_in_unit: bool = False
    has_errors: bool = True
    budget_by_baseline: bool = False
    can_resume: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


NOISE = {"noise_share": "noise"}
GRADIENTS: dict[str, GradientMethod] = {
    "saliency": GradientMethod(saliency),
    "input-x-gradient": GradientMethod(input_x_gradient, is_in_unit=True),
    "integrated-gradients": GradientMethod(
        integrated_gradients, budget=129, is_in_unit=True, has_errors=False, budget_by_baseline=True, can_resume=True
    ),
    "expected-gradients": GradientMethod(expected_gradients, budget=200, is_in_unit=True, can_resume=True),
    "smoothgrad": GradientMethod(smoothgrad, budget=50, can_resume=True, options=NOISE),
    "smoothgrad-squared": GradientMethod(smoothgrad_squared, budget=50, can_resume=True, options=NOISE),
    "vargrad": GradientMethod(vargrad, budget=50, can_resume=True, options=NOISE),
    "guided-backprop": GradientMethod(guided_backprop),
    "seg-grad-cam": GradientMethod(seg_grad_cam, options={"layer": "layer"}),
    "xrai": GradientMethod(
        xrai,
        budget=129,
        has_errors=False,
        budget_by_baseline=True,
        can_resume=True,
        options={"is_fast": "xrai_fast", "with_units": "xrai_units"},
    ),
}


@dataclass(frozen=True, eq=False)
class GradientAnswer:
    """What a gradient method found, and what it took.

    Attributes:
        estimate: The last.
        attribution: The same for the report.
        counts: Tiles run for it, by name.
    """

    estimate: VoxelEstimate
    attribution: Attribution
    counts: dict[str, float]


def gradient_budget(request: ExplainRequest) -> int:
    """Most gradients of a request: its own budget, or the method's where that is 0; 1 where there is one only."""
    method = GRADIENTS[request.method]
    if method.budget == 1:
        return 1
    return request.budget or method.budget * (request.n_baselines if method.budget_by_baseline else 1)


def take_gradients(
    request: ExplainRequest,
    question: Question,
    game: OpenGame,
    *,
    baselines: Sequence[NDArray[np.float32]],
    progress: Progress,
    partial: PartialResults | None = None,
    out: Path | None = None,
    resume: bool = False,
) -> GradientAnswer:
    """Runs the request's method to its end.

    The sums over gradients are saved to ``out`` now and then and in the end, however it ends.

    Args:
        request: With its budget filled in.
        question: Whose files are open.
        game: Of the question: the prediction of the unperturbed CT, and the reference.
        baselines: Network inputs with every unit absent, each float32 (channels, k, j, i).
        progress: Is told after each tile.
        partial: Keeps interim answers for those who watch.
        out: Results folder; None keeps nothing.
        resume: Go on with what an interrupted run left in ``out``.

    Raises:
        InvalidRequest: the method cannot be run as asked, or ``out`` holds the gradients of another question.
        UnusableModel: the network has no gradient, or one that is not finite.
        OutOfMemory: one tile does not fit.
        OutOfDisk: the disk is full.
        Cancelled: somebody asked to stop.
    """
    require_full(game.record, game.tallier)
    method = GRADIENTS[request.method]
    record = _opened_record(request, game, baselines, out=out if resume else None, progress=progress)
    watch = _Watch(request, record, progress, partial, out=out)
    score = score_for(request, question, game, on_tile=watch.tile)
    watch.score = score
    if request.budget > 1:
        free = available_bytes(question.segmenter.device)
        score.network.keep_graphs(score.image, most_bytes=int(GRAPH_SHARE * free))
    options = {keyword: getattr(request, name) for keyword, name in method.options.items()}
    if method.can_resume:
        options["memory"] = record.memory
    estimates = method.stream(
        score,
        question.partition,
        baselines=baselines,
        budget=request.budget,
        tolerance=request.tolerance,
        seed=request.seed,
        **options,
    )
    try:
        for estimate in estimates:
            watch.estimate(estimate, voxel_attribution(request, question, score, estimate))
    finally:
        watch.end()
    network = score.network
    counts = {"n_tiles_forward": float(network.n_forward), "n_tiles_backward": float(network.n_backward)}
    return GradientAnswer(estimate, voxel_attribution(request, question, score, estimate), counts)


def _opened_record(
    request: ExplainRequest,
    game: OpenGame,
    baselines: Sequence[NDArray[np.float32]],
    *,
    out: Path | None,
    progress: Progress,
) -> GradientRecord:
    """The record of the question: empty, or with the gradients of the interrupted run in ``out``."""
    parts = {
        "the method": request.method,
        "the class": request.target,
        "the value": request.value,
        "the seed": str(request.seed),
        "the noise": str(request.noise) if "noise" in GRADIENTS[request.method].options.values() else "",
        "the precision": str(request.float32),
    }
    fingerprints = game.record.fingerprints | fingerprints_of(parts)
    images = baselines if request.method in PATH_METHODS else ()
    fingerprints["the removal"] = "".join(fingerprints_of({str(n): image for n, image in enumerate(images)}).values())
    record = GradientRecord({}, fingerprints)
    if out is not None and (out / GRADIENTS_NAME).exists():
        record.take_over(GradientRecord.load(out / GRADIENTS_NAME))
        progress.warn(
            f"{record.n_gradients} gradients were taken over from an interrupted run; the counts of tiles and the "
            "times tell of the rest."
        )
    return record


def show_preview(
    request: ExplainRequest, question: Question, game: OpenGame, *, partial: PartialResults, progress: Progress
) -> None:
    """Seg-Grad-CAM for those who watch, before the first coalition: less than one gradient's work.

    Of the request's value, or of soft Dice where that counts voxels. A network without a gradient gives no preview.

    Raises:
        Cancelled: somebody asked to stop.
    """
    value = request.value if request.value in DIFFERENTIABLE_VALUES else "soft-dice"
    asked = replace(request, method="seg-grad-cam", value=value, layer="", budget=1)
    try:
        answer = take_gradients(asked, question, game, baselines=(), progress=progress)
    except Cancelled:
        raise
    except SegExplainError as error:
        _log.info("There is no preview: %s", error)
        return
    folder = partial.write_map(answer.attribution)
    progress.partial(folder, 0, request.budget, error=None, tiles=0, message=PREVIEW)


def score_for(
    request: ExplainRequest, question: Question, game: OpenGame, *, on_tile: Callable[[], None]
) -> StitchedScore:
    """The explained number as a differentiable function of the network's input, with the game's own reference."""
    network = StitchedNetwork(question.segmenter, question.case.region, is_float32=request.float32, on_tile=on_tile)
    return stitched_score(
        network,
        question.case,
        question.segmenter,
        target=class_named(question.segmenter, request.target),
        quantity=request.value,
        reference=torch.from_numpy(game.record.reference).to(question.segmenter.device),
        full_logits=game.tallier.cache.full_logits,
    )


def voxel_attribution(
    request: ExplainRequest, question: Question, score: StitchedScore, estimate: VoxelEstimate
) -> Attribution:
    """An estimate as the attribution that a report tells of.

    Discretisation errors are no standard errors, and what is not in the number's unit does not add up to it.
    """
    method = GRADIENTS[request.method]
    errors = estimate.standard_errors
    return Attribution(
        method=request.method,
        partition=question.partition,
        player_values=estimate.values,
        standard_errors=errors if method.has_errors else np.full_like(errors, math.nan),
        empty_value=estimate.empty_value if method.is_in_unit else math.nan,
        full_value=estimate.full_value,
        quantity=request.value,
        unit=score.number.score.unit if method.is_in_unit else RELATIVE,
        target=request.target,
        voxel_map=estimate.voxel_map,
    )


class _Watch:
    """Progress, forecast, interim answers and regular saving while gradients are taken.

    Attributes:
        score: Whose tiles are counted; set before the first of them runs.
    """

    def __init__(
        self,
        request: ExplainRequest,
        record: GradientRecord,
        progress: Progress,
        partial: PartialResults | None,
        *,
        out: Path | None,
    ) -> None:
        self.score: StitchedScore | None = None
        self._request = request
        self._record = record
        self._progress = progress
        self._partial = partial
        self._out = out
        self._n_known = record.n_gradients
        self._total = request.budget
        self._error: float | None = None
        self._begin = self._saved = self._told = time.monotonic()
        self._shown = -math.inf
        self._show_every_s = SHOW_EVERY_S
        self._save_every_s = SAVE_EVERY_S
        self._n_tiles_saved = 0

    def tile(self) -> None:
        """After each run of a tile: stop here when the user asked to, save now and then, tell a few times a second."""
        self._progress.check_cancelled()
        now = time.monotonic()
        if now - self._saved > self._save_every_s and self._has_news:
            self._save()
            self._saved = time.monotonic()
            self._save_every_s = max(SAVE_EVERY_S, 50 * (self._saved - now))  # large sums are saved less often
        if self.score is not None and now - self._told > TELL_EVERY_S:
            self._tell()

    def estimate(self, estimate: VoxelEstimate, answer: Attribution) -> None:
        """After each interim estimate: a new forecast of how many gradients are needed."""
        error = estimate.relative_error
        self._error = error if math.isfinite(error) else None
        forecast = estimate.forecast_evaluations(self._request.tolerance)
        self._total = int(min(self._request.budget, max(forecast, estimate.n_gradients)))
        is_last = estimate.stop_reason is not None
        begin = time.monotonic()
        if self._partial is not None and (is_last or begin - self._shown > self._show_every_s):
            folder = self._partial.write(answer, estimate)
            n_done = estimate.n_gradients
            self._progress.partial(folder, n_done, max(n_done, self._total), error=self._error, tiles=self._n_tiles)
            self._shown = time.monotonic()
            self._show_every_s = max(SHOW_EVERY_S, 10 * (self._shown - begin))  # a large map is shown less often
        self._tell()

    def end(self) -> None:
        """Saves what is new: until the results are written it may still be needed. Lets go of the network's maps."""
        if self._has_news:
            self._save()
        self.score = None  # which calls `tile`: a circle would hold all sums until the collector comes by

    @property
    def _has_news(self) -> bool:
        return self._record.n_gradients > 0 and self._n_tiles > self._n_tiles_saved

    def _save(self) -> None:
        if self._out is not None:
            self._record.save(self._out / GRADIENTS_NAME)
            self._n_tiles_saved = self._n_tiles

    @property
    def _n_tiles(self) -> int:
        return self.score.network.n_forward if self.score else 0

    def _tell(self) -> None:
        """Steps are tiles that were followed back: every gradient takes each of them once."""
        if self.score is None:
            return
        self._told = time.monotonic()
        n_new, n_tiles = self.score.network.n_backward, len(self.score.network.jobs)
        done = self._n_known * n_tiles + n_new
        total = max(done, self._total * n_tiles)
        left_s = (self._told - self._begin) / n_new * (total - done) if n_new else None
        self._progress.step(done, total, left_s=left_s, error=self._error, tiles=self._n_tiles)
