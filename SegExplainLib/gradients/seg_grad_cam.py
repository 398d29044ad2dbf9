"""Seg-Grad-CAM: the features of one layer, weighted by what they do to the explained number, over the whole region.

Tile by tile it would be another map in every tile: its weights are means over the tile, its scale is the tile's own.
Here the gradient is that of the stitched number, a channel has one weight for all tiles, the maps of the tiles are
fused with the framework's weights, and only then cut at 0 and scaled.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from SegExplainLib.contract import InvalidRequest, UnusableModel, nearest_names
from SegExplainLib.gradients.backward import StitchedNetwork, TileJob
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.gradients.tile_graph import DIFFERENTIABLE_HINT, TileGraph, refused_clearly, require_finite
from SegExplainLib.gradients.voxel_estimate import VoxelEstimate, exact_estimate
from SegExplainLib.model.memory import require_memory
from SegExplainLib.players.partition import PlayerPartition

CANCELLED = 1e-4
"""A mean derivative below this share of the mean size is rounding."""


def seg_grad_cam(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]] = (),  # noqa: ARG001
    budget: int = 1,  # noqa: ARG001
    tolerance: float = 0.0,  # noqa: ARG001
    seed: int = 0,
    layer: str = "",
) -> Iterator[VoxelEstimate]:
    """Where the features of a layer speak for the explained number, from 0 to 1 at the largest place of the units.

    A channel's weight is the mean of the number's derivative by that channel's features over all tiles and flips; the
    features are added up with these weights in each tile, brought to voxels by trilinear interpolation, fused, cut at 0
    and scaled. Voxels of no unit, the air around the body, get 0; a unit gets its mean, for a scaled map has no sum.
    The folds of an ensemble have weights of their own. Nothing is run before the layer with a graph, so
    that this takes less than one gradient; baselines, budget and tolerance are not used.

    Args:
        score: The explained number.
        partition: The units.
        baselines: Not used.
        budget: Not used.
        tolerance: Not used.
        seed: Is told in the estimate; nothing is drawn.
        layer: Name of a module as in ``network.named_modules()``; empty takes the bottleneck (`bottleneck_of`). The
            estimate names it.

    Raises:
        InvalidRequest: there is no such layer, it gives no volume of features, or an instance norm follows it.
        UnusableModel: the layer does not run as a module of its own, or the number does not depend on it.
        OutOfMemory: its features of all tiles do not fit; a deeper layer has fewer.

    References:
        Vinogradova et al. (2020), Towards interpretable semantic segmentation via gradient-weighted class activation
        mapping; the sum over tiles and its normalisation are our own.
    """
    network = score.network
    layer = layer or bottleneck_of(network, score.image)
    features, weights = _features_and_weights(score, layer)
    maps = [
        torch.einsum("c,ckji->kji", weights[job.tile_pass.network], found.float())
        for job, found in zip(network.jobs, features, strict=True)
    ]
    cam = _fused(network, maps).clamp(min=0)
    cam[torch.from_numpy(partition.labels[network.reach] == 0)] = 0.0
    largest = float(cam.max())
    estimate = exact_estimate(score, partition, cam / largest if largest > 0 else cam, seed=seed, layer=layer)
    yield replace(estimate, values=partition.averaged(estimate.voxel_map))


def _features_and_weights(
    score: StitchedScore, layer: str
) -> tuple[list[torch.Tensor], dict[torch.nn.Module, torch.Tensor]]:
    """Features (n_features, k, j, i) of each of the network's jobs, and the weights (n_features,) of each fold."""
    network, cotangent = score.network, score.full_cotangent()
    features: list[torch.Tensor] = []
    weights: dict[torch.nn.Module, torch.Tensor] = {}
    largest_mean = 0.0
    for job in network.jobs:
        found, gradient = _features_and_gradient(network, job, score.image, cotangent, layer)
        if not features:
            n_bytes = found.nbytes * len(network.jobs)
            hint = "Choose a deeper --layer, whose features are coarser."
            require_memory(n_bytes, torch.device("cpu"), what=f"The features of {layer}", hint=hint)
        features.append(found.cpu())
        mean = gradient.mean(dim=(1, 2, 3)).cpu()
        weights[job.tile_pass.network] = weights.get(job.tile_pass.network, 0.0) + mean
        largest_mean = max(largest_mean, float(gradient.abs().mean(dim=(1, 2, 3)).max()))
    if max(float(weight.abs().max()) for weight in weights.values()) <= CANCELLED * largest_mean:
        raise InvalidRequest(
            f"The layer {layer} cannot be weighted: the derivatives by its features have mean 0, as they do where an "
            "instance norm follows and takes the features' own mean away.",
            "Choose the norm or the activation after it.",
        )
    return features, weights


