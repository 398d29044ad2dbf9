"""What the intervals support: which units have a sign, which stand before which."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.shown import shares_out_difference

NEGLIGIBLE_SHARE = 1e-6
"""Of the largest number in play: below lies the rounding of a float32 network, even where a value is called exact."""

HARDLY_ANY_SHARE = 0.05
"""A difference between full and empty below this share of the numbers in play is too small to state shares of."""


@dataclass(frozen=True, eq=False)
class Certainty:
    """Values with their 95 % intervals, and what may be said of them.

    Attributes:
        values: float64 (n_players,).
        half_widths: float64 (n_players,): the interval is value +- half width; inf where the error is not known.
        difference: Full minus empty value; nan where the values are no parts of it.
        scale: The largest number in play: of the full and the empty value and of all importances together; of the
            importances alone where they are no parts of a difference.
    """

    values: NDArray[np.float64]
    half_widths: NDArray[np.float64]
    difference: float
    scale: float

    @property
    def has_errors(self) -> bool:
        """Whether any unit has a known error."""
        return bool(np.isfinite(self.half_widths).any())

    @property
    def has_intervals(self) -> bool:
        """Whether any unit has a known error that is not 0."""
        return self.has_errors and not self.is_exact

    @property
    def is_exact(self) -> bool:
        """Whether the values are exact: every error is 0."""
        return not self.half_widths.any()

    @property
    def is_all_zero(self) -> bool:
        """Whether no unit changes the explained number beyond rounding, and the errors leave no doubt of it."""
        return bool((np.abs(self.values) + self.half_widths <= self._negligible).all())

    @property
    def has_difference(self) -> bool:
        """Whether the values are parts of a difference."""
        return math.isfinite(self.difference)

    @property
    def has_shares(self) -> bool:
        """Whether shares of the difference say something."""
        return self.has_difference and not self.is_difference_small

    @property
    def is_difference_small(self) -> bool:
        """Whether removing everything hardly changes the number, so that shares of the difference say nothing."""
        return self.has_difference and abs(self.difference) <= HARDLY_ANY_SHARE * self.scale

    @property
    def signs(self) -> NDArray[np.int64]:
        """(n_players,) 1 or -1 where the interval excludes zero, else 0."""
        is_clear = (np.abs(self.values) > self.half_widths) & (np.abs(self.values) > self._negligible)
        return np.where(is_clear, np.sign(self.values), 0).astype(np.int64)

    @property
    def n_undecided(self) -> int:
        """Units that cannot be told from zero."""
        return int((self.signs == 0).sum())

    @property
    def intervals(self) -> NDArray[np.float64]:
        """(n_players, 2) lower and upper end; infinite where the error is not known."""
        return np.stack([self.values - self.half_widths, self.values + self.half_widths], axis=1)

    def of_sign(self, sign: int) -> list[int]:
        """Players of a clear sign, the largest absolute value first."""
        players = np.flatnonzero(self.signs == sign)
        return [int(player) for player in players[np.argsort(-np.abs(self.values[players]), kind="stable")]]

    def leaders(self, sign: int) -> list[int]:
        """Players of a clear sign that may be the largest: their intervals meet that of the largest estimate.

        Disjoint intervals are asked for, not a test of the difference: the errors of players are correlated in a way
        that is not known here, and disjoint intervals are cautious for any correlation.
        """
        players = self.of_sign(sign)
        if not players:
            return []
        low = abs(self.values[players[0]]) - self.half_widths[players[0]]
        return [p for p in players if abs(self.values[p]) + self.half_widths[p] >= low]

    @property
    def _negligible(self) -> float:
        return NEGLIGIBLE_SHARE * self.scale


def certainty_of(attribution: Attribution, interval_factor: float) -> Certainty:
    """What may be said of the importances, with intervals of ``interval_factor`` standard errors."""
    values = attribution.player_values.astype(np.float64)
    errors = attribution.standard_errors.astype(np.float64)
    # Not 0 * inf: an exact value stays exact even where the factor is infinite for want of samples.
    half_widths = np.where(errors == 0, 0.0, np.where(np.isfinite(errors), errors, np.inf) * interval_factor)
    total = float(np.abs(values).sum())
    if not shares_out_difference(attribution):
        return Certainty(values, half_widths, math.nan, total)
    full, empty = attribution.full_value, attribution.empty_value
    return Certainty(values, half_widths, full - empty, max(abs(full), abs(empty), total))
