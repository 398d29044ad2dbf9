"""Student's t, for confidence intervals from few samples. Written out since numpy has none."""

import math
from statistics import NormalDist

LARGE = 200
"""Degrees of freedom from which the normal quantile is used; its 97.5 % point is then 0.6 % too small."""


def student_t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """The t below which a Student variable falls with ``probability``, to about 1e-9.

    Degrees of freedom are rounded down to a whole number (the cautious side). Below 1 there is no scale to judge by:
    inf. Of nan: nan.

    Args:
        probability: in [0.5, 1).

    Raises:
        ValueError: ``probability`` is outside [0.5, 1).
    """
    if not 0.5 <= probability < 1.0:
        raise ValueError(f"probability must be in [0.5, 1), got {probability}")
    if math.isnan(degrees_of_freedom):
        return math.nan
    if degrees_of_freedom < 1:
        return math.inf
    if degrees_of_freedom >= LARGE:
        return NormalDist().inv_cdf(probability)
    whole = int(degrees_of_freedom)
    low, high = 0.0, math.pi / 2  # bisect the angle: bounded, however heavy the tail
    for _ in range(60):
        middle = (low + high) / 2
        if 0.5 + _central_probability(middle, whole) / 2 < probability:
            low = middle
        else:
            high = middle
    return math.sqrt(whole) * math.tan(low)


def _central_probability(angle: float, degrees_of_freedom: int) -> float:
    """P(|T| < sqrt(degrees_of_freedom) * tan(angle)), by Abramowitz & Stegun (1964), 26.7.3 and 26.7.4."""
    is_odd = degrees_of_freedom % 2 == 1
    cosine, term, series = math.cos(angle), math.cos(angle) if is_odd else 1.0, 0.0
    for step in range(3 if is_odd else 2, degrees_of_freedom + 1, 2):
        series += term
        term *= cosine * cosine * (step - 1) / step
    series *= math.sin(angle)
    return 2 / math.pi * (angle + series) if is_odd else series
