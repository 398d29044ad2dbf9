"""Small games with known Shapley values. Each counts the coalitions that it is asked for."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


class CountingGame:
    """A game that counts.

    Attributes:
        n_players: Number of players.
        n_evaluations: Coalitions asked for so far.
        shapley_values: (n_players,) or (n_players, n_targets), where they are known in closed form.
    """

    n_players: int
    n_evaluations: int = 0
    shapley_values: NDArray[np.float64]

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        if coalitions.dtype != bool or coalitions.ndim != 2 or coalitions.shape[1] != self.n_players:
            raise TypeError(f"expected bool (n, {self.n_players}), got {coalitions.dtype} {coalitions.shape}")
        self.n_evaluations += len(coalitions)
        return self.worth(coalitions)

    def worth(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        raise NotImplementedError


class AdditiveGame(CountingGame):
    """Each player brings its weight to every coalition. Weights are (n_players,) or (n_players, n_targets)."""

    def __init__(self, weights: ArrayLike, *, constant: float = 0.0) -> None:
        self.shapley_values = np.asarray(weights, dtype=np.float64)
        self.n_players = len(self.shapley_values)
        self._constant = constant

    def worth(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        return self._constant + coalitions @ self.shapley_values


class PairwiseGame(CountingGame):
    """Players bring a weight each, and a bonus for each two that meet, which they share. Random normal."""

    def __init__(self, n_players: int, *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.n_players = n_players
        self._weights = rng.normal(size=n_players)
        self._bonuses = np.triu(rng.normal(size=(n_players, n_players)), k=1)
        self.shapley_values = self._weights + (self._bonuses + self._bonuses.T).sum(axis=1) / 2

    def worth(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        present = coalitions.astype(np.float64)
        return present @ self._weights + ((present @ self._bonuses) * present).sum(axis=1)


class GloveGame(CountingGame):
    """The first players own a left glove each, the others a right one; a pair of gloves is worth 1."""

    def __init__(self, n_left: int, n_right: int) -> None:
        self.n_players = n_left + n_right
        self._n_left = n_left

    def worth(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        n_left = coalitions[:, : self._n_left].sum(axis=1)
        return np.minimum(n_left, coalitions.sum(axis=1) - n_left).astype(np.float64)


class TableGame(CountingGame):
    """Any game: the worth of coalition S is row sum_{i in S} 2^i of a table (2^n,) or (2^n, n_targets)."""

    def __init__(self, table: NDArray[np.float64]) -> None:
        self.table = table
        self.n_players = len(table).bit_length() - 1

    @classmethod
    def random(cls, n_players: int, *n_targets: int, seed: int) -> "TableGame":
        """Independent normal worths: as far from additive as a game can be."""
        return cls(np.random.default_rng(seed).normal(size=(2**n_players, *n_targets)))

    @classmethod
    def with_null_player(cls, n_players: int, *, seed: int) -> "TableGame":
        """Random, but the last player changes nothing."""
        return cls(np.tile(np.random.default_rng(seed).normal(size=2 ** (n_players - 1)), 2))

    def worth(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        return self.table[coalitions @ 2 ** np.arange(self.n_players)]


class SaturatingGame(CountingGame):
    """1 - prod_{i in S} (1 - gain_i): each player takes its part of what is left. Large and not additive, yet solved.

    Over random coalitions that contain each other player with chance t, player i adds gain_i prod_{j != i} (1 - t
    gain_j); the Shapley value is the integral over t from 0 to 1 (Owen 1972), here by Gauss-Legendre quadrature, exact
    for polynomials.
    """

    def __init__(self, n_players: int, *, seed: int) -> None:
        self.n_players = n_players
        weights = np.random.default_rng(seed).gamma(0.5, size=n_players)
        self._rates = 4.0 * weights / weights.sum()
        gains = 1.0 - np.exp(-self._rates)
        nodes, node_weights = np.polynomial.legendre.leggauss(n_players // 2 + 1)
        left = 1.0 - (nodes[:, np.newaxis] + 1.0) / 2.0 * gains
        self.shapley_values = gains * (node_weights / 2.0 @ (left.prod(axis=1, keepdims=True) / left))

    def worth(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        return 1.0 - np.exp(-(coalitions @ self._rates))


class RecordedGame:
    """Passes on to a game, and keeps what was announced, asked and answered."""

    def __init__(self, game: CountingGame) -> None:
        self.n_players = game.n_players
        self.announcements: list[NDArray[np.bool_]] = []
        self._game = game
        self._asked: list[NDArray[np.bool_]] = []
        self._answers: list[NDArray[np.float64]] = []

    def announce(self, coalitions: NDArray[np.bool_]) -> None:
        self.announcements.append(coalitions)

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        self._asked.append(coalitions)
        self._answers.append(self._game(coalitions))
        return self._answers[-1]

    @property
    def asked(self) -> NDArray[np.bool_]:
        """(n, n_players) all coalitions asked for, in order."""
        return np.concatenate(self._asked)

    def replay(self) -> "ReplayedGame":
        return ReplayedGame(self.asked, np.concatenate(self._answers))


class ReplayedGame(CountingGame):
    """Knows only the coalitions of a record; any other is a KeyError."""

    def __init__(self, coalitions: NDArray[np.bool_], answers: NDArray[np.float64]) -> None:
        self.n_players = coalitions.shape[1]
        self._record = {row.tobytes(): answer for row, answer in zip(coalitions, answers, strict=True)}

    def worth(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.array([self._record[row.tobytes()] for row in coalitions])
