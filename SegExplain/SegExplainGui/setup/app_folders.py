"""What SegExplain keeps on this computer outside the scene, where, and how to get rid of it.

Everything lies in one folder of the user's: packages that only the worker sees, jobs, sample data. Results that the
user exported, models, and what pip put into Slicer's own Python are not in it, and nothing here touches them.
"""

import os
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from SegExplainLib.contract import OutOfDisk, SegExplainError

PACKAGES, JOBS, SAMPLES = "packages", "jobs", "samples"


@dataclass(frozen=True)
class CacheFolder:
    """A folder that SegExplain filled by itself and can fill again.

    Attributes:
        path: Where it is; need not exist.
        purpose: What is in it, in the user's words.
        n_bytes: What deleting it would free.
    """

    path: Path
    purpose: str
    n_bytes: int


def data_folder(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Folder of everything that SegExplain keeps for this user; need not exist yet."""
    home = Path.home()
    if platform == "win32":
        base = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "SegExplain"


def private_folder(data: Path | None = None) -> Path:
    """Folder of packages for a worker in Slicer's Python. Each Python version has its own: they hold compiled code."""
    return (data or data_folder()) / PACKAGES / f"python{sys.version_info.major}.{sys.version_info.minor}"


def new_job_folder(data: Path | None = None) -> Path:
    """A fresh, empty folder for one job. It will hold images of the patient, so only the user can read it.

    Raises:
        SegExplainError: it cannot be made.
    """
    jobs = (data or data_folder()) / JOBS
    try:
        jobs.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="job-", dir=jobs))
    except OSError as error:
        raise unwritable(jobs, error) from error


def samples_folder(data: Path | None = None) -> Path:
    """Folder of the sample data; need not exist yet."""
    return (data or data_folder()) / SAMPLES


def cache_folders(data: Path | None = None) -> list[CacheFolder]:
    """What `delete_downloads` deletes, with its size."""
    data = data or data_folder()
    purposes = {
        PACKAGES: _("Python packages that only SegExplain's worker uses"),
        JOBS: _("Copies of images, and interim results, of past explanations"),
        SAMPLES: _("Sample data"),
    }
    return [
        CacheFolder(data / name, purpose, sum(_size(path) for path, is_folder in _below(data / name) if not is_folder))
        for name, purpose in purposes.items()
    ]


def delete_downloads(data: Path | None = None, *, keep: Collection[Path] = ()) -> int:
    """Deletes what `cache_folders` lists but the folders in ``keep`` (jobs in use); returns the bytes that were freed.

    Follows no link: a link is deleted, what it points to is not.

    Raises:
        SegExplainError: something cannot be deleted; all else is.
    """
    kept = {Path(os.path.abspath(path)) for path in keep}
    freed, refused = 0, []
    for folder in cache_folders(data):
        for path, is_folder in _below(folder.path):
            if any(path == one or one in path.parents or path in one.parents for one in kept):
                continue
            n_bytes = 0 if is_folder else _size(path)
            try:
                _delete(path, is_folder=is_folder)
                freed += n_bytes
            except OSError as error:
                refused.append(f"{path} ({error.strerror})")
    if refused:
        raise SegExplainError(
            _("{n} files could not be deleted, the first is {first}.").format(n=len(refused), first=refused[0]),
            _("Close what uses them, or start Slicer again, and delete once more."),
        )
    return freed


def unwritable(folder: Path, error: OSError) -> SegExplainError:
    """The error to raise when ``folder`` cannot be made or written."""
    message = _("The folder {folder} cannot be written ({reason}).").format(
        folder=folder, reason=error.strerror or error
    )
    if error.errno in _NO_SPACE:
        return OutOfDisk(message, _("Free some disk space."))
    return SegExplainError(message, _("Give yourself the right to write there."))


_NO_SPACE = (28, 112, 122)  # ENOSPC, Windows' ERROR_DISK_FULL, EDQUOT


def _below(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Everything in ``folder`` and the folder itself, contents before their folder; bool: is a folder and no link."""
    folder = Path(os.path.abspath(folder))
    if not os.path.lexists(folder):
        return
    if _is_link(folder) or not folder.is_dir():
        yield folder, False
        return
    try:
        with os.scandir(folder) as entries:
            paths = [Path(entry.path) for entry in entries]
    except PermissionError:  # deleting the folder will tell
        paths = []
    for path in paths:
        yield from _below(path)
    yield folder, True


def _is_link(path: Path) -> bool:
    """Also for what Windows calls a junction: a folder that stands for another one."""
    return path.is_symlink() or bool(getattr(os.path, "isjunction", lambda _path: False)(path))


def _size(path: Path) -> int:
    return path.lstat().st_size


def _delete(path: Path, *, is_folder: bool) -> None:
    if not is_folder and not path.is_symlink() and sys.platform == "win32":
        path.chmod(0o600)  # Windows deletes no file that is read-only
    if is_folder or (sys.platform == "win32" and path.is_dir()):  # there a link to a folder is a folder to delete
        path.rmdir()
    else:
        path.unlink()
