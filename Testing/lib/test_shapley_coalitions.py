import math
from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from SegExplainLib.shapley.coalitions import (
    PairRegister,
    coalitions_of_size,
    empty_and_full,
    every_coalition,
    random_coalition,
    with_complements,
)


@pytest.mark.parametrize("n_players", [1, 4, 9])
def test_every_coalition_is_there_once_from_empty_to_full(n_players: int):
    coalitions = every_coalition(n_players)
    assert len(np.unique(coalitions, axis=0)) == len(coalitions) == 2**n_players
    assert_array_equal(coalitions[[0, -1]], empty_and_full(n_players))


@pytest.mark.parametrize(("n_players", "size"), [(5, 1), (6, 3), (9, 4), (4, 4)])
def test_coalitions_of_a_size_are_all_different_and_complete(n_players: int, size: int):
    coalitions = coalitions_of_size(n_players, size)
    assert len(np.unique(coalitions, axis=0)) == len(coalitions) == math.comb(n_players, size)
    assert set(coalitions.sum(axis=1)) == {size}


def test_complements_follow_their_coalitions():
    rows = with_complements(np.array([[True, False, False], [True, True, False]]))
    assert rows.astype(int).tolist() == [[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1]]


def test_random_coalitions_of_a_size_are_equally_likely():
    rng = np.random.default_rng(0)
    counts = Counter(random_coalition(5, 2, rng).tobytes() for _ in range(5000))
    assert len(counts) == 10
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


def test_a_coalition_and_its_complement_are_one_pair():
    register = PairRegister()
    coalition = np.array([True, False, True])
    assert register.number(coalition) == (0, False)
    assert register.number(~coalition) == (0, True)
    assert register.number(np.array([True, False, False])) == (1, True)
    assert len(register) == 2
    assert_array_equal(register.pairs(2), [[False, True, False], [True, False, False]])
