"""The contract of a Shapley estimator, held against each one.

    estimator(game, *, budget, tolerance, seed, settle=0, interim=True) -> Iterator[ShapleyEstimate]

EVERY is all of them, OURS those of SegExplainLib.shapley, SAMPLED those of ours that draw coalitions, LINEAR all but
the one that learns: its values are a function of the answers, not a matrix times them.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from games import AdditiveGame, CountingGame, GloveGame, PairwiseGame, RecordedGame, SaturatingGame, TableGame
from numpy.testing import assert_allclose, assert_array_equal
from oracles_shapley import shapley_over_all_subsets

from SegExplainLib.peer_shapley import captum_kernel_shap, shap_kernel_explainer
from SegExplainLib.shapley.adjusted_shap import adjusted_shap
from SegExplainLib.shapley.exact import exact_shapley
from SegExplainLib.shapley.kernel_regression import kernel_shap
from SegExplainLib.shapley.leverage import leverage_shap
from SegExplainLib.shapley.permutation import permutation_shapley
from SegExplainLib.shapley.stopping import Ranking
from SegExplainLib.shapley.value_function import ShapleyEstimate, ValueFunction

Estimator = Callable[..., Iterator[ShapleyEstimate]]

SAMPLED = [adjusted_shap, kernel_shap, leverage_shap, permutation_shapley]
OURS = [exact_shapley, *SAMPLED]
EVERY = [*OURS, shap_kernel_explainer, captum_kernel_shap]
LINEAR = [estimator for estimator in EVERY if estimator is not adjusted_shap]
N_PLAYERS = 8
BUDGET = 160  # of 256: enough for small errors, too little to enumerate

every_estimator = pytest.mark.parametrize("estimator", EVERY)
each_of_ours = pytest.mark.parametrize("estimator", OURS)
each_sampling_estimator = pytest.mark.parametrize("estimator", SAMPLED)


def explain(estimator: Estimator, game: ValueFunction, *, budget: int = BUDGET, seed: int = 0) -> ShapleyEstimate:
    budget = 2**game.n_players if estimator is exact_shapley else budget
    (last,) = estimator(game, budget=budget, tolerance=0.0, seed=seed, interim=False)
    return last


def slack(estimator: Estimator) -> float:
    """Tolerance of identities: rounding, or for captum its soft constraint in single precision."""
    return 1e-3 if estimator is captum_kernel_shap else 1e-9


@every_estimator
def test_values_add_up_to_full_minus_empty(estimator: Estimator):
    estimate = explain(estimator, TableGame.random(N_PLAYERS, seed=1))
    assert abs(estimate.values.sum() - (estimate.full_value - estimate.empty_value)) < slack(estimator)
    assert abs(estimate.efficiency_gap) < slack(estimator)


@each_sampling_estimator
def test_values_add_up_at_every_interim_estimate(estimator: Estimator):
    estimates = list(estimator(TableGame.random(10, 3, seed=1), budget=500, tolerance=0.0, seed=0))
    assert len(estimates) > 3
    for estimate in estimates:
        assert_allclose(estimate.values.sum(axis=0), estimate.full_value - estimate.empty_value, atol=1e-9)


@each_of_ours
def test_players_of_equal_worth_get_equal_values(estimator: Estimator):
    estimate = explain(estimator, GloveGame(3, 5))
    for group in (slice(0, 3), slice(3, 8)):
        values, errors = estimate.values[group], estimate.standard_errors[group]
        assert np.ptp(values) <= 4 * math.sqrt(2) * errors.max() + 1e-12
    assert estimate.values[:3].min() > estimate.values[3:].max()  # left gloves are scarce


@each_of_ours
def test_a_null_player_gets_zero(estimator: Estimator):
    estimate = explain(estimator, TableGame.with_null_player(N_PLAYERS, seed=2))
    assert abs(estimate.values[-1]) <= 4 * estimate.standard_errors[-1] + 1e-12


@pytest.mark.parametrize("estimator", [exact_shapley, permutation_shapley])
def test_a_null_player_gets_exactly_zero_from_marginal_contributions(estimator: Estimator):
    assert abs(explain(estimator, TableGame.with_null_player(N_PLAYERS, seed=2)).values[-1]) < 1e-12


@pytest.mark.parametrize("estimator", LINEAR)
def test_values_are_linear_in_the_game(estimator: Estimator):
    one, other = TableGame.random(N_PLAYERS, seed=3), TableGame.random(N_PLAYERS, seed=4)
    mixed = TableGame(2.0 * one.table - 0.5 * other.table)
    expected = 2.0 * explain(estimator, one).values - 0.5 * explain(estimator, other).values
    assert_allclose(explain(estimator, mixed).values, expected, atol=slack(estimator))


@pytest.mark.parametrize("estimator", LINEAR)
def test_an_additive_game_is_solved_exactly_from_few_coalitions(estimator: Estimator):
    game = AdditiveGame(np.random.default_rng(5).normal(size=N_PLAYERS), constant=3.0)
    estimate = explain(estimator, game, budget=5 * N_PLAYERS)
    assert_allclose(estimate.values, game.shapley_values, atol=slack(estimator))


@pytest.mark.parametrize("estimator", [estimator for estimator in OURS if estimator is not adjusted_shap])
def test_a_game_of_interactions_between_two_is_solved_exactly_from_few_coalitions(estimator: Estimator):
    game = PairwiseGame(N_PLAYERS, seed=5)
    estimate = explain(estimator, game, budget=5 * N_PLAYERS)
    assert_allclose(estimate.values, game.shapley_values, atol=1e-9)
    assert estimate.standard_errors.max() < 1e-9


@pytest.mark.parametrize("estimator", [estimator for estimator in OURS if estimator is not adjusted_shap])
def test_the_error_of_an_additive_game_is_zero(estimator: Estimator):
    game = AdditiveGame(np.random.default_rng(5).normal(size=N_PLAYERS))
    assert explain(estimator, game).standard_errors.max() < 1e-12


@each_of_ours
def test_values_are_within_four_standard_errors_of_brute_force(estimator: Estimator):
    for seed in range(5):
        game = TableGame.random(N_PLAYERS, seed=seed)
        estimate = explain(estimator, game, seed=seed)
        errors = np.abs(estimate.values - shapley_over_all_subsets(game, N_PLAYERS))
        assert (errors <= 4 * estimate.standard_errors + 1e-12).all()


@pytest.fixture(scope="module", params=SAMPLED)
def two_hundred_runs(request: pytest.FixtureRequest) -> tuple[list[ShapleyEstimate], np.ndarray]:
    """Estimates of one game from 200 seeds, and its values."""
    game = TableGame.random(N_PLAYERS, seed=6)
    runs = [explain(request.param, game, budget=20 * N_PLAYERS, seed=seed) for seed in range(200)]
    return runs, explain(exact_shapley, game).values


def test_ninety_five_percent_intervals_cover_the_truth_as_often_as_they_say(two_hundred_runs):
    runs, truth = two_hundred_runs
    covered = [(low <= truth) & (truth <= high) for low, high in (run.interval(0.95) for run in runs)]
    assert 0.90 <= np.mean(covered) <= 0.99


def test_the_mean_of_many_runs_is_within_four_standard_errors_of_the_truth(two_hundred_runs):
    runs, truth = two_hundred_runs
    values = np.array([run.values for run in runs])
    assert (np.abs(values.mean(axis=0) - truth) <= 4 * values.std(axis=0) / math.sqrt(len(runs))).all()


@each_sampling_estimator
@pytest.mark.parametrize(("budget_per_player", "n_players"), [(5, 40), (10, 40)])
def test_intervals_are_honest_for_many_players_and_little_budget(
    estimator: Estimator, budget_per_player: int, n_players: int
):
    game = SaturatingGame(n_players, seed=0)
    covered = []
    for seed in range(15):
        low, high = explain(estimator, game, budget=budget_per_player * n_players, seed=seed).interval(0.95)
        covered.append((low <= game.shapley_values) & (game.shapley_values <= high))
    # Two or three orders are too few for Student's t, whose contributions would have to be normal.
    assert np.mean(covered) >= (0.85 if estimator is permutation_shapley else 0.93)


@each_sampling_estimator
def test_four_times_the_budget_halves_the_error(estimator: Estimator):
    game = SaturatingGame(30, seed=1)

    def mean_square(budget: int) -> float:
        runs = [explain(estimator, game, budget=budget, seed=seed) for seed in range(20)]
        return float(np.mean([(run.values - game.shapley_values) ** 2 for run in runs]))

    assert mean_square(1200) < mean_square(300) / 2.5


@every_estimator
@pytest.mark.parametrize("budget", [40, 41, 77, 160, 255, 256, 1000])
def test_the_budget_is_kept_and_counted(estimator: Estimator, budget: int):
    game = RecordedGame(counted := TableGame.random(N_PLAYERS, seed=7))
    budget = max(budget, 256) if estimator is exact_shapley else budget
    estimate = list(estimator(game, budget=budget, tolerance=0.0, seed=0))[-1]
    assert counted.n_evaluations == estimate.n_evaluations <= budget
    assert len(np.unique(game.asked, axis=0)) == len(game.asked), "a coalition was asked for twice"


@each_of_ours
def test_a_budget_for_every_coalition_buys_the_exact_answer(estimator: Estimator):
    game = TableGame.random(6, seed=8)
    estimate = list(estimator(game, budget=64, tolerance=0.0, seed=0))[-1]
    assert estimate.stop_reason == "exact"
    assert_array_equal(estimate.standard_errors, 0.0)
    assert_allclose(estimate.values, shapley_over_all_subsets(game, 6), atol=1e-12)


@every_estimator
def test_a_budget_too_small_is_refused_with_one_that_works(estimator: Estimator):
    game = TableGame.random(N_PLAYERS, seed=9)
    with pytest.raises(ValueError, match=r"budget of") as refusal:
        estimator(game, budget=9, tolerance=0.0, seed=0)
    smallest = max(int(number) for number in str(refusal.value).replace(",", " ").split() if number.isdigit())
    estimate = list(estimator(game, budget=smallest, tolerance=0.0, seed=0))[-1]
    assert np.isfinite(estimate.values).all()
    with pytest.raises(ValueError, match=r"budget of"):
        estimator(game, budget=smallest - 1, tolerance=0.0, seed=0)


@every_estimator
@pytest.mark.parametrize("n_players", [1, 2, 3])
def test_one_two_and_three_players_are_enough(estimator: Estimator, n_players: int):
    game = TableGame.random(n_players, seed=10)
    estimate = list(estimator(game, budget=100, tolerance=0.0, seed=0))[-1]
    if estimator is not captum_kernel_shap:
        assert_allclose(estimate.values, shapley_over_all_subsets(game, n_players), atol=1e-9)
    assert_allclose(estimate.values.sum(), game.table[-1] - game.table[0], atol=1e-3)


@every_estimator
def test_the_same_seed_gives_the_same_answer(estimator: Estimator):
    game = TableGame.random(N_PLAYERS, seed=11)
    assert_array_equal(explain(estimator, game, seed=3).values, explain(estimator, game, seed=3).values)


@pytest.mark.parametrize("estimator", EVERY[1:])
def test_another_seed_gives_another_answer(estimator: Estimator):
    game = TableGame.random(N_PLAYERS, seed=11)
    assert not np.allclose(explain(estimator, game, seed=3).values, explain(estimator, game, seed=4).values)


@every_estimator
def test_global_random_states_are_left_alone(estimator: Estimator):
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = np.random.random(), torch.rand(1)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    explain(estimator, TableGame.random(N_PLAYERS, seed=0))
    assert (np.random.random(), torch.rand(1)) == expected  # noqa: NPY002


@every_estimator
def test_several_targets_get_what_each_would_get_alone(estimator: Estimator):
    game = TableGame.random(N_PLAYERS, 3, seed=12)
    together = explain(estimator, game)
    assert together.values.shape == together.standard_errors.shape == (N_PLAYERS, 3)
    for target in range(3):
        alone = explain(estimator, TableGame(game.table[:, target]))
        assert_allclose(together.values[:, target], alone.values, atol=slack(estimator))
        assert_allclose(together.standard_errors[:, target], alone.standard_errors, atol=1e-9)
        assert together.empty_value[target] == alone.empty_value
        assert together.full_value[target] == alone.full_value
        assert together.n_evaluations == alone.n_evaluations


@each_of_ours
def test_a_target_without_a_value_leaves_the_others_alone(estimator: Estimator):
    game = TableGame.random(N_PLAYERS, 2, seed=12)
    expected = explain(estimator, game)
    game.table[:, 1] = np.nan
    estimate = explain(estimator, game)
    assert np.isnan(estimate.values[:, 1]).all()
    assert np.isnan(estimate.standard_errors[:, 1]).all()
    assert_array_equal(estimate.values[:, 0], expected.values[:, 0])
    assert_array_equal(estimate.standard_errors[:, 0], expected.standard_errors[:, 0])


@each_sampling_estimator
def test_a_tolerance_stops_early_and_says_so(estimator: Estimator):
    game = SaturatingGame(12, seed=0)
    *interim, final = estimator(game, budget=4000, tolerance=0.03, seed=0)
    assert final.stop_reason == "tolerance"
    assert final.relative_error <= 0.03
    assert final.n_evaluations < 4000
    assert all(estimate.stop_reason is None for estimate in interim)


@each_sampling_estimator
def test_a_settled_ranking_stops_earlier_than_the_errors_and_is_replayed(estimator: Estimator):
    game = TableGame.random(11, seed=3)
    game.table[1::2] += 8.0  # the first player matters more than all others
    recorded = RecordedGame(game)
    *interim, final = estimator(recorded, budget=600, tolerance=0.01, seed=2, settle=1)
    *_, precise = estimator(game, budget=600, tolerance=0.01, seed=2)
    assert final.stop_reason == "ranking"
    assert final.n_evaluations < precise.n_evaluations / 2
    assert all(estimate.stop_reason is None for estimate in interim)
    assert Ranking.of(final, top=1, tolerance=0.01).players == (0,)
    *_, replayed = estimator(recorded.replay(), budget=final.n_evaluations, tolerance=0.0, seed=2)
    assert_array_equal(replayed.values, final.values)


@each_sampling_estimator
def test_a_ranking_that_stays_open_stops_no_later_than_the_errors(estimator: Estimator):
    game = GloveGame(5, 7)  # ties throughout: the slack alone could settle them
    *_, by_ranking = estimator(game, budget=4000, tolerance=0.1, seed=0, settle=3)
    *_, by_values = estimator(game, budget=4000, tolerance=0.1, seed=0)
    assert by_ranking.stop_reason == by_values.stop_reason == "tolerance"
    assert by_ranking.n_evaluations == by_values.n_evaluations


@pytest.mark.parametrize("estimator", [kernel_shap, leverage_shap, permutation_shapley])
def test_a_ranking_that_is_called_settled_is_right_in_nineteen_of_twenty_runs(estimator: Estimator):
    n_players, top, tolerance, right = 9, 3, 0.02, []
    for seed in range(60):
        game = TableGame(TableGame.random(n_players, seed=seed).table * 0.3)
        weights = np.random.default_rng(seed).normal(size=n_players)
        game.table += (
            np.array([[n >> player & 1 for player in range(n_players)] for n in range(2**n_players)]) @ weights
        )
        *_, final = estimator(game, budget=500, tolerance=tolerance, seed=seed, settle=top)
        if final.stop_reason != "ranking":
            continue
        truth = explain(exact_shapley, game).values
        ranking, slack_of_ties = Ranking.of(final, top=top, tolerance=tolerance), tolerance * np.ptp(truth)
        chosen = np.abs(truth[list(ranking.players)])
        others = np.delete(np.abs(truth), ranking.players)
        signs_hold = (np.sign(truth[list(ranking.players)]) == ranking.signs) | (chosen <= slack_of_ties)
        right.append(chosen.min() + slack_of_ties >= others.max() and signs_hold.all())
    assert len(right) >= 15
    assert np.mean(right) >= 0.95


@every_estimator
def test_whatever_is_to_be_settled_an_estimator_takes_it(estimator: Estimator):
    game = TableGame.random(5, seed=0)
    *_, settled = estimator(game, budget=32, tolerance=0.0, seed=0, settle=2)
    *_, plain = estimator(game, budget=32, tolerance=0.0, seed=0)
    assert_array_equal(settled.values, plain.values)
    assert settled.stop_reason == plain.stop_reason


@each_sampling_estimator
def test_a_replay_from_the_recorded_coalitions_gives_the_same_answer(estimator: Estimator):
    recorded = RecordedGame(SaturatingGame(12, seed=0))
    final = list(estimator(recorded, budget=4000, tolerance=0.03, seed=5))[-1]
    assert final.stop_reason == "tolerance"
    *_, replayed = estimator(recorded.replay(), budget=final.n_evaluations, tolerance=0.0, seed=5)
    assert_array_equal(replayed.values, final.values)
    assert_array_equal(replayed.standard_errors, final.standard_errors)
    assert replayed.n_evaluations == final.n_evaluations


@each_sampling_estimator
def test_what_is_asked_depends_on_players_and_seed_alone(estimator: Estimator):
    short, long = RecordedGame(TableGame.random(10, seed=0)), RecordedGame(TableGame.random(10, 2, seed=1))
    explain(estimator, short, budget=200, seed=7)
    explain(estimator, long, budget=500, seed=7)
    assert_array_equal(short.asked, long.asked[: len(short.asked)])


@each_of_ours
def test_all_that_will_be_asked_is_announced_once_before(estimator: Estimator):
    game = RecordedGame(TableGame.random(N_PLAYERS, seed=13))
    estimates = estimator(game, budget=256 if estimator is exact_shapley else BUDGET, tolerance=0.0, seed=0)
    next(estimates)
    assert len(game.announcements) == 1
    list(estimates)
    assert len(game.announcements) == 1
    assert_array_equal(game.announcements[0], game.asked)


@each_sampling_estimator
def test_nothing_more_is_asked_once_the_consumer_leaves(estimator: Estimator):
    game: CountingGame = SaturatingGame(20, seed=0)
    first = next(estimator(game, budget=2000, tolerance=0.0, seed=0))
    assert first.stop_reason is None
    assert game.n_evaluations == first.n_evaluations < 200


@each_sampling_estimator
def test_errors_shrink_while_estimates_stream(estimator: Estimator):
    estimates = list(estimator(SaturatingGame(20, seed=0), budget=2000, tolerance=0.0, seed=0))
    assert estimates[-1].relative_error < estimates[0].relative_error / 2
    counts = [estimate.n_evaluations for estimate in estimates]
    assert counts == sorted(set(counts))


@every_estimator
@pytest.mark.parametrize("tolerance", [-0.1, math.nan])
def test_a_tolerance_below_zero_is_refused(estimator: Estimator, tolerance: float):
    with pytest.raises(ValueError, match="tolerance"):
        estimator(TableGame.random(4, seed=0), budget=256, tolerance=tolerance, seed=0)


@every_estimator
def test_a_game_that_answers_in_the_wrong_shape_is_refused(estimator: Estimator):
    game = TableGame.random(N_PLAYERS, seed=0)
    game.worth = lambda coalitions: np.zeros(len(coalitions) + 1)
    with pytest.raises(ValueError, match="must answer"):
        explain(estimator, game)


@every_estimator
def test_without_interim_estimates_the_last_one_is_the_same(estimator: Estimator):
    game = TableGame.random(10 if estimator is not exact_shapley else N_PLAYERS, seed=14)
    *_, expected = estimator(game, budget=400, tolerance=0.0, seed=2)
    (alone,) = estimator(game, budget=400, tolerance=0.0, seed=2, interim=False)
    assert_array_equal(alone.values, expected.values)
    assert_array_equal(alone.standard_errors, expected.standard_errors)
    assert (alone.n_evaluations, alone.stop_reason) == (expected.n_evaluations, expected.stop_reason)
