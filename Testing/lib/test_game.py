import functools

import numpy as np
import pytest
from builders import TinySegmenter, block_partition, noise_ct
from oracles import masked_input, sliding_window, tally_by_voxel
from oracles_shapley import shapley_over_all_subsets

from SegExplainLib.case import prepared_case
from SegExplainLib.contract import InvalidRequest
from SegExplainLib.game import RegionGame, RegionTallier, TallyTable
from SegExplainLib.model.tile_cache import MaskedTiles, TileCache
from SegExplainLib.shapley.exact import exact_shapley
from SegExplainLib.target import TargetScore


def a_game(*, edge_voxels=8, is_exclusive=True, quantity="soft-dice", n_scores=2):
    segmenter = TinySegmenter(is_exclusive=is_exclusive)
    ct = noise_ct()
    roi = np.zeros(ct.array.shape, dtype=bool)
    roi[3:8, 4:9, 5:11] = True
    case = prepared_case(ct, roi, segmenter)
    partition = block_partition(ct.grid, edge_voxels=edge_voxels)
    present = case.network_input.array
    absent = np.full_like(present, -10.24)
    tiles = MaskedTiles(present, absent, partition.labels, case.region, device=segmenter.device)
    tallier = RegionTallier(
        TileCache(segmenter, case.region, tiles), case.region.mask, reference=None, is_exclusive=is_exclusive
    )
    scores = [(channel, TargetScore(quantity, 1.0)) for channel in (1, 2)[:n_scores]]
    table = TallyTable(partition.n_players, segmenter.n_channels)
    game = RegionGame(table, scores, tallier=tallier)

    def literal(coalition):
        whole = masked_input(present, absent, partition.labels, np.asarray(coalition))
        return sliding_window(segmenter, whole)[:, case.roi].numpy()

    return game, literal, segmenter, tallier


@pytest.mark.parametrize("is_exclusive", [True, False])
def test_values_equal_a_literal_masking_sliding_window_and_voxel_loop(is_exclusive):
    game, literal, _, tallier = a_game(is_exclusive=is_exclusive)
    reference = tallier.reference.numpy()
    coalitions = np.random.default_rng(0).random((6, game.n_players)) < 0.6
    values = game(coalitions)
    for coalition, row in zip(coalitions, values, strict=True):
        sums = tally_by_voxel(literal(coalition), reference, is_exclusive)
        expected = [TargetScore("soft-dice", 1.0).of(sums[channel]) for channel in (1, 2)]
        np.testing.assert_allclose(row, expected, rtol=1e-4)


def test_exact_values_of_the_image_game_equal_brute_force_on_the_uncached_network():
    game, literal, _, tallier = a_game(edge_voxels=9, n_scores=1)
    reference = tallier.reference.numpy()
    score = TargetScore("soft-dice", 1.0)

    @functools.cache
    def worth(coalition):
        return float(score.of(tally_by_voxel(literal(np.array(coalition)), reference, True)[1]))

    def uncached(coalitions):
        return np.array([worth(tuple(row)) for row in coalitions])

    assert game.n_players == 8
    *_, estimate = exact_shapley(game, budget=2**8, tolerance=0.0, seed=0)
    np.testing.assert_allclose(estimate.values[:, 0], shapley_over_all_subsets(uncached, 8), atol=1e-5)


def test_a_coalition_is_asked_of_the_network_once():
    game, _, segmenter, _ = a_game()
    coalitions = np.random.default_rng(0).random((5, game.n_players)) < 0.5
    first = game(np.concatenate([coalitions, coalitions]))
    n_run = segmenter.n_tiles_run
    np.testing.assert_array_equal(game(coalitions[::-1]), first[:5][::-1])
    assert segmenter.n_tiles_run == n_run
    assert len(game.table) == 5


def test_a_replay_gives_the_same_values_and_needs_no_network():
    game, _, _, _ = a_game()
    coalitions = np.random.default_rng(0).random((7, game.n_players)) < 0.5
    values = game(coalitions)
    table = TallyTable(game.n_players, 3)
    table.append(game.table.coalitions, game.table.tallies)
    replay = RegionGame(table, [(1, TargetScore("soft-dice", 1.0)), (2, TargetScore("soft-dice", 1.0))])
    np.testing.assert_array_equal(replay(coalitions), values)


def test_a_replay_refuses_what_was_never_evaluated():
    with pytest.raises(InvalidRequest, match="do not hold all"):
        RegionGame(TallyTable(4, 2), [(1, TargetScore("tp", 1.0))])(np.ones((1, 4), dtype=bool))


def test_stopping_in_the_middle_keeps_what_was_evaluated():
    game, _, _, _ = a_game()
    stopped = RuntimeError("stop")

    def stop():
        raise stopped

    game._on_block = stop
    coalitions = np.random.default_rng(0).random((300, game.n_players)) < 0.5
    with pytest.raises(RuntimeError, match="stop"):
        game(coalitions)
    assert 0 < len(game.table) < 300


def test_other_players_share_the_engine_and_give_what_a_game_of_their_own_gives():
    *_, tallier = a_game(edge_voxels=8)
    fresh, other_literal, segmenter, other_tallier = a_game(edge_voxels=5)
    labels = block_partition(noise_ct().grid, edge_voxels=5).labels
    n_tiles = tallier.cache.runner.n_tiles
    shared = tallier.for_players(labels)
    assert shared.cache.runner.n_tiles == n_tiles  # the unperturbed tiles did not run again
    table = TallyTable(fresh.n_players, segmenter.n_channels)
    game = RegionGame(table, [(1, TargetScore("soft-dice", 1.0)), (2, TargetScore("soft-dice", 1.0))], tallier=shared)
    coalitions = np.random.default_rng(3).random((6, fresh.n_players)) < 0.7
    np.testing.assert_allclose(game(coalitions), fresh(coalitions), rtol=1e-6)
    for coalition, row in zip(coalitions[:2], game(coalitions[:2]), strict=True):
        sums = tally_by_voxel(other_literal(coalition), other_tallier.reference.numpy(), True)
        np.testing.assert_allclose(row, [TargetScore("soft-dice", 1.0).of(sums[c]) for c in (1, 2)], rtol=1e-4)
    assert tallier.cache.counts is shared.cache.counts


def test_the_first_players_answer_as_before_after_others_have_played():
    game, _, _, tallier = a_game(edge_voxels=8)
    coalitions = np.random.default_rng(4).random((5, game.n_players)) < 0.7
    before = game(coalitions[:2])
    labels = block_partition(noise_ct().grid, edge_voxels=5).labels
    others = np.random.default_rng(5).random((4, labels.max())) < 0.5
    list(tallier.for_players(labels).blocks(others))
    fresh, *_ = a_game(edge_voxels=8)
    np.testing.assert_array_equal(before, game(coalitions[:2]))
    np.testing.assert_allclose(game(coalitions), fresh(coalitions), rtol=1e-6)
