"""A game of trees that stands in for the network: it can be asked as often as one likes, and its values are known."""

from math import factorial

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import cross_val_predict

N_TREES, DEPTH, RATE, SHARE = 300, 5, 0.1, 0.7


class TreeGame:
    """Boosted trees fitted to the coalitions that the network has answered.

    Args:
        coalitions: (n, n_players), asked.
        worth: (n,), answered.
        closeness: (n_players,), as of the game that it stands in for.

    Attributes:
        n_players: Of the game.
        closeness: As given.
        shapley_values: (n_players,), exact.
        explained: Share of the worth's variance that trees foretell of coalitions that they have not seen (5 folds).
    """

    def __init__(
        self, coalitions: NDArray[np.bool_], worth: NDArray[np.float64], *, closeness: NDArray[np.float64] | None = None
    ) -> None:
        self.n_players = coalitions.shape[1]
        self.closeness = closeness
        self._trees = GradientBoostingRegressor(
            n_estimators=N_TREES, max_depth=DEPTH, learning_rate=RATE, subsample=SHARE, random_state=0
        )
        rows = coalitions.astype(np.float32)
        foretold = cross_val_predict(self._trees, rows, worth, cv=5)
        self.explained = 1.0 - float(np.var(worth - foretold) / np.var(worth))
        self._trees.fit(rows, worth)
        self.shapley_values = np.zeros(self.n_players)
        for tree in self._trees.estimators_[:, 0]:
            self._add_values_of(tree.tree_, 0, frozenset(), frozenset())

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        return self._trees.predict(coalitions.astype(np.float32))

    def _add_values_of(self, tree: object, node: int, present: frozenset[int], absent: frozenset[int]) -> None:
        """Walks to the leaves: each is the game "worth this if all of these are present and none of those"."""
        left, right = int(tree.children_left[node]), int(tree.children_right[node])  # type: ignore[attr-defined]
        if left < 0:
            worth = RATE * float(tree.value[node].ravel()[0])  # type: ignore[attr-defined]
            n_in, n_out = len(present), len(absent)
            for player in present:
                self.shapley_values[player] += worth * factorial(n_in - 1) * factorial(n_out) / factorial(n_in + n_out)
            for player in absent:
                self.shapley_values[player] -= worth * factorial(n_in) * factorial(n_out - 1) / factorial(n_in + n_out)
            return
        player = int(tree.feature[node])  # type: ignore[attr-defined]
        if player not in present:
            self._add_values_of(tree, left, present, absent | {player})
        if player not in absent:
            self._add_values_of(tree, right, present | {player}, absent)
