"""Shapley values from all 2^n coalitions."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.shapley.coalitions import every_coalition
from SegExplainLib.shapley.stopping import StoppingRule
from SegExplainLib.shapley.value_function import ShapleyEstimate, ValueFunction, announce, ask

MOST_PLAYERS = 16
"""65 536 evaluations."""

BATCH = 512


def exact_shapley(
    game: ValueFunction,
    *,
    budget: int,
    tolerance: float,
    seed: int,
    settle: int = 0,  # noqa: ARG001 - exact values settle everything
    interim: bool = True,  # noqa: ARG001 - there is one estimate
) -> Iterator[ShapleyEstimate]:
    """The Shapley values themselves: standard errors are 0.

    Yields once, at the end: before that, no estimate exists.

    Cost: ``2 ** n_players`` evaluations of the game.

    Args:
        game: The game, with one target or several.
        budget: Evaluations allowed.
        tolerance: Checked, then not used: nothing is sampled, so there is nothing to stop early.
        seed: Not used, only recorded.
        settle: Not used: nothing is sampled, so there is nothing to stop early.
        interim: Not used: there is one estimate.

    Raises:
        ValueError: There are more than 16 players, the budget does not pay for every coalition, or the tolerance is
            negative.

    References:
        Shapley (1953), A value for n-person games, equation 13.
    """
    rule = StoppingRule(budget, tolerance)
    n_players = game.n_players
    if n_players > MOST_PLAYERS:
        raise ValueError(
            f"exact Shapley values need 2^n evaluations, so at most {MOST_PLAYERS} players, got {n_players}; "
            "merge players or use a sampling estimator"
        )
    rule.require(2**n_players)
    return enumerate_game(game, seed=seed)


def is_affordable(n_players: int, budget: int) -> bool:
    """Whether the budget pays for every coalition: sampling would then be the dearer and the worse choice."""
    return 2**n_players <= budget


def enumerate_game(game: ValueFunction, *, seed: int) -> Iterator[ShapleyEstimate]:
    """As `exact_shapley`, for any number of players."""
    coalitions = every_coalition(game.n_players)
    announce(game, coalitions)
    batches = [ask(game, coalitions[start : start + BATCH]) for start in range(0, len(coalitions), BATCH)]
    worth = np.concatenate(batches)
    values = shapley_coefficients(coalitions) @ worth
    yield ShapleyEstimate(
        values=values,
        standard_errors=np.where(np.isnan(values), np.nan, 0.0),
        empty_value=worth[0],
        full_value=worth[-1],
        n_evaluations=len(coalitions),
        seed=seed,
        stop_reason="exact",
    )


def shapley_coefficients(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n_players, 2^n_players): the matrix that takes the worth of every coalition to the Shapley values.

    A coalition of s players weighs (s - 1)! (n - s)! / n! for its members and -s! (n - s - 1)! / n! for the others.
    """
    n_players = coalitions.shape[1]
    joining = np.array([1 / (n_players * math.comb(n_players - 1, size)) for size in range(n_players)])
    size = coalitions.sum(axis=1, keepdims=True)
    weights = np.where(coalitions, joining[size - 1], -joining[np.minimum(size, n_players - 1)])
    return weights.T
