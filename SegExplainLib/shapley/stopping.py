"""When to look at the estimate, and when to stop."""

import math
from dataclasses import dataclass

MIN_DEGREES_OF_FREEDOM = 10
"""Below this a standard error is itself uncertain by more than 1 / sqrt(2 * 10), about 22 %: too little to stop on."""


@dataclass(frozen=True)
class StoppingRule:
    """Sampling ends when the error is small enough or the budget is spent.

    Attributes:
        budget: Most evaluations of the game, the empty and the full coalition included.
        tolerance: Relative error (`ShapleyEstimate.relative_error`) at which to stop; 0 never stops early.
    """

    budget: int
    tolerance: float

    def __post_init__(self) -> None:
        if self.tolerance < 0.0 or not math.isfinite(self.tolerance):
            raise ValueError(f"tolerance must be 0 (never stop early) or a positive number, got {self.tolerance}")

    def require(self, smallest: int) -> None:
        """Raises:
        ValueError: The budget is below the ``smallest`` with which an estimator can give an answer.
        """
        if self.budget < smallest:
            raise ValueError(f"a budget of {self.budget} evaluations is too small here: give at least {smallest}")

    def reason(self, relative_error: float, degrees_of_freedom: float, *, is_last: bool) -> str | None:
        """Why to stop now ("tolerance" or "budget"), or None to go on.

        ``is_last``: the budget pays for no more.
        """
        if self.tolerance > 0.0 and relative_error <= self.tolerance and degrees_of_freedom >= MIN_DEGREES_OF_FREEDOM:
            return "tolerance"
        return "budget" if is_last else None


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
