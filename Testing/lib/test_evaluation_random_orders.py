"""Random orders: their mean and band, and where an explanation lies among them."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from games import AdditiveGame, PairwiseGame, RecordedGame, TableGame
from numpy.testing import assert_allclose
from scipy.stats import binomtest

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.random_orders import random_orders
from SegExplainLib.evaluation.unit_curves import AXES, abpc, aopc, deletion_curve

VOLUMES = [3.0, 50.0, 8.0, 1.0]


def drawn(game, *, n_orders, seed=0, volumes_ml=VOLUMES):
    return list(random_orders(game, volumes_ml=volumes_ml, n_orders=n_orders, seed=seed))[-1]


def over_all_orders(game, area):
    curves = [
        [deletion_curve(game, way, volumes_ml=VOLUMES) for way in (order, order[::-1])]
        for order in itertools.permutations(range(4))
    ]
    name, axis = area.split("-")
    if name == "aopc":
        return np.array([aopc(curve, axis=axis) for curve, _ in curves])
    return np.array([abpc(curve, back, axis=axis) for curve, back in curves])


@pytest.mark.parametrize("area", ["aopc-units", "aopc-volume", "abpc-units", "abpc-volume"])
def test_the_mean_area_is_that_over_all_orders_within_its_error(area):
    game = TableGame.random(4, seed=1)
    every, found = over_all_orders(game, area), drawn(game, n_orders=400)
    mean = found.mean(area)
    assert mean.standard_error == pytest.approx(every.std() / math.sqrt(400), rel=0.15)
    assert abs(mean.value - every.mean()) < 4 * mean.standard_error
    assert {round(value, 9) for value in found.areas[area]} == {round(value, 9) for value in every}


def test_the_area_between_an_order_and_its_reverse_is_zero_over_all_orders():
    for axis in AXES:
        assert over_all_orders(PairwiseGame(4, seed=0), f"abpc-{axis}").mean() == pytest.approx(0.0)


def test_the_band_over_units_is_that_over_all_orders():
    game = TableGame.random(4, seed=2)
    found = drawn(game, n_orders=800).bands["units"]
    heights = np.array([deletion_curve(game, o, volumes_ml=VOLUMES).values for o in itertools.permutations(range(4))])
    assert_allclose(found.shares, np.linspace(0, 1, 5))
    assert (np.abs(found.mean - heights.mean(axis=0)) <= 4 * np.array(found.standard_error) + 1e-12).all()
    assert_allclose(found.standard_error, heights.std(axis=0) / math.sqrt(800), rtol=0.1, atol=1e-9)
    assert_allclose(found.low, heights.min(axis=0), atol=1e-9)  # 2.5 % of 24 orders is the outermost coalition
    assert_allclose(found.high, heights.max(axis=0), atol=1e-9)


def test_where_units_do_not_interact_the_mean_curve_over_units_is_a_straight_line():
    band = drawn(AdditiveGame([4.0, 1.0, -2.0, 3.0]), n_orders=500).bands["units"]
    line = 6.0 * (1 - np.array(band.shares))
    assert (np.abs(band.mean - line) <= 4 * np.array(band.standard_error) + 1e-12).all()


def test_where_worth_is_volume_every_curve_over_volume_is_the_same_line():
    band = drawn(AdditiveGame(VOLUMES), n_orders=20).bands["volume"]
    line = sum(VOLUMES) * (1 - np.array(band.shares))
    for curve in (band.mean, band.low, band.high):
        assert_allclose(curve, line, atol=1e-9)


def test_estimates_come_one_after_the_other_and_a_longer_run_begins_as_a_shorter_one():
    game = TableGame.random(4, seed=0)
    short, long = (list(random_orders(game, volumes_ml=VOLUMES, n_orders=n, seed=5)) for n in (20, 60))
    assert [found.n_orders for found in short] == sorted({found.n_orders for found in short})
    assert [found.is_final for found in short] == [False] * (len(short) - 1) + [True]
    assert short[-1].n_orders == 20
    assert long[-1].areas["aopc-units"][:20] == short[-1].areas["aopc-units"]


def test_nothing_is_asked_twice_and_all_is_announced_at_once():
    game = RecordedGame(PairwiseGame(7, seed=0))
    drawn(game, n_orders=30, volumes_ml=np.ones(7))
    assert len(np.unique(game.asked, axis=0)) == len(game.asked) <= 2 + 30 * 2 * 6
    assert len(game.announcements) == 1
    assert len(game.announcements[0]) == len(game.asked)


def test_the_percentile_counts_the_orders_below_and_half_of_the_equal_ones():
    found = drawn(TableGame.random(4, seed=1), n_orders=50)
    areas = np.array(found.areas["aopc-units"])
    value = float(areas[7])
    expected = np.mean(areas < value - 1e-9) + np.mean(np.abs(areas - value) <= 1e-9) / 2
    assert found.percentile("aopc-units", value).value == pytest.approx(100 * expected)
    assert found.percentile("aopc-units", 99.0).value == 100
    assert found.percentile("aopc-units", -99.0).value == 0


def test_the_interval_of_a_percentile_is_wilsons():
    found = drawn(TableGame.random(4, seed=1), n_orders=50)
    for value, below in ((99.0, 50), (-99.0, 0)):
        expected = binomtest(below, 50).proportion_ci(method="wilson")
        assert_allclose(found.percentile("aopc-units", value).interval, 100 * np.array(expected), atol=1e-9)


def test_a_p_value_is_never_zero_and_one_where_no_order_is_worse():
    found = drawn(TableGame.random(4, seed=1), n_orders=50)
    assert found.p_value("aopc-units", 99.0).value == pytest.approx(1 / 51)
    assert found.p_value("aopc-units", -99.0).value == 1


def test_an_order_that_knows_nothing_is_found_significant_no_more_often_than_said():
    game, rng = TableGame.random(6, seed=3), np.random.default_rng(0)
    volumes = np.ones(6)
    p_values = []
    for seed in range(100):
        found = drawn(game, n_orders=19, seed=seed, volumes_ml=volumes)
        value = aopc(deletion_curve(game, rng.permutation(6), volumes_ml=volumes), axis="units")
        p_values.append(found.p_value("aopc-units", value).value)
    for level in (0.1, 0.5):
        error = math.sqrt(level * (1 - level) / len(p_values))
        assert abs(np.mean(np.array(p_values) <= level + 1e-9) - level) < 4 * error


def test_where_all_orders_are_alike_there_is_no_percentile():
    found = drawn(AdditiveGame([2.0, 2.0, 2.0, 2.0]), n_orders=10)
    for metric in (found.percentile("aopc-units", 4.0), found.p_value("aopc-units", 4.0)):
        assert metric.value is None
        assert "same area" in metric.why_undefined
    assert found.percentile("aopc-units", 5.0).value == 100


def test_random_orders_are_json():
    found = drawn(PairwiseGame(4, seed=0), n_orders=5)
    told = json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))
    assert told["bands"]["volume"]["mean"] == list(found.bands["volume"].mean)


def test_too_few_orders_and_unknown_areas_are_refused():
    with pytest.raises(InvalidRequest, match="2 random orders"):
        random_orders(PairwiseGame(4, seed=0), volumes_ml=VOLUMES, n_orders=1, seed=0)
    with pytest.raises(InvalidRequest, match="aopc-units"):
        drawn(PairwiseGame(4, seed=0), n_orders=2).mean("aopc-unit")


def coarse(game, volumes_ml, *, n_orders, most_steps=5, seed=0):
    orders = random_orders(game, volumes_ml=volumes_ml, n_orders=n_orders, seed=seed, most_steps=most_steps)
    return list(orders)[-1]


def test_fewer_steps_cost_less_and_give_the_areas_of_the_coarser_curves():
    rng = np.random.default_rng(0)
    volumes, game = rng.random(23) + 0.5, PairwiseGame(23, seed=1)
    found = coarse(game, volumes, n_orders=6, seed=3)
    assert found.steps == (0, 5, 9, 14, 18, 23)
    assert game.n_evaluations <= 6 * 2 * 4 + 2
    rng = np.random.default_rng(3)
    for place in range(6):
        order = rng.permutation(23)
        values = [game(np.argsort(order)[np.newaxis] >= step)[0] for step in found.steps]
        drop = values[0] - np.array(values)
        assert found.areas["aopc-units"][place] == pytest.approx(drop.mean())
        gone = [volumes[order[:step]].sum() / volumes.sum() for step in found.steps]
        assert found.areas["aopc-volume"][place] == pytest.approx(np.trapezoid(drop, gone))


@pytest.mark.parametrize("area", ["aopc-units", "aopc-volume", "abpc-units", "abpc-volume"])
def test_an_order_that_was_drawn_has_its_own_area_at_the_same_steps(area):
    volumes, game = np.arange(1.0, 18.0), PairwiseGame(17, seed=2)
    found = coarse(game, volumes, n_orders=9, seed=4)
    order = np.random.default_rng(4).permutation(17)
    most, least = (deletion_curve(game, way, volumes_ml=volumes) for way in (order, order[::-1]))
    assert found.areas_of(most, least)[area] == pytest.approx(found.areas[area][0])


def test_with_fewer_steps_the_true_order_of_an_additive_game_still_beats_every_random_one():
    weights = np.random.default_rng(5).normal(size=40)
    volumes, game = np.ones(40), AdditiveGame(weights)
    found = coarse(game, volumes, n_orders=60, most_steps=12)
    order = np.argsort(-weights)
    most, least = (deletion_curve(game, way, volumes_ml=volumes) for way in (order, order[::-1]))
    areas = found.areas_of(most, least)
    assert found.percentile("aopc-units", areas["aopc-units"]).value == 100
    assert found.p_value("abpc-volume", areas["abpc-volume"]).value == pytest.approx(1 / 61)
