"""What every way of choosing units promises."""

import numpy as np
import pytest
from geometries import blobs, grids, storages, stored_otherwise
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from SegExplainLib.contract import UNIT_KINDS, InvalidRequest
from SegExplainLib.players.hybrid import hybrid_players
from SegExplainLib.players.organs import REST_OF_BODY, organ_players
from SegExplainLib.players.supervoxels import cell_volume_ml, fcc_players
from SegExplainLib.volume import VoxelGrid

NAMES = {1: "liver", 2: "spleen", 5: "aorta"}
FLOORS = {"fcc": 0.1, "hybrid": 0.25}


class Body:
    """Organs, a body and a crop on one grid, at random."""

    def __init__(self, grid: VoxelGrid, edge_mm: float, *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.grid = grid
        self.edge_mm = max(edge_mm, float(grid.spacing_kji_mm.max()))
        self.organ_ids = np.array([0, 0, 1, 2, 5])[blobs(grid.shape_kji, 4, seed=seed)]
        self.body = blobs(grid.shape_kji, 4, seed=seed + 1) > 0
        self.within = np.zeros(grid.shape_kji, dtype=bool)
        low = [rng.integers(0, max(1, n // 2)) for n in grid.shape_kji]
        self.within[tuple(slice(a, n - rng.integers(0, 2)) for a, n in zip(low, grid.shape_kji))] = True

    def stored(self, order, flips) -> "Body":
        other = object.__new__(Body)
        other.grid, store = stored_otherwise(self.grid, order, flips)
        other.edge_mm = self.edge_mm
        other.organ_ids, other.body, other.within = store(self.organ_ids), store(self.body), store(self.within)
        return other

    def cropped(self) -> tuple["Body", tuple[slice, ...]]:
        """Only the box around ``within``."""
        where = np.argwhere(self.within)
        box = tuple(slice(int(a), int(b) + 1) for a, b in zip(where.min(axis=0), where.max(axis=0)))
        other = object.__new__(Body)
        other.organ_ids, other.body, other.within = self.organ_ids[box], self.body[box], self.within[box]
        other.grid = self.grid.cropped(tuple(s.start for s in box), other.within.shape)
        other.edge_mm = self.edge_mm
        return other, box

    def cover(self, kind: str):
        return self.within & (self.body if kind == "fcc" else self.body | (self.organ_ids > 0))

    def players(self, kind: str):
        if kind == "fcc":
            return fcc_players(self.grid, edge_mm=self.edge_mm, within=self.within, body=self.body)
        options = {"within": self.within, "body": self.body, "grid": self.grid}
        if kind == "organs":
            return organ_players(self.organ_ids, NAMES, **options)
        return hybrid_players(self.organ_ids, NAMES, edge_mm=self.edge_mm, **options)


bodies = st.builds(Body, grids(), st.sampled_from([7.0, 10.0, 16.0]), seed=st.integers(0, 10**6))
every_kind = pytest.mark.parametrize("kind", UNIT_KINDS)


@every_kind
@given(body=bodies)
@settings(max_examples=40, deadline=None)
def test_the_players_cover_the_body_inside_the_crop_and_nothing_else(kind, body):
    assume(body.cover(kind).any())
    partition = body.players(kind)
    np.testing.assert_array_equal(partition.labels > 0, body.cover(kind))
    assert partition.kind == kind
    assert partition.labels.max() == len(set(partition.names)) == partition.n_players
    assert partition.volumes_ml.sum() == pytest.approx(body.cover(kind).sum() * body.grid.voxel_volume_ml)


@every_kind
@given(body=bodies, storage=storages)
@settings(max_examples=60, deadline=None)
def test_the_players_do_not_depend_on_how_the_array_is_stored(kind, body, storage):
    assume(body.cover(kind).any())
    partition, again = body.players(kind), body.stored(*storage).players(kind)
    _, store = stored_otherwise(body.grid, *storage)
    np.testing.assert_array_equal(again.labels, store(partition.labels))
    assert again.names == partition.names


@every_kind
@given(body=bodies)
@settings(max_examples=40, deadline=None)
def test_the_players_do_not_depend_on_what_lies_outside_the_crop(kind, body):
    assume(body.cover(kind).any())
    small, box = body.cropped()
    partition, cropped = body.players(kind), small.players(kind)
    np.testing.assert_array_equal(cropped.labels, partition.labels[box])
    assert cropped.names == partition.names


@pytest.mark.parametrize("kind", ["organs", "hybrid"])
@given(body=bodies)
@settings(max_examples=40, deadline=None)
def test_no_player_holds_two_organs_and_its_name_says_which(kind, body):
    assume(body.cover(kind).any())
    partition = body.players(kind)
    for player, name in enumerate(partition.names, start=1):
        organ = np.unique(body.organ_ids[partition.labels == player])
        assert len(organ) == 1
        assert name.rstrip("0123456789 ") == (NAMES[int(organ[0])] if organ[0] else REST_OF_BODY)


@pytest.mark.parametrize("kind", ["fcc", "hybrid"])
@given(body=bodies)
@settings(max_examples=60, deadline=None)
def test_no_player_is_below_the_floor_unless_its_organ_has_no_other(kind, body):
    assume(body.cover(kind).any())
    partition = body.players(kind)
    floor_ml = FLOORS[kind] * cell_volume_ml(body.edge_mm)
    organ_of = [name.rstrip("0123456789 ") if kind == "hybrid" else "" for name in partition.names]
    for organ, volume_ml in zip(organ_of, partition.volumes_ml):
        assert volume_ml >= floor_ml - 1e-9 or organ_of.count(organ) == 1


@every_kind
def test_a_crop_without_body_is_refused(kind):
    body = Body(VoxelGrid((6, 6, 6), np.eye(4)), 7.0, seed=0)
    body.organ_ids[body.within] = 0
    body.body[body.within] = False
    with pytest.raises(InvalidRequest, match="No voxel of the body"):
        body.players(kind)
