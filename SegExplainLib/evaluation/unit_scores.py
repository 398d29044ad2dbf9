"""All that the game says of an explanation by units, beside what chance, volume and the best order give."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.evaluation.bounds import AreaBounds, aopc_bounds, naopc
from SegExplainLib.evaluation.complexity import Complexity, complexity
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.plan import MOST_STEPS, Plan, subset_sizes
from SegExplainLib.evaluation.random_orders import RandomOrders, random_orders
from SegExplainLib.evaluation.remembered_game import RememberedGame
from SegExplainLib.evaluation.unit_curves import (
    AXES,
    Axis,
    UnitFaithfulness,
    deletion_coalitions,
    unit_faithfulness,
)
from SegExplainLib.evaluation.unit_orders import unit_order, why_unranked
from SegExplainLib.evaluation.unit_subsets import faithfulness_correlation, infidelity, sensitivity_n

ORDER_ALONG: dict[Axis, str] = {"units": "value", "volume": "value-per-ml"}
"""Which order an axis is for: by unit, the largest value first; by volume, the largest value per millilitre."""

SUBSETS = "subsets"
SPREAD_OF_UNITS = "spread over units"
NO_SCALE = "The values have a scale of their own, not that of the explained number."


@dataclass(frozen=True)
class Yardsticks:
    """What every explanation of one game is held against. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        random: Orders that know nothing; None where the budget had none.
        volume_only: The largest unit first.
        bounds: Of the area along each axis; empty where the budget had none.
        n_units: Of the game.
        volumes_ml: (n_units,).
        plan: By which they were made.
        seed: Of all draws.
    """

    random: RandomOrders | None
    volume_only: UnitFaithfulness
    bounds: dict[Axis, AreaBounds]
    n_units: int
    volumes_ml: tuple[float, ...]
    plan: Plan
    seed: int


@dataclass(frozen=True)
class UnitScores:
    """Of one explanation. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        curves: Deletion curves by order: "value", "value-per-ml".
        metrics: By family: "order by value", "order by value-per-ml", "subsets", "spread over units".
    """

    curves: dict[str, UnitFaithfulness]
    metrics: dict[str, tuple[Metric, ...]]


def family_of(order: str) -> str:
    """Name of the metrics of one order."""
    return f"order by {order}"


def curve_orders(amounts: Iterable[NDArray], volumes_ml: NDArray, *, seed: int) -> list[NDArray[np.int64]]:
    """Every order whose deletion curve is drawn: two of each explanation, and the largest unit first."""
    orders = [
        unit_order(by, values, volumes_ml=volumes_ml, seed=seed) for values in amounts for by in ORDER_ALONG.values()
    ]
    return [*orders, unit_order("volume", volumes_ml, volumes_ml=volumes_ml, seed=seed)]


def curve_coalitions(orders: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """bool (n, n_units): the distinct coalitions of deletion curves from both ends of each order."""
    both_ways = [deletion_coalitions(way) for order in orders for way in (order, order[::-1])]
    return np.unique(np.concatenate(both_ways), axis=0)


def yardsticks(
    game: RememberedGame, orders: Sequence[NDArray[np.int64]], *, volumes_ml: NDArray, plan: Plan, seed: int
) -> Yardsticks:
    """Asks the game for all that explanations are held against.

    Args:
        game: Asked as the plan says.
        orders: As of `curve_orders`; bounds hold their areas.
        volumes_ml: (n_units,), positive.
        plan: What to ask for.
        seed: Of all draws.
    """
    random = None
    if plan.n_orders:
        *_, random = random_orders(
            game, volumes_ml=volumes_ml, n_orders=plan.n_orders, seed=seed, most_steps=MOST_STEPS
        )
    bounds: dict[Axis, AreaBounds] = {}
    if plan.beam_width:
        known = [tuple(way.tolist()) for order in orders for way in (order, order[::-1])]
        for axis in AXES:
            bounds[axis] = aopc_bounds(
                game,
                volumes_ml=volumes_ml,
                axis=axis,
                beam_width=plan.beam_width,
                most_exact=plan.most_exact,
                known_orders=known,
            )
    volume_only = unit_faithfulness(game, volumes_ml, volumes_ml=volumes_ml, by="volume", seed=seed)
    return Yardsticks(random, volume_only, bounds, len(volumes_ml), tuple(volumes_ml.tolist()), plan, seed)


def unit_scores(game: RememberedGame, amounts: NDArray, sticks: Yardsticks, *, has_scale: bool = True) -> UnitScores:
    """What the game says of one explanation.

    Args:
        game: That the yardsticks were made with.
        amounts: (n_units,) importances that add up: of a method that reports means per unit, the mean times the volume.
        sticks: What they are held against.
        has_scale: Whether they are meant in the unit of the explained number; if not, infidelity is told up to their
            scale alone.
    """
    volumes = np.array(sticks.volumes_ml)
    curves, metrics = {}, {}
    for axis, by in ORDER_ALONG.items():
        found = unit_faithfulness(game, amounts, volumes_ml=volumes, by=by, seed=sticks.seed)
        why = why_unranked(by, amounts, volumes_ml=volumes)
        curves[by], metrics[family_of(by)] = found, order_metrics(found, sticks, axes=(axis,), why=why)
    metrics[SUBSETS] = _subset_metrics(game, amounts, sticks, has_scale=has_scale)
    metrics[SPREAD_OF_UNITS] = spread_metrics(complexity(amounts))
    return UnitScores(curves, metrics)


def order_metrics(
    found: UnitFaithfulness, sticks: Yardsticks, *, axes: Sequence[Axis] = AXES, why: str = ""
) -> tuple[Metric, ...]:
    """Areas of an order with their chance, then its place among random orders and between the bounds on ``axes``."""
    return (
        *(_with_chance(metric, found, sticks.random) for metric in found.metrics),
        *(metric for axis in axes for metric in _placed(found, sticks, axis, why=why)),
    )


def spread_metrics(spread: Complexity) -> tuple[Metric, ...]:
    """A `Complexity` as metrics, none of which is better high or low."""
    values = {
        "effective share": spread.effective_share,
        "sparseness (Gini)": spread.sparseness,
        "relative entropy": spread.relative_entropy,
    }
    return tuple(
        undefined(name, spread.why_undefined, better="") if value is None else Metric(name, value, better="")
        for name, value in values.items()
    )


def _with_chance(metric: Metric, found: UnitFaithfulness, random: RandomOrders | None) -> Metric:
    """The mean area of random orders is what chance gives; the reverse of a random order is one, too."""
    if random is None or metric.chance is not None:
        return metric
    area = metric.name.removesuffix("-relative").replace("least-first-", "")
    mean = random.mean(area).value
    if mean is None:
        return metric
    span = abs(found.most_first.full_value - found.most_first.empty_value)
    is_relative = metric.name.endswith("-relative")
    if is_relative and metric.value is None:
        return metric
    return replace(metric, chance=mean / span if is_relative else mean)


def _placed(found: UnitFaithfulness, sticks: Yardsticks, axis: Axis, *, why: str) -> list[Metric]:
    """Percentile and p-value of both areas among random orders; normalised area between the bounds."""
    names = f"aopc-{axis}", f"abpc-{axis}"
    areas = sticks.random.areas_of(found.most_first, found.least_first) if sticks.random else {}
    placed = []
    for name in names:
        if reason := why or sticks.plan.why_no_orders or ("" if sticks.random else "There are no random orders."):
            placed.append(undefined(f"{name}-percentile", reason, chance=50.0))
            placed.append(undefined(f"{name}-p-value", reason, better="lower"))
        elif sticks.random:
            placed += [sticks.random.percentile(name, areas[name]), sticks.random.p_value(name, areas[name])]
    if reason := why or sticks.plan.why_no_bounds:
        return [*placed, undefined(f"naopc-{axis}", reason)]
    return [*placed, naopc(found.most_first, sticks.bounds[axis])]


def _subset_metrics(
    game: RememberedGame, amounts: NDArray, sticks: Yardsticks, *, has_scale: bool
) -> tuple[Metric, ...]:
    n_subsets, seed = sticks.plan.n_subsets, sticks.seed
    misses = ("infidelity", "infidelity-relative", "infidelity-scaled")
    if why := sticks.plan.why_no_subsets:
        correlations = [undefined(name, why, chance=0.0) for name in ("faithfulness-correlation", "sensitivity-n-mean")]
        return (*correlations, *(undefined(name, why, better="lower") for name in misses))
    by_size = sensitivity_n(game, amounts, seed=seed, sizes=subset_sizes(len(amounts)), n_subsets=n_subsets)
    plain, relative, scaled = infidelity(game, amounts, seed=seed, n_subsets=n_subsets)
    if not has_scale:
        plain, relative = (undefined(one.name, NO_SCALE, better="lower") for one in (plain, relative))
    return (
        faithfulness_correlation(game, amounts, seed=seed, n_subsets=n_subsets),
        by_size.mean,
        *(replace(one.correlation, name=f"sensitivity-{one.size}") for one in by_size.by_size),
        plain,
        relative,
        scaled,
    )
