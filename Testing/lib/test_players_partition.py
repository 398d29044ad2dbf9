import numpy as np
import pytest

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.players.partition import PlayerPartition, dense_ids, partition_from_ids
from SegExplainLib.volume import VoxelGrid

GRID = VoxelGrid((2, 3, 4), np.diag([2.0, 3.0, 5.0, 1.0]))
NAMES = {3: "liver", 7: "spleen", 40_000_000: "lesion"}


def some_ids(values=(0, 3, 7)) -> np.ndarray:
    return np.random.default_rng(0).choice(values, GRID.shape_kji)


@pytest.mark.parametrize("values", [(0, 3, 7), (0, 3, 40_000_000), (3, 7)])
def test_dense_ids_count_up_in_the_order_of_the_ids(values):
    ids = some_ids(values)
    expected = np.zeros(ids.shape)
    for number, value in enumerate([value for value in values if value], start=1):
        expected[ids == value] = number
    np.testing.assert_array_equal(dense_ids(ids), expected)
    assert dense_ids(ids).dtype == np.int32


def test_an_id_without_a_voxel_inside_the_crop_is_no_player():
    ids = some_ids()
    partition = partition_from_ids(ids, NAMES, within=ids != 3, grid=GRID, kind="organs")
    assert partition.names == ("spleen",)
    np.testing.assert_array_equal(partition.labels, ids == 7)


def test_pooling_and_painting_are_the_voxel_loop():
    partition = partition_from_ids(some_ids(), NAMES, within=np.ones(GRID.shape_kji, bool), grid=GRID, kind="organs")
    voxel_map = np.random.default_rng(1).normal(size=GRID.shape_kji)
    sums, counts = np.zeros(2), np.zeros(2)
    for kji in np.ndindex(*GRID.shape_kji):
        if partition.labels[kji]:
            sums[partition.labels[kji] - 1] += voxel_map[kji]
            counts[partition.labels[kji] - 1] += 1
    np.testing.assert_allclose(partition.pooled(voxel_map), sums)
    np.testing.assert_allclose(partition.volumes_ml, counts * 0.03)
    painted = partition.painted(np.array([1.5, -2.0]))
    np.testing.assert_array_equal(painted, np.array([0, 1.5, -2.0], dtype=np.float32)[partition.labels])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.zeros((2, 3, 4)), ()),
        (np.ones((2, 3, 4)), ("liver", "spleen")),
        (np.full((2, 3, 4), 2), ("liver", "spleen")),
        (np.arange(24).reshape(2, 3, 4) % 3, ("liver", "liver")),
        (np.arange(24).reshape(2, 3, 4) % 4, ("liver", "spleen")),
    ],
    ids=["no unit", "a unit without voxels", "a gap", "one name twice", "a label without a name"],
)
def test_labels_that_are_no_partition_are_refused(labels, names):
    with pytest.raises(InvalidRequest):
        PlayerPartition(labels.astype(np.int32), GRID, names, "organs")
