"""Segments of several scales, ranked by the attribution that each still adds: the second half of XRAI.

Sums and counts for each segment and lists of voxels are kept, never a mask for each segment.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.players.partition import dense_ids

Region = tuple[NDArray[np.int32], float]
"""Places of the voxels that a region newly covers, and their mean attribution."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of several label volumes, numbered from 0: volume after volume, in each by ascending label.

    Takes 8 bytes for each voxel and volume.

    Attributes:
        shape_kji: Of every label volume.
        voxels: int64 (n_voxels,), flat indices of the voxels that lie in any segment; below, a voxel is named by its
            place here.
        at_voxels: int32 (n_volumes, n_voxels), the segment of each voxel; ``n_segments`` for none.
        members: int32, the voxels of segment 0, then those of segment 1, ...; ascending in each.
        counts: int64 (n_segments,), voxels of each.
    """

    shape_kji: tuple[int, ...]
    voxels: NDArray[np.int64]
    at_voxels: NDArray[np.int32]
    members: NDArray[np.int32]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, label_volumes: Sequence[NDArray[np.integer]]) -> Self:
        """The segments of label volumes (k, j, i) of one shape; label 0 is in no segment.

        Raises:
            InvalidRequest: there is no volume, or their shapes differ.
        """
        shapes = sorted({volume.shape for volume in label_volumes})
        if len(shapes) != 1:
            raise InvalidRequest(f"Regions need label volumes of one shape; found {shapes or 'none'}.")
        voxels = np.flatnonzero(np.any([volume > 0 for volume in label_volumes], axis=0))
        at_voxels = np.stack([dense_ids(volume).ravel()[voxels] for volume in label_volumes])
        sizes = at_voxels.max(axis=1, initial=0)
        n_segments = int(sizes.sum())
        firsts = np.cumsum(sizes) - sizes
        at_voxels = np.where(at_voxels > 0, at_voxels - 1 + firsts[:, None], n_segments).astype(np.int32)
        counts = np.sum([np.bincount(row, minlength=n_segments + 1)[:n_segments] for row in at_voxels], axis=0)
        n_inside = (at_voxels < n_segments).sum(axis=1)
        # Those of no segment have the largest number, and so come last.
        sorted_voxels = (np.argsort(row, kind="stable").astype(np.int32) for row in at_voxels)
        members = np.concatenate([found[:n] for found, n in zip(sorted_voxels, n_inside, strict=True)])
        return cls(shapes[0], voxels, at_voxels, members, counts)

    @property
    def n_segments(self) -> int:
        """Number of segments of all volumes."""
        return len(self.counts)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_segments,) sums of values (n_voxels,)."""
        sums = [np.bincount(row, values, minlength=self.n_segments + 1)[: self.n_segments] for row in self.at_voxels]
        return np.sum(sums, axis=0)


@dataclass(frozen=True, eq=False)
class RankedRegions:
    """What an attribution looks like when it is told region by region.

    Attributes:
        heat_map: float32 (k, j, i), for each voxel the mean attribution of the region that covered it first; where none
            did, of what else was left over of its segment in the first label volume. 0 in no segment.
        order: int32 (k, j, i), 1 in the region with the largest mean, then 2, ...; equal ones as they were covered.
            All that no region covered has the last number. 0 in no segment.
    """

    heat_map: NDArray[np.float32]
    order: NDArray[np.int32]


def ranked_regions(
    attribution: NDArray[np.floating],
    segments: Segments,
    *,
    voxel_volume_mm3: float,
    least_mm3: float,
    is_fast: bool = False,
) -> RankedRegions:
    """Covers the segments' voxels region by region, the one whose not yet covered voxels have the largest mean first.

    What a segment adds changes whenever another one covers a part of it: its mean falls or rises, and its place in the
    queue is made anew at once, so that each choice is the best there is. Sums are exact (`_exactly_summable`): the
    order of additions decides nothing, equal means are equal, and of these the segment with the lower number is taken.

    Reproduced from the authors' code (PAIR, ``saliency.core.XRAI``): the mean over newly covered voxels as gain; a
    segment that would add too little is left for good (their ``min_pixel_diff``, 50 pixels); all is covered, whatever
    the sign of the gain (their area threshold of 1); regions are numbered by falling gain. Our own: a volume in mm3
    instead of a number of pixels; no value for voxels in no segment; and what is left over keeps the mean of its own
    surroundings, where theirs has one mean over all of it, which carries the heat of one place to all others.

    Args:
        attribution: (k, j, i).
        segments: Of the same shape.
        voxel_volume_mm3: Of one voxel.
        least_mm3: A segment that adds less is left out; one voxel is the least in any case.
        is_fast: Take the segments by their whole mean, in one sweep, whatever of them is covered by then.

    Raises:
        InvalidRequest: the shapes differ, or the attribution is not finite.

    References:
        Kapishnikov et al. (2019), XRAI: better attributions through regions.
    """
    if attribution.shape != segments.shape_kji:
        raise InvalidRequest(f"An attribution of shape {attribution.shape} does not fit {segments.shape_kji}.")
    values = _exactly_summable(attribution.ravel()[segments.voxels].astype(np.float64))
    # The slack is for volumes that are whole numbers of voxels but for rounding.
    least_voxels = max(1, math.ceil(least_mm3 / voxel_volume_mm3 - 1e-6))
    regions = (_swept if is_fast else _best_first)(segments, values, least_voxels=least_voxels)
    heat, turn = np.zeros(len(values)), np.full(len(values), -1)
    gains: list[float] = []
    for covered, gain in regions:
        heat[covered], turn[covered] = gain, len(gains)
        gains.append(gain)
    is_left = turn < 0
    heat[is_left] = _means_at_home(values[is_left], segments.at_voxels[:, is_left])
    ranks = np.empty(len(gains) + 1, dtype=np.int32)
    ranks[np.argsort(-np.array(gains), kind="stable")] = np.arange(1, len(gains) + 1)
    ranks[-1] = len(gains) + 1  # turn -1: what is left over
    return RankedRegions(_on_grid(heat, segments, np.float32), _on_grid(ranks[turn], segments, np.int32))


