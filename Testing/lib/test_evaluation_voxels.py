"""Maps judged voxel by voxel: groups of voxels, fidelity, sums over random voxels."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
from games import AdditiveGame
from hypothesis import given
from hypothesis import strategies as st

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.evaluation.voxel_bins import VOXEL_ORDERS, bin_sums, random_bins, ranked_bins
from SegExplainLib.evaluation.voxel_scores import most_coalitions, voxel_scores, voxel_yardsticks

SHAPE = (6, 7, 9)
WEIGHTS = np.random.default_rng(5).normal(size=SHAPE) + 0.3
WITHIN = np.random.default_rng(6).random(SHAPE) < 0.8


class LinearNetwork:
    """Each voxel brings its weight: the games of all groups, counted."""

    def __init__(self, weights=WEIGHTS):
        self.weights, self.games = weights, []

    def __call__(self, bins):
        self.games.append(AdditiveGame(bin_sums(self.weights, bins), constant=2.0))
        return self.games[-1]


def judged(amounts, *, weights=WEIGHTS, n_steps=12, n_subsets=30, seed=0, has_scale=True):
    network = LinearNetwork(weights)
    common = {"voxel_volume_ml": 0.01, "seed": seed}
    sticks = voxel_yardsticks(network, WITHIN, n_steps=n_steps, n_subsets=n_subsets, **common)
    scores = voxel_scores(network, amounts, sticks, within=WITHIN, has_scale=has_scale, **common)
    return sticks, scores, {metric.name: metric for metric in scores.metrics}


def area_between(amounts, weights, n_steps):
    """Voxel by voxel, with loops: what is left of the sum after each step, from both ends."""
    voxels = sorted(zip(amounts[WITHIN], weights[WITHIN]), key=lambda pair: -pair[0])
    n, total = len(voxels), sum(weight for _, weight in voxels)
    area = 0.0
    ends = [-(-step * n // n_steps) for step in range(n_steps + 1)]
    for begin, end in pairwise(ends):
        # In the reversed order the groups come in reverse: step s removes the voxels from n - ends[n_steps - s] on.
        left_most = [total - sum(weight for _, weight in voxels[:stop]) for stop in (begin, end)]
        area -= (end - begin) / n * sum(left_most) / 2
        left_least = [sum(weight for _, weight in voxels[:stop]) for stop in (begin, end)]
        area += (end - begin) / n * sum(left_least) / 2
    return area


@given(n_bins=st.integers(2, 40), seed=st.integers(0, 99), by=st.sampled_from(VOXEL_ORDERS))
def test_bins_are_of_one_size_and_ranked(n_bins, seed, by):
    values = np.random.default_rng(seed).integers(-3, 4, size=SHAPE).astype(float)
    bins = ranked_bins(values, within=WITHIN, by=by, n_bins=n_bins, seed=seed)
    sizes = np.bincount(bins[WITHIN])[1:]
    assert len(sizes) == n_bins
    assert np.ptp(sizes) <= 1
    assert not bins[~WITHIN].any()
    keys = np.abs(values) if by == "absolute" else values
    least = [keys[bins == number].min() for number in range(1, n_bins + 1)]
    most = [keys[bins == number].max() for number in range(1, n_bins + 1)]
    assert all(low >= high for low, high in zip(least, most[1:]))


def test_equal_voxels_are_scattered_by_the_seed_alone_and_flips_of_the_array_favour_none():
    flat = np.ones(SHAPE)
    one, again, other = (ranked_bins(flat, within=WITHIN, by="value", n_bins=2, seed=s) for s in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    depth = np.indices(SHAPE)[0][WITHIN]
    assert abs(depth[one[WITHIN] == 1].mean() - depth.mean()) < 0.5  # not the first slices first


def test_random_bins_know_nothing_of_a_map():
    means = []
    for seed in range(200):
        bins = random_bins(WITHIN, n_bins=4, seed=seed)
        means.append(WEIGHTS[bins == 1].mean() - WEIGHTS[WITHIN].mean())
    assert abs(np.mean(means)) < 4 * np.std(means) / np.sqrt(200)


def test_what_cannot_be_binned_is_refused():
    with pytest.raises(InvalidRequest, match="two bins"):
        random_bins(WITHIN, n_bins=1, seed=0)
    with pytest.raises(InvalidRequest, match="not finite"):
        ranked_bins(np.full(SHAPE, np.nan), within=WITHIN, by="value", n_bins=3, seed=0)
    with pytest.raises(InvalidRequest, match="order of voxels"):
        ranked_bins(WEIGHTS, within=WITHIN, by="size", n_bins=3, seed=0)
    with pytest.raises(GeometryMismatch):
        ranked_bins(WEIGHTS[1:], within=WITHIN, by="value", n_bins=3, seed=0)
    with pytest.raises(GeometryMismatch):
        bin_sums(WEIGHTS[1:], random_bins(WITHIN, n_bins=3, seed=0))
    few = np.zeros(SHAPE, dtype=bool)
    few[0, 0, :3] = True
    assert random_bins(few, n_bins=40, seed=0).max() == 3


def test_true_weights_of_a_linear_network_are_perfect():
    _, _, metrics = judged(WEIGHTS)
    assert metrics["faithfulness-correlation"].value == pytest.approx(1.0)
    assert metrics["infidelity"].value == pytest.approx(0.0, abs=1e-12)
    assert metrics["infidelity-relative"].value == pytest.approx(0.0, abs=1e-12)
    assert metrics["fidelity-value"].value == pytest.approx(area_between(WEIGHTS, WEIGHTS, 12), rel=0.02)
    rng = np.random.default_rng(0)
    others = [judged(WEIGHTS + scale * rng.normal(size=SHAPE))[2] for scale in (0.3, 1.0, 3.0)]
    best = metrics["fidelity-value"].value
    assert all(best > other["fidelity-value"].value for other in others)
    assert all(metrics["infidelity"].value < other["infidelity"].value for other in others)


def test_a_map_turned_round_has_the_fidelity_turned_round():
    _, _, metrics = judged(WEIGHTS)
    _, _, turned = judged(-WEIGHTS)
    assert turned["fidelity-value"].value == pytest.approx(-metrics["fidelity-value"].value, rel=0.05)
    assert turned["fidelity-absolute"].value == metrics["fidelity-absolute"].value
    assert turned["faithfulness-correlation"].value == pytest.approx(-1.0)


def test_size_without_sign_is_the_better_order_where_the_network_uses_sizes():
    sizes = np.abs(WEIGHTS)
    _, _, metrics = judged(WEIGHTS, weights=sizes)
    assert metrics["fidelity-absolute"].value == pytest.approx(area_between(sizes, sizes, 12), rel=0.02)
    assert metrics["fidelity-absolute"].value > metrics["fidelity-value"].value


def test_random_maps_have_no_fidelity_and_no_correlation():
    rng = np.random.default_rng(1)
    found = {"fidelity-value-relative": [], "fidelity-absolute-relative": [], "faithfulness-correlation": []}
    random_orders = []
    for seed in range(120):
        sticks, _, metrics = judged(rng.normal(size=SHAPE), seed=seed)
        random_orders.append(sticks.fidelity.value)
        for name, values in found.items():
            assert metrics[name].chance == 0.0
            values.append(metrics[name].value)
    for values in (*found.values(), random_orders):
        assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_a_flat_map_ranks_nothing_and_a_map_of_its_own_scale_has_no_infidelity():
    _, _, metrics = judged(np.ones(SHAPE))
    noise = np.random.default_rng(0).random(SHAPE, dtype=np.float32) * np.float32(3e-7)
    _, _, rounded = judged(np.ones(SHAPE, np.float32) + noise)  # as a flat map comes from another grid
    for found in (metrics, rounded):
        for name in ("fidelity-value", "fidelity-value-relative", "fidelity-absolute", "faithfulness-correlation"):
            assert "nothing to rank" in found[name].why_undefined
        assert found["infidelity-relative"].value > 0.0
    _, _, metrics = judged(WEIGHTS, has_scale=False)
    assert "scale of their own" in metrics["infidelity"].why_undefined
    assert metrics["infidelity-scaled"].value == pytest.approx(0.0, abs=1e-9)


def test_two_groups_are_too_few_for_a_correlation_and_are_not_called_units():
    _, _, metrics = judged(WEIGHTS, n_steps=2)
    assert "fewer than 3 groups of voxels" in metrics["faithfulness-correlation"].why_undefined


def test_a_network_that_sees_nothing_leaves_the_relative_fidelity_undefined():
    _, scores, metrics = judged(WEIGHTS, weights=np.zeros(SHAPE))
    assert metrics["fidelity-value"].value == 0.0
    assert metrics["fidelity-value-relative"].why_undefined
    assert metrics["faithfulness-correlation"].why_undefined
    json.dumps(dataclasses.asdict(scores), allow_nan=False)


@pytest.mark.parametrize("n_maps", [1, 3])
def test_no_more_is_asked_than_told_and_the_same_seed_gives_the_same(n_maps):
    network, common = LinearNetwork(), {"voxel_volume_ml": 0.01, "seed": 3}
    sticks = voxel_yardsticks(network, WITHIN, n_steps=10, n_subsets=20, **common)
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=SHAPE) for _ in range(n_maps)]
    scores = [voxel_scores(network, one, sticks, within=WITHIN, has_scale=True, **common) for one in maps]
    # Ends are known from the game of units, and games of equal bins are one game there; here each asks anew.
    n_asked = sum(game.n_evaluations for game in network.games)
    n_ends = 2 * (1 + 2 * n_maps)
    n_again = (n_maps - 1) * 2 * 20 + n_maps
    assert n_asked - n_ends - n_again <= most_coalitions(n_maps, n_steps=10, n_subsets=20)
    again = [voxel_scores(network, one, sticks, within=WITHIN, has_scale=True, **common) for one in maps]
    assert again == scores
