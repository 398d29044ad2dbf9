"""The other end of a worker's pipes, as plain as can be: a real child process, a thread that keeps its events."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from SegExplainLib.contract import Command, Event

ROOT = Path(__file__).resolve().parents[2]


class WorkerClient:
    """A worker in a process of its own, with one torch thread.

    Attributes:
        lines: Every line of its standard output.
        process: The process.
    """

    def __init__(self, *, program=("-m", "SegExplainLib", "serve"), environment=()):
        self.process = subprocess.Popen(
            [sys.executable, *program],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment),
        )
        self.lines = []
        self._events = queue.Queue()
        self._errors = []
        self._number = 0
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_events, self._read_log)]
        for reader in self._readers:
            reader.start()

    def _read_events(self):
        for line in self.process.stdout:
            self.lines.append(line)
            event = Event.from_json_line(line.decode("utf-8"))
            self._events.put((time.monotonic(), event))
        self._events.put((time.monotonic(), None))

    def _read_log(self):
        for line in self.process.stderr:
            self._errors.append(line.decode("utf-8", errors="replace"))

    @property
    def log(self):
        return "".join(self._errors)

    def send(self, command, **fields):
        """Sends a command and returns its id."""
        self._number += 1
        self.write(Command(command=command, id=self._number, **fields).to_json_line())
        return self._number

    def write(self, line):
        self.process.stdin.write(line.encode("utf-8") + b"\n")
        self.process.stdin.flush()

    def next_event(self, *, within_s=120):
        """(when, event); the event is None at the end of the output."""
        return self._events.get(timeout=within_s)

    def until(self, *kinds, id=None, within_s=120):
        """All events up to the first of these kinds (and of that command)."""
        events = []
        while True:
            _, event = self.next_event(within_s=within_s)
            assert event is not None, f"the worker ended: {self.log}"
            events.append(event)
            if event.event in kinds and id in (None, event.id):
                return events

    def answer(self, command, **fields):
        """All events of a command, from started to finished or failed."""
        number = self.send(command, **fields)
        return self.until("finished", "failed", id=number)

    def end(self, *, within_s=20):
        """Closes the input and returns the exit code."""
        self.process.stdin.close()
        try:
            return self.process.wait(timeout=within_s)
        finally:
            self.process.kill()
            for reader in self._readers:
                reader.join(timeout=5)
            self.process.stdout.close()
            self.process.stderr.close()


def make_job(folder, request):
    """A job folder with that request."""
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(request.to_json(), encoding="utf-8")
    return folder


def job_events(job):
    return [json.loads(line) for line in (job / "events.jsonl").read_text(encoding="utf-8").splitlines()]
