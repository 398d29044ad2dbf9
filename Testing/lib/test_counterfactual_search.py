"""The search for a CT without the target: its gradient, what it may change, what it reports, and when it gives up."""

import numpy as np
import pytest
import torch
from builders import TinySegmenter, noise_ct, oblique_grid
from gradient_oracles import naive_fused
from torch.nn.functional import avg_pool3d, interpolate

from SegExplainLib.case import PreparedCase, prepared_case
from SegExplainLib.contract import Cancelled, InvalidRequest
from SegExplainLib.counterfactual import search
from SegExplainLib.counterfactual.edit_space import EditSpace, cube_around_target
from SegExplainLib.counterfactual.search import counterfactual_input
from SegExplainLib.gradients.backward import StitchedNetwork
from SegExplainLib.gradients.stitched_score import stitched_score
from SegExplainLib.model.segmenter import TilePass
from SegExplainLib.volume import Volume, VoxelGrid

BRIGHT_HU = 200.0
SHAPE = (24, 28, 30)


class Pooling:
    """An autoencoder that needs no training: latents are means over cubes of 32 mm, decoding interpolates them."""

    def encode(self, x):
        latents = avg_pool3d(x, 8)
        return latents, torch.full_like(latents, 0.1)

    def decode(self, z):
        return interpolate(z, scale_factor=8, mode="trilinear")


def bright_segmenter() -> TinySegmenter:
    """A network that labels what is brighter than 100 HU, softly, each voxel by itself."""
    segmenter = TinySegmenter(n_channels=2, tile_shape=(16, 16, 16))
    line = torch.nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([0.0, 10.0]).reshape(2, 1, 1, 1, 1))
        line.bias.copy_(torch.tensor([0.0, -10.0]))
    segmenter.network = line.eval()
    segmenter.passes = (TilePass(segmenter.network),)
    return segmenter


def ball_ct(grid: VoxelGrid, *, radius_mm=25.0, hu=BRIGHT_HU) -> tuple[Volume, np.ndarray]:
    """A bright ball in tissue of 0 HU, and where it is."""
    centre = grid.ras_of((np.array(grid.shape_kji) - 1) / 2)
    ras = grid.ras_of(np.moveaxis(np.indices(grid.shape_kji), 0, -1))
    is_ball = np.linalg.norm(ras - centre, axis=-1) < radius_mm
    noise = 5 * np.random.default_rng(0).standard_normal(grid.shape_kji)
    return Volume((hu * is_ball + noise).astype(np.float32), grid), is_ball


@pytest.fixture(params=[True, False], ids=["flipped", "not flipped"])
def a_grid(request):
    return oblique_grid(SHAPE, spacing_ijk_mm=(6.0, 7.0, 8.0), flip=request.param)


@pytest.fixture
def a_ball(a_grid):
    """(segmenter, case, where the ball is): the region is all around the ball."""
    segmenter, (ct, is_ball) = bright_segmenter(), ball_ct(a_grid)
    roi = np.zeros(SHAPE, dtype=bool)
    roi[4:-4, 4:-4, 4:-4] = True
    return segmenter, prepared_case(ct, roi, segmenter), is_ball


def found(segmenter, case, **settings):
    settings = {"target": segmenter.classes[0], "autoencoder": Pooling(), "n_steps": 60} | settings
    return counterfactual_input(segmenter, case, **settings)


def expected_ml(segmenter, case: PreparedCase, image: np.ndarray, channel: int) -> float:
    """The expected volume of a class in the region, by one plain graph over all tiles."""
    fused = naive_fused(segmenter.network, case.tiles, torch.from_numpy(image)[None])
    probability = torch.softmax(fused, dim=0)[channel].detach().double().numpy()
    return float(probability[case.roi].sum()) * case.network_input.grid.voxel_volume_ml


def space_of(segmenter, case) -> EditSpace:
    network = StitchedNetwork(segmenter, case.region)
    score = stitched_score(network, case, segmenter, target=segmenter.classes[0], quantity="soft-volume")
    cube = cube_around_target(score, case, segmenter.classes[0])
    return EditSpace.of(cube, case, segmenter, score, Pooling())


