"""The areas over the curve at best and at worst, over all orders of the units: what an area is to be read against.

How far an area can go depends on the network, the CT and the removal, so that the areas of two cases say little next to
each other. Between its bounds an area is a share of the way, and can be compared.

A curve depends on its order through the nested sets of removed units only. So the best order that ends in a set is the
best order into one of its subsets, and one step: a search over 2^n sets, not n! orders.

References:
    Edin et al. (2025), Normalized AOPC, ACL (bounds, exact and by beam search). The search over sets, the bounds over
    volume, and sets that meet in the beam being one, are ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.remembered_game import RememberedGame, is_negligible, remembered
from SegExplainLib.evaluation.unit_curves import SAME_AREA, Axis, UnitCurve, aopc, deletion_curve
from SegExplainLib.evaluation.unit_orders import positive_volumes
from SegExplainLib.shapley.coalitions import every_coalition
from SegExplainLib.shapley.value_function import ValueFunction

MOST_EXACT_UNITS = 12
"""4096 evaluations."""
BEAM_WIDTH = 5


@dataclass(frozen=True)
class AreaBounds:
    """Least and largest `unit_curves.aopc` over all orders of the units. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        axis: Of the areas.
        lower: Least area, in the number's unit.
        upper: Largest area.
        lower_order: (n_units,) an order that has it.
        upper_order: (n_units,) an order that has it.
        is_exact: No order lies outside. Otherwise these are the best and worst orders that were found: a bound of the
            bound, ``upper`` from below and ``lower`` from above.
        beam_width: Of the search; 0 where exact.
        n_evaluations: Coalitions that the search asked for and that were not known before.
    """

    axis: Axis
    lower: float
    upper: float
    lower_order: tuple[int, ...]
    upper_order: tuple[int, ...]
    is_exact: bool
    beam_width: int
    n_evaluations: int


def aopc_bounds(
    game: ValueFunction,
    *,
    volumes_ml: ArrayLike,
    axis: Axis,
    beam_width: int = BEAM_WIDTH,
    most_exact: int = MOST_EXACT_UNITS,
    known_orders: Sequence[Sequence[int]] = (),
) -> AreaBounds:
    """Bounds of the area over the curve: exact up to ``most_exact`` units, by beam search above.

    Cost: `most_evaluations` at most, less what a `RememberedGame` knows.

    Args:
        game: The explained number of coalitions of units.
        volumes_ml: (n_units,), positive.
        axis: Of the area.
        beam_width: Sets that are followed from each step to the next, for either bound.
        most_exact: Units up to which every coalition is asked for.
        known_orders: Orders that the bounds must hold, such as the explanation's own and its reverse: what the beam
            did not find. Of no effect on exact bounds.

    Raises:
        InvalidRequest: the beam has no width, volumes or orders do not fit, or the game is not finite.
    """
    volumes = positive_volumes(volumes_ml, n_units=game.n_players)
    if beam_width < 1:
        raise InvalidRequest(f"A beam follows 1 set or more, got {beam_width}.")
    memory = remembered(game)
    known_before = memory.n_evaluations
    is_exact = game.n_players <= most_exact
    steps = StepAreas(memory, volumes / volumes.sum(), axis)
    orders = _exact_orders(steps) if is_exact else _beam_orders(steps, beam_width=beam_width)
    candidates = [*orders, *(tuple(int(unit) for unit in order) for order in known_orders)]
    areas = [aopc(deletion_curve(memory, order, volumes_ml=volumes), axis=axis) for order in candidates]
    lowest, highest = int(np.argmin(areas)), int(np.argmax(areas))
    return AreaBounds(
        axis=axis,
        lower=areas[lowest],
        upper=areas[highest],
        lower_order=candidates[lowest],
        upper_order=candidates[highest],
        is_exact=is_exact,
        beam_width=0 if is_exact else beam_width,
        n_evaluations=memory.n_evaluations - known_before,
    )


def naopc(curve: UnitCurve, bounds: AreaBounds) -> Metric:
    """Normalised AOPC of a deletion curve: (AOPC - lower) / (upper - lower). 1: no order is better; 0: none is worse.

    Below 0 or above 1 only where the bounds are not exact and were not told of the curve's order.

    References:
        Edin et al. (2025), Normalized AOPC.
    """
    name = f"naopc-{bounds.axis}"
    width = bounds.upper - bounds.lower
    if is_negligible(width, *curve.values):
        return undefined(name, SAME_AREA)
    return Metric(name, (aopc(curve, axis=bounds.axis) - bounds.lower) / width)


def most_evaluations(n_units: int, *, beam_width: int = BEAM_WIDTH, most_exact: int = MOST_EXACT_UNITS) -> int:
    """Evaluations that `aopc_bounds` asks for at most, without those of ``known_orders``."""
    if n_units <= most_exact:
        return 2**n_units
    beams = (min(2 * beam_width * (n_units - size + 1), math.comb(n_units, size)) for size in range(1, n_units))
    return 2 + sum(beams)


@dataclass(frozen=True)
class StepAreas:
    """What one removal adds to the area over the curve.

    Attributes:
        game: Asked for the number.
        shares: (n_units,) of each unit of the volume.
        axis: Of the area.
    """

    game: RememberedGame
    shares: NDArray[np.float64]
    axis: Axis

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.shares)

    def drops(self, removed: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n,): how far the number falls when ``removed`` (n, n_units) are."""
        return self.game.empty_and_full()[1] - self.game(~removed)

    def added(
        self, before: NDArray[np.float64], after: NDArray[np.float64], units: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Area of steps from drop ``before`` to drop ``after`` by removing ``units``; all of one shape."""
        if self.axis == "units":
            return after / (self.n_units + 1)
        return (before + after) / 2 * self.shares[units]

    def left(self, removed: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n,): share of the axis that is still to come after ``removed`` (n, n_units)."""
        if self.axis == "units":
            return (self.n_units - removed.sum(axis=1)) / (self.n_units + 1)
        return ~removed @ self.shares


def _exact_orders(steps: StepAreas) -> list[tuple[int, ...]]:
    """An order of the least and one of the largest area, by dynamic programming over the sets of removed units."""
    n_units = steps.n_units
    removed = every_coalition(n_units)  # row number = sum of 2^unit
    steps.game.announce(~removed)
    drops = steps.drops(removed)
    units = np.arange(n_units)
    orders = []
    for sign in (1.0, -1.0):
        area = np.zeros(2**n_units)
        last = np.zeros(2**n_units, dtype=np.int64)
        for size in range(1, n_units + 1):
            rows = np.flatnonzero(removed.sum(axis=1) == size)[:, np.newaxis]
            before = rows ^ (1 << units)  # where the unit is not in the set, a larger set: excluded below
            ways = area[before] + steps.added(drops[before], drops[rows], np.broadcast_to(units, before.shape))
            ways = np.where(removed[rows[:, 0]], sign * ways, np.inf)
            last[rows[:, 0]] = ways.argmin(axis=1)
            area[rows[:, 0]] = sign * ways.min(axis=1)
        orders.append(_traced(last))
    return orders


def _traced(last: NDArray[np.int64]) -> tuple[int, ...]:
    """The order that removes ``last[set]`` last, from the set of all units back."""
    order, left = [], len(last) - 1
    while left:
        order.append(int(last[left]))
        left ^= 1 << order[-1]
    return tuple(reversed(order))


@dataclass(frozen=True, eq=False)
class _Beam:
    """The sets that are followed.

    Attributes:
        orders: (n_sets, n_removed), the units of each set as they were removed.
        areas: (n_sets,) over the curve up to there.
        drops: (n_sets,) of the number there.
    """

    orders: NDArray[np.int64]
    areas: NDArray[np.float64]
    drops: NDArray[np.float64]


def _beam_orders(steps: StepAreas, *, beam_width: int) -> list[tuple[int, ...]]:
    """An order of small and one of large area."""
    start = _Beam(np.zeros((1, 0), dtype=np.int64), np.zeros(1), np.zeros(1))
    lower, upper = start, start
    for _ in range(steps.n_units):
        ahead = [_one_more(beam, steps.n_units)[1] for beam in (lower, upper)]
        present = ~_sets(np.concatenate(ahead), steps.n_units)
        steps.game.announce(present)
        steps.game(present)  # both beams in one batch; each then finds its answers known
        lower = _followed(lower, steps, beam_width=beam_width, sign=1.0)
        upper = _followed(upper, steps, beam_width=beam_width, sign=-1.0)
    return [tuple(beam.orders[0].tolist()) for beam in (lower, upper)]


def _followed(beam: _Beam, steps: StepAreas, *, beam_width: int, sign: float) -> _Beam:
    """The beam after one more removal: the sets of smallest, for ``sign`` -1 largest, area if the drop stayed."""
    parents, orders = _one_more(beam, steps.n_units)
    sets = _sets(orders, steps.n_units)
    drops = steps.drops(sets)
    areas = beam.areas[parents] + steps.added(beam.drops[parents], drops, orders[:, -1])
    promise = areas + drops * steps.left(sets)
    kept: dict[bytes, int] = {}
    for row in np.argsort(sign * promise, kind="stable"):
        kept.setdefault(sets[row].tobytes(), int(row))  # of the ways into one set, the best
        if len(kept) == beam_width:
            break
    rows = list(kept.values())
    return _Beam(orders[rows], areas[rows], drops[rows])


def _one_more(beam: _Beam, n_units: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the beam, and their orders with each unit that is left."""
    parents, units = np.nonzero(~_sets(beam.orders, n_units))
    return parents, np.column_stack([beam.orders[parents], units])


def _sets(orders: NDArray[np.int64], n_units: int) -> NDArray[np.bool_]:
    """bool (n, n_units) of orders (n, n_removed)."""
    sets = np.zeros((len(orders), n_units), dtype=bool)
    np.put_along_axis(sets, orders, True, axis=1)
    return sets
