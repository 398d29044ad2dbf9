"""Open a file of network weights without running code from it, unless the user trusts its source."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from SegExplainLib.contract import UnusableModel

DOWNLOAD_AGAIN = "Copy or download it again, whole."


def opened_checkpoint(path: Path, *, trust: bool) -> Any:
    """What ``torch.save`` wrote to ``path``, on the CPU.

    Read with torch's restricted unpickler, which builds tensors and plain containers and calls nothing else. On top of
    its list stand numpy's scalars and their dtypes: nnU-Net keeps its training log in them, and they are data.

    Args:
        path: A checkpoint.
        trust: Let a file that asks for more than that have its way, which may run any code.

    Raises:
        UnusableModel: the file is missing, not whole, not a checkpoint, or needs trust.
    """
    _require_whole(path)
    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked_for = re.search(r"GLOBAL (\S+)", str(error))
        if asked_for is None:
            raise _broken(path, error) from error
        if not trust:
            raise UnusableModel(
                f"{path} holds more than numbers: opening it would run {asked_for[1]}, which can be any code.",
                "If you trust where it comes from, give --trust-model.",
            ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _broken(path, error) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # an unpickler that may call anything may raise anything
        raise _broken(path, error) from error


def state_dict_in(checkpoint: Any, *, keys: tuple[str, ...], path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a network by name: the checkpoint itself, or what it keeps under one of ``keys``.

    Raises:
        UnusableModel: there are none.
    """
    candidates = [checkpoint]
    if isinstance(checkpoint, Mapping):
        candidates += [checkpoint[key] for key in keys if key in checkpoint]
    for candidate in candidates:
        if isinstance(candidate, Mapping) and candidate and all(map(torch.is_tensor, candidate.values())):
            prefix = "module." if all(name.startswith("module.") for name in candidate) else ""
            return {name.removeprefix(prefix): tensor for name, tensor in candidate.items()}
    raise UnusableModel(
        f"{path} holds no network weights: expected tensors by name, alone or under {' or '.join(map(repr, keys))}.",
        "Save the network's state_dict().",
    )


def with_weights(
    network: torch.nn.Module, weights: Mapping[str, torch.Tensor], *, device: torch.device, path: Path
) -> torch.nn.Module:
    """``network`` with ``weights``, on ``device``, for prediction and for gradients by its input.

    Raises:
        UnusableModel: the weights belong to another architecture.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UnusableModel(
            f"The weights in {path} do not fit the architecture that the model describes ({reason}).",
            "Take the weights and the description from one training.",
        ) from error
    return network.to(device).eval().requires_grad_(False)


def _require_whole(path: Path) -> None:
    if not path.is_file():
        raise UnusableModel(f"There is no file {path}.", DOWNLOAD_AGAIN)
    with path.open("rb") as file:
        head = file.read(2)
    is_old_format = head[:1] == b"\x80"
    if zipfile.is_zipfile(path) or is_old_format:
        return
    if head == b"PK":
        raise UnusableModel(f"{path} is cut short ({path.stat().st_size} bytes): its end is missing.", DOWNLOAD_AGAIN)
    raise UnusableModel(f"{path} is not a PyTorch checkpoint.", DOWNLOAD_AGAIN)


def _broken(path: Path, error: Exception) -> UnusableModel:
    reason = (str(error) or type(error).__name__).splitlines()[0][:200]
    return UnusableModel(f"{path} is damaged and cannot be read ({reason}).", DOWNLOAD_AGAIN)


def _numpy_numbers() -> list[Any]:
    """What a pickled numpy scalar is made of, under the names of numpy 1 and numpy 2."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *dtypes]
