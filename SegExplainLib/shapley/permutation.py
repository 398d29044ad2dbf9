"""Shapley values as mean marginal contributions over random orders of the players."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.shapley.coalitions import Coalitions, PairRegister
from SegExplainLib.shapley.paired_sampling import Solution, estimate_from_pairs
from SegExplainLib.shapley.stopping import StoppingRule, checkpoints
from SegExplainLib.shapley.value_function import ShapleyEstimate, ValueFunction


def permutation_shapley(
    game: ValueFunction, *, budget: int, tolerance: float, seed: int, settle: int = 0, interim: bool = True
) -> Iterator[ShapleyEstimate]:
    """Shapley values as the mean marginal contribution over random orders, each taken forwards and backwards.

    Unbiased for any game. Each order telescopes from the empty to the full coalition, so efficiency holds exactly at
    every estimate. A null player gets exactly 0. Exact for games without interactions of more than two players, and
    when the budget pays for every coalition: then all are asked, and the errors are 0.

    The coalitions of an order taken backwards are the complements of those forwards. A pair met again is not asked
    again. Which coalitions are asked, and in which order, depends on the number of players and the seed alone; budget,
    tolerance and values only say where it ends.

    Cost: at most ``2 * (n_players - 1)`` evaluations for an order and its reverse, 2 for the ends. An order that the
    budget does not pay for in full is left out. From two or three orders the intervals are too short: their
    contributions are not normal, as Student's t supposes.

    Args:
        game: The game, with one target or several.
        budget: Evaluations allowed, the empty and the full coalition included.
        tolerance: Stop when `ShapleyEstimate.relative_error` is at most this; 0 to spend the budget.
        seed: Of the sampling.
        settle: Stop, too, once the set of this many players of largest |value|, and their signs, are settled up to the
            tolerance (`SegExplainLib.shapley.stopping.Ranking`); 0 not to.
        interim: Give estimates on the way, too; otherwise the last one alone, whatever the rule says.

    Raises:
        ValueError: The budget is below ``4 * n_players - 2`` (two orders and their reverses, since one gives no
            standard error) and does not pay for every coalition, or the tolerance is negative.

    References:
        Castro, Gomez & Tejada (2009), Polynomial calculation of the Shapley value based on sampling, algorithm 1;
        Mitchell et al. (2022), Sampling permutations for Shapley value estimation (antithetic orders).
    """
    smallest = 4 * game.n_players - 2
    return estimate_from_pairs(
        game,
        PermutationDesign.draw,
        smallest=smallest,
        rule=StoppingRule(budget, tolerance, settle),
        seed=seed,
        interim=interim,
    )


@dataclass(frozen=True, eq=False)
class PermutationDesign:
    """Random orders and the pairs that their prefixes belong to.

    Attributes:
        pairs: (n_pairs, n_players) distinct pairs, by first appearance.
        orders: (n_orders, n_players), the players as they join.
        steps: (n_orders, n_players - 1), the pair of each proper prefix of each order.
        signs: Same shape: 1 where the prefix is the pair's row, -1 where it is the complement.
        ends: (n_orders,) pairs needed for the orders up to this one.
        checkpoints: As in `PairedDesign`.
    """

    pairs: Coalitions
    orders: NDArray[np.int64]
    steps: NDArray[np.int64]
    signs: NDArray[np.float64]
    ends: NDArray[np.int64]
    checkpoints: Sequence[int]

    @classmethod
    def draw(cls, n_players: int, n_pairs: int, *, seed: int) -> Self:
        """All orders that ``n_pairs`` pairs pay for, up to the first that they do not."""
        rng = np.random.default_rng(seed)
        register, orders, steps, signs, ends = PairRegister(), [], [], [], []
        while True:
            order = rng.permutation(n_players)
            prefixes = np.tril(np.ones((n_players - 1, n_players), dtype=bool))[:, np.argsort(order)]
            numbers, are_rows = zip(*(register.number(prefix) for prefix in prefixes), strict=True)
            if len(register) > n_pairs:
                break
            orders.append(order)
            steps.append(numbers)
            signs.append(np.where(are_rows, 1.0, -1.0))
            ends.append(len(register))
        looks = [ends[n_orders - 1] for n_orders in checkpoints(2, len(orders))]
        return cls(
            pairs=register.pairs(ends[-1]),
            orders=np.array(orders),
            steps=np.array(steps),
            signs=np.array(signs),
            ends=np.array(ends),
            checkpoints=sorted(set(looks)),
        )

    def solve(self, odd_values: NDArray[np.float64], total: NDArray[np.float64]) -> Solution:
        """As in `PairedDesign`, from all orders before the first that needs a pair not asked yet."""
        n_orders = int(np.searchsorted(self.ends, len(odd_values), side="right"))
        steps, signs = self.steps[:n_orders], self.signs[:n_orders]
        last = np.broadcast_to(total / 2, (n_orders, 1, len(total)))
        climb = np.concatenate([-last, signs[..., np.newaxis] * odd_values[steps], last], axis=1)
        joined_at = np.argsort(self.orders[:n_orders], axis=1)
        contributions = np.take_along_axis(np.diff(climb, axis=1), joined_at[..., np.newaxis], axis=1)
        return Solution(
            values=contributions.mean(axis=0),
            standard_errors=contributions.std(axis=0, ddof=1) / np.sqrt(n_orders),
            degrees_of_freedom=float(n_orders - 1),
        )
