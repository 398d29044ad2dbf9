"""Orders of units, the curves along them, and their areas."""

import dataclasses
import json

import numpy as np
import pytest
from games import AdditiveGame, PairwiseGame, RecordedGame, TableGame
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.remembered_game import RememberedGame
from SegExplainLib.evaluation.unit_curves import (
    AXES,
    abpc,
    aopc,
    curve_metrics,
    deletion_curve,
    insertion_curve,
    unit_faithfulness,
)
from SegExplainLib.evaluation.unit_orders import ORDERS, unit_order, why_unranked

IMPORTANCES, VOLUMES = [2.0, -9.0, 0.5, 4.0], [1.0, 30.0, 0.1, 40.0]


def by_name(found):
    return {metric.name: metric for metric in found.metrics}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("value", [3, 0, 2, 1]),
        ("absolute", [1, 3, 0, 2]),
        ("value-per-ml", [2, 0, 3, 1]),  # 5, 2, 0.1, -0.3
        ("absolute-per-ml", [2, 0, 1, 3]),
        ("volume", [3, 1, 0, 2]),
    ],
)
def test_each_kind_of_order_puts_the_most_important_first(kind, expected):
    assert unit_order(kind, IMPORTANCES, volumes_ml=VOLUMES).tolist() == expected


@pytest.mark.parametrize("kind", ORDERS)
def test_every_kind_names_each_unit_once(kind):
    assert sorted(unit_order(kind, IMPORTANCES, volumes_ml=VOLUMES, seed=3).tolist()) == [0, 1, 2, 3]


def test_equal_units_and_random_orders_come_in_every_order_equally_often():
    for kind, importances in (("value", [1.0, 1.0, 1.0]), ("random", [3.0, 2.0, 1.0])):
        orders = [tuple(unit_order(kind, importances, volumes_ml=[1, 2, 3], seed=seed)) for seed in range(600)]
        _, counts = np.unique(orders, axis=0, return_counts=True)
        assert len(counts) == 6
        assert_allclose(counts, 100, atol=45)


def test_an_unknown_order_is_refused_with_the_nearest():
    with pytest.raises(InvalidRequest, match="absolute-per-ml"):
        unit_order("absolute_per_ml", IMPORTANCES, volumes_ml=VOLUMES)


def test_it_is_said_why_nothing_is_ranked():
    assert why_unranked("value", IMPORTANCES, volumes_ml=VOLUMES) == ""
    assert "equally" in why_unranked("absolute", [1.0, -1.0], volumes_ml=[1, 2])
    assert why_unranked("value", [1.0, -1.0], volumes_ml=[1, 2]) == ""
    assert why_unranked("random", [1.0, 1.0], volumes_ml=[1, 2]) == ""
    volumes = np.array([0.1, 0.3, 0.7, 1.1, 2.3, 3.9])
    assert np.ptp(0.7 * volumes / volumes) > 0  # by rounding alone
    assert "equally" in why_unranked("value-per-ml", 0.7 * volumes, volumes_ml=volumes)


def test_ties_do_not_fall_as_the_first_random_order_does():
    tied = [unit_order("value", np.zeros(9), volumes_ml=np.ones(9), seed=seed).tolist() for seed in range(20)]
    random = [np.random.default_rng(seed).permutation(9).tolist() for seed in range(20)]
    assert sum(map(list.__eq__, tied, random)) <= 1


def test_a_deletion_curve_removes_one_unit_after_the_other():
    game = TableGame.random(4, seed=1)
    curve = deletion_curve(game, [2, 0, 3, 1], volumes_ml=VOLUMES)
    absent = [set(), {2}, {2, 0}, {2, 0, 3}, {0, 1, 2, 3}]
    expected = [game.table[sum(2**unit for unit in range(4) if unit not in gone)] for gone in absent]
    assert curve.values == tuple(expected)
    assert curve.removed_count == (0, 1, 2, 3, 4)
    assert_allclose(curve.removed_ml, [sum(VOLUMES[unit] for unit in gone) for gone in absent])
    assert (curve.full_value, curve.empty_value) == (game.table[-1], game.table[0])


