"""XRAI-DSC: whether the best segments of a map are a mask, by how many of them are kept.

A faithful explanation need not agree with anatomy; see ``agreement``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.evaluation.map_domain import require_mask, why_one_sided
from SegExplainLib.evaluation.map_sign import of_sign, why_flat
from SegExplainLib.players.partition import dense_ids
from SegExplainLib.volume import Volume

AREA_SHARES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2)
"""The paper's example shows 1 to 5 %."""


@dataclass(frozen=True)
class DiceCurve:
    """Dice of a mask with the best segments of a map, by how much is kept: XRAI-DSC.

    Attributes:
        sign: Which side of the map was judged.
        n_segments: Ranked.
        mask_share: Of the segments' volume.
        area_shares: Of the segments' volume that were asked for.
        kept_shares: That whole segments came to, each at least as large.
        dice: At each share; empty where undefined.
        chance: Expected Dice of as many voxels drawn at random.
        why_undefined: A sentence, where there is no curve.
    """

    sign: str
    n_segments: int
    mask_share: float
    area_shares: tuple[float, ...]
    kept_shares: tuple[float, ...] = ()
    dice: tuple[float, ...] = ()
    chance: tuple[float, ...] = ()
    why_undefined: str = ""


def segment_dice(
    voxel_map: Volume,
    mask: Volume,
    segments: NDArray[np.integer],
    *,
    area_shares: Sequence[float] = AREA_SHARES,
    sign: str = "positive",
) -> DiceCurve:
    """The map is averaged over segments, the best are kept, and compared with a mask: the same for any estimator.

    Whole segments are taken by falling mean until they come to a share of the segments' volume; those of equal mean
    come together. The side of the map is taken first, then the mean. Means count to seven digits of the largest, so
    that the order of additions decides nothing. Dice counts within the segments' voxels alone. Undefined for a mask
    that is empty or full there, one segment only, and equal means.

    Args:
        voxel_map: (k, j, i).
        mask: bool (k, j, i) on the same grid.
        segments: Labels (k, j, i) from 1, as those of ``gradients.oversegmentation``; 0 is left out.
        area_shares: Each above 0, up to 1.
        sign: Of ``map_sign.SIGNS``; the paper takes signed and absolute values.

    Raises:
        GeometryMismatch: map, mask and segments differ in grid or shape.
        InvalidRequest: there is no segment, the mask is not boolean, the map is not finite in the segments, there is no
            such sign, or a share is not in its range.

    References:
        Brocki et al. (2022), who keep the top p % of Felzenszwalb's segments of a slice. How they cut the last segment
        is not known to us; whole segments are our own.
    """
    if segments.shape != voxel_map.array.shape:
        raise GeometryMismatch(f"The segments have shape {segments.shape}, the map {voxel_map.array.shape}.")
    shares = tuple(float(share) for share in area_shares)
    if not shares or not all(0.0 < share <= 1.0 for share in shares):
        raise InvalidRequest(f"Shares of the area lie above 0 and up to 1; found {shares}.")
    is_in_mask = require_mask(mask, voxel_map.grid)
    domain = segments > 0
    if not domain.any():
        raise InvalidRequest("There is no segment to average the map over.", "Segments are numbered from 1.")
    of_voxel = dense_ids(np.where(domain, segments, 0))[domain] - 1
    counts = np.bincount(of_voxel)
    inside = np.bincount(of_voxel, is_in_mask[domain])
    means = np.bincount(of_voxel, of_sign(voxel_map.array[domain], sign=sign)) / counts
    means = (means / (np.abs(means).max() or 1.0)).astype(np.float32)  # scaled: single precision holds no tiny ones
    n_voxels, n_inside = int(counts.sum()), int(inside.sum())
    why = why_one_sided(n_inside, n_voxels) or why_flat(means, sign=sign)
    if len(counts) == 1:
        why = "There is one segment only."
    if why:
        return DiceCurve(sign, len(counts), n_inside / n_voxels, shares, why_undefined=why)
    kept, hits = _kept_and_hits(means, counts, inside, [share * n_voxels for share in shares])
    return DiceCurve(
        sign,
        len(counts),
        n_inside / n_voxels,
        shares,
        kept_shares=tuple((kept / n_voxels).tolist()),
        dice=tuple((2.0 * hits / (kept + n_inside)).tolist()),
        chance=tuple((2.0 * kept * (n_inside / n_voxels) / (kept + n_inside)).tolist()),
    )


def _kept_and_hits(
    means: NDArray, counts: NDArray, inside: NDArray, least_voxels: Sequence[float]
) -> tuple[NDArray, NDArray]:
    """Voxels of the best segments, and of these in the mask, for each least number of voxels."""
    _, level = np.unique(-means, return_inverse=True)
    kept, hits = (np.cumsum(np.bincount(level, weights)) for weights in (counts, inside))
    # The slack is for shares that are whole numbers of voxels but for rounding.
    last = np.searchsorted(kept, np.array(least_voxels) * (1.0 - 1e-9))
    return kept[last], hits[last]
