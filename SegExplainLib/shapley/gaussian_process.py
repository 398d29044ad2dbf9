"""A Gaussian process over complement pairs, whose Shapley values are known in closed form.

It learns from pairs that have been asked what the odd part of a game is on all others. Its covariance is odd, too:

    k(S, T) = variance (c(S, T) - c(S, N - T)) + additive sum_i s_i t_i + nugget (1[S = T] - 1[S = N - T]),
    c(S, T) = prod_i exp(-relevance_i 1[S and T differ in i]),    s_i = 1_S(i) - 1/2.

The product holds interactions of every order among the few players that matter, whose relevance is learned; the sum
holds what each player does alone; the nugget holds what is peculiar to one coalition. With a nugget the process passes
through every answer: games have no noise.

Everything the process believes is a sum of games S -> k(S, T), one for each pair T that has been asked. Each of them is
a product, a sum or a point, and has its Shapley values in closed form. So those of the whole are one matrix product.

References:
    Rasmussen & Williams (2006), Gaussian processes for machine learning (sections 2.2, 5.1: relevance determination,
    5.4.1: the marginal likelihood); Owen (1972), Multilinear extensions of games (the integral); Mohammadi et al.
    (2025), PKeX-Shapley (exact Shapley values of product kernels, by another route). The odd covariance is ours.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import gammaln

from SegExplainLib.shapley.coalitions import Coalitions

MOST_LEARNED = 128
"""Pairs from which a covariance is learned, at most: more cost much and tell little about a few numbers a player."""

N_STEPS = 25
"""Of the search for a covariance. Any covariance is valid; a better one only leaves smaller residuals."""


RELEVANCES = (-9.0, 1.5)
"""Bounds of the log of a relevance: no influence at all; presence and absence (almost) unrelated."""

AMPLITUDES = [(-14.0, 6.0), (-14.0, 4.0), (-14.0, 2.0)]
"""Bounds of the logs of variance, additive and nugget, for odd values of mean square 1."""


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed of the players' relevance before anything is known: log-normal.

    Attributes:
        median: (n_players,).
        spread: Standard deviation of the log.
    """

    median: NDArray[np.float64]
    spread: float

    @classmethod
    def of(cls, n_players: int, closeness: NDArray[np.float64] | None) -> "Belief":
        """All players alike, and any relevance; or those that are close (n_players,) in [0, 1] more, and surer."""
        if closeness is None:
            return cls(np.full(n_players, 0.1), math.sqrt(10.0))
        return cls(np.maximum(0.5 * closeness**0.7, 0.002), 1.5)


@dataclass(frozen=True, eq=False)
class OddCovariance:
    """The covariance of the module's docstring.

    Attributes:
        relevance: (n_players,), by how much the presence of each player alone takes two coalitions apart.
        variance: Of interactions.
        additive: Of each player's own contribution.
        nugget: Of what no other coalition tells.
    """

    relevance: NDArray[np.float64]
    variance: float
    additive: float
    nugget: float

    @classmethod
    def learned(cls, pairs: Coalitions, odd_values: NDArray[np.float64], belief: Belief) -> "OddCovariance":
        """That of the largest posterior density, given the odd part (m,) of a game on ``pairs`` (m, n_players)."""
        pairs, odd_values = pairs[:MOST_LEARNED].astype(np.float64), odd_values[:MOST_LEARNED]
        n_players = pairs.shape[1]
        scale = math.sqrt(float(np.mean(odd_values**2)))
        start = np.concatenate([np.log(belief.median), [0.0, -math.log(n_players), -7.0]])
        if scale > 0.0:
            start = minimize(
                _loss_and_slope,
                start,
                args=(pairs, odd_values / scale, belief),
                jac=True,
                method="L-BFGS-B",
                bounds=[RELEVANCES] * n_players + AMPLITUDES,
                options={"maxiter": N_STEPS},
            ).x
        relevance, (variance, additive, nugget) = np.exp(start[:n_players]), np.exp(start[n_players:])
        return cls(relevance, float(variance), float(additive), float(nugget))

    def between(self, rows: Coalitions, columns: Coalitions) -> NDArray[np.float64]:
        """(n_rows, n_columns) covariances of different pairs: without the nugget, which these do not share."""
        near, far = _likeness(rows.astype(np.float64), columns.astype(np.float64), self.relevance)
        return self.variance * (near - far) + self.additive * (rows - 0.5) @ (columns - 0.5).T

    def shapley_values(self, pairs: Coalitions) -> NDArray[np.float64]:
        """(n_players, m): those of the games S -> k(S, T), one for each T of ``pairs`` (m, n_players)."""
        together = self.variance * _shapley_of_products(pairs, self.relevance)
        return (together + self.additive * (pairs - 0.5) + self.nugget * _shapley_of_points(pairs)).T


