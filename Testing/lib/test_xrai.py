"""XRAI as a method: what is in a region, what is not, and what its estimates say. The contracts are the families'."""

import math

import numpy as np
import pytest
import torch
from builders import TinySegmenter, block_partition, noise_ct
from numpy.testing import assert_allclose, assert_array_equal

from SegExplainLib.case import prepared_case
from SegExplainLib.contract import Cancelled, InvalidRequest
from SegExplainLib.gradients import xrai as xrai_module
from SegExplainLib.gradients.backward import StitchedNetwork
from SegExplainLib.gradients.integrated_gradients import integrated_gradients
from SegExplainLib.gradients.oversegmentation import oversegmentations
from SegExplainLib.gradients.region_ranking import Segments, ranked_regions
from SegExplainLib.gradients.stitched_score import stitched_score
from SegExplainLib.gradients.xrai import LEAST_MM3, xrai
from SegExplainLib.model.segmenter import TilePass
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.volume import VoxelGrid

CORNER = (slice(1, 4), slice(0, 3), slice(2, 6))


def organs_ct():
    """Noise with a bright ball of 9 voxels across, on 3 mm voxels."""
    ct = noise_ct((20, 22, 24), grid=VoxelGrid((20, 22, 24), np.diag([3.0, 3.0, 3.0, 1.0])))
    ball = sum((axis - centre) ** 2 for axis, centre in zip(np.indices(ct.array.shape), (8, 9, 10))) < 4.5**2
    ct.array[:] = 0.1 * ct.array + 300.0 * ball
    return ct, ball


class Setting:
    """A score of the first class, blocks as units with holes between them, and a baseline of noise."""

    def __init__(self, segmenter=None, *, ct=None, roi=CORNER, quantity="soft-dice"):
        segmenter, ct = segmenter or TinySegmenter(), ct or noise_ct()
        mask = np.zeros(ct.array.shape, dtype=bool)
        mask[roi] = True
        self.case = prepared_case(ct, mask, segmenter)
        self.partition = block_partition(ct.grid)
        self.score = stitched_score(
            StitchedNetwork(segmenter, self.case.region),
            self.case,
            segmenter,
            target=segmenter.classes[0],
            quantity=quantity,
            reference=torch.ones(segmenter.n_channels, int(mask.sum()), dtype=torch.bool),
        )
        self.image = self.case.network_input.array
        self.baseline = np.random.default_rng(7).normal(size=self.image.shape).astype(np.float32)

    def run(self, method, *, budget=33, **options):
        """The last estimate."""
        given = {"baselines": [self.baseline], "budget": budget, "tolerance": 0.0, "seed": 0} | options
        return list(method(self.score, self.partition, **given))[-1]


