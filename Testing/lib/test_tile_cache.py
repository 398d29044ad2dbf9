import numpy as np
import pytest
import torch
from builders import TinySegmenter, block_partition, noise_ct
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import masked_input, sliding_window

from SegExplainLib.case import prepared_case
from SegExplainLib.contract import OutOfMemory, UnusableModel
from SegExplainLib.model.tile_cache import MaskedTiles, TileCache


class Setting:
    """A region on a small CT with block players, and its cache."""

    def __init__(self, *, roi=(slice(4, 8), slice(5, 9), slice(6, 11)), is_exclusive=True, seed=0, **cache):
        self.segmenter = cache.pop("segmenter", None) or TinySegmenter(is_exclusive=is_exclusive, seed=seed)
        self.ct = noise_ct(seed=seed)
        mask = np.zeros(self.ct.array.shape, dtype=bool)
        mask[roi] = True
        self.case = prepared_case(self.ct, mask, self.segmenter)
        self.partition = block_partition(self.ct.grid)
        self.present = self.case.network_input.array
        rng = np.random.default_rng(seed + 1)
        self.absent = rng.normal(size=self.present.shape).astype(np.float32)
        tiles = MaskedTiles(
            self.present, self.absent, self.partition.labels, self.case.region, device=self.segmenter.device
        )
        self.warnings = []
        self.cache = TileCache(self.segmenter, self.case.region, tiles, warn=self.warnings.append, **cache)

    def coalitions(self, n, *, seed=0, p=0.5):
        return np.random.default_rng(seed).random((n, self.partition.n_players)) < p

    def fused(self, coalitions):
        """(n, n_channels, n_voxels) of the region, rows in the order asked."""
        out = {}
        for rows, logits in self.cache.fused(coalitions):
            for row, one in zip(rows, logits, strict=True):
                out[int(row)] = one[:, self.case.region.mask].numpy().copy()
        return np.stack([out[row] for row in range(len(coalitions))])

    def uncached(self, coalition):
        whole = masked_input(self.present, self.absent, self.partition.labels, coalition)
        return sliding_window(self.segmenter, whole)[:, self.case.roi].numpy()


