"""A method that is stopped and goes on from its memory gives the answer of one that was not, gradient for gradient."""

from functools import cache, partial

import numpy as np
import pytest
import torch
from builders import TinySegmenter, block_partition, noise_ct
from numpy.testing import assert_allclose

from SegExplainLib.case import prepared_case
from SegExplainLib.contract import Cancelled
from SegExplainLib.gradients import integrated_gradients as path_integral
from SegExplainLib.gradients.backward import StitchedNetwork
from SegExplainLib.gradients.expected_gradients import expected_gradients
from SegExplainLib.gradients.integrated_gradients import integrated_gradients
from SegExplainLib.gradients.memory import n_remembered
from SegExplainLib.gradients.smoothgrad import smoothgrad, smoothgrad_squared, vargrad
from SegExplainLib.gradients.stitched_score import stitched_score
from SegExplainLib.gradients.xrai import xrai

REGION = (slice(1, 3), slice(0, 2), slice(2, 7))


class Setting:
    """A score whose tiles can be stopped, blocks as units, and baselines of noise."""

    def __init__(self, *, n_baselines=1, kept_graphs=1):
        segmenter, ct = TinySegmenter(), noise_ct()
        mask = np.zeros(ct.array.shape, dtype=bool)
        mask[REGION] = True
        case = prepared_case(ct, mask, segmenter)
        self.partition = block_partition(ct.grid)
        self.network = StitchedNetwork(segmenter, case.region, kept_graphs=kept_graphs)
        self.score = stitched_score(
            self.network,
            case,
            segmenter,
            target=segmenter.classes[0],
            quantity="soft-dice",
            reference=torch.ones(segmenter.n_channels, int(mask.sum()), dtype=torch.bool),
        )
        shape = case.network_input.array.shape
        rng = np.random.default_rng(7)
        self.baselines = [rng.normal(size=shape).astype(np.float32) for _ in range(n_baselines)]

    @property
    def n_tiles(self) -> int:
        return len(self.network.jobs)

    @property
    def n_runs(self) -> int:
        """Of tiles, forward and backward."""
        return self.network.n_forward + self.network.n_backward

    def stop_after(self, n_runs: int) -> None:
        """Stops at the first run of a tile after so many."""
        last = self.n_runs + n_runs

        def stop() -> None:
            if self.n_runs > last:
                raise Cancelled("stopped")

        self.network.on_tile = stop

    def run(self, method, memory=None, **options):
        """All estimates."""
        options = {"baselines": self.baselines, "tolerance": 0.0, "seed": 3} | options
        return list(method(self.score, self.partition, memory=memory, **options))


METHODS = {
    "smoothgrad": (partial(smoothgrad, budget=17), {"n_baselines": 1}),
    "smoothgrad-squared": (partial(smoothgrad_squared, budget=17), {"n_baselines": 1}),
    "vargrad": (partial(vargrad, budget=17), {"n_baselines": 1}),
    "expected-gradients": (partial(expected_gradients, budget=17), {"n_baselines": 2}),
    "integrated-gradients": (partial(integrated_gradients, budget=17), {"n_baselines": 1}),
    "integrated-gradients from two": (partial(integrated_gradients, budget=17), {"n_baselines": 2}),
    "integrated-gradients, maps kept": (partial(integrated_gradients, budget=17), {"n_baselines": 2, "kept_graphs": 3}),
    "xrai": (partial(xrai, budget=17), {"n_baselines": 1}),
}


