"""What the rest of the library asks of a segmentation network, whatever framework it comes from."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest, nearest_names
from SegExplainLib.model.tiling import TileGrid
from SegExplainLib.volume import Volume, VoxelGrid


@dataclass(frozen=True)
class SegmentClass:
    """A class that the network can label.

    Attributes:
        name: As the model's own description spells it.
        channel: Its channel in the network's output.
        label: Its value in the label map that the framework writes.
    """

    name: str
    channel: int
    label: int


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """A CT as the network sees it: preprocessed, and padded to at least one tile.

    Attributes:
        array: float32 (channels, k, j, i).
        grid: Places the array (k, j, i) in the patient; its axes may be permuted or flipped against the CT's.
        is_padding: bool (k, j, i) or None: voxels added only to reach the size of a tile.
        framework_state: What the framework needs to bring logits back to the CT's grid; opaque to all others.
    """

    array: NDArray[np.float32]
    grid: VoxelGrid
    is_padding: NDArray[np.bool_] | None = None
    framework_state: Any = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class TilePass:
    """One run of a network on a tile: flipped, labelled, flipped back.

    Attributes:
        network: In eval mode; gives logits of a batch of tiles.
        flipped_axes: Which axes of (batch, channels, k, j, i) are flipped.
    """

    network: torch.nn.Module
    flipped_axes: tuple[int, ...] = ()

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        """(batch, n_channels, k, j, i) of tiles (batch, channels, k, j, i)."""
        axes = self.flipped_axes
        return self.network(tiles.flip(axes)).flip(axes) if axes else self.network(tiles)


class Segmenter(Protocol):
    """A trained sliding-window segmentation network that gives the same prediction as its own framework.

    Attributes:
        name: For people: folder or bundle name.
        classes: Foreground classes that can be explained.
        n_channels: Channels of the logits, background included where it has one.
        is_exclusive: True when a voxel gets the class of the largest logit (softmax); False when every channel is
            decided by itself at sigmoid > 0.5.
        device: Where the network lives.
        network: The module(s) with all weights, in eval mode: logits of a batch of tiles without mirroring.
        passes: The logits of a tile are the mean over these, one for each fold and flip. Differentiable.
    """

    name: str
    classes: tuple[SegmentClass, ...]
    n_channels: int
    is_exclusive: bool
    device: torch.device
    network: torch.nn.Module
    passes: tuple[TilePass, ...]

    def precision(self) -> AbstractContextManager:
        """The precision in which the framework itself runs ``passes``, as a context."""
        ...

    def prepared(self, ct: Volume) -> NetworkInput:
        """The CT after the framework's own preprocessing."""
        ...

    def tile_grid(self, image_shape: tuple[int, int, int]) -> TileGrid:
        """The framework's own tiles and fusion weights for a network input of this shape (k, j, i)."""
        ...

    def tile_logits(self, tiles: torch.Tensor) -> torch.Tensor:
        """float (batch, n_channels, k, j, i) of a batch (batch, channels, k, j, i), flips and folds averaged.

        No gradient. float32, or float16 where the framework itself runs in half precision (CUDA). A batch gives what
        its tiles would give one at a time.
        """
        ...

    def input_value(self, hu: float, prepared: NetworkInput) -> NDArray[np.float32]:
        """(channels,) what a voxel of ``hu`` becomes after the intensity normalisation of this case."""
        ...

    def mean_value(self, prepared: NetworkInput) -> NDArray[np.float32]:
        """(channels,) the normalised value that stands for the mean intensity: 0 under CT or z-score normalisation."""
        ...

    def native_labels(self, logits: torch.Tensor, prepared: NetworkInput) -> Volume:
        """The framework's own label map on the CT's grid from fused logits (n_channels, k, j, i)."""
        ...


def class_named(segmenter: Segmenter, name: str) -> SegmentClass:
    """The class of that name.

    Raises:
        InvalidRequest: the model has no such class; near names are offered.
    """
    for entry in segmenter.classes:
        if entry.name == name:
            return entry
    names = [entry.name for entry in segmenter.classes]
    raise InvalidRequest(f"The model {segmenter.name} has no class {name!r}.", nearest_names(name, names))
