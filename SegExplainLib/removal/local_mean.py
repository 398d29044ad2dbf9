"""An absent unit becomes the mean of what lies around it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.players.partition import PlayerPartition

SHELL_MM = 10.0


def local_mean_fill(
    network_input: NDArray[np.float32],
    partition: PlayerPartition,
    *,
    body: NDArray[np.bool_],
    air: NDArray[np.float32],  # noqa: ARG001
    mean: NDArray[np.float32],
) -> NDArray[np.float32]:
    """(channels, k, j, i) with every unit at the mean of its shell.

    The shell of a unit is every voxel of the body, or of another unit, that is not its own and whose centre is at most
    10 mm from the centre of one of its own voxels. Air around the body and padding are left out; other units count with
    the CT as it is. A unit with an empty shell gets ``mean`` (channels,). ``air`` is not used. Our own definition.

    Args:
        network_input: float32 (channels, k, j, i).
        partition: The units, on the same (k, j, i).
        body: bool (k, j, i), false on padding.
        air: (channels,).
        mean: (channels,).
    """
    spacing = partition.grid.spacing_kji_mm
    reach = np.ceil(SHELL_MM / spacing).astype(int)
    tissue = body | (partition.labels > 0)
    filled = network_input.copy()
    for label, box in enumerate(ndimage.find_objects(partition.labels), start=1):
        wide = tuple(slice(max(0, s.start - int(r)), s.stop + int(r)) for s, r in zip(box, reach, strict=True))
        own = partition.labels[wide] == label
        # The tolerance keeps a shell that ends on a voxel centre from depending on the last bit of the distance.
        is_near = ndimage.distance_transform_edt(~own, sampling=spacing) <= SHELL_MM + 1e-6
        shell = is_near & ~own & tissue[wide]
        for channel, value in enumerate(mean):
            around = network_input[channel][wide][shell]
            filled[channel][wide][own] = around.mean(dtype=np.float64) if around.size else value
    return filled
