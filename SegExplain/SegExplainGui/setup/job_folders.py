"""Where one Slicer session keeps exported images and the jobs of its runs; deleted when the session ends.

The images are a patient's. What a Slicer that crashed has left behind is deleted by the next one: a living session
holds a lock on a file in its folder, which the operating system takes back with the process.
"""

import hashlib
import itertools
import shutil
import sys
from pathlib import Path
from typing import IO

from SegExplainGui.setup.app_folders import JOBS, data_folder, new_job_folder

LOCK_NAME = "in-use.lock"
EVALUATION_DONE = "evaluation.json"  # written last


class JobFolders:
    """A fresh folder of this session's, with one for exported nodes and one for each run.

    Args:
        data: Where SegExplain keeps its files; None is the user's.

    Attributes:
        root: The folder; nobody but the user can read it.
        inputs: Folder in it for exported nodes, shared by all runs.
    """

    def __init__(self, data: Path | None = None) -> None:
        delete_abandoned(data)
        self.root = new_job_folder(data)
        self._lock = _locked(self.root / LOCK_NAME)
        self.inputs = self.root / "inputs"
        self.inputs.mkdir()
        self._n_runs = 0

    def new_run(self) -> Path:
        """The path of the next run's folder, which is not made yet."""
        self._n_runs += 1
        return self.root / f"run-{self._n_runs:03d}"

    def evaluation_of(self, results: Path) -> Path:
        """The folder in which the next evaluation of a results folder goes on, or begins; a finished one stays.

        It lies beside results of this session's own, and away from results that the user keeps.
        """
        place = results.parent if results.is_relative_to(self.root) else self._place_of(results)
        folders = (place / f"evaluation-{number:03d}" for number in itertools.count(1))
        return next(folder for folder in folders if not (folder / EVALUATION_DONE).exists())

    def _place_of(self, results: Path) -> Path:
        """For results elsewhere; others that take their place get another."""
        changed_ns = (results / "manifest.json").stat().st_mtime_ns
        return self.root / f"of-{hashlib.sha256(f'{results} {changed_ns}'.encode()).hexdigest()[:16]}"

    def delete(self) -> None:
        """Deletes it all."""
        if self._lock is not None:
            self._lock.close()  # Windows deletes no open file
            self._lock = None
        shutil.rmtree(self.root, ignore_errors=True)


def delete_abandoned(data: Path | None = None) -> None:
    """Deletes the folders of sessions whose Slicer no longer runs."""
    jobs = (data or data_folder()) / JOBS
    for path in list(jobs.glob(f"*/{LOCK_NAME}")) if jobs.is_dir() else []:
        lock = _locked(path)
        if lock is not None:
            lock.close()
            shutil.rmtree(path.parent, ignore_errors=True)


def _locked(path: Path) -> IO[bytes] | None:
    """The file with this process's lock on it; None when somebody else holds one."""
    file = path.open("a+b")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
