"""Our estimators against the KernelSHAP of shap and captum; families/test_every_estimator.py has what all promise."""

import numpy as np
import pytest
from games import SaturatingGame, TableGame

from SegExplainLib.peer_shapley import captum_kernel_shap, shap_kernel_explainer
from SegExplainLib.shapley.exact import exact_shapley
from SegExplainLib.shapley.kernel_regression import kernel_shap
from SegExplainLib.shapley.leverage import leverage_shap
from SegExplainLib.shapley.permutation import permutation_shapley

PEERS = [shap_kernel_explainer, captum_kernel_shap]
OURS = [kernel_shap, leverage_shap, permutation_shapley]


def errors_of(estimator, game, truth: np.ndarray, *, budget: int, n_seeds: int) -> np.ndarray:
    """(n_seeds, n_players)"""
    runs = [list(estimator(game, budget=budget, tolerance=0.0, seed=seed))[-1] for seed in range(n_seeds)]
    return np.array([run.values for run in runs]) - truth


@pytest.mark.parametrize("estimator", OURS)
@pytest.mark.parametrize("peer", PEERS)
def test_we_and_they_agree_within_errors(estimator, peer):
    game = TableGame.random(8, seed=0)
    ours = list(estimator(game, budget=200, tolerance=0.0, seed=0))[-1]
    theirs = np.array([list(peer(game, budget=200, tolerance=0.0, seed=seed))[-1].values for seed in range(10)])
    spread = np.hypot(ours.standard_errors, theirs.std(axis=0, ddof=1) / np.sqrt(10))
    assert (np.abs(ours.values - theirs.mean(axis=0)) <= 4 * spread).all()


def test_shap_enumerates_as_we_do():
    game = TableGame.random(8, seed=1)
    (theirs,) = shap_kernel_explainer(game, budget=256, tolerance=0.0, seed=0)
    (truth,) = exact_shapley(game, budget=256, tolerance=0.0, seed=0)
    np.testing.assert_allclose(theirs.values, truth.values, atol=1e-9)


@pytest.mark.parametrize("peer", PEERS)
def test_what_they_do_not_tell_is_nan(peer):
    (estimate,) = peer(TableGame.random(6, 2, seed=0), budget=40, tolerance=0.5, seed=0)
    assert np.isnan(estimate.standard_errors).all()
    assert np.isnan(estimate.relative_error)
    assert np.isnan(estimate.interval()).all()
    assert estimate.stop_reason == "budget"


@pytest.mark.parametrize("estimator", [kernel_shap, leverage_shap])
@pytest.mark.parametrize("peer", PEERS)
def test_a_saturating_game_is_solved_with_half_their_error_from_as_many_evaluations(estimator, peer):
    game = SaturatingGame(30, seed=0)
    ours, theirs = (
        np.sqrt((errors_of(each, game, game.shapley_values, budget=300, n_seeds=6) ** 2).mean())
        for each in (estimator, peer)
    )
    assert ours < theirs / 2


def test_leverage_beats_the_kernel_where_pairs_run_out():
    game = TableGame.random(8, seed=2)
    (truth,) = exact_shapley(game, budget=256, tolerance=0.0, seed=0)
    kernel, leverage = (
        (errors_of(each, game, truth.values, budget=160, n_seeds=40) ** 2).mean()
        for each in (kernel_shap, leverage_shap)
    )
    assert leverage < kernel
