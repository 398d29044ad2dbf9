"""One case, measured: the reference, the runs on the network, the curves on the stand-in."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.equal_error.opened import OpenedCase
from benchmarks.equal_error.schemes import OURS, SCHEMES, Point, Scheme, run
from benchmarks.equal_error.stand_in import TreeGame
from SegExplainLib.pipeline import SMALLEST_BUDGET
from SegExplainLib.shapley.adjusted_shap import adjusted_shap
from SegExplainLib.shapley.coalitions import with_complements
from SegExplainLib.shapley.leverage import LeverageDesign, leverage_shap

TARGETS = (0.05, 0.01)

MOST_OF_REFERENCE = 4000
"""Coalitions that it is made from at most."""

SAME_DRAWS = ("leverage-shap", "adjusted-shap")
"""Methods that ask for the same coalitions, so that the second costs nothing."""


@dataclass(frozen=True)
class Settings:
    """How much is asked: see the command's help."""

    reference: int
    budget: int
    peer_budget: int
    n_seeds: int
    n_stand_in_seeds: int
    stand_in_budget: int


@dataclass(frozen=True)
class Reference:
    """The converged values, and how sure they are; errors are root mean squares over the range of the values.

    Attributes:
        values: (n_players,).
        n_evaluations: Coalitions behind them.
        standard_error: Their own.
        other: Distance of Leverage SHAP's values from the same coalitions.
        other_standard_error: Of these.
    """

    values: np.ndarray
    n_evaluations: int
    standard_error: float
    other: float
    other_standard_error: float


@dataclass(frozen=True)
class Cost:
    """To an error.

    Attributes:
        n_evaluations: Different coalitions.
        n_tiles: Network tiles.
        is_measured: Else extrapolated beyond the largest run.
    """

    n_evaluations: float
    n_tiles: float
    is_measured: bool


@dataclass(frozen=True)
class Measured:
    """All of a case.

    Attributes:
        case: The game.
        reference: Its values.
        explained: By the stand-in.
        on_network: Mean over seeds of the points of each scheme that ran there, by its name.
        on_stand_in: Likewise.
        outside: Share of the wall time of the live runs that was not the network's; nan where all was known.
        live_tiles: Tiles that ran in them.
        tile_s: Seconds of the network for one of them.
    """

    case: OpenedCase
    reference: Reference
    explained: float
    on_network: dict[str, list[Point]]
    on_stand_in: dict[str, list[Point]]
    outside: float
    live_tiles: int
    tile_s: float

    def cost(self, scheme: str, target: float) -> Cost:
        """What a scheme takes to an error, on the stand-in."""
        return cost_of(self.on_stand_in[scheme], target)

    def cost_on_network(self, target: float) -> Cost:
        """What ours takes to an error, on the network."""
        return cost_of(self.on_network[OURS], target)


def measured(case: OpenedCase, settings: Settings, *, tell: Callable[[str], None]) -> Measured:
    """Asks the network for what is not known yet."""
    tell(f"{case.case.units}, {case.case.request.roi}: {case.n_players} units")
    reference = _reference(case, settings)
    tell(f"  reference: standard error {100 * reference.standard_error:.2f} % of the range")
    runner = case.game.tallier.cache.runner
    runner.start_over()
    begin = time.perf_counter()
    on_network = {}
    for scheme in SCHEMES:
        if scheme.method == "kernel-shap" or not (scheme.streams or settings.peer_budget):
            continue  # shown on the stand-in alone
        on_network[scheme.name] = _on_network(scheme, case, reference, settings)
        last = on_network[scheme.name][-1]
        tell(f"  {scheme.name}: {last.n_evaluations:.0f} coalitions, error {100 * last.error:.1f} %")
    wall_s = time.perf_counter() - begin
    case.save()
    stand_in = TreeGame(*case.known(), closeness=case.game.record.closeness)
    tell(f"  stand-in explains {100 * stand_in.explained:.2f} % of the variance")
    on_stand_in = {scheme.name: _on_stand_in(scheme, case, stand_in, settings) for scheme in SCHEMES}
    return Measured(
        case,
        reference,
        stand_in.explained,
        on_network,
        on_stand_in,
        1.0 - runner.network_s / wall_s if runner.n_tiles else float("nan"),
        runner.n_tiles,
        runner.network_s / max(1, runner.n_tiles),
    )


