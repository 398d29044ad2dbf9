"""What a gradient method answers, and when one that samples stops."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.gradients.memory import Memory, n_remembered, remember
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.shapley.stopping import StoppingRule, checkpoints

FIRST_LOOK = 4
"""Samples before the first interim estimate."""


@dataclass(frozen=True, eq=False)
class VoxelEstimate:
    """A voxel map and its sums over the units, with their uncertainty and what they cost.

    Attributes:
        voxel_map: float32 (k, j, i) on the network's grid, summed over its input channels; 0 outside the reach.
        values: float64 (n_players,), the sum of the map over each unit; its mean for maps that are scaled or ranked.
        standard_errors: float64 (n_players,): 0 where nothing is sampled, inf where the sample is too small to tell,
            nan for methods that tell none.
        empty_value: The explained number at the baseline, the mean over several; nan for methods without one.
        full_value: The explained number of the CT as it is.
        completeness_gap: Sum of the map minus ``full_value - empty_value``; nan for methods that do not promise 0.
        n_gradients: Gradients of the explained number that were taken.
        seed: Of the sampling.
        stop_reason: "exact", "tolerance" or "budget"; None while the work goes on.
        degrees_of_freedom: Behind ``standard_errors``.
        layer: Name of the layer for methods that look at one, else empty.
    """

    voxel_map: NDArray[np.float32]
    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    full_value: float
    n_gradients: int
    seed: int
    stop_reason: str | None
    empty_value: float = math.nan
    completeness_gap: float = math.nan
    degrees_of_freedom: float = math.inf
    layer: str = ""

    @property
    def n_evaluations(self) -> int:
        """Gradients that were taken: what a gradient method's budget counts."""
        return self.n_gradients

    def forecast_evaluations(self, tolerance: float) -> float:
        """Gradients after which ``relative_error`` should be ``tolerance``, as `ShapleyEstimate` tells it."""
        if tolerance <= 0.0 or not math.isfinite(self.relative_error):
            return math.inf
        return float(math.ceil(self.n_gradients * (self.relative_error / tolerance) ** 2))

    @property
    def relative_error(self) -> float:
        """Largest standard error over the spread of the values: what the stopping rule looks at; nan where none is."""
        return _relative_error(self.values, self.standard_errors)


def exact_estimate(
    score: StitchedScore,
    partition: PlayerPartition,
    voxel_map: torch.Tensor,
    *,
    seed: int,
    n_gradients: int = 1,
    layer: str = "",
) -> VoxelEstimate:
    """The answer of a method that samples nothing, from a map (k, j, i) of the reach."""
    on_grid = score.on_grid(voxel_map)
    values = partition.pooled(on_grid)
    return VoxelEstimate(
        on_grid, values, np.zeros(len(values)), score.full_value, n_gradients, seed, stop_reason="exact", layer=layer
    )


def streamed_mean(
    maps: Iterator[torch.Tensor],
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    rule: StoppingRule,
    seed: int,
    memory: Memory,
    carried: Memory | None = None,
    empty_value: float = math.nan,
) -> Iterator[VoxelEstimate]:
    """Estimates of the mean of independent maps, until the standard errors of the units are small enough.

    Standard errors are those of the mean over the maps drawn, for each unit; the rule stops on the largest of them
    over the spread of the values, as the Shapley estimators do.

    Args:
        maps: As many as are needed, (k, j, i) of the reach, each by one gradient; the first is the one that follows
            those in the memory.
        score: Puts maps on the network's grid.
        partition: The units.
        rule: Budget, in maps, and tolerance. Where the memory holds more maps, all of them count.
        seed: Of the sampling.
        memory: Sums over the maps so far; ``mean``, float64 (k, j, i) of the reach, and ``pooled``, float64
            (n_maps, n_players), are put in.
        carried: What else the maker of ``maps`` needs to go on after the map that it has just made: is remembered
            with that.
        empty_value: The explained number that counts as nothing; nan for methods that do not add up.
    """
    labels = torch.from_numpy(partition.labels[score.network.reach].astype(np.int64).ravel())
    looks = set(checkpoints(min(FIRST_LOOK, rule.budget), rule.budget))
    pooled, mean = memory.get("pooled", np.zeros((0, partition.n_players))), memory.get("mean", np.zeros(()))
    while True:
        n = len(pooled)
        if n in looks or n > rule.budget:
            estimate = _mean_estimate(score, pooled, mean, memory, rule=rule, seed=seed, empty_value=empty_value)
            yield estimate
            if estimate.stop_reason is not None:
                return
        voxel_map = next(maps).double()
        sums = torch.bincount(labels, weights=voxel_map.ravel(), minlength=partition.n_players + 1)[1:]
        pooled, mean = np.vstack([pooled, sums.numpy()]), mean + (voxel_map.numpy() - mean) / (n + 1)
        remember(memory, {"pooled": pooled, "mean": mean} | (carried or {}))


def _mean_estimate(
    score: StitchedScore,
    pooled: NDArray[np.float64],
    mean: NDArray[np.float64],
    memory: Memory,
    *,
    rule: StoppingRule,
    seed: int,
    empty_value: float,
) -> VoxelEstimate:
    """The estimate from the sums so far."""
    values, errors = _mean_and_error(pooled)
    n = len(pooled)
    return VoxelEstimate(
        score.on_grid(torch.from_numpy(mean.astype(np.float32))),
        values,
        errors,
        score.full_value,
        n_gradients=n_remembered(memory),
        seed=seed,
        stop_reason=rule.reason(_relative_error(values, errors), n - 1, is_last=n >= rule.budget),
        empty_value=empty_value,
        completeness_gap=float(mean.sum()) - (score.full_value - empty_value),
        degrees_of_freedom=float(n - 1),
    )


def require_baselines(baselines: object, method: str) -> None:
    """Raises:
    InvalidRequest: there is none.
    """
    if not baselines:
        raise InvalidRequest(f"{method} needs at least one baseline.", "Choose one with --removal.")


def _mean_and_error(pooled: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n = len(pooled)
    if n < 2:
        return pooled.mean(axis=0), np.full(pooled.shape[1], math.inf)
    return pooled.mean(axis=0), pooled.std(axis=0, ddof=1) / math.sqrt(n)


def _relative_error(values: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    largest, spread = float(errors.max()), float(np.ptp(values))
    if largest == 0.0 or math.isnan(largest):
        return largest
    return largest / spread if spread != 0.0 else math.inf
