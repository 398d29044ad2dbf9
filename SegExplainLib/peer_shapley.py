"""KernelSHAP as shap and captum have it, on our games: for comparison and as a second opinion.

Both libraries see the mask, not the image: the "input" they perturb is one number per player, 1 for present and 0 for
absent, and the "model" is the game. They share the contract of `SegExplainLib.shapley`, with these limits of theirs:
one estimate, at the end; no standard errors (nan), so no stopping on a tolerance; random numbers from a global
generator, which is put back as it was found.

Needs the packages shap or captum (with scikit-learn); they are imported when an estimator is called, never before, and
before the game is asked anything.
"""

import importlib
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import MissingPackages
from SegExplainLib.shapley.coalitions import empty_and_full
from SegExplainLib.shapley.exact import enumerate_game
from SegExplainLib.shapley.stopping import StoppingRule
from SegExplainLib.shapley.value_function import ShapleyEstimate, ValueFunction, ask

Solver = Callable[["RememberedGame", int, int], NDArray[np.float64]]
"""(game, budget, seed) -> values (n_players, n_targets)."""

CAPTUM_BATCH = 64


def shap_kernel_explainer(
    game: ValueFunction,
    *,
    budget: int,
    tolerance: float,
    seed: int,
    settle: int = 0,  # noqa: ARG001 - without standard errors nothing is ever settled
    interim: bool = True,  # noqa: ARG001 - there is one estimate
) -> Iterator[ShapleyEstimate]:
    """Shapley values by `shap.KernelExplainer`, without its feature selection (``l1_reg=False``).

    It enumerates small and large coalitions as far as the budget goes and draws the rest in pairs. Efficiency holds
    exactly. All targets come from one run.

    Cost: at most ``budget`` evaluations, in one call to the game besides the empty and the full coalition.

    Args:
        game: The game, with one target or several.
        budget: Evaluations allowed.
        tolerance: Checked, then not used.
        seed: For ``numpy.random``.
        settle: Not used: without standard errors nothing is ever settled.
        interim: Not used: there is one estimate.

    Raises:
        ValueError: The budget is below ``2 * n_players + 2`` and does not pay for every coalition, or the tolerance is
            negative.
        MissingPackages: The package is not installed, or cannot be imported.
    """
    _require("shap")
    return _peer(game, _solve_with_shap, StoppingRule(budget, tolerance), seed)


def captum_kernel_shap(
    game: ValueFunction,
    *,
    budget: int,
    tolerance: float,
    seed: int,
    settle: int = 0,  # noqa: ARG001 - without standard errors nothing is ever settled
    interim: bool = True,  # noqa: ARG001 - there is one estimate
) -> Iterator[ShapleyEstimate]:
    """Shapley values by `captum.attr.KernelShap`.

    It draws without pairs, and asks again for what it has seen: repeats are answered from memory and not counted, so
    fewer than ``budget`` evaluations may be spent. Efficiency is only near: the ends are rows of weight 1e6, in
    single precision. captum explains one number, so with several targets it runs once for each with the same random
    numbers, hence the same coalitions: the game is asked once.

    Cost: at most ``budget`` evaluations, in calls of up to 64.

    Args:
        game: The game, with one target or several.
        budget: Evaluations allowed.
        tolerance: Checked, then not used.
        seed: For torch's default generator on the CPU.
        settle: Not used: without standard errors nothing is ever settled.
        interim: Not used: there is one estimate.

    Raises:
        ValueError: The budget is below ``2 * n_players + 2`` and does not pay for every coalition, or the tolerance is
            negative.
        MissingPackages: The package is not installed, or cannot be imported.
    """
    _require("captum.attr")
    return _peer(game, _solve_with_captum, StoppingRule(budget, tolerance), seed)


class RememberedGame:
    """A game that is asked for each coalition once.

    Attributes:
        n_players: As of the game.
        target_shape: () for one target, (n_targets,) for several.
        empty_value: (n_targets,), also for one target.
        full_value: (n_targets,), also for one target.
    """

    def __init__(self, game: ValueFunction) -> None:
        self.n_players = game.n_players
        self._game = game
        self._known: dict[bytes, NDArray[np.float64]] = {}
        ends = empty_and_full(self.n_players)
        answers = ask(game, ends)
        self.target_shape = answers.shape[1:]
        self.empty_value, self.full_value = answers.reshape(2, -1)
        self._known.update({ends[0].tobytes(): self.empty_value, ends[1].tobytes(): self.full_value})

    @property
    def n_evaluations(self) -> int:
        """Different coalitions asked for, the ends included."""
        return len(self._known)

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, n_targets) worth of ``coalitions`` (n, n_players)."""
        new = {key: row for row in coalitions if (key := row.tobytes()) not in self._known}
        if new:
            answers = ask(self._game, np.array(list(new.values())))
            self._known.update(zip(new, answers.reshape(len(new), -1), strict=True))
        return np.array([self._known[row.tobytes()] for row in coalitions])


def _require(module: str) -> None:
    package = module.partition(".")[0]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise MissingPackages(
            f"The method {package} needs the package {package}, which cannot be imported ({error}).",
            f"Install it (pip install {package}), or use --method adjusted-shap.",
            packages=(package,),
        ) from error


def _peer(game: ValueFunction, solve: Solver, rule: StoppingRule, seed: int) -> Iterator[ShapleyEstimate]:
    if game.n_players == 1:  # a regression has nothing to do here; captum fails
        rule.require(2)
        return enumerate_game(game, seed=seed)
    rule.require(min(2**game.n_players, 2 * game.n_players + 2))
    return _run_peer(game, solve, rule.budget, seed)


def _run_peer(game: ValueFunction, solve: Solver, budget: int, seed: int) -> Iterator[ShapleyEstimate]:
    remembered = RememberedGame(game)
    values = solve(remembered, budget, seed).reshape(game.n_players, *remembered.target_shape)
    yield ShapleyEstimate(
        values=values,
        standard_errors=np.full_like(values, math.nan),
        empty_value=remembered.empty_value.reshape(remembered.target_shape),
        full_value=remembered.full_value.reshape(remembered.target_shape),
        n_evaluations=remembered.n_evaluations,
        seed=seed,
        stop_reason="budget",
        degrees_of_freedom=math.nan,
    )


def _solve_with_shap(game: RememberedGame, budget: int, seed: int) -> NDArray[np.float64]:
    import shap

    state = np.random.get_state()  # noqa: NPY002 - shap draws from the global generator
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        explainer = shap.KernelExplainer(lambda masks: game(masks > 0.5), np.zeros((1, game.n_players)))
        everybody = np.ones((1, game.n_players))
        return explainer.shap_values(everybody, nsamples=budget - 2, l1_reg=False, silent=True)[0]
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _solve_with_captum(game: RememberedGame, budget: int, seed: int) -> NDArray[np.float64]:
    import torch
    from captum.attr import KernelShap

    def explain(target: int) -> NDArray[np.float64]:
        torch.default_generator.manual_seed(seed)
        explainer = KernelShap(lambda masks: torch.from_numpy(game(masks.numpy() > 0.5)[:, target]))
        everybody = torch.ones(1, game.n_players)
        values = explainer.attribute(everybody, n_samples=budget, perturbations_per_eval=CAPTUM_BATCH)
        return values[0].numpy().astype(np.float64)

    state = torch.get_rng_state()
    try:
        return np.stack([explain(target) for target in range(len(game.full_value))], axis=1)
    finally:
        torch.set_rng_state(state)