class Interpolant:
    """What a Gaussian process believes of the odd part of several games, after it has been told some of it.

    Args:
        covariance: Of the process.
        pairs: (m, n_players), distinct; the grand coalition may be one.
        odd_values: (m, n_targets), which it meets exactly.
    """

    def __init__(self, covariance: OddCovariance, pairs: Coalitions, odd_values: NDArray[np.float64]) -> None:
        self._covariance = covariance
        self._pairs = pairs
        matrix = covariance.between(pairs, pairs)
        matrix[np.diag_indices_from(matrix)] += covariance.nugget
        self._coefficients = cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), odd_values)

    def odd_values(self, pairs: Coalitions) -> NDArray[np.float64]:
        """(a, n_targets) expected on other ``pairs`` (a, n_players)."""
        return self._covariance.between(pairs, self._pairs) @ self._coefficients

    def shapley_values(self) -> NDArray[np.float64]:
        """(n_players, n_targets) of the expected games; they add up to twice the odd value of the grand coalition."""
        return self._covariance.shapley_values(self._pairs) @ self._coefficients


def _likeness(
    rows: NDArray[np.float64], columns: NDArray[np.float64], relevance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """c(S, T) and c(S, N - T), each (n_rows, n_columns)."""
    apart = (rows * relevance) @ (1.0 - columns).T + ((1.0 - rows) * relevance) @ columns.T
    return np.exp(-apart), np.exp(apart - relevance.sum())


def _loss_and_slope(
    logs: NDArray[np.float64], pairs: NDArray[np.float64], odd_values: NDArray[np.float64], belief: Belief
) -> tuple[float, NDArray[np.float64]]:
    """Minus the log posterior density, up to a constant, and its gradient by ``logs``: relevances, then amplitudes."""
    n_pairs, n_players = pairs.shape
    relevance, (variance, additive, nugget) = np.exp(logs[:n_players]), np.exp(logs[n_players:])
    near, far = _likeness(pairs, pairs, relevance)
    centred = pairs - 0.5
    alone = centred @ centred.T
    matrix = variance * (near - far) + additive * alone
    matrix[np.diag_indices(n_pairs)] += nugget
    try:
        factor = cho_factor(matrix, lower=True)
    except np.linalg.LinAlgError:  # rounding has eaten the nugget: the search turns back
        return 1e10, np.zeros_like(logs)
    inverse = cho_solve(factor, np.eye(n_pairs))
    weights = inverse @ odd_values
    surprise = (logs[:n_players] - np.log(belief.median)) / belief.spread
    loss = 0.5 * odd_values @ weights + np.log(np.diag(factor[0])).sum() + 0.5 * surprise @ surprise

    slope = 0.5 * (inverse - np.outer(weights, weights))  # by each entry of the matrix
    by_near, by_far = variance * slope * near, variance * slope * far
    # Where two pairs differ in a player, its relevance takes them apart; where not, it takes their complements apart.
    by_relevance = by_far.sum() - _sum_where_unlike(pairs, by_far) - _sum_where_unlike(pairs, by_near)
    gradient = np.concatenate(
        [
            relevance * by_relevance + surprise / belief.spread,
            [(by_near - by_far).sum(), additive * (slope * alone).sum(), nugget * np.trace(slope)],
        ]
    )
    return float(loss), gradient


def _sum_where_unlike(pairs: NDArray[np.float64], entries: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_players,): for each player the sum of the symmetric ``entries`` (m, m) where two pairs differ in it."""
    across = pairs.T @ entries
    return 2.0 * (across.sum(axis=1) - np.einsum("im,mi->i", across, pairs))


@lru_cache(maxsize=8)
def _quadrature(n_players: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights on [0, 1], exact for the polynomials of degree n_players - 1 that occur."""
    nodes, weights = np.polynomial.legendre.leggauss(n_players // 2 + 1)
    return (nodes + 1.0) / 2.0, weights / 2.0


def _shapley_of_products(pairs: Coalitions, relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, n_players): of the games c(., T) - c(., N - T).

    With every other player present at chance t, player i adds d_i prod_{j != i} f_j(t), where f_j is the mean of j's
    factor and d_i what its presence changes; the Shapley value is the integral over t. The second game is the first one
    seen from the complement, so its values are the first one's negatives.
    """
    chances, weights = _quadrature(pairs.shape[1])
    factor = np.exp(-relevance)
    as_in_row = chances[:, np.newaxis] + (1.0 - chances)[:, np.newaxis] * factor  # (n_nodes, n_players), j in T
    as_not = chances[:, np.newaxis] * factor + (1.0 - chances)[:, np.newaxis]
    products = np.exp(pairs @ np.log(as_in_row).T + ~pairs @ np.log(as_not).T) * weights
    change = 2.0 * (1.0 - factor)
    return change * np.where(pairs, products @ (1.0 / as_in_row), -(products @ (1.0 / as_not)))


def _shapley_of_points(pairs: Coalitions) -> NDArray[np.float64]:
    """(m, n_players): of the games that are 1 at T, -1 at its complement, and 0 elsewhere."""
    n_players = pairs.shape[1]
    sizes = pairs.sum(axis=1, keepdims=True)
    # The weight of the marginal contribution that leads to T, and of the one that leads away from it.
    joining = np.exp(gammaln(np.maximum(sizes, 1)) + gammaln(n_players - sizes + 1) - gammaln(n_players + 1))
    leaving = np.exp(gammaln(sizes + 1) + gammaln(np.maximum(n_players - sizes, 1)) - gammaln(n_players + 1))
    return 2.0 * np.where(pairs, joining, -leaving)
