"""Whether a map points at a mask: a comparison with anatomy, not with the network.

A faithful explanation need not agree with anatomy: a network may well decide by what lies elsewhere, and a map that
says so is right. Nor is a map faithful because it agrees: the CT's edges agree with anatomy, too. Agreement says how
plausible a map looks; whether it is true of the network is asked by removing what it names.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.map_domain import require_domain, require_mask, why_one_sided
from SegExplainLib.evaluation.map_sign import of_sign, why_flat
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.volume import Volume

MOST_RANKED = 4_000_000
"""Voxels that are ranked at most: a few seconds, and a standard error of the area of half a thousandth at most."""
UNIT_POINTING = "pointing accuracy of units"


@dataclass(frozen=True)
class Agreement:
    """How well a map tells the voxels of a mask from the others.

    Attributes:
        sign: Which side of the map was judged.
        n_voxels: Of the domain.
        n_inside: Of them in the mask.
        n_ranked: Of them ranked; fewer than ``n_voxels`` where they were drawn.
        seed: By which they were drawn.
        roc_auc: Probability that a voxel of the mask has a larger value than one outside, ties counted as half.
        average_precision: Mean precision over the mask's voxels, from the largest value down.
        pointing: 1 where the largest value lies in the mask, 0 where it does not; with ties the share that does.
    """

    sign: str
    n_voxels: int
    n_inside: int
    n_ranked: int
    seed: int
    roc_auc: Metric
    average_precision: Metric
    pointing: Metric


def agreement(
    voxel_map: Volume,
    mask: Volume,
    *,
    within: NDArray[np.bool_] | None = None,
    sign: str = "positive",
    most_ranked: int = MOST_RANKED,
    seed: int = 0,
) -> Agreement:
    """ROC-AUC, average precision and pointing accuracy of a map against a mask.

    A map that knows nothing has an AUC of 0.5, and an average precision of the mask's share of the domain (a little
    more where voxels are few); its largest value lies in the mask with that share as probability. All three depend
    on the order of values alone, and are undefined for a mask that is empty or full in the domain, and for a map that
    is constant there. Tied values, as a map of units has, count as tied. Voxels are neighbours, not independent
    observations: no test of significance follows.

    Above ``most_ranked`` voxels that many are drawn: the smaller of the mask and the rest whole, or half of them, and
    the others from the larger one; weights keep their shares. Pointing always looks at all voxels.

    Args:
        voxel_map: (k, j, i).
        mask: bool (k, j, i) on the same grid.
        within: bool (k, j, i), where to compare, as the units or the body; everywhere without. Air around the body
            makes any map look good.
        sign: Of ``map_sign.SIGNS``; by default what speaks for the label.
        most_ranked: At least 2.
        seed: Of the draw.

    Raises:
        GeometryMismatch: map, mask and domain differ in grid or shape.
        InvalidRequest: mask or domain is not boolean, the domain is empty, the map is not finite there, there is no
            such sign, or ``most_ranked`` is below 2.

    References:
        Brocki et al. (2022) for ROC concordance, which averages the rates of several images at each threshold; here it
        is one image. Zhang et al. (2018), Top-down neural attention by excitation backprop, for pointing, without
        their tolerance of 15 pixels.
    """
    if most_ranked < 2:
        raise InvalidRequest(f"A ranking needs two voxels at least; found most_ranked={most_ranked}.")
    domain = require_domain(within, voxel_map.array.shape)
    is_inside = require_mask(mask, voxel_map.grid)[domain]
    scores = of_sign(voxel_map.array[domain], sign=sign)
    n_inside = int(is_inside.sum())
    share = n_inside / len(scores)
    chances = {"ROC-AUC": 0.5, "average precision": share, "pointing accuracy": share}
    if why := why_one_sided(n_inside, len(scores)) or why_flat(scores, sign=sign):
        metrics = [undefined(name, why, chance=chance) for name, chance in chances.items()]
        return Agreement(sign, len(scores), n_inside, 0, seed, *metrics)
    ranked, weights = _drawn(is_inside, most=most_ranked, seed=seed)
    truth, ranking = is_inside[ranked], scores[ranked]
    values = (
        roc_auc_score(truth, ranking),  # what the sides weigh does not matter to it
        average_precision_score(truth, ranking, sample_weight=weights),
        is_inside[scores == scores.max()].mean(),
    )
    metrics = [Metric(name, float(value), chance=chances[name]) for name, value in zip(chances, values, strict=True)]
    return Agreement(sign, len(scores), n_inside, len(truth), seed, *metrics)


def unit_pointing(
    player_values: NDArray,
    partition: PlayerPartition,
    mask: Volume,
    *,
    sign: str = "positive",
    least_share: float = 0.5,
) -> Metric:
    """Whether the unit with the largest value lies in the mask; with ties the share of them that does.

    A unit lies in the mask with ``least_share`` of its voxels or more. Chance is the share of such units: values that
    are dealt out anew among the units. Undefined for one unit alone, equal values, and where no unit or every unit
    lies in the mask.

    Args:
        player_values: (n_players,).
        partition: The units.
        mask: bool (k, j, i) on their grid.
        sign: Of ``map_sign.SIGNS``.
        least_share: Above 0, up to 1.

    Raises:
        GeometryMismatch: the mask lies on another grid.
        InvalidRequest: the mask is not boolean, there is not one finite value for each unit, or ``least_share`` is no
            such share.
    """
    if not 0.0 < least_share <= 1.0:
        raise InvalidRequest(f"A share of a unit lies above 0 and up to 1; found {least_share}.")
    player_values = np.asarray(player_values)
    if player_values.shape != (partition.n_players,):
        raise InvalidRequest(f"{partition.n_players} units need as many values; found {player_values.shape}.")
    scores = of_sign(player_values, sign=sign)
    in_mask = require_mask(mask, partition.grid)
    is_inside = partition.pooled(in_mask) >= least_share * partition.pooled(np.ones_like(in_mask))
    chance = float(is_inside.mean())
    why = why_one_sided(int(is_inside.sum()), partition.n_players, noun="unit") or why_flat(scores, sign=sign)
    if partition.n_players == 1:
        why = "There is one unit only."
    if why:
        return undefined(UNIT_POINTING, why, chance=chance)
    return Metric(UNIT_POINTING, float(is_inside[scores == scores.max()].mean()), chance=chance)


def _drawn(
    is_inside: NDArray[np.bool_], *, most: int, seed: int
) -> tuple[NDArray[np.int64] | slice, NDArray[np.float64] | None]:
    """Places of the voxels that are ranked, ascending, and what each stands for; all of them with weight 1 if few."""
    if len(is_inside) <= most:
        return slice(None), None
    rng = np.random.default_rng(seed)
    smaller, larger = sorted((np.flatnonzero(is_inside), np.flatnonzero(~is_inside)), key=len)
    n_smaller = min(len(smaller), most // 2)
    draws = [(smaller, n_smaller), (larger, most - n_smaller)]
    places = np.concatenate([rng.choice(side, n, replace=False) for side, n in draws])
    weights = np.concatenate([np.full(n, len(side) / n) for side, n in draws])
    order = np.argsort(places)
    return places[order], weights[order]
