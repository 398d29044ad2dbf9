"""Unbiased Shapley values from few complement pairs, before a regression has enough of them to tell players apart.

For coalitions S from the Shapley kernel, x_i = 1_S(i) - 1/2, x their mean over players and o the odd part of the game,

    phi_i = (v(N) - v(empty)) / n + 2 H(n - 1) E[ o(S) (x_i - x) ],    H(m) = 1 + 1/2 + ... + 1/m,

since E[x_j (x_i - x)] is (1 if i = j else 0) - 1/n over 2 H(n - 1). So a mean over draws is unbiased from the first one
on, and their spread tells its error, which is large: a picture for the first moments, and an honest one. What depends
on the size of S alone has no share in the expectation; the line through both ends is subtracted for less spread.
"""

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.shapley.coalitions import Coalitions


def sampled_mean(
    pairs: Coalitions, odd_values: NDArray[np.float64], total: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and standard errors, each (n_players, n_targets). Efficiency is exact.

    Args:
        pairs: (m, n_players), at least 2.
        odd_values: (m, n_targets), the odd part of the game on ``pairs``.
        total: (n_targets,), v(N) - v(empty).
        shares: (m,), of each pair in the mean; adding up to 1. Draws from the kernel count alike.

    References:
        Covert & Lee (2021), Improving KernelSHAP, section 3.2 (the unbiased estimator, whose matrix is known). The form
        on the odd part, without a matrix, and the line through both ends are ours.
    """
    n_players = pairs.shape[1]
    centred = pairs - pairs.mean(axis=1, keepdims=True)
    centred *= 2.0 * float(np.sum(1.0 / np.arange(1, n_players)))
    curved = odd_values - (pairs.mean(axis=1, keepdims=True) - 0.5) * total
    mean = (centred * shares[:, np.newaxis]).T @ curved
    # The spread of the products centred x curved about their mean, without ever holding all of them.
    squared = shares[:, np.newaxis] ** 2
    spread = (
        (centred**2 * squared).T @ curved**2 - 2 * mean * ((centred * squared).T @ curved) + mean**2 * squared.sum()
    )
    effective = 1.0 / float(squared.sum())
    return mean + total / n_players, np.sqrt(np.maximum(spread, 0.0) * effective / (effective - 1.0))
