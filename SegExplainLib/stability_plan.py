"""Which re-runs tell whether a finished explanation is stable, and what they cost."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from SegExplainLib.contract import SHAPLEY_METHODS, SINGLE_REMOVALS, ExplainRequest, InvalidRequest, nearest_names
from SegExplainLib.evaluation.stability import ANCHOR, FAMILIES
from SegExplainLib.finished import FinishedResult
from SegExplainLib.gradient_run import GRADIENTS, gradient_budget
from SegExplainLib.model.random_weights import Stage, stages_of
from SegExplainLib.pipeline import FEW_COALITIONS, SMALLEST_BUDGET, with_budget
from SegExplainLib.question import Question
from SegExplainLib.report.methods import method_words
from SegExplainLib.rerun_record import RERUNS_NAME, RerunRecord

KINDS = ("noise", "seeds", "weights", "removals")
SCHEME = 1
"""Of the re-runs themselves: another number makes what an earlier version kept another re-run."""
NEVER_TRIED = ("counterfactual",)
"""Removals that are another search for each, too long for a comparison."""
UNREAD = ("ct", "model", "roi", "units", "unit_mm", "organs", "reference", "device", "batch", "trust_model")
"""Fields of a request that say where things lie or how fast they go; what they hold is in a record's fingerprints."""
ENUMERATING = ("adjusted-shap", "kernel-shap", "leverage-shap")
"""Sampling methods that draw nothing once their budget pays for every coalition."""


@dataclass(frozen=True)
class PlannedRerun:
    """One of them.

    Attributes:
        kind: One of ``KINDS``, or ``evaluation.stability.ANCHOR``.
        name: Of the variant.
        request: What its method is asked: with budget, seed and removal, and nothing to stop it early.
        noise_hu: Bound of the noise; 0 for none.
        draw: Number of the noise or the weights.
        stage: Of the random weights; None where they are as trained.
        key: Fingerprint of all that its answer depends on.
    """

    kind: str
    name: str
    request: ExplainRequest
    noise_hu: float = 0.0
    draw: tuple[int, ...] = ()
    stage: Stage | None = None
    key: str = ""


@dataclass(frozen=True)
class RerunPlan:
    """What is run again.

    Attributes:
        anchor: With the result's own seed and removal, which all others are held against.
        reruns: The others, in the order in which they run.
        why_undefined: Kind -> a sentence, for kinds that were asked for and mean nothing for this method.
        stands_in: A sentence, where another method stands in for the result's.
        n_kept: Of all, those that are kept from an earlier evaluation.
    """

    anchor: PlannedRerun
    reruns: tuple[PlannedRerun, ...]
    why_undefined: dict[str, str]
    stands_in: str = ""
    n_kept: int = 0

    @property
    def all(self) -> tuple[PlannedRerun, ...]:
        """The anchor and the others; nothing where there are no others."""
        return (self.anchor, *self.reruns) if self.reruns else ()

    @property
    def n_most(self) -> int:
        """Coalitions or gradients at most, those that an earlier evaluation kept included."""
        return sum(one.request.budget for one in self.all)

    @property
    def words(self) -> str:
        """For the user, before it begins."""
        if not self.reruns:
            return "Nothing is run again."
        request = self.anchor.request
        unit = "gradient" if request.uses_gradients else "coalition"
        phrases = {
            "seeds": "with other seeds",
            "noise": "under noise",
            "weights": "with random weights",
            "removals": "with other removals",
        }
        counts = Counter(one.kind for one in self.reruns)
        parts = ["1 as it was", *(f"{n} {phrases[kind]}" for kind, n in counts.items())]
        each = f"{request.budget} {unit}{'s' if request.budget > 1 else ''}"
        name = method_words(request.method).name
        sentences = [f"{len(self.all)} runs of {name} with up to {each} each: {', '.join(parts)}.", self.stands_in]
        if self.n_kept:
            sentences.append(f"Kept from an earlier evaluation: {self.n_kept}.")
        return " ".join(sentence for sentence in sentences if sentence)


