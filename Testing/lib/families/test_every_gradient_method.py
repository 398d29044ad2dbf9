"""The contract of a gradient method, held against each one.

    method(score, partition, *, baselines, budget, tolerance, seed) -> Iterator[VoxelEstimate]

EVERY is all of them, ADDITIVE those whose map adds up, SAMPLED those that draw, ONCE those that look once, MEANS those
whose values are means of the map over the units.
"""

import math

import numpy as np
import pytest
import torch
from builders import TinySegmenter, block_partition, noise_ct, oblique_grid
from numpy.testing import assert_allclose, assert_array_equal

from SegExplainLib.case import prepared_case
from SegExplainLib.contract import Cancelled, InvalidRequest
from SegExplainLib.gradients.backward import StitchedNetwork
from SegExplainLib.gradients.expected_gradients import expected_gradients
from SegExplainLib.gradients.guided_backprop import guided_backprop
from SegExplainLib.gradients.integrated_gradients import integrated_gradients
from SegExplainLib.gradients.saliency import input_x_gradient, saliency
from SegExplainLib.gradients.seg_grad_cam import seg_grad_cam
from SegExplainLib.gradients.smoothgrad import smoothgrad, smoothgrad_squared, vargrad
from SegExplainLib.gradients.stitched_score import stitched_score
from SegExplainLib.gradients.xrai import xrai
from SegExplainLib.model.segmenter import TilePass
from SegExplainLib.model.tiling import TileGrid, tile_starts
from SegExplainLib.progress import Progress
from SegExplainLib.volume import VoxelGrid

ONCE = [saliency, input_x_gradient, guided_backprop, seg_grad_cam]
SAMPLED = [smoothgrad, smoothgrad_squared, vargrad, expected_gradients]
EVERY = [*ONCE, *SAMPLED, integrated_gradients, xrai]
ADDITIVE = [input_x_gradient, integrated_gradients, expected_gradients]
OF_THE_FUNCTION = [method for method in EVERY if method not in (guided_backprop, seg_grad_cam)]
NEED_BASELINES = [integrated_gradients, expected_gradients, xrai]
MEANS = [seg_grad_cam, xrai]
OF_VOXELS = [method for method in EVERY if method not in (seg_grad_cam, xrai)]

every_method = pytest.mark.parametrize("method", EVERY)
ROI = (slice(1, 4), slice(0, 3), slice(2, 6))


class Setting:
    """A score of the first class of a segmenter around a small region, with block players and one baseline."""

    def __init__(self, segmenter=None, *, quantity="soft-dice", ct=None, roi=ROI, is_given=False, on_tile=None):
        self.segmenter = segmenter or TinySegmenter()
        self.ct = ct or noise_ct()
        mask = np.zeros(self.ct.array.shape, dtype=bool)
        mask[roi] = True
        self.case = prepared_case(self.ct, mask, self.segmenter)
        self.partition = block_partition(self.ct.grid)
        network = StitchedNetwork(self.segmenter, self.case.region, on_tile=on_tile)
        reference = torch.ones(self.segmenter.n_channels, int(mask.sum()), dtype=torch.bool) if is_given else None
        self.score = stitched_score(
            network,
            self.case,
            self.segmenter,
            target=self.segmenter.classes[0],
            quantity=quantity,
            reference=reference,
        )
        rng = np.random.default_rng(7)
        self.baseline = rng.normal(size=self.case.network_input.array.shape).astype(np.float32)

    def run(self, method, *, budget=33, tolerance=0.0, seed=0, **options):
        """The last estimate."""
        baselines = [self.baseline]
        given = {"baselines": baselines, "budget": budget, "tolerance": tolerance, "seed": seed} | options
        return list(method(self.score, self.partition, **given))[-1]


def with_network(*layers, n_channels=3, tile_shape=(8, 8, 8), seed=5):
    segmenter = TinySegmenter(n_channels=n_channels, tile_shape=tile_shape)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        segmenter.network = torch.nn.Sequential(*(make() for make in layers)).eval().requires_grad_(False)
    segmenter.passes = (TilePass(segmenter.network),)
    return segmenter


