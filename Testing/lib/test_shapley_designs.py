"""Which pairs the sampling estimators ask for."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from SegExplainLib.shapley.coalitions import with_complements
from SegExplainLib.shapley.kernel_regression import KernelDesign
from SegExplainLib.shapley.leverage import LISTED, LeverageDesign
from SegExplainLib.shapley.permutation import PermutationDesign

DESIGNS = [KernelDesign, LeverageDesign, PermutationDesign]


@pytest.mark.parametrize("design_class", DESIGNS)
@pytest.mark.parametrize(("n_players", "n_pairs"), [(5, 14), (9, 60), (40, 200), (300, 700)])
def test_no_pair_comes_twice_nor_is_empty(design_class: type, n_players: int, n_pairs: int):
    pairs = design_class.draw(n_players, n_pairs, seed=0).pairs
    assert len(pairs) <= n_pairs
    coalitions = with_complements(pairs)
    assert len(np.unique(coalitions, axis=0)) == len(coalitions)
    assert ((coalitions.sum(axis=1) > 0) & (coalitions.sum(axis=1) < n_players)).all()


@pytest.mark.parametrize("design_class", DESIGNS)
def test_a_short_design_is_the_beginning_of_a_long_one(design_class: type):
    short, long = design_class.draw(12, 70, seed=1), design_class.draw(12, 400, seed=1)
    assert_array_equal(short.pairs, long.pairs[: len(short.pairs)])


def test_kernel_draws_follow_the_shapley_kernel():
    n_players = 7
    design = KernelDesign.draw(n_players, 62, seed=0)  # all but one pair: a long run of draws
    sizes = design.pairs[design.draws].sum(axis=1)
    smaller = np.minimum(sizes, n_players - sizes)
    expected = np.array([1 / (k * (n_players - k)) for k in (1, 2, 3)])
    counts = np.bincount(smaller)[1:]
    assert counts.sum() > 200
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 0.001


def test_leverage_rounds_take_every_size_as_often():
    design = LeverageDesign.draw(41, 20 * 15, seed=0)
    counts = np.bincount(design.pairs.sum(axis=1), minlength=21)
    assert counts[1:].tolist() == [15] * 20


def test_halves_come_half_as_often_since_their_pairs_hold_two_of_the_same_size():
    design = LeverageDesign.draw(40, 19 * 10 + 5, seed=0)
    counts = np.bincount(design.pairs.sum(axis=1), minlength=21)
    assert counts[1:].tolist() == [10] * 19 + [5]


@pytest.mark.parametrize("n_players", [3, 6, 9])
def test_leverage_goes_on_to_every_pair(n_players: int):
    design = LeverageDesign.draw(n_players, 2 ** (n_players - 1) - 1, seed=0)
    assert len(np.unique(with_complements(design.pairs), axis=0)) == 2**n_players - 2


def test_sizes_too_many_to_list_are_drawn_as_well():
    n_players = 20
    design = LeverageDesign.draw(n_players, 3 * LISTED, seed=0)
    assert len(np.unique(design.pairs, axis=0)) == 3 * LISTED
    inclusion = design.pairs[design.pairs.sum(axis=1) == 8].mean(axis=0)
    assert_allclose(inclusion, 8 / n_players, atol=0.03)


def test_steps_and_signs_of_a_permutation_spell_its_prefixes():
    design = PermutationDesign.draw(6, 20, seed=0)
    for order, steps, signs in zip(design.orders, design.steps, design.signs, strict=True):
        for size, (step, sign) in enumerate(zip(steps, signs, strict=True), start=1):
            prefix = design.pairs[step] if sign > 0 else ~design.pairs[step]
            assert set(np.flatnonzero(prefix)) == set(order[:size])
