"""How numbers become colours: red and blue where a sign speaks, from purple to orange where there is none."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SegExplainLib.report.colours import diverging_rgb, diverging_rgba, sequential_rgb, sequential_rgba, symmetric_limit


@dataclass(frozen=True)
class ColourScale:
    """One scale for map, segments, bars and table.

    Attributes:
        limit: The number with the strongest colour; beyond it all look the same.
        is_signed: Whether it runs from minus the limit through clear zero, or from zero.
    """

    limit: float
    is_signed: bool = True

    @classmethod
    def of(cls, values: ArrayLike, *, is_signed: bool) -> "ColourScale":
        """The scale that just holds all values."""
        return cls(symmetric_limit(values), is_signed)

    @property
    def low(self) -> float:
        """The number at the other end."""
        return -self.limit if self.is_signed else 0.0

    def rgb(self, values: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) in 0..1: opaque colours of ``values`` (...); nan as zero."""
        return (diverging_rgb if self.is_signed else sequential_rgb)(values, limit=self.limit)

    def rgba(self, values: ArrayLike) -> NDArray[np.float64]:
        """(..., 4) in 0..1: with an opacity that rises with the magnitude, and is 0 at zero."""
        return (diverging_rgba if self.is_signed else sequential_rgba)(values, limit=self.limit)
