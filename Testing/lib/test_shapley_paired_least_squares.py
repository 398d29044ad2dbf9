import math

import numpy as np
import pytest
from games import AdditiveGame, CountingGame, SaturatingGame, TableGame
from numpy.testing import assert_allclose
from oracles_shapley import shapley_over_all_subsets

from SegExplainLib.shapley.coalitions import every_coalition
from SegExplainLib.shapley.kernel_regression import KernelDesign
from SegExplainLib.shapley.leverage import LeverageDesign
from SegExplainLib.shapley.paired_least_squares import CURVED_FROM, fit_pairs
from SegExplainLib.shapley.paired_sampling import Solution


def fit(
    game: CountingGame,
    pairs: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    repeats: np.ndarray | None = None,
    unsampled: np.ndarray | None = None,
) -> Solution:
    ones = np.ones(len(pairs))
    odd_values = (game(pairs) - game(~pairs)) / 2
    total = game(np.ones_like(pairs[:1])) - game(np.zeros_like(pairs[:1]))
    return fit_pairs(
        pairs,
        odd_values.reshape(len(pairs), -1),
        total.reshape(-1),
        weights=ones if weights is None else weights,
        repeats=ones if repeats is None else repeats,
        unsampled=ones if unsampled is None else unsampled,
    )


def every_pair(n_players: int) -> np.ndarray:
    return every_coalition(n_players)[1 : 2 ** (n_players - 1)]


def shapley_kernel(pairs: np.ndarray) -> np.ndarray:
    n_players = pairs.shape[1]
    sizes = pairs.sum(axis=1)
    return np.array([1 / (math.comb(n_players, size) * size * (n_players - size)) for size in sizes])


@pytest.mark.parametrize("n_players", [3, CURVED_FROM - 1, CURVED_FROM])
def test_over_all_pairs_the_regression_is_the_shapley_value(n_players: int):
    game = TableGame.random(n_players, 2, seed=n_players)
    pairs = every_pair(n_players)
    solution = fit(game, pairs, weights=shapley_kernel(pairs))
    assert_allclose(solution.values, shapley_over_all_subsets(game, n_players), atol=1e-12)


@pytest.mark.parametrize("n_players", [6, 10])
def test_the_jackknife_equals_refitting_without_each_draw(n_players: int):
    rng = np.random.default_rng(0)
    game = TableGame.random(n_players, 2, seed=1)
    pairs = rng.permutation(every_pair(n_players))[: 3 * n_players]
    weights, repeats = rng.uniform(0.5, 2.0, len(pairs)), rng.integers(1, 4, len(pairs)).astype(float)
    unsampled = rng.uniform(0.0, 1.0, len(pairs))
    solution = fit(game, pairs, weights=weights, repeats=repeats, unsampled=unsampled)
    variance = np.zeros_like(solution.values)
    for drawn in range(len(pairs)):
        fewer = repeats - (np.arange(len(pairs)) == drawn)
        without = fit(game, pairs, weights=weights, repeats=fewer).values
        variance += repeats[drawn] * unsampled[drawn] * (without - solution.values) ** 2
    assert_allclose(solution.standard_errors, np.sqrt(variance), rtol=1e-8)


def test_strata_known_in_full_add_no_error():
    game = TableGame.random(8, seed=2)
    solution = fit(game, every_pair(8), unsampled=np.zeros(127))
    assert_allclose(solution.standard_errors, 0.0, atol=0.0)


def test_a_game_of_additive_and_cubic_parts_is_solved_from_few_pairs():
    additive = AdditiveGame(np.random.default_rng(3).normal(size=20))

    class Curved(CountingGame):
        n_players = 20

        def worth(self, coalitions: np.ndarray) -> np.ndarray:
            share = coalitions.mean(axis=1)
            return additive.worth(coalitions) + 5 * share**3 - 2 * share**2 + 1

    pairs = LeverageDesign.draw(20, 24, seed=0).pairs
    solution = fit(Curved(), pairs)
    assert_allclose(solution.values[:, 0], additive.shapley_values + (5 - 2) / 20, atol=1e-9)
    assert solution.standard_errors.max() < 1e-9


def test_players_that_no_pair_tells_apart_share_equally_and_have_no_error_bound():
    pairs = every_pair(6)
    pairs = pairs[pairs[:, 0] == pairs[:, 1]]
    solution = fit(AdditiveGame([5.0, 1.0, 0.0, 0.0, 0.0, 2.0]), pairs)
    assert_allclose(solution.values[:, 0], [3.0, 3.0, 0.0, 0.0, 0.0, 2.0], atol=1e-9)
    assert np.isinf(solution.standard_errors).all()


def test_an_error_that_hangs_on_one_pair_is_unbounded():
    pairs = every_pair(6)
    together = pairs[:, 0] == pairs[:, 1]
    pairs = np.concatenate([pairs[together], pairs[~together][:1]])
    game = AdditiveGame([5.0, 1.0, 0.0, 0.0, 0.0, 2.0])
    solution = fit(game, pairs)
    assert_allclose(solution.values[:, 0], game.shapley_values, atol=1e-9)
    assert np.isinf(solution.standard_errors).all()


@pytest.mark.parametrize("design_class", [KernelDesign, LeverageDesign])
def test_hundreds_of_players_do_not_overflow(design_class: type):
    game = SaturatingGame(600, seed=0)  # C(600, 300) is about 1e179
    design = design_class.draw(600, 900, seed=0)
    odd_values = (game(design.pairs) - game(~design.pairs))[:, np.newaxis] / 2
    solution = design.solve(odd_values, game(np.ones((1, 600), dtype=bool)))
    assert np.isfinite(solution.values).all()
    assert np.isfinite(solution.standard_errors).all()
    assert np.corrcoef(solution.values[:, 0], game.shapley_values)[0, 1] > 0.5
