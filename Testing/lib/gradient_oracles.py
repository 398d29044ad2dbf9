"""Slow and literal: what gradients through the stitched prediction must equal, and how much memory work takes."""

import weakref
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import pad

from SegExplainLib.model.tiling import TileGrid


def naive_fused(tile_logits: Callable, grid: TileGrid, images: torch.Tensor) -> torch.Tensor:
    """(n_channels, k, j, i) of a whole image (1, channels, k, j, i), as one graph through every tile of it."""
    total = 0.0
    for tile in range(grid.n_tiles):
        where = grid.slices(tile)
        amounts = [n for axis, size in zip(where[::-1], grid.image_shape[::-1]) for n in (axis.start, size - axis.stop)]
        total = total + pad(tile_logits(images[:, :, *where])[0] * grid.weights, amounts)
    return total / grid.weight_sum


def naive_gradient(tile_logits: Callable, case, number_of: Callable, image: np.ndarray) -> tuple[float, torch.Tensor]:
    """The number of the fused logits of the region's box, and its gradient (channels, k, j, i), by one graph."""
    images = torch.from_numpy(image)[None].clone().requires_grad_()
    number = number_of(naive_fused(tile_logits, case.tiles, images)[:, *case.region.box])
    (gradient,) = torch.autograd.grad(number, images)
    return number.item(), gradient[0]


class LiveSavedTensors:
    """Inside its block, counts the bytes that graphs hold: each storage once.

    Attributes:
        peak_bytes: Most held at one time.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._held: dict[int, list[int]] = {}

    def __enter__(self):
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda packed: packed.tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        self._hooks.__exit__(*exception)

    def _pack(self, tensor: torch.Tensor):
        packed = _Packed(tensor)
        storage = tensor.untyped_storage()
        entry = self._held.setdefault(storage.data_ptr(), [0, storage.nbytes()])
        entry[0] += 1
        self.peak_bytes = max(self.peak_bytes, sum(n_bytes for _, n_bytes in self._held.values()))
        weakref.finalize(packed, self._release, storage.data_ptr())
        return packed

    def _release(self, address: int) -> None:
        self._held[address][0] -= 1
        if not self._held[address][0]:
            del self._held[address]


class _Packed:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def peak_allocated_bytes(work: Callable[[], object]) -> int:
    """Most bytes that torch's CPU allocator held for what ``work`` made, by the profiler's record of every call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(np.cumsum([event.nbytes() for event in events]).max())
