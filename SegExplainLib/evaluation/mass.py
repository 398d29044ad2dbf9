"""Where a map has its mass: in the target, along its border, in each unit.

Mass alone mainly tells how large a region is: density and enrichment, beside it in every row, take the size out.
A faithful explanation need not agree with anatomy: mass outside the target is context that the network may really use.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.evaluation.map_domain import require_domain, require_mask
from SegExplainLib.evaluation.map_sign import of_sign
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.volume import Volume, VoxelGrid

MASS_SIGNS = ("positive", "negative", "absolute")
SHELL_MM = 5.0
ZONES = ("core", "inner border", "outer border", "elsewhere")
TARGET = "target"
"""Core and inner border together."""


@dataclass(frozen=True)
class RegionMass:
    """One side of a map in one region.

    Attributes:
        region: Its name.
        sign: "positive" is what speaks for the label, "negative" what speaks against it, "absolute" both.
        n_voxels: Of the region in the domain.
        volume_ml: Of them.
        volume_share: Of the domain.
        mass: Sum over the region, as a share of that over the domain.
        density: Mean over the region's voxels, in the map's unit.
        enrichment: ``mass / volume_share``: 1 where mass is spread evenly, 2 for twice that.
        why_undefined: A sentence, where numbers are None: the domain has no such value, or the region no voxel in it.
    """

    region: str
    sign: str
    n_voxels: int
    volume_ml: float
    volume_share: float
    mass: float | None
    density: float | None
    enrichment: float | None
    why_undefined: str = ""


@dataclass(frozen=True)
class MassTable:
    """The mass of a map by region, of both signs apart and together.

    Attributes:
        rows: Of disjoint regions that fill the domain: the masses of one sign sum to 1.
        unions: Of regions that are made of several rows.
        left_out: Sign -> share of the whole map's sum that lies outside the domain; None for a map without this side.
    """

    rows: tuple[RegionMass, ...]
    unions: tuple[RegionMass, ...]
    left_out: dict[str, float | None]


def spread_evenly(player_values: NDArray, partition: PlayerPartition) -> Volume:
    """float32 (k, j, i): the map whose sum over each unit is its value.

    A map that gives each voxel the whole value of its unit has a mass of value times volume: not that of the values.

    Raises:
        InvalidRequest: there is not one value for each unit.
    """
    n_voxels = np.bincount(partition.labels.ravel(), minlength=partition.n_players + 1)[1:]
    if np.shape(player_values) != n_voxels.shape:
        raise InvalidRequest(f"{partition.n_players} units need as many values; found {np.shape(player_values)}.")
    return Volume(partition.painted(np.asarray(player_values) / n_voxels), partition.grid)


def unit_masses(voxel_map: Volume, partition: PlayerPartition) -> MassTable:
    """Mass, density and enrichment of each unit, in the units' order; the domain is the units' voxels.

    Args:
        voxel_map: (k, j, i), signed; of unit values that of `spread_evenly`.
        partition: Units, or organs as units, on the same grid; context is left out.

    Raises:
        GeometryMismatch: the grids differ.
        InvalidRequest: the map is not finite.

    References:
        Chrabaszcz et al. (2025), Agg2Exp, for the mass (their importance of a region) and the mean; enrichment is our
        own.
    """
    if not partition.grid.is_same_as(voxel_map.grid):
        raise GeometryMismatch("The units and the map lie on different grids.", "Give both on the network's grid.")
    return _table(voxel_map, partition.labels, partition.names)


def target_masses(
    voxel_map: Volume, target: Volume, *, shell_mm: float = SHELL_MM, within: NDArray[np.bool_] | None = None
) -> MassTable:
    """Mass, density and enrichment of the target, of its border on either side, and of the rest.

    Rows are ``ZONES``: the border's zones are those of `border_zones`, the core is the rest of the target. The union
    is the ``TARGET``; 1 minus its mass is the map's context.

    Args:
        voxel_map: (k, j, i), signed.
        target: bool (k, j, i) on the same grid.
        shell_mm: Thickness of the border's zone on either side.
        within: bool (k, j, i), the domain, as the units or the body; everywhere without. Zones are found before they
            are cut to it.

    Raises:
        GeometryMismatch: map, target and domain differ in grid or shape.
        InvalidRequest: target or domain is not boolean, the target is empty, the domain is empty, the map is not
            finite, or ``shell_mm`` is not a positive length.
    """
    is_target = require_mask(target, voxel_map.grid)
    domain = require_domain(within, is_target.shape)
    if not is_target.any():
        raise InvalidRequest("The target has no voxel.", "Choose a class that was found in the region, or a mask.")
    inner, outer = border_zones(is_target, grid=voxel_map.grid, thickness_mm=shell_mm)
    zones = np.select([~domain, inner, outer, is_target], [0, 2, 3, 1], default=4)
    return _table(voxel_map, zones, ZONES, unions={TARGET: [1, 2]})


def border_zones(
    mask: NDArray[np.bool_], *, grid: VoxelGrid, thickness_mm: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """bool (k, j, i) each: voxels of a mask near its border, and those outside near it.

    Near is a voxel whose centre lies within ``thickness_mm`` of the centre of a voxel on the other side: thinner than
    the spacing along an axis, there is no zone along it. The volume's edge is no border. Axes are taken as at right
    angles. An empty or a full mask has no border.

    Raises:
        InvalidRequest: ``thickness_mm`` is not a positive length.
    """
    if not 0.0 < thickness_mm < math.inf:
        raise InvalidRequest(f"The border's thickness must be a positive length in mm; found {thickness_mm}.")
    inner, outer = np.zeros_like(mask), np.zeros_like(mask)
    if not mask.any() or mask.all():
        return inner, outer
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    pads = np.ceil(thickness_mm / grid.spacing_kji_mm).astype(int) + 1  # far enough for both zones
    near = tuple(slice(max(0, axis.start - pad), axis.stop + pad) for axis, pad in zip(box, pads, strict=True))
    cut, most_mm = mask[near], thickness_mm + 1e-6  # the slack is for spacings that went through a matrix
    if not cut.all():
        inner[near] = cut & (ndimage.distance_transform_edt(cut, sampling=grid.spacing_kji_mm) <= most_mm)
    outer[near] = ~cut & (ndimage.distance_transform_edt(~cut, sampling=grid.spacing_kji_mm) <= most_mm)
    return inner, outer


def _table(
    voxel_map: Volume,
    labels: NDArray[np.integer],
    names: tuple[str, ...],
    *,
    unions: dict[str, list[int]] | None = None,
) -> MassTable:
    """Of regions 1 to n of a label volume, and unions of their numbers; 0 is outside the domain."""
    flat, n_labels, voxel_ml = labels.ravel(), len(names) + 1, voxel_map.grid.voxel_volume_ml
    counts = np.bincount(flat, minlength=n_labels)
    sums = {
        sign: np.bincount(flat, of_sign(voxel_map.array, sign=sign).ravel(), n_labels).astype(np.float64)
        for sign in MASS_SIGNS
    }
    rows = [
        _region_mass(name, sign, counts=counts, sums=sums[sign], members=[number], voxel_ml=voxel_ml)
        for number, name in enumerate(names, start=1)
        for sign in MASS_SIGNS
    ]
    merged = [
        _region_mass(name, sign, counts=counts, sums=sums[sign], members=members, voxel_ml=voxel_ml)
        for name, members in (unions or {}).items()
        for sign in MASS_SIGNS
    ]
    left_out = {sign: float(of[0] / of.sum()) if of.sum() > 0 else None for sign, of in sums.items()}
    return MassTable(tuple(rows), tuple(merged), left_out)


def _region_mass(
    name: str, sign: str, *, counts: NDArray[np.int64], sums: NDArray[np.float64], members: list[int], voxel_ml: float
) -> RegionMass:
    """Of the regions ``members`` together; the domain is all regions but 0."""
    n_voxels, own = int(counts[members].sum()), float(sums[members].sum())
    total, volume_share = float(sums[1:].sum()), n_voxels / int(counts[1:].sum())
    mass = own / total if total > 0 else None
    density = own / n_voxels if n_voxels else None
    enrichment = mass / volume_share if mass is not None and n_voxels else None
    why = "" if total > 0 else "All values are zero." if sign == "absolute" else f"No value is {sign}."
    if not n_voxels:
        why = "No voxel of the domain lies in the region."
    return RegionMass(name, sign, n_voxels, n_voxels * voxel_ml, volume_share, mass, density, enrichment, why)
