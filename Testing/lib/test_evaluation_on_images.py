"""Faithfulness by units on a network and a CT: the game that made the explanation judges it."""

import numpy as np
from builders import TinySegmenter, block_partition, noise_ct

from SegExplainLib.case import prepared_case
from SegExplainLib.evaluation.bounds import aopc_bounds, naopc
from SegExplainLib.evaluation.random_orders import random_orders
from SegExplainLib.evaluation.unit_curves import aopc, unit_faithfulness
from SegExplainLib.evaluation.unit_subsets import faithfulness_correlation, sensitivity_n
from SegExplainLib.game import RegionGame, RegionTallier, TallyTable
from SegExplainLib.model.tile_cache import MaskedTiles, TileCache
from SegExplainLib.shapley.exact import exact_shapley
from SegExplainLib.target import TargetScore


def an_explained_ct():
    """A game of eight blocks of a noise CT, its exact Shapley values, their volumes, and the tiles' counts."""
    segmenter, ct = TinySegmenter(), noise_ct()
    roi = np.zeros(ct.array.shape, dtype=bool)
    roi[3:8, 4:9, 5:11] = True
    case = prepared_case(ct, roi, segmenter)
    partition = block_partition(ct.grid, edge_voxels=9)
    present = case.network_input.array
    tiles = MaskedTiles(present, np.full_like(present, -10.24), partition.labels, case.region, device=segmenter.device)
    cache = TileCache(segmenter, case.region, tiles)
    tallier = RegionTallier(cache, case.region.mask, reference=None, is_exclusive=True)
    table = TallyTable(partition.n_players, segmenter.n_channels)
    game = RegionGame(table, [(1, TargetScore("soft-dice", 1.0))], tallier=tallier)
    *_, estimate = exact_shapley(game, budget=2**8, tolerance=0.0, seed=0)
    return game, estimate.values[:, 0], partition.volumes_ml, cache.counts


def test_an_explanation_is_judged_from_known_coalitions_without_the_network_and_is_faithful():
    game, values, volumes_ml, counts = an_explained_ct()
    n_coalitions = counts.n_coalitions
    found = unit_faithfulness(game, values, volumes_ml=volumes_ml)
    metrics = {metric.name: metric.value for metric in found.metrics}
    last = list(random_orders(game, volumes_ml=volumes_ml, n_orders=99, seed=0))[-1]
    assert metrics["abpc-units"] > 0
    assert last.p_value("aopc-units", aopc(found.most_first, axis="units")).value < 0.05
    for axis, by in (("units", "value"), ("volume", "value-per-ml")):
        curve = unit_faithfulness(game, values, volumes_ml=volumes_ml, by=by).most_first
        assert 0.8 < naopc(curve, aopc_bounds(game, volumes_ml=volumes_ml, axis=axis)).value <= 1
    assert faithfulness_correlation(game, values, seed=0).value > 0.9
    assert sensitivity_n(game, values, seed=0).mean.value > 0.9
    assert counts.n_coalitions == n_coalitions