def cost_of(points: Sequence[Point], target: float) -> Cost:
    """After what the error stays at or below ``target``.

    Between two points all fall along a straight line of logarithms; beyond the last one errors fall as one over the
    square root of the evaluations, and each takes as many tiles as those before.
    """
    last = points[-1]
    if last.error > target:
        factor = (last.error / target) ** 2
        return Cost(last.n_evaluations * factor, last.n_tiles * factor, is_measured=False)
    number = len(points) - 1
    while number and points[number - 1].error <= target:
        number -= 1
    if not number:
        return Cost(points[0].n_evaluations, points[0].n_tiles, is_measured=True)
    before, after = points[number - 1], points[number]
    way = np.log(before.error / target) / np.log(before.error / after.error)

    def between(one: float, other: float) -> float:
        return float(np.exp(np.log(one) * (1 - way) + np.log(other) * way))

    evaluations, tiles = between(before.n_evaluations, after.n_evaluations), between(before.n_tiles, after.n_tiles)
    return Cost(evaluations, tiles, is_measured=True)


def _reference(case: OpenedCase, settings: Settings) -> Reference:
    game, budget = case.live(), max(settings.reference, _n_known(case))
    (ours,) = adjusted_shap(game, budget=budget, tolerance=0.0, seed=0, interim=False)
    (other,) = leverage_shap(game, budget=budget, tolerance=0.0, seed=0, interim=False)
    case.save()
    values, spread = ours.values[:, 0], float(np.ptp(ours.values))

    def size(array: np.ndarray) -> float:
        return float(np.sqrt(np.mean(array**2))) / spread

    return Reference(
        values,
        ours.n_evaluations,
        size(ours.standard_errors),
        size(other.values[:, 0] - values),
        size(other.standard_errors),
    )


def _n_known(case: OpenedCase) -> int:
    """How many coalitions of the reference's design the network has answered before, without a gap."""
    pairs = LeverageDesign.draw(case.n_players, MOST_OF_REFERENCE // 2, seed=0).pairs
    is_known = case.game.record.table.is_known(with_complements(pairs))
    return 2 + (len(is_known) if is_known.all() else int(np.argmin(is_known)) // 2 * 2)


def _on_network(scheme: Scheme, case: OpenedCase, reference: Reference, settings: Settings) -> list[Point]:
    """Seeds from 1 on: seed 0 is the reference's."""
    is_ours = scheme.method in SAME_DRAWS
    smallest = max(SMALLEST_BUDGET[method](case.n_players) for method in SAME_DRAWS)
    ours = max(settings.budget, smallest), range(1, 1 + settings.n_seeds)
    budget, seeds = ours if is_ours else (settings.peer_budget, range(1))
    runs = [run(scheme, case.live(), case, reference.values, budget=budget, seed=seed) for seed in seeds]
    return [_mean(points) for points in zip(*runs, strict=True)]


def _on_stand_in(scheme: Scheme, case: OpenedCase, stand_in: TreeGame, settings: Settings) -> list[Point]:
    """Methods that give one estimate run once for each of some budgets."""
    most, seeds = settings.stand_in_budget, range(settings.n_stand_in_seeds)
    budgets = [most] if scheme.streams else _doubling(2 * case.n_players + 2, most)
    if scheme.method == "adjusted-shap":
        budgets = [min(most, 1024)]
    truth, points = stand_in.shapley_values, []
    for budget in budgets:
        runs = [run(scheme, stand_in, case, truth, budget=budget, seed=seed) for seed in seeds]
        points += [_mean(some) for some in zip(*runs, strict=True)]
    return points


def _doubling(first: int, most: int) -> list[int]:
    budgets = [first]
    while budgets[-1] * 2 <= most:
        budgets.append(budgets[-1] * 2)
    return budgets


def _mean(points: Sequence[Point]) -> Point:
    """Of several seeds: errors as root mean squares."""

    def square(values: list[float]) -> float:
        return float(np.sqrt(np.mean(np.square(values))))

    return Point(
        float(np.mean([point.n_evaluations for point in points])),
        float(np.mean([point.n_tiles for point in points])),
        square([point.error for point in points]),
        square([point.standard_error for point in points]),
    )
