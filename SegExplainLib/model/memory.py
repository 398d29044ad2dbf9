"""How much memory there is, asked before it is taken: a system that overcommits kills instead of refusing."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from SegExplainLib.contract import OutOfMemory


def available_bytes(device: torch.device) -> int:
    """Bytes that can still be taken on a device, the host's for the CPU."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return psutil.virtual_memory().available


def require_memory(n_bytes: int, device: torch.device, *, what: str, hint: str) -> None:
    """Checks that an array will fit.

    Raises:
        OutOfMemory: it will not; ``what`` is too large.
    """
    free = available_bytes(device)
    if n_bytes > free:
        raise OutOfMemory(f"{what} takes {n_bytes / 2**30:.1f} GiB; {device} has {free / 2**30:.1f} GiB free.", hint)


@contextmanager
def told_when_full(what: str, hint: str) -> Iterator[None]:
    """Turns an allocation that fails in the block into one clear error.

    Raises:
        OutOfMemory: an allocation failed.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise OutOfMemory(f"{what} does not fit into memory.", hint) from error
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """True for an allocation that failed, on an accelerator or on the host."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text
