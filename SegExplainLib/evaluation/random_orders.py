"""Curves and areas where the order of the units knows nothing: what an explanation must beat.

References:
    Phipson & Smyth (2010), Permutation p-values should never be zero.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SegExplainLib.contract import InvalidRequest, nearest_names
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.remembered_game import NEGLIGIBLE, RememberedGame, remembered
from SegExplainLib.evaluation.unit_curves import (
    AXES,
    SAME_AREA,
    Axis,
    UnitCurve,
    abpc,
    aopc,
    deletion_coalitions,
    deletion_curve,
    spread_steps,
)
from SegExplainLib.evaluation.unit_orders import positive_volumes
from SegExplainLib.shapley.stopping import checkpoints
from SegExplainLib.shapley.value_function import ValueFunction

FIRST_LOOK = 8
BAND = (0.025, 0.975)
VOLUME_STEPS = 50
"""Random curves have their steps at different volumes; their band is given at 51 shares of it."""


@dataclass(frozen=True)
class Band:
    """Where deletion curves of random orders run. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        shares: Of the units or their volume, from 0 to 1.
        mean: Of the curves at these shares.
        standard_error: Of ``mean``.
        low: 95 % of the curves are above this and below ``high``, to the nearest curves.
        high: See ``low``.
    """

    shares: tuple[float, ...]
    mean: tuple[float, ...]
    standard_error: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class RandomOrders:
    """Deletion by random orders. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        n_orders: So far.
        seed: Of the orders.
        is_final: No more will be drawn.
        steps: Numbers of removed units at which curves were looked at, from 0 to all.
        bands: Of each axis in ``unit_curves.AXES``.
        areas: "aopc-units", "abpc-volume", ... -> the area of each order, in the number's unit.
        resolution: Differences of areas below this are rounding.
    """

    n_orders: int
    seed: int
    is_final: bool
    steps: tuple[int, ...]
    bands: dict[Axis, Band]
    areas: dict[str, tuple[float, ...]]
    resolution: float

    def areas_of(self, most: UnitCurve, least: UnitCurve) -> dict[str, float]:
        """The areas of an explanation's two deletion curves at the same steps: what to compare with ``areas``."""
        return _areas(most.at(self.steps), least.at(self.steps))

    def mean(self, area: str) -> Metric:
        """Mean area over the random orders, with its standard error. That of ``abpc-...`` is 0 up to this error.

        Args:
            area: A key of ``areas``.
        """
        sample = self._sample(area)
        error = float(sample.std(ddof=1) / math.sqrt(len(sample)))
        return Metric(f"{area}-random-mean", float(sample.mean()), better="", standard_error=error)

    def percentile(self, area: str, value: float) -> Metric:
        """Share of the random orders, in percent, whose area is below ``value``; equal ones count half."""
        name = f"{area}-percentile"
        sample = self._sample(area)
        if self._is_flat(sample, value):
            return undefined(name, SAME_AREA, chance=50.0)
        below, equal = self._below_and_equal(sample, value)
        share = (below + equal / 2) / len(sample)
        low, high = _wilson_interval(share, len(sample))
        return Metric(name, 100 * share, interval=(100 * low, 100 * high), chance=50.0)

    def p_value(self, area: str, value: float) -> Metric:
        """Chance that an order which knows nothing has an area of at least ``value``: (1 + b) / (1 + n).

        b of n random orders have; so it is never below 1 / (1 + n). Right for an order that was fixed before: of the
        best of many, it is too small.
        """
        name = f"{area}-p-value"
        sample = self._sample(area)
        if self._is_flat(sample, value):
            return undefined(name, SAME_AREA, better="lower")
        below, _ = self._below_and_equal(sample, value)
        return Metric(name, (1 + len(sample) - below) / (1 + len(sample)), better="lower")

    def _sample(self, area: str) -> NDArray[np.float64]:
        if area not in self.areas:
            raise InvalidRequest(f"There is no area named {area!r}.", nearest_names(area, self.areas))
        return np.array(self.areas[area])

    def _is_flat(self, sample: NDArray[np.float64], value: float) -> bool:
        return bool(np.ptp([*sample, value]) <= self.resolution)

    def _below_and_equal(self, sample: NDArray[np.float64], value: float) -> tuple[int, int]:
        below = int(np.count_nonzero(sample < value - self.resolution))
        return below, int(np.count_nonzero(sample <= value + self.resolution)) - below


