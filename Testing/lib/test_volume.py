import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.volume import Volume, VoxelGrid, resampled_linear, resampled_nearest, share_inside

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def grids(draw, *, sheared=True, largest=7):
    """Grids with rotated, flipped, permuted and perhaps sheared axes, anywhere in the patient."""
    rng = np.random.default_rng(draw(SEEDS))
    axes = draw(st.sampled_from(["identity", "permuted", "oblique", "sheared"] if sheared else ["permuted", "oblique"]))
    matrix = np.eye(3)
    if axes in ("oblique", "sheared"):
        matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if axes != "identity":
        matrix = matrix[:, rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
    if axes == "sheared":
        matrix = matrix @ (np.eye(3) + np.triu(rng.uniform(-0.4, 0.4, (3, 3)), 1))
    affine = np.eye(4)
    affine[:3, :3] = matrix * rng.uniform(0.4, 5.0, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    return VoxelGrid(tuple(int(n) for n in rng.integers(1, largest + 1, 3)), affine)


def a_grid_near(grid, rng):
    """Another grid whose middle is near that of ``grid``, with other axes and spacing."""
    matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.5, 4.0, 3)
    shape = tuple(int(n) for n in rng.integers(1, 8, 3))
    middle = grid.ras_of((np.array(grid.shape_kji) - 1) / 2) + rng.uniform(-2, 2, 3)
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = middle - matrix @ ((np.array(shape[::-1]) - 1) / 2)
    return VoxelGrid(shape, affine)


def nearest_by_voxel_loop(volume, grid, fill=0):
    """What ``resampled_nearest`` promises, one voxel after the other; -1 where two voxels are as near as each other."""
    result = np.full(grid.shape_kji, fill, dtype=np.int64)
    for kji in itertools.product(*map(range, grid.shape_kji)):
        ijk1 = np.array([*kji[::-1], 1.0])
        there = np.linalg.solve(volume.grid.ijk_to_ras, grid.ijk_to_ras @ ijk1)[2::-1]
        is_tie = np.abs(there - np.floor(there) - 0.5) < 1e-5
        if is_tie.any():
            result[kji] = -1
            continue
        nearest = [round(float(index)) for index in there]
        if all(0 <= index < n for index, n in zip(nearest, volume.grid.shape_kji)):
            result[kji] = volume.array[tuple(nearest)]
    return result


@given(grid=grids(), seed=SEEDS)
def test_a_place_goes_to_indices_and_back(grid, seed):
    kji = np.random.default_rng(seed).uniform(-20, 20, (4, 5, 3))
    assert np.allclose(grid.kji_of(grid.ras_of(kji)), kji, atol=1e-8)


@given(grid=grids())
def test_an_index_is_placed_as_the_matrix_says(grid):
    k, j, i = (n - 1 for n in grid.shape_kji)
    assert np.allclose(grid.ras_of(np.array([k, j, i])), (grid.ijk_to_ras @ [i, j, k, 1])[:3])


@given(grid=grids(), other=grids(), seed=SEEDS)
def test_the_way_between_two_grids_goes_through_the_patient(grid, other, seed):
    kji = np.random.default_rng(seed).uniform(-5, 5, (6, 3))
    matrix, offset = grid.kji_to(other)
    assert np.allclose(kji @ matrix.T + offset, other.kji_of(grid.ras_of(kji)), atol=1e-6)


@given(grid=grids(), seed=SEEDS)
def test_spacing_and_volume_are_those_between_neighbours(grid, seed):
    for axis in range(3):
        neighbour = np.eye(3)[axis]
        gap = grid.ras_of(neighbour) - grid.ras_of(np.zeros(3))
        assert np.isclose(np.linalg.norm(gap), grid.spacing_kji_mm[axis])
    edges = grid.ras_of(np.eye(3)) - grid.ras_of(np.zeros(3))
    assert np.isclose(abs(np.dot(edges[0], np.cross(edges[1], edges[2]))) / 1000, grid.voxel_volume_ml)


@given(grid=grids(), seed=SEEDS)
def test_a_mapped_grid_places_its_voxels_where_the_map_says(grid, seed):
    rng = np.random.default_rng(seed)
    kji_from_new = rng.uniform(-1, 1, (3, 3)) + 2 * np.eye(3)
    offset = rng.uniform(-9, 9, 3)
    kji = rng.uniform(0, 9, (5, 3))
    mapped = grid.mapped((2, 3, 4), kji_from_new, offset)
    assert mapped.shape_kji == (2, 3, 4)
    assert np.allclose(mapped.ras_of(kji), grid.ras_of(kji @ kji_from_new.T + offset), atol=1e-7)


@given(grid=grids(), seed=SEEDS)
def test_a_cropped_grid_keeps_every_voxel_where_it_was(grid, seed):
    rng = np.random.default_rng(seed)
    start = rng.integers(-3, 4, 3)
    kji = rng.integers(0, 5, (5, 3))
    cropped = grid.cropped(tuple(start), (5, 5, 5))
    assert np.allclose(cropped.ras_of(kji), grid.ras_of(kji + start), atol=1e-9)


@settings(max_examples=60)
@given(grid=grids(largest=5), seed=SEEDS)
def test_resampling_takes_the_nearest_voxel_on_any_pair_of_grids(grid, seed):
    rng = np.random.default_rng(seed)
    volume = Volume(rng.integers(1, 200, grid.shape_kji), grid)
    other = a_grid_near(grid, rng)
    literal = nearest_by_voxel_loop(volume, other)
    got = resampled_nearest(volume, other)
    assert np.array_equal(got[literal >= 0], literal[literal >= 0])


@settings(max_examples=60)
@given(grid=grids(largest=6), seed=SEEDS)
def test_resampling_between_parallel_grids_takes_the_nearest_voxel(grid, seed):
    rng = np.random.default_rng(seed)
    volume = Volume(rng.integers(1, 200, grid.shape_kji).astype(np.int16), grid)
    permuted = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3) * rng.uniform(0.3, 2, 3)
    shape = tuple(int(n) for n in rng.integers(1, 8, 3))
    middle = (np.array(grid.shape_kji) - 1) / 2 - permuted @ ((np.array(shape) - 1) / 2)
    other = grid.mapped(shape, permuted, middle + rng.uniform(-1, 1, 3))
    literal = nearest_by_voxel_loop(volume, other, fill=7)
    got = resampled_nearest(volume, other, fill=7)
    assert got.dtype == np.int16
    assert got.flags.c_contiguous
    assert np.array_equal(got[literal >= 0], literal[literal >= 0])


