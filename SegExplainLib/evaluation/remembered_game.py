"""A game that is asked for each coalition once, whatever number of metrics look at it."""

from collections.abc import Set

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.shapley.coalitions import empty_and_full
from SegExplainLib.shapley.value_function import ValueFunction, announce, ask

NEGLIGIBLE = 1e-9
"""Differences below this share of the numbers that they are taken from are rounding."""


class RememberedGame:
    """A ``shapley.ValueFunction`` of one number that remembers its answers. Of several targets it takes the first.

    Args:
        game: Is asked for, and announced, each distinct coalition once.

    Attributes:
        n_players: Players of the game.
    """

    def __init__(self, game: ValueFunction) -> None:
        self.n_players = game.n_players
        self._game = game
        self._answers: dict[bytes, float] = {}
        self._announced: set[bytes] = set()

    @property
    def n_evaluations(self) -> int:
        """Distinct coalitions asked for so far."""
        return len(self._answers)

    def announce(self, coalitions: NDArray[np.bool_]) -> None:
        """Tells the game which coalitions (n, n_players) will be asked for, less what it was told or asked before."""
        rows = self._first_rows(coalitions, known=self._answers.keys() | self._announced)
        if rows:
            self._announced.update(rows)
            announce(self._game, coalitions[list(rows.values())])

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        """float64 (n,): the number under each coalition (n, n_players).

        Raises:
            InvalidRequest: the game answers with nan or infinity.
        """
        rows = self._first_rows(coalitions, known=self._answers.keys())
        if rows:
            missing = coalitions[list(rows.values())]
            answers = ask(self._game, missing).reshape(len(missing), -1)[:, 0]
            if not np.isfinite(answers).all():
                raise InvalidRequest(
                    f"The explained number is not finite for {np.count_nonzero(~np.isfinite(answers))} of "
                    f"{len(missing)} coalitions, so no curve can be drawn.",
                    "Explain another number, such as soft-dice.",
                )
            self._answers.update(zip(rows, answers.tolist()))
        return np.array([self._answers[key] for key in _keys(coalitions)], dtype=np.float64)

    def empty_and_full(self) -> tuple[float, float]:
        """The number with every unit removed, and with none."""
        empty, full = self(empty_and_full(self.n_players))
        return float(empty), float(full)

    def _first_rows(self, coalitions: NDArray[np.bool_], *, known: Set[bytes]) -> dict[bytes, int]:
        """Key -> first row of each coalition that is not ``known``."""
        rows: dict[bytes, int] = {}
        for row, key in enumerate(_keys(coalitions)):
            if key not in known:
                rows.setdefault(key, row)
        return rows


def remembered(game: ValueFunction) -> RememberedGame:
    """The game with a memory: itself where it has one, so that several metrics share it."""
    return game if isinstance(game, RememberedGame) else RememberedGame(game)


def is_negligible(difference: float, *numbers: float) -> bool:
    """Whether a difference is rounding only, next to the numbers that it was made from."""
    return abs(difference) <= NEGLIGIBLE * max(abs(number) for number in numbers)


def _keys(coalitions: NDArray[np.bool_]) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(np.asarray(coalitions, dtype=bool), axis=1)]
