"""Maps of finished results, held against a mask and the units.

All of it happens on the CT's own grid, where the maps lie as files and masks are drawn; units are brought there by
nearest neighbour, and what is judged are their voxels alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.case import PreparedCase
from SegExplainLib.contract import InvalidRequest, SegExplainError
from SegExplainLib.evaluation.map_scores import MapScores, Regions, map_scores
from SegExplainLib.evaluation.mass import SHELL_MM, spread_evenly
from SegExplainLib.finished import FinishedResult
from SegExplainLib.gradients.oversegmentation import SIZES_MM, oversegmentations
from SegExplainLib.organ_map import organ_map_on, read_organ_map
from SegExplainLib.players.organs import organ_players
from SegExplainLib.players.partition import PlayerPartition, partition_from_ids
from SegExplainLib.progress import Progress
from SegExplainLib.volume import Volume, resampled_nearest
from SegExplainLib.volume_io import read_mask

SEGMENT_MM = SIZES_MM[0]
"""The smallest of XRAI's: what is to be named by segments may be small."""


def judged_maps(
    results: Sequence[FinishedResult], case: PreparedCase, *, mask: str, progress: Progress
) -> tuple[list[MapScores], str]:
    """What mask, units and the CT's own segments say of each map, and what the mask is, in words.

    Args:
        results: On one CT and one choice of units.
        case: Of their question.
        mask: File; empty takes the predicted target in the region.
        progress: Is told warnings, and asked whether to stop.

    Raises:
        InvalidRequest: the mask cannot be read or is empty, or no unit holds a voxel of the CT.
        GeometryMismatch: mask or map lie elsewhere than the CT.
        Cancelled: somebody asked to stop.
    """
    ct = case.ct
    inside, words = _mask_on(ct, results[0], mask, progress)
    labels = results[0].native_labels(ct)
    box = _box_around(labels > 0, margin_voxels=np.ceil(SHELL_MM / ct.grid.spacing_kji_mm).astype(int) + 1)
    units, numbers = _native_units(Volume(labels, ct.grid), results[0].attribution.partition, box)
    progress.check_cancelled()
    regions = Regions(
        units,
        _organs(results[0], ct, units, box, progress),
        _segments(results[0], case, units),
        Volume(inside[box], units.grid),
    )
    scores = []
    for result in results:
        progress.check_cancelled()
        shown = Volume(result.shown_map(ct, progress=progress)[box], units.grid)
        values = result.attribution.player_values[numbers]
        mass_map = shown if result.tells_voxels_apart else spread_evenly(values, units)
        scores.append(map_scores(shown, regions, mass_map=mass_map, unit_values=values))
    return scores, words


def _segments(result: FinishedResult, case: PreparedCase, units: PlayerPartition) -> NDArray[np.int32]:
    """The CT's own segments on the units' grid: made where the network sees it, as XRAI's are."""
    partition = result.attribution.partition
    (segments,) = oversegmentations(
        case.network_input.array, within=partition.labels > 0, grid=partition.grid, sizes_mm=(SEGMENT_MM,)
    )
    return np.where(units.labels > 0, resampled_nearest(Volume(segments, partition.grid), units.grid), 0)


def _organs(
    result: FinishedResult, ct: Volume, units: PlayerPartition, box: tuple[slice, ...], progress: Progress
) -> PlayerPartition | None:
    """The organs of the request's own map within the units; None where they are the units, or there is no map."""
    if result.request.units == "organs" or not result.request.organs:
        return None
    try:
        organ_map = read_organ_map(Path(result.request.organs), warn=progress.warn)
        ids = organ_map_on(organ_map, ct.grid, warn=progress.warn)[box]
        inside = units.labels > 0
        return organ_players(ids, organ_map.names, within=inside, body=inside, grid=units.grid)
    except SegExplainError as error:
        progress.warn(f"Mass by organ is left out. {error}")
        return None


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
