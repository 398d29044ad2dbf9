"""A worker's process without Qt: subprocess, and a thread for each of its three pipes."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from SegExplainGui.worker.process_tree import end_process_tree

LAST_OUTPUT_S = 0.5  # how long output may still come from a process that has ended
REAP_S = 1.0


class ChildProcess:
    """A `Process` over `subprocess.Popen`, in a process group of its own; no call blocks."""

    def __init__(self) -> None:
        self._popen: subprocess.Popen[bytes] | None = None
        self._input: SimpleQueue[bytes | None] = SimpleQueue()
        self._output: SimpleQueue[bytes] = SimpleQueue()
        self._errors: SimpleQueue[bytes] = SimpleQueue()
        self._readers: list[Thread] = []
        self._ended_s: float | None = None

    def start(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts the program with exactly this environment.

        Raises:
            OSError: the program is missing or cannot be run.
        """
        pipe = subprocess.PIPE
        self._popen = subprocess.Popen(
            [program, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=dict(environment), **_apart()
        )
        self._readers = [
            Thread(target=_pump, args=(self._popen.stdout, self._output), daemon=True),
            Thread(target=_pump, args=(self._popen.stderr, self._errors), daemon=True),
        ]
        for thread in (*self._readers, Thread(target=_feed, args=(self._popen.stdin, self._input), daemon=True)):
            thread.start()

    def write(self, data: bytes) -> None:
        """Queues ``data`` for the process's standard input."""
        self._input.put(data)

    def read(self) -> tuple[bytes, bytes]:
        """New standard output and standard error."""
        return _drain(self._output), _drain(self._errors)

    def exit_code(self) -> int | None:
        """None while it runs or its last output is still under way; a negative signal number where one ended it."""
        if self._popen is None:
            return None
        code = self._popen.poll()
        if code is None:
            return None
        if self._ended_s is None:
            self._ended_s = time.monotonic()
        is_output_complete = not any(thread.is_alive() for thread in self._readers)
        return code if is_output_complete or time.monotonic() - self._ended_s > LAST_OUTPUT_S else None

    def close_input(self) -> None:
        """Closes the process's standard input after what was written."""
        self._input.put(None)

    def end(self, worker_pid: int | None) -> None:
        """Ends the process and the tree of the worker that it has started; returns when the process is gone."""
        if worker_pid is not None:
            end_process_tree(worker_pid)
        self._input.put(None)
        if self._popen is not None:
            end_process_tree(self._popen.pid)
            try:
                self._popen.wait(REAP_S)
            except subprocess.TimeoutExpired:
                return  # it hangs in the system's hands, such as a lost network drive: nothing can end it now


def _apart() -> dict[str, Any]:
    """A group of its own, which can be ended as a whole, and no window."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _pump(stream: IO[bytes], queue: SimpleQueue[bytes]) -> None:
    with stream:
        while chunk := stream.read(1 << 16):
            queue.put(chunk)


def _feed(stream: IO[bytes], queue: SimpleQueue[bytes | None]) -> None:
    try:
        with stream:
            while data := queue.get():
                while data:
                    data = data[stream.write(data) :]
    except OSError:
        return  # nobody reads any more: the exit code will say why


def _drain(queue: SimpleQueue[bytes]) -> bytes:
    return b"".join(queue.get_nowait() for _ in range(queue.qsize()))