@given(grid=grids(), seed=SEEDS)
def test_resampling_onto_the_same_grid_gives_a_copy(grid, seed):
    array = np.random.default_rng(seed).integers(0, 9, grid.shape_kji)
    moved = resampled_nearest(Volume(array, grid), VoxelGrid(grid.shape_kji, grid.ijk_to_ras.copy()))
    assert np.array_equal(moved, array)
    assert not np.shares_memory(moved, array)


@given(grid=grids(largest=6), seed=SEEDS)
def test_a_crop_resampled_onto_its_grid_is_the_block_itself(grid, seed):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 99, grid.shape_kji)
    start = [int(rng.integers(0, n)) for n in grid.shape_kji]
    shape = tuple(int(rng.integers(1, n - first + 1)) for n, first in zip(grid.shape_kji, start))
    block = tuple(slice(first, first + n) for first, n in zip(start, shape))
    assert np.array_equal(resampled_nearest(Volume(array, grid), grid.cropped(tuple(start), shape)), array[block])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("tilt", [0.0, 0.2])
def test_resampling_keeps_the_type(dtype, tilt):
    array = np.ones((3, 4, 5), dtype=dtype)
    turn = np.array([[1, tilt, 0], [-tilt, 1, 0], [0, 0, 1]])
    other = VoxelGrid((3, 4, 5), np.eye(4)).mapped((6, 8, 10), turn / 2, np.zeros(3))
    moved = resampled_nearest(Volume(array, VoxelGrid((3, 4, 5), np.eye(4))), other)
    assert moved.dtype == dtype
    assert moved.any()


