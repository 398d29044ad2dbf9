"""Slow, literal forms of what `SegExplainLib.shapley` computes fast, to be read beside the textbook."""

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Game = Callable[[NDArray[np.bool_]], NDArray[np.float64]]


def shapley_over_all_subsets(game: Game, n_players: int) -> NDArray[np.float64]:
    """Shapley (1953): phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! * (v(S + i) - v(S)). One S at a time."""
    values = []
    for player in range(n_players):
        value = 0.0
        others = [other for other in range(n_players) if other != player]
        for size in range(n_players):
            weight = math.factorial(size) * math.factorial(n_players - size - 1) / math.factorial(n_players)
            for members in itertools.combinations(others, size):
                value = value + weight * (
                    _worth(game, n_players, (*members, player)) - _worth(game, n_players, members)
                )
        values.append(value)
    return np.array(values)


def _worth(game: Game, n_players: int, members: tuple[int, ...]) -> NDArray[np.float64]:
    coalition = np.zeros((1, n_players), dtype=bool)
    coalition[0, list(members)] = True
    return game(coalition)[0]
