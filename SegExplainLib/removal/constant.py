"""An absent unit becomes one value: that of air, or that of the mean intensity."""

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


def _filled_with(
    network_input: NDArray[np.float32], partition: PlayerPartition, values: NDArray[np.float32]
) -> NDArray[np.float32]:
    filled = network_input.copy()
    filled[:, partition.labels > 0] = np.asarray(values, dtype=np.float32)[:, None]
    return filled
