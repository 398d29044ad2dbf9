"""Spread of values: closed forms at the ends, literal sums between them, nothing moved by order, sign or scale."""

import dataclasses
import json
import math

import numpy as np
import pytest

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.complexity import complexity


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_one_value_that_has_everything_is_as_plain_as_can_be(n):
    values = np.zeros(n)
    values[n // 2] = -4.0
    told = complexity(values)
    assert (told.n_effective, told.effective_share) == (1, 1 / n)
    assert told.sparseness == pytest.approx(1.0 - 1.0 / n)
    assert (told.entropy, told.relative_entropy) == (0.0, 0.0)


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_equal_sizes_are_as_complex_as_can_be(n):
    told = complexity(np.where(np.arange(n) % 2, 0.3, -0.3))
    assert (told.n_effective, told.effective_share) == (n, 1.0)
    assert told.sparseness == pytest.approx(0.0, abs=1e-12)
    assert told.entropy == pytest.approx(math.log(n))
    assert told.relative_entropy == pytest.approx(1.0)


@pytest.mark.parametrize("m", [1, 3, 8])
def test_m_equal_values_of_eight_have_the_closed_forms(m):
    told = complexity(np.repeat([2.0, 0.0], [m, 8 - m]))
    assert told.n_effective == m
    assert told.sparseness == pytest.approx(1.0 - m / 8)
    assert told.entropy == pytest.approx(math.log(m))


def literal_gini(values):
    """Mean difference of all pairs of sizes, over twice their mean."""
    sizes = [abs(a) for a in values]
    pairs = [abs(a - b) for a in sizes for b in sizes]
    return sum(pairs) / len(pairs) / (2 * sum(sizes) / len(sizes))


def test_random_values_have_the_literal_numbers():
    values = np.random.default_rng(0).normal(size=40) ** 3
    told = complexity(values, least_share=0.05)
    sizes = [abs(a) for a in values.tolist()]
    assert told.n_effective == sum(size > 0.05 * max(sizes) for size in sizes)
    assert told.sparseness == pytest.approx(literal_gini(values.tolist()))
    assert told.entropy == pytest.approx(-sum(s / sum(sizes) * math.log(s / sum(sizes)) for s in sizes))


def test_a_size_at_the_threshold_itself_does_not_count():
    assert complexity(np.array([1.0, 0.5, 0.51]), least_share=0.5).n_effective == 2
    assert complexity(np.array([1.0, 0.0, 1e-9]), least_share=0.0).n_effective == 2


@pytest.mark.parametrize("scale", [-1.0, 1e-200, 1e150, 2.0])
def test_order_sign_scale_and_shape_change_nothing(scale):
    values = np.random.default_rng(1).normal(size=24)
    plain = complexity(values)
    moved = complexity(scale * np.random.default_rng(2).permutation(values).reshape(2, 3, 4))
    assert dataclasses.astuple(moved) == pytest.approx(dataclasses.astuple(plain))


def test_a_voxel_map_and_what_adds_to_one_value_are_ordered_as_they_should():
    """Moving size from a small value to a larger one makes sparser and plainer (Dalton's principle)."""
    before = np.array([0.2, 0.3, 0.5, 0.9])
    after = before + np.array([-0.1, 0.0, 0.0, 0.1])
    assert complexity(after).sparseness > complexity(before).sparseness
    assert complexity(after).entropy < complexity(before).entropy


def test_numbers_stay_in_their_bounds():
    rng = np.random.default_rng(3)
    for _ in range(50):
        told = complexity(rng.standard_cauchy(size=int(rng.integers(2, 30))).astype(np.float32))
        assert 1 <= told.n_effective <= told.n_values
        assert 0.0 <= told.sparseness <= 1.0 - 1.0 / told.n_values + 1e-12
        assert 0.0 <= told.relative_entropy <= 1.0 + 1e-12


@pytest.mark.parametrize(
    ("values", "why"), [(np.zeros(5), "All values are zero."), (np.array([3.0]), "There is one value only.")]
)
def test_what_has_no_spread_says_why_and_is_json(values, why):
    told = complexity(values)
    assert dataclasses.astuple(told) == (len(values), None, None, None, None, None, why)
    json.dumps(dataclasses.asdict(told), allow_nan=False)


def test_bad_input_is_told():
    with pytest.raises(InvalidRequest, match="no value whose spread"):
        complexity(np.array([]))
    with pytest.raises(InvalidRequest, match="NaN"):
        complexity(np.array([1.0, np.nan]))
    for share in (-0.1, 1.0, math.nan):
        with pytest.raises(InvalidRequest, match="share of the largest"):
            complexity(np.ones(3), least_share=share)
