"""Is the explanation stable, and does it hang on the weights? Its method is run again on variants of its question."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.answers import asked_question, attribution_of
from SegExplainLib.attribution import Attribution
from SegExplainLib.baselines import REMOVALS, baselines_for
from SegExplainLib.contract import Cancelled, InvalidRequest, UnusableModel
from SegExplainLib.evaluation.similarity import VoxelChange, voxel_change
from SegExplainLib.evaluation.stability import ANCHOR, Rerun, StabilityScores, stability_scores
from SegExplainLib.finished import FinishedResult
from SegExplainLib.game import TallyTable
from SegExplainLib.gradient_run import take_gradients
from SegExplainLib.model.random_weights import Stage, randomised_segmenter
from SegExplainLib.pipeline import ESTIMATORS
from SegExplainLib.play import estimated
from SegExplainLib.progress import Progress
from SegExplainLib.question import OpenGame, Question, record_for, tallier_for
from SegExplainLib.report.methods import method_words
from SegExplainLib.rerun_record import RERUNS_NAME, RerunRecord
from SegExplainLib.stability_plan import KINDS, PlannedRerun, RerunPlan, planned_reruns
from SegExplainLib.volume import Volume

__all__ = ["KINDS", "measured_stability"]

Images = tuple[NDArray[np.float32], ...]
"""Network inputs with every unit absent; one, but for removals that are several images."""


def measured_stability(
    result: FinishedResult,
    question: Question,
    *,
    kinds: Sequence[str],
    n_repeats: int = 3,
    noise_hu: float = 20.0,
    budget: int = 0,
    seed: int = 0,
    kept: Path,
    progress: Progress,
) -> StabilityScores:
    """How the result's own method answers variants of its question, with the same units, region and reference y.

    The reference stays that of the result (the prediction of the CT and the network as they are, or the given mask), so
    that the explained number is the same function throughout. All are held against an anchor: the method run again as
    it was, with the budget of the re-runs, so that what a smaller budget changes is not taken for instability.

    - "noise": independent uniform noise of up to ``noise_hu`` either way on every voxel of the CT, which then takes the
      model's own preprocessing; removals are made of the noisy CT, but for those from elsewhere (references, a
      counterfactual). The seed stays the anchor's: the same coalitions or draws.
    - "seeds": other seeds of the method.
    - "weights": the network random from its last layer down to its first (`model.random_weights`).
    - "removals": every other removal of one image but the counterfactual.

    Each re-run that is finished is kept in ``kept / "reruns.json"`` at once, and never run again for the same question.
    The results folder stays as it is.

    Args:
        result: Whose stability is asked.
        question: Of the result, open: network, case and units of its record.
        kinds: Of ``KINDS``.
        n_repeats: Draws of noise, and other seeds.
        noise_hu: Bound of the noise.
        budget: Of each re-run, as for `planned_reruns`.
        seed: Of noise, weights and the choice of other seeds.
        kept: Folder; may hold the re-runs of other results as well.
        progress: Is told coalitions, or gradients, of all re-runs together.

    Returns:
        Metrics by kind, and each re-run. A variant that has no answer says why; the others count.

    Raises:
        InvalidRequest: a choice is out of its range, or ``kept`` holds a damaged record.
        Cancelled: somebody asked to stop; finished re-runs are kept.
        SegExplainError: of the kind that fits, where the method cannot be run at all.
    """
    record = RerunRecord.at(kept / RERUNS_NAME)
    plan = planned_reruns(
        result, question, kinds=kinds, n_repeats=n_repeats, noise_hu=noise_hu, budget=budget, seed=seed
    )
    finished = Rerun(ANCHOR, "finished", result.amounts, result.attribution.full_value)
    volumes_ml = question.partition.volumes_ml
    if not plan.reruns:
        bare = stability_scores(finished, finished, (), volumes_ml=volumes_ml, why_undefined=plan.why_undefined)
        return replace(bare, reruns=())
    runs = _Runs(result, question, plan, record, progress)
    try:
        anchor, *others = [runs.rerun(one) for one in plan.all]
    except Cancelled as error:
        n_kept = sum(one.key in record for one in plan.all)
        error.hint = "No re-run was finished yet."
        if n_kept:
            error.hint = f"{n_kept} of {len(plan.all)} re-runs are kept in {kept}; the same command goes on with them."
        raise
    return stability_scores(finished, anchor, others, volumes_ml=volumes_ml, why_undefined=plan.why_undefined)


@dataclass(frozen=True, eq=False)
class _Found:
    """An answer on the scale of the result's number.

    Attributes:
        amounts: float64 (n_units,), that add up over units.
        number: The explained number.
        voxels: float32 (n_voxels of units,), or None.
    """

    amounts: NDArray[np.float64]
    number: float
    voxels: NDArray[np.float32] | None

    @property
    def is_finite(self) -> bool:
        """Whether all of it can be told."""
        numbers = (self.amounts, self.number, 0.0 if self.voxels is None else self.voxels)
        return all(bool(np.isfinite(one).all()) for one in numbers)


class _Runs:
    """Runs what is planned and not kept yet, one after the other, in the order of the plan.

    Attributes:
        result: Whose stability is asked.
        question: As it was.
        plan: What is run.
        record: What is kept.
        progress: Is told.
    """

    def __init__(
        self, result: FinishedResult, question: Question, plan: RerunPlan, record: RerunRecord, progress: Progress
    ) -> None:
        self.result = result
        self.question = question
        self.plan = plan
        self.record = record
        self.progress = progress
        self._own_game: OpenGame | None = None
        self._names_of_images: dict[str, str] = {}

    def rerun(self, one: PlannedRerun) -> Rerun:
        """What is kept of it, or else its answer, kept from now on."""
        if one.key not in self.record:
            self.progress.check_cancelled()
            answer, image = self._answer(one)
            self.record.put(one.key, answer, image=image)
        if one.kind == "removals":
            self._names_of_images.setdefault(self.record.image_of(one.key), one.name)
        return self.record.get(one.key)

    def _answer(self, one: PlannedRerun) -> tuple[Rerun, str]:
        """The answer, and the digest of the image that another removal gave."""
        if one.kind == ANCHOR:
            return self._told(one, self._anchor), ""
        image = ""
        try:
            images = None
            if one.kind == "removals":
                images = baselines_for(one.request, self.question, self._part(one)).images
                image = _digest(images)
                self._require_new(one, image)
            found = self._found(one, images)
        except (InvalidRequest, UnusableModel) as error:  # of this variant alone: the anchor ran
            return Rerun(one.kind, one.name, why_undefined=error.message), image
        return self._told(one, found), image

    def _told(self, one: PlannedRerun, found: _Found) -> Rerun:
        if not found.is_finite:
            return Rerun(one.kind, one.name, why_undefined="The network gave numbers that are not finite.")
        voxels = None if one.kind == ANCHOR else self._voxel_change(one, found)
        return Rerun(one.kind, one.name, found.amounts, found.number, voxels)

    def _require_new(self, one: PlannedRerun, image: str) -> None:
        """Raises:
        InvalidRequest: another removal gave the same image, as the mean and 0 do where an input is centred.
        """
        own = {_digest(self._own_images): self.plan.anchor.request.removal}
        same = (self._names_of_images | own).get(image)
        if same is not None:
            raise InvalidRequest(f"Here the removal {one.name} gives the same image as {same}.")

    @cached_property
    def _anchor(self) -> _Found:
        return self._found(self.plan.anchor)

    @cached_property
    def _own_images(self) -> Images:
        """Of the result's removal; the CT itself where nothing is removed."""
        if not self.plan.anchor.request.uses_removal:
            return (self.question.case.network_input.array,)
        return baselines_for(self.plan.anchor.request, self.question, self._part(self.plan.anchor)).images

    def _found(self, one: PlannedRerun, images: Images | None = None) -> _Found:
        """The method's answer to a variant."""
        question, progress = self.question, self._part(one)
        if one.stage is not None:
            question = _with_random_weights(question, one.stage, seed=one.draw[0])
        if one.kind == "noise":
            question = noisy_question(question, noise_hu=one.noise_hu, draw=one.draw)
            if one.request.uses_removal and one.request.removal in REMOVALS:
                images = baselines_for(one.request, question, progress).images
        images = images or self._own_images
        if one.kind in (ANCHOR, "seeds"):
            game = self._own_game = self._own_game or self._opened_own(one, images, progress)
            game.tallier.cache.start_over(warn=progress.warn, on_batch=progress.check_cancelled)
        else:
            self._own_game = None  # gives back its memory
            game = self._opened(one, question, images, progress)
        return self._on_scale(self._answered(one, question, game, images, progress))

    def _opened(self, one: PlannedRerun, question: Question, images: Images, progress: Progress) -> OpenGame:
        """The variant's game, measured against the result's reference; nothing of it is known."""
        record, segmenter = self.result.record, question.segmenter
        tallier = tallier_for(
            one.request,
            question.case,
            question.partition,
            images[0],
            segmenter,
            progress,
            reference=record.reference,
        )
        table = TallyTable(question.partition.n_players, segmenter.n_channels)
        own = tallier.own_prediction.cpu().numpy()
        return OpenGame(tallier, replace(record, table=table, own_prediction=own, fingerprints={}))

    def _opened_own(self, one: PlannedRerun, images: Images, progress: Progress) -> OpenGame:
        """The result's own game, with all coalitions that it has evaluated."""
        question, game = self.question, self._opened(one, self.question, images, progress)
        record = record_for(
            self.result.request, question.case, question.partition, images[0], question.segmenter, game.tallier
        )
        if record.fingerprints == self.result.record.fingerprints:
            record.take_over(self.result.record)
        return OpenGame(game.tallier, record)

    def _answered(
        self, one: PlannedRerun, question: Question, game: OpenGame, images: Images, progress: Progress
    ) -> Attribution:
        request = one.request
        if request.uses_gradients:
            return take_gradients(request, question, game, baselines=images, progress=progress).attribution
        estimator = ESTIMATORS[request.method]
        estimate = estimated(
            estimator, request, game.record, tallier=game.tallier, tolerance=request.tolerance, progress=progress
        )
        return attribution_of(request, game.record, estimate, asked_question(request, game.record))

    def _on_scale(self, answer: Attribution) -> _Found:
        """Amounts that add up over units, as `FinishedResult.amounts`, in the unit of the result's number."""
        partition = self.question.partition
        scale = np.ones(partition.n_players)
        if method_words(answer.method).is_mean:
            scale = partition.volumes_ml
        per_fp = 1.0
        if answer.quantity != self.result.request.value:  # fp for fp-relative
            record = self.result.record
            per_fp = float(record.full_tallies()[record.channel_of(answer.target)][1])
        voxels = None if answer.voxel_map is None else answer.voxel_map[partition.labels > 0]
        return _Found(answer.player_values * scale / per_fp, answer.full_value / per_fp, voxels)

    def _voxel_change(self, one: PlannedRerun, found: _Found) -> VoxelChange | None:
        if found.voxels is None or self._anchor.voxels is None or not self._anchor.is_finite:
            return None
        return voxel_change(self._anchor.voxels, found.voxels, is_unsigned=one.kind == "weights")

    def _part(self, one: PlannedRerun) -> "_Part":
        place = self.plan.all.index(one)
        n_before = sum(earlier.request.budget for earlier in self.plan.all[:place])
        return _Part(self.progress, n_before, one.request.budget, self.plan.n_most)


