import numpy as np
from geometries import blobs, grids
from hypothesis import given, settings
from hypothesis import strategies as st

from SegExplainLib.players.merging import merged_fragments
from SegExplainLib.volume import VoxelGrid


def borders_by_voxel(fragments, grid):
    """(one, other) -> shared area in mm^2, face by face."""
    step_k, step_j, step_i = grid.spacing_kji_mm
    areas = (step_j * step_i, step_k * step_i, step_k * step_j)
    found = {}
    for kji in np.ndindex(*fragments.shape):
        for axis in range(3):
            there = tuple(index + (a == axis) for a, index in enumerate(kji))
            if there[axis] == fragments.shape[axis]:
                continue
            one, other = int(fragments[kji]), int(fragments[there])
            if one and other and one != other:
                for pair in ((one, other), (other, one)):
                    found[pair] = found.get(pair, 0.0) + areas[axis]
    return found


def merged_by_relabelling(fragments, group_of, grid, floor_ml):
    """The same rule, with everything counted anew on the relabelled array after each merger."""
    fragments = fragments.copy()
    while True:
        alive = [int(f) for f in np.unique(fragments) if f]
        volume = {f: int((fragments == f).sum()) for f in alive}
        group = {f: [g for g in alive if group_of[g] == group_of[f] and g != f] for f in alive}
        small = sorted((volume[f], f) for f in alive if volume[f] * grid.voxel_volume_ml < floor_ml and group[f])
        if not small:
            return fragments
        small = small[0][1]
        shared = borders_by_voxel(fragments, grid)
        near = [f for f in group[small] if (small, f) in shared]
        if near:
            host = min(near, key=lambda f: (-round(shared[small, f], 3), f))
        else:
            centre = {f: grid.ras_of(np.argwhere(fragments == f)).mean(axis=0) for f in [small, *group[small]]}
            host = min(group[small], key=lambda f: (round(float(np.linalg.norm(centre[f] - centre[small])), 3), f))
        fragments[fragments == small] = host


@given(grid=grids(longest=6), seed=st.integers(0, 10**6), n_groups=st.integers(1, 3), floor_voxels=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_mergers_are_those_of_the_slow_way(grid, seed, n_groups, floor_voxels):
    fragments = np.unique(blobs(grid.shape_kji, 9, seed=seed), return_inverse=True)[1]
    fragments = fragments.reshape(grid.shape_kji).astype(np.int32)
    group_of = np.random.default_rng(seed).integers(0, n_groups, fragments.max() + 1)
    floor_ml = (floor_voxels - 0.5) * grid.voxel_volume_ml
    becomes = merged_fragments(fragments, group_of=group_of, grid=grid, floor_ml=floor_ml)
    np.testing.assert_array_equal(becomes[fragments], merged_by_relabelling(fragments, group_of, grid, floor_ml))


def a_crumb_between_two_slabs() -> np.ndarray:
    """Fragment 1 is a bar that touches fragment 2 along k by 4 faces and fragment 3 along j by 4 others."""
    fragments = np.zeros((6, 6, 4), dtype=np.int32)
    fragments[:3] = 2
    fragments[3, 0] = 1
    fragments[3:, 1:] = 3
    return fragments


def test_the_longest_border_is_one_in_mm_and_not_in_faces():
    one_group = np.zeros(4, dtype=np.int64)
    thick = VoxelGrid((6, 6, 4), np.diag([1.0, 1.0, 4.0, 1.0]))
    flat = VoxelGrid((6, 6, 4), np.diag([1.0, 4.0, 1.0, 1.0]))
    for grid, host in ((thick, 3), (flat, 2)):
        floor_ml = 5 * grid.voxel_volume_ml
        becomes = merged_fragments(a_crumb_between_two_slabs(), group_of=one_group, grid=grid, floor_ml=floor_ml)
        np.testing.assert_array_equal(becomes, [0, host, 2, 3])


def test_a_fragment_without_a_neighbour_joins_the_nearest_of_its_group_and_a_lone_one_stays():
    grid = VoxelGrid((1, 1, 12), np.eye(4))
    fragments = np.array([[[1, 0, 0, 2, 2, 2, 3, 0, 0, 0, 4, 4]]], dtype=np.int32)
    becomes = merged_fragments(fragments, group_of=np.array([0, 1, 2, 1, 1]), grid=grid, floor_ml=0.002)
    np.testing.assert_array_equal(becomes, [0, 3, 2, 3, 4])
    becomes = merged_fragments(fragments, group_of=np.array([0, 1, 2, 3, 4]), grid=grid, floor_ml=0.002)
    np.testing.assert_array_equal(becomes, [0, 1, 2, 3, 4])
