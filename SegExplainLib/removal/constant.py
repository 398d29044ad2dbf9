"""An absent unit becomes one value: that of air, of the mean intensity, zero, or the brightest of the image."""

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.players.partition import PlayerPartition


def air_fill(
    network_input: NDArray[np.float32],
    partition: PlayerPartition,
    *,
    body: NDArray[np.bool_],  # noqa: ARG001
    air: NDArray[np.float32],
    mean: NDArray[np.float32],  # noqa: ARG001
) -> NDArray[np.float32]:
    """(channels, k, j, i) with every unit at the value of air (channels,), -1024 HU after normalisation.

    The hard removal of Brioso et al. (2026), arXiv 2604.11775. In soft tissue it is a hole that no network has seen.
    ``body`` and ``mean`` are not used.
    """
    return _filled_with(network_input, partition, air)


def mean_fill(
    network_input: NDArray[np.float32],
    partition: PlayerPartition,
    *,
    body: NDArray[np.bool_],  # noqa: ARG001
    air: NDArray[np.float32],  # noqa: ARG001
    mean: NDArray[np.float32],
) -> NDArray[np.float32]:
    """(channels, k, j, i) with every unit at the network's mean intensity (channels,).

    ``body`` and ``air`` are not used.
    """
    return _filled_with(network_input, partition, mean)


def zero_fill(
    network_input: NDArray[np.float32],
    partition: PlayerPartition,
    *,
    body: NDArray[np.bool_],  # noqa: ARG001
    air: NDArray[np.float32],
    mean: NDArray[np.float32],  # noqa: ARG001
) -> NDArray[np.float32]:
    """(channels, k, j, i) with every unit at 0 of the network's own scale, whatever intensity that is.

    The default of many attribution libraries: the training's mean for nnU-Net on CT, the window's lower end for many
    bundles. ``body`` and ``mean`` are not used.
    """
    return _filled_with(network_input, partition, np.zeros_like(air))


def white_fill(
    network_input: NDArray[np.float32],
    partition: PlayerPartition,
    *,
    body: NDArray[np.bool_],  # noqa: ARG001
    air: NDArray[np.float32],  # noqa: ARG001
    mean: NDArray[np.float32],  # noqa: ARG001
) -> NDArray[np.float32]:
    """(channels, k, j, i) with every unit at the brightest value of the image, channel by channel.

    With air, its dark counterpart, the pair of baselines of XRAI (Kapishnikov et al. 2019): a path from one of them
    alone gives no attribution to what is as dark, or as bright, as it. ``body``, ``air`` and ``mean`` are not used.
    """
    return _filled_with(network_input, partition, network_input.max(axis=(1, 2, 3)))


def _filled_with(
    network_input: NDArray[np.float32], partition: PlayerPartition, values: NDArray[np.float32]
) -> NDArray[np.float32]:
    filled = network_input.copy()
    filled[:, partition.labels > 0] = np.asarray(values, dtype=np.float32)[:, None]
    return filled