def planned_reruns(
    result: FinishedResult,
    question: Question,
    *,
    kinds: Sequence[str],
    n_repeats: int = 3,
    noise_hu: float = 20.0,
    budget: int = 0,
    seed: int = 0,
    kept: Path | None = None,
) -> RerunPlan:
    """The re-runs of a result; asks the network nothing.

    Args:
        result: Whose stability is asked.
        question: Of the result, open.
        kinds: Of ``KINDS``.
        n_repeats: Draws of noise, and other seeds.
        noise_hu: Bound of the noise.
        budget: Of each re-run; 0 takes what the result took of gradients, and of coalitions the least of that and
            4 n + 64 for n units, or all where these are few.
        seed: Of noise, weights and the choice of other seeds.
        kept: Folder of an earlier evaluation's re-runs, to count what need not run again.

    Raises:
        InvalidRequest: there is no such kind, a number is out of its range, or ``kept`` holds a damaged record.
    """
    _check(kinds, n_repeats=n_repeats, noise_hu=noise_hu, seed=seed)
    request, stands_in = _served(result, budget)
    why_undefined = _why_undefined(request, kinds, n_units=result.record.partition.n_players)
    anchor = PlannedRerun(ANCHOR, "as it was", request)
    wanted: dict[str, list[PlannedRerun]] = {
        "seeds": _seeds(request, n_repeats, seed),
        "noise": [
            PlannedRerun("noise", f"draw {n + 1}", request, noise_hu=noise_hu, draw=(seed, n)) for n in range(n_repeats)
        ],
        "weights": [
            PlannedRerun("weights", stage.name, request, draw=(seed,), stage=stage)
            for stage in stages_of(question.segmenter.passes[0].network)
        ],
        "removals": _removals(request),
    }  # other seeds come first: they share the anchor's game
    chosen = [one for kind, some in wanted.items() if kind in kinds and kind not in why_undefined for one in some]
    keyed = [replace(one, key=_key(one, result)) for one in (anchor, *chosen)]
    record = RerunRecord.at(kept / RERUNS_NAME) if kept else None
    n_kept = sum(one.key in record for one in keyed) if record is not None else 0
    return RerunPlan(keyed[0], tuple(keyed[1:]), why_undefined, stands_in, n_kept)


def _check(kinds: Sequence[str], *, n_repeats: int, noise_hu: float, seed: int) -> None:
    for kind in kinds:
        if kind not in FAMILIES:
            raise InvalidRequest(f"Stability has no kind {kind!r}.", nearest_names(kind, KINDS))
    if n_repeats < 1:
        raise InvalidRequest(f"At least one repeat is needed; found {n_repeats}.")
    if not 0 <= noise_hu < math.inf:
        raise InvalidRequest(f"The noise is {noise_hu} HU; it must be 0 or more.")
    if seed < 0:
        raise InvalidRequest(f"The seed is {seed}; it must be 0 or more.")


def _served(result: FinishedResult, budget: int) -> tuple[ExplainRequest, str]:
    """What each re-run is asked, and a sentence where another method stands in for the result's."""
    n_units = result.record.partition.n_players
    request = replace(
        result.request,
        tolerance=0.0,
        stop_at="values",
        top=ExplainRequest.top,
        value=_same_number(result.request.value),
    )
    n_used = int(result.manifest.estimate["n_evaluations"])
    if request.uses_gradients:
        return replace(request, budget=gradient_budget(replace(request, budget=budget or n_used))), ""
    every, stands_in = 2**n_units, ""
    if request.method == "exact" and every > max(FEW_COALITIONS, budget):
        request = replace(request, method="adjusted-shap")
        stands_in = (
            f"It stands in for exact Shapley values, which it estimates: these would take {every} coalitions each time."
        )
    smallest = min(every, SMALLEST_BUDGET[request.method](n_units))
    affordable = every if every <= FEW_COALITIONS else 4 * n_units + 64
    chosen = min(every, budget or max(smallest, min(n_used, affordable)))
    return with_budget(replace(request, budget=chosen), n_units), stands_in


def _same_number(value: str) -> str:
    """FP relative to a variant's own FP would be another number; relative to the CT's own it is FP, scaled."""
    return "fp" if value == "fp-relative" else value


def _why_undefined(request: ExplainRequest, kinds: Sequence[str], *, n_units: int) -> dict[str, str]:
    words, why = method_words(request.method), {}
    is_enumerated = request.method in ENUMERATING and request.budget >= 2**n_units
    is_drawn = words.is_sampled or (request.method in SHAPLEY_METHODS and request.method != "exact")
    if "seeds" in kinds and is_enumerated:
        why["seeds"] = f"All {2**n_units} coalitions are evaluated: another seed gives the same answer."
    elif "seeds" in kinds and not is_drawn:
        why["seeds"] = f"Nothing is drawn at random for {words.name}: another seed gives the same answer."
    if "removals" in kinds and not request.uses_removal:
        why["removals"] = f"Nothing is removed for {words.name}."
    return why


def _seeds(request: ExplainRequest, n_repeats: int, seed: int) -> list[PlannedRerun]:
    others = range(request.seed + 1 + seed * n_repeats, request.seed + 1 + (seed + 1) * n_repeats)
    return [PlannedRerun("seeds", f"seed {other}", replace(request, seed=other)) for other in others]


def _removals(request: ExplainRequest) -> list[PlannedRerun]:
    """One image each, however many the result's own removal is."""
    budget = request.budget
    if request.uses_gradients and GRADIENTS[request.method].budget_by_baseline:
        budget = 1 + (budget - 1) // request.n_baselines
    others = [name for name in SINGLE_REMOVALS if name not in (*NEVER_TRIED, request.removal)]
    return [
        PlannedRerun("removals", name, replace(request, removal=name, reference_cts=(), budget=budget))
        for name in others
    ]


def _key(one: PlannedRerun, result: FinishedResult) -> str:
    asked = {name: value for name, value in asdict(one.request).items() if name not in UNREAD}
    variant = [one.kind, one.noise_hu, one.draw, one.stage and one.stage.share]
    # The result's number, too: its answers are kept on that one's scale.
    parts = [SCHEME, *variant, asked, result.request.value, result.record.fingerprints]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
