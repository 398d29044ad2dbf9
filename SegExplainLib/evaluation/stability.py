"""Whether an explanation stays when it should, under noise and other draws, and changes when the weights are random.

All is told against the anchor: the same method run once more with the same seed and the budget of the other re-runs, so
that what a smaller budget changes does not count as instability. Noise, weights and removals keep the anchor's draws,
too. How much the draws themselves decide is told between seeds: where seeds agree badly, the budget is too small to
read the other correlations.

References:
    Yeh et al. (2019), On the (in)fidelity and sensitivity of explanations, for the largest change under noise, here
    relative to the explanation's own size; the mean beside it as in Chrabaszcz et al. (2025), Agg2Exp; Adebayo et al.
    (2018), Sanity checks for saliency maps, for random weights. The comparison per ml and that with the units' volumes
    are our own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.similarity import VoxelChange, number_change, rank_correlation, relative_change

FAMILIES = {
    "noise": "under noise",
    "seeds": "between seeds",
    "weights": "under random weights",
    "removals": "under other removals",
}
"""Kind of re-run -> its family of metrics."""
ANCHOR = "anchor"
HEADLINES = {
    "noise": ("avg-sensitivity", "max-sensitivity", "rank-correlation-mean", "rank-correlation-least"),
    "seeds": ("rank-correlation-mean", "rank-correlation-least", "avg-change", "max-change"),
    "weights": ("rank-correlation-mean", "rank-correlation-per-ml-mean"),
    "removals": ("rank-correlation-mean", "rank-correlation-least", "avg-change"),
}
"""Metrics that are told as undefined where a kind means nothing for a method."""


@dataclass(frozen=True, eq=False)
class Rerun:
    """What a method found in a variant of the question.

    Attributes:
        kind: One of ``FAMILIES``, or ``ANCHOR``.
        name: Of the variant, such as that of a removal.
        amounts: float64 (n_units,), that add up over units; None where the method gave no answer.
        number: The explained number of the variant; None likewise.
        voxels: Against the anchor's map; None where the method has none.
        why_undefined: A sentence, where it gave no answer.
    """

    kind: str
    name: str
    amounts: NDArray[np.float64] | None = None
    number: float | None = None
    voxels: VoxelChange | None = None
    why_undefined: str = ""


@dataclass(frozen=True)
class RerunScore:
    """A re-run against the anchor; the anchor itself against the finished result.

    Attributes:
        kind: As of the re-run.
        name: As of the re-run.
        explained_number: None where the method gave no answer.
        number_change: Of the explained number, relative: the explanation of a changed prediction should change.
        rank_correlation: Spearman's, over units; for random weights of the sizes.
        relative_change: Euclidean norm of the difference of the amounts over that of the anchor's.
        rank_correlation_per_ml: As ``rank_correlation``, of the amounts per ml.
        voxels: As of the re-run.
    """

    kind: str
    name: str
    explained_number: float | None
    number_change: Metric
    rank_correlation: Metric
    relative_change: Metric
    rank_correlation_per_ml: Metric
    voxels: VoxelChange | None = None


@dataclass(frozen=True)
class StabilityScores:
    """How stable one explanation is. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        metrics: By family, one of the values of ``FAMILIES``; kinds that were not asked for are absent.
        reruns: The anchor first, then the others in the order in which they ran.
    """

    metrics: dict[str, tuple[Metric, ...]] = field(default_factory=dict)
    reruns: tuple[RerunScore, ...] = ()


def stability_scores(
    finished: Rerun,
    anchor: Rerun,
    reruns: Sequence[Rerun],
    *,
    volumes_ml: ArrayLike,
    why_undefined: Mapping[str, str] | None = None,
) -> StabilityScores:
    """Metrics of each kind of re-run, and each re-run by itself.

    Means, least and largest values are over the re-runs that gave an answer.

    Args:
        finished: The result whose stability is asked.
        anchor: What the others are held against.
        reruns: In any order; the order of kinds is kept.
        volumes_ml: (n_units,).
        why_undefined: Kind -> a sentence, for kinds that mean nothing for this method.

    Raises:
        InvalidRequest: amounts are not finite, or not one for each unit.
    """
    volumes = np.asarray(volumes_ml, dtype=np.float64)
    by_kind: dict[str, list[Rerun]] = {}
    for rerun in reruns:
        by_kind.setdefault(rerun.kind, []).append(rerun)
    scores = {
        kind: [_scored(rerun, anchor, volumes, is_unsigned=kind == "weights") for rerun in some]
        for kind, some in by_kind.items()
    }
    metrics = {
        FAMILIES[kind]: tuple(undefined(name, why, better=_better(name, kind)) for name in HEADLINES[kind])
        for kind, why in (why_undefined or {}).items()
    }
    for kind, some in scores.items():
        metrics[FAMILIES[kind]] = _family(kind, some, [anchor, *by_kind[kind]], volumes)
    own = _scored(anchor, finished, volumes, is_unsigned=False)
    in_order = {family: metrics[family] for family in FAMILIES.values() if family in metrics}
    return StabilityScores(in_order, (own, *(score for some in scores.values() for score in some)))


def _scored(rerun: Rerun, anchor: Rerun, volumes: NDArray[np.float64], *, is_unsigned: bool) -> RerunScore:
    """The re-run held against ``anchor``."""
    if rerun.amounts is None or rerun.number is None or anchor.amounts is None or anchor.number is None:
        why = rerun.why_undefined or anchor.why_undefined
        return RerunScore(
            rerun.kind,
            rerun.name,
            None,
            undefined("explained-number-change", why, better=""),
            undefined("rank-correlation", why, chance=0.0),
            undefined("relative-change", why, better="lower"),
            undefined("rank-correlation-per-ml", why, chance=0.0),
        )
    pair = anchor.amounts, rerun.amounts
    ranked = [np.abs(amounts) if is_unsigned else amounts for amounts in pair]
    return RerunScore(
        rerun.kind,
        rerun.name,
        rerun.number,
        number_change(anchor.number, rerun.number),
        rank_correlation(*ranked),
        relative_change(*pair),
        rank_correlation(*(amounts / volumes for amounts in ranked), name="rank-correlation-per-ml"),
        rerun.voxels,
    )


def _family(
    kind: str, scores: Sequence[RerunScore], reruns: Sequence[Rerun], volumes: NDArray[np.float64]
) -> tuple[Metric, ...]:
    """All metrics of one kind of re-run; ``reruns`` begin with the anchor."""
    answers = [rerun.amounts for rerun in reruns if rerun.amounts is not None]
    match kind:
        case "noise":
            own = _under_noise(scores)
        case "seeds":
            own = _between_seeds(scores, answers)
        case "weights":
            by_size = rank_correlation(np.abs(answers[0]), volumes, name="rank-correlation-with-volume")
            own = _under_random_weights(scores, replace(by_size, better=""))
        case _:
            own = _under_other_removals(scores)
    return (*own, *_of_all_kinds(scores, kind))


def _under_noise(scores: Sequence[RerunScore]) -> list[Metric]:
    """The draws are independent, so that means have standard errors."""
    changes, ranks = [score.relative_change for score in scores], [score.rank_correlation for score in scores]
    found = [
        _mean("avg-sensitivity", changes, has_error=True),
        _extreme("max-sensitivity", changes, max),
        _mean("rank-correlation-mean", ranks, has_error=True),
        _extreme("rank-correlation-least", ranks, min),
    ]
    changes = [score.voxels.relative_change for score in scores if score.voxels is not None]
    if changes:
        found.append(_mean("voxel-avg-sensitivity", changes, has_error=True))
        found.append(_extreme("voxel-max-sensitivity", changes, max))
    return found


def _between_seeds(scores: Sequence[RerunScore], answers: Sequence[NDArray[np.float64]]) -> list[Metric]:
    """Correlations over all pairs of seeds, the anchor's among them; changes against the anchor's."""
    pairs = [rank_correlation(*pair) for pair in combinations(answers, 2)]
    ranks, changes = pairs or [score.rank_correlation for score in scores], [score.relative_change for score in scores]
    return [
        _mean("rank-correlation-mean", ranks),
        _extreme("rank-correlation-least", ranks, min),
        _mean("avg-change", changes),
        _extreme("max-change", changes, max),
    ]


def _under_random_weights(scores: Sequence[RerunScore], by_size: Metric) -> list[Metric]:
    """Of sizes. Units that are large, or near the region, get more from almost any network: 0 may be out of reach."""
    each = [_lower(f"rank-correlation, {score.name}", score.rank_correlation) for score in scores]
    per_ml = _mean("rank-correlation-per-ml-mean", [score.rank_correlation_per_ml for score in scores])
    return [*each, _mean("rank-correlation-mean", each), _lower(per_ml.name, per_ml), by_size]


def _under_other_removals(scores: Sequence[RerunScore]) -> list[Metric]:
    ranks = [score.rank_correlation for score in scores]
    return [
        *(replace(score.rank_correlation, name=f"rank-correlation, {score.name}") for score in scores),
        _mean("rank-correlation-mean", ranks),
        _extreme("rank-correlation-least", ranks, min),
        _mean("avg-change", [score.relative_change for score in scores]),
    ]


def _of_all_kinds(scores: Sequence[RerunScore], kind: str) -> list[Metric]:
    ranks = [score.voxels.rank_correlation for score in scores if score.voxels is not None]
    of_voxels = [_mean("voxel-rank-correlation-mean", ranks)] if ranks else []
    of_voxels = [_lower(one.name, one) for one in of_voxels] if kind == "weights" else of_voxels
    return [*of_voxels, _mean("explained-number-change", [score.number_change for score in scores])]


def _mean(name: str, metrics: Sequence[Metric], *, has_error: bool = False) -> Metric:
    """Over those that are defined; 0 re-runs are never asked for."""
    values, first = [metric.value for metric in metrics if metric.value is not None], metrics[0]
    if not values:
        return replace(first, name=name)
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5 if has_error and len(values) > 1 else None
    return Metric(name, float(np.mean(values)), better=first.better, standard_error=error, chance=first.chance)


def _extreme(name: str, metrics: Sequence[Metric], pick: Callable[..., float]) -> Metric:
    """The largest or the least of those that are defined."""
    values, first = [metric.value for metric in metrics if metric.value is not None], metrics[0]
    return replace(first, name=name) if not values else Metric(name, pick(values), better=first.better)


def _lower(name: str, metric: Metric) -> Metric:
    """The same metric, where it is better when it is low."""
    return replace(metric, name=name, better="lower")


def _better(name: str, kind: str) -> str:
    return "lower" if kind == "weights" or not name.startswith("rank-correlation") else "higher"