def bottleneck_of(network: StitchedNetwork, image: torch.Tensor) -> str:
    """Name of the last layer to finish among those with the coarsest volume of features, found by running one tile.

    Volumes of a single voxel, as in squeeze-and-excitation, do not count.

    Raises:
        UnusableModel: the network runs no layer of its own that gives such a volume.
        OutOfMemory: the tile does not fit.
    """
    job, handles = network.jobs[0], []
    finished: list[tuple[str, int]] = []
    for name, module in job.tile_pass.network.named_modules():
        if name and not isinstance(module, torch.jit.ScriptModule):
            handles.append(module.register_forward_hook(_noting(name, finished)))
    try:
        with torch.no_grad(), refused_clearly(job.name), network.precision():
            job.tile_pass(network.tile_of(job, image).clone()[None])
    finally:
        for handle in handles:
            handle.remove()
    if not finished:
        raise UnusableModel("The network runs no layer whose features could be looked at.", DIFFERENTIABLE_HINT)
    coarsest = min(n_voxels for _, n_voxels in finished)
    return [name for name, n_voxels in finished if n_voxels == coarsest][-1]


def _noting(name: str, finished: list[tuple[str, int]]) -> Callable[..., None]:
    def hook(_module: torch.nn.Module, _inputs: object, output: object) -> None:
        if torch.is_tensor(output) and output.ndim == 5 and output[0, 0].numel() > 1:
            finished.append((name, output[0, 0].numel()))

    return hook


def _features_and_gradient(
    network: StitchedNetwork, job: TileJob, image: torch.Tensor, cotangent: torch.Tensor, layer: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(n_features, k, j, i) of one pass at the layer's own resolution, flips undone in neither; and the derivative."""
    module = _layer_named(job.tile_pass.network, layer)
    with (
        _as_leaf(module, layer) as leaves,
        torch.inference_mode(False),
        torch.enable_grad(),
        refused_clearly(job.name),
        network.precision(),
    ):
        logits = job.tile_pass(network.tile_of(job, image).clone()[None])[0][:, *job.in_tile]
    if len(leaves) != 1:
        raise UnusableModel(
            f"The layer {layer} runs {len(leaves)} times as a module of its own; expected once.",
            "Choose another --layer.",
        )
    if not logits.requires_grad:
        raise UnusableModel(f"The logits do not depend on the layer {layer}.", "Choose another --layer.")
    gradient = TileGraph(job.name, leaves[0], logits).gradient(cotangent[:, *job.in_box] * job.share)
    require_finite(gradient, f"The gradient of {job.name}")
    network.count(forward=1, backward=1)
    return leaves[0].detach()[0], gradient


@contextmanager
def _as_leaf(module: torch.nn.Module, layer: str) -> Iterator[list[torch.Tensor]]:
    """Inside the block the graph begins at the layer's output, which is put into the list."""
    leaves: list[torch.Tensor] = []

    def hook(_module: torch.nn.Module, _inputs: object, output: object) -> torch.Tensor:
        if not torch.is_tensor(output) or output.ndim != 5:
            found = f"a tensor of shape {tuple(output.shape)}" if torch.is_tensor(output) else type(output).__name__
            raise InvalidRequest(
                f"The layer {layer} gives {found}; expected a volume of features (batch, features, k, j, i).",
                "Choose a convolution, or a block of them.",
            )
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()  # what follows may work in place

    handle = module.register_forward_hook(hook)
    try:
        yield leaves
    finally:
        handle.remove()


def _layer_named(network: torch.nn.Module, layer: str) -> torch.nn.Module:
    modules = dict(network.named_modules(remove_duplicate=False))
    if not layer or layer not in modules:
        names = [name for name, _ in network.named_modules() if name]
        raise InvalidRequest(f"The network has no layer {layer!r}.", nearest_names(layer, names))
    return modules[layer]


def _fused(network: StitchedNetwork, maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """float32 (k, j, i) of the reach: the weighted mean of the maps of all passes over all tiles."""
    total, weight = torch.zeros(network.reach_shape), torch.zeros(network.reach_shape)
    tile_shape = tuple(network.tile_weights.shape)
    for job, coarse in zip(network.jobs, maps, strict=True):
        turned = coarse.flip([axis - 2 for axis in job.tile_pass.flipped_axes])
        fine = interpolate(turned[None, None], size=tile_shape, mode="trilinear", align_corners=False)[0, 0]
        total[job.where] += fine * network.tile_weights
        weight[job.where] += network.tile_weights
    return total / weight.clamp(min=torch.finfo(torch.float32).tiny)
