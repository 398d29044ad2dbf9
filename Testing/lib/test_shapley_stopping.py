import itertools
import math

import numpy as np
import pytest

from SegExplainLib.shapley.stopping import MIN_DEGREES_OF_FREEDOM, Ranking, StoppingRule, checkpoints
from SegExplainLib.shapley.value_function import ShapleyEstimate

FIVE = [1.0, -0.5, 0.45, 0.1, -0.2]
"""Values of a range of 1.5. For five players the half widths are 2.576 standard errors: 99 % each, 95 % together."""


def an_estimate(values, errors, *, freedom=math.inf):
    """Made by hand, of one target, or of several as columns."""
    values = np.asarray(values, dtype=np.float64)
    errors = np.broadcast_to(np.asarray(errors, dtype=np.float64), values.shape)
    full = values.sum(axis=0)
    return ShapleyEstimate(values, errors, 0.0 * full, full, 100, 0, None, freedom)


def test_sampling_goes_on_while_the_error_is_large_and_the_budget_lasts():
    assert StoppingRule(100, 0.1).reason(0.2, 50, is_last=False) is None


def test_sampling_stops_at_the_tolerance():
    assert StoppingRule(100, 0.1).reason(0.1, 50, is_last=False) == "tolerance"
    assert StoppingRule(100, 0.1).reason(0.1, 50, is_last=True) == "tolerance"


def test_sampling_stops_when_the_budget_is_spent():
    assert StoppingRule(100, 0.1).reason(0.2, 50, is_last=True) == "budget"


def test_a_tolerance_of_zero_never_stops_early():
    assert StoppingRule(100, 0.0).reason(0.0, math.inf, is_last=False) is None


def test_a_small_error_from_few_samples_is_not_believed():
    assert StoppingRule(100, 0.1).reason(0.01, MIN_DEGREES_OF_FREEDOM - 1, is_last=False) is None


def test_an_error_that_is_not_known_does_not_stop():
    assert StoppingRule(100, 0.1).reason(math.nan, 50, is_last=False) is None


def test_looks_begin_early_grow_slowly_and_end_with_the_sample():
    looks = checkpoints(12, 500)
    assert looks[0] == 12
    assert looks[-1] == 500
    steps = [later - sooner for sooner, later in itertools.pairwise(looks)]
    assert all(0 < step <= max(4, look // 8) for step, look in zip(steps, looks, strict=False))


def test_looks_before_the_last_do_not_depend_on_it():
    short, long = checkpoints(12, 200), checkpoints(12, 5000)
    assert short[:-1] == long[: len(short) - 1]


@pytest.mark.parametrize("last", [1, 12])
def test_a_sample_shorter_than_the_first_look_is_looked_at_once(last: int):
    assert checkpoints(12, last) == [last]


def test_a_ranking_is_settled_where_the_intervals_leave_no_doubt():
    ranking = Ranking.of(an_estimate(FIVE, 0.005), top=2, tolerance=0.0)
    assert (ranking.players, ranking.signs) == ((0, 1), (1, -1))  # a negative value counts by its size
    assert ranking.is_set_settled
    assert ranking.are_signs_settled
    assert ranking.is_settled


def test_a_tie_is_settled_where_neither_can_be_larger_by_more_than_the_slack():
    # 0.5 - 0.0258 = 0.4742 against 0.45 + 0.0258 = 0.4758: 0.0016 of a range of 1.5.
    assert not Ranking.of(an_estimate(FIVE, 0.01), top=2, tolerance=0.001).is_set_settled
    assert Ranking.of(an_estimate(FIVE, 0.01), top=2, tolerance=0.0011).is_set_settled


def test_intervals_that_are_disjoint_one_by_one_may_meet_when_all_must_hold_together():
    two_of_many = an_estimate(FIVE, 0.01)
    low, high = two_of_many.interval(0.95)
    assert -high[1] > high[2]
    assert low[2] > -low[3]
    assert not Ranking.of(two_of_many, top=2, tolerance=0.0).is_set_settled


def test_a_sign_is_open_until_its_interval_leaves_zero_out_or_it_is_as_good_as_zero():
    # Upper end of the third: 0.03 + 2.394 x 0.02 = 0.078, of a range of 1.
    estimate = an_estimate([1.0, 0.5, 0.03], [0.01, 0.01, 0.02])
    ranking = Ranking.of(estimate, top=3, tolerance=0.07)
    assert ranking.signs == (1, 1, 0)
    assert ranking.is_set_settled
    assert not ranking.are_signs_settled
    assert Ranking.of(estimate, top=3, tolerance=0.085).are_signs_settled
    assert Ranking.of(estimate, top=2, tolerance=0.07).is_settled


def test_a_value_of_exactly_nothing_needs_no_sign():
    assert Ranking.of(an_estimate([1.0, 0.0, 0.0], 0.0), top=2, tolerance=0.0).is_settled


def test_few_degrees_of_freedom_make_wider_intervals_and_too_few_settle_nothing():
    def is_settled(error, freedom):
        return Ranking.of(an_estimate(FIVE, error, freedom=freedom), top=2, tolerance=0.0).is_settled

    assert is_settled(0.009, math.inf)
    assert not is_settled(0.009, 10)  # Student's 3.169 instead of 2.576
    assert is_settled(0.007, MIN_DEGREES_OF_FREEDOM)
    assert not is_settled(0.0, MIN_DEGREES_OF_FREEDOM - 1)


@pytest.mark.parametrize(("error", "freedom"), [(math.nan, math.nan), (math.inf, 50), (math.nan, 50), (0.01, 0)])
def test_errors_that_are_not_known_settle_nothing(error, freedom):
    ranking = Ranking.of(an_estimate(FIVE, error, freedom=freedom), top=2, tolerance=0.5)
    assert not ranking.is_set_settled
    assert not ranking.are_signs_settled


def test_of_fewer_players_than_are_asked_for_only_the_signs_must_be_settled():
    ranking = Ranking.of(an_estimate(FIVE, 0.03), top=9, tolerance=0.0)
    assert ranking.players == (0, 1, 2, 4, 3)
    assert ranking.is_settled
    assert not Ranking.of(an_estimate(FIVE, 0.05), top=9, tolerance=0.0).is_settled


def test_the_first_target_alone_is_looked_at():
    both = np.stack([FIVE, [0.0, 0.0, 0.0, 0.0, 1.0]], axis=1)
    assert Ranking.of(an_estimate(both, 0.005), top=2, tolerance=0.0).players == (0, 1)


def test_a_settled_ranking_stops_where_one_was_asked_for():
    estimate = an_estimate(FIVE, 0.005)
    assert StoppingRule(100, 0.1, 2).is_settled(estimate)
    assert not StoppingRule(100, 0.1).is_settled(estimate)
    assert StoppingRule(100, 0.1, 2).reason(0.2, 50, is_last=True, is_settled=True) == "ranking"
    assert StoppingRule(100, 0.1, 2).reason(0.05, 50, is_last=False) == "tolerance"


def test_a_negative_number_of_players_to_settle_is_refused():
    with pytest.raises(ValueError, match="settle"):
        StoppingRule(100, 0.1, -1)
