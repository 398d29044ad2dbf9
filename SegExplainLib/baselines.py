"""What the network sees with every unit absent: one image for a game of units, one or several where a path begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.baseline_record import BaselineRecord
from SegExplainLib.contract import ExplainRequest, GeometryMismatch, InvalidRequest
from SegExplainLib.counterfactual.search import WISHED_VALIDITY, counterfactual_input
from SegExplainLib.model.segmenter import class_named
from SegExplainLib.progress import Progress
from SegExplainLib.question import Question, parts_of
from SegExplainLib.record_file import fingerprints_of, require_same_question
from SegExplainLib.removal.blur import blur_fill
from SegExplainLib.removal.constant import air_fill, mean_fill, white_fill, zero_fill
from SegExplainLib.removal.inpaint import inpaint_fill
from SegExplainLib.removal.local_mean import local_mean_fill
from SegExplainLib.removal.references import ReferenceFill, reference_fill
from SegExplainLib.removal.registration import CoarseCT, coarse_ct
from SegExplainLib.volume_io import read_ct

WELL_COVERED, WELL_CORRELATED = 0.99, 0.6
"""Below, the user is told; phantoms of one kind reach 0.9, CTs of two patients often less."""

Fill = Callable[..., NDArray[np.float32]]

REMOVALS: dict[str, tuple[Fill, ...]] = {
    "air": (air_fill,),
    "mean": (mean_fill,),
    "local-mean": (local_mean_fill,),
    "blur": (blur_fill,),
    "inpaint": (inpaint_fill,),
    "zero": (zero_fill,),
    "black-white": (air_fill, white_fill),
}


@dataclass(frozen=True, eq=False)
class Baselines:
    """Network inputs with every unit absent.

    Attributes:
        images: Each float32 (channels, k, j, i); one, but for the removals that are several images.
        facts: What is known of how they came about, by name, for the report's counts.
    """

    images: tuple[NDArray[np.float32], ...]
    facts: dict[str, float] = field(default_factory=dict)


def baseline_record(
    baselines: Baselines, request: ExplainRequest, question: Question, *, warnings: Sequence[str]
) -> BaselineRecord:
    """A removal of one image, and what the user was told of it, for a run that goes on."""
    (image,) = baselines.images
    changed = np.flatnonzero(image != question.case.network_input.array)
    fingerprints = _fingerprints(request, question)
    return BaselineRecord(changed, image.ravel()[changed], baselines.facts, tuple(warnings), fingerprints)


def restored_baselines(
    record: BaselineRecord, request: ExplainRequest, question: Question, progress: Progress
) -> Baselines:
    """The removal of an interrupted run, bit for bit; tells its warnings again.

    Raises:
        InvalidRequest: it was made for another question; says what differs.
    """
    require_same_question(_fingerprints(request, question), record.fingerprints, holds="baselines")
    image = question.case.network_input.array.copy()
    image.ravel()[record.changed] = record.values
    for message in record.warnings:
        progress.warn(message)
    return Baselines((image,), dict(record.facts))


def _fingerprints(request: ExplainRequest, question: Question) -> dict[str, str]:
    parts = parts_of(request, question.case, question.partition, question.segmenter)
    return fingerprints_of(parts | {"the class": request.target, "the removal": request.removal})


def baselines_for(request: ExplainRequest, question: Question, progress: Progress) -> Baselines:
    """The request's removal of every unit.

    Raises:
        SegExplainError: it cannot be made for this CT.
        Cancelled: somebody asked to stop.
    """
    progress.check_cancelled()
    if request.removal in REMOVALS:
        return Baselines(tuple(_filled(fill, question) for fill in REMOVALS[request.removal]))
    return MADE_OTHERWISE[request.removal](request, question, progress)


def reference_baselines(request: ExplainRequest, question: Question, progress: Progress) -> Baselines:
    """One image for each reference CT; the mean of the surroundings where a reference's patient does not reach.

    Raises:
        InvalidRequest: a reference cannot be read, is not in HU, or is the CT itself.
        GeometryMismatch: a reference cannot be registered to the CT, or covers less than half of the units.
        Cancelled: somebody asked to stop.
    """
    fixed, otherwise = coarse_ct(question.case.ct), _filled(local_mean_fill, question)
    fills = []
    for done, path in enumerate(request.reference_cts):
        progress.step(done, len(request.reference_cts))
        fills.append(_from_reference(path, question, progress, fixed=fixed, otherwise=otherwise))
    facts = {
        "least_reference_overlap_share": min(fill.covered_share for fill in fills),
        "least_reference_correlation": min(fill.correlation for fill in fills),
    }
    return Baselines(tuple(fill.image for fill in fills), facts)


def counterfactual_baseline(request: ExplainRequest, question: Question, progress: Progress) -> Baselines:
    """The CT near the given one in which the network no longer sees the target in the region.

    Raises:
        InvalidRequest: there is no such target in the region, or more than can be edited.
        UnusableModel: the network has no gradient.
        OutOfMemory: one tile does not fit.
        Cancelled: somebody asked to stop.
    """
    case, segmenter = question.case, question.segmenter
    found = counterfactual_input(
        segmenter,
        case,
        target=class_named(segmenter, request.target),
        is_fixed=question.partition.labels == 0,  # context stays as it is, as under every removal
        on_step=progress.step,
        on_tile=progress.check_cancelled,
    )
    if found.validity < WISHED_VALIDITY:
        progress.warn(
            f"The counterfactual still has {1 - found.validity:.0%} of “{request.target}” in the region: the baseline "
            "is not free of what is to be explained. Compare with another --baseline."
        )
    facts = {
        "counterfactual_validity_share": found.validity,
        "counterfactual_proximity_hu": found.proximity_hu,
        "counterfactual_largest_edit_hu": found.largest_edit_hu,
        "counterfactual_steps": float(found.n_steps),
    }
    return Baselines((found.image,), facts)


MADE_OTHERWISE: dict[str, Callable[[ExplainRequest, Question, Progress], Baselines]] = {
    "references": reference_baselines,
    "counterfactual": counterfactual_baseline,
}
"""Removals that need more than the CT and its units."""
SEARCHED = ("counterfactual",)
"""Removals of one image that take long to find, and are not found twice in the same bits."""


def _from_reference(
    path: str, question: Question, progress: Progress, *, fixed: CoarseCT, otherwise: NDArray[np.float32]
) -> ReferenceFill:
    name = Path(path).name
    reference = read_ct(path, warn=progress.warn)
    try:
        fill = reference_fill(
            reference,
            question.case,
            question.partition,
            segmenter=question.segmenter,
            fixed=fixed,
            otherwise=otherwise,
            check_cancelled=progress.check_cancelled,
        )
    except (InvalidRequest, GeometryMismatch) as error:
        error.message = f"The reference {name} cannot serve as a baseline. {error.message}"
        raise
    if fill.covered_share < WELL_COVERED or fill.correlation < WELL_CORRELATED:
        progress.warn(
            f"The reference {name}, registered to the CT, covers {fill.covered_share:.0%} of the units' voxels; the "
            f"others took the mean of their surroundings. Its HU correlate with the CT's by {fill.correlation:.2f}."
        )
    return fill


def _filled(fill: Fill, question: Question) -> NDArray[np.float32]:
    case, segmenter = question.case, question.segmenter
    return fill(
        case.network_input.array,
        question.partition,
        body=case.body,
        air=segmenter.input_value(-1024.0, case.network_input),
        mean=segmenter.mean_value(case.network_input),
    )
