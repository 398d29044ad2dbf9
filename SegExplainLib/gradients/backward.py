"""The whole sliding window as one differentiable network, at the memory of one tile.

The fused logits are a sum over tiles, so their vector-Jacobian product is one too: each tile is run again with its
graph, is handed the incoming gradient times its fusion weights, and its graph is dropped before the next tile comes.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from SegExplainLib.contract import InvalidRequest, OutOfMemory, UnusableModel
from SegExplainLib.gradients.tile_graph import (
    DIFFERENTIABLE_HINT,
    GraphBytes,
    OverwrittenValues,
    Slices,
    TileGraph,
    out_of_place,
    refused_clearly,
    require_finite,
    require_no_inference_tensors,
)
from SegExplainLib.model.segmenter import Segmenter, TilePass
from SegExplainLib.model.stitching import RegionTiles

OnGraph = Callable[[torch.Tensor], None]


@dataclass(frozen=True, eq=False)
class TileJob:
    """One pass over one tile.

    Attributes:
        name: Of the tile, for errors.
        tile_pass: The network and its flip.
        where: Of the tile in the reach.
        in_tile: The part of the tile that lies in the region's bounding box.
        in_box: Where that part lies in the box.
        share: float32, the weights of the part in the fused logits, divided by the number of passes.
    """

    name: str
    tile_pass: TilePass
    where: Slices
    in_tile: Slices
    in_box: Slices
    share: torch.Tensor


class StitchedNetwork(torch.nn.Module):
    """From the network's normalised input to the fused logits of a region, and back.

    Only tiles that meet the region are run. Logits are the mean over the segmenter's flips and folds, fused in float32
    with the framework's weights. The gradient is exact: it is that of the stitched prediction, to rounding.

    A backward pass runs every tile once forward and once backward on top of the forward pass, and holds one graph at a
    time. There is no second derivative.

    Args:
        segmenter: The network.
        region: The tiles that meet the region of interest.
        is_float32: Run in float32 where the framework would run in mixed precision (CUDA). Gradients that overflow in
            mixed precision are taken again in float32 in any case.
        kept_graphs: How many graphs of a tile's pass `differentiated` may hold at once. Each one that it holds saves a
            forward run; 1 is free.
        on_tile: Is called after each run of a tile: to tell progress, or to raise ``Cancelled``.

    Attributes:
        reach: Bounding box (k, j, i) of all tiles that are run, in the network's input.
        box: Bounding box (k, j, i) of the region, in the network's input.
        jobs: Every pass over every tile that meets the region.
        tile_weights: float32 (k, j, i) of a tile, the framework's fusion weights.
        n_forward: Passes over a tile that were run forward so far.
        n_backward: Passes over a tile that were run backward so far.

    Raises:
        UnusableModel: a weight cannot take part in a graph.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        region: RegionTiles,
        *,
        is_float32: bool = False,
        kept_graphs: int = 1,
        on_tile: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        require_no_inference_tensors(segmenter.network)
        self.network = segmenter.network
        self.kept_graphs = kept_graphs
        self.on_tile = on_tile or (lambda: None)
        self.reach = _bounding(region)
        self.box = region.box
        self.n_forward = self.n_backward = 0
        self.device = segmenter.device
        self.image_shape = region.grid.image_shape
        self.tile_weights = region.grid.weights
        self.precision = _float32_on(segmenter.device) if is_float32 else segmenter.precision
        self._logits_shape = (segmenter.n_channels, *region.mask.shape)
        self.jobs = tuple(_jobs(segmenter, region, self.reach))
        self._is_out_of_place = False

    @property
    def reach_shape(self) -> tuple[int, int, int]:
        """(k, j, i) of the reach."""
        k, j, i = (axis.stop - axis.start for axis in self.reach)
        return k, j, i

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float32 (batch, n_channels, k, j, i) of the region's box; voxels of the box outside the region mean nothing.

        Inputs of a batch are handled one after the other, forward and backward.

        Args:
            images: float32 (batch, channels, k, j, i), network inputs, whole or cut to the reach.

        Raises:
            InvalidRequest: they have another shape.
            UnusableModel: the network cannot be differentiated, or gives what is not finite.
            OutOfMemory: one tile does not fit.
        """
        if tuple(images.shape[2:]) == self.image_shape:
            images = images[:, :, *self.reach]
        if tuple(images.shape[2:]) != self.reach_shape:
            raise InvalidRequest(
                f"An image of {tuple(images.shape[2:])} voxels was given; expected {self.image_shape}, or the reach "
                f"of the region, {self.reach_shape}."
            )
        return _Stitching.apply(images, self)

    @torch.no_grad()
    def fused(self, image: torch.Tensor) -> torch.Tensor:
        """float32 (n_channels, k, j, i) of the box, no graph, of an image (channels, k, j, i) of the reach."""
        fused = self._zero_logits()
        for job in self.jobs:
            self._add_streamed(fused, job, image)
        return fused

    def pulled_back(
        self, image: torch.Tensor, cotangent: torch.Tensor, *, on_graph: OnGraph | None = None
    ) -> tuple[float, torch.Tensor]:
        """Fused logits times ``cotangent``, and the derivative of that: every tile once forward and backward.

        Args:
            image: float32 (channels, k, j, i) of the reach.
            cotangent: float32 (n_channels, k, j, i) of the box.
            on_graph: Is given the logits of each pass before its graph is followed back.

        Returns:
            The product, summed; float32 (channels, k, j, i) of the reach, on the image's device.
        """
        product, gradient = 0.0, torch.zeros_like(image, dtype=torch.float32)
        for job in self.jobs:
            graph = self._graph(job, image)
            weighted = cotangent[:, *job.in_box] * job.share
            product += float((graph.logits.detach().float() * weighted).sum(dtype=torch.float64))
            self._add_gradient(gradient, job, image, graph, weighted, on_graph)
            del graph  # or it would live while the next one is made
        return product, gradient

    def differentiated(
        self,
        image: torch.Tensor,
        replace_by_derivative: Callable[[torch.Tensor], float],
        *,
        on_graph: OnGraph | None = None,
    ) -> tuple[float, torch.Tensor]:
        """A number that depends on all fused logits, and its derivative: every tile runs forward once more before.

        The last ``kept_graphs`` passes of the way forward keep their graphs for the way back; where these do not fit
        into memory after all, one from then on.

        Args:
            image: float32 (channels, k, j, i) of the reach.
            replace_by_derivative: Gives the number for fused logits, and overwrites them with its derivative.
            on_graph: As for `pulled_back`.
        """
        try:
            return self._differentiated(image, replace_by_derivative, on_graph)
        except OutOfMemory:
            if self.kept_graphs <= 1:
                raise
            self.kept_graphs = 1  # tried again below, where the error no longer holds on to the graphs
        return self._differentiated(image, replace_by_derivative, on_graph)

    def keep_graphs(self, image: torch.Tensor, *, most_bytes: int) -> None:
        """Lets `differentiated` hold as many graphs as fit into ``most_bytes``, one at least: one pass is measured."""
        with GraphBytes() as held:
            self._graph(self.jobs[0], image)
        self.kept_graphs = min(len(self.jobs), max(1, most_bytes // max(1, held.n_bytes)))

    def _differentiated(
        self, image: torch.Tensor, replace_by_derivative: Callable[[torch.Tensor], float], on_graph: OnGraph | None
    ) -> tuple[float, torch.Tensor]:
        n_streamed = max(0, len(self.jobs) - self.kept_graphs)
        fused, gradient = self._zero_logits(), torch.zeros_like(image, dtype=torch.float32)
        for job in self.jobs[:n_streamed]:
            self._add_streamed(fused, job, image)
        graphs = []
        for job in self.jobs[n_streamed:]:
            graphs.append(self._graph(job, image))
            _add(fused, job, graphs[-1].logits)
        number = replace_by_derivative(fused)
        for job in reversed(self.jobs):
            graph = graphs.pop() if graphs else self._graph(job, image)
            self._add_gradient(gradient, job, image, graph, fused[:, *job.in_box] * job.share, on_graph)
            del graph
        return number, gradient

    def tile_of(self, job: TileJob, image: torch.Tensor) -> torch.Tensor:
        """(channels, k, j, i) of a job's tile, on the network's device."""
        return image[:, *job.where].to(self.device)

    def _zero_logits(self) -> torch.Tensor:
        return torch.zeros(self._logits_shape, dtype=torch.float32, device=self.device)

    @torch.no_grad()
    def _add_streamed(self, fused: torch.Tensor, job: TileJob, image: torch.Tensor) -> None:
        with refused_clearly(job.name), self.precision():
            # A first layer that works in place would write to the image.
            logits = job.tile_pass(self.tile_of(job, image).clone()[None])[0][:, *job.in_tile]
        require_finite(logits, f"The network's output of {job.name}")
        _add(fused, job, logits)
        self.count(forward=1)

    def _graph(
        self, job: TileJob, image: torch.Tensor, precision: Callable[[], AbstractContextManager] | None = None
    ) -> TileGraph:
        with ExitStack() as stack:
            if self._is_out_of_place:
                stack.enter_context(out_of_place(job.tile_pass.network))
            graph = TileGraph.of(
                job.tile_pass,
                self.tile_of(job, image),
                part=job.in_tile,
                precision=precision or self.precision,
                name=job.name,
            )
        self.count(forward=1)
        return graph

    def _add_gradient(
        self,
        gradient: torch.Tensor,
        job: TileJob,
        image: torch.Tensor,
        graph: TileGraph,
        weighted: torch.Tensor,
        on_graph: OnGraph | None,
    ) -> None:
        def followed_back(graph: TileGraph) -> torch.Tensor:
            if on_graph is not None:
                on_graph(graph.logits)
            return graph.gradient(weighted)

        try:
            part = followed_back(graph)
        except OverwrittenValues as error:
            part = followed_back(self._graph_out_of_place(job, image, graph, error))
        if graph.logits.dtype != torch.float32 and not bool(torch.isfinite(part).all()):
            part = followed_back(self._graph(job, image, _float32_on(self.device)))
        require_finite(part, f"The gradient of {job.name}")
        gradient[:, *job.where] += part.to(gradient.device)
        self.count(backward=1)

    def _graph_out_of_place(
        self, job: TileJob, image: torch.Tensor, overwritten: TileGraph, error: OverwrittenValues
    ) -> TileGraph:
        """The same logits with a graph that can be followed, from now on for every tile."""
        self._is_out_of_place = True
        graph = self._graph(job, image)
        if not torch.equal(graph.logits, overwritten.logits):
            raise UnusableModel(
                f"{error.message} When it does not, its output is another.",
                DIFFERENTIABLE_HINT,
            ) from error
        return graph

    def count(self, *, forward: int = 0, backward: int = 0) -> None:
        """Counts passes that were run, and calls ``on_tile``."""
        self.n_forward += forward
        self.n_backward += backward
        self.on_tile()


class _Stitching(torch.autograd.Function):
    """Forward streams the tiles without a graph; backward makes each tile's graph again."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, network: StitchedNetwork) -> torch.Tensor:
        ctx.save_for_backward(images)
        ctx.network = network
        return torch.stack([network.fused(image) for image in images])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangents: torch.Tensor) -> tuple[torch.Tensor, None]:
        (images,) = ctx.saved_tensors
        pairs = zip(images, cotangents, strict=True)
        return torch.stack([ctx.network.pulled_back(image, cotangent)[1] for image, cotangent in pairs]), None


