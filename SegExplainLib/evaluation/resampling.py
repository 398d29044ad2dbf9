"""Statistics of pairs of numbers, with errors from resampling the pairs.

References:
    Efron & Tibshirani (1993), An introduction to the bootstrap (standard errors; percentile intervals).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.evaluation.metric import Metric

N_RESAMPLES = 500
INTERVAL = (0.025, 0.975)
BLOCK = 1 << 22
"""Numbers that are resampled at once."""

Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Of (..., n) and (..., n): (...,), nan where it is not defined."""


def sampled_metric(
    name: str,
    statistic: Statistic,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    better: str,
    chance: float | None = None,
    seed: int,
    is_all: bool = False,
) -> Metric:
    """A statistic of n pairs as a metric, with bootstrap error and 95 % interval.

    Args:
        name: Of the metric.
        statistic: Defined on these pairs. Resamples on which it is not are left out.
        x: (n,).
        y: (n,).
        better: As in `Metric`.
        chance: As in `Metric`.
        seed: Of the resampling.
        is_all: The pairs are all that there are, no sample: the error is 0.
    """
    value = float(statistic(x, y))
    if is_all:
        return Metric(name, value, better=better, standard_error=0.0, interval=(value, value), chance=chance)
    rng = np.random.default_rng(seed)
    resampled = np.concatenate([_resampled(statistic, x, y, n, rng) for n in _blocks(len(x))])
    resampled = resampled[np.isfinite(resampled)]
    if len(resampled) < N_RESAMPLES // 2:
        return Metric(name, value, better=better, chance=chance)
    low, high = np.quantile(resampled, INTERVAL)
    error = float(resampled.std(ddof=1))
    interval = float(low), float(high)
    return Metric(name, value, better=better, standard_error=error, interval=interval, chance=chance)


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's correlation along the last axis; nan where either is constant."""
    x, y = (array - array.mean(axis=-1, keepdims=True) for array in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return np.clip(correlation, -1.0, 1.0)


def mean_squared_miss(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """E[(x - y)^2] along the last axis."""
    return ((x - y) ** 2).mean(axis=-1)


def relative_miss(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """E[(x - y)^2] / E[y^2] along the last axis; nan where y is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return mean_squared_miss(x, y) / (y * y).mean(axis=-1)


def relative_miss_at_best(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least E[(b x - y)^2] / E[y^2] over all numbers b, along the last axis; nan where x or y is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = (x * y).sum(axis=-1) ** 2 / ((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return np.clip(1.0 - explained, 0.0, 1.0)


def _resampled(
    statistic: Statistic, x: NDArray[np.float64], y: NDArray[np.float64], n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    rows = rng.integers(0, len(x), size=(n, len(x)))
    return statistic(x[rows], y[rows])


def _blocks(n_pairs: int) -> list[int]:
    """Numbers of resamples, small enough for the memory, that add up to ``N_RESAMPLES``."""
    block = max(1, min(N_RESAMPLES, BLOCK // n_pairs))
    return [min(block, N_RESAMPLES - start) for start in range(0, N_RESAMPLES, block)]
