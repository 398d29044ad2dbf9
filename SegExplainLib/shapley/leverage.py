"""LeverageSHAP: every size as often, no coalition twice."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.shapley.coalitions import Coalitions, coalitions_of_size, random_coalition
from SegExplainLib.shapley.paired_least_squares import fit_pairs, regression_checkpoints, smallest_regression_budget
from SegExplainLib.shapley.paired_sampling import Solution, estimate_from_pairs
from SegExplainLib.shapley.stopping import StoppingRule
from SegExplainLib.shapley.value_function import ShapleyEstimate, ValueFunction

LISTED = 10_000
"""Sizes with at most this many pairs are listed and shuffled; from others pairs are drawn until a new one comes."""


def leverage_shap(
    game: ValueFunction, *, budget: int, tolerance: float, seed: int, settle: int = 0, interim: bool = True
) -> Iterator[ShapleyEstimate]:
    """Shapley values by regression on coalitions drawn by their leverage, without replacement.

    Efficiency holds exactly at every estimate. Consistent. Exact for games without interactions of more than two
    players, and when the budget pays for every coalition: then all are asked, and the errors are 0.

    The leverage of a coalition of size k in the Shapley regression is 1 / C(n, k), so all sizes are drawn equally
    often. Pairs are taken in rounds, one of each size; a size of which every pair has been asked is left out from then
    on. So every prefix is itself a leverage sample, stratified by size. Which coalitions are asked, and in which order,
    depends on the number of players and the seed alone; budget, tolerance and values only say where it ends.

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
        Musco & Witter (2025), Provably accurate Shapley value estimation via leverage score sampling. The rounds, which
        replace their binomial number of pairs of each size by a fixed one, are ours; so are how efficiency is imposed,
        the fit of the size and the standard errors: see `SegExplainLib.shapley.paired_least_squares`.
    """
    smallest = smallest_regression_budget(game.n_players)
    rule = StoppingRule(budget, tolerance, settle)
    return estimate_from_pairs(game, LeverageDesign.draw, smallest=smallest, rule=rule, seed=seed, interim=interim)


@dataclass(frozen=True, eq=False)
class LeverageDesign:
    """Distinct pairs in rounds over the sizes; a pair is written as its smaller member.

    Attributes:
        pairs: (n_pairs, n_players).
        checkpoints: As in `PairedDesign`.
    """

    pairs: Coalitions
    checkpoints: Sequence[int]

    @classmethod
    def draw(cls, n_players: int, n_pairs: int, *, seed: int) -> Self:
        """The first ``n_pairs`` pairs of the rounds."""
        pairs = np.array(list(itertools.islice(_rounds(n_players, seed), n_pairs)))
        return cls(pairs, regression_checkpoints(n_players, len(pairs)))

    def solve(self, odd_values: NDArray[np.float64], total: NDArray[np.float64]) -> Solution:
        """As in `PairedDesign`."""
        pairs = self.pairs[: len(odd_values)]
        return fit_pairs(
            pairs,
            odd_values,
            total,
            weights=kernel_weights(pairs),
            repeats=np.ones(len(pairs)),
            unsampled=1.0 - sampled_shares(pairs)[pairs.sum(axis=1)],
        )


def kernel_weights(pairs: Coalitions) -> NDArray[np.float64]:
    """(m,): the Shapley kernel of all pairs of a size, shared by those of ``pairs`` (m, n_players) that have it.

    A pair is written as its smaller member. C(n, k) cancels, so nothing overflows.
    """
    n_players, sizes = pairs.shape[1], pairs.sum(axis=1)
    kernel = np.where(2 * sizes == n_players, 1.0, 2.0) / (sizes * (n_players - sizes))
    return kernel / np.bincount(sizes)[sizes]


def sampled_shares(pairs: Coalitions) -> NDArray[np.float64]:
    """(n_players // 2 + 1,): for each size of the smaller member, which share of all its pairs is among ``pairs``."""
    n_players = pairs.shape[1]
    taken = np.bincount(pairs.sum(axis=1), minlength=n_players // 2 + 1)
    return np.array([int(count) / _n_pairs_of_size(n_players, size) for size, count in enumerate(taken)])


def _n_pairs_of_size(n_players: int, size: int) -> int:
    """Number of pairs whose smaller member has ``size`` players."""
    return math.comb(n_players, size) // (2 if 2 * size == n_players else 1)


def _rounds(n_players: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """All pairs, one of each size a round.

    Halves of the players come every other round: their size is its own complement, so has half the leverage of the
    others, which are two sizes each.
    """
    rng = np.random.default_rng(seed)
    remaining = {size: _shuffled_pairs(n_players, size, seed) for size in range(1, n_players // 2 + 1)}
    n_rounds = 0
    while remaining:
        n_rounds += 1
        for size in rng.permutation(list(remaining)):
            if 2 * size == n_players and n_rounds % 2 == 0 and len(remaining) > 1:
                continue
            pair = next(remaining[size], None)
            if pair is None:
                del remaining[size]
            else:
                yield pair


def _shuffled_pairs(n_players: int, size: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """All pairs whose smaller member has ``size`` players, in random order."""
    rng = np.random.default_rng([seed, size])
    are_halves = 2 * size == n_players  # both members have this size: leave out the one with the first player
    if _n_pairs_of_size(n_players, size) <= LISTED:
        listed = coalitions_of_size(n_players, size)
        yield from rng.permutation(listed[~listed[:, 0]] if are_halves else listed)
        return
    seen: set[bytes] = set()
    while len(seen) < _n_pairs_of_size(n_players, size):
        pair = random_coalition(n_players, size, rng)
        pair = ~pair if are_halves and pair[0] else pair
        key = np.packbits(pair).tobytes()
        if key not in seen:
            seen.add(key)
            yield pair