def _means_at_home(values: NDArray[np.float64], at_voxels: NDArray[np.int32]) -> NDArray[np.float64]:
    """(n,) for each voxel the mean over those that share its segment of the first volume that has one there."""
    _, home = np.unique(at_voxels.min(axis=0), return_inverse=True)  # numbers ascend with the volumes
    return (np.bincount(home, values) / np.bincount(home))[home]


def _best_first(segments: Segments, values: NDArray[np.float64], *, least_voxels: int) -> Iterator[Region]:
    """The segment with the largest mean over its uncovered voxels, again and again."""
    is_covered = np.zeros(len(values), dtype=bool)
    starts = np.cumsum(segments.counts) - segments.counts
    # The last entry is that of the voxels in no segment: it is never in the queue.
    counts, sums = np.append(segments.counts, 0), np.append(segments.sums(values), 0.0)
    queue = _entries(np.arange(segments.n_segments), counts, sums, least_voxels)
    heapq.heapify(queue)
    while queue:
        negative_mean, segment = heapq.heappop(queue)
        if counts[segment] < least_voxels or -sums[segment] / counts[segment] != negative_mean:
            continue  # out of date: if there is still enough of it, it has another entry
        members = segments.members[starts[segment] : starts[segment] + segments.counts[segment]]
        covered = members[~is_covered[members]]
        is_covered[covered] = True
        yield covered, -negative_mean
        touched = segments.at_voxels[:, covered]
        np.subtract.at(counts, touched, 1)
        np.subtract.at(sums, touched, np.broadcast_to(values[covered], touched.shape))
        for entry in _entries(np.unique(touched), counts, sums, least_voxels):
            heapq.heappush(queue, entry)


def _swept(segments: Segments, values: NDArray[np.float64], *, least_voxels: int) -> Iterator[Region]:
    """Every segment once, by falling mean over all its voxels."""
    is_covered = np.zeros(len(values), dtype=bool)
    starts = np.cumsum(segments.counts) - segments.counts
    for segment in np.argsort(-segments.sums(values) / segments.counts, kind="stable"):
        members = segments.members[starts[segment] : starts[segment] + segments.counts[segment]]
        covered = members[~is_covered[members]]
        if len(covered) >= least_voxels:
            is_covered[covered] = True
            yield covered, float(values[covered].sum() / len(covered))


def _entries(numbers: NDArray, counts: NDArray, sums: NDArray, least_voxels: int) -> list[tuple[float, int]]:
    """(-mean, number) of the segments of which enough is left."""
    kept = numbers[counts[numbers] >= least_voxels]
    return list(zip((-sums[kept] / counts[kept]).tolist(), kept.tolist(), strict=True))


def _exactly_summable(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values rounded to multiples of one power of two, so small that float64 adds them without any rounding.

    Their sum of sizes is at most 2^53 of these multiples: the error of a value is below 2^-52 of that sum.
    """
    total = float(np.abs(values).sum())
    if not math.isfinite(total):
        raise InvalidRequest("The attribution is not finite (NaN or infinite).", "Check the CT and the checkpoint.")
    quantum = math.ldexp(1.0, max(math.frexp(total)[1] - 52, -1000))
    return np.round(values / quantum) * quantum


def _on_grid(values: NDArray, segments: Segments, dtype: type) -> NDArray:
    """(k, j, i), 0 in no segment."""
    whole: NDArray = np.zeros(math.prod(segments.shape_kji), dtype=dtype)
    whole[segments.voxels] = values
    return whole.reshape(segments.shape_kji)
