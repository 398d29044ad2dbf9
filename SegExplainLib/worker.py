"""Serve commands over standard input: for Slicer, which keeps one worker, and with it the model, the CT and the game.

Nothing heavy is imported before the first command that needs it, so that ``ready`` comes at once.
"""

import json
import os
import platform
import queue
import sys
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TextIO

from SegExplainLib import __version__
from SegExplainLib.contract import Command, Event, InvalidRequest, OutOfMemory, SegExplainError
from SegExplainLib.job_folder import answered, failure, run_job
from SegExplainLib.progress import Progress
from SegExplainLib.warm import WarmState

GRACE_S = 5.0
"""How long work may go on after everybody has left, before the process ends with it."""


def serve() -> None:
    """Answers the lines of standard input, `Command`, with lines on standard output, `Event`, until the input ends.

    Standard output is the events' alone: what libraries print goes to standard error.
    """
    commands, events = _claimed_streams()
    Server(events).serve(commands)


def _claimed_streams() -> tuple[IO[bytes], TextIO]:
    """Standard input and output, for the protocol alone."""
    sys.stdout.flush()
    commands = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    # On Windows a library that looks at standard input while a thread waits for a line there would wait as well.
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return commands, events


@dataclass(frozen=True, eq=False)
class _Asked:
    """A command that has not been answered yet, and the way to stop it."""

    command: Command
    progress: Progress = field(default_factory=Progress)


class Server:
    """Answers commands one after the other, and keeps what they opened warm for the next.

    A thread reads the input, so that ``cancel``, ``quit`` and the end of the input act while a command is answered.

    Args:
        events: Where events are written, one a line.
    """

    def __init__(self, events: TextIO) -> None:
        self._events = events
        self._write_lock = threading.Lock()
        self._is_heard = True
        self._waiting: queue.Queue[_Asked | None] = queue.Queue()
        self._unanswered: list[_Asked] = []
        self._warm = WarmState()

    def serve(self, lines: Iterable[bytes]) -> None:
        """Tells ``ready`` and answers until the input ends, or ``quit``."""
        versions = {"version": __version__, "python": platform.python_version()}
        self._tell(Event(event="ready", data={"pid": os.getpid()} | versions))
        threading.Thread(target=self._read, args=(lines,), daemon=True, name="commands").start()
        while (asked := self._waiting.get()) is not None:
            self._answer(asked)

    def _read(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            text = line.decode("utf-8", errors="replace").strip()
            command = self._command(text) if text else None
            if command is None:
                continue
            if command.command == "quit":
                break
            if command.command == "cancel":
                for asked in self._unanswered[:1]:
                    asked.progress.cancel()
                continue
            self._unanswered.append(_Asked(command))
            self._waiting.put(self._unanswered[-1])
        self._leave()

    def _command(self, text: str) -> Command | None:
        """The command of a line; of a line that is none, the sender is told so under the id that it gave."""
        try:
            return Command.from_json_line(text)
        except (InvalidRequest, RecursionError) as error:
            told = failure(error)
            number = _id_in(text)
            self._tell(replace(told, id=number, event="failed" if number else "warning"))
            return None

    def _leave(self) -> None:
        """Stops what runs; what does not stop in time ends with the process."""
        for asked in list(self._unanswered):
            asked.progress.cancel()
        self._waiting.put(None)
        end = threading.Timer(GRACE_S, os._exit, (1,))
        end.daemon = True
        end.start()

    def _answer(self, asked: _Asked) -> None:
        command, progress = asked.command, asked.progress

        def tell(event: Event) -> None:
            if event.event in ("finished", "failed"):  # who has read this and cancels means the next command
                self._unanswered.remove(asked)
            self._tell(replace(event, id=command.id))

        progress.listener = tell
        is_spoilt = False
        try:
            if command.command == "explain":
                run_job(Path(command.job), listener=tell, progress=progress, resume=command.resume, warm=self._warm)
            else:
                answered(lambda: self._data(command, progress), _finished_with, tell=tell, progress=progress)
        except SegExplainError as error:
            is_spoilt = isinstance(error, OutOfMemory)
        except Exception:
            traceback.print_exc()
            is_spoilt = True
        if is_spoilt:  # the error has gone by now, and with it what its traceback held
            self._free_memory()

    def _data(self, command: Command, progress: Progress) -> dict[str, Any]:
        """The answer to a question that is no explanation."""
        if command.command == "check":
            return _installation(progress)
        if command.command == "describe":
            from SegExplainLib.preview import describe

            return describe(command.request, progress=progress, warm=self._warm)
        if command.command == "evaluate":
            with progress.stage("load libraries"):
                from SegExplainLib.evaluation_answer import evaluation_answer

            return evaluation_answer(
                [Path(folder) for folder in command.results],
                Path(command.out),
                stability=command.stability,
                given=command.request,
                progress=progress,
                warm=self._warm,
            )
        from SegExplainLib.preview import preview

        return preview(command.request, progress=progress, warm=self._warm)

    def _free_memory(self) -> None:
        """After a fault nothing that it may have touched is kept."""
        self._warm.clear()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tell(self, event: Event) -> None:
        with self._write_lock:
            if not self._is_heard:
                return
            try:
                self._events.write(event.to_json_line() + "\n")
                self._events.flush()
            except OSError:  # the reader has gone: there is nobody to tell, nor anybody to work for
                self._is_heard = False
                self._leave()


def _finished_with(data: dict[str, Any]) -> Event:
    return Event(event="finished", data=data)


def _id_in(text: str) -> int:
    """The id of a line that is an object but no command; 0 where there is none."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return 0
    number = given.get("id") if isinstance(given, dict) else None
    return number if isinstance(number, int) else 0


def _installation(progress: Progress) -> dict[str, Any]:
    """What ``check`` answers; works where packages are missing."""
    from SegExplainLib.doctor import findings, missing_packages
    from SegExplainLib.versions import installed_versions

    found = []
    for finding in findings():
        found.append({"state": finding.state, "text": finding.text})
        progress.check_cancelled()
    torch = sys.modules.get("torch")
    device = "cuda" if torch is not None and torch.cuda.is_available() else "cpu"
    return {"findings": found, "versions": installed_versions(), "missing": missing_packages(), "device": device}
