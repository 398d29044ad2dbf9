"""Shapley values by weighted least squares on complement pairs, with efficiency exact.

The Shapley values are the weights of the additive game closest to v in the Shapley kernel, subject to efficiency. Sum
the terms of S and N - S: the even part of v separates from the weights, and each pair leaves one observation of the odd
part,

    o(S) ~ sum_i theta_i (1_S(i) - 1/2) + gamma (2 |S| / n - 1)^3.

KernelSHAP has no gamma and imposes efficiency, sum_i theta_i = v(N) - v(empty), within the regression. Both are matters
of the coalition's size alone, and in the full sum sizes treat all players alike: whatever is done about them moves
every theta_i by the same amount. So over all coalitions the Shapley values are theta plus equal shares of what
efficiency still lacks, with gamma or without. From a sample it matters: games that saturate (a Dice, a probability) are
curved in size, and a straight line through both ends leaves that curve to the residuals of every player. So we fit a
line and a cubic (the odd curves; an even one cannot appear), and settle efficiency afterwards. With 100 players and 500
evaluations of a saturating game this divides the error by three.
"""

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.shapley.coalitions import Coalitions
from SegExplainLib.shapley.paired_sampling import Solution
from SegExplainLib.shapley.stopping import checkpoints

CURVED_FROM = 8
"""Players from which the cubic is fitted. Fewer have at most three sizes of pair: too few to tell curve from line."""

SINGULAR = 1e-8
"""Below this a reciprocal condition number, or what a deleted pair leaves of a direction, is taken for 0."""


def fit_pairs(
    pairs: Coalitions,
    odd_values: NDArray[np.float64],
    total: NDArray[np.float64],
    *,
    weights: NDArray[np.float64],
    repeats: NDArray[np.float64],
    unsampled: NDArray[np.float64],
) -> Solution:
    """Shapley values of all targets from one factorisation, with delete-one jackknife standard errors.

    Efficiency is exact. An additive game is solved exactly as soon as the pairs tell all players apart; until then the
    answer is the smallest that fits. Where no pair, or only one, tells some players apart, every standard error is inf.

    The jackknife deletes one draw of one pair at a time, in closed form: without it theta is theta - G x w e / (1 - h),
    where x is the pair's row, w its weight, e its residual, G the inverse of X' W X and h = w x' G x. It makes no
    assumption on the residuals, which here are not noise but whatever of the game is not additive.

    Args:
        pairs: (m, n_players).
        odd_values: (m, n_targets), the odd part of the game on ``pairs``.
        total: (n_targets,), v(N) - v(empty).
        weights: (m,), of one draw of each pair.
        repeats: (m,), how often each pair was drawn.
        unsampled: (m,), share of each pair's stratum that was not sampled when drawing is without replacement (finite
            population correction: a stratum known in full adds no error); 1 when it is with replacement.

    References:
        Charnes et al. (1988), Extremal principle solutions of games in characteristic function form (the regression);
        Ruiz, Valenciano & Zarzuelo (1998), The family of least square values (the equal correction); Efron & Stein
        (1981), The jackknife estimate of variance. Correcting after a regression on a sample, the cubic, and the closed
        form for pairs are ours.
    """
    n_pairs, n_players = pairs.shape
    rows = _regressors(pairs)
    scaled = rows * np.sqrt(weights * repeats)[:, np.newaxis]
    inverse, is_singular = _inverse(scaled.T @ scaled)
    pull = rows @ inverse * weights[:, np.newaxis]  # how far one draw moves each coefficient, per unit of its value
    coefficients = pull.T @ (repeats[:, np.newaxis] * odd_values)
    theta = coefficients[:n_players]
    values = theta + (total - theta.sum(axis=0)) / n_players

    degrees_of_freedom = float(n_pairs - rows.shape[1])
    kept = 1.0 - np.einsum("mi,mi->m", pull, rows)
    variation = repeats * unsampled
    if is_singular or (kept[variation > 0] < SINGULAR).any():
        return Solution(values, np.full_like(values, np.inf), degrees_of_freedom)
    deletion = np.divide(variation, kept**2, out=np.zeros(n_pairs), where=variation > 0)
    residuals = odd_values - rows @ coefficients
    pull = pull[:, :n_players] - pull[:, :n_players].mean(axis=1, keepdims=True)  # what the equal shares leave of it
    return Solution(values, np.sqrt((pull**2).T @ (deletion[:, np.newaxis] * residuals**2)), degrees_of_freedom)


def smallest_regression_budget(n_players: int) -> int:
    """Evaluations for as many pairs as there are coefficients to find, for any number of players, and the two ends."""
    return 2 * (n_players + 1) + 2


def regression_checkpoints(n_players: int, n_pairs: int) -> list[int]:
    """Numbers of pairs at which to solve: first when there are a quarter more than players."""
    return checkpoints(n_players + max(4, n_players // 4), n_pairs)


def _regressors(pairs: Coalitions) -> NDArray[np.floating]:
    """(m, n_players) or, with the cubic, (m, n_players + 1). Odd: a pair's complement has the negative row."""
    rows = pairs - 0.5
    if pairs.shape[1] < CURVED_FROM:
        return rows
    return np.column_stack([rows, (2.0 * rows.mean(axis=1)) ** 3])


def _inverse(gram: NDArray[np.floating]) -> tuple[NDArray[np.floating], bool]:
    """Inverse of a symmetric matrix, or its pseudo-inverse if it is singular; and whether it is."""
    try:
        inverse = np.linalg.inv(gram)
    except np.linalg.LinAlgError:
        return np.linalg.pinv(gram, rcond=SINGULAR, hermitian=True), True
    if np.linalg.norm(gram, 1) * np.linalg.norm(inverse, 1) * SINGULAR < 1.0:
        return inverse, False
    return np.linalg.pinv(gram, rcond=SINGULAR, hermitian=True), True
