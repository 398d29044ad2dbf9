import numpy as np
import pytest
from geometries import blobs, grids
from hypothesis import given, settings
from hypothesis import strategies as st

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.removal.blur import SIGMA_MM, blur_fill
from SegExplainLib.removal.inpaint import inpaint_fill
from SegExplainLib.removal.local_mean import SHELL_MM, local_mean_fill
from SegExplainLib.volume import VoxelGrid

AIR, MEAN = np.float32([-2.5]), np.float32([0.25])


def partition_of(labels, grid) -> PlayerPartition:
    names = tuple(f"unit {label}" for label in range(1, labels.max() + 1))
    return PlayerPartition(labels.astype(np.int32), grid, names, "organs")


def filled(fill, image, labels, grid, body) -> np.ndarray:
    partition = partition_of(labels, grid)
    return fill(image[None].astype(np.float32), partition, body=body, air=AIR, mean=MEAN)[0]


def a_scene(grid, seed):
    """Image, labels and body at random; every label occurs."""
    labels = np.unique(blobs(grid.shape_kji, 3, seed=seed), return_inverse=True)[1].reshape(grid.shape_kji)
    labels[0, 0, :2] = (0, 1) if labels.max() == 0 else labels[0, 0, :2]
    body = blobs(grid.shape_kji, 2, seed=seed + 1) > 0
    return np.random.default_rng(seed).normal(size=grid.shape_kji), labels, body


