"""A worker's process over QProcess, as Slicer's Python offers it (PythonQt, Qt 5 and Qt 6)."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import qt

from SegExplainGui.worker.process_tree import end_process_tree

START_MS = 5000
REAP_MS = 1000


class QtProcess:
    """A `Process` over ``qt.QProcess``. Works with and without a running event loop; no signal is connected."""

    def __init__(self) -> None:
        self._process = qt.QProcess()
        self._process.setProcessChannelMode(qt.QProcess.SeparateChannels)

    def start(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts the program with exactly this environment; on Windows Qt adds PATH and SYSTEMROOT where they lack.

        Raises:
            OSError: the program is missing or cannot be run.
        """
        self._process.setProcessEnvironment(_qt_environment(environment))
        self._process.start(program, list(arguments))
        if not self._process.waitForStarted(START_MS):
            reason = self._process.errorString()
            self._process.kill()
            raise OSError(f"{program}: {reason}")

    def write(self, data: bytes) -> None:
        """Gives ``data`` to Qt, which writes it as the process reads.

        Raises:
            OSError: the process has no standard input any more.
        """
        if self._process.write(data) < 0:
            raise OSError(self._process.errorString())

    def read(self) -> tuple[bytes, bytes]:
        """New standard output and standard error."""
        self._process.waitForReadyRead(0)  # moves the bytes when no event loop does
        return _bytes(self._process.readAllStandardOutput()), _bytes(self._process.readAllStandardError())

    def exit_code(self) -> int | None:
        """None while it runs; on POSIX a negative signal number where one ended it."""
        self._process.waitForReadyRead(0)  # notices the end when no event loop does
        if self._process.state() != qt.QProcess.NotRunning:
            return None
        code = self._process.exitCode()
        is_signal = os.name == "posix" and self._process.exitStatus() == qt.QProcess.CrashExit
        return -code if is_signal else code

    def close_input(self) -> None:
        """Closes the process's standard input after what was written."""
        self._process.closeWriteChannel()

    def end(self, worker_pid: int | None) -> None:
        """Ends the process and the tree of the worker that it has started; returns when the process is gone."""
        for pid in (worker_pid, self._process.processId()):
            if pid:
                end_process_tree(pid)
        if self._process.state() != qt.QProcess.NotRunning:
            self._process.kill()
            self._process.waitForFinished(REAP_MS)


def _qt_environment(environment: Mapping[str, str]) -> Any:
    # Qt 5 takes an empty environment for the parent's
    variables = environment or {"PYTHONUNBUFFERED": "1"}
    made = qt.QProcessEnvironment()
    for name, value in variables.items():
        made.insert(name, value)
    return made


def _bytes(array: Any) -> bytes:
    """The bytes of a QByteArray, or of bytes where the binding has converted it already."""
    return bytes(array.data()) if hasattr(array, "data") else bytes(array)