def random_orders(
    game: ValueFunction, *, volumes_ml: ArrayLike, n_orders: int, seed: int, most_steps: int | None = None
) -> Iterator[RandomOrders]:
    """Deletes units in random orders and their reverses, and yields what is known after each batch, last the whole.

    The first orders of a longer run are those of a shorter one.

    Cost: at most ``2 * (n_steps - 1)`` evaluations for each order, 2 for the ends.

    Args:
        game: The explained number of coalitions of units.
        volumes_ml: (n_units,), positive.
        n_orders: To be drawn; 2 or more.
        seed: Of the orders.
        most_steps: Of each curve, evenly in removed units; None for a step after each unit. With fewer, areas are those
            of a coarser curve: `RandomOrders.areas_of` makes an explanation's comparable.

    Raises:
        InvalidRequest: there are fewer than 2 orders, volumes do not fit, or the game is not finite.
    """
    volumes = positive_volumes(volumes_ml, n_units=game.n_players)
    if n_orders < 2:
        raise InvalidRequest(f"A band needs 2 random orders or more, got {n_orders}.")
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(game.n_players) for _ in range(n_orders)]
    steps = spread_steps(game.n_players, most=most_steps or game.n_players)
    return _followed(game, orders, volumes=volumes, steps=steps, seed=seed)


def _followed(
    game: ValueFunction,
    orders: list[NDArray[np.int64]],
    *,
    volumes: NDArray[np.float64],
    steps: tuple[int, ...],
    seed: int,
) -> Iterator[RandomOrders]:
    memory = remembered(game)
    both_ways = [deletion_coalitions(way, steps) for order in orders for way in (order, order[::-1])]
    memory.announce(np.concatenate(both_ways))
    drawn: list[_Drawn] = []
    for look in checkpoints(min(FIRST_LOOK, len(orders)), len(orders)):
        memory(np.concatenate(both_ways[2 * len(drawn) : 2 * look]))  # in one batch; the curves then find them known
        drawn += [_Drawn.of(memory, order, volumes=volumes, steps=steps) for order in orders[len(drawn) : look]]
        yield _seen(drawn, steps=steps, seed=seed, is_final=look == len(orders))


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What is kept of one random order.

    Attributes:
        areas: As of `RandomOrders`.
        heights: Of its curve, at the shares of each axis' band.
    """

    areas: dict[str, float]
    heights: dict[Axis, NDArray[np.float64]]

    @classmethod
    def of(
        cls,
        game: RememberedGame,
        order: NDArray[np.int64],
        *,
        volumes: NDArray[np.float64],
        steps: tuple[int, ...],
    ) -> "_Drawn":
        """Deletes in this order and in its reverse."""
        curve = deletion_curve(game, order, volumes_ml=volumes, steps=steps)
        reverse = deletion_curve(game, order[::-1], volumes_ml=volumes, steps=steps)
        areas = _areas(curve, reverse)
        shares = {axis: _band_shares(axis, len(order)) for axis in AXES}
        return cls(areas, {axis: np.interp(shares[axis], curve.shares(axis), curve.values) for axis in AXES})


def _areas(most: UnitCurve, least: UnitCurve) -> dict[str, float]:
    areas = {f"aopc-{axis}": aopc(most, axis=axis) for axis in AXES}
    return areas | {f"abpc-{axis}": abpc(most, least, axis=axis) for axis in AXES}


def _band_shares(axis: Axis, n_units: int) -> NDArray[np.float64]:
    return np.linspace(0.0, 1.0, (n_units if axis == "units" else VOLUME_STEPS) + 1)


def _seen(drawn: list[_Drawn], *, steps: tuple[int, ...], seed: int, is_final: bool) -> RandomOrders:
    heights = {axis: np.array([one.heights[axis] for one in drawn]) for axis in AXES}
    return RandomOrders(
        n_orders=len(drawn),
        seed=seed,
        is_final=is_final,
        steps=steps,
        bands={axis: _band(axis, heights[axis], n_units=heights["units"].shape[1] - 1) for axis in AXES},
        areas={name: tuple(one.areas[name] for one in drawn) for name in drawn[0].areas},
        resolution=NEGLIGIBLE * float(np.abs(heights["units"]).max()),
    )


def _band(axis: Axis, heights: NDArray[np.float64], *, n_units: int) -> Band:
    """Of curves (n_orders, n_shares)."""
    low, high = np.quantile(heights, BAND, axis=0)
    return Band(
        shares=tuple(_band_shares(axis, n_units).tolist()),
        mean=tuple(heights.mean(axis=0).tolist()),
        standard_error=tuple((heights.std(axis=0, ddof=1) / math.sqrt(len(heights))).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def _wilson_interval(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n draws, Wilson (1927): not of width 0 where all or none are on one side."""
    z = NormalDist().inv_cdf(BAND[1])
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half_width = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half_width), min(1.0, middle + half_width)
