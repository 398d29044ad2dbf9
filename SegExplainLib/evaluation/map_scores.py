"""All that a mask and the units say of a map: agreement, mass, spread. The network is not asked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.evaluation.agreement import agreement, unit_pointing
from SegExplainLib.evaluation.complexity import complexity
from SegExplainLib.evaluation.map_domain import why_one_sided
from SegExplainLib.evaluation.mass import TARGET, MassTable, RegionMass, target_masses, unit_masses
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.segment_dice import DiceCurve, segment_dice
from SegExplainLib.evaluation.unit_scores import spread_metrics
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.volume import Volume

ANATOMY = "agreement with the mask"
SPREAD_OF_VOXELS = "spread over voxels"


@dataclass(frozen=True)
class MapScores:
    """Of one map. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        metrics: By family: "agreement with the mask", "spread over voxels".
        unit_masses: Mass by unit.
        organ_masses: Mass by organ, where units are no organs and an organ map is at hand.
        mask_masses: Mass in the mask, along its border and elsewhere; None for a mask without a voxel, or with all.
        segment_dice: Dice of the mask with the best segments of the CT.
    """

    metrics: dict[str, tuple[Metric, ...]]
    unit_masses: MassTable
    organ_masses: MassTable | None
    mask_masses: MassTable | None
    segment_dice: DiceCurve


@dataclass(frozen=True, eq=False)
class Regions:
    """Where maps of one question are judged, all on one grid.

    Attributes:
        units: Whose voxels are the domain.
        organs: As units; None where they are the units, or not known.
        segments: int (k, j, i) of the CT, from 1, in the units' voxels.
        mask: bool (k, j, i) that maps should agree with.
    """

    units: PlayerPartition
    organs: PlayerPartition | None
    segments: NDArray[np.integer]
    mask: Volume


def map_scores(voxel_map: Volume, regions: Regions, *, mass_map: Volume, unit_values: NDArray) -> MapScores:
    """Judges a map within the units.

    Args:
        voxel_map: (k, j, i), signed, as it is shown.
        regions: On the map's grid.
        mass_map: The map whose sums mean something: for unit values that of ``mass.spread_evenly``, else the same.
        unit_values: (n_players,), as they are reported.

    Raises:
        GeometryMismatch: the grids differ.
        InvalidRequest: a value is not finite.
    """
    units, mask = regions.units, regions.mask
    within = units.labels > 0
    n_inside, n_voxels = int((mask.array & within).sum()), int(within.sum())
    why = why_one_sided(n_inside, n_voxels)
    masses = None if why else target_masses(mass_map, mask, within=within)
    found = agreement(voxel_map, mask, within=within)
    dice = segment_dice(voxel_map, mask, regions.segments)
    anatomy = (
        found.roc_auc,
        found.average_precision,
        found.pointing,
        unit_pointing(unit_values, units, mask),
        *_mass_metrics(masses, why=why, chance=n_inside / n_voxels),
        *_dice_metrics(dice),
    )
    spread = spread_metrics(complexity(voxel_map.array[within]))
    return MapScores(
        {ANATOMY: anatomy, SPREAD_OF_VOXELS: spread},
        unit_masses=unit_masses(mass_map, units),
        organ_masses=unit_masses(mass_map, regions.organs) if regions.organs else None,
        mask_masses=masses,
        segment_dice=dice,
    )


def dice_name(area_share: float) -> str:
    """Name of the metric of `segment_dice` at a share of the volume."""
    return f"XRAI-DSC at {100 * area_share:g} %"


def _dice_metrics(curve: DiceCurve) -> list[Metric]:
    if curve.why_undefined:
        return [undefined(dice_name(share), curve.why_undefined) for share in curve.area_shares]
    found = zip(curve.area_shares, curve.dice, curve.chance, strict=True)
    return [Metric(dice_name(share), dice, chance=chance) for share, dice, chance in found]


def _mass_metrics(masses: MassTable | None, *, why: str, chance: float) -> list[Metric]:
    """How much of what speaks for the label lies in the mask, plain and by volume."""
    name_mass, name_enrichment = "positive mass in the mask", "positive enrichment of the mask"
    row = _positive_target(masses) if masses else None
    if row is None or row.mass is None or row.enrichment is None:
        reason = row.why_undefined if row else why
        return [undefined(name_mass, reason, chance=chance), undefined(name_enrichment, reason, chance=1.0)]
    mass = float(np.clip(row.mass, 0.0, 1.0))
    return [Metric(name_mass, mass, chance=chance), Metric(name_enrichment, row.enrichment, chance=1.0)]


def _positive_target(masses: MassTable) -> RegionMass:
    return next(row for row in masses.unions if (row.region, row.sign) == (TARGET, "positive"))
