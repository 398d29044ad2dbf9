"""One pass over one tile with its graph, and the gradient that leads back; or a clear error why there is none."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch

from SegExplainLib.contract import OutOfMemory, UnusableModel
from SegExplainLib.model.memory import is_out_of_memory
from SegExplainLib.model.segmenter import TilePass

Slices = tuple[slice, slice, slice]

DIFFERENTIABLE_HINT = (
    "Gradient methods need the network as trained, in floating point. Use --method adjusted-shap, which needs none."
)
MEMORY_HINT = "Close other programs that use the memory, or run with --device cpu."


@dataclass(frozen=True, eq=False)
class TileGraph:
    """Logits of one pass over one tile, with the graph that leads back to the tile.

    Attributes:
        name: Of the tile, for errors.
        leaf: (1, channels, k, j, i), what the logits are differentiated by.
        logits: (n_channels, k, j, i) of the part of the tile that is needed.
    """

    name: str
    leaf: torch.Tensor
    logits: torch.Tensor

    @classmethod
    def of(
        cls,
        tile_pass: TilePass,
        tile: torch.Tensor,
        *,
        part: Slices,
        precision: Callable[[], AbstractContextManager],
        name: str,
    ) -> Self:
        """Runs the pass.

        Args:
            tile_pass: A network, and how the tile is flipped for it.
            tile: (channels, k, j, i) on the network's device.
            part: Where in the tile logits are needed.
            precision: Makes the context in which the network runs.
            name: Of the tile, for errors.

        Raises:
            UnusableModel: the output has no graph, or is not finite.
            OutOfMemory: the tile does not fit.
        """
        with torch.inference_mode(False), torch.enable_grad(), refused_clearly(name), precision():
            leaf = tile.detach().clone()[None].requires_grad_()
            # The network gets a copy: its first layer may overwrite what it is given.
            logits = tile_pass(leaf.clone())[0][:, *part]
        if not logits.requires_grad:
            raise UnusableModel(
                "The network's output has no derivative by its input: somewhere it leaves the graph (quantised, "
                "detached, run without gradients, or frozen for inference).",
                DIFFERENTIABLE_HINT,
            )
        require_finite(logits, f"The network's output of {name}")
        return cls(name, leaf, logits)

    def gradient(self, cotangent: torch.Tensor) -> torch.Tensor:
        """float32 (channels, k, j, i): the derivative by the tile of the sum of logits times ``cotangent``.

        The graph is spent. It may hold values that are not finite, where half precision is too narrow.

        Raises:
            UnusableModel: the graph cannot be followed back.
            OutOfMemory: it does not fit.
        """
        scale = _scale_for(cotangent) if self.logits.dtype in (torch.float16, torch.bfloat16) else 1.0
        with refused_clearly(self.name):
            (gradient,) = torch.autograd.grad(
                self.logits, self.leaf, (cotangent * scale).to(self.logits.dtype), allow_unused=True
            )
        if gradient is None:
            raise UnusableModel("The network's output does not depend on its input.", DIFFERENTIABLE_HINT)
        return gradient[0].float() / scale


class OverwrittenValues(UnusableModel):
    """A layer that works in place has overwritten what the gradient needs."""


@contextmanager
def refused_clearly(name: str) -> Iterator[None]:
    """Turns what torch says of a network that it cannot differentiate into one clear error."""
    try:
        yield
    except (RuntimeError, NotImplementedError, MemoryError) as error:
        if is_out_of_memory(error):
            raise OutOfMemory(f"The gradient of {name} does not fit into memory.", MEMORY_HINT) from error
        reason = " ".join(str(error).split())
        if "inplace operation" in reason or "in-place operation" in reason:
            raise OverwrittenValues(
                f"The network overwrites values that its gradient needs ({reason[:300]}).", DIFFERENTIABLE_HINT
            ) from error
        raise UnusableModel(f"The network cannot be differentiated ({reason[:300]}).", DIFFERENTIABLE_HINT) from error


def require_finite(values: torch.Tensor, what: str) -> None:
    """Raises:
    UnusableModel: ``what`` holds NaN or infinity.
    """
    if not bool(torch.isfinite(values).all()):
        raise UnusableModel(
            f"{what} is not finite (NaN or infinite).",
            "Check the CT and the checkpoint, or run with --device cpu, which computes in float32.",
        )


def require_no_inference_tensors(network: torch.nn.Module) -> None:
    """Raises:
    UnusableModel: a weight was made inside ``torch.inference_mode``: autograd would refuse it halfway.
    """
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_inference():
            raise UnusableModel(
                f"The weight {name} was made or moved inside torch.inference_mode and has no gradient graph.",
                "Load the network, and move it to its device, outside torch.inference_mode.",
            )


@contextmanager
def out_of_place(network: torch.nn.Module) -> Iterator[None]:
    """Inside the block no layer of ``network`` that has the choice overwrites its input."""
    changed: list[Any] = [module for module in network.modules() if _is_in_place(module)]
    try:
        for module in changed:
            module.inplace = False
        yield
    finally:
        for module in changed:
            module.inplace = True


def _is_in_place(module: torch.nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule) and getattr(module, "inplace", False) is True


def _scale_for(cotangent: torch.Tensor) -> float:
    """A power of two that brings the largest entry near 1, where half precision loses least."""
    largest = float(cotangent.abs().max())
    return 2.0 ** -round(math.log2(largest)) if 0.0 < largest < math.inf else 1.0


class GraphBytes:
    """Counts, inside its block, the bytes that graphs keep for the way back; no graph made in it can be followed.

    Attributes:
        n_bytes: Of all that is kept, each storage once, weights included.
    """

    def __init__(self) -> None:
        self.n_bytes = 0
        self._storages: set[int] = set()
        self._kept: list[torch.Tensor] = []

    def __enter__(self) -> Self:
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._counted, self._refused)
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, trace)
        self._kept.clear()

    def _counted(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._storages:
            self._storages.add(storage.data_ptr())
            self._kept.append(tensor.detach())  # or the next tensor could lie where this one did
            self.n_bytes += storage.nbytes()
        return 0

    @staticmethod
    def _refused(_packed: int) -> torch.Tensor:
        raise RuntimeError("a graph that was only measured cannot be followed back")