@given(grid=grids(longest=6), seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_local_mean_is_the_voxel_loop(grid, seed):
    image, labels, body = a_scene(grid, seed)
    places = grid.ras_of(np.indices(grid.shape_kji).reshape(3, -1).T)
    expected, tissue = image.ravel().copy(), (body | (labels > 0)).ravel()
    for label in range(1, labels.max() + 1):
        own = (labels == label).ravel()
        near = [np.linalg.norm(places[own] - place, axis=1).min() <= SHELL_MM + 1e-6 for place in places]
        shell = np.array(near) & ~own & tissue
        expected[own] = image.ravel()[shell].mean() if shell.any() else MEAN[0]
    np.testing.assert_allclose(filled(local_mean_fill, image, labels, grid, body).ravel(), expected, atol=1e-5)


def test_a_shell_ends_ten_millimetres_from_the_unit():
    grid = VoxelGrid((1, 1, 40), np.eye(4))
    labels = np.zeros((1, 1, 40), dtype=int)
    labels[..., 20] = 1
    image = np.zeros((1, 1, 40))
    image[..., [10, 30]], image[..., [9, 31]] = 1.0, 100.0
    answer = filled(local_mean_fill, image, labels, grid, np.ones(image.shape, bool))
    assert answer[0, 0, 20] == pytest.approx(2 / 20)


@given(grid=grids(longest=6), seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_blur_is_the_gaussian_weighted_mean_over_the_body(grid, seed):
    image, labels, body = a_scene(grid, seed)
    places = grid.ras_of(np.indices(grid.shape_kji).reshape(3, -1).T)
    tissue = (body | (labels > 0)).ravel()
    squares = ((places[:, None] - places[tissue]) ** 2).sum(axis=-1)
    weights = np.exp(-squares / (2 * SIGMA_MM**2))
    blurred = (weights @ image.ravel()[tissue] / weights.sum(axis=1)).reshape(image.shape)
    expected = np.where(labels > 0, blurred, image)
    # scipy cuts the Gaussian off at four sigma.
    np.testing.assert_allclose(filled(blur_fill, image, labels, grid, body), expected, atol=2e-3)


def inpainted_by_relaxation(image, labels, grid, body):
    """Gauss-Seidel, voxel by voxel, until nothing moves; pieces without a fixed neighbour by their unit's rule."""
    weights = 1.0 / grid.spacing_kji_mm**2
    tissue = body | (labels > 0)

    def sides(kji):
        for axis in range(3):
            for step in (-1, 1):
                there = tuple(index + step * (a == axis) for a, index in enumerate(kji))
                if 0 <= there[axis] < labels.shape[axis]:
                    yield there, weights[axis]

    own_sides = {kji: list(sides(kji)) for kji in zip(*np.nonzero(labels))}
    fixed = {
        kji: [(there, w) for there, w in around if labels[there] != labels[kji] and tissue[there]]
        for kji, around in own_sides.items()
    }
    answer = image.astype(np.float64).copy()
    for label in range(1, labels.max() + 1):
        border = [pair for kji, pairs in fixed.items() if labels[kji] == label for pair in pairs]
        total = sum(w for _, w in border)
        answer[labels == label] = sum(w * image[there] for there, w in border) / total if border else MEAN[0]
    for _ in range(3000):
        largest = 0.0
        for kji, around in own_sides.items():
            inside = [(there, w) for there, w in around if labels[there] == labels[kji]]
            total = sum(w for _, w in inside + fixed[kji])
            if total == 0:
                continue
            value = sum(w * answer[there] for there, w in inside) + sum(w * image[there] for there, w in fixed[kji])
            largest = max(largest, abs(value / total - answer[kji]))
            answer[kji] = value / total
        if largest < 1e-7:
            break
    return answer


@given(grid=grids(longest=5), seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_inpainting_is_where_relaxation_ends(grid, seed):
    image, labels, body = a_scene(grid, seed)
    expected = inpainted_by_relaxation(image, labels, grid, body)
    np.testing.assert_allclose(filled(inpaint_fill, image, labels, grid, body), expected, atol=2e-3)


@pytest.mark.parametrize("slope", [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (0.3, -0.7, 0.2)])
def test_inpainting_continues_a_ramp(slope):
    grid = VoxelGrid((12, 14, 16), np.diag([1.0, 1.5, 4.0, 1.0]))
    image = grid.ras_of(np.moveaxis(np.indices(grid.shape_kji), 0, -1)) @ np.array(slope) + 300.0
    labels = np.zeros(grid.shape_kji, dtype=int)
    labels[3:9, 2:9, 3:12], labels[3:9, 9:12, 3:12] = 1, 2
    answer = filled(inpaint_fill, image, labels, grid, np.ones(grid.shape_kji, dtype=bool))
    np.testing.assert_allclose(answer, image, atol=1e-3 * np.ptp(image))


def test_a_single_voxel_is_inpainted_by_its_nearest_neighbours_most():
    grid = VoxelGrid((3, 3, 3), np.diag([1.0, 2.0, 5.0, 1.0]))
    labels = np.zeros((3, 3, 3), dtype=int)
    labels[1, 1, 1] = 1
    image = np.zeros((3, 3, 3))
    image[1, 1, [0, 2]], image[1, [0, 2], 1], image[[0, 2], 1, 1] = 1.0, 10.0, 100.0
    answer = filled(inpaint_fill, image, labels, grid, np.ones(image.shape, bool))
    assert answer[1, 1, 1] == pytest.approx((1.0 + 10.0 / 4 + 100.0 / 25) / (1 + 1 / 4 + 1 / 25), rel=1e-5)


def test_flesh_under_the_skin_is_inpainted_from_flesh():
    grid = VoxelGrid((1, 1, 12), np.eye(4))
    image = np.array([1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0, -9.0, -9.0, -9.0, -9.0]).reshape(1, 1, 12)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]).reshape(1, 1, 12)
    answer = filled(inpaint_fill, image, labels, grid, image > -9)
    np.testing.assert_allclose(answer[0, 0, 4:8], 1.0, atol=1e-4)


@pytest.mark.parametrize("fill", [local_mean_fill, inpaint_fill])
def test_a_unit_with_nothing_around_it_becomes_the_mean(fill):
    grid = VoxelGrid((4, 4, 4), np.eye(4))
    labels = np.ones((4, 4, 4), dtype=int)
    image = np.random.default_rng(0).normal(size=(4, 4, 4))
    np.testing.assert_allclose(filled(fill, image, labels, grid, labels > 0), MEAN[0])
    labels[3] = 0
    nowhere = np.zeros((4, 4, 4), dtype=bool)
    np.testing.assert_allclose(filled(fill, image, labels, grid, nowhere)[:3], MEAN[0])


def test_an_island_without_a_border_takes_the_level_of_its_units_border():
    grid = VoxelGrid((1, 1, 8), np.eye(4))
    labels = np.array([0, 1, 0, 0, 0, 1, 1, 0]).reshape(1, 1, 8)
    body = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=bool).reshape(1, 1, 8)
    image = np.array([2.0, 9.0, 4.0, -9.0, -9.0, 9.0, 9.0, -9.0]).reshape(1, 1, 8)
    answer = filled(inpaint_fill, image, labels, grid, body)
    np.testing.assert_allclose(answer[labels > 0], 3.0, rtol=1e-6)


def test_an_input_that_is_not_finite_is_not_inpainted():
    grid = VoxelGrid((1, 1, 3), np.eye(4))
    image = np.array([1.0, 2.0, np.nan]).reshape(1, 1, 3)
    labels = np.array([0, 1, 0]).reshape(1, 1, 3)
    with pytest.raises(InvalidRequest, match="not finite"):
        filled(inpaint_fill, image, labels, grid, np.ones(image.shape, bool))
