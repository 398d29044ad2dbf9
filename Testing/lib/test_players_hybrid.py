import numpy as np

from SegExplainLib.players.hybrid import hybrid_players
from SegExplainLib.players.organs import organ_players
from SegExplainLib.players.supervoxels import cell_volume_ml
from SegExplainLib.volume import VoxelGrid

NAMES = {1: "liver", 2: "adrenal gland", 3: "adrenal gland 2"}


def a_liver_and_two_small_glands():
    """Organ ids and a grid whose k runs from superior to inferior."""
    organ_ids = np.zeros((30, 24, 24), dtype=np.int32)
    organ_ids[:, 4:20, 4:20] = 1
    organ_ids[5:7, 0:2, 0:2] = 2
    organ_ids[9:10, 0:1, 0:1] = 3
    return organ_ids, VoxelGrid(organ_ids.shape, np.diag([2.0, 2.0, -2.0, 1.0]))


def hybrid_of(organ_ids, grid, *, names=NAMES, edge_mm=20.0):
    everywhere = np.ones(grid.shape_kji, dtype=bool)
    return hybrid_players(organ_ids, names, edge_mm=edge_mm, within=everywhere, body=everywhere, grid=grid)


def test_pieces_are_numbered_from_superior_to_inferior_in_the_patient():
    organ_ids, grid = a_liver_and_two_small_glands()
    for turned, ids in ((grid, organ_ids), (VoxelGrid(grid.shape_kji, np.diag([2.0, 2.0, 2.0, 1.0])), organ_ids)):
        partition = hybrid_of(ids, turned)
        pieces = [player for player, name in enumerate(partition.names, start=1) if name.startswith("liver")]
        assert [partition.names[player - 1] for player in pieces] == [f"liver {n + 1}" for n in range(len(pieces))]
        heights = [turned.ras_of(np.argwhere(partition.labels == player)).mean(axis=0)[2] for player in pieces]
        assert len(heights) > 3
        assert (np.diff(heights) < 1e-6).all()


def test_an_organ_below_the_floor_is_one_player_with_its_own_name():
    organ_ids, grid = a_liver_and_two_small_glands()
    partition = hybrid_of(organ_ids, grid)
    assert partition.volumes_ml[partition.names.index("adrenal gland")] < 0.25 * cell_volume_ml(20.0)
    np.testing.assert_array_equal(partition.labels == partition.names.index("adrenal gland") + 1, organ_ids == 2)
    np.testing.assert_array_equal(partition.labels == partition.names.index("adrenal gland 2") + 1, organ_ids == 3)
    assert partition.names[-1].startswith("rest of body ")


def test_a_piece_never_takes_the_name_of_another_organ():
    organ_ids, grid = a_liver_and_two_small_glands()
    partition = hybrid_of(organ_ids, grid, names={1: "lesion", 2: "lesion 2", 3: "node"})
    assert {"lesion 1", "lesion part 2", "lesion 3", "lesion 2"} <= set(partition.names)
    np.testing.assert_array_equal(partition.labels == partition.names.index("lesion 2") + 1, organ_ids == 2)


def test_the_pieces_of_an_organ_are_the_organ():
    organ_ids, grid = a_liver_and_two_small_glands()
    everywhere = np.ones(grid.shape_kji, dtype=bool)
    organs = organ_players(organ_ids, NAMES, within=everywhere, body=everywhere, grid=grid)
    pieces = hybrid_of(organ_ids, grid)
    for label in range(1, pieces.n_players + 1):
        assert len(np.unique(organs.labels[pieces.labels == label])) == 1


def test_one_cell_as_large_as_the_body_leaves_the_organs():
    organ_ids, grid = a_liver_and_two_small_glands()
    assert hybrid_of(organ_ids, grid, edge_mm=2000.0).names == (*NAMES.values(), "rest of body")
