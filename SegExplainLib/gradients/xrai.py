"""XRAI: integrated gradients told region by region, of segments that follow the edges of the CT."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.gradients.integrated_gradients import integrated_gradients
from SegExplainLib.gradients.memory import Memory
from SegExplainLib.gradients.oversegmentation import LEAST_SHARE, SIZES_MM, oversegmentations
from SegExplainLib.gradients.region_ranking import Segments, ranked_regions
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.gradients.voxel_estimate import VoxelEstimate, require_baselines
from SegExplainLib.players.partition import PlayerPartition

LEAST_MM3 = LEAST_SHARE * min(SIZES_MM) ** 3
"""What a segment must add: the least volume of the smallest segments."""


def xrai(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]],
    budget: int = 129,
    tolerance: float = 0.05,
    seed: int = 0,
    is_fast: bool = False,
    with_units: bool = False,
    memory: Memory | None = None,
) -> Iterator[VoxelEstimate]:
    """Heat of regions: the mean integrated gradient of the part that each adds to the better ones before it.

    The units' voxels in the reach are segmented once at several sizes (`oversegmentations`); every estimate of
    integrated gradients is then ranked anew (`ranked_regions`). Budget, tolerance and the moment to stop are those of
    integrated gradients. The heat is a mean for each voxel, so that the values are its means over the units, and it
    does not add up; it has no standard errors. An order jumps: where two regions are nearly equal, so may the map.
    Read it from the top: what comes late, mostly below 0, is what better segments left of a large one, and may be
    scattered.

    Args:
        score: The explained number.
        partition: The units; context is in no region and gets 0.
        baselines: Network inputs, each float32 (channels, k, j, i); the paper takes a black and a white one.
        budget: Most gradients, as for `integrated_gradients`.
        tolerance: As for `integrated_gradients`.
        seed: Is told in the estimate; nothing is drawn.
        is_fast: Rank once instead of after every region.
        with_units: The units themselves are segments, too: the map can follow their borders.
        memory: As for `integrated_gradients`.

    Raises:
        InvalidRequest: there is no baseline, the budget does not pay for two steps from each, or no voxel of a unit
            lies in the reach.

    References:
        Kapishnikov et al. (2019), XRAI: better attributions through regions; segments and volumes in mm are our own.
    """
    require_baselines(baselines, "xrai")
    attributed = integrated_gradients(
        score, partition, baselines=baselines, budget=budget, tolerance=tolerance, seed=seed, memory=memory
    )
    segments = None
    for estimate in attributed:
        if segments is None:  # not before the first gradients are there: whatever hinders them is told at once
            segments = _segments(score, partition, with_units=with_units)
        regions = ranked_regions(
            estimate.voxel_map[score.network.reach],
            segments,
            voxel_volume_mm3=partition.grid.voxel_volume_ml * 1000.0,
            least_mm3=LEAST_MM3,
            is_fast=is_fast,
        )
        heat_map = score.on_grid(torch.from_numpy(regions.heat_map))
        yield VoxelEstimate(
            heat_map,
            partition.averaged(heat_map),
            np.full(partition.n_players, math.nan),
            score.full_value,
            estimate.n_gradients,
            seed,
            estimate.stop_reason,
            empty_value=estimate.empty_value,
        )


def _segments(score: StitchedScore, partition: PlayerPartition, *, with_units: bool) -> Segments:
    """Of the units' voxels in the reach."""
    reach = score.network.reach
    units = partition.labels[reach]
    grid = partition.grid.cropped(tuple(axis.start for axis in reach), score.network.reach_shape)
    volumes = []
    for volume in oversegmentations(score.image.numpy(), within=units > 0, grid=grid):
        score.network.on_tile()  # seconds have passed: somebody may wish to stop
        volumes.append(volume)
    return Segments.of([*volumes, units] if with_units else volumes)