def assert_same_estimate(found, expected):
    for name in ("voxel_map", "values", "standard_errors"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.nanmax(np.abs(theirs), initial=0.0), err_msg=name)
    for name in ("n_gradients", "stop_reason", "seed", "degrees_of_freedom"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.empty_value == pytest.approx(expected.empty_value, nan_ok=True)
    assert found.completeness_gap == pytest.approx(expected.completeness_gap, nan_ok=True, abs=1e-6)


@pytest.fixture(autouse=True)
def _four_steps_at_first(monkeypatch):
    """So that few gradients serve for several halvings."""
    monkeypatch.setattr(path_integral, "N_STEPS", 4)


@cache
def uninterrupted(name):
    """(last estimate, runs of tiles forward and backward, of these backward)."""
    method, options = METHODS[name]
    setting = Setting(**options)
    n_before = setting.n_runs
    return setting.run(method)[-1], setting.n_runs - n_before, setting.network.n_backward


@pytest.mark.parametrize("share", [0.04, 0.2, 0.45, 0.7, 0.97])
@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_method_goes_on_to_the_same_answer_with_one_gradient_more_at_most(name, share):
    expected, n_runs, n_backward = uninterrupted(name)
    method, options = METHODS[name]
    setting, memory = Setting(**options), {}
    assert setting.n_tiles > 1
    setting.stop_after(int(share * n_runs))
    with pytest.raises(Cancelled):
        setting.run(method, memory)
    assert 0 <= setting.network.n_backward - n_remembered(memory) * setting.n_tiles <= setting.n_tiles
    setting.network.on_tile = lambda: None
    assert_same_estimate(setting.run(method, memory)[-1], expected)
    assert n_remembered(memory) == expected.n_gradients
    assert setting.network.n_backward <= n_backward + setting.n_tiles


def test_where_maps_are_kept_the_steps_are_cut_by_gradients_that_serve(monkeypatch):
    monkeypatch.setattr(path_integral, "N_STEPS", 8)
    lean, rich = Setting(n_baselines=2), Setting(n_baselines=2, kept_graphs=1000)
    estimates = [setting.run(partial(integrated_gradients, budget=33))[-1] for setting in (lean, rich)]
    assert_allclose(estimates[1].voxel_map, estimates[0].voxel_map, atol=1e-5 * np.abs(estimates[0].voxel_map).max())
    assert estimates[0].n_gradients == estimates[1].n_gradients == 33
    assert rich.network.n_backward == 33 * rich.n_tiles
    # Beside its gradients: the unperturbed prediction, once.
    assert rich.network.n_forward == (33 + 1) * rich.n_tiles
    assert lean.network.n_forward > 1.9 * rich.network.n_forward


def test_no_map_waits_where_the_host_has_no_room_for_them(monkeypatch):
    monkeypatch.setattr(path_integral, "available_bytes", lambda _device: 1000)
    lean, rich = Setting(), Setting(kept_graphs=1000)
    memory = {}
    rich.stop_after(6 * rich.n_tiles)
    with pytest.raises(Cancelled):
        rich.run(integrated_gradients, memory)
    assert not any(name.endswith("shares") for name in memory)
    rich.network.on_tile = lambda: None
    estimates = [setting.run(partial(integrated_gradients, budget=17))[-1] for setting in (lean, rich)]
    assert_allclose(estimates[1].voxel_map, estimates[0].voxel_map, atol=1e-5 * np.abs(estimates[0].voxel_map).max())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_stopped_again_and_again_comes_to_its_end(name):
    expected, n_runs, _ = uninterrupted(name)
    method, options = METHODS[name]
    setting, memory, estimates = Setting(**options), {}, []
    for _ in range(8):
        setting.stop_after(n_runs // 4)
        try:
            estimates = setting.run(method, memory)
            break
        except Cancelled:
            continue
    assert_same_estimate(estimates[-1], expected)


@pytest.mark.parametrize("name", METHODS)
def test_what_was_finished_is_told_again_without_a_gradient(name):
    expected, _, _ = uninterrupted(name)
    method, options = METHODS[name]
    setting, memory = Setting(**options), {}
    setting.run(method, memory)
    n_backward = setting.network.n_backward
    assert_same_estimate(setting.run(method, memory)[-1], expected)
    assert_same_estimate(setting.run(method, memory, budget=5)[-1], expected)
    assert setting.network.n_backward == n_backward


@pytest.mark.parametrize("name", METHODS)
def test_a_larger_budget_or_a_smaller_tolerance_goes_on_from_the_memory_too(name):
    expected, _, n_backward = uninterrupted(name)
    method, options = METHODS[name]
    for less in ({"budget": 9 if options["n_baselines"] == 2 else 5}, {"tolerance": 1e6}):
        setting, memory = Setting(**options), {}
        early = setting.run(method, memory, **less)[-1]
        assert_same_estimate(setting.run(method, memory)[-1], expected)
        assert setting.network.n_backward == n_backward
        if "budget" in less:
            assert early.n_gradients < expected.n_gradients
