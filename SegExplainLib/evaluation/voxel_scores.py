"""What the game says of a map voxel by voxel: fidelity of its ranking, and its sums over random voxels.

The same curves and subsets as by units, on other players: groups of voxels (`voxel_bins`). Curves over groups of equal
rank are those of voxels in steps of one group; subsets of random groups are random voxels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.evaluation.map_sign import is_flat
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.unit_curves import UnitFaithfulness, unit_faithfulness
from SegExplainLib.evaluation.unit_scores import NO_SCALE
from SegExplainLib.evaluation.unit_subsets import FEWEST_SUBSETS, faithfulness_correlation, infidelity
from SegExplainLib.evaluation.voxel_bins import VOXEL_ORDERS, bin_sums, random_bins, ranked_bins
from SegExplainLib.shapley.value_function import ValueFunction

N_STEPS = 40
"""2.5 % of the voxels each, as in the paper."""
N_SUBSETS = 30
VOXELS = "voxels"
FLAT = "Every voxel has the same value: nothing to rank."
FEW_GROUPS = "There are fewer than 3 groups of voxels: no 3 subsets of one size to compare."

GameOf = Callable[[NDArray[np.int32]], ValueFunction]
"""Bins (k, j, i), 1 to n and 0 for what stays -> the game whose players they are."""


@dataclass(frozen=True)
class VoxelYardsticks:
    """What every map of one game is held against. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        n_steps: Of the curves.
        n_subsets: Random subsets of each kind.
        random: Curves of voxels in random order.
        fidelity: Of that order, relative; 0 but for chance.
    """

    n_steps: int
    n_subsets: int
    random: UnitFaithfulness
    fidelity: Metric


@dataclass(frozen=True)
class VoxelScores:
    """Of one map. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        curves: By order, "value" and "absolute": deletion with the most and the least important voxels first.
        metrics: Fidelity by each order, correlation and infidelity over random voxels.
    """

    curves: dict[str, UnitFaithfulness]
    metrics: tuple[Metric, ...]


def most_coalitions(n_maps: int, *, n_steps: int = N_STEPS, n_subsets: int = N_SUBSETS) -> int:
    """Coalitions that `voxel_yardsticks` and `voxel_scores` of ``n_maps`` ask for at most."""
    curves = 2 * (n_steps - 1)
    return curves * (1 + len(VOXEL_ORDERS) * n_maps) + 2 * n_subsets if n_maps and n_steps else 0


def voxel_yardsticks(
    game_of: GameOf,
    within: NDArray[np.bool_],
    *,
    voxel_volume_ml: float,
    seed: int,
    n_steps: int = N_STEPS,
    n_subsets: int = N_SUBSETS,
) -> VoxelYardsticks:
    """The curves of random voxels.

    Args:
        game_of: Makes games of bins.
        within: bool (k, j, i), the units' voxels.
        voxel_volume_ml: Of one voxel.
        seed: Of the order.
        n_steps: Of the curves, at least 2.
        n_subsets: That `voxel_scores` will draw.

    Raises:
        InvalidRequest: there are fewer than 2 voxels or steps, or the game is not finite.
    """
    bins = random_bins(within, n_bins=n_steps, seed=seed)
    curves = _curves(game_of, bins, voxel_volume_ml=voxel_volume_ml)
    fidelity = replace(_area(curves, "abpc-volume-relative"), name="fidelity of random voxels")
    return VoxelYardsticks(n_steps, n_subsets, curves, fidelity)


def voxel_scores(
    game_of: GameOf,
    amounts: NDArray,
    sticks: VoxelYardsticks,
    *,
    within: NDArray[np.bool_],
    voxel_volume_ml: float,
    seed: int,
    has_scale: bool,
) -> VoxelScores:
    """Fidelity F by both orders, and faithfulness correlation and infidelity over random voxels.

    Fidelity is the area between the deletion curves with the least and with the most important voxels first, over the
    removed share; 0 for a map that knows nothing, and relative to how far removing everything moves the number. That
    of a map which knows nothing but has smooth patches is 0 on average only: one patch may matter.

    Random voxels, all groups of one size, have sums that differ little next to those of units: the correlation is
    noisier, and low values are common.

    Args:
        game_of: As for `voxel_yardsticks`.
        amounts: (k, j, i) that add up over voxels; finite in ``within``.
        sticks: Of the same game.
        within: bool (k, j, i), the units' voxels.
        voxel_volume_ml: Of one voxel.
        seed: Of ties, and of all draws; that of the yardsticks takes the same random voxels.
        has_scale: Whether amounts are meant in the unit of the explained number.

    Raises:
        GeometryMismatch: map and domain differ in shape.
        InvalidRequest: a value or the game is not finite.

    References:
        Brocki et al. (2022) for fidelity, in 2.5 % steps, with original and absolute values; there it is the accuracy
        over many images, with a fill that depends on the label. Bhatt et al. (2020) and Yeh et al. (2019) for the
        others, see ``unit_subsets``.
    """
    curves, metrics = {}, []
    judged = amounts[within]
    why = FLAT if np.isfinite(judged).all() and is_flat(judged) else ""  # what is not finite is told by the bins
    for by in VOXEL_ORDERS:
        bins = ranked_bins(amounts, within=within, by=by, n_bins=sticks.n_steps, seed=seed)
        curves[by] = _curves(game_of, bins, voxel_volume_ml=voxel_volume_ml)
        for area, name in (("abpc-volume", f"fidelity-{by}"), ("abpc-volume-relative", f"fidelity-{by}-relative")):
            found = replace(_area(curves[by], area), name=name)
            metrics.append(undefined(name, why, chance=0.0) if why else found)
    bins = random_bins(within, n_bins=sticks.n_steps, seed=seed)
    game, sums = game_of(bins), bin_sums(amounts, bins)
    correlation = faithfulness_correlation(game, sums, seed=seed, n_subsets=sticks.n_subsets)
    if why:  # sums over groups that differ by a voxel in size would correlate with something
        correlation = undefined(correlation.name, why, chance=0.0)
    elif game.n_players < FEWEST_SUBSETS:
        correlation = undefined(correlation.name, FEW_GROUPS, chance=0.0)
    plain, relative, scaled = infidelity(game, sums, seed=seed, n_subsets=sticks.n_subsets)
    if not has_scale:
        plain, relative = (undefined(one.name, NO_SCALE, better="lower") for one in (plain, relative))
    return VoxelScores(curves, (*metrics, correlation, plain, relative, scaled))


def _curves(game_of: GameOf, bins: NDArray[np.int32], *, voxel_volume_ml: float) -> UnitFaithfulness:
    """Deletion of bins, the first one first and the last one first."""
    volumes_ml = np.bincount(bins.ravel())[1:] * voxel_volume_ml
    return unit_faithfulness(game_of(bins), -np.arange(len(volumes_ml)), volumes_ml=volumes_ml)


def _area(curves: UnitFaithfulness, name: str) -> Metric:
    return next(metric for metric in curves.metrics if metric.name == name)
