"""What all sampling estimators share: ask for complement pairs, solve for the values, yield, stop or go on.

Shapley values depend on a game only through its odd part, o(S) = (v(S) - v(N - S)) / 2: the even part gives each player
the same marginal contributions with opposite signs at mirrored places of an order. So two evaluations make one
observation. Games without interactions of more than two players have an additive odd part, and are solved exactly.

References:
    Covert & Lee (2021), Improving KernelSHAP (paired sampling); Mayer & Wüthrich (2025), Shapley values:
    paired-sampling approximations (exact up to interactions of two); Fumagalli et al. (2026), OddSHAP (the odd part).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.shapley.coalitions import Coalitions, empty_and_full, with_complements
from SegExplainLib.shapley.exact import enumerate_game, is_affordable
from SegExplainLib.shapley.stopping import StoppingRule
from SegExplainLib.shapley.value_function import ShapleyEstimate, ValueFunction, announce, ask


class Solution(NamedTuple):
    """Values (n_players, n_targets), their standard errors (same shape), and the degrees of freedom of the latter."""

    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    degrees_of_freedom: float


class PairedDesign(Protocol):
    """Which pairs to ask for, and how to read the answers.

    Drawn before the game is asked anything, so it cannot depend on the answers. A design of fewer pairs is the
    beginning of a design of more.

    Attributes:
        pairs: (n_pairs, n_players), distinct, in asking order; each stands for itself and its complement.
        checkpoints: Numbers of pairs after which to solve; ascending, the last is n_pairs.
    """

    @property
    def pairs(self) -> Coalitions: ...  # noqa: D102

    @property
    def checkpoints(self) -> Sequence[int]: ...  # noqa: D102

    def solve(self, odd_values: NDArray[np.float64], total: NDArray[np.float64]) -> Solution:
        """Solve for the values of all targets.

        Args:
            odd_values: (m, n_targets), the odd part of the game on the first m pairs.
            total: (n_targets,), worth of everybody minus worth of nobody.
        """
        ...


DrawDesign = Callable[..., PairedDesign]
"""(n_players, n_pairs, *, seed) -> a design of at most ``n_pairs`` pairs, of which the game must have more."""


def estimate_from_pairs(
    game: ValueFunction,
    draw: DrawDesign,
    *,
    smallest: int,
    rule: StoppingRule,
    seed: int,
    interim: bool,
) -> Iterator[ShapleyEstimate]:
    """Draw a design for the budget of ``rule`` and follow it; or enumerate, if the budget pays for every coalition.

    Without ``interim`` the design is solved once, at its end.

    Raises:
        ValueError: The budget is below ``smallest`` and does not pay for every coalition.
    """
    if is_affordable(game.n_players, rule.budget):
        return enumerate_game(game, seed=seed)
    rule.require(min(smallest, 2**game.n_players))
    design = draw(game.n_players, (rule.budget - 2) // 2, seed=seed)
    looks = design.checkpoints if interim else design.checkpoints[-1:]
    return _follow(design, game, looks, smallest=smallest, rule=rule, seed=seed)


def _follow(
    design: PairedDesign, game: ValueFunction, looks: Sequence[int], *, smallest: int, rule: StoppingRule, seed: int
) -> Iterator[ShapleyEstimate]:
    """Ask for the design's pairs, yielding an estimate at each of ``looks`` with bounded errors, and the final one.

    None before ``smallest`` evaluations ends the run: what was asked up to the end must do as a budget, so that the run
    can be repeated for another target.
    """
    ends = empty_and_full(game.n_players)
    announce(game, np.concatenate([ends, with_complements(design.pairs)]))
    end_values = ask(game, ends)
    empty_value, full_value = end_values
    total = np.reshape(full_value - empty_value, -1)
    odd_values = np.empty((0, len(total)))
    for n_pairs in looks:
        is_last = n_pairs == len(design.pairs)
        answers = ask(game, with_complements(design.pairs[len(odd_values) : n_pairs])).reshape(-1, 2, len(total))
        odd_values = np.concatenate([odd_values, (answers[:, 0] - answers[:, 1]) / 2])
        solution = design.solve(odd_values, total)
        if np.isinf(solution.standard_errors).any() and not is_last:
            continue
        shape = (game.n_players, *end_values.shape[1:])
        estimate = ShapleyEstimate(
            values=solution.values.reshape(shape),
            standard_errors=solution.standard_errors.reshape(shape),
            empty_value=empty_value,
            full_value=full_value,
            n_evaluations=2 + 2 * n_pairs,
            seed=seed,
            stop_reason=None,
            degrees_of_freedom=solution.degrees_of_freedom,
        )
        may_stop = is_last or estimate.n_evaluations >= smallest
        reason = _reason(rule, estimate, is_last=is_last) if may_stop else None
        yield replace(estimate, stop_reason=reason)
        if reason is not None:
            return


def _reason(rule: StoppingRule, estimate: ShapleyEstimate, *, is_last: bool) -> str | None:
    return rule.reason(
        estimate.relative_error,
        estimate.degrees_of_freedom,
        is_last=is_last,
        is_settled=rule.is_settled(estimate),
    )
