"""What a game is, and what an estimate of its Shapley values is."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.shapley.student_t import student_t_quantile


class ValueFunction(Protocol):
    """A cooperative game: what each coalition of players is worth.

    A game may also have a method ``announce(coalitions)``. An estimator calls it once, before anything else, with every
    coalition that it may ask for, in order, so that a cache can know what will come again.

    And it may have an attribute ``closeness``, (n_players,) in [0, 1], 1 for the player that one would expect to matter
    most: an estimator that learns learns faster from it where it is right.
    """

    @property
    def n_players(self) -> int: ...  # noqa: D102

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Worth of ``coalitions`` (n, n_players), True for present: (n,), or (n, n_targets) for several at once."""
        ...


@dataclass(frozen=True, eq=False)
class ShapleyEstimate:
    """Shapley values with their uncertainty, and what they cost.

    With several targets, ``values`` and ``standard_errors`` have a column, and ``empty_value`` and ``full_value`` an
    entry, for each. A target whose game gives nan is nan, and leaves the others alone.

    Attributes:
        values: (n_players,) or (n_players, n_targets) float64. They add up to ``full_value - empty_value``.
        standard_errors: Same shape. 0 where exact, inf where the sample is too small to tell, nan where the method has
            none.
        empty_value: Worth of nobody: float, or (n_targets,).
        full_value: Worth of everybody: float, or (n_targets,).
        n_evaluations: Coalitions asked of the game, the empty and the full one included.
        seed: Of the sampling.
        stop_reason: "exact", "tolerance", "ranking" or "budget"; None while sampling goes on.
        degrees_of_freedom: Behind ``standard_errors``: how far these can themselves be trusted.
    """

    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    empty_value: float | NDArray[np.float64]
    full_value: float | NDArray[np.float64]
    n_evaluations: int
    seed: int
    stop_reason: str | None
    degrees_of_freedom: float = math.inf

    def __post_init__(self) -> None:
        if self.values.shape != self.standard_errors.shape or self.values.ndim not in (1, 2):
            raise ValueError(
                "values and standard_errors must both be (n_players,) or (n_players, n_targets), "
                f"got {self.values.shape} and {self.standard_errors.shape}"
            )
        if not np.shape(self.empty_value) == np.shape(self.full_value) == self.values.shape[1:]:
            raise ValueError(
                f"empty_value and full_value must have shape {self.values.shape[1:]}, "
                f"got {np.shape(self.empty_value)} and {np.shape(self.full_value)}"
            )

    @property
    def relative_error(self) -> float:
        """Largest standard error over the spread of the values, for the first target: what the stopping rule looks at.

        0 if every error is 0; inf if all values are equal and an error is not.

        References:
            Covert & Lee (2021), Improving KernelSHAP (convergence detection).
        """
        values, errors = (array.reshape(len(self.values), -1)[:, 0] for array in (self.values, self.standard_errors))
        largest, spread = float(errors.max()), float(np.ptp(values))
        if largest == 0.0:
            return 0.0
        return largest / spread if spread != 0.0 else math.inf

    def forecast_evaluations(self, tolerance: float) -> float:
        """Evaluations after which ``relative_error`` should be ``tolerance``: it falls as one over their square root.

        A whole number, or inf when that cannot be said.

        References:
            Covert & Lee (2021), Improving KernelSHAP.
        """
        if tolerance <= 0.0 or not math.isfinite(self.relative_error):
            return math.inf
        return float(math.ceil(self.n_evaluations * (self.relative_error / tolerance) ** 2))

    @property
    def efficiency_gap(self) -> float | NDArray[np.float64]:
        """Sum of the values minus ``full_value - empty_value``, per target: 0 up to rounding."""
        gap = self.values.sum(axis=0) - (self.full_value - self.empty_value)
        return gap if gap.ndim else float(gap)

    def interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends of the two-sided Student confidence intervals, each shaped as ``values``."""
        half_width = self.standard_errors * student_t_quantile(0.5 + level / 2, self.degrees_of_freedom)
        return self.values - half_width, self.values + half_width


def announce(game: ValueFunction, coalitions: NDArray[np.bool_]) -> None:
    """Tell the game which coalitions (n, n_players) it will be asked for, if it cares to know."""
    listener = getattr(game, "announce", None)
    if listener is not None:
        listener(coalitions)


def ask(game: ValueFunction, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Worth of ``coalitions``, as float64 (n,) or (n, n_targets).

    Raises:
        ValueError: The game's answer has another shape.
    """
    answer = np.asarray(game(coalitions), dtype=np.float64)
    if answer.ndim not in (1, 2) or len(answer) != len(coalitions):
        raise ValueError(
            f"a game asked for {len(coalitions)} coalitions must answer ({len(coalitions)},) "
            f"or ({len(coalitions)}, n_targets), got {answer.shape}"
        )
    return answer
