"""Gradients of the CT under noise: their mean, their mean square, their variance.

Noise is Gaussian on every voxel of the reach, as a share of the range of the network's input there. Each method is a
mean of independent terms, so that it streams: standard errors come with it, and it stops when they are small.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.gradients.memory import Memory, n_remembered, remember
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.gradients.voxel_estimate import VoxelEstimate, streamed_mean
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.shapley.stopping import StoppingRule

NOISE_SHARE = 0.1
"""Standard deviation of the noise over the range of intensities; the method's authors found 0.1 to 0.2 to serve."""


def smoothgrad(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]] = (),  # noqa: ARG001
    budget: int = 50,
    tolerance: float = 0.05,
    seed: int = 0,
    noise_share: float = NOISE_SHARE,
    memory: Memory | None = None,
) -> Iterator[VoxelEstimate]:
    """The mean gradient under noise, with its sign.

    Args:
        score: The explained number.
        partition: The units, whose standard errors decide when to stop.
        baselines: Not used.
        budget: Most gradients.
        tolerance: Stop at this largest standard error over the range of the values; 0 spends the budget.
        seed: Of the noise.
        noise_share: Standard deviation of the noise over the range of intensities.
        memory: Of an interrupted run with the same arguments, to go on from; keeps the sums of this one.

    Raises:
        InvalidRequest: the noise is not a positive share.

    References:
        Smilkov et al. (2017), SmoothGrad: removing noise by adding noise.
    """
    memory = {} if memory is None else memory
    gradients = _noisy_gradients(score, memory, seed=seed, noise_share=noise_share)
    maps = (gradient.sum(0) for gradient in gradients)
    yield from streamed_mean(maps, score, partition, rule=StoppingRule(budget, tolerance), seed=seed, memory=memory)


def smoothgrad_squared(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]] = (),  # noqa: ARG001
    budget: int = 50,
    tolerance: float = 0.05,
    seed: int = 0,
    noise_share: float = NOISE_SHARE,
    memory: Memory | None = None,
) -> Iterator[VoxelEstimate]:
    """The mean of the squared gradient under noise; never negative. Arguments and errors as for `smoothgrad`.

    References:
        Hooker et al. (2019), A benchmark for interpretability methods.
    """
    memory = {} if memory is None else memory
    gradients = _noisy_gradients(score, memory, seed=seed, noise_share=noise_share)
    maps = (gradient.square().sum(0) for gradient in gradients)
    yield from streamed_mean(maps, score, partition, rule=StoppingRule(budget, tolerance), seed=seed, memory=memory)


def vargrad(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]] = (),  # noqa: ARG001
    budget: int = 50,
    tolerance: float = 0.05,
    seed: int = 0,
    noise_share: float = NOISE_SHARE,
    memory: Memory | None = None,
) -> Iterator[VoxelEstimate]:
    """The variance of the gradient under noise, with n - 1 in the denominator. Arguments and errors as `smoothgrad`.

    Raises:
        InvalidRequest: also when the budget is below 2.

    References:
        Adebayo et al. (2018), Local explanation methods for deep neural networks lack sensitivity to parameter values.
    """
    if budget < 2:
        raise InvalidRequest(f"A variance needs at least 2 gradients; the budget is {budget}.", "Raise --budget.")
    memory, carried = {} if memory is None else memory, Memory()
    gradients = _noisy_gradients(score, memory, seed=seed, noise_share=noise_share)
    terms = _variance_terms(gradients, memory, carried)
    rule = StoppingRule(budget - 1, tolerance)
    yield from streamed_mean(terms, score, partition, rule=rule, seed=seed, memory=memory, carried=carried)


def _variance_terms(gradients: Iterator[torch.Tensor], memory: Memory, carried: Memory) -> Iterator[torch.Tensor]:
    """Terms whose mean is the sample variance: Helmert's residuals, squared.

    The s-th gradient gives its deviation from the mean of all before, shrunk to the variance of a single gradient. For
    normal gradients the terms are independent, so that the standard error of their mean is that of the variance. The
    mean of all gradients goes into ``carried``, to be remembered with the term.
    """
    if not n_remembered(memory):
        remember(memory, {"mean_gradient": next(gradients).double().numpy()})
    for gradient in gradients:
        s, mean = n_remembered(memory) + 1, torch.from_numpy(memory["mean_gradient"])
        deviation = gradient - mean
        carried["mean_gradient"] = (mean + deviation / s).numpy()
        yield (deviation.square() * ((s - 1) / s)).sum(0)


def _noisy_gradients(score: StitchedScore, memory: Memory, *, seed: int, noise_share: float) -> Iterator[torch.Tensor]:
    """Gradients (channels, k, j, i) under independent noise, without end, after those in the memory."""
    images = _noisy_images(score, seed=seed, noise_share=noise_share)
    return (score.gradient(image)[1] for image in islice(images, n_remembered(memory), None))


def _noisy_images(score: StitchedScore, *, seed: int, noise_share: float) -> Iterator[torch.Tensor]:
    """The CT (channels, k, j, i) under independent noise, without end.

    Raises:
        InvalidRequest: the noise is not a positive share.
    """
    if not 0.0 < noise_share < float("inf"):
        raise InvalidRequest(f"The noise is {noise_share} of the range of intensities; it must be above 0.")
    image = score.image
    spread = image.flatten(1).amax(1) - image.flatten(1).amin(1)
    deviations = (noise_share * spread)[:, None, None, None].expand_as(image)
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.normal(image, deviations, generator=generator)
