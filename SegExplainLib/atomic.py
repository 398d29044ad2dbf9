"""Files that are either whole or not there."""

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from SegExplainLib.contract import OutOfDisk

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Codes of an ``OSError`` that mean so."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and is deleted when not.

    Raises:
        OutOfDisk: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, as writers choose the format by it.
    temporary = path.with_name(f".part-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise_if_disk_full(error, path.parent)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, *, last: str) -> Iterator[Path]:
    """A temporary folder inside ``folder`` whose files move up when the block ends well, ``last`` after all others.

    Raises:
        OutOfDisk: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".part-{uuid.uuid4().hex[:12]}"
    try:
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.iterdir(), key=lambda file: file.name == last):
            file.replace(folder / file.name)
    except OSError as error:
        raise_if_disk_full(error, folder)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def raise_if_disk_full(error: OSError, folder: Path) -> None:
    """Turns the system's "no space left" into an error that says where and what to do."""
    if error.errno in DISK_FULL:
        raise OutOfDisk(
            f"The disk that holds {folder} is full.", "Free some space, then go on with --resume."
        ) from error


def require_free_space(folder: Path, n_bytes: int) -> None:
    """Checks before long work that its results will fit.

    Raises:
        OutOfDisk: less than ``n_bytes`` are free.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < n_bytes:
        raise OutOfDisk(
            f"The results need about {n_bytes / 2**20:.0f} MiB; {existing} has {free / 2**20:.0f} MiB free.",
            "Free some space or give another --out folder.",
        )
