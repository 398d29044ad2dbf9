"""LeverageSHAP, adjusted by a Gaussian process that learns the game while it is asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from SegExplainLib.shapley.coalitions import Coalitions
from SegExplainLib.shapley.gaussian_process import Belief, Interpolant, OddCovariance
from SegExplainLib.shapley.leverage import LeverageDesign, kernel_weights, sampled_shares
from SegExplainLib.shapley.paired_sampling import Solution, estimate_from_pairs
from SegExplainLib.shapley.stopping import StoppingRule
from SegExplainLib.shapley.value_function import ShapleyEstimate, ValueFunction

N_FOLDS = 8
"""Each pair is foretold by a process that has seen the other seven eighths."""

ENOUGH_HELD = 3.0
"""Pairs of a size that hold a player, at which its own spread counts as much as that of a player at random."""

ALIKE = 0.95
"""Correlation of two games' answers from which one's covariance serves the other as well."""

MOST_COVARIANCES = 6
"""Learned for games asked together; more games than that take that of the game most like them."""


def fewest_pairs(n_players: int) -> int:
    """For the first estimate: two a fold, and every size once."""
    return max(2 * N_FOLDS, n_players // 2)


def adjusted_shap(
    game: ValueFunction, *, budget: int, tolerance: float, seed: int, settle: int = 0, interim: bool = True
) -> Iterator[ShapleyEstimate]:
    """Shapley values by a learned stand-in for the game, and a sampled correction of what it gets wrong.

    A Gaussian process learns from the coalitions asked so far what all others are worth; its Shapley values are known
    in closed form. It need not be right: how far it is off on pairs that it has not seen is measured, and the Shapley
    values of that residual, estimated by sampling, are added. Each pair is foretold by a process that learned from the
    other folds. So the estimate is unbiased whatever the process believes, once every fold holds a pair of every size
    that is not exhausted; before, the residuals of other folds stand in, and its bias is below what simulations of some
    thousand runs can see. Its error is the residual's alone, and the standard errors are the residuals' spread, out of
    sample. A game of few important players is learned from few coalitions: then the error falls much faster than one
    over the square root of their number. A game that cannot be learned costs what LeverageSHAP costs, or up to half
    more. Where the game says which players are close (`ValueFunction`), that is believed at first: it saves coalitions
    where it is true, costs some where it is not, and changes no promise.

    Efficiency holds exactly at every estimate. Exact when the budget pays for every coalition: then all are asked, and
    the errors are 0. Which coalitions are asked, and in which order, depends on the number of players and the seed
    alone, and is LeverageSHAP's; budget, tolerance and values only say where it ends. With several targets, those that
    move together share a covariance, so that the answer for one may depend, within its error, on which others are
    asked with it; the first is answered as if alone.

    Cost: at most ``budget`` evaluations, all of different coalitions; and some 0.1 to 2 s of one core for each look at
    the estimate, more with many targets.

    Args:
        game: The game, with one target or several.
        budget: Evaluations allowed, the empty and the full coalition included.
        tolerance: Stop when `ShapleyEstimate.relative_error` is at most this; 0 to spend the budget.
        seed: Of the sampling.
        settle: Stop, too, once the set of this many players of largest |value|, and their signs, are settled up to the
            tolerance (`SegExplainLib.shapley.stopping.Ranking`); 0 not to.
        interim: Give estimates on the way, too; otherwise the last one alone, whatever the rule says.

    Raises:
        ValueError: The budget is below ``2 + 2 * fewest_pairs(n_players)`` and does not pay for every coalition, or the
            tolerance is negative.

    References:
        Witter, Liu & Musco (2025), Regression-adjusted Monte Carlo estimators for Shapley values and probabilistic
        values (a learned game and a sampled correction, with trees); Musco & Witter (2025), Provably accurate Shapley
        value estimation via leverage score sampling (the sample); Fumagalli et al. (2026), OddSHAP (learning the odd
        part alone). The Gaussian process in place of trees, the correction without replacement and its standard errors
        are ours. Not the GP-SHAP of Chau, Muandet & Sejdinovic (2023), which explains Gaussian process models.
    """
    smallest = 2 + 2 * fewest_pairs(game.n_players)
    rule = StoppingRule(budget, tolerance, settle)
    draw = partial(AdjustedDesign.draw, belief=Belief.of(game.n_players, getattr(game, "closeness", None)))
    return estimate_from_pairs(game, draw, smallest=smallest, rule=rule, seed=seed, interim=interim)


@dataclass(frozen=True, eq=False)
class AdjustedDesign:
    """The pairs of `LeverageDesign`, read with a Gaussian process.

    Attributes:
        pairs: (n_pairs, n_players).
        checkpoints: As in `PairedDesign`.
        belief: Of the players, before they are known.
    """

    pairs: Coalitions
    checkpoints: Sequence[int]
    belief: Belief

    @classmethod
    def draw(cls, n_players: int, n_pairs: int, *, seed: int, belief: Belief | None = None) -> Self:
        """As in `LeverageDesign`."""
        pairs = LeverageDesign.draw(n_players, n_pairs, seed=seed).pairs
        return cls(pairs, _checkpoints(fewest_pairs(n_players), len(pairs)), belief or Belief.of(n_players, None))

    def solve(self, odd_values: NDArray[np.float64], total: NDArray[np.float64]) -> Solution:
        """As in `PairedDesign`."""
        with threadpool_limits(1):  # for matrices this small, threads that wait for each other cost more than they save
            return self._solved(odd_values, total)

    def _solved(self, odd_values: NDArray[np.float64], total: NDArray[np.float64]) -> Solution:
        pairs = self.pairs[: len(odd_values)]
        values = np.full((pairs.shape[1], odd_values.shape[1]), np.nan)
        errors = values.copy()
        degrees_of_freedom = np.nan
        for leader, members in _games_alike(odd_values, total):
            group = _adjusted(pairs, odd_values[:, members], total[members], leader, self.belief)
            values[:, members], errors[:, members] = group[:2]
            degrees_of_freedom = group[2] if np.isnan(degrees_of_freedom) else degrees_of_freedom
        return Solution(values, errors, degrees_of_freedom)


def _checkpoints(first: int, n_pairs: int) -> list[int]:
    """Numbers of pairs at which to solve: one more a fold each time, then growing by an eighth."""
    sizes, size = [], first
    while size < n_pairs:
        sizes.append(size)
        size += max(N_FOLDS, size // 8)
    return [*sizes, n_pairs]


def _adjusted(
    pairs: Coalitions, odd_values: NDArray[np.float64], total: NDArray[np.float64], leader: int, belief: Belief
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Values and standard errors, each (n_players, n_targets), of games that share the covariance of number ``leader``.

    Also the degrees of freedom of the leader's errors.

    For coalitions S from the Shapley kernel, x_i = 1_S(i) - 1/2, x their mean over players and r the odd part of the
    residual game, phi_i(r) = 2 H(n - 1) E[r(S) (x_i - x)]: see `SegExplainLib.shapley.sampled_mean`.
    """
    n_players = pairs.shape[1]
    everyone = np.ones((1, n_players), dtype=bool)
    fold = _folds(pairs)
    learned_values = np.zeros((n_players, len(total)))
    residuals = np.zeros_like(odd_values)
    for number in range(N_FOLDS):
        held_out = fold == number
        seen = np.concatenate([everyone, pairs[~held_out]])
        answers = np.concatenate([total[np.newaxis] / 2.0, odd_values[~held_out]])
        process = Interpolant(OddCovariance.learned(seen, answers[:, leader], belief), seen, answers)
        learned_values += process.shapley_values() * held_out.mean()
        residuals[held_out] = odd_values[held_out] - process.odd_values(pairs[held_out])

    scale = 2.0 * float(np.sum(1.0 / np.arange(1, n_players)))
    weights = kernel_weights(pairs)
    weights /= weights.sum()
    centred = pairs - pairs.mean(axis=1, keepdims=True)
    values = learned_values + scale * (centred * (weights * _unlearned(pairs, fold))[:, np.newaxis]).T @ residuals
    # A size of which every pair has been asked adds no error.
    open_weights = weights * np.sqrt(1.0 - sampled_shares(pairs))[pairs.sum(axis=1)]
    variance, degrees_of_freedom = _spread(pairs, residuals * open_weights[:, np.newaxis], leader)
    return values, scale * np.sqrt(variance), degrees_of_freedom


