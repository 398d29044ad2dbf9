"""The process: its Shapley values against brute force, its search against finite differences, its promises."""

import numpy as np
import pytest
from games import AdditiveGame, CountingGame, GloveGame, PairwiseGame, SaturatingGame, TableGame
from numpy.testing import assert_allclose
from oracles_shapley import shapley_over_all_subsets
from scipy.optimize import approx_fprime

from SegExplainLib.shapley.adjusted_shap import N_FOLDS, AdjustedDesign, _folds, adjusted_shap, fewest_pairs
from SegExplainLib.shapley.coalitions import every_coalition
from SegExplainLib.shapley.exact import exact_shapley
from SegExplainLib.shapley.gaussian_process import Belief, Interpolant, OddCovariance, _loss_and_slope
from SegExplainLib.shapley.leverage import LeverageDesign, leverage_shap


def a_covariance(n_players: int, seed: int = 0) -> OddCovariance:
    relevance = np.random.default_rng(seed).gamma(0.7, size=n_players)
    return OddCovariance(relevance, variance=1.7, additive=0.4, nugget=0.3)


def literal_covariance(one: np.ndarray, other: np.ndarray, covariance: OddCovariance) -> float:
    """The formula of the docstring, term by term."""

    def likeness(s: np.ndarray, t: np.ndarray) -> float:
        return float(np.prod([np.exp(-r) if a != b else 1.0 for a, b, r in zip(s, t, covariance.relevance)]))

    value = covariance.variance * (likeness(one, other) - likeness(one, ~other))
    value += covariance.additive * sum((a - 0.5) * (b - 0.5) for a, b in zip(one.astype(float), other.astype(float)))
    return value + covariance.nugget * (float((one == other).all()) - float((one != other).all()))


@pytest.mark.parametrize("n_players", [2, 5, 7])
def test_shapley_values_are_those_of_the_covariance_as_a_game(n_players):
    covariance = a_covariance(n_players)
    rows = every_coalition(n_players)
    found = covariance.shapley_values(rows)
    for number, row in enumerate(rows):
        game = TableGame(np.zeros(2**n_players))
        order = rows @ 2 ** np.arange(n_players)
        game.table[order] = [literal_covariance(one, row, covariance) for one in rows]
        assert_allclose(found[:, number], shapley_over_all_subsets(game, n_players), atol=1e-12)


def test_covariances_are_odd_and_those_of_the_formula():
    covariance, rows = a_covariance(6), every_coalition(6)
    different = covariance.between(rows[:10], rows[20:30])
    expected = [[literal_covariance(one, other, covariance) for other in rows[20:30]] for one in rows[:10]]
    assert_allclose(different, expected, atol=1e-12)
    assert_allclose(covariance.between(~rows[:10], rows[20:30]), -different, atol=1e-12)


def test_two_hundred_players_do_not_overflow_and_values_add_up():
    rng = np.random.default_rng(0)
    covariance = OddCovariance(rng.gamma(0.3, size=200), variance=1.0, additive=0.1, nugget=0.2)
    pairs = rng.random((5, 200)) < rng.uniform(0.2, 0.8, size=(5, 1))
    everyone = np.ones((1, 200), dtype=bool)
    assert_allclose(covariance.shapley_values(pairs).sum(axis=0), 2 * covariance.between(pairs, everyone)[:, 0])


def test_the_slope_of_the_search_is_that_of_finite_differences():
    rng = np.random.default_rng(1)
    pairs, answers = (rng.random((30, 6)) < 0.5).astype(float), rng.normal(size=30)
    logs = np.concatenate([rng.normal(-1.0, 0.5, size=6), [0.2, -1.0, -2.0]])
    belief = Belief(rng.uniform(0.01, 1.0, size=6), 1.3)
    _, slope = _loss_and_slope(logs, pairs, answers, belief)
    numeric = approx_fprime(logs, lambda at: _loss_and_slope(at, pairs, answers, belief)[0], 1e-6)
    assert_allclose(slope, numeric, rtol=1e-4, atol=1e-4)