@pytest.mark.parametrize("kind", ["bright", "with instance norm"])
def test_the_gradient_by_the_latents_is_that_of_finite_differences(a_grid, kind):
    if kind == "bright":
        segmenter, ct = bright_segmenter(), ball_ct(a_grid)[0]
    else:
        segmenter, ct = TinySegmenter(n_channels=2, tile_shape=(16, 16, 16), seed=3), noise_ct(grid=a_grid)
    roi = np.zeros(SHAPE, dtype=bool)
    roi[8:14, 9:18, 9:20] = True
    space = space_of(segmenter, prepared_case(ct, roi, segmenter))
    latents = space.start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(space.target_ml(space.edit_hu(latents)), latents)
    assert gradient.abs().max() > 0
    direction = gradient / gradient.norm() + 0.1 * torch.randn(
        gradient.shape, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        up, down = (float(space.target_ml(space.edit_hu(space.start + h * direction))) for h in (2e-3, -2e-3))
    assert (up - down) / 4e-3 == pytest.approx(float((gradient * direction).sum()), rel=0.02)


def test_a_target_that_can_go_goes(a_ball):
    segmenter, case, is_ball = a_ball
    answer = found(segmenter, case)
    edit_hu = 100 * (answer.image - case.network_input.array)[0]
    assert answer.validity > search.WISHED_VALIDITY
    assert answer.stop_reason == "settled"
    assert answer.n_steps < 60
    assert edit_hu[is_ball].mean() < -80
    assert np.abs(edit_hu[is_ball]).mean() > 5 * np.abs(edit_hu[~is_ball]).mean()


def test_what_is_reported_is_what_the_network_says_of_the_image(a_ball):
    segmenter, case, _ = a_ball
    answer = found(segmenter, case, n_steps=12)
    before, after = (expected_ml(segmenter, case, image, 1) for image in (case.network_input.array, answer.image))
    assert answer.target_before == pytest.approx(before, rel=1e-5)
    assert answer.target_after == pytest.approx(after, rel=1e-4)
    assert answer.validity == pytest.approx(1 - after / before, abs=1e-4)
    edit_hu = 100 * np.abs(answer.image - case.network_input.array)
    assert answer.largest_edit_hu == pytest.approx(edit_hu.max(), rel=1e-3)
    n_in_cube = answer.edge_mm**3 / 1000 / case.network_input.grid.voxel_volume_ml
    assert answer.proximity_hu == pytest.approx(edit_hu.sum() / n_in_cube, rel=0.15)  # the cube's rim is not counted


def test_outside_the_cube_the_image_is_the_ct_bit_for_bit(a_ball):
    segmenter, case, _ = a_ball
    answer = found(segmenter, case, n_steps=5)
    grid = case.network_input.grid
    ras = grid.ras_of(np.moveaxis(np.indices(SHAPE), 0, -1))
    centre = grid.ras_of(np.argwhere(case.network_input.array[0] > 1.0)).mean(axis=0)
    is_far = np.abs(ras - centre).max(axis=-1) > answer.edge_mm / 2 + 4
    assert 0 < is_far.sum() < is_far.size
    assert np.array_equal(answer.image[:, is_far], case.network_input.array[:, is_far])
    assert not np.array_equal(answer.image, case.network_input.array)
    assert answer.image.dtype == np.float32


def test_a_run_can_be_repeated_bit_for_bit(a_ball):
    segmenter, case, _ = a_ball
    first, second = (found(segmenter, case, n_steps=6) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert first.target_after == second.target_after


def test_the_unperturbed_logits_may_be_given(a_ball):
    segmenter, case, _ = a_ball
    network = StitchedNetwork(segmenter, case.region)
    full_logits = network.fused(torch.from_numpy(case.network_input.array[:, *network.reach].copy()))
    given, run = (found(segmenter, case, n_steps=4, full_logits=logits) for logits in (full_logits, None))
    assert np.array_equal(given.image, run.image)


def test_the_first_step_is_the_ct_itself(a_ball):
    segmenter, case, _ = a_ball
    answer = found(segmenter, case, n_steps=1)
    assert np.array_equal(answer.image, case.network_input.array)
    assert (answer.validity, answer.proximity_hu, answer.stop_reason) == (0.0, 0.0, "budget")


def test_too_short_a_way_leaves_the_target_and_the_answer_says_so(a_ball, monkeypatch):
    monkeypatch.setattr(search, "LEARNING_RATE", 0.01)
    segmenter, case, _ = a_ball
    answer = found(segmenter, case, n_steps=2)
    assert answer.validity < 0.5
    assert answer.stop_reason == "budget"
    assert answer.target_after == pytest.approx(expected_ml(segmenter, case, answer.image, 1), rel=1e-4)


def test_a_dearer_edit_is_a_smaller_one(a_ball):
    segmenter, case, _ = a_ball
    cheap, dear = (found(segmenter, case, weights=search.LossWeights(per_hu=p)) for p in (0.0, 0.003))
    assert dear.proximity_hu < cheap.proximity_hu


def test_every_step_is_told_and_can_stop_the_search(a_ball):
    segmenter, case, _ = a_ball
    told = []

    def stop_at_the_third(done, total):
        told.append((done, total))
        if done == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        found(segmenter, case, n_steps=9, on_step=stop_at_the_third)
    assert told == [(1, 9), (2, 9), (3, 9)]


def test_every_tile_can_stop_the_search(a_ball):
    segmenter, case, _ = a_ball
    runs = []

    def stop_at_the_fifth():
        runs.append(1)
        if len(runs) == 5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        found(segmenter, case, on_tile=stop_at_the_fifth)


def test_padding_is_never_edited(a_grid):
    segmenter, (ct, _) = bright_segmenter(), ball_ct(a_grid)
    is_padding = np.zeros(SHAPE, dtype=bool)
    is_padding[:, :, 14] = True
    prepared = segmenter.prepared(ct)
    padded = type(prepared)(prepared.array, prepared.grid, is_padding)
    roi = np.zeros(SHAPE, dtype=bool)
    roi[4:-4, 4:-4, 4:-4] = True
    answer = found(segmenter, prepared_case(ct, roi, segmenter, network_input=padded), n_steps=4)
    assert np.array_equal(answer.image[:, is_padding], prepared.array[:, is_padding])


def test_where_all_is_fixed_there_is_no_counterfactual(a_ball):
    segmenter, case, _ = a_ball
    with pytest.raises(InvalidRequest, match="nothing to change"):
        found(segmenter, case, is_fixed=np.ones(SHAPE, dtype=bool), n_steps=2)


@pytest.mark.parametrize(("radius_mm", "edge_mm"), [(20.0, 120.0), (60.0, 160.0)])
def test_the_cube_grows_with_the_target(radius_mm, edge_mm):
    grid = oblique_grid((26, 26, 26), spacing_ijk_mm=(7.0, 7.0, 7.0))
    segmenter, (ct, _) = bright_segmenter(), ball_ct(grid, radius_mm=radius_mm)
    case = prepared_case(ct, np.ones(grid.shape_kji, dtype=bool), segmenter)
    assert found(segmenter, case, n_steps=1).edge_mm == edge_mm


def test_a_target_too_large_for_any_cube_is_refused_with_both_lengths():
    grid = oblique_grid((26, 26, 26), spacing_ijk_mm=(20.0, 20.0, 20.0))
    segmenter, (ct, _) = bright_segmenter(), ball_ct(grid, radius_mm=110.0)
    case = prepared_case(ct, np.ones(grid.shape_kji, dtype=bool), segmenter)
    with pytest.raises(InvalidRequest, match=r"\d+ mm long; a counterfactual can remove what is at most 205 mm"):
        found(segmenter, case)


def test_where_nothing_is_predicted_there_is_nothing_to_remove(a_grid):
    segmenter, (ct, _) = bright_segmenter(), ball_ct(a_grid, hu=0.0)
    case = prepared_case(ct, np.ones(SHAPE, dtype=bool), segmenter)
    with pytest.raises(InvalidRequest, match="predict"):
        found(segmenter, case)
