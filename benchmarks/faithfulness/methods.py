"""The importances that every method gives to the units of one game."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.faithfulness.opened import OpenedGame
from SegExplainLib.contract import GRADIENT_METHODS, PATH_METHODS, SHAPLEY_METHODS, UnusableModel
from SegExplainLib.gradient_run import take_gradients
from SegExplainLib.pipeline import ESTIMATORS, SMALLEST_BUDGET
from SegExplainLib.progress import Progress

OURS = ("exact", "adjusted-shap", "kernel-shap", "leverage-shap", "permutation", *GRADIENT_METHODS)
"""The methods of the packages shap and captum are cross-checks; they run when they are asked for."""
SPEAKERS = ("adjusted-shap", "kernel-shap", "leverage-shap", "exact")
"""Methods by which units are compared: the first of them that is run."""
PER_UNIT = 10
"""Coalitions that a sampling method gets for each unit."""


def speaker_of(methods: Sequence[str]) -> str:
    """The method by which units are compared."""
    return next((name for name in SPEAKERS if name in methods), methods[0])


@dataclass(frozen=True, eq=False)
class Importances:
    """What one method says of the units of a game.

    Attributes:
        method: As of a request.
        amounts: (n_units,), signed, adding up over units.
        sizes: (n_units,), of the same without sign: of a voxel map the sum of its absolute values.
        voxel_map: float32 (k, j, i) on the network's grid, as it is shown.
        has_scale: Whether the amounts are meant in the unit of the explained number.
    """

    method: str
    amounts: NDArray[np.float64]
    sizes: NDArray[np.float64]
    voxel_map: NDArray[np.float32]
    has_scale: bool


class VoxelMaps:
    """Maps of the gradient methods of one case; those that need no baseline are made once and serve every game."""

    def __init__(self, budgets: dict[str, int], *, seed: int) -> None:
        self._budgets = budgets
        self._seed = seed
        self._made: dict[str, Importances | str] = {}

    def of(self, method: str, opened: OpenedGame) -> Importances | str:
        """The method's importances, or a sentence why the network gives it none."""
        if method in PATH_METHODS:
            return self._take(method, opened)
        if method not in self._made:
            self._made[method] = self._take(method, opened)
        made = self._made[method]
        return made if isinstance(made, str) else pooled(made, opened)

    def _take(self, method: str, opened: OpenedGame) -> Importances | str:
        budget = self._budgets.get(method, 1)
        request = replace(opened.request, method=method, budget=budget, tolerance=0.0, seed=self._seed)
        try:
            found = take_gradients(
                request, opened.question, opened.game, baselines=(opened.absent,), progress=Progress()
            ).attribution
        except UnusableModel as error:
            return str(error)
        voxel_map = found.partition.painted(found.player_values) if found.voxel_map is None else found.voxel_map
        return pooled(Importances(method, np.zeros(0), np.zeros(0), voxel_map, found.unit != "relative"), opened)


def pooled(made: Importances, opened: OpenedGame) -> Importances:
    """The map of an answer, summed over the units of another game."""
    units = opened.question.partition
    sizes = units.pooled(np.abs(made.voxel_map))
    return replace(made, amounts=units.pooled(made.voxel_map), sizes=sizes)


def importances(
    methods: Sequence[str], opened: OpenedGame, maps: VoxelMaps, *, seed: int
) -> Iterator[Importances | tuple[str, str]]:
    """Those of each method, or its name and a sentence why there are none."""
    for method in methods:
        if method not in SHAPLEY_METHODS:
            found = maps.of(method, opened)
            yield (method, found) if isinstance(found, str) else found
        elif method != "exact" or opened.is_full:
            yield shapley(method, opened, seed=seed)


def shapley(method: str, opened: OpenedGame, *, seed: int) -> Importances:
    """Shapley values by an estimator that gets ``PER_UNIT`` coalitions for each unit, or what it needs at least."""
    n = opened.memory.n_players
    budget = 2**n if method == "exact" else min(2**n, max(PER_UNIT * n, SMALLEST_BUDGET[method](n)))
    *_, estimate = ESTIMATORS[method](opened.memory, budget=budget, tolerance=0.0, seed=seed)
    values = estimate.values.reshape(n, -1)[:, 0]
    return Importances(method, values, np.abs(values), opened.question.partition.painted(values), has_scale=True)


def random_importances(opened: OpenedGame, *, seed: int) -> Importances:
    """A control: amounts per millilitre are normal noise, so that orders by them are random."""
    units = opened.question.partition
    per_ml = np.random.default_rng(seed).normal(size=units.n_players)
    amounts = per_ml * units.volumes_ml
    return Importances("random", amounts, np.abs(amounts), units.painted(per_ml), has_scale=False)