def test_the_process_meets_what_it_was_told_and_its_values_add_up_to_the_grand_coalition():
    rng = np.random.default_rng(2)
    pairs = np.concatenate([np.ones((1, 12), dtype=bool), LeverageDesign.draw(12, 40, seed=0).pairs])
    answers = rng.normal(size=(41, 2))
    process = Interpolant(a_covariance(12), pairs, answers)
    told = process.odd_values(pairs) + a_covariance(12).nugget * process._coefficients
    assert_allclose(told, answers, atol=1e-9)
    assert_allclose(process.shapley_values().sum(axis=0), 2 * answers[0], atol=1e-9)


def test_players_that_matter_get_large_relevance():
    game = TableGame.random(4, seed=3)
    pairs = LeverageDesign.draw(20, 100, seed=0).pairs
    odd = (game.worth(pairs[:, :4]) - game.worth(~pairs[:, :4])) / 2
    relevance = OddCovariance.learned(pairs, odd, Belief.of(20, None)).relevance
    assert relevance[:4].min() > 5 * relevance[4:].max()


@pytest.mark.parametrize("answers", [np.zeros(20), np.full(20, 1e-300), np.full(20, 1e12)])
def test_games_of_any_scale_are_learned_and_a_flat_one_stays_flat(answers):
    pairs = LeverageDesign.draw(10, 20, seed=0).pairs
    covariance = OddCovariance.learned(pairs, answers, Belief.of(10, None))
    assert np.isfinite(covariance.relevance).all()
    process = Interpolant(covariance, pairs, answers[:, np.newaxis])
    assert np.isfinite(process.shapley_values()).all()


def run(game: CountingGame, *, budget: int, seed: int):
    *_, last = adjusted_shap(game, budget=budget, tolerance=0.0, seed=seed, interim=False)
    return last


@pytest.mark.parametrize(
    "make", [lambda: AdditiveGame(np.random.default_rng(5).normal(size=12)), lambda: PairwiseGame(12, seed=5)]
)
def test_a_game_without_interactions_of_three_is_learned_almost_exactly(make):
    game = make()
    estimate = run(game, budget=200, seed=0)
    spread = np.ptp(game.shapley_values)
    assert np.abs(estimate.values - game.shapley_values).max() < 1e-3 * spread
    assert estimate.standard_errors.max() < 1e-3 * spread


class FewPlayersMatter(CountingGame):
    """A random game of the first players; the others change nothing. Its values are known by brute force."""

    def __init__(self, n_players: int, n_that_matter: int, *, seed: int) -> None:
        self.n_players = n_players
        self._inner = TableGame.random(n_that_matter, seed=seed)
        self._n_inner = n_that_matter
        inner = shapley_over_all_subsets(self._inner, n_that_matter)
        self.shapley_values = np.concatenate([inner, np.zeros(n_players - n_that_matter)])

    def worth(self, coalitions: np.ndarray) -> np.ndarray:
        return self._inner.worth(coalitions[:, : self._n_inner])


def test_a_game_of_four_among_forty_needs_a_twentieth_of_the_evaluations():
    game = FewPlayersMatter(40, 4, seed=0)

    def error(estimator, budget: int) -> float:
        runs = [list(estimator(game, budget=budget, tolerance=0.0, seed=seed, interim=False))[-1] for seed in range(6)]
        return float(np.mean([np.mean((one.values - game.shapley_values) ** 2) for one in runs]))

    assert error(adjusted_shap, 200) < error(leverage_shap, 4000)


def glove_game() -> CountingGame:
    game = GloveGame(4, 6)
    game.shapley_values = next(iter(exact_shapley(game, budget=1024, tolerance=0.0, seed=0))).values
    return game


@pytest.mark.parametrize(
    ("game", "budget"),
    [
        (glove_game(), 120),
        (SaturatingGame(24, seed=2), 90),
        (FewPlayersMatter(20, 5, seed=1), 110),
    ],
    ids=["gloves", "saturating", "few matter"],
)
def test_intervals_cover_and_the_mean_is_true_over_two_hundred_seeds(game, budget):
    runs = [run(game, budget=budget, seed=seed) for seed in range(200)]
    truth = game.shapley_values
    covered = [(low <= truth) & (truth <= high) for low, high in (one.interval(0.95) for one in runs)]
    assert 0.90 <= np.mean(covered) <= 0.99
    values = np.array([one.values for one in runs])
    bias, noise = values.mean(axis=0) - truth, values.std(axis=0) / np.sqrt(len(runs))
    assert (np.abs(bias) <= 4.5 * noise).all()


