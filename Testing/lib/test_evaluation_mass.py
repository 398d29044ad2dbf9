"""Masses are sums over voxels, rows fill the domain, and borders are as thick in mm as asked."""

import dataclasses
import json

import numpy as np
import pytest
from builders import block_partition, oblique_grid
from evaluation_cases import SHAPE, VIEWS, box_grid, on, random_case, viewed
from numpy.testing import assert_allclose, assert_array_equal

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.evaluation.mass import (
    MASS_SIGNS,
    TARGET,
    ZONES,
    border_zones,
    spread_evenly,
    target_masses,
    unit_masses,
)

PARTS = {
    "positive": lambda a: a if a > 0 else 0.0,
    "negative": lambda a: -a if a < 0 else 0.0,
    "absolute": lambda a: abs(a),
}


def numbers(row):
    return row.n_voxels, row.volume_ml, row.volume_share, row.mass, row.density, row.enrichment


def literal_numbers(values, region, domain, sign, voxel_ml):
    """Voxel by voxel."""
    part = PARTS[sign]
    own = [part(a) for a, is_own in zip(values.ravel().tolist(), (region & domain).ravel()) if is_own]
    every = [part(a) for a, is_in in zip(values.ravel().tolist(), domain.ravel()) if is_in]
    mass, share = sum(own) / sum(every), len(own) / len(every)
    return len(own), len(own) * voxel_ml, share, mass, sum(own) / len(own), mass / share


def units(seed=0):
    grid = oblique_grid((6, 8, 10))
    values = np.random.default_rng(seed).normal(size=grid.shape_kji).astype(np.float32)
    return on(grid, values), block_partition(grid, edge_voxels=4, context_share=0.2)


def test_every_unit_has_the_mass_density_and_enrichment_of_its_voxels():
    a_map, partition = units()
    table = unit_masses(a_map, partition)
    assert [(row.region, row.sign) for row in table.rows] == [(n, s) for n in partition.names for s in MASS_SIGNS]
    domain = partition.labels > 0
    for row in table.rows:
        region = partition.labels == partition.names.index(row.region) + 1
        expected = literal_numbers(a_map.array, region, domain, row.sign, a_map.grid.voxel_volume_ml)
        assert_allclose(numbers(row), expected, rtol=1e-9)
    for sign in MASS_SIGNS:
        rows = [row for row in table.rows if row.sign == sign]
        assert sum(row.mass for row in rows) == pytest.approx(1.0)
        assert sum(row.volume_share for row in rows) == pytest.approx(1.0)
        assert sum(row.enrichment * row.volume_share for row in rows) == pytest.approx(1.0)
        part = np.vectorize(PARTS[sign])(a_map.array.astype(float))
        assert table.left_out[sign] == pytest.approx(part[~domain].sum() / part.sum())


def test_an_even_map_has_the_mass_of_volumes_and_an_enrichment_of_one():
    a_map, partition = units()
    table = unit_masses(on(a_map.grid, np.full(a_map.array.shape, -0.3)), partition)
    for row in table.rows:
        if row.sign == "positive":
            assert (row.mass, row.enrichment, row.why_undefined) == (None, None, "No value is positive.")
            assert row.density == 0.0
        else:
            assert row.mass == pytest.approx(row.volume_share)
            assert row.enrichment == pytest.approx(1.0)
            assert row.density == pytest.approx(0.3)
    assert table.left_out["positive"] is None
    json.dumps(dataclasses.asdict(table), allow_nan=False)


def test_scale_moves_densities_alone_and_a_turned_sign_swaps_the_sides():
    a_map, partition = units(1)
    plain, larger, turned = (unit_masses(on(a_map.grid, f * a_map.array), partition) for f in (1.0, 8.0, -1.0))
    other = {"positive": "negative", "negative": "positive", "absolute": "absolute"}
    by_key = {(row.region, row.sign): row for row in plain.rows}
    for row in larger.rows:
        unscaled = by_key[row.region, row.sign]
        assert row.density == pytest.approx(8.0 * unscaled.density)
        assert_allclose((row.mass, row.enrichment), (unscaled.mass, unscaled.enrichment))
    for row in turned.rows:
        assert numbers(row) == numbers(by_key[row.region, other[row.sign]])


def test_a_zero_map_has_no_mass_and_says_so():
    a_map, partition = units()
    for row in unit_masses(on(a_map.grid, np.zeros(a_map.array.shape)), partition).rows:
        assert (row.mass, row.density, row.enrichment) == (None, 0.0, None)
        assert row.why_undefined in ("All values are zero.", "No value is positive.", "No value is negative.")


def test_the_mass_of_evenly_spread_unit_values_is_that_of_the_values():
    _, partition = units()
    values = np.random.default_rng(2).normal(size=partition.n_players)
    a_map = spread_evenly(values, partition)
    assert_allclose(partition.pooled(a_map.array), values, rtol=1e-5)
    masses = [row.mass for row in unit_masses(a_map, partition).rows if row.sign == "absolute"]
    assert_allclose(masses, np.abs(values) / np.abs(values).sum(), rtol=1e-5)
    with pytest.raises(InvalidRequest, match="as many values"):
        spread_evenly(values[1:], partition)


