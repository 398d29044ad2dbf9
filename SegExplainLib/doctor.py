"""What this installation can and cannot do, checked by doing it.

Works in a Python that lacks everything: only the standard library is imported before it has been found to be there.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from SegExplainLib.contract import SegExplainError
from SegExplainLib.requirements import EXPLAINING, Unmet, unmet_requirements
from SegExplainLib.versions import installed_versions

LEAST_FREE_GIB = 1.0
LEAST_MEMORY_GIB = 4.0

PARTIAL_HINT = (
    "Install it again. On Windows the usual reason is a path that is too long: install Slicer, or the Python, to a "
    r"short path such as C:\Slicer."
)


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        state: ``ok``, ``note`` (works, but) or ``fault``.
        text: What was found, and what to do where something is wrong.
    """

    state: str
    text: str


def findings(folder: Path | None = None) -> Iterator[Finding]:
    """Checks one after the other, each told when it is done.

    Args:
        folder: Where results will go; None takes the current folder.
    """
    yield Finding("ok", ", ".join(f"{name} {version}" for name, version in installed_versions().items()))
    unmet = unmet_requirements()
    for requirement in unmet:
        yield _package(requirement)
    lacking = {requirement.name for requirement in unmet if requirement.needed_for == EXPLAINING}
    if "torch" not in lacking:
        yield from _devices()
    if "psutil" not in lacking:
        yield _memory()
    yield _disk(folder or Path.cwd())
    if not lacking:
        yield _demo_model()


def missing_packages() -> list[str]:
    """Names of the packages that must be installed before anything can be explained; nothing is imported.

    What only an option needs is not among them: see `requirements.unmet_requirements`.
    """
    return [requirement.name for requirement in unmet_requirements() if requirement.needed_for == EXPLAINING]


def _package(unmet: Unmet) -> Finding:
    state = "fault" if unmet.needed_for == EXPLAINING else "note"
    purpose = f"needed for {unmet.needed_for}"
    if unmet.is_partial:
        return Finding("fault", f"The package {unmet.name} ({purpose}) is installed only in part. {PARTIAL_HINT}")
    if unmet.found:
        return Finding(state, f"The package {unmet.name} is of version {unmet.found}; {purpose} is {unmet.requirement}")
    return Finding(state, f'The package {unmet.name} ({purpose}) is not installed: pip install "{unmet.requirement}"')


def _devices() -> Iterator[Finding]:
    try:
        import torch

        version = torch.__version__
    except (ImportError, OSError, AttributeError) as error:
        yield Finding("fault", f"The package torch cannot be imported ({_line(error)}). {PARTIAL_HINT}")
        return
    if not torch.cuda.is_available():
        yield Finding("note", f"No CUDA GPU: torch {version} runs the network on {torch.get_num_threads()} CPU threads")
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        try:
            free, total = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
        except RuntimeError as error:
            yield Finding("fault", f"The GPU cuda:{number} cannot be used ({_line(error)})")
            continue
        yield _room(f"GPU cuda:{number}, {name}", free, total, hint="Close other programs that use the GPU.")


def _memory() -> Finding:
    try:
        import psutil

        memory = psutil.virtual_memory()
    except (ImportError, OSError, AttributeError) as error:
        return Finding("fault", f"The package psutil cannot be used ({_line(error)}). {PARTIAL_HINT}")
    return _room("Memory", memory.available, memory.total, hint="Close other programs, or explain a smaller region.")


def _room(what: str, free: int, total: int, *, hint: str) -> Finding:
    text = f"{what}: {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return Finding("ok", text) if free / 2**30 >= LEAST_MEMORY_GIB else Finding("note", f"{text}. {hint}")


def _disk(folder: Path) -> Finding:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        free_gib = shutil.disk_usage(existing).free / 2**30
    except OSError as error:
        return Finding("fault", f"The disk of {folder} cannot be read ({_line(error)}). Choose another folder.")
    text = f"Disk of {folder}: {free_gib:.1f} GiB free; results take some 50 MB"
    if free_gib >= LEAST_FREE_GIB:
        return Finding("ok", text)
    return Finding("fault", f"{text}. Free some space, or choose another folder.")


def _demo_model() -> Finding:
    try:
        import torch

        from SegExplainLib.demo import demo_model_folder
        from SegExplainLib.model.loading import load_segmenter

        segmenter = load_segmenter(str(demo_model_folder()), device=torch.device("cpu"), trust=False)
        tile = torch.zeros(1, 1, *segmenter.tile_grid((64, 64, 64)).tile_shape)
        segmenter.tile_logits(tile)
        begin = time.perf_counter()
        segmenter.tile_logits(tile)
    except (SegExplainError, ImportError, OSError, AttributeError, RuntimeError) as error:
        return Finding("fault", f"The demo model does not run: {_line(error)}")
    return Finding("ok", f"The demo model labels a tile in {1000 * (time.perf_counter() - begin):.0f} ms on the CPU")


def _line(error: Exception) -> str:
    """What an error says, in one line, with its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
