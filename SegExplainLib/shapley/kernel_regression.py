"""KernelSHAP with complement pairs, exact efficiency, standard errors and early stopping."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.shapley.coalitions import Coalitions, PairRegister, random_coalition
from SegExplainLib.shapley.paired_least_squares import fit_pairs, regression_checkpoints, smallest_regression_budget
from SegExplainLib.shapley.paired_sampling import Solution, estimate_from_pairs
from SegExplainLib.shapley.sampled_mean import sampled_mean
from SegExplainLib.shapley.stopping import StoppingRule, checkpoints
from SegExplainLib.shapley.value_function import ShapleyEstimate, ValueFunction

FIRST_PICTURE = 8
"""Pairs for a first estimate: fewer tell too little of their own error."""


def kernel_shap(
    game: ValueFunction, *, budget: int, tolerance: float, seed: int, settle: int = 0, interim: bool = True
) -> Iterator[ShapleyEstimate]:
    """Shapley values by regression on coalitions drawn from the Shapley kernel.

    Efficiency holds exactly at every estimate. Consistent, with a bias of order one over the number of draws. Exact for
    games without interactions of more than two players, and when the budget pays for every coalition: then all are
    asked, and the errors are 0. Before the pairs suffice for a regression, estimates are unbiased means over the draws.

    Sizes follow p(k) ~ 1 / (k (n - k)); each coalition comes with its complement. Draws are with replacement, but a
    pair drawn again is not asked again: repeats count in the regression and cost nothing. Which coalitions are asked,
    and in which order, depends on the number of players and the seed alone; budget, tolerance and values only say where
    it ends.

    Cost: at most ``budget`` evaluations, all of different coalitions.

    Args:
        game: The game, with one target or several; all targets are solved at once.
        budget: Evaluations allowed, the empty and the full coalition included.
        tolerance: Stop when `ShapleyEstimate.relative_error` is at most this; 0 to spend the budget.
        seed: Of the sampling.
        settle: Stop, too, once the set of this many players of largest |value|, and their signs, are settled up to the
            tolerance (`SegExplainLib.shapley.stopping.Ranking`); 0 not to.
        interim: Give estimates on the way, too; otherwise the last one alone, whatever the rule says.

    Raises:
        ValueError: The budget is below ``2 * n_players + 4`` and does not pay for every coalition, or the tolerance is
            negative.

    References:
        Lundberg & Lee (2017), A unified approach to interpreting model predictions; Covert & Lee (2021), Improving
        KernelSHAP (pairs, the sampled matrix, the stopping rule). How efficiency is imposed, the fit of the size and
        the standard errors are ours: see `SegExplainLib.shapley.paired_least_squares`.
    """
    smallest = smallest_regression_budget(game.n_players)
    rule = StoppingRule(budget, tolerance, settle)
    return estimate_from_pairs(game, KernelDesign.draw, smallest=smallest, rule=rule, seed=seed, interim=interim)


@dataclass(frozen=True, eq=False)
class KernelDesign:
    """Pairs drawn with replacement from the Shapley kernel.

    Attributes:
        pairs: (n_pairs, n_players) distinct pairs, by first appearance.
        draws: (n_draws,) the pair of each draw. Ends just before the draw that would ask for one pair more.
        checkpoints: As in `PairedDesign`.
    """

    pairs: Coalitions
    draws: NDArray[np.int64]
    checkpoints: Sequence[int]

    @classmethod
    def draw(cls, n_players: int, n_pairs: int, *, seed: int) -> Self:
        """``n_pairs`` distinct pairs and their repeats."""
        rng = np.random.default_rng(seed)
        sizes = np.arange(1, n_players)
        chances = 1.0 / (sizes * (n_players - sizes))
        ladder = np.cumsum(chances / chances.sum())[:-1]
        register, draws = PairRegister(), []
        while True:
            size = 1 + int(np.searchsorted(ladder, rng.random(), side="right"))
            number, _ = register.number(random_coalition(n_players, size, rng))
            if number == n_pairs:
                break
            draws.append(number)
        return cls(register.pairs(n_pairs), np.array(draws), _checkpoints(n_players, n_pairs))

    def solve(self, odd_values: NDArray[np.float64], total: NDArray[np.float64]) -> Solution:
        """As in `PairedDesign`, from all draws before the first of a pair not asked yet."""
        n_pairs = len(odd_values)
        beyond = np.flatnonzero(self.draws >= n_pairs)
        usable = self.draws[: beyond[0]] if len(beyond) else self.draws
        pairs, repeats = self.pairs[:n_pairs], np.bincount(usable, minlength=n_pairs).astype(np.float64)
        once = np.ones(n_pairs)
        solution = fit_pairs(pairs, odd_values, total, weights=once, repeats=repeats, unsampled=once)
        if n_pairs < 2 or not np.isinf(solution.standard_errors).any():
            return solution
        return Solution(*sampled_mean(pairs, odd_values, total, repeats / repeats.sum()), float(n_pairs - 1))


def _checkpoints(n_players: int, n_pairs: int) -> list[int]:
    """The regression's, and before them some for a first picture."""
    regression = regression_checkpoints(n_players, n_pairs)
    return [size for size in checkpoints(FIRST_PICTURE, regression[0]) if size < regression[0]] + regression