def _folds(pairs: Coalitions) -> NDArray[np.int64]:
    """(m,): the fold of each pair; those of a size go round all folds."""
    sizes = pairs.sum(axis=1)
    by_size = np.argsort(sizes, kind="stable")
    first = np.searchsorted(sizes[by_size], sizes)
    rank = np.empty(len(pairs), dtype=np.int64)
    rank[by_size] = np.arange(len(pairs))
    return (rank - first + sizes) % N_FOLDS


def _unlearned(pairs: Coalitions, fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """(m,): how many pairs that its fold's process has not learned from a pair stands for, over all that it could be.

    The process of a fold meets every pair that it has learned from, so its residual lives on the others alone: a size
    counts with the share of its pairs that the fold has not learned from. Where a fold holds no pair of a size, those
    of the other folds stand for it.
    """
    sizes = pairs.sum(axis=1)
    asked = sampled_shares(pairs)
    held_out = np.zeros((N_FOLDS, len(asked)))
    np.add.at(held_out, (fold, sizes), 1.0)
    in_fold = held_out.sum(axis=1, keepdims=True) / len(pairs)
    taken = np.maximum(held_out.sum(axis=0), 1.0)
    unlearned = in_fold * (1.0 - asked * (1.0 - held_out / taken))
    by_its_own = np.divide(unlearned, held_out, out=np.zeros_like(held_out), where=held_out > 0.0)
    by_others = np.where(held_out > 0.0, 0.0, unlearned).sum(axis=0) / taken
    return taken[sizes] * (by_its_own[fold, sizes] + by_others[sizes])


def _spread(pairs: Coalitions, contributions: NDArray[np.float64], leader: int) -> tuple[NDArray[np.float64], float]:
    """Variance (n_players, n_targets) of sum_S contributions(S) (x_i - x), and the leader's degrees of freedom.

    Few pairs of a small size hold a given player: there the variance is that of a player at random, which all pairs of
    the size tell. The more pairs hold it, the more its own spread counts. Degrees of freedom are Satterthwaite's, over
    the sizes, which differ in variance.
    """
    n_pairs, n_players = pairs.shape
    sizes = pairs.sum(axis=1)
    held = np.bincount(sizes)[sizes] * sizes / n_players
    of_its_own = held / (held + ENOUGH_HELD)
    filled = sizes / n_players
    squared = contributions**2
    centred = pairs - filled[:, np.newaxis]
    own = (centred**2 * of_its_own[:, np.newaxis]).T @ squared
    common = ((1.0 - of_its_own) * filled * (1.0 - filled)) @ squared
    by_size = np.bincount(sizes, weights=squared[:, leader] * filled * (1.0 - filled))
    taken = np.maximum(np.bincount(sizes), 1)
    spread = float((by_size**2 / taken).sum())
    degrees_of_freedom = by_size.sum() ** 2 / spread if spread > 0.0 else n_pairs - 1.0
    # A pair also moves the processes of the other folds: folds, rather than pairs, are independent.
    return (own + common) * N_FOLDS / (N_FOLDS - 1), float(degrees_of_freedom)


def _games_alike(
    odd_values: NDArray[np.float64], total: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Groups of targets whose answers move together: (place of the leader in its group, numbers of the members).

    The first target is a leader; so is each later one that is not like an earlier leader, until there are
    `MOST_COVARIANCES`. Targets that are not finite are in no group.
    """
    answers = np.concatenate([odd_values, total[np.newaxis] / 2.0])
    finite = np.flatnonzero(np.isfinite(answers).all(axis=0))
    norms = np.linalg.norm(answers[:, finite], axis=0)
    directions = np.divide(answers[:, finite], norms, out=np.zeros((len(answers), len(finite))), where=norms > 0.0)
    likeness = np.abs(directions.T @ directions)
    leaders: list[int] = []
    for place in range(len(finite)):
        if leaders and norms[place] == 0.0:
            continue  # any covariance serves a game that never moves
        if len(leaders) < MOST_COVARIANCES and (likeness[place, leaders] < ALIKE).all():
            leaders.append(place)
    chosen = np.argmax(likeness[:, leaders], axis=1) if leaders else np.zeros(0, dtype=np.int64)
    chosen[leaders] = np.arange(len(leaders))
    for number, leader in enumerate(leaders):
        members = np.flatnonzero(chosen == number)
        yield int(np.searchsorted(members, leader)), finite[members]
