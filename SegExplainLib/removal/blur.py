"""An absent unit becomes a blurred image of itself and its surroundings."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.players.partition import PlayerPartition

# Its full width at half maximum is 28 mm: about one supervoxel of the default size.
SIGMA_MM = 12.0


def blur_fill(
    network_input: NDArray[np.float32],
    partition: PlayerPartition,
    *,
    body: NDArray[np.bool_],
    air: NDArray[np.float32],  # noqa: ARG001
    mean: NDArray[np.float32],  # noqa: ARG001
) -> NDArray[np.float32]:
    """(channels, k, j, i) with every unit Gaussian-blurred, sigma 12 mm.

    A normalised convolution: ``G * (x t) / (G * t)`` with t = 1 in the body and in units. Air around the body and
    padding have no say, so that flesh near the skin stays flesh, and a constant body stays constant. It erases what is
    finer than about 30 mm; a large organ keeps its overall brightness and shape. ``air`` and ``mean`` are not used.

    References:
        Fong, Vedaldi (2017), ICCV, section 3.2 (blur as a deletion); masking and sigma are our own.
    """
    present = partition.labels > 0
    tissue = (body | present).astype(np.float64)
    sigma = SIGMA_MM / partition.grid.spacing_kji_mm
    weight = ndimage.gaussian_filter(tissue, sigma, mode="constant")[present]
    filled = network_input.copy()
    for channel in filled:
        blurred = ndimage.gaussian_filter(channel * tissue, sigma, mode="constant")
        channel[present] = blurred[present] / weight
    return filled
