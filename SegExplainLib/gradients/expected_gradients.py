"""Expected gradients: at random points of straight paths from random baselines."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.gradients.memory import Memory, n_remembered
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.gradients.voxel_estimate import VoxelEstimate, require_baselines, streamed_mean
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.shapley.stopping import StoppingRule


def expected_gradients(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]],
    budget: int = 200,
    tolerance: float = 0.05,
    seed: int = 0,
    memory: Memory | None = None,
) -> Iterator[VoxelEstimate]:
    """The mean of (CT - baseline) times the gradient at a uniformly random point between them, over random baselines.

    In expectation the map adds up to the explained number of the CT minus its mean over the baselines; the estimate
    tells how far it is from that. With one baseline its expectation is integrated gradients.

    Args:
        score: The explained number.
        partition: The units, whose standard errors decide when to stop.
        baselines: Network inputs, each float32 (channels, k, j, i); each is drawn with equal probability.
        budget: Most gradients.
        tolerance: Stop at this largest standard error over the range of the values; 0 spends the budget.
        seed: Of the draws.
        memory: Of an interrupted run with the same arguments, to go on from; keeps the sums of this one.

    Raises:
        InvalidRequest: there is no baseline.

    References:
        Erion et al. (2021), Improving performance of deep learning models with axiomatic attribution priors.
    """
    require_baselines(baselines, "expected-gradients")
    starts = [score.cut(baseline) for baseline in baselines]
    # Every baseline's own value, rather than that of those drawn: what the expectation adds up to.
    empty_value = float(np.mean([score.value(start) for start in starts]))
    memory = {} if memory is None else memory
    maps = _maps(score, starts, seed=seed, n_known=n_remembered(memory))
    rule = StoppingRule(budget, tolerance)
    yield from streamed_mean(maps, score, partition, rule=rule, seed=seed, memory=memory, empty_value=empty_value)


def _maps(score: StitchedScore, starts: list[torch.Tensor], *, seed: int, n_known: int) -> Iterator[torch.Tensor]:
    """Maps (k, j, i), without end, after the first ``n_known``."""
    for start, share in islice(_draws(starts, seed=seed), n_known, None):
        difference = score.image - start
        _, gradient = score.gradient(start + share * difference)
        yield (difference * gradient).sum(0)


def _draws(starts: list[torch.Tensor], *, seed: int) -> Iterator[tuple[torch.Tensor, float]]:
    """A start and how far from it towards the CT, without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield starts[rng.integers(len(starts))], float(rng.random())
