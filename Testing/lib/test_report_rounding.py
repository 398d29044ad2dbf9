import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from SegExplainLib.report.rounding import MINUS, NARROW_SPACE, NO_BREAK, as_range, percent, plain, rounded, with_error

sizes = st.floats(1e-6, 1e6)


def number_in(text):
    return float(text.replace(MINUS, "-").replace(NARROW_SPACE, "").split(NO_BREAK)[0])


@pytest.mark.parametrize(
    ("value", "half_width", "unit", "shown"),
    [
        (0.5612, 0.0312, "share", "+0.561 ± 0.031"),
        (-0.0512, 0.018, "share", "−0.051 ± 0.018"),
        (0.0021, 0.0123, "share", "+0.002 ± 0.012"),
        (4210.0, 96.0, "voxels", "+4 210 ± 96 voxels"),
        (0.25, 0.0, "logit", "+0.250"),
        (0.25, math.inf, "logit", "+0.250"),
        (0.25, math.nan, "ml", "+0.250 ml"),
        (0.5, 1e-9, "share", "+0.5000 ± <0.0001"),
        (0.0, 0.0, "share", "0.00"),
    ],
)
def test_an_importance_has_the_digits_that_its_error_supports(value, half_width, unit, shown):
    text = with_error(value, half_width, unit)
    assert text.replace(NO_BREAK, " ").replace(NARROW_SPACE, " ") == shown


@given(sizes, st.sampled_from([-1, 1]), sizes)
def test_what_is_shown_is_the_value_to_the_digits_of_its_error(size, sign, half_width):
    value = sign * size
    shown = number_in(with_error(value, half_width, "share"))
    assert abs(shown - value) <= 0.51 * max(0.1 * half_width, 1e-3 * size)


@given(sizes, st.sampled_from([-1, 1]))
def test_a_plain_number_is_right_to_half_a_percent(size, sign):
    assert number_in(plain(sign * size, "share")) == pytest.approx(sign * size, rel=0.0051)


def test_two_numbers_beside_each_other_end_at_the_same_decimal():
    assert (plain(0.7588, "share", beside=0.03), plain(0.03, "share", beside=0.7588)) == ("0.759", "0.030")


def test_counts_of_voxels_are_whole():
    assert plain(12.0, "voxels").replace(NO_BREAK, " ") == "12 voxels"


def test_nothing_is_shown_as_minus_zero():
    assert rounded(-0.0004, 2, is_signed=True) == "0.00"


def test_intervals_show_both_ends_with_their_signs():
    assert as_range(0.01, 0.03, "share") == f"{MINUS}0.020 to +0.040"


@pytest.mark.parametrize(
    ("share", "shown"), [(0.617, "62"), (0.05, "5"), (0.0523, "5.2"), (1.32, "132"), (-0.097, "−9.7"), (0, "0")]
)
def test_shares_are_shown_in_percent(share, shown):
    assert percent(share) == f"{shown}{NARROW_SPACE}%"


def test_what_is_not_known_says_so():
    assert percent(math.nan) == "unknown"
    assert percent(math.inf) == "∞"