def linear_setting():
    """The explained number is the mean over all voxels of a linear function of each; and where the ball is."""
    ct, ball = organs_ct()
    segmenter = TinySegmenter(tile_shape=ct.array.shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        segmenter.network = torch.nn.Conv3d(1, 3, 1).eval().requires_grad_(False)
    segmenter.network.weight.abs_()
    segmenter.passes = (TilePass(segmenter.network),)
    setting = Setting(segmenter, ct=ct, roi=(slice(None),) * 3, quantity="mean-logit")
    setting.partition = block_partition(ct.grid, context_share=0.0)
    return setting, ball


@pytest.mark.parametrize("is_fast", [False, True])
def test_the_map_is_the_ranking_of_integrated_gradients_on_the_segments_of_the_reach(is_fast):
    setting = Setting()
    found = setting.run(xrai, is_fast=is_fast)
    inner = setting.run(integrated_gradients)
    reach, labels = setting.score.network.reach, setting.partition.labels
    grid = setting.partition.grid.cropped(tuple(axis.start for axis in reach), labels[reach].shape)
    image = setting.case.network_input.array[:, *reach]
    segments = Segments.of(list(oversegmentations(image, within=labels[reach] > 0, grid=grid)))
    regions = ranked_regions(
        inner.voxel_map[reach],
        segments,
        voxel_volume_mm3=grid.voxel_volume_ml * 1000,
        least_mm3=LEAST_MM3,
        is_fast=is_fast,
    )
    expected = np.zeros_like(found.voxel_map)
    expected[reach] = regions.heat_map
    assert_array_equal(found.voxel_map, expected)
    assert found.n_gradients == inner.n_gradients
    assert found.stop_reason == inner.stop_reason
    assert found.empty_value == inner.empty_value


def test_every_estimate_of_integrated_gradients_is_ranked_on_segments_made_once(monkeypatch):
    made = []

    def counted(*given, **options):
        made.append(1)
        return oversegmentations(*given, **options)

    monkeypatch.setattr(xrai_module, "oversegmentations", counted)
    setting = Setting()
    given = {"baselines": [setting.baseline], "budget": 65, "tolerance": 0.0, "seed": 3}
    found, inner = (list(method(setting.score, setting.partition, **given)) for method in (xrai, integrated_gradients))
    assert len(made) == 1
    assert [estimate.n_gradients for estimate in found] == [17, 33, 65] == [one.n_gradients for one in inner]
    assert [estimate.stop_reason for estimate in found] == [None, None, "budget"]
    assert found[0].seed == 3


def test_values_are_means_and_errors_are_not_told():
    setting = Setting()
    estimate = setting.run(xrai)
    means = [estimate.voxel_map[setting.partition.labels == p + 1].mean() for p in range(setting.partition.n_players)]
    assert_allclose(estimate.values, means, rtol=1e-5, atol=1e-9)
    assert np.isnan(estimate.standard_errors).all()
    assert estimate.standard_errors.shape == estimate.values.shape
    assert math.isnan(estimate.relative_error)
    assert math.isnan(estimate.completeness_gap)


def test_context_is_in_no_region():
    setting = Setting()
    estimate = setting.run(xrai)
    context = setting.partition.labels == 0
    assert (context & setting.case.reach).any()
    assert not estimate.voxel_map[context].any()


def test_heat_lies_in_the_organ_that_differs_from_the_baseline():
    setting, ball = linear_setting()
    setting.baseline = setting.image - ball.astype(np.float32)
    estimate = setting.run(xrai)
    hottest = estimate.voxel_map > 0.5 * estimate.voxel_map.max()
    assert (hottest & ball).sum() / (hottest | ball).sum() > 0.85


def test_regions_that_are_ignored_get_exactly_zero():
    """Heat is shared within a segment, but not beyond."""
    setting, ball = linear_setting()
    setting.baseline = setting.image - ball.astype(np.float32)
    estimate = setting.run(xrai)
    assert not estimate.voxel_map[:, :, 20:].any()
    assert np.count_nonzero(estimate.voxel_map) < 3 * ball.sum()


def test_borders_of_units_are_followed_where_that_is_wished():
    """Half of the image differs from the baseline, but nothing in the image shows where that half ends."""
    setting, _ = linear_setting()
    right = np.zeros(setting.image.shape[1:], dtype=bool)
    right[:, :, 13:] = True
    setting.partition = PlayerPartition(right.astype(np.int32) + 1, setting.partition.grid, ("left", "right"), "organs")
    setting.baseline = setting.image - right.astype(np.float32)
    followed, blurred = setting.run(xrai, with_units=True), setting.run(xrai)
    heat = setting.score.gradient(setting.score.image)[1].numpy().mean()
    assert_allclose(followed.voxel_map, heat * right, rtol=1e-3, atol=1e-3 * heat)
    assert np.abs(blurred.voxel_map - heat * right).max() > 0.1 * heat


def test_what_hinders_the_gradients_is_told_before_anything_is_segmented(monkeypatch):
    monkeypatch.setattr(xrai_module, "oversegmentations", lambda *_, **__: pytest.fail("segmented"))
    for options in ({"baselines": []}, {"budget": 2}):
        with pytest.raises(InvalidRequest):
            Setting().run(xrai, **options)


def test_a_wish_to_cancel_is_seen_between_two_sizes():
    setting = Setting(roi=CORNER)
    estimates = xrai(setting.score, setting.partition, baselines=[setting.baseline], budget=17, tolerance=0.0)
    n_backward = 17 * len(setting.score.network.jobs)

    def cancelled_after_the_gradients():
        if setting.score.network.n_backward == n_backward:
            seen.append(1)
            if len(seen) == 2:  # the first was the last tile's
                raise Cancelled("The run was stopped by the user.")

    seen = []
    setting.score.network.on_tile = cancelled_after_the_gradients
    with pytest.raises(Cancelled):
        next(estimates)
