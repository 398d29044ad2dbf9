"""Importances of random subsets of the units against what removing the subset does to the number.

If importances are true and units do not interact, those of a subset add up to the drop that its removal makes. No order
is involved: where curves ask whether the ranking is right, these ask whether the amounts are.

The correlations are taken over subsets of one size. Over subsets of mixed sizes any positive importances would
correlate, because a larger subset has the larger sum and mostly the larger drop.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.remembered_game import NEGLIGIBLE, RememberedGame, remembered
from SegExplainLib.evaluation.resampling import (
    mean_squared_miss,
    pearson,
    relative_miss,
    relative_miss_at_best,
    sampled_metric,
)
from SegExplainLib.evaluation.unit_orders import finite_importances
from SegExplainLib.shapley.coalitions import coalitions_of_size, random_coalition
from SegExplainLib.shapley.value_function import ValueFunction

N_SUBSETS = 100
FEWEST_SUBSETS = 3
"""Any two points lie on a line."""

FEW_UNITS = "There are fewer than 3 units: no 3 subsets of one size to compare."
FEW_SUBSETS = "There are fewer than 3 subsets of this size."
FLAT_SUMS = "The importances of all subsets add up to the same."
FLAT_DROPS = "Removing any of the subsets changes the number by the same amount."
NO_DROP = "Removing any of the subsets leaves the number as it is."
NO_IMPORTANCE = "The importances of every subset add up to 0."


@dataclass(frozen=True)
class SizedCorrelation:
    """`faithfulness_correlation` at one size of the subsets, and how many were looked at."""

    size: int
    n_subsets: int
    correlation: Metric


@dataclass(frozen=True)
class SensitivityN:
    """Faithfulness correlation along the size of the subsets. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        by_size: One for each size, ascending.
        mean: Over the sizes at which it is defined.
        seed: Of the subsets and of the resampling.
    """

    by_size: tuple[SizedCorrelation, ...]
    mean: Metric
    seed: int


def faithfulness_correlation(
    game: ValueFunction,
    importances: ArrayLike,
    *,
    seed: int,
    size: int | None = None,
    n_subsets: int = N_SUBSETS,
) -> Metric:
    """Pearson's correlation, over random subsets S of one size, of sum_{i in S} phi_i and v(all) - v(all but S).

    1 for true importances of units that do not interact; 0 on average for random ones. Blind to the scale of the
    importances, so that maps without a unit can be judged.

    Cost: ``n_subsets`` evaluations or fewer, 1 for the whole CT. Where there are no more subsets than that, all are
    asked and nothing is sampled.

    Args:
        game: The explained number of coalitions of units.
        importances: (n_units,), finite.
        seed: Of the subsets and of the resampling behind error and interval.
        size: Units in a subset; None for half of them.
        n_subsets: Most subsets, distinct.

    Raises:
        InvalidRequest: importances do not fit, the size is not below the number of units, there are fewer than 3
            subsets to be drawn, or the game is not finite.

    References:
        Bhatt, Weller & Moura (2020), Evaluating and aggregating feature-based model explanations (faithfulness), on
        units instead of pixels.
    """
    values, memory = _inputs(game, importances, n_subsets=n_subsets)
    if len(values) < FEWEST_SUBSETS:
        return undefined("faithfulness-correlation", FEW_UNITS, chance=0.0)
    sizes = [len(values) // 2 if size is None else size]
    return _correlations(memory, values, sizes=sizes, n_subsets=n_subsets, seed=seed)[0].correlation


def sensitivity_n(
    game: ValueFunction,
    importances: ArrayLike,
    *,
    seed: int,
    sizes: Sequence[int] | None = None,
    n_subsets: int = N_SUBSETS,
) -> SensitivityN:
    """`faithfulness_correlation` for subsets of 1, 2, ... units: how far the importances add up as more is removed.

    An explanation has the property Sensitivity-n if the importances of every n units add up to the drop that they make
    together. Only importances of units that do not interact have it for all n; the correlation says how nearly.

    Cost: at most ``n_subsets`` evaluations for each size, 1 for the whole CT.

    Args:
        game: The explained number of coalitions of units.
        importances: (n_units,), finite.
        seed: Of the subsets and of the resampling behind errors and intervals.
        sizes: Units in a subset, one or more sizes, each below the number of units; None for eight or fewer, evenly in
            the logarithm, up to 80 % of the units.
        n_subsets: Most subsets of each size, distinct.

    Raises:
        InvalidRequest: as for `faithfulness_correlation`.

    References:
        Ancona et al. (2018), Towards better understanding of gradient-based attribution methods (Sensitivity-n), on
        units instead of pixels. The default sizes are ours.
    """
    values, memory = _inputs(game, importances, n_subsets=n_subsets)
    name = "sensitivity-n-mean"
    if len(values) < FEWEST_SUBSETS:
        return SensitivityN((), undefined(name, FEW_UNITS, chance=0.0), seed)
    chosen = _spread_sizes(len(values)) if sizes is None else sorted(set(sizes))
    by_size = _correlations(memory, values, sizes=chosen, n_subsets=n_subsets, seed=seed)
    return SensitivityN(by_size, _mean_correlation(name, by_size), seed)


def infidelity(
    game: ValueFunction, importances: ArrayLike, *, seed: int, n_subsets: int = N_SUBSETS
) -> tuple[Metric, Metric, Metric]:
    """Mean square of what the importances of a random subset S miss of the drop that removing S makes.

    With s = sum_{i in S} phi_i and d = v(all) - v(all but S), three metrics, for each of which 0 is perfect:

    - ``infidelity``: E[(s - d)^2], in the square of the number's unit.
    - ``infidelity-relative``: E[(s - d)^2] / E[d^2]. 1 is as good as importances of 0.
    - ``infidelity-scaled``: the least of E[(b s - d)^2] / E[d^2] over all b, from 0 to 1: for maps without a unit.

    The size of S is uniform from 1 to all units, S uniform among its size; subsets may come again.

    Cost: ``n_subsets`` evaluations or fewer, 1 for the whole CT.

    Args:
        game: The explained number of coalitions of units.
        importances: (n_units,), finite.
        seed: Of the subsets and of the resampling behind error and interval.
        n_subsets: Subsets that are drawn.

    Raises:
        InvalidRequest: importances do not fit, fewer than 3 subsets are to be drawn, or the game is not finite.

    References:
        Yeh et al. (2019), On the (in)fidelity and sensitivity of explanations, definition 2.1. The distribution of S
        and the division by E[d^2] are ours.
    """
    values, memory = _inputs(game, importances, n_subsets=n_subsets)
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, len(values) + 1, size=n_subsets)
    subsets = np.array([random_coalition(len(values), int(size), rng) for size in sizes])
    memory.announce(~subsets)
    sample = _Sample.of(memory, values, subsets)
    plain = sampled_metric("infidelity", mean_squared_miss, sample.sums, sample.drops, better="lower", seed=seed)
    why = NO_DROP if np.abs(sample.drops).max() <= sample.drop_rounding else ""
    why_scaled = why or (NO_IMPORTANCE if np.abs(sample.sums).max() <= sample.sum_rounding else "")
    ratios = (
        ("infidelity-relative", relative_miss, why),
        ("infidelity-scaled", relative_miss_at_best, why_scaled),
    )
    relative, scaled = (
        undefined(name, reason, better="lower")
        if reason
        else sampled_metric(name, statistic, sample.sums, sample.drops, better="lower", seed=seed)
        for name, statistic, reason in ratios
    )
    return plain, relative, scaled


def _inputs(
    game: ValueFunction, importances: ArrayLike, *, n_subsets: int
) -> tuple[NDArray[np.float64], RememberedGame]:
    values = finite_importances(importances)
    if len(values) != game.n_players:
        raise InvalidRequest(f"There must be one importance for each of {game.n_players} units, got {len(values)}.")
    if n_subsets < FEWEST_SUBSETS:
        raise InvalidRequest(f"{FEWEST_SUBSETS} subsets or more are needed, got {n_subsets}.")
    return values, remembered(game)


def subsets_of_size(n_units: int, size: int, *, n_subsets: int, seed: int) -> NDArray[np.bool_]:
    """bool (m, n_units): distinct random subsets of ``size`` units, or all of them where there are no more.

    Raises:
        InvalidRequest: the size is not from 1 to ``n_units`` - 1.
    """
    if not 1 <= size < n_units:
        raise InvalidRequest(f"A subset must have from 1 to {n_units - 1} units, got {size}.")
    if math.comb(n_units, size) <= n_subsets:
        return coalitions_of_size(n_units, size)
    rng = np.random.default_rng([seed, size])
    distinct: dict[bytes, NDArray[np.bool_]] = {}
    while len(distinct) < n_subsets:
        subset = random_coalition(n_units, size, rng)
        distinct.setdefault(subset.tobytes(), subset)
    return np.array(list(distinct.values()))


def _spread_sizes(n_units: int) -> list[int]:
    """Eight sizes or fewer, evenly in the logarithm."""
    largest = min(round(0.8 * n_units), n_units - 1)
    return [int(size) for size in np.unique(np.geomspace(1, largest, 8).round())]


def _correlations(
    memory: RememberedGame, values: NDArray[np.float64], *, sizes: Sequence[int], n_subsets: int, seed: int
) -> tuple[SizedCorrelation, ...]:
    drawn = [subsets_of_size(len(values), size, n_subsets=n_subsets, seed=seed) for size in sizes]
    if not drawn:
        raise InvalidRequest("No size of subsets was asked for.")
    memory.announce(~np.concatenate(drawn))
    return tuple(
        SizedCorrelation(size, len(subsets), _correlation(memory, values, subsets, seed=seed))
        for size, subsets in zip(sizes, drawn)
    )


def _correlation(
    memory: RememberedGame, values: NDArray[np.float64], subsets: NDArray[np.bool_], *, seed: int
) -> Metric:
    """Over subsets of one size."""
    name, sample = "faithfulness-correlation", _Sample.of(memory, values, subsets)
    if len(subsets) < FEWEST_SUBSETS:
        return undefined(name, FEW_SUBSETS, chance=0.0)
    if np.ptp(sample.sums) <= sample.sum_rounding:
        return undefined(name, FLAT_SUMS, chance=0.0)
    if np.ptp(sample.drops) <= sample.drop_rounding:
        return undefined(name, FLAT_DROPS, chance=0.0)
    is_all = len(subsets) == math.comb(len(values), int(subsets[0].sum()))
    return sampled_metric(
        name, pearson, sample.sums, sample.drops, better="higher", chance=0.0, seed=seed, is_all=is_all
    )


def _mean_correlation(name: str, by_size: Sequence[SizedCorrelation]) -> Metric:
    """Over the sizes that have one; their subsets are drawn independently."""
    known = [(one.correlation.value, one.correlation.standard_error) for one in by_size]
    values = [value for value, _ in known if value is not None]
    errors = [error for value, error in known if value is not None and error is not None]
    if not values:
        return undefined(name, by_size[0].correlation.why_undefined, chance=0.0)
    error = math.hypot(*errors) / len(values) if len(errors) == len(values) else None
    return Metric(name, sum(values) / len(values), standard_error=error, chance=0.0)


@dataclass(frozen=True, eq=False)
class _Sample:
    """What importances say of subsets, and what the game does.

    Attributes:
        sums: (n_subsets,) of the importances.
        drops: (n_subsets,) of the number.
        sum_rounding: Differences of sums up to this are rounding.
        drop_rounding: Differences of drops up to this are rounding.
    """

    sums: NDArray[np.float64]
    drops: NDArray[np.float64]
    sum_rounding: float
    drop_rounding: float

    @classmethod
    def of(cls, memory: RememberedGame, values: NDArray[np.float64], subsets: NDArray[np.bool_]) -> "_Sample":
        """Removes ``subsets`` (n, n_units)."""
        whole = np.ones((1, len(values)), dtype=bool)
        numbers = memory(np.concatenate([whole, ~subsets]))
        return cls(
            sums=subsets @ values,
            drops=numbers[0] - numbers[1:],
            sum_rounding=NEGLIGIBLE * float(np.abs(values).sum()),
            drop_rounding=NEGLIGIBLE * float(np.abs(numbers).max()),
        )