def _add(fused: torch.Tensor, job: TileJob, logits: torch.Tensor) -> None:
    fused[:, *job.in_box] += logits.detach().float() * job.share


def _bounding(region: RegionTiles) -> Slices:
    starts = region.grid.starts[region.numbers]
    low, high = starts.min(axis=0), starts.max(axis=0) + region.grid.tile_shape
    k, j, i = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return k, j, i


def _jobs(segmenter: Segmenter, region: RegionTiles, reach: Slices) -> Iterator[TileJob]:
    for order, number in enumerate(region.numbers):
        tile = region.grid.slices(int(number))
        k, j, i = (slice(t.start - r.start, t.stop - r.start) for t, r in zip(tile, reach, strict=True))
        corner = ", ".join(f"{axis} {t.start} to {t.stop - 1}" for axis, t in zip("kji", tile, strict=True))
        for tile_pass in segmenter.passes:
            yield TileJob(
                name=f"tile {order + 1} of {region.n_tiles} (voxels {corner})",
                tile_pass=tile_pass,
                where=(k, j, i),
                in_tile=region.in_tile[order],
                in_box=region.in_box[order],
                share=region.shares[order] / len(segmenter.passes),
            )


def _float32_on(device: torch.device) -> Callable[[], AbstractContextManager]:
    if device.type == "cpu":
        return nullcontext
    return lambda: torch.autocast(device.type, enabled=False)