def test_the_zones_of_the_target_fill_the_domain_and_add_up():
    a_map, mask, domain = random_case(3, shape=(8, 9, 10))
    mask = on(mask.grid, np.zeros_like(mask.array))
    mask.array[2:6, 2:8, 3:9] = True
    table = target_masses(a_map, mask, shell_mm=4.0, within=domain)
    assert [(row.region, row.sign) for row in table.rows] == [(zone, sign) for zone in ZONES for sign in MASS_SIGNS]
    inner, outer = border_zones(mask.array, grid=mask.grid, thickness_mm=4.0)
    regions = dict(zip(ZONES, (mask.array & ~inner, inner, outer, ~(mask.array | outer)))) | {TARGET: mask.array}
    assert (
        sum(region.astype(int) for zone, region in regions.items() if zone != TARGET).tolist()
        == np.ones(mask.array.shape, dtype=int).tolist()
    )
    for row in table.rows + table.unions:
        expected = literal_numbers(a_map.array, regions[row.region], domain, row.sign, a_map.grid.voxel_volume_ml)
        assert_allclose(numbers(row), expected, rtol=1e-9)
    assert {row.region for row in table.unions} == {TARGET}
    for sign in MASS_SIGNS:
        assert sum(row.mass for row in table.rows if row.sign == sign) == pytest.approx(1.0)


def test_a_map_equal_to_the_target_has_all_its_mass_there():
    _, mask, _ = random_case()
    table = target_masses(on(mask.grid, mask.array), mask)
    whole = next(row for row in table.unions if row.sign == "positive")
    assert (whole.mass, whole.density) == (1.0, 1.0)
    assert whole.enrichment == pytest.approx(1.0 / mask.array.mean())


def test_a_zone_without_voxels_has_no_mass_no_density_and_a_reason():
    grid = box_grid((3, 3, 3), (1.0, 1.0, 1.0))
    is_centre = np.zeros(grid.shape_kji, dtype=bool)
    is_centre[1, 1, 1] = True
    rows = {
        (row.region, row.sign): row for row in target_masses(on(grid, np.ones((3, 3, 3))), on(grid, is_centre)).rows
    }
    core = rows["core", "positive"]  # 5 mm of border leave none
    assert (core.mass, core.density, core.enrichment) == (0.0, None, None)
    assert core.why_undefined == "No voxel of the domain lies in the region."
    full = target_masses(on(grid, np.ones((3, 3, 3))), on(grid, np.ones((3, 3, 3), dtype=bool)))
    assert [row.n_voxels for row in full.rows if row.sign == "positive"] == [27, 0, 0, 0]


# Borders


def literal_zones(mask, spacing_kji_mm, thickness_mm):
    """All pairs of voxels of the two sides."""
    places = np.argwhere(np.ones_like(mask)) * np.array(spacing_kji_mm)
    sides = mask.ravel()
    zones = []
    for side in (sides, ~sides):
        distance = np.linalg.norm(places[:, None] - places[~side][None], axis=2).min(axis=1)
        zones.append((side & (distance <= thickness_mm + 1e-6)).reshape(mask.shape))
    return tuple(zones)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (0.9, 2.0, 3.0)])
@pytest.mark.parametrize("thickness_mm", [0.5, 2.0, 3.0, 40.0])
def test_borders_are_those_of_all_pairs_of_voxels(spacing, thickness_mm):
    rng = np.random.default_rng(0)
    sparse = rng.random((6, 8, 9)) < 0.05
    block = np.zeros((6, 8, 9), dtype=bool)
    block[1:5, 3:, 2:8] = True  # reaches the volume's edge
    for mask in (sparse, block, ~sparse):
        told = border_zones(mask, grid=box_grid(mask.shape, spacing), thickness_mm=thickness_mm)
        for zone, expected in zip(told, literal_zones(mask, spacing, thickness_mm)):
            assert_array_equal(zone, expected)


def test_the_border_of_a_slab_is_as_thick_in_mm_on_either_side():
    mask = np.zeros((30, 4, 4), dtype=bool)
    mask[10:20] = True
    inner, outer = border_zones(mask, grid=box_grid(mask.shape, (2.5, 9.0, 9.0)), thickness_mm=5.0)
    assert np.flatnonzero(inner[:, 0, 0]).tolist() == [10, 11, 18, 19]
    assert np.flatnonzero(outer[:, 0, 0]).tolist() == [8, 9, 20, 21]


@pytest.mark.parametrize("view", VIEWS)
def test_borders_and_masses_know_no_axes(view):
    a_map, mask, domain = random_case(5)
    table = target_masses(a_map, mask, shell_mm=3.0, within=domain)
    seen = target_masses(viewed(a_map, view), viewed(mask, view), shell_mm=3.0, within=VIEWS[view](domain))
    for one, other in zip(table.rows + table.unions, seen.rows + seen.unions, strict=True):
        assert (one.region, one.sign, one.n_voxels) == (other.region, other.sign, other.n_voxels)
        assert_allclose(numbers(one), numbers(other), rtol=1e-9)


def test_a_mask_that_is_empty_or_full_has_no_border():
    for mask in (np.zeros(SHAPE, dtype=bool), np.ones(SHAPE, dtype=bool)):
        assert not np.any(border_zones(mask, grid=oblique_grid(SHAPE), thickness_mm=5.0))


def test_bad_input_is_told():
    a_map, mask, domain = random_case()
    _, partition = units()
    with pytest.raises(GeometryMismatch, match="units and the map"):
        unit_masses(a_map, partition)
    with pytest.raises(GeometryMismatch, match="different grids"):
        target_masses(a_map, on(oblique_grid(SHAPE, flip=False), mask.array))
    with pytest.raises(GeometryMismatch, match="domain has shape"):
        target_masses(a_map, mask, within=domain[1:])
    with pytest.raises(InvalidRequest, match="target has no voxel"):
        target_masses(a_map, on(mask.grid, np.zeros(SHAPE, dtype=bool)))
    with pytest.raises(InvalidRequest, match="NaN"):
        target_masses(on(a_map.grid, np.full(SHAPE, np.nan)), mask)
    for thickness in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InvalidRequest, match="positive length"):
            target_masses(a_map, mask, shell_mm=thickness)
