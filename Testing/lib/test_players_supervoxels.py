import numpy as np
import pytest
from geometries import grids, storages, stored_otherwise
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.players.supervoxels import cell_volume_ml, fcc_labels, fcc_players, place_name
from SegExplainLib.volume import VoxelGrid


def sites_around(grid: VoxelGrid, edge_mm: float) -> np.ndarray:
    """(n, 3) RAS of every FCC site in and around a grid, from superior to inferior, then front to back, then right."""
    a = edge_mm / np.sqrt(2.0)
    corners = grid.ras_of(np.array(list(np.ndindex(2, 2, 2))) * (np.array(grid.shape_kji) - 1)) / a
    low, high = np.floor(corners.min(axis=0)) - 2, np.ceil(corners.max(axis=0)) + 2
    s, front, r = np.meshgrid(*[np.arange(high[x], low[x] - 1, -1) for x in (2, 1, 0)], indexing="ij")
    points = np.stack([r, front, s], axis=-1).reshape(-1, 3)
    return points[points.sum(axis=1) % 2 == 0] * a


@given(grid=grids(longest=14), edge=st.integers(60, 400))
@settings(max_examples=60, deadline=None)
def test_each_voxel_has_the_number_of_its_nearest_site(grid, edge):
    sites = sites_around(grid, edge / 10)
    voxels = grid.ras_of(np.indices(grid.shape_kji).reshape(3, -1).T)
    distances, nearest = cKDTree(sites).query(voxels, k=8)
    labels = fcc_labels(grid, edge_mm=edge / 10).ravel()
    # A voxel between two sites may go to either, but all voxels of one number share a site, and no two numbers do.
    is_tied = distances <= distances[:, :1] + 1e-4
    sites_of = [
        set.intersection(*[set(nearest[v, is_tied[v]].tolist()) for v in np.flatnonzero(labels == number)])
        for number in range(1, labels.max() + 1)
    ]
    assert all(sites_of)
    certain = [min(sites) for sites in sites_of if len(sites) == 1]
    assert (np.diff(certain) > 0).all()


@given(size=st.integers(8, 14), spacing=st.sampled_from([1.0, 1.5, 3.0]), storage=storages)
@settings(max_examples=30, deadline=None)
def test_voxels_between_two_sites_fall_to_the_same_one_however_they_are_stored(size, spacing, storage):
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.array([-0.1, 0.1, -0.1]) * size
    grid = VoxelGrid((size, size, size), affine)
    other, store = stored_otherwise(grid, *storage)
    np.testing.assert_array_equal(fcc_labels(other, edge_mm=10.0), store(fcc_labels(grid, edge_mm=10.0)))


def test_a_whole_cell_holds_the_stated_volume_and_is_one_edge_wide():
    edge_mm = 10.0
    grid = VoxelGrid((80, 64, 40), np.diag([0.75, 0.5, 0.4, 1.0]))
    labels = fcc_labels(grid, edge_mm=edge_mm)
    on_border = np.ones(grid.shape_kji, dtype=bool)
    on_border[1:-1, 1:-1, 1:-1] = False
    whole = np.setdiff1d(np.arange(1, labels.max() + 1), labels[on_border])
    volumes_ml = np.bincount(labels.ravel())[whole] * grid.voxel_volume_ml
    assert len(whole) >= 5
    np.testing.assert_allclose(volumes_ml, cell_volume_ml(edge_mm), rtol=0.02)
    across = np.array([1.0, 1.0, 0.0]) / np.sqrt(2.0)
    for cell in whole:
        extent = grid.ras_of(np.argwhere(labels == cell)) @ across
        assert np.ptp(extent) == pytest.approx(edge_mm, abs=1.0)


def test_the_default_edge_gives_cells_of_nineteen_millilitres():
    assert cell_volume_ml(30.0) == pytest.approx(19.09, abs=0.01)


@pytest.mark.parametrize("edge_mm", [4.9, 0.0, -3.0, float("nan"), float("inf")])
def test_cells_smaller_than_a_voxel_are_refused(edge_mm):
    with pytest.raises(InvalidRequest, match="Supervoxels"):
        fcc_labels(VoxelGrid((4, 4, 4), np.diag([1.0, 2.0, 5.0, 1.0])), edge_mm=edge_mm)


def test_a_place_is_named_as_slicer_shows_it():
    assert place_name(np.array([20.4, 35.0, 110.2])) == "R20 A35 S110"
    assert place_name(np.array([-41.7, -3.0, -17.49])) == "L42 P3 I17"
    assert place_name(np.array([0.0, -0.2, -0.0])) == "R0 A0 S0"


def test_players_are_named_by_where_they_lie():
    grid = VoxelGrid((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))
    everywhere = np.ones(grid.shape_kji, dtype=bool)
    partition = fcc_players(grid, edge_mm=14.0, within=everywhere, body=everywhere)
    for player, name in enumerate(partition.names, start=1):
        centroid = grid.ras_of(np.argwhere(partition.labels == player)).mean(axis=0)
        assert name == f"cell {place_name(centroid)}"
