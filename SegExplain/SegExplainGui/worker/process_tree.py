"""End a process together with everything that it has started, without a package for it."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

LOG = logging.getLogger(__name__)


def end_process_tree(pid: int) -> None:
    """Ends ``pid`` and what it has started, at once; a process that is gone already is no error.

    On POSIX a tree is a process group: ``pid`` must lead one, else it is ended alone. Windows knows each one's parent.
    """
    if pid <= 1 or pid == os.getpid():
        return  # 0 and 1 mean our own group and the system's first process: nothing that we have started
    if sys.platform == "win32":
        _taskkill(pid)
    else:
        _kill_group(pid)


if sys.platform == "win32":

    def _taskkill(pid: int) -> None:
        program = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "taskkill.exe")
        try:
            subprocess.run(
                [program, "/T", "/F", "/PID", str(pid)],
                creationflags=subprocess.CREATE_NO_WINDOW,
                stdin=subprocess.DEVNULL,
                capture_output=True,  # it complains when the process is gone already
                timeout=5,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            LOG.warning("The process %d could not be ended (%s).", pid, error)

else:

    def _kill_group(pid: int) -> None:
        if pid == os.getpgrp():
            return  # it leads the group that we are in
        for kill in (os.killpg, os.kill):
            try:
                kill(pid, signal.SIGKILL)
                return
            except (ProcessLookupError, PermissionError):  # macOS: not permitted when only zombies are left
                continue
