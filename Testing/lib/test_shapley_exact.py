import numpy as np
import pytest
from games import AdditiveGame, GloveGame, SaturatingGame, TableGame
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from oracles_shapley import shapley_over_all_subsets

from SegExplainLib.shapley.exact import exact_shapley
from SegExplainLib.shapley.value_function import ShapleyEstimate, ValueFunction


def solve(game: ValueFunction) -> ShapleyEstimate:
    (estimate,) = exact_shapley(game, budget=2**game.n_players, tolerance=0.0, seed=0)
    return estimate


@settings(deadline=None, max_examples=25)
@given(n_players=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_values_equal_the_textbook_sum(n_players: int, seed: int):
    game = TableGame.random(n_players, 2, seed=seed)
    assert_allclose(solve(game).values, shapley_over_all_subsets(game, n_players), atol=1e-12)


def test_one_left_glove_against_two_right_ones_gets_two_thirds():
    assert_allclose(solve(GloveGame(1, 2)).values, [2 / 3, 1 / 6, 1 / 6], atol=1e-15)


def test_the_closed_form_of_the_saturating_game_is_its_shapley_value():
    game = SaturatingGame(9, seed=0)
    assert_allclose(solve(game).values, game.shapley_values, atol=1e-14)


def test_all_coalitions_are_asked_once():
    game = AdditiveGame(np.arange(11.0))
    estimate = solve(game)
    assert game.n_evaluations == estimate.n_evaluations == 2**11
    assert estimate.stop_reason == "exact"
    assert_array_equal(estimate.standard_errors, 0.0)


def test_sixteen_players_still_add_up():
    estimate = solve(SaturatingGame(16, seed=0))
    assert abs(estimate.efficiency_gap) < 1e-12


def test_seventeen_players_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"at most 16 players, got 17; merge players or use a sampling estimator"):
        exact_shapley(AdditiveGame(np.ones(17)), budget=10**9, tolerance=0.0, seed=0)
