"""Gradients of the CT under noise: their mean, their mean square, their variance.

Noise is Gaussian on every voxel of the reach, as a share of the range of the network's input there. Each method is a
mean of independent terms, so that it streams: standard errors come with it, and it stops when they are small.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
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

    Raises:
        InvalidRequest: the noise is not a positive share.

    References:
        Smilkov et al. (2017), SmoothGrad: removing noise by adding noise.
    """
    maps = (gradient.sum(0) for gradient in _noisy_gradients(score, seed=seed, noise_share=noise_share))
    yield from streamed_mean(maps, score, partition, rule=StoppingRule(budget, tolerance), seed=seed)


def smoothgrad_squared(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]] = (),  # noqa: ARG001
    budget: int = 50,
    tolerance: float = 0.05,
    seed: int = 0,
    noise_share: float = NOISE_SHARE,
) -> Iterator[VoxelEstimate]:
    """The mean of the squared gradient under noise; never negative. Arguments and errors as for `smoothgrad`.

    References:
        Hooker et al. (2019), A benchmark for interpretability methods.
    """
    gradients = _noisy_gradients(score, seed=seed, noise_share=noise_share)
    maps = (gradient.square().sum(0) for gradient in gradients)
    yield from streamed_mean(maps, score, partition, rule=StoppingRule(budget, tolerance), seed=seed)


def vargrad(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]] = (),  # noqa: ARG001
    budget: int = 50,
    tolerance: float = 0.05,
    seed: int = 0,
    noise_share: float = NOISE_SHARE,
) -> Iterator[VoxelEstimate]:
    """The variance of the gradient under noise, with n - 1 in the denominator. Arguments and errors as `smoothgrad`.

    Raises:
        InvalidRequest: also when the budget is below 2.

    References:
        Adebayo et al. (2018), Local explanation methods for deep neural networks lack sensitivity to parameter values.
    """
    if budget < 2:
        raise InvalidRequest(f"A variance needs at least 2 gradients; the budget is {budget}.", "Raise --budget.")
    gradients = _noisy_gradients(score, seed=seed, noise_share=noise_share)
    estimates = streamed_mean(
        _variance_terms(gradients), score, partition, rule=StoppingRule(budget - 1, tolerance), seed=seed
    )
    for estimate in estimates:
        yield replace(estimate, n_gradients=estimate.n_gradients + 1)


def _variance_terms(gradients: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Terms whose mean is the sample variance: Helmert's residuals, squared.

    The s-th is the deviation from the mean of all before, shrunk to the variance of a single gradient. For normal
    gradients they are independent, so that the standard error of their mean is that of the variance.
    """
    mean = next(gradients).double()
    for s, gradient in enumerate(gradients, start=2):
        deviation = gradient - mean
        yield (deviation.square() * ((s - 1) / s)).sum(0)
        mean += deviation / s


def _noisy_gradients(score: StitchedScore, *, seed: int, noise_share: float) -> Iterator[torch.Tensor]:
    """Gradients (channels, k, j, i) under independent noise, without end.

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
        yield score.gradient(torch.normal(image, deviations, generator=generator))[1]