class _Part(Progress):
    """Tells of one re-run as a part of all: its steps on their scale, and their wish to cancel."""

    def __init__(self, whole: Progress, n_before: int, n_own: int, n_all: int) -> None:
        super().__init__()
        self._whole = whole
        self._n_before = n_before
        self._n_own = n_own
        self._n_all = n_all

    def step(
        self,
        done: int,
        total: int,
        *,
        left_s: float | None = None,  # noqa: ARG002
        error: float | None = None,  # noqa: ARG002
        tiles: int = 0,
    ) -> None:
        """As `Progress.step`, in coalitions or gradients; what is left of one run says nothing of all."""
        n_own = min(self._n_own, self._n_own * done // max(1, total))
        self._whole.step(self._n_before + n_own, self._n_all, tiles=tiles)

    def warn(self, message: str) -> None:
        """As `Progress.warn`."""
        self._whole.warn(message)

    def check_cancelled(self) -> None:
        """As `Progress.check_cancelled`."""
        self._whole.check_cancelled()


def noisy_question(question: Question, *, noise_hu: float, draw: Sequence[int]) -> Question:
    """The question of a CT with noise, with region, units and body as they were.

    Args:
        question: Stays as it is.
        noise_hu: Bound: every voxel of the CT gets a number of its own, uniform between minus and plus this.
        draw: Seed of the numbers.

    Raises:
        InvalidRequest: the noisy CT is cropped otherwise by the model's preprocessing.
    """
    case = question.case
    noisy = np.random.default_rng(draw).random(case.ct.array.shape, dtype=np.float32)  # in place: CTs are large
    noisy *= 2 * noise_hu
    noisy -= noise_hu
    noisy += case.ct.array
    ct = Volume(noisy, case.ct.grid)
    network_input = question.segmenter.prepared(ct)
    if not network_input.grid.is_same_as(case.network_input.grid):
        raise InvalidRequest(
            "The model's preprocessing crops the noisy CT otherwise than the CT, so that its tiles are others."
        )
    return replace(question, case=replace(case, ct=ct, network_input=network_input))


def _with_random_weights(question: Question, stage: Stage, *, seed: int) -> Question:
    case, segmenter = question.case, question.segmenter
    where = case.tiles.slices(int(case.region.numbers[0]))
    tile = torch.from_numpy(np.ascontiguousarray(case.network_input.array[:, *where])).to(segmenter.device)
    return replace(question, segmenter=randomised_segmenter(segmenter, tile, stage=stage, seed=seed))


def _digest(images: Images) -> str:
    digest = hashlib.sha256()
    for image in images:
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()
