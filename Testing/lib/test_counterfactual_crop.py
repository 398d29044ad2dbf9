"""Cubes of the patient, the way of an edit back to the network's grid, and what a change of HU does to its input."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import TinySegmenter, noise_ct, oblique_grid
from scipy import ndimage

from SegExplainLib.contract import UnusableModel
from SegExplainLib.counterfactual.crop import EditPlace, cube_grid, sampled_hu
from SegExplainLib.counterfactual.hu_scale import hu_scale
from SegExplainLib.volume import Volume, VoxelGrid

CPU = torch.device("cpu")
GRIDS = {
    "oblique and flipped": oblique_grid((22, 30, 40)),
    "oblique": oblique_grid((22, 30, 40), flip=False),
    "thick slices": oblique_grid((10, 36, 36), spacing_ijk_mm=(2.5, 2.5, 8.0)),
    "permuted": VoxelGrid(
        (28, 30, 26),
        np.array([[0, 0, 3.0, -30], [3.0, 0, 0, 5], [0, -3.0, 0, 70], [0, 0, 0, 1]]),
    ),
}


def centre_of(grid: VoxelGrid) -> np.ndarray:
    return grid.ras_of((np.array(grid.shape_kji) - 1) / 2)


def cube_in(grid: VoxelGrid, *, edge_voxels=16, voxel_mm=4.0) -> VoxelGrid:
    return cube_grid(centre_of(grid), edge_voxels=edge_voxels, voxel_mm=voxel_mm)


def ramp(ras: np.ndarray) -> np.ndarray:
    """HU that change linearly in the patient: trilinear interpolation is exact on them."""
    return (ras @ np.array([1.5, -2.0, 0.7]) + 40.0).astype(np.float32)


def ras_of_all(grid: VoxelGrid) -> np.ndarray:
    return grid.ras_of(np.moveaxis(np.indices(grid.shape_kji), 0, -1))


@pytest.fixture(params=GRIDS, ids=str)
def a_grid(request):
    return GRIDS[request.param]


def place_on(grid: VoxelGrid, cube: VoxelGrid, *, taper_mm=8.0, is_fixed=None) -> EditPlace:
    return EditPlace.of(cube, grid, taper_mm=taper_mm, is_fixed=is_fixed, device=CPU)


def test_a_cube_lies_along_the_patients_axes_around_its_centre():
    cube = cube_grid(np.array([10.0, -20.0, 30.0]), edge_voxels=8, voxel_mm=4.0)
    assert np.allclose(cube.ras_of(np.array([3.5, 3.5, 3.5])), [10, -20, 30])
    step = cube.ras_of(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])) - cube.ras_of(np.zeros(3))
    assert np.allclose(step, [[0, 0, 4], [0, -4, 0], [-4, 0, 0]])  # k to the head, j to the back, i to the left


def test_the_cube_shows_the_patient_whatever_the_grid(a_grid):
    cube = cube_in(a_grid, edge_voxels=6)
    ct = Volume(ramp(ras_of_all(a_grid)), a_grid)
    assert np.allclose(sampled_hu(ct, cube), ramp(ras_of_all(cube)), atol=0.05)


def test_a_coarser_cube_is_smoothed_and_noise_does_not_come_through():
    grid = VoxelGrid((48, 48, 48), np.diag([1.0, 1.0, 1.0, 1.0]))
    noise = Volume(100.0 * np.random.default_rng(0).standard_normal(grid.shape_kji).astype(np.float32), grid)
    cube = cube_grid(centre_of(grid), edge_voxels=8, voxel_mm=4.0)
    plain = ndimage.map_coordinates(noise.array, grid.kji_of(ras_of_all(cube)).reshape(-1, 3).T, order=1)
    assert sampled_hu(noise, cube).std() < 0.35 * plain.std()


def test_beyond_the_ct_its_border_goes_on():
    grid = VoxelGrid((4, 4, 4), np.diag([-4.0, -4.0, 4.0, 1.0]))
    ct = Volume(np.full(grid.shape_kji, 55.0, np.float32), grid)
    assert np.allclose(sampled_hu(ct, cube_in(grid, edge_voxels=12)), 55.0)


def test_in_the_core_an_edit_comes_back_as_it_was_made(a_grid):
    cube = cube_in(a_grid)
    place = place_on(a_grid, cube)
    placed = place.placed(torch.from_numpy(ramp(ras_of_all(cube)))).numpy()
    is_core = place.weight.numpy() == 1
    assert is_core.sum() > 100
    assert np.allclose(placed[is_core], ramp(ras_of_all(a_grid))[place.block][is_core], atol=0.02)


def test_outside_the_cube_and_at_its_faces_there_is_no_edit(a_grid):
    cube = cube_in(a_grid)
    place = place_on(a_grid, cube)
    whole = np.zeros(a_grid.shape_kji, np.float32)
    whole[place.block] = place.placed(torch.full(cube.shape_kji, 100.0)).numpy()
    in_cube = cube.kji_of(ras_of_all(a_grid))
    depth_mm = 4.0 * np.minimum(in_cube, 15 - in_cube).min(axis=-1)
    assert (whole[depth_mm <= 0] == 0).all()
    assert (whole[depth_mm > 0.01] > 0).all()
    assert np.allclose(whole[depth_mm >= 8.0], 100.0, atol=1e-3)
    assert whole[(depth_mm > 0) & (depth_mm < 1.0)].max(initial=0.0) < 5.0


def test_fixed_voxels_get_no_edit(a_grid):
    cube = cube_in(a_grid)
    is_fixed = np.random.default_rng(1).random(a_grid.shape_kji) < 0.3
    place = place_on(a_grid, cube, is_fixed=is_fixed)
    assert (place.placed(torch.ones(cube.shape_kji)).numpy()[is_fixed[place.block]] == 0).all()


def test_the_way_back_is_linear_and_its_gradient_is_its_transpose(a_grid):
    cube = cube_in(a_grid)
    place = place_on(a_grid, cube)
    generator = torch.Generator().manual_seed(0)
    edit, other = (torch.randn(cube.shape_kji, generator=generator) for _ in range(2))
    weights = torch.randn(place.weight.shape, generator=generator)
    leaf = edit.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((place.placed(leaf) * weights).sum(), leaf)
    assert torch.allclose((gradient * other).sum(), (place.placed(other) * weights).sum(), rtol=1e-3, atol=1e-3)


def test_a_cube_that_reaches_beyond_the_grid_edits_what_is_there():
    grid = oblique_grid((6, 6, 6))
    cube = cube_in(grid, edge_voxels=24)
    place = place_on(grid, cube)
    assert place.block == (slice(0, 6),) * 3
    assert np.allclose(place.placed(torch.full(cube.shape_kji, 7.0)).numpy(), 7.0)


class Normalised:
    """A segmenter of which only the normalisation counts."""

    name, device = "of lines", CPU

    def __init__(self, *maps) -> None:
        self.maps = maps

    def input_value(self, hu, prepared):
        return np.array([of(hu) for of in self.maps], dtype=np.float32)


LINES = {
    "clipped": lambda hu: (np.clip(hu, -200, 300) - 40) / 90,
    "not clipped": lambda hu: (hu + 312) / 450,
    "clipped below": lambda hu: max(hu, -1000.0) / 1000,
    "inverted": lambda hu: 1 - np.clip((hu + 160) / 400, 0, 1),
    "with a hole at 0": lambda hu: 0.0 if hu == 0 else (hu - 10) / 50,
}


@pytest.mark.parametrize("name", LINES)
def test_the_scale_is_the_normalisation(name):
    scale = hu_scale(Normalised(LINES[name], LINES["clipped"]), SimpleNamespace())
    hu = torch.linspace(-1090, 3000, 301).reshape(7, 43, 1)
    expected = [[[[LINES[channel](float(v))] for v in row] for row in hu[..., 0]] for channel in (name, "clipped")]
    assert np.allclose(scale.input_of(hu).numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("curve", [lambda hu: np.sign(hu) * abs(hu) ** 0.5, lambda hu: 0.0, lambda hu: float(hu > 40)])
def test_a_normalisation_that_is_no_line_is_refused(curve):
    with pytest.raises(UnusableModel, match="not a line"):
        hu_scale(Normalised(curve), SimpleNamespace())


def test_the_scale_of_a_real_segmenter_leads_from_the_ct_to_its_input():
    segmenter, ct = TinySegmenter(), noise_ct()
    prepared = segmenter.prepared(ct)
    scale = hu_scale(segmenter, prepared)
    assert np.allclose(scale.input_of(torch.from_numpy(ct.array)).numpy(), prepared.array, atol=1e-4)


def test_an_edit_is_clipped_as_the_ct_would_be():
    scale = hu_scale(Normalised(LINES["clipped"]), SimpleNamespace())
    hu = torch.tensor([[[-850.0, -850.0, 50.0, 50.0, 290.0, 900.0, -190.0]]])
    edit = torch.tensor([[[100.0, 700.0, 0.0, 30.0, 40.0, -700.0, -40.0]]])
    before = scale.input_of(hu)
    after = scale.edited(before, hu=hu, edit_hu=edit)
    assert torch.allclose(after, scale.input_of(hu + edit), atol=1e-5)
    assert after[0, 0, 0, 0] == before[0, 0, 0, 0]
    assert after[0, 0, 0, 2] == before[0, 0, 0, 2]


def test_what_lies_beyond_the_probed_range_stays_where_nothing_is_edited():
    scale = hu_scale(Normalised(LINES["not clipped"]), SimpleNamespace())
    metal = torch.full((1, 1, 1, 1), 40.0)
    assert torch.equal(scale.edited(metal, hu=torch.full((1, 1, 1), 17000.0), edit_hu=torch.zeros(1, 1, 1)), metal)
