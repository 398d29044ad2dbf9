"""Bounds of the area over the curve, against all orders."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from games import AdditiveGame, GloveGame, PairwiseGame, SaturatingGame, TableGame
from numpy.testing import assert_allclose

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.bounds import aopc_bounds, most_evaluations, naopc
from SegExplainLib.evaluation.remembered_game import RememberedGame
from SegExplainLib.evaluation.unit_curves import AXES, aopc, deletion_curve

GAMES = {
    "table": lambda n, seed: TableGame.random(n, seed=seed),
    "pairwise": lambda n, seed: PairwiseGame(n, seed=seed),
    "saturating": lambda n, seed: SaturatingGame(n, seed=seed),
    "glove": lambda n, seed: GloveGame(n - n // 2, n // 2),
}
every_axis = pytest.mark.parametrize("axis", AXES)


def some_volumes(n_units, seed=0):
    return np.random.default_rng(seed).uniform(1.0, 60.0, n_units)


def over_all_orders(game, volumes, axis):
    """The literal way: the area of each of n! orders."""
    table = RememberedGame(game)
    orders = list(itertools.permutations(range(game.n_players)))
    return orders, np.array([aopc(deletion_curve(table, order, volumes_ml=volumes), axis=axis) for order in orders])


@every_axis
@pytest.mark.parametrize("kind", GAMES)
@pytest.mark.parametrize("n_units", [1, 2, 3, 5])
def test_exact_bounds_are_those_over_all_orders(axis, kind, n_units):
    volumes = some_volumes(n_units)
    game = GAMES[kind](n_units, 1)
    _, areas = over_all_orders(game, volumes, axis)
    bounds = aopc_bounds(game, volumes_ml=volumes, axis=axis)
    assert bounds.is_exact
    assert bounds.lower == pytest.approx(areas.min(), abs=1e-12)
    assert bounds.upper == pytest.approx(areas.max(), abs=1e-12)


@every_axis
def test_exact_bounds_of_six_units_and_their_orders(axis):
    game, volumes = TableGame.random(6, seed=4), some_volumes(6)
    orders, areas = over_all_orders(game, volumes, axis)
    bounds = aopc_bounds(game, volumes_ml=volumes, axis=axis)
    assert bounds.upper_order == orders[areas.argmax()]
    assert bounds.lower_order == orders[areas.argmin()]
    assert_allclose([bounds.lower, bounds.upper], [areas.min(), areas.max()])


@every_axis
def test_an_exact_search_asks_for_each_coalition_once(axis):
    game = PairwiseGame(12, seed=0)
    bounds = aopc_bounds(game, volumes_ml=some_volumes(12), axis=axis)
    assert bounds.is_exact
    assert game.n_evaluations == bounds.n_evaluations == most_evaluations(12) == 2**12


@every_axis
def test_what_is_remembered_is_not_asked_again(axis):
    game = PairwiseGame(6, seed=0)
    memory = RememberedGame(game)
    aopc_bounds(memory, volumes_ml=some_volumes(6), axis=axis)
    again = aopc_bounds(memory, volumes_ml=some_volumes(6), axis=axis)
    assert again.n_evaluations == 0
    assert game.n_evaluations == 2**6


@every_axis
@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("kind", GAMES)
def test_a_beam_stays_inside_the_exact_bounds_and_within_its_cost(axis, kind, width):
    volumes, game = some_volumes(8), GAMES[kind](8, 2)
    exact = aopc_bounds(game, volumes_ml=volumes, axis=axis)
    game.n_evaluations = 0
    beam = aopc_bounds(game, volumes_ml=volumes, axis=axis, beam_width=width, most_exact=0)
    assert (beam.is_exact, beam.beam_width) == (False, width)
    assert exact.lower - 1e-12 <= beam.lower <= beam.upper <= exact.upper + 1e-12
    assert game.n_evaluations == beam.n_evaluations <= most_evaluations(8, beam_width=width, most_exact=0)
    assert beam.upper - beam.lower > 0.5 * (exact.upper - exact.lower)


@every_axis
def test_a_beam_as_wide_as_the_game_is_exact(axis):
    volumes, game = some_volumes(6), TableGame.random(6, seed=7)
    _, areas = over_all_orders(game, volumes, axis)
    bounds = aopc_bounds(game, volumes_ml=volumes, axis=axis, beam_width=20, most_exact=0)
    assert_allclose([bounds.lower, bounds.upper], [areas.min(), areas.max()])


@every_axis
def test_a_beam_finds_the_best_order_of_many_units_that_do_not_interact(axis):
    weights, volumes = np.random.default_rng(1).normal(size=25), some_volumes(25)
    bounds = aopc_bounds(AdditiveGame(weights), volumes_ml=volumes, axis=axis, beam_width=5)
    best = np.argsort(-weights) if axis == "units" else np.argsort(-weights / volumes)
    exact = [
        aopc(deletion_curve(AdditiveGame(weights), order, volumes_ml=volumes), axis=axis)
        for order in (best, best[::-1])
    ]
    assert not bounds.is_exact
    assert bounds.upper - bounds.lower > 0.95 * (exact[0] - exact[1])
    if axis == "units":
        assert_allclose([bounds.upper, bounds.lower], exact)


def test_a_known_order_that_beats_the_beam_becomes_the_bound():
    volumes, game = some_volumes(7), TableGame.random(7, seed=11)
    orders, areas = over_all_orders(game, volumes, "units")
    known = [orders[areas.argmax()], orders[areas.argmin()]]
    narrow = aopc_bounds(game, volumes_ml=volumes, axis="units", beam_width=1, most_exact=0)
    told = aopc_bounds(game, volumes_ml=volumes, axis="units", beam_width=1, most_exact=0, known_orders=known)
    assert narrow.upper < told.upper == pytest.approx(areas.max())
    assert narrow.lower >= told.lower == pytest.approx(areas.min())
    assert told.upper_order == known[0]
    best = deletion_curve(game, known[0], volumes_ml=volumes)
    assert naopc(best, narrow).value > 1
    assert naopc(best, told).value == 1


@every_axis
def test_normalised_area_is_one_for_the_best_order_zero_for_the_worst_and_between_for_all_others(axis):
    game, volumes = PairwiseGame(5, seed=3), some_volumes(5)
    bounds = aopc_bounds(game, volumes_ml=volumes, axis=axis)
    orders, areas = over_all_orders(game, volumes, axis)
    shares = np.array([naopc(deletion_curve(game, order, volumes_ml=volumes), bounds).value for order in orders])
    assert shares.max() == pytest.approx(1)
    assert shares.min() == pytest.approx(0)
    assert_allclose(shares, (areas - areas.min()) / np.ptp(areas), atol=1e-9)


@every_axis
def test_where_all_orders_are_alike_there_is_no_share_of_the_way(axis):
    game = AdditiveGame([3.0, 3.0, 3.0])
    bounds = aopc_bounds(game, volumes_ml=[2, 2, 2], axis=axis)
    metric = naopc(deletion_curve(game, [0, 1, 2], volumes_ml=[2, 2, 2]), bounds)
    assert metric.value is None
    assert "same area" in metric.why_undefined


def test_bounds_are_json():
    bounds = aopc_bounds(PairwiseGame(3, seed=0), volumes_ml=[1, 2, 3], axis="volume")
    assert json.loads(json.dumps(dataclasses.asdict(bounds), allow_nan=False))["upper"] == bounds.upper


def test_a_beam_without_width_and_a_wrong_known_order_are_refused():
    with pytest.raises(InvalidRequest, match="beam"):
        aopc_bounds(PairwiseGame(3, seed=0), volumes_ml=[1, 2, 3], axis="units", beam_width=0)
    with pytest.raises(InvalidRequest, match="order"):
        aopc_bounds(PairwiseGame(3, seed=0), volumes_ml=[1, 2, 3], axis="units", known_orders=[(0, 1)])
