"""Coalitions as boolean rows, and complement pairs {S, N - S} as the unit of sampling.

A pair is written as one of its two members, the row that leaves out the last player: its representative.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

Coalitions = NDArray[np.bool_]
"""(n_coalitions, n_players), True where the player is present."""


def every_coalition(n_players: int) -> Coalitions:
    """All 2^n_players coalitions, in binary order: the empty one first, the full one last."""
    codes = np.arange(2**n_players)[:, np.newaxis]
    return (codes >> np.arange(n_players) & 1).astype(bool)


def empty_and_full(n_players: int) -> Coalitions:
    """(2, n_players): nobody, everybody."""
    return np.repeat([[False], [True]], n_players, axis=1)


def with_complements(pairs: Coalitions) -> Coalitions:
    """(2 m, n_players) from (m, n_players): each row followed by its complement."""
    return np.stack([pairs, ~pairs], axis=1).reshape(-1, pairs.shape[1])


def coalitions_of_size(n_players: int, size: int) -> Coalitions:
    """All C(n_players, size) coalitions of ``size`` players, in lexicographic order of their members."""
    members = np.array(list(itertools.combinations(range(n_players), size)))
    coalitions = np.zeros((len(members), n_players), dtype=bool)
    np.put_along_axis(coalitions, members, True, axis=1)
    return coalitions


def random_coalition(n_players: int, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n_players,): one of the C(n_players, size) coalitions of ``size`` players, each as likely."""
    coalition = np.zeros(n_players, dtype=bool)
    coalition[rng.permutation(n_players)[:size]] = True
    return coalition


class PairRegister:
    """Numbers complement pairs in the order in which they are first met, so that none is asked for twice."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._representatives: list[NDArray[np.bool_]] = []

    def __len__(self) -> int:
        return len(self._representatives)

    def number(self, coalition: NDArray[np.bool_]) -> tuple[int, bool]:
        """Number of the pair of ``coalition`` (n_players,), and whether ``coalition`` is its representative."""
        is_representative = not coalition[-1]
        representative = coalition if is_representative else ~coalition
        number = self._numbers.setdefault(np.packbits(representative).tobytes(), len(self))
        if number == len(self):
            self._representatives.append(representative)
        return number, is_representative

    def pairs(self, n_pairs: int) -> Coalitions:
        """(n_pairs, n_players): representatives of the first pairs."""
        return np.array(self._representatives[:n_pairs])
