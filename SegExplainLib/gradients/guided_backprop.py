"""Guided backpropagation through every kind of rectifier, wherever it stands in the network.

Works on the graph and not on modules: hooks on ``torch.nn.ReLU`` modules, as in captum and MONAI, miss LeakyReLU (all
of nnU-Net), functional calls and modules that are used twice, and then give the plain gradient without a word.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import UnusableModel
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.gradients.tile_graph import out_of_place, refused_clearly
from SegExplainLib.gradients.voxel_estimate import VoxelEstimate, exact_estimate
from SegExplainLib.players.partition import PlayerPartition

GradientHook = Callable[[tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]

RECTIFIERS = (
    "Relu",
    "LeakyRelu",
    "RreluWithNoise",
    "PreluKernel",
    "Elu",
    "Celu",
    "Gelu",
    "Silu",
    "Mish",
    "Softplus",
    "Hardswish",
    "Hardtanh",  # ReLU6 is one; those that begin below 0 do not count
)
"""Activations that let positive values through and shut or damp negative ones, by their names in torch's graph."""
HIDING = ("CopySlices", "DifferentiableGraphBackward")
"""Parts of a graph that are closed: work in place on a view, and what torch compiled of a script."""
SAME_VALUE = 1e-2
SAVED = ("_saved_self", "_saved_result", "_saved_self_or_result")
"""Where torch keeps what went into an activation, or came out of it: the same sign."""


def guided_backprop(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]] = (),  # noqa: ARG001
    budget: int = 1,  # noqa: ARG001
    tolerance: float = 0.0,  # noqa: ARG001
    seed: int = 0,
) -> Iterator[VoxelEstimate]:
    """The gradient, of which only what is positive passes back through a rectifier, and only where its input was.

    Every activation of ``RECTIFIERS`` counts as a rectifier, in-place and functional ones too; for LeakyReLU this is
    the rule for ReLU. It sharpens edges, and depends on the image more than on the weights: a picture, no measure. One
    pass; baselines, budget and tolerance are not used.

    Raises:
        UnusableModel: the graph shows no rectifier, so that this would be the plain gradient, or may hide one.

    References:
        Springenberg et al. (2015), Striving for simplicity: the all convolutional net.
    """
    # In place after an instance norm, as in nnU-Net, an activation hides in torch's graph; so it does in a script.
    with out_of_place(score.network.network), torch.jit.optimized_execution(False):
        value, gradient = score.gradient(score.image, on_graph=guide)
    if not math.isclose(value, score.full_value, rel_tol=SAME_VALUE, abs_tol=1e-6):
        raise UnusableModel(
            "The network's output is another when its activations do not work in place.", "Use --method saliency."
        )
    yield exact_estimate(score, partition, gradient.sum(0), seed=seed)


def guide(logits: torch.Tensor) -> None:
    """Hooks every rectifier in the graph behind ``logits``; the hooks go with the graph.

    Raises:
        UnusableModel: there is none, or something else may hide one.
    """
    nodes = list(_nodes(logits))
    hiding = next((node.name() for node in nodes if node.name().endswith(HIDING)), None)
    if hiding is not None:
        raise UnusableModel(
            f"The network's graph holds {hiding}, in which an activation may hide that cannot be guided.",
            "Use --method saliency.",
        )
    rectifiers = [node for node in nodes if _is_rectifier(node)]
    with refused_clearly("the network"):
        for node in rectifiers:
            node.register_prehook(_only_for(next(getattr(node, name) for name in SAVED if hasattr(node, name))))
    if not rectifiers:
        raise UnusableModel(
            f"The network's graph shows none of the activations {', '.join(RECTIFIERS)}: guided backpropagation would "
            "be the plain gradient.",
            "Use --method saliency.",
        )


def _only_for(saved: torch.Tensor) -> GradientHook:
    """A hook that lets positive gradients pass where ``saved`` is positive; it serves once, and then lets go of it."""
    held = [saved.detach()]  # with its graph it would keep the graph alive for ever

    def hook(gradients: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        is_on = held.pop() > 0
        return tuple(gradient.clamp(min=0) * is_on for gradient in gradients)

    return hook


def _nodes(logits: torch.Tensor) -> Iterator[Any]:
    """Every node of the graph behind a tensor, once."""
    waiting: list[Any] = [logits.grad_fn]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield node
        new = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= new
        waiting += new


def _is_rectifier(node: Any) -> bool:
    kind = node.name().partition("Backward")[0]  # LeakyRelu of LeakyReluBackward1
    return kind in RECTIFIERS and getattr(node, "_saved_min_val", 0) == 0
