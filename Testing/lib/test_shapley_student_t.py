import math

import pytest
from scipy import stats

from SegExplainLib.shapley.student_t import student_t_quantile


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 3, 4, 5, 10, 99, 199])
@pytest.mark.parametrize("probability", [0.5, 0.75, 0.975, 0.9999])
def test_quantiles_equal_those_of_scipy(probability: float, degrees_of_freedom: int):
    expected = stats.t.ppf(probability, degrees_of_freedom)
    assert student_t_quantile(probability, degrees_of_freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("degrees_of_freedom", [200, 5000, math.inf])
def test_many_degrees_of_freedom_are_close_to_normal(degrees_of_freedom: float):
    expected = stats.t.ppf(0.975, degrees_of_freedom)
    assert student_t_quantile(0.975, degrees_of_freedom) == pytest.approx(expected, rel=0.007)


def test_fractions_of_a_degree_are_dropped():
    assert student_t_quantile(0.9, 3.9) == student_t_quantile(0.9, 3)


def test_no_degree_of_freedom_is_no_bound():
    assert student_t_quantile(0.975, 0.0) == math.inf
    assert student_t_quantile(0.975, -3.0) == math.inf
    assert math.isnan(student_t_quantile(0.975, math.nan))


@pytest.mark.parametrize("probability", [0.4, 1.0, math.nan])
def test_a_probability_outside_the_upper_half_is_refused(probability: float):
    with pytest.raises(ValueError, match="probability"):
        student_t_quantile(probability, 3)