@pytest.mark.parametrize("is_exclusive", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_cached_logits_equal_a_fresh_full_volume_sliding_window_and_fewer_tiles_run(is_exclusive, batch):
    setting = Setting(roi=(slice(1, 4), slice(0, 3), slice(2, 6)), is_exclusive=is_exclusive, batch=batch)
    coalitions = np.concatenate([setting.coalitions(12, p=0.5), setting.coalitions(12, seed=1, p=0.95)])
    n_before = setting.segmenter.n_tiles_run
    fused = setting.fused(coalitions)
    n_run = setting.segmenter.n_tiles_run - n_before
    for coalition, logits in zip(coalitions, fused, strict=True):
        np.testing.assert_allclose(logits, setting.uncached(coalition), atol=1e-4, rtol=0)
    assert setting.case.region.n_tiles < setting.case.tiles.n_tiles
    assert n_run < len(coalitions) * setting.case.region.n_tiles


@settings(max_examples=15, deadline=None)
@given(start=st.tuples(*[st.integers(0, 9)] * 3), size=st.tuples(*[st.integers(1, 6)] * 3), seed=st.integers(0, 10_000))
def test_any_region_is_exact(start, size, seed):
    roi = tuple(slice(min(s, n - 1), min(s, n - 1) + m) for s, m, n in zip(start, size, (12, 14, 16), strict=True))
    setting = Setting(roi=roi, seed=seed % 7)
    coalitions = setting.coalitions(3, seed=seed, p=0.7)
    for coalition, logits in zip(coalitions, setting.fused(coalitions), strict=True):
        np.testing.assert_allclose(logits, setting.uncached(coalition), atol=1e-4, rtol=0)


def test_a_scattered_mask_is_exact_on_its_voxels():
    rng = np.random.default_rng(5)
    setting = Setting()
    mask = rng.random(setting.ct.array.shape) < 0.01
    setting.case = prepared_case(setting.ct, mask, setting.segmenter)
    tiles = MaskedTiles(setting.present, setting.absent, setting.partition.labels, setting.case.region, device="cpu")
    setting.cache = TileCache(setting.segmenter, setting.case.region, tiles)
    coalitions = setting.coalitions(3)
    for coalition, logits in zip(coalitions, setting.fused(coalitions), strict=True):
        np.testing.assert_allclose(logits, setting.uncached(coalition), atol=1e-4, rtol=0)


def test_a_player_outside_the_reach_changes_nothing_and_costs_no_tile():
    setting = Setting(roi=(slice(0, 2), slice(0, 2), slice(0, 2)))
    outside = set(range(setting.partition.n_players)) - set(
        (np.unique(setting.partition.labels[setting.case.reach]) - 1).tolist()
    )
    coalition = np.ones((1, setting.partition.n_players), dtype=bool)
    coalition[:, list(outside)] = False
    n_before = setting.segmenter.n_tiles_run
    logits = setting.fused(coalition)[0]
    assert outside
    assert setting.segmenter.n_tiles_run == n_before
    np.testing.assert_allclose(logits, setting.uncached(coalition[0]), atol=1e-5, rtol=0)


def test_each_distinct_tile_and_pattern_runs_once_within_the_byte_budget():
    setting = Setting(accumulator_bytes=1)
    coalitions = setting.coalitions(30, p=0.9)
    setting.cache.announce(coalitions)
    distinct = set()
    for place, players in enumerate(setting.cache._tiles.players_in_tile):
        rows = {tuple(row) for row in coalitions[:, players]}
        distinct |= {(place, row) for row in rows if not all(row)}
    n_before = setting.segmenter.n_tiles_run
    for begin in range(0, 30, 10):
        setting.fused(coalitions[begin : begin + 10])
    assert setting.segmenter.n_tiles_run - n_before == len(distinct)
    assert setting.cache._kept == {}
    assert setting.cache._kept_bytes == 0


def test_without_room_to_keep_results_the_answer_is_the_same_and_memory_stays_bounded():
    roomy, tight = Setting(accumulator_bytes=1), Setting(accumulator_bytes=1, kept_bytes=0)
    coalitions = roomy.coalitions(20, p=0.9)
    np.testing.assert_allclose(roomy.fused(coalitions), tight.fused(coalitions), atol=1e-5, rtol=0)
    assert tight.cache.counts.kept_bytes_peak == 0
    assert tight.cache.counts.n_network_tiles >= roomy.cache.counts.n_network_tiles


def test_peak_memory_does_not_grow_with_the_number_of_coalitions():
    few, many = [Setting(accumulator_bytes=10_000, kept_bytes=20_000) for _ in range(2)]
    few.fused(few.coalitions(15, p=0.9))
    many.fused(many.coalitions(60, p=0.9))
    assert many.cache.counts.accumulator_bytes_peak == few.cache.counts.accumulator_bytes_peak <= 10_000
    assert 0 < few.cache.counts.kept_bytes_peak <= many.cache.counts.kept_bytes_peak <= 20_000


def test_the_counts_tell_what_each_scheme_would_cost():
    setting = Setting()
    coalitions = np.ones((3, setting.partition.n_players), dtype=bool)
    coalitions[1] = False
    coalitions[2] = False
    setting.fused(coalitions)
    n_tiles = setting.case.region.n_tiles
    counts = setting.cache.counts
    assert counts.n_coalitions == 3
    assert counts.n_region_tiles == 3 * n_tiles
    assert counts.n_touched_tiles == 2 * n_tiles
    assert counts.n_network_tiles == 2 * n_tiles


def test_when_memory_runs_out_the_batch_is_halved_and_the_user_told():
    setting = Setting(segmenter=TinySegmenter(out_of_memory_above=2), batch=8)
    coalition = setting.coalitions(1)
    np.testing.assert_allclose(setting.fused(coalition)[0], setting.uncached(coalition[0]), atol=1e-4, rtol=0)
    assert setting.cache.runner.batch == 2
    assert any("2 tile(s)" in warning for warning in setting.warnings)


def test_one_tile_that_does_not_fit_is_a_clear_error():
    with pytest.raises(OutOfMemory, match="One tile"):
        Setting(segmenter=TinySegmenter(out_of_memory_above=0))


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_network_that_gives_a_number_that_is_not_finite_is_refused(number):
    segmenter = TinySegmenter()
    with torch.no_grad():
        segmenter.network[-1].bias[0] = number
    with pytest.raises(UnusableModel, match="not finite"):
        Setting(segmenter=segmenter)


def test_batches_side_by_side_give_the_same_bits_as_one_after_the_other(monkeypatch):
    alone = Setting(accumulator_bytes=1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = Setting(accumulator_bytes=1)
    coalitions = alone.coalitions(6)
    np.testing.assert_array_equal(alone.fused(coalitions), together.fused(coalitions))
    assert together.cache.runner._n_workers == 3
    assert together.cache.counts.n_network_tiles == alone.cache.counts.n_network_tiles


def test_what_a_stopped_run_kept_does_not_take_the_room_of_the_next():
    setting = Setting(accumulator_bytes=1, kept_bytes=10_000)
    first, second = setting.coalitions(30, p=0.9), setting.coalitions(30, seed=5, p=0.9)
    setting.cache.announce(first)
    next(setting.cache.fused(first))
    assert setting.cache._kept
    setting.cache.start_over(warn=setting.warnings.append, on_batch=lambda: None)
    setting.cache.announce(second)
    for coalition, logits in zip(second, setting.fused(second), strict=True):
        np.testing.assert_allclose(logits, setting.uncached(coalition), atol=1e-4, rtol=0)
    assert setting.cache._kept == {}
    assert setting.cache._kept_bytes == 0
