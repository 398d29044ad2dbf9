"""The plain gradient, and the plain gradient times the input: captum's, on the stitched network."""

import importlib
from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import MissingPackages
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.gradients.voxel_estimate import VoxelEstimate, exact_estimate
from SegExplainLib.players.partition import PlayerPartition


def saliency(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]] = (),  # noqa: ARG001
    budget: int = 1,  # noqa: ARG001
    tolerance: float = 0.0,  # noqa: ARG001
    seed: int = 0,
) -> Iterator[VoxelEstimate]:
    """How much the explained number would move with each voxel's intensity, whatever the direction: |gradient|.

    In the number's unit for one unit of normalised intensity. One gradient; baselines, budget and tolerance are not
    used.

    References:
        Simonyan et al. (2013), Deep inside convolutional networks.
    """
    images = score.image[None].clone().requires_grad_()
    absolute = _captum("saliency").Saliency(score).attribute(images, abs=True)[0].detach()
    yield exact_estimate(score, partition, absolute.sum(0), seed=seed)


def input_x_gradient(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]] = (),  # noqa: ARG001
    budget: int = 1,  # noqa: ARG001
    tolerance: float = 0.0,  # noqa: ARG001
    seed: int = 0,
) -> Iterator[VoxelEstimate]:
    """Each voxel's normalised intensity times its gradient: its share, if the number were linear and 0 meant absent.

    What 0 means is the normalisation's choice: the training's mean for nnU-Net on CT, the lower end of the window for
    many bundles. One gradient; baselines, budget and tolerance are not used.

    References:
        Shrikumar et al. (2016), Not just a black box.
    """
    images = score.image[None].clone().requires_grad_()
    shares = _captum("input-x-gradient").InputXGradient(score).attribute(images)[0].detach()
    yield exact_estimate(score, partition, shares.sum(0), seed=seed)


def _captum(method: str) -> ModuleType:
    """captum.attr, imported here so that every other method works without it.

    Raises:
        MissingPackages: it cannot be imported.
    """
    try:
        return importlib.import_module("captum.attr")
    except ImportError as error:
        raise MissingPackages(
            f"The method {method} needs the package captum, which cannot be imported ({error}).",
            "Install it (pip install captum), or use another --method.",
            packages=("captum",),
        ) from error