def test_an_insertion_curve_is_the_deletion_of_the_reversed_order_read_backwards():
    game = TableGame.random(5, seed=2)
    order, volumes = [4, 1, 0, 3, 2], [1, 2, 3, 4, 5]
    insertion = insertion_curve(game, order, volumes_ml=volumes)
    deletion = deletion_curve(game, order[::-1], volumes_ml=volumes)
    assert insertion.values == deletion.values[::-1]
    assert insertion.removed_ml == deletion.removed_ml[::-1]
    assert (insertion.full_value, insertion.empty_value) == (deletion.full_value, deletion.empty_value)
    for axis in AXES:
        assert insertion.area_under(axis) == pytest.approx(deletion.area_under(axis))
        assert_allclose(insertion.shares(axis)[[0, -1]], [0, 1])


def test_areas_of_two_units_are_as_by_hand():
    curve = deletion_curve(AdditiveGame([3.0, 1.0]), [0, 1], volumes_ml=[10, 30])
    assert curve.values == (4, 1, 0)
    assert curve.area_under("units") == pytest.approx((2.5 + 0.5) / 2)
    assert curve.area_under("volume") == pytest.approx(2.5 * 0.25 + 0.5 * 0.75)
    assert aopc(curve, axis="units") == pytest.approx((0 + 3 + 4) / 3)
    assert aopc(curve, axis="volume") == pytest.approx(4 - 1)


@pytest.mark.parametrize("seed", range(4))
def test_areas_are_those_of_the_literature_and_of_trapezoids(seed):
    game, rng = TableGame.random(6, seed=seed), np.random.default_rng(seed)
    order, volumes = rng.permutation(6), rng.uniform(1, 90, 6)
    most, least = (deletion_curve(game, way, volumes_ml=volumes) for way in (order, order[::-1]))
    samek = sum(most.values[0] - most.values[k] for k in range(7)) / 7
    assert aopc(most, axis="units") == pytest.approx(samek)
    shares = np.concatenate([[0], np.cumsum(volumes[order])]) / volumes.sum()
    assert aopc(most, axis="volume") == pytest.approx(trapezoid(most.values[0] - np.array(most.values), shares))
    mean_gap = np.mean(np.array(least.values) - np.array(most.values))
    assert abpc(most, least, axis="units") == pytest.approx(mean_gap * 7 / 6)


def test_with_units_of_one_size_both_axes_are_the_same():
    game = PairwiseGame(6, seed=0)
    most, least = (deletion_curve(game, way, volumes_ml=[7.5] * 6) for way in (range(6), range(6)[::-1]))
    assert abpc(most, least, axis="units") == pytest.approx(abpc(most, least, axis="volume"))


def test_most_important_first_lies_below_least_important_first_everywhere_where_units_do_not_interact():
    game = AdditiveGame(np.random.default_rng(0).normal(size=9))
    for by in ("value", "value-per-ml"):
        volumes = [5.0] * 9
        found = unit_faithfulness(game, game.shapley_values, volumes_ml=volumes, by=by)
        assert (np.array(found.most_first.values) <= np.array(found.least_first.values) + 1e-12).all()


def test_per_ml_is_the_order_for_the_volume_axis_and_the_plain_value_for_the_units_axis():
    game, volumes = AdditiveGame([5.0, 4.0, 3.0, 1.0]), [100.0, 2.0, 50.0, 0.1]
    plain, per_ml = (
        by_name(unit_faithfulness(game, game.shapley_values, volumes_ml=volumes, by=by))
        for by in ("value", "value-per-ml")
    )
    assert plain["abpc-units"].value > per_ml["abpc-units"].value
    assert plain["abpc-volume"].value < per_ml["abpc-volume"].value


def test_a_unit_that_speaks_against_the_number_goes_last_by_value_and_early_by_absolute_value():
    game = AdditiveGame([3.0, -2.0, 1.0])
    signed, absolute = (
        by_name(unit_faithfulness(game, game.shapley_values, volumes_ml=[1, 1, 1], by=by))
        for by in ("value", "absolute")
    )
    assert signed["abpc-units"].value > absolute["abpc-units"].value


