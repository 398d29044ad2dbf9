"""Maps of finished results, held against a mask and the units.

All of it happens on the CT's own grid, where the maps lie as files and masks are drawn; units are brought there by
nearest neighbour, and what is judged are their voxels alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.map_scores import MapScores, map_scores
from SegExplainLib.evaluation.mass import SHELL_MM, spread_evenly
from SegExplainLib.finished import FinishedResult
from SegExplainLib.players.partition import PlayerPartition, partition_from_ids
from SegExplainLib.progress import Progress
from SegExplainLib.volume import Volume, resampled_nearest
from SegExplainLib.volume_io import read_mask


def judged_maps(
    results: Sequence[FinishedResult], ct: Volume, *, mask: str, progress: Progress
) -> tuple[list[MapScores], str]:
    """What mask and units say of each map, and what the mask is, in words.

    Args:
        results: On one CT and one choice of units.
        ct: As read.
        mask: File; empty takes the predicted target in the region.
        progress: Is told warnings, and asked whether to stop.

    Raises:
        InvalidRequest: the mask cannot be read or is empty, or no unit holds a voxel of the CT.
        GeometryMismatch: mask or map lie elsewhere than the CT.
        Cancelled: somebody asked to stop.
    """
    inside, words = _mask_on(ct, results[0], mask, progress)
    labels = results[0].native_labels(ct)
    box = _box_around(labels > 0, margin_voxels=np.ceil(SHELL_MM / ct.grid.spacing_kji_mm).astype(int) + 1)
    units, numbers = _native_units(Volume(labels, ct.grid), results[0].attribution.partition, box)
    cut_mask = Volume(inside[box], units.grid)
    scores = []
    for result in results:
        progress.check_cancelled()
        shown = Volume(result.shown_map(ct, progress=progress)[box], units.grid)
        values = result.attribution.player_values[numbers]
        mass_map = shown if result.request.uses_gradients else spread_evenly(values, units)
        scores.append(map_scores(shown, mass_map=mass_map, unit_values=values, units=units, mask=cut_mask))
    return scores, words


def _mask_on(ct: Volume, result: FinishedResult, mask: str, progress: Progress) -> tuple[NDArray[np.bool_], str]:
    """bool (k, j, i) on the CT's grid, and what it is."""
    if mask:
        return read_mask(mask, ct.grid, warn=progress.warn), f"the mask {Path(mask).name}"
    record, target = result.record, result.request.target
    predicted = record.painted_on_roi(record.own_prediction[record.channel_of(target)])
    words = f"the network's own “{target}” in the region"
    return resampled_nearest(Volume(predicted, record.partition.grid), ct.grid), words


def _box_around(voxels: NDArray[np.bool_], *, margin_voxels: NDArray[np.int64]) -> tuple[slice, ...]:
    """The smallest block with all True voxels and a margin."""
    boxes = ndimage.find_objects(voxels.astype(np.uint8))
    if not boxes:
        raise InvalidRequest("No unit holds a voxel of the CT's own grid.", "Explain with larger units.")
    return tuple(slice(max(0, s.start - int(n)), s.stop + int(n)) for s, n in zip(boxes[0], margin_voxels, strict=True))


def _native_units(
    labels: Volume, partition: PlayerPartition, box: tuple[slice, ...]
) -> tuple[PlayerPartition, NDArray[np.int64]]:
    """The units on the CT's grid, cut to a block, and their numbers: one thinner than its voxels may be missing."""
    ids = labels.array[box]
    shape = (ids.shape[0], ids.shape[1], ids.shape[2])
    grid = labels.grid.cropped(tuple(s.start for s in box), shape)
    names = dict(enumerate(partition.names, start=1))
    present = np.unique(ids)
    everywhere = np.ones(ids.shape, dtype=bool)
    units = partition_from_ids(ids, names, within=everywhere, grid=grid, kind=partition.kind)
    return units, present[present > 0].astype(np.int64) - 1
