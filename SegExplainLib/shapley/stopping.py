"""When to look at the estimate, and when to stop."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.shapley.value_function import ShapleyEstimate

MIN_DEGREES_OF_FREEDOM = 10
"""Below this a standard error is itself uncertain by more than 1 / sqrt(2 * 10), about 22 %: too little to stop on."""

RANKING_LEVEL = 0.95
"""At which all that a ranking rests on holds together."""

BEFORE_THE_BUDGET = ("tolerance", "ranking")
"""Reasons to stop that leave budget unspent: a replay goes as far as the run did, not as far as its budget."""


@dataclass(frozen=True)
class StoppingRule:
    """Sampling ends when the error is small enough, the largest values are settled, or the budget is spent.

    The estimate is looked at several times, and nothing corrects for that: a run that ends is a little less sure than
    one look at a sample of its size would be. That holds for either rule.

    Attributes:
        budget: Most evaluations of the game, the empty and the full coalition included.
        tolerance: Relative error (`ShapleyEstimate.relative_error`) at which to stop; 0 never stops early for it.
        settle: Stop as well once the ranking of this many players is settled (`Ranking`), ties up to ``tolerance``; 0
            stops for the errors alone.
    """

    budget: int
    tolerance: float
    settle: int = 0

    def __post_init__(self) -> None:
        if self.settle < 0:
            raise ValueError(f"settle must be 0 (the errors decide) or a number of players, got {self.settle}")
        if self.tolerance < 0.0 or not math.isfinite(self.tolerance):
            raise ValueError(f"tolerance must be 0 (never stop early) or a positive number, got {self.tolerance}")

    def require(self, smallest: int) -> None:
        """Raises:
        ValueError: The budget is below the ``smallest`` with which an estimator can give an answer.
        """
        if self.budget < smallest:
            raise ValueError(f"a budget of {self.budget} evaluations is too small here: give at least {smallest}")

    def is_settled(self, estimate: ShapleyEstimate) -> bool:
        """Whether the ranking that is asked for is settled; never where none is asked for."""
        return self.settle > 0 and Ranking.of(estimate, top=self.settle, tolerance=self.tolerance).is_settled

    def reason(
        self, relative_error: float, degrees_of_freedom: float, *, is_last: bool, is_settled: bool = False
    ) -> str | None:
        """Why to stop now ("ranking", "tolerance" or "budget"), or None to go on.

        ``is_last``: the budget pays for no more.
        """
        if is_settled:
            return "ranking"
        if self.tolerance > 0.0 and relative_error <= self.tolerance and degrees_of_freedom >= MIN_DEGREES_OF_FREEDOM:
            return "tolerance"
        return "budget" if is_last else None


@dataclass(frozen=True)
class Ranking:
    """The players of largest |value|, and what of that is settled.

    Every player's interval is at a level at which all of them hold together (Bonferroni, Student's t): so, at one look,
    both statements that are made of a settled ranking are right with at least `RANKING_LEVEL`. Differences below a
    slack, the tolerance times the range of the values, do not matter: ties cannot keep a run going for ever.

    Attributes:
        players: The ``top`` of largest |value|, the largest first; all of them where there are not more.
        signs: Of their values: 1 or -1 where the interval leaves 0 out, else 0.
        is_set_settled: No other player's |value| is larger than one of theirs by more than the slack.
        are_signs_settled: Each sign is known, or its |value| is at most the slack.

    References:
        Kalyanakrishnan et al. (2012), PAC subset selection in stochastic multi-armed bandits (the slack of a set of
        arms, and when it is found); the signs are ours.
    """

    players: tuple[int, ...]
    signs: tuple[int, ...]
    is_set_settled: bool
    are_signs_settled: bool

    @property
    def is_settled(self) -> bool:
        """Whether both the set and the signs are."""
        return self.is_set_settled and self.are_signs_settled

    @classmethod
    def of(cls, estimate: ShapleyEstimate, *, top: int, tolerance: float) -> "Ranking":
        """What an estimate says of its first target.

        Nothing is settled by errors that are unknown, or known from fewer than `MIN_DEGREES_OF_FREEDOM`.
        """
        level = 1.0 - (1.0 - RANKING_LEVEL) / len(estimate.values)
        values, low, high = (_first_target(array) for array in (estimate.values, *estimate.interval(level)))
        slack = tolerance * float(np.ptp(values))
        least, most = np.maximum(np.maximum(low, -high), 0.0), np.maximum(high, -low)
        order = np.argsort(-np.abs(values), kind="stable")
        chosen, others = order[:top], order[top:]
        signs = (low > 0.0).astype(int) - (high < 0.0)
        is_believed = estimate.degrees_of_freedom >= MIN_DEGREES_OF_FREEDOM
        rivals_most = most[others].max(initial=0.0)
        return cls(
            players=tuple(int(player) for player in chosen),
            signs=tuple(int(sign) for sign in signs[chosen]),
            is_set_settled=bool(is_believed and least[chosen].min() + slack >= rivals_most),
            are_signs_settled=bool(is_believed and ((signs[chosen] != 0) | (most[chosen] <= slack)).all()),
        )


def _first_target(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return array.reshape(len(array), -1)[:, 0]


def checkpoints(first: int, last: int) -> list[int]:
    """Sample sizes at which to give an estimate: from ``first``, growing by an eighth, to exactly ``last``.

    The sizes before ``last`` do not depend on it: runs of the same seed with different budgets look at the same
    moments.
    """
    sizes, size = [], first
    while size < last:
        sizes.append(size)
        size += max(4, size // 8)
    return [*sizes, last]
