"""Integrated gradients, with steps where the number changes, halved until the map adds up and has settled."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.gradients.voxel_estimate import VoxelEstimate, require_baselines
from SegExplainLib.players.partition import PlayerPartition

N_STEPS = 16
"""Steps of the first estimate from each baseline, if the budget allows."""


def integrated_gradients(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]],
    budget: int = 129,
    tolerance: float = 0.05,
    seed: int = 0,
) -> Iterator[VoxelEstimate]:
    """The gradient along the straight path from a baseline to the CT, times their difference, mean over baselines.

    The map adds up to the explained number of the CT minus that of the baseline, so that its error can be seen. By the
    trapezoid rule on steps that are short where the number changes, which takes forward runs to find: under instance
    norm a path from an even baseline changes almost everything within its first thousandth. Then all steps are halved,
    again and again, and every gradient serves again. It stops when two relative errors are at most ``tolerance``: of
    each baseline the gap between the sum and what it should be, over the range of the number along the path; and of the
    units how far any value moved in the last halving, over the range of the values. These moves stand in the
    estimate's ``standard_errors``: they overstate the error that is left.

    Args:
        score: The explained number.
        partition: The units.
        baselines: Network inputs, each float32 (channels, k, j, i).
        budget: Most gradients; with m baselines s steps cost 1 + m s, and m (``N_STEPS`` - 1) forward runs to begin.
        tolerance: As above; 0 spends the budget.
        seed: Is told in the estimate; nothing is drawn.

    Raises:
        InvalidRequest: there is no baseline, or the budget does not pay for two steps from each.

    References:
        Sundararajan et al. (2017), Axiomatic attribution for deep networks; where the steps lie is our own.
    """
    require_baselines(baselines, "integrated-gradients")
    n_steps = min(N_STEPS, (budget - 1) // len(baselines))
    if n_steps < 2:
        raise InvalidRequest(
            f"Integrated gradients from {len(baselines)} baseline(s) need at least {1 + 2 * len(baselines)} gradients; "
            f"the budget is {budget}.",
            "Raise --budget.",
        )
    _, full_gradient = score.gradient(score.image)
    paths = [_Path(score, score.cut(baseline), full_gradient, n_steps=n_steps) for baseline in baselines]
    empty_value = float(np.mean([path.empty_value for path in paths]))
    n_gradients, values = 1 + len(paths) * n_steps, None
    while True:
        voxel_map = score.on_grid(torch.stack([path.voxel_map for path in paths]).mean(0))
        last, values = values, partition.pooled(voxel_map)
        moves = np.full(len(values), math.inf) if last is None else np.abs(values - last)
        is_settled = moves.max() <= tolerance * np.ptp(values) and all(path.gap <= tolerance for path in paths)
        reason = "budget" if 2 * n_gradients - 1 > budget else None
        if tolerance > 0.0 and is_settled:
            reason = "tolerance"
        yield VoxelEstimate(
            voxel_map,
            values,
            moves,
            score.full_value,
            n_gradients,
            seed,
            reason,
            empty_value=empty_value,
            completeness_gap=float(voxel_map.sum(dtype=np.float64)) - (score.full_value - empty_value),
        )
        if reason is not None:
            return
        for path in paths:
            path.halve_steps()
        n_gradients = 2 * n_gradients - 1


class _Path:
    """The integral from one baseline.

    Attributes:
        empty_value: The explained number at the baseline.
        voxel_map: float64 (k, j, i) of the reach.
    """

    def __init__(self, score: StitchedScore, start: torch.Tensor, full_gradient: torch.Tensor, *, n_steps: int) -> None:
        self._score = score
        self._start = start
        self._difference = score.image - start
        self.empty_value = score.value(start)
        self._values = {0.0: self.empty_value, 1.0: score.full_value}
        self._ends = self._cuts(n_steps)
        lengths = np.diff(self._ends)
        self.voxel_map = self._share(full_gradient) * (lengths[-1] / 2)
        for place, weight in zip(self._ends, (lengths + np.concatenate([[0.0], lengths[:-1]])) / 2, strict=False):
            self._add(place, weight)

    def halve_steps(self) -> None:
        """Takes the gradient in the middle of every step."""
        self.voxel_map *= 0.5
        lengths = np.diff(self._ends)
        middles = [end + length / 2 for end, length in zip(self._ends, lengths, strict=False)]
        for middle, length in zip(middles, lengths, strict=True):
            self._add(middle, length / 2)
        self._ends = sorted([*self._ends, *middles])

    @property
    def gap(self) -> float:
        """How far the map is from adding up, over the range of the number along the path; 0 where that is constant."""
        gap = abs(float(self.voxel_map.sum()) - (self._score.full_value - self.empty_value))
        spread = max(self._values.values()) - min(self._values.values())
        return gap / spread if spread > 0.0 else (math.inf if gap > 0.0 else 0.0)

    def _cuts(self, n_steps: int) -> list[float]:
        """Ends of steps from 0 to 1: the one that is longest, in length and change of the number, is halved next."""
        values, ends = self._values, [0.0, 1.0]
        while len(ends) <= n_steps:
            spread = (max(values.values()) - min(values.values())) or 1.0
            sizes = [c - a + abs(values[c] - values[a]) / spread for a, c in pairwise(ends)]
            longest = int(np.argmax(sizes))
            middle = (ends[longest] + ends[longest + 1]) / 2
            values[middle] = self._score.value(self._start + middle * self._difference)
            ends.insert(longest + 1, middle)
        return ends

    def _add(self, place: float, weight: float) -> None:
        self._values[place], gradient = self._score.gradient(self._start + place * self._difference)
        self.voxel_map += weight * self._share(gradient)

    def _share(self, gradient: torch.Tensor) -> torch.Tensor:
        return (self._difference * gradient).sum(0, dtype=torch.float64)
