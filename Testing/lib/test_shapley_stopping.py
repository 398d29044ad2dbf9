import itertools
import math

import pytest

from SegExplainLib.shapley.stopping import MIN_DEGREES_OF_FREEDOM, StoppingRule, checkpoints


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