def test_games_that_move_together_share_a_covariance_and_the_first_is_answered_as_if_alone():
    game = SaturatingGame(14, seed=3)
    design = AdjustedDesign.draw(14, 40, seed=0)
    odd = (game.worth(design.pairs) - game.worth(~design.pairs)) / 2
    total = game.worth(np.ones((1, 14), dtype=bool)) - game.worth(np.zeros((1, 14), dtype=bool))
    twice = design.solve(np.column_stack([odd, -3.0 * odd]), np.concatenate([total, -3.0 * total]))
    alone = design.solve(odd[:, np.newaxis], total)
    assert_allclose(twice.values[:, 0], alone.values[:, 0], rtol=1e-9)
    assert_allclose(twice.values[:, 1], -3.0 * alone.values[:, 0], rtol=1e-9)
    assert_allclose(twice.standard_errors[:, 1], 3.0 * alone.standard_errors[:, 0], rtol=1e-9)


def test_a_target_that_never_moves_gets_zeros():
    design = AdjustedDesign.draw(12, 30, seed=0)
    odd = np.column_stack([np.random.default_rng(0).normal(size=30), np.zeros(30)])
    solution = design.solve(odd, np.array([1.0, 0.0]))
    assert not solution.values[:, 1].any()
    assert not solution.standard_errors[:, 1].any()


@pytest.fixture(scope="module")
def mean_square_by_closeness():
    """Of runs of a game of five among thirty players that is told the right closeness, none, or the wrong one."""
    game = FewPlayersMatter(30, 5, seed=2)
    right = np.where(np.arange(30) < 5, 1.0, 0.01)
    told = {"right": right, "none": None, "wrong": right[::-1]}
    runs = {}
    for name, closeness in told.items():
        game.closeness = closeness
        runs[name] = [run(game, budget=80, seed=seed) for seed in range(40)]
    return game.shapley_values, runs


def test_a_right_belief_saves_evaluations(mean_square_by_closeness):
    truth, runs = mean_square_by_closeness
    right, none = (np.mean([(one.values - truth) ** 2 for one in runs[name]]) for name in ("right", "none"))
    assert right < none / 2


def test_a_wrong_belief_costs_precision_and_not_honesty(mean_square_by_closeness):
    truth, runs = mean_square_by_closeness
    intervals = [one.interval(0.95) for one in runs["wrong"]]
    assert np.mean([(low <= truth) & (truth <= high) for low, high in intervals]) >= 0.90
    values = np.array([one.values for one in runs["wrong"]])
    assert (np.abs(values.mean(axis=0) - truth) <= 4.5 * values.std(axis=0) / np.sqrt(len(values))).all()


def test_games_that_never_move_leave_the_covariances_to_those_that_do():
    game = TableGame.random(9, 2, seed=4)
    design = AdjustedDesign.draw(9, 60, seed=0)
    odd = (game.worth(design.pairs) - game.worth(~design.pairs)) / 2
    total = game.table[-1] - game.table[0]
    still = np.zeros((60, 7))
    padded = design.solve(
        np.column_stack([odd[:, :1], still, odd[:, 1:]]), np.concatenate([total[:1], still[0], total[1:]])
    )
    alone = design.solve(odd, total)
    assert_allclose(padded.values[:, [0, -1]], alone.values, rtol=1e-9)
    assert not padded.values[:, 1:-1].any()


@pytest.mark.parametrize("n_players", [20, 32, 40, 41, 100])
def test_the_first_estimate_has_every_size(n_players):
    for seed in range(20):
        pairs = AdjustedDesign.draw(n_players, fewest_pairs(n_players), seed=seed).pairs
        assert set(pairs.sum(axis=1)) == set(range(1, n_players // 2 + 1))


def test_the_pairs_of_a_size_are_spread_over_the_folds():
    pairs = AdjustedDesign.draw(20, 160, seed=0).pairs
    fold, sizes = _folds(pairs), pairs.sum(axis=1)
    for size in range(2, 10):
        counts = np.bincount(fold[sizes == size], minlength=N_FOLDS)
        assert np.ptp(counts) <= 1
