"""What this installation can and cannot do, checked by doing it."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from SegExplainLib.contract import SegExplainError
from SegExplainLib.versions import installed_versions

LEAST_FREE_GIB = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        state: ``ok``, ``note`` (works, but) or ``fault``.
        text: What was found, and what to do where something is wrong.
    """

    state: str
    text: str


def findings() -> Iterator[Finding]:
    """Checks one after the other, each told when it is done."""
    versions = installed_versions()
    yield Finding("ok", ", ".join(f"{name} {version}" for name, version in versions.items()))
    if "nnunetv2" not in versions:
        yield Finding("note", 'nnU-Net models need: pip install "segexplain[nnunet]"')
    yield _device()
    yield _disk()
    yield _demo_model()


def _device() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("note", f"No CUDA GPU: the network runs on {torch.get_num_threads()} CPU threads")
    properties = torch.cuda.get_device_properties(0)
    return Finding("ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")


def _disk() -> Finding:
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    state = "ok" if free_gib > LEAST_FREE_GIB else "fault"
    return Finding(state, f"{free_gib:.0f} GiB free in the current folder; results take some 50 MB")


def _demo_model() -> Finding:
    import torch

    from SegExplainLib.demo import demo_model_folder
    from SegExplainLib.model.loading import load_segmenter

    try:
        segmenter = load_segmenter(str(demo_model_folder()), device=torch.device("cpu"), trust=False)
        tile = torch.zeros(1, 1, *segmenter.tile_grid((64, 64, 64)).tile_shape)
        segmenter.tile_logits(tile)
        begin = time.perf_counter()
        segmenter.tile_logits(tile)
    except SegExplainError as error:
        return Finding("fault", f"The demo model does not run: {error}")
    return Finding("ok", f"The demo model labels a tile in {1000 * (time.perf_counter() - begin):.0f} ms on the CPU")
