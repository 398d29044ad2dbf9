"""Importances of subsets of units against what their removal does."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from games import AdditiveGame, PairwiseGame, SaturatingGame, TableGame
from numpy.testing import assert_allclose
from scipy.stats import pearsonr

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.resampling import pearson, relative_miss_at_best, sampled_metric
from SegExplainLib.evaluation.unit_subsets import (
    faithfulness_correlation,
    infidelity,
    sensitivity_n,
    subsets_of_size,
)


def sums_and_drops(game, importances, size):
    """Of every subset of a size, one at a time."""
    everybody = np.ones((1, game.n_players), dtype=bool)
    sums, drops = [], []
    for members in itertools.combinations(range(game.n_players), size):
        present = everybody.copy()
        present[0, list(members)] = False
        sums.append(sum(importances[list(members)]))
        drops.append(float((game.worth(everybody) - game.worth(present))[0]))
    return np.array(sums), np.array(drops)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_over_all_subsets_the_correlation_is_pearsons_and_has_no_error(size):
    game, importances = TableGame.random(5, seed=size), np.random.default_rng(size).normal(size=5)
    metric = faithfulness_correlation(game, importances, seed=0, size=size)
    assert metric.value == pytest.approx(pearsonr(*sums_and_drops(game, importances, size)).statistic)
    assert metric.standard_error == 0
    assert metric.interval == (metric.value, metric.value)


def test_the_default_size_is_half_of_the_units():
    game, importances = TableGame.random(7, seed=0), np.arange(7.0)
    assert faithfulness_correlation(game, importances, seed=0) == faithfulness_correlation(
        game, importances, seed=0, size=3
    )


def test_a_sampled_correlation_is_that_over_all_subsets_as_often_as_its_interval_says():
    game, importances = PairwiseGame(12, seed=2), PairwiseGame(12, seed=2).shapley_values
    truth = faithfulness_correlation(game, importances, seed=0, size=6, n_subsets=1000).value
    found = [faithfulness_correlation(game, importances, seed=seed, size=6, n_subsets=60) for seed in range(80)]
    covered = np.mean([metric.interval[0] <= truth <= metric.interval[1] for metric in found])
    assert covered >= 0.86
    spread = np.std([metric.value for metric in found], ddof=1)
    assert np.mean([metric.standard_error for metric in found]) == pytest.approx(spread, rel=0.35)


def test_amounts_count_where_a_ranking_would_not_tell():
    game = AdditiveGame([1.0, 2.0, 10.0, 3.0, 4.0])
    true = faithfulness_correlation(game, game.shapley_values, seed=0, size=2).value
    ranked = faithfulness_correlation(game, [1.0, 2.0, 5.0, 3.0, 4.0], seed=0, size=2).value
    assert true == pytest.approx(1)
    assert 0 < ranked < 0.95


def test_the_scale_and_unit_of_a_map_do_not_matter_to_the_correlation():
    game, importances = PairwiseGame(6, seed=0), np.arange(6.0)
    plain, scaled = (faithfulness_correlation(game, factor * importances, seed=0).value for factor in (1.0, 1e-6))
    assert plain == pytest.approx(scaled)


@pytest.mark.parametrize("size", [0, 5, 9])
def test_a_size_that_leaves_no_choice_is_refused(size):
    with pytest.raises(InvalidRequest, match="from 1 to 4"):
        faithfulness_correlation(PairwiseGame(5, seed=0), np.arange(5), seed=0, size=size)


def test_two_units_are_too_few_for_a_correlation():
    game = AdditiveGame([1.0, 2.0])
    for metric in (
        faithfulness_correlation(game, [1, 2], seed=0),
        sensitivity_n(game, [1, 2], seed=0).mean,
    ):
        assert metric.value is None
        assert "3" in metric.why_undefined


def test_subsets_are_distinct_of_the_size_and_all_where_there_are_no_more():
    few = subsets_of_size(20, 9, n_subsets=50, seed=1)
    assert few.shape == (50, 20)
    assert (few.sum(axis=1) == 9).all()
    assert len(np.unique(few, axis=0)) == 50
    assert len(subsets_of_size(6, 2, n_subsets=50, seed=1)) == math.comb(6, 2)


def test_sensitivity_at_a_size_is_the_correlation_at_that_size():
    game, importances = TableGame.random(9, seed=0), np.random.default_rng(1).normal(size=9)
    found = sensitivity_n(game, importances, seed=3, n_subsets=30)
    assert [one.size for one in found.by_size] == [1, 2, 3, 4, 5, 7]
    for one in found.by_size:
        alone = faithfulness_correlation(game, importances, seed=3, size=one.size, n_subsets=30)
        assert one.correlation == alone
        assert one.n_subsets == min(30, math.comb(9, one.size))
    assert found.mean.value == pytest.approx(np.mean([one.correlation.value for one in found.by_size]))
    errors = [one.correlation.standard_error for one in found.by_size]
    assert found.mean.standard_error == pytest.approx(math.sqrt(np.sum(np.square(errors))) / len(errors))


def test_true_marginals_of_units_that_interact_are_right_for_one_unit_and_worse_for_many():
    game = SaturatingGame(12, seed=0)
    whole = np.ones((1, 12), dtype=bool)
    occlusion = game.worth(whole) - game.worth(whole & ~np.eye(12, dtype=bool))
    found = sensitivity_n(game, occlusion, seed=0).by_size
    assert found[0].correlation.value == pytest.approx(1)
    assert found[-1].correlation.value < 0.99


def test_sensitivity_of_no_size_is_refused():
    with pytest.raises(InvalidRequest, match="size"):
        sensitivity_n(PairwiseGame(5, seed=0), np.arange(5), seed=0, sizes=[])


def test_infidelity_is_the_mean_squared_miss_over_random_subsets():
    game, importances = PairwiseGame(6, seed=1), np.random.default_rng(2).normal(size=6)
    by_size = [sums_and_drops(game, importances, size) for size in range(1, 7)]
    expected = np.mean([np.mean((sums - drops) ** 2) for sums, drops in by_size])
    squared = np.mean([np.mean(drops**2) for _, drops in by_size])
    plain, relative, _ = infidelity(game, importances, seed=0, n_subsets=4000)
    assert abs(plain.value - expected) < 4 * plain.standard_error
    assert abs(relative.value - expected / squared) < 4 * relative.standard_error
    assert plain.standard_error < 0.1 * expected


def test_importances_of_zero_have_a_relative_infidelity_of_one():
    plain, relative, scaled = infidelity(PairwiseGame(6, seed=1), np.zeros(6), seed=0)
    assert plain.value > 0
    assert relative.value == pytest.approx(1)
    assert scaled.value is None
    assert "add up to 0" in scaled.why_undefined


def test_scaled_infidelity_is_what_least_squares_leaves():
    rng = np.random.default_rng(0)
    sums, drops = rng.normal(size=40), rng.normal(size=40)
    factor, left, *_ = np.linalg.lstsq(sums[:, np.newaxis], drops, rcond=None)
    assert relative_miss_at_best(sums, drops) == pytest.approx(left[0] / np.sum(drops**2))
    assert relative_miss_at_best(factor * sums, drops) == pytest.approx(left[0] / np.sum(drops**2))


def test_maps_without_a_unit_are_judged_after_scaling():
    game = AdditiveGame([4.0, 1.0, -2.0, 3.0])
    plain, relative, scaled = infidelity(game, 1e-3 * game.shapley_values, seed=0)
    assert relative.value == pytest.approx(0.999**2)
    assert scaled.value == pytest.approx(0, abs=1e-12)
    assert plain.value > 0


def test_the_bootstrap_error_of_a_mean_is_that_of_the_textbook():
    x = np.random.default_rng(0).normal(size=200)
    metric = sampled_metric("mean", lambda x, y: x.mean(axis=-1), x, x, better="higher", seed=0)
    assert metric.standard_error == pytest.approx(x.std(ddof=1) / math.sqrt(200), rel=0.12)
    assert metric.interval[0] < metric.value < metric.interval[1]


def test_resamples_that_are_not_defined_are_left_out():
    x, y = np.array([0.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0])
    metric = sampled_metric("some", pearson, x, y, better="higher", seed=0)
    assert metric.value == pytest.approx(pearsonr(x, y).statistic)
    assert metric.standard_error is None or math.isfinite(metric.standard_error)


def test_along_rows_each_correlation_is_that_of_its_row():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 30))
    assert_allclose(pearson(x, y), [pearsonr(a, b).statistic for a, b in zip(x, y)])


def test_sensitivity_is_json():
    found = sensitivity_n(PairwiseGame(5, seed=0), np.arange(5.0), seed=0)
    told = json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))
    assert told["by_size"][0]["size"] == 1


def test_too_few_subsets_are_refused():
    with pytest.raises(InvalidRequest, match="3 subsets"):
        infidelity(PairwiseGame(5, seed=0), np.arange(5), seed=0, n_subsets=2)
