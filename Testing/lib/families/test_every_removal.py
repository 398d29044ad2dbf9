"""What every removal promises."""

import numpy as np
import pytest
from geometries import blobs, grids, storages, stored_otherwise
from hypothesis import given, settings
from hypothesis import strategies as st

from SegExplainLib.baselines import REMOVALS
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.removal.blur import blur_fill
from SegExplainLib.removal.constant import air_fill, mean_fill, white_fill, zero_fill
from SegExplainLib.removal.inpaint import inpaint_fill
from SegExplainLib.removal.local_mean import local_mean_fill
from SegExplainLib.volume import VoxelGrid

FILLS = {
    "air": air_fill,
    "mean": mean_fill,
    "local-mean": local_mean_fill,
    "blur": blur_fill,
    "inpaint": inpaint_fill,
    "zero": zero_fill,
    "white": white_fill,
}
AIR, MEAN = np.float32([-2.5, -1.25]), np.float32([0.25, 0.5])


class Scene:
    """A network input of two channels, some units in it, and a body, at random."""

    def __init__(self, grid: VoxelGrid, *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.partition = partition_of(blobs(grid.shape_kji, 3, seed=seed), grid)
        self.body = blobs(grid.shape_kji, 4, seed=seed + 1) > 0
        self.image = rng.normal(size=(2, *grid.shape_kji)).astype(np.float32)

    def filled(self, kind: str, *, image=None, partition=None) -> np.ndarray:
        image = self.image if image is None else image
        options = {"body": self.body, "air": AIR[: len(image)], "mean": MEAN[: len(image)]}
        return FILLS[kind](image, partition or self.partition, **options)


def partition_of(labels, grid) -> PlayerPartition:
    present, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape).astype(np.int32) + (present[0] > 0)
    return PlayerPartition(dense, grid, tuple(f"unit {value}" for value in present[present > 0]), "organs")


scenes = st.builds(Scene, grids(shortest=4, longest=8), seed=st.integers(0, 10**6))
every_kind = pytest.mark.parametrize("kind", FILLS)


def test_every_removal_of_units_is_made_from_these_fills():
    assert {fill for fills in REMOVALS.values() for fill in fills} == set(FILLS.values())


@every_kind
@given(scene=scenes)
@settings(max_examples=25, deadline=None)
def test_context_stays_bit_for_bit_and_units_become_finite(kind, scene):
    before = scene.image.copy()
    filled = scene.filled(kind)
    context = scene.partition.labels == 0
    np.testing.assert_array_equal(filled[:, context], before[:, context])
    np.testing.assert_array_equal(scene.image, before)
    assert filled.dtype == np.float32
    assert filled.shape == scene.image.shape
    assert np.isfinite(filled).all()


@every_kind
@given(scene=scenes, storage=storages)
@settings(max_examples=30, deadline=None)
def test_the_fill_does_not_depend_on_how_the_array_is_stored(kind, scene, storage):
    grid, store = stored_otherwise(scene.partition.grid, *storage)
    again = object.__new__(Scene)
    again.partition = PlayerPartition(store(scene.partition.labels), grid, scene.partition.names, "organs")
    again.image, again.body = store(scene.image), store(scene.body)
    tolerance = 2e-3 if kind == "inpaint" else 1e-5
    np.testing.assert_allclose(again.filled(kind), store(scene.filled(kind)), atol=tolerance)


@every_kind
@given(scene=scenes)
@settings(max_examples=20, deadline=None)
def test_the_fill_of_a_unit_does_not_depend_on_who_else_is_a_unit(kind, scene):
    scene.body |= scene.partition.labels > 0
    together = scene.filled(kind)
    tolerance = 2e-3 if kind == "inpaint" else 1e-5
    for label in range(1, scene.partition.n_players + 1):
        own = scene.partition.labels == label
        alone = scene.filled(kind, partition=partition_of(own.astype(np.int32), scene.partition.grid))
        np.testing.assert_allclose(alone[:, own], together[:, own], atol=tolerance)


@every_kind
@given(scene=scenes)
@settings(max_examples=15, deadline=None)
def test_every_channel_is_filled_from_itself(kind, scene):
    together = scene.filled(kind)
    np.testing.assert_array_equal(scene.filled(kind, image=scene.image[:1])[0], together[0])


@pytest.mark.parametrize("kind", ["local-mean", "blur", "inpaint"])
@given(scene=scenes)
@settings(max_examples=25, deadline=None)
def test_a_constant_body_stays_constant_whatever_the_air_around_it_is(kind, scene):
    tissue = scene.body | (scene.partition.labels > 0)
    flat = np.where(tissue, MEAN[:, None, None, None], AIR[:, None, None, None])
    np.testing.assert_allclose(scene.filled(kind, image=flat), flat, atol=1e-5)


@pytest.mark.parametrize(("kind", "value"), [("air", AIR), ("mean", MEAN)])
@given(scene=scenes)
@settings(max_examples=10, deadline=None)
def test_air_and_mean_are_the_given_values(kind, value, scene):
    absent = scene.filled(kind)[:, scene.partition.labels > 0]
    np.testing.assert_array_equal(absent, np.broadcast_to(value[:, None], absent.shape))


@given(scene=scenes)
@settings(max_examples=10, deadline=None)
def test_zero_is_0_and_white_the_brightest_voxel_of_each_channel(scene):
    is_unit = scene.partition.labels > 0
    assert not scene.filled("zero")[:, is_unit].any()
    for channel, image in zip(scene.filled("white"), scene.image, strict=True):
        assert set(channel[is_unit]) == {max(image.ravel())}


@pytest.mark.parametrize("kind", ["local-mean", "blur", "inpaint"])
def test_a_bright_unit_no_longer_shows_what_it_was(kind):
    scene = Scene(VoxelGrid((24, 24, 24), np.diag([2.0, 2.0, 2.0, 1.0])), seed=0)
    labels = np.zeros((24, 24, 24), dtype=np.int32)
    labels[9:15, 9:15, 9:15] = 1
    scene.body[:] = True
    image = np.where(labels > 0, 1.0, 0.0).astype(np.float32)[None]
    left = scene.filled(kind, image=image, partition=partition_of(labels, scene.partition.grid))
    assert np.abs(left[0, labels > 0]).max() < 0.25
