"""The first picture: unbiased whatever the game, with errors that tell how far off it is."""

import math

import numpy as np
import pytest
from oracles_shapley import shapley_over_all_subsets

from SegExplainLib.shapley.coalitions import every_coalition
from SegExplainLib.shapley.kernel_regression import kernel_shap
from SegExplainLib.shapley.sampled_mean import sampled_mean
from SegExplainLib.shapley.student_t import student_t_quantile


def a_table(n_players, seed):
    """Worth of each coalition of a game without any structure, (2^n,)."""
    return np.random.default_rng(seed).normal(size=2**n_players)


def number(coalitions):
    return coalitions @ (1 << np.arange(coalitions.shape[1]))


@pytest.mark.parametrize("n_players", [2, 3, 6, 9])
def test_over_the_whole_kernel_it_is_the_shapley_value(n_players):
    """The expectation, by enumeration: no sampling, no rounding but the machine's."""
    worth = a_table(n_players, 5)
    pairs = every_coalition(n_players)[1 : 2 ** (n_players - 1)]  # without the last player: one of each pair
    sizes = pairs.sum(axis=1)
    shares = np.array([1.0 / (math.comb(n_players, k) * k * (n_players - k)) for k in sizes])
    odd = (worth[number(pairs)] - worth[number(~pairs)]) / 2
    total = np.array([worth[-1] - worth[0]])
    values, _ = sampled_mean(pairs, odd[:, np.newaxis], total, shares / shares.sum())
    expected = shapley_over_all_subsets(lambda coalitions: worth[number(coalitions)], n_players)
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-12)


def test_its_intervals_hold_the_truth_as_often_as_they_say():
    n_players, seeds = 12, range(200)
    worth = a_table(n_players, 11)
    truth = shapley_over_all_subsets(lambda coalitions: worth[number(coalitions)], n_players)
    hits, deviations = [], []
    for seed in seeds:
        first = _first(worth, seed)
        factor = student_t_quantile(0.975, first.degrees_of_freedom)
        hits.append(np.abs(first.values - truth) <= factor * first.standard_errors)
        deviations.append(first.values - truth)
    assert 0.90 <= np.mean(hits) <= 0.99
    mean = np.mean(deviations, axis=0)
    assert (np.abs(mean) < 4 * np.std(deviations, axis=0) / math.sqrt(len(deviations))).all()


def _first(worth, seed):
    class Table:
        n_players = 12

        def __call__(self, coalitions):
            return worth[number(coalitions)]

    estimate = next(iter(kernel_shap(Table(), budget=100, tolerance=0.0, seed=seed)))
    assert estimate.n_evaluations == 2 + 2 * 8
    return estimate


def test_efficiency_is_exact_from_the_first_pair_on():
    rng = np.random.default_rng(3)
    pairs = rng.random((8, 20)) < 0.5
    values, _ = sampled_mean(pairs, rng.normal(size=(8, 2)), np.array([1.5, -0.3]), np.full(8, 1 / 8))
    np.testing.assert_allclose(values.sum(axis=0), [1.5, -0.3], atol=1e-12)
