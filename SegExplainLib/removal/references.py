"""An absent unit becomes the same place in another patient."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.case import PreparedCase
from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.model.segmenter import NetworkInput, Segmenter
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.removal.registration import (
    AIR_HU,
    LEAST_COVERED,
    NOT_MEASURED_HU,
    Alignment,
    CoarseCT,
    aligned,
    coarse_ct,
)
from SegExplainLib.volume import Volume, resampled_linear, resampled_nearest

TISSUE_HU = -300.0
SAME_HU = 2.0
"""Two scans differ by more in half of the tissue: noise alone is larger."""
PROBED_SHARES = (0.13, 0.31, 0.5, 0.71, 0.89)


@dataclass(frozen=True, eq=False)
class ReferenceFill:
    """A network input with every unit taken from a reference CT.

    Attributes:
        image: float32 (channels, k, j, i); context as it is in the case.
        covered_share: Of the units' voxels, those that the reference's patient covers.
        correlation: Pearson's, of the case's and the registered reference's HU in the units.
    """

    image: NDArray[np.float32]
    covered_share: float
    correlation: float


def reference_fill(
    reference: Volume,
    case: PreparedCase,
    partition: PlayerPartition,
    *,
    segmenter: Segmenter,
    fixed: CoarseCT,
    otherwise: NDArray[np.float32],
    check_cancelled: Callable[[], None] = lambda: None,
) -> ReferenceFill:
    """Every unit as it is in the reference CT, registered to the case; one baseline of expected gradients.

    The registration is affine (`aligned`): organs come to lie about where they are in the case, not exactly. The
    reference's HU are interpolated linearly, once, from its own voxels to the network's grid, and become network input
    by the intensity normalisation of the case, z-scores with the case's statistics: so that a tissue of the same HU has
    the same input in both, which preprocessing the reference for itself would not promise, nor the same crop. Outside
    the reference's body, and outside its scanner's field of view, there is nothing to take: those voxels are
    ``otherwise``.

    Args:
        reference: In HU, on its own grid.
        case: The CT that is explained.
        partition: The units.
        segmenter: The network.
        fixed: ``coarse_ct(case.ct)``.
        otherwise: float32 (channels, k, j, i), another removal of all units.
        check_cancelled: Is asked again and again.

    Raises:
        InvalidRequest: the reference is the CT itself, or not in HU.
        GeometryMismatch: it cannot be registered, or covers less than half of the units.
        UnusableModel: what the network makes of a HU value is not known.

    References:
        Erion et al. (2021), Improving performance of deep learning models with axiomatic attribution priors, for
        baselines from a reference set; registration and what is done outside the overlap are our own.
    """
    _require_hounsfield(reference)
    if is_same_scan(reference, case.ct):
        raise InvalidRequest("It is the CT itself, from which nothing can differ.", "Give CTs of other patients.")
    moving = coarse_ct(reference)
    check_cancelled()
    is_unit = partition.labels > 0
    needed = resampled_nearest(Volume(is_unit, partition.grid), fixed.grid)
    alignment = aligned(fixed, moving, needed=needed, check_cancelled=check_cancelled)
    hu, is_covered = _brought_to(partition, reference, moving, alignment)
    taken = is_unit & is_covered
    covered_share = float(taken.sum() / is_unit.sum())
    if covered_share < LEAST_COVERED:
        raise GeometryMismatch(
            f"Registered to the CT, its patient covers {covered_share:.0%} of the units; expected at least "
            f"{LEAST_COVERED:.0%}.",
            "Give a CT that shows as much of the body as the units do.",
        )
    image = otherwise.copy()
    image[:, taken] = network_values(hu[taken], segmenter, case.network_input)
    return ReferenceFill(image, covered_share, alignment.correlation)


def is_same_scan(one: Volume, other: Volume) -> bool:
    """Whether both hold the same voxels at the same places, however they are stored or cropped."""
    steps = [max(1, n // 48) for n in other.array.shape]
    some = other.array[:: steps[0], :: steps[1], :: steps[2]]
    sample = Volume(some, other.grid.mapped(some.shape, np.diag(steps), np.zeros(3)))
    inside = resampled_nearest(Volume(np.ones(one.array.shape, dtype=bool), one.grid), sample.grid)
    compared = inside & (sample.array > TISSUE_HU)
    if compared.mean() < 0.01:
        return False
    difference = resampled_linear(one, sample.grid)[compared] - sample.array[compared]
    return float(np.median(np.abs(difference))) < SAME_HU


def network_values(hu: NDArray[np.float32], segmenter: Segmenter, network_input: NetworkInput) -> NDArray[np.float32]:
    """(channels, n) what voxels of these HU (n,) become in this case: exact but for half a HU around a clip."""
    if hu.size == 0:
        return np.zeros((len(network_input.array), 0), dtype=np.float32)

    def value_of(one_hu: float) -> NDArray[np.float64]:
        return segmenter.input_value(one_hu, network_input).astype(np.float64)

    # Off the whole numbers, because some normalisations treat 0 HU as "no image".
    low, high = float(np.floor(hu.min())) - 0.63, float(np.ceil(hu.max())) + 0.37
    knots = {low: value_of(low), high: value_of(high)}
    tolerance = 1e-5 * max(1.0, float(np.abs(network_input.array).max()))
    _halve_bends(knots, low, high, value_of=value_of, tolerance=tolerance)
    places = sorted(knots)
    columns = np.stack([knots[place] for place in places], axis=1)
    return np.stack([np.interp(hu, places, column) for column in columns]).astype(np.float32)


def _halve_bends(
    knots: dict[float, NDArray[np.float64]],
    low: float,
    high: float,
    *,
    value_of: Callable[[float], NDArray[np.float64]],
    tolerance: float,
) -> None:
    """Adds knots between ``low`` and ``high`` until straight lines join them."""
    if high - low < 1.0:
        return

    def is_on_line(share: float) -> bool:
        straight = (1 - share) * knots[low] + share * knots[high]
        return bool(np.abs(value_of(low + share * (high - low)) - straight).max() <= tolerance)

    if all(is_on_line(share) for share in PROBED_SHARES):
        return
    middle = (low + high) / 2
    knots[middle] = value_of(middle)
    for part in pairwise((low, middle, high)):
        _halve_bends(knots, *part, value_of=value_of, tolerance=tolerance)


def _brought_to(
    partition: PlayerPartition, reference: Volume, moving: CoarseCT, alignment: Alignment
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The reference's HU (k, j, i) on the units' grid, and where its measured patient is."""
    there = alignment.seen_from(partition.grid)
    is_measured = reference.array > NOT_MEASURED_HU
    hu = resampled_linear(Volume(np.where(is_measured, reference.array, np.float32(AIR_HU)), reference.grid), there)
    is_covered = resampled_linear(Volume(moving.body, moving.grid), there) > 0.5
    # Every voxel that interpolation draws on must have been measured.
    is_covered &= resampled_linear(Volume(is_measured, reference.grid), there) > 1 - 1e-4
    return hu, is_covered


def _require_hounsfield(reference: Volume) -> None:
    low, high = float(reference.array.min()), float(reference.array.max())
    if low >= 0 or high - low < 100:
        raise InvalidRequest(
            f"Its values run from {low:g} to {high:g}; expected Hounsfield units, with air near -1000.",
            "Give a CT with its rescaling to HU.",
        )