def convolution(n, m, size=1):
    return lambda: torch.nn.Conv3d(n, m, size, padding=size // 2)


def pointwise(**options):
    """Every logit depends on its own voxel alone, so that tiling cannot matter."""
    return with_network(convolution(1, 6), torch.nn.LeakyReLU, convolution(6, 3), **options)


def untiled(segmenter):
    """The same network on one tile that is as large as the image, with the fusion weights of one tile."""

    def tile_grid(image_shape):
        return TileGrid(tuple(image_shape), tuple(image_shape), tile_starts([[0], [0], [0]]), torch.ones(image_shape))

    segmenter.tile_grid = tile_grid
    return segmenter


@every_method
def test_an_answer_is_whole(method):
    setting = Setting()
    estimate = setting.run(method)
    assert estimate.voxel_map.dtype == np.float32
    assert estimate.voxel_map.shape == setting.case.network_input.grid.shape_kji
    assert np.isfinite(estimate.voxel_map).all()
    assert np.abs(estimate.voxel_map).max() > 0
    values_of = setting.partition.averaged if method in MEANS else setting.partition.pooled
    assert_allclose(estimate.values, values_of(estimate.voxel_map), rtol=1e-4, atol=1e-7)
    assert estimate.full_value == pytest.approx(setting.score.full_value)
    assert estimate.stop_reason in ("exact", "budget")
    assert estimate.n_gradients <= 33


@every_method
def test_nothing_outside_the_tiles_of_the_region_is_touched(method):
    setting = Setting()
    estimate = setting.run(method)
    assert not setting.case.reach.all()
    assert not estimate.voxel_map[~setting.case.reach].any()


@pytest.mark.parametrize("method", OF_VOXELS)
def test_an_input_that_is_ignored_gets_exactly_zero(method):
    """The network sees one of every two columns of voxels.

    Seg-Grad-CAM is left out: it shows features, not inputs. So is XRAI: the voxels of a region share its heat.
    """

    class EverySecond(torch.nn.Module):
        def forward(self, x):
            seen = torch.zeros_like(x)
            seen[..., ::2] = 1.0
            return x * seen

    segmenter = with_network(EverySecond, convolution(1, 6), torch.nn.LeakyReLU, convolution(6, 3), tile_shape=(8,) * 3)
    segmenter.tile_grid = lambda shape: TileGrid(
        tuple(shape), (8, 8, 8), tile_starts([[0, 4], [0, 6], [0, 8]]), torch.ones(8, 8, 8)
    )
    setting = Setting(segmenter)
    estimate = setting.run(method)
    assert not estimate.voxel_map[:, :, 1::2].any()
    assert estimate.voxel_map[:, :, ::2].any()


@every_method
@pytest.mark.parametrize("quantity", ["mean-logit", "soft-dice"])
def test_tiled_equals_untiled_where_tiling_cannot_matter(method, quantity):
    middle = (slice(4, 8), slice(5, 9), slice(6, 11))  # reached from everywhere, so that the noise is the same
    tiled, whole = (
        Setting(segmenter, quantity=quantity, roi=middle) for segmenter in (pointwise(), untiled(pointwise()))
    )
    assert tiled.case.region.n_tiles > 1
    assert whole.case.region.n_tiles == 1
    options = {"layer": "2"} if method is seg_grad_cam else {}
    one, other = tiled.run(method, **options), whole.run(method, **options)
    region = tiled.case.roi if method is seg_grad_cam else np.ones_like(tiled.case.roi)
    assert_allclose(one.voxel_map[region], other.voxel_map[region], rtol=0, atol=1e-5 * np.abs(other.voxel_map).max())


@pytest.mark.parametrize("method", ADDITIVE)
def test_the_map_of_a_linear_model_adds_up_and_is_its_coefficients(method):
    segmenter = with_network(convolution(1, 3, 3))
    segmenter.network[0].bias.zero_()
    setting = Setting(segmenter, quantity="mean-logit", is_given=True)
    if method is input_x_gradient:
        setting.baseline = np.zeros_like(setting.baseline)
    estimate = setting.run(method)
    difference = setting.case.network_input.array - setting.baseline
    gradient = setting.score.gradient(setting.score.cut(setting.baseline))[1]
    expected = setting.score.on_grid((setting.score.cut(difference) * gradient).sum(0))
    assert_allclose(estimate.voxel_map, expected, rtol=0, atol=1e-6)
    total = setting.score.full_value - setting.score.value(setting.score.cut(setting.baseline))
    assert estimate.voxel_map.sum(dtype=float) == pytest.approx(total, abs=1e-5)
    if method in NEED_BASELINES:
        assert estimate.completeness_gap == pytest.approx(0.0, abs=1e-5)
        assert estimate.full_value - estimate.empty_value == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("method", OF_THE_FUNCTION)
def test_two_networks_that_are_one_function_get_one_map(method):
    """Channels permuted, scaled by powers of two, and one split in halves."""
    first, second = pointwise(), with_network(convolution(1, 7), torch.nn.LeakyReLU, convolution(7, 3))
    order, scale = [3, 0, 5, 1, 4, 2], torch.tensor([2.0, 0.5, 1.0, 4.0, 1.0, 0.25])
    a, b, c, d = first.network[0], first.network[2], second.network[0], second.network[2]
    c.weight[:6] = a.weight[order] * scale.reshape(-1, 1, 1, 1, 1)
    c.bias[:6] = a.bias[order] * scale
    c.weight[6], c.bias[6] = c.weight[0], c.bias[0]
    d.weight[:, :6] = b.weight[:, order] / scale.reshape(1, -1, 1, 1, 1)
    d.weight[:, 0] *= 0.5
    d.weight[:, 6] = d.weight[:, 0]
    d.bias[:] = b.bias
    one, other = Setting(first).run(method), Setting(second).run(method)
    assert_allclose(other.voxel_map, one.voxel_map, rtol=0, atol=2e-5 * np.abs(one.voxel_map).max())


@every_method
def test_a_seed_gives_the_same_map_and_another_seed_another(method):
    setting = Setting()
    first, again, other = setting.run(method, seed=3), setting.run(method, seed=3), setting.run(method, seed=4)
    assert_array_equal(first.voxel_map, again.voxel_map)
    assert_array_equal(first.standard_errors, again.standard_errors)
    assert np.array_equal(first.voxel_map, other.voxel_map) == (method not in SAMPLED)


@every_method
def test_randomness_elsewhere_in_the_program_changes_nothing(method):
    setting = Setting()
    first = setting.run(method)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(99)  # noqa: NPY002
        second = setting.run(method)
        np.random.set_state(state)  # noqa: NPY002
    assert_array_equal(first.voxel_map, second.voxel_map)


@every_method
def test_where_the_patient_lies_does_not_matter(method):
    """Voxel maps are made in index space: an oblique, flipped grid gives what a straight one gives."""
    oblique, straight = oblique_grid(spacing_ijk_mm=(2.0, 2.0, 2.0)), VoxelGrid((12, 14, 16), np.diag([2.0, 2, 2, 1]))
    maps = [Setting(ct=noise_ct(grid=grid)).run(method).voxel_map for grid in (oblique, straight)]
    assert_allclose(maps[0], maps[1], rtol=1e-5, atol=1e-9)


@every_method
def test_another_set_of_weights_gives_another_map(method):
    maps = [Setting(TinySegmenter(seed=seed), is_given=True).run(method).voxel_map.ravel() for seed in (0, 1)]
    first, second = (voxels / np.linalg.norm(voxels) for voxels in maps)
    assert np.linalg.norm(first - second) > 0.1


@every_method
def test_a_wish_to_cancel_ends_it(method):
    progress = Progress()
    setting = Setting(on_tile=progress.check_cancelled)
    progress.cancel()
    with pytest.raises(Cancelled):
        setting.run(method)


@pytest.mark.parametrize("method", SAMPLED)
def test_standard_errors_tell_how_far_repeated_runs_lie_apart(method):
    setting = Setting(quantity="mean-logit")
    if method is expected_gradients:
        setting.baseline = setting.case.network_input.array + 0.3 * setting.baseline
    runs = [setting.run(method, budget=20, seed=seed) for seed in range(20)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    told = np.sqrt(np.mean([run.standard_errors**2 for run in runs], axis=0))
    touched = spread > 0.05 * spread.max()
    assert 0.7 < np.median(told[touched] / spread[touched]) < 1.4


@pytest.mark.parametrize("method", SAMPLED)
def test_sampling_stops_when_the_errors_are_small_enough(method):
    setting = Setting(quantity="mean-logit")
    estimates = list(
        method(setting.score, setting.partition, baselines=[setting.baseline], budget=300, tolerance=0.2, seed=0)
    )
    *interim, last = estimates
    assert all(estimate.stop_reason is None for estimate in interim)
    assert last.stop_reason == "tolerance"
    assert last.n_gradients < 300
    assert last.relative_error <= 0.2
    assert last.degrees_of_freedom >= 10
    assert interim[0].n_gradients < last.n_gradients


@pytest.mark.parametrize("method", ONCE)
def test_what_looks_once_is_told_as_exact(method):
    estimate = Setting().run(method)
    assert estimate.stop_reason == "exact"
    assert estimate.n_gradients == 1
    assert not estimate.standard_errors.any()
    assert math.isnan(estimate.completeness_gap)


@pytest.mark.parametrize("method", NEED_BASELINES)
def test_a_method_that_needs_a_baseline_says_so(method):
    with pytest.raises(InvalidRequest, match="baseline"):
        Setting().run(method, baselines=[])


@pytest.mark.parametrize("method", NEED_BASELINES)
def test_several_baselines_are_averaged(method):
    """For a linear model any average is that of the baselines' own maps, weighted as they were drawn."""
    setting = Setting(with_network(convolution(1, 3, 3)), quantity="mean-logit", is_given=True)
    baselines = [setting.baseline, setting.baseline + 1]
    estimate = setting.run(method, baselines=baselines, budget=65)
    empty = np.mean([setting.score.value(setting.score.cut(baseline)) for baseline in baselines])
    assert estimate.empty_value == pytest.approx(empty)
    if method is xrai:  # heat does not add up
        return
    slack = 1e-5 if method is integrated_gradients else 5 * estimate.standard_errors.sum() + 1e-5
    assert abs(estimate.completeness_gap) < slack
