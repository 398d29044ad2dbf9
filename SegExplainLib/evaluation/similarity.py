"""How far two explanations of one network agree: their order, and their amounts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.map_sign import is_flat
from SegExplainLib.evaluation.metric import Metric, undefined

ONE_VALUE = "There is one value only: nothing to rank."
FLAT = "All values of one of the two explanations are equal: nothing to rank."
NOTHING = "The explanation is 0 everywhere: there is nothing that its change could be held against."
NO_NUMBER = "The explained number is 0: there is nothing that its change could be held against."


@dataclass(frozen=True)
class VoxelChange:
    """How far two voxel maps of one method agree within the units; of random weights without their signs."""

    rank_correlation: Metric
    relative_change: Metric


def rank_correlation(first: ArrayLike, second: ArrayLike, *, name: str = "rank-correlation") -> Metric:
    """Spearman's correlation of two vectors, equal values at their mean rank: -1 to 1, 0 by chance.

    Undefined, with the reason, for one value or where all values of a vector are equal but for rounding.

    Raises:
        InvalidRequest: the vectors differ in length, or hold what is not finite.
    """
    a, b = _finite(first), _finite(second)
    if len(a) != len(b):
        raise InvalidRequest(f"Two explanations of {len(a)} and {len(b)} values cannot be compared.")
    if len(a) < 2:
        return undefined(name, ONE_VALUE, chance=0.0)
    if is_flat(a) or is_flat(b):
        return undefined(name, FLAT, chance=0.0)
    deviations = [ranks - ranks.mean() for ranks in (mean_ranks(a), mean_ranks(b))]
    norms = [float(np.linalg.norm(deviation)) for deviation in deviations]
    value = float(deviations[0] @ deviations[1]) / (norms[0] * norms[1])
    return Metric(name, float(np.clip(value, -1.0, 1.0)), chance=0.0)


def mean_ranks(values: NDArray) -> NDArray[np.float64]:
    """float64 (n,): 1 for the smallest of (n,); equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2.0)[place]


def relative_change(before: ArrayLike, after: ArrayLike, *, name: str = "relative-change") -> Metric:
    """Euclidean norm of the difference over that of ``before``; 0 where nothing changes, undefined where that is 0.

    Raises:
        InvalidRequest: the vectors differ in length, or hold what is not finite.
    """
    a, b = _finite(before), _finite(after)
    if len(a) != len(b):
        raise InvalidRequest(f"Two explanations of {len(a)} and {len(b)} values cannot be compared.")
    norm = float(np.linalg.norm(a))
    if norm == 0.0:
        return undefined(name, NOTHING, better="lower")
    return Metric(name, float(np.linalg.norm(b - a)) / norm, better="lower")


def voxel_change(before: NDArray, after: NDArray, *, is_unsigned: bool) -> VoxelChange:
    """How two voxel maps agree, of any one shape, such as ``voxel_map[within]``.

    Args:
        before: The anchor's.
        after: The variant's.
        is_unsigned: Compare sizes.
    """
    maps = [np.abs(one) if is_unsigned else one for one in (before.ravel(), after.ravel())]
    return VoxelChange(rank_correlation(*maps, name="voxel-rank-correlation"), relative_change(*maps))


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(array).all():
        raise InvalidRequest("An explanation holds values that are not finite.", "Explain again.")
    return array


def number_change(before: float, after: float, *, name: str = "explained-number-change") -> Metric:
    """Size of the difference of two explained numbers over that of ``before``; undefined where that is 0."""
    if before == 0.0:
        return undefined(name, NO_NUMBER, better="")
    return Metric(name, abs(after - before) / abs(before), better="")