def test_large_labels_survive_resampling_on_oblique_grids():
    array = np.full((3, 3, 3), 2**31 - 1, dtype=np.int32)
    turn = np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]])
    grid = VoxelGrid((3, 3, 3), np.eye(4))
    assert resampled_nearest(Volume(array, grid), grid.mapped((1, 1, 1), turn, np.ones(3))).item() == 2**31 - 1


@pytest.mark.parametrize("turn", [np.eye(3), np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]])])
def test_centres_halfway_between_voxels_all_go_to_the_higher_index(turn):
    # Every 15th voxel of 0.7 mm is halfway between two of 3 mm; in float64 the products scatter about the tie.
    coarse = VoxelGrid((1, 1, 100), np.block([[3 * turn, np.zeros((3, 1))], [0, 0, 0, 1]]))
    tilted = turn @ turn.T if turn[0, 0] == 1 else np.array([[1, 1e-2, 0], [0, 1, 0], [0, 0, 1]])
    fine = VoxelGrid((1, 1, 400), np.block([[0.7 * turn @ tilted, np.zeros((3, 1))], [0, 0, 0, 1]]))
    moved = resampled_nearest(Volume(np.arange(100).reshape(1, 1, 100), coarse), fine)
    assert moved.ravel().tolist() == [(14 * i + 30) // 60 for i in range(400)]


def test_the_outer_half_of_a_border_voxel_belongs_to_it_and_beyond_is_fill():
    grid = VoxelGrid((1, 1, 2), np.eye(4))
    volume = Volume(np.array([[[5, 6]]]), grid)
    for turn in (np.eye(3), np.array([[1, 0.01, 0], [-0.01, 1, 0], [0, 0, 1]])):
        fine = grid.mapped((1, 1, 40), turn @ np.diag([1, 1, 0.1]), np.array([0, 0, -0.95]))
        row = resampled_nearest(volume, fine, fill=9)[0, 0]
        assert row.tolist() == [9] * 5 + [5] * 10 + [6] * 10 + [9] * 15


@given(grid=grids(largest=5))
def test_a_grid_is_the_same_as_its_rounded_copy_but_not_as_a_shifted_one(grid):
    rounded = VoxelGrid(grid.shape_kji, grid.ijk_to_ras.astype(np.float32))
    assert grid.is_same_as(rounded)
    assert not grid.is_same_as(grid.cropped((0, 0, 1), grid.shape_kji))
    assert not grid.is_same_as(grid.cropped((0, 0, 0), (9, 9, 9)))


def test_the_gap_between_grids_is_found_at_the_far_corner():
    grid = VoxelGrid((10, 10, 101), np.eye(4))
    stretched = VoxelGrid((10, 10, 101), np.diag([1.001, 1, 1, 1]))
    assert np.isclose(stretched.largest_gap_voxels(grid), 0.1)


@given(grid=grids(sheared=False))
def test_right_angled_axes_have_no_shear(grid):
    assert grid.shear < 1e-9


def test_shear_is_the_cosine_between_axes():
    affine = np.eye(4)
    affine[:3, 2] = [0, 2 * np.sin(0.1), 2 * np.cos(0.1)]
    assert np.isclose(VoxelGrid((2, 2, 2), affine).shear, np.sin(0.1))


def test_the_share_inside_is_that_of_the_overlap():
    grid = VoxelGrid((8, 8, 8), np.eye(4))
    assert share_inside(grid, grid) == 1
    assert share_inside(grid, grid.cropped((0, 0, 4), (8, 8, 8))) == 0.5
    assert share_inside(grid, grid.cropped((2, 0, 4), (4, 8, 8))) == 0.25
    assert share_inside(grid, grid.cropped((0, 0, 8), (8, 8, 8))) == 0
    assert share_inside(grid.cropped((2, 2, 2), (3, 3, 3)), grid) == 1


@pytest.mark.parametrize(
    ("shape", "affine", "said"),
    [
        ((2, 2), np.eye(4), "three axes"),
        ((2, 0, 2), np.eye(4), "three axes"),
        ((2, 2, 2), np.eye(3), "affine"),
        ((2, 2, 2), np.diag([1, 1, np.nan, 1]), "affine"),
        ((2, 2, 2), np.diag([1, 1, 1, 2]), "affine"),
        ((2, 2, 2), np.diag([1, 1, 0, 1]), "spacing is zero"),
    ],
)
def test_an_impossible_grid_is_refused(shape, affine, said):
    with pytest.raises(InvalidRequest, match=said):
        VoxelGrid(shape, affine)


def test_a_grid_cannot_be_changed_through_its_matrix():
    affine = np.eye(4)
    grid = VoxelGrid((2, 2, 2), affine)
    affine[0, 0] = 5
    assert grid.ijk_to_ras[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.ijk_to_ras[0, 0] = 5


def test_an_array_of_another_shape_than_its_grid_is_refused():
    with pytest.raises(GeometryMismatch, match="shape"):
        Volume(np.zeros((2, 2, 3)), VoxelGrid((2, 2, 2), np.eye(4)))


def linear_by_voxel_loop(volume, grid):
    """What ``resampled_linear`` promises, one voxel after the other; nan where the border is as near as rounding."""
    result = np.zeros(grid.shape_kji)
    for kji in itertools.product(*map(range, grid.shape_kji)):
        ijk1 = np.array([*kji[::-1], 1.0])
        there = np.linalg.solve(volume.grid.ijk_to_ras, grid.ijk_to_ras @ ijk1)[2::-1]
        last = np.array(volume.grid.shape_kji) - 1
        if (np.minimum(np.abs(there + 0.5), np.abs(there - last - 0.5)) < 1e-5).any():
            result[kji] = np.nan
        elif (there > -0.5).all() and (there < last + 0.5).all():
            at = np.clip(there, 0, last)
            for corner in itertools.product(*[{int(np.floor(a)), int(np.ceil(a))} for a in at]):
                share = np.prod([1 - abs(a - c) for a, c in zip(at, corner)])
                result[kji] += share * volume.array[corner]
    return result


@given(grid=grids(), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_a_map_is_interpolated_between_the_eight_voxels_around_on_any_pair_of_grids(grid, seed):
    rng = np.random.default_rng(seed)
    array = rng.normal(size=grid.shape_kji) * (rng.random(grid.shape_kji) < rng.choice([0.1, 0.5, 1.0]))
    other = a_grid_near(grid, rng)
    found = resampled_linear(Volume(array, grid), other)
    expected = linear_by_voxel_loop(Volume(array, grid), other)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.where(np.isnan(expected), 0, found), np.nan_to_num(expected), atol=1e-4)


def test_a_map_beside_the_grid_is_0_on_it():
    grid = VoxelGrid((3, 4, 5), np.eye(4))
    beside = VoxelGrid((3, 4, 5), np.array([[1, 0, 0, 0], [0, 1, 0, 9], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    assert not resampled_linear(Volume(np.ones((3, 4, 5), dtype=np.float32), grid), beside).any()


def test_an_empty_map_stays_empty_and_a_map_on_its_own_grid_stays_as_it_is():
    grid = VoxelGrid((3, 4, 5), np.diag([1.0, 2.0, 3.0, 1.0]))
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    np.testing.assert_allclose(resampled_linear(Volume(array, grid), grid), array, atol=1e-5)
    assert not resampled_linear(Volume(0 * array, grid), grid).any()