def test_relative_values_run_from_one_to_zero_whether_the_number_falls_or_rises():
    for sign in (1.0, -1.0):
        curve = deletion_curve(AdditiveGame([2 * sign, sign], constant=5.0), [0, 1], volumes_ml=[1, 1])
        assert_allclose(curve.relative_values(), [1, 1 / 3, 0])
    assert deletion_curve(AdditiveGame([1.0, -1.0]), [0, 1], volumes_ml=[1, 1]).relative_values() is None


def test_where_the_number_rises_a_better_order_still_has_the_larger_relative_area():
    game = AdditiveGame([-1.0, -5.0, -2.0], constant=1.0)
    right, wrong = (
        by_name(unit_faithfulness(game, sign * game.shapley_values, volumes_ml=[1, 2, 3])) for sign in (1.0, -1.0)
    )
    for name, metric in right.items():
        assert (metric.value > wrong[name].value) == (metric.better == "higher"), name


def test_where_removing_everything_changes_nothing_only_relative_areas_are_undefined():
    metrics = by_name(unit_faithfulness(AdditiveGame([2.0, -2.0, 0.0]), [2.0, -2.0, 0.0], volumes_ml=[1, 1, 1]))
    for name, metric in metrics.items():
        assert (metric.value is None) == name.endswith("relative"), name
    assert metrics["abpc-units"].value == pytest.approx((2 + 4 + 2) / 3)  # 0, -2, -2, 0 and 0, 2, 2, 0


def test_curves_from_both_ends_cost_two_evaluations_for_each_unit():
    game = AdditiveGame(np.arange(8.0))
    unit_faithfulness(game, np.arange(8.0), volumes_ml=np.ones(8))
    assert game.n_evaluations == 2 * 8


def test_a_memory_that_is_shared_asks_for_nothing_twice():
    game = RecordedGame(PairwiseGame(6, seed=0))
    memory = RememberedGame(game)
    for by in ORDERS:
        unit_faithfulness(memory, np.arange(6.0), volumes_ml=np.arange(1, 7), by=by)
    assert len(np.unique(game.asked, axis=0)) == len(game.asked) == memory.n_evaluations
    told = np.concatenate(game.announcements)
    assert len(np.unique(told, axis=0)) == len(told)


def test_a_curve_is_json():
    found = unit_faithfulness(PairwiseGame(4, seed=0), IMPORTANCES, volumes_ml=VOLUMES)
    told = json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))
    assert told["most_first"]["values"] == list(found.most_first.values)


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [0, 1, 3], [[0, 1, 2]]])
def test_an_order_that_does_not_name_each_unit_once_is_refused(order):
    with pytest.raises(InvalidRequest, match="order"):
        deletion_curve(PairwiseGame(3, seed=0), order, volumes_ml=[1, 1, 1])


def test_areas_over_insertions_are_refused():
    game = PairwiseGame(3, seed=0)
    curve = insertion_curve(game, [0, 1, 2], volumes_ml=[1, 1, 1])
    with pytest.raises(InvalidRequest, match="deletion"):
        curve_metrics(curve, curve)


def test_a_remembered_game_answers_as_the_game_and_repeats_from_memory():
    game = TableGame.random(4, seed=0)
    memory = RememberedGame(game)
    rows = np.random.default_rng(0).random((30, 4)) < 0.5
    assert_array_equal(memory(rows), game.worth(rows))
    game.n_evaluations = 0
    assert_array_equal(memory(rows[::-1]), game.worth(rows[::-1]))
    assert game.n_evaluations == 0


def test_a_remembered_game_announces_each_coalition_once():
    game = RecordedGame(TableGame.random(4, seed=0))
    memory = RememberedGame(game)
    rows = np.eye(4, dtype=bool)
    memory(rows[:1])
    memory.announce(rows[:3])
    memory.announce(rows)
    assert_array_equal(np.concatenate(game.announcements), rows[1:])
