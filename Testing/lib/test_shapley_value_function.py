import math

import numpy as np
import pytest
from games import AdditiveGame
from numpy.testing import assert_allclose
from scipy import stats

from SegExplainLib.shapley.value_function import ShapleyEstimate, announce, ask


def make_estimate(values: object, errors: object, **changes: object) -> ShapleyEstimate:
    values = np.asarray(values, dtype=float)
    total = values.sum(axis=0)
    known = {"empty_value": 0.0 * total, "full_value": total, "n_evaluations": 100, "seed": 0, "stop_reason": None}
    return ShapleyEstimate(values, np.asarray(errors, dtype=float), **(known | changes))


def test_relative_error_is_the_largest_error_over_the_spread_of_the_values():
    assert make_estimate([1.0, -3.0, 2.0], [0.1, 0.5, 0.2]).relative_error == 0.1


def test_relative_error_looks_at_the_first_target():
    estimate = make_estimate([[1.0, 0.0], [3.0, 0.0]], [[0.2, 9.0], [0.1, 9.0]])
    assert estimate.relative_error == 0.1


def test_relative_error_of_equal_values_is_zero_only_when_they_are_known():
    assert make_estimate([1.0, 1.0], [0.0, 0.0]).relative_error == 0.0
    assert make_estimate([1.0, 1.0], [0.0, 0.1]).relative_error == math.inf


def test_a_tenth_of_the_error_is_forecast_to_cost_a_hundred_times_as_much():
    estimate = make_estimate([0.0, 1.0], [0.1, 0.1])
    assert estimate.forecast_evaluations(0.1) == 100
    assert estimate.forecast_evaluations(0.01) == pytest.approx(10_000, abs=1)


def test_what_cannot_be_forecast_is_infinite():
    assert make_estimate([0.0, 1.0], [np.inf, np.inf]).forecast_evaluations(0.1) == math.inf
    assert make_estimate([0.0, 1.0], [np.nan, np.nan]).forecast_evaluations(0.1) == math.inf
    assert make_estimate([0.0, 1.0], [0.1, 0.1]).forecast_evaluations(0.0) == math.inf


@pytest.mark.parametrize("degrees_of_freedom", [1.0, 4.0, 30.0, math.inf])
def test_intervals_are_those_of_student(degrees_of_freedom: float):
    estimate = make_estimate([1.0, 2.0], [0.1, 0.2], degrees_of_freedom=degrees_of_freedom)
    expected = stats.t.interval(0.9, degrees_of_freedom, loc=estimate.values, scale=estimate.standard_errors)
    assert_allclose(estimate.interval(0.9), expected, rtol=1e-9)


def test_an_unknown_error_gives_an_unbounded_interval():
    low, high = make_estimate([1.0], [np.inf]).interval()
    assert (low[0], high[0]) == (-math.inf, math.inf)


def test_the_efficiency_gap_is_what_the_values_miss():
    assert make_estimate([1.0, 2.0], [0.0, 0.0], full_value=4.0).efficiency_gap == -1.0


def test_values_and_errors_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3,\)"):
        make_estimate([1.0, 2.0], [0.0, 0.0, 0.0])


def test_one_end_value_for_two_targets_is_refused():
    with pytest.raises(ValueError, match=r"must have shape \(2,\)"):
        make_estimate(np.ones((3, 2)), np.ones((3, 2)), empty_value=0.0)


def test_a_game_without_announce_is_not_told():
    announce(AdditiveGame([1.0, 2.0]), np.ones((1, 2), dtype=bool))


def test_answers_become_float64():
    class CountOfPlayers:
        n_players = 3

        def __call__(self, coalitions: np.ndarray) -> np.ndarray:
            return coalitions.sum(axis=1)

    answers = ask(CountOfPlayers(), np.eye(3, dtype=bool))
    assert answers.dtype == np.float64
    assert answers.tolist() == [1.0, 1.0, 1.0]
