"""All that a mask and the units say of a map: agreement, mass, spread. The network is not asked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.evaluation.agreement import agreement, unit_pointing
from SegExplainLib.evaluation.complexity import complexity
from SegExplainLib.evaluation.map_domain import why_one_sided
from SegExplainLib.evaluation.mass import TARGET, MassTable, RegionMass, target_masses, unit_masses
from SegExplainLib.evaluation.metric import Metric, undefined
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
        mask_masses: Mass in the mask, along its border and elsewhere; None for a mask without a voxel, or with all.
    """

    metrics: dict[str, tuple[Metric, ...]]
    unit_masses: MassTable
    mask_masses: MassTable | None


def map_scores(
    voxel_map: Volume, *, mass_map: Volume, unit_values: NDArray, units: PlayerPartition, mask: Volume
) -> MapScores:
    """Judges a map within the units.

    Args:
        voxel_map: (k, j, i), signed, as it is shown.
        mass_map: The map whose sums mean something: for unit values that of ``mass.spread_evenly``, else the same.
        unit_values: (n_players,), as they are reported.
        units: On the map's grid.
        mask: bool (k, j, i) on the map's grid.

    Raises:
        GeometryMismatch: the grids differ.
        InvalidRequest: a value is not finite.
    """
    within = units.labels > 0
    n_inside, n_voxels = int((mask.array & within).sum()), int(within.sum())
    why = why_one_sided(n_inside, n_voxels)
    masses = None if why else target_masses(mass_map, mask, within=within)
    found = agreement(voxel_map, mask, within=within)
    anatomy = (
        found.roc_auc,
        found.average_precision,
        found.pointing,
        unit_pointing(unit_values, units, mask),
        *_mass_metrics(masses, why=why, chance=n_inside / n_voxels),
    )
    spread = spread_metrics(complexity(voxel_map.array[within]))
    return MapScores({ANATOMY: anatomy, SPREAD_OF_VOXELS: spread}, unit_masses(mass_map, units), masses)


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
