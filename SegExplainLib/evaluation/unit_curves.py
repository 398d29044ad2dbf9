"""The explained number while units are removed one after the other, and the areas of such curves.

A deletion curve begins with the CT as it is and ends with every unit removed. If the units that matter go first, it
falls early; if they go last, it falls late. All curves have the same two ends: only the way between tells orders apart.

An insertion curve begins with every unit removed. With one removal it is the deletion curve of the reversed order, read
backwards: the same coalitions, and no new measurement. It is here because it is what many papers draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.remembered_game import is_negligible, remembered
from SegExplainLib.evaluation.unit_orders import (
    checked_order,
    finite_importances,
    positive_volumes,
    unit_order,
    why_unranked,
)
from SegExplainLib.shapley.value_function import ValueFunction

Axis = Literal["units", "volume"]
AXES: tuple[Axis, ...] = ("units", "volume")
"""What runs along x: the share of units, or of their volume. Units of unequal size compare by volume only."""
SAME_AREA = "Every order of the units has the same area: there is nothing to be better or worse at."


@dataclass(frozen=True)
class UnitCurve:
    """The explained number along an order of the units. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        kind: "deletion" or "insertion".
        order: (n_units,) the units as they go, or come.
        values: (n_steps + 1,) the explained number after none, one, ... all of them, or at some of these steps.
        removed_count: (n_steps + 1,) units that are absent there.
        removed_ml: (n_steps + 1,) their volume in ml.
    """

    kind: Literal["deletion", "insertion"]
    order: tuple[int, ...]
    values: tuple[float, ...]
    removed_count: tuple[int, ...]
    removed_ml: tuple[float, ...]

    @property
    def full_value(self) -> float:
        """The number with every unit present."""
        return self.values[0] if self.kind == "deletion" else self.values[-1]

    @property
    def empty_value(self) -> float:
        """The number with every unit removed."""
        return self.values[-1] if self.kind == "deletion" else self.values[0]

    def shares(self, axis: Axis) -> NDArray[np.float64]:
        """(n_steps + 1,) from 0 to 1: how much of the units, or of their volume, has gone or come."""
        removed = np.array(self.removed_count if axis == "units" else self.removed_ml, dtype=np.float64)
        return np.abs(removed - removed[0]) / max(removed[0], removed[-1])

    def at(self, steps: Sequence[int]) -> "UnitCurve":
        """The same curve at some steps only: ``steps`` are places in its values."""
        return replace(
            self,
            values=tuple(self.values[step] for step in steps),
            removed_count=tuple(self.removed_count[step] for step in steps),
            removed_ml=tuple(self.removed_ml[step] for step in steps),
        )

    def relative_values(self) -> NDArray[np.float64] | None:
        """(n_steps + 1,): 1 with every unit present, 0 with none; None where these two numbers are the same."""
        span = self.full_value - self.empty_value
        if is_negligible(span, *self.values):
            return None
        return (np.array(self.values) - self.empty_value) / span

    def area_under(self, axis: Axis) -> float:
        """Mean of the number along the axis, by trapezoids between the steps."""
        return trapezoid(np.array(self.values), self.shares(axis))


@dataclass(frozen=True)
class UnitFaithfulness:
    """What one ranking of the units is worth. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        by: Which of ``unit_orders.ORDERS`` ranked the units.
        seed: Of units with equal importance.
        most_first: Deletion, most important unit first.
        least_first: Deletion, least important unit first.
        metrics: As of `curve_metrics`.
    """

    by: str
    seed: int
    most_first: UnitCurve
    least_first: UnitCurve
    metrics: tuple[Metric, ...]


def unit_faithfulness(
    game: ValueFunction, importances: ArrayLike, *, volumes_ml: ArrayLike, by: str = "value", seed: int = 0
) -> UnitFaithfulness:
    """Deletion curves of a ranking, from both of its ends, and their areas.

    Cost: at most ``2 * n_units`` evaluations of the game.

    Args:
        game: The explained number of coalitions of units.
        importances: (n_units,), finite.
        volumes_ml: (n_units,), positive.
        by: One of ``unit_orders.ORDERS``.
        seed: Of units with equal importance.

    Raises:
        InvalidRequest: what is given does not fit together, or the game is not finite.
    """
    values = finite_importances(importances)
    order = unit_order(by, values, volumes_ml=volumes_ml, seed=seed)
    memory = remembered(game)
    memory.announce(np.concatenate([deletion_coalitions(order), deletion_coalitions(order[::-1])]))
    most = deletion_curve(memory, order, volumes_ml=volumes_ml)
    least = deletion_curve(memory, order[::-1], volumes_ml=volumes_ml)
    why = why_unranked(by, values, volumes_ml=volumes_ml)
    return UnitFaithfulness(by, seed, most, least, curve_metrics(most, least, why_undefined=why))


def deletion_curve(
    game: ValueFunction,
    order: Sequence[int] | NDArray,
    *,
    volumes_ml: ArrayLike,
    steps: Sequence[int] | None = None,
) -> UnitCurve:
    """The number while the units of ``order`` (n_units,) are removed, the first one first.

    After each of them, or after each number of them in ``steps``, which ascend from 0 to n_units.
    """
    return _curve(game, order, volumes_ml=volumes_ml, kind="deletion", steps=steps)


def insertion_curve(game: ValueFunction, order: Sequence[int] | NDArray, *, volumes_ml: ArrayLike) -> UnitCurve:
    """The number while the units of ``order`` (n_units,) come into the empty CT, the first one first."""
    return _curve(game, order, volumes_ml=volumes_ml, kind="insertion")


def deletion_coalitions(order: NDArray[np.int64], steps: Sequence[int] | None = None) -> NDArray[np.bool_]:
    """bool (n_steps + 1, n_units): who is present after none, one, ... all units are removed, or after ``steps``."""
    counts = np.arange(len(order) + 1) if steps is None else np.asarray(steps)
    return np.argsort(order) >= counts[:, np.newaxis]


def spread_steps(n_units: int, *, most: int) -> tuple[int, ...]:
    """Numbers of removed units, from 0 to all in ``most`` even steps; in single units where there are no more."""
    return tuple(int(step) for step in np.rint(np.linspace(0, n_units, min(n_units, most) + 1)))


def _curve(
    game: ValueFunction,
    order: Sequence[int] | NDArray,
    *,
    volumes_ml: ArrayLike,
    kind: Literal["deletion", "insertion"],
    steps: Sequence[int] | None = None,
) -> UnitCurve:
    numbers = checked_order(order, n_units=game.n_players)
    volumes = positive_volumes(volumes_ml, n_units=game.n_players)
    coalitions = deletion_coalitions(numbers, steps)
    if kind == "insertion":
        coalitions = ~coalitions
    return UnitCurve(
        kind=kind,
        order=tuple(numbers.tolist()),
        values=tuple(remembered(game)(coalitions).tolist()),
        removed_count=tuple((~coalitions).sum(axis=1).tolist()),
        removed_ml=tuple((~coalitions @ volumes).tolist()),
    )


def curve_metrics(most: UnitCurve, least: UnitCurve, *, why_undefined: str = "") -> tuple[Metric, ...]:
    """Areas of two deletion curves, along both axes, in the number's own unit and relative.

    - ``aopc-units``, ``aopc-volume``: area over the curve with the most important first (`aopc`); higher is better.
    - ``aopc-least-first-...``: the same for the least important first; lower is better.
    - ``abpc-...``: area between the two curves (`abpc`); higher is better, 0 is chance.
    - ``...-relative``: divided by how far removing everything moves the number, so that numbers can be compared.
      Divided by the absolute value: better stays better where the number rises.

    Args:
        most: Deletion, most important first.
        least: Deletion, least important first.
        why_undefined: Why there is no ranking to be judged, where there is none.

    Raises:
        InvalidRequest: a curve is an insertion.
    """
    if (most.kind, least.kind) != ("deletion", "deletion"):
        raise InvalidRequest("These areas are those of deletion curves.", "Delete in the reversed order.")
    areas = {}
    for axis in AXES:
        areas[f"aopc-{axis}"] = aopc(most, axis=axis)
        areas[f"aopc-least-first-{axis}"] = aopc(least, axis=axis)
        areas[f"abpc-{axis}"] = abpc(most, least, axis=axis)
    span = abs(most.full_value - most.empty_value)
    why_relative = "Removing every unit leaves the number as it is." if most.relative_values() is None else ""
    plain = [_area_metric(name, area, why=why_undefined) for name, area in areas.items()]
    relative = [
        _area_metric(f"{name}-relative", area / (span or 1.0), why=why_undefined or why_relative)
        for name, area in areas.items()
    ]
    return (*plain, *relative)


def aopc(curve: UnitCurve, *, axis: Axis) -> float:
    """Area over a deletion curve: mean drop of the number below that of the whole CT.

    Over units: sum over k from 0 to L of (v(all) - v(all but the first k)) / (L + 1). Some divide by L instead.
    Over volume: the integral of the drop along the removed share of the volume, by trapezoids.

    References:
        Samek et al. (2017), Evaluating the visualization of what a deep neural network has learned (units). The volume
        axis is ours: steps as wide as what they remove.
    """
    if axis == "units":
        return float(np.mean(curve.full_value - np.array(curve.values)))
    return curve.full_value - curve.area_under(axis)


def abpc(most: UnitCurve, least: UnitCurve, *, axis: Axis) -> float:
    """Area between the perturbation curves: that under least-first less that under most-first, by trapezoids.

    Of an order and its reverse it is 0 on average over all orders. Over units it is (L + 1) / L times the mean
    difference over the L + 1 steps, since the curves meet at both ends.

    References:
        Our reconstruction of a measure in common use, with both axes.
    """
    return least.area_under(axis) - most.area_under(axis)


def trapezoid(values: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """Integral of a polygon."""
    return float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(shares)))


def _area_metric(name: str, area: float, *, why: str) -> Metric:
    """An area of `curve_metrics`, undefined where there is a reason ``why``."""
    better = "lower" if name.startswith("aopc-least-first") else "higher"
    chance = 0.0 if name.startswith("abpc") else None
    if why:
        return undefined(name, why, better=better, chance=chance)
    return Metric(name, area, better=better, chance=chance)
