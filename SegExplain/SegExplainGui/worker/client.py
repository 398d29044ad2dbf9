"""The worker as its client sees it: a command goes in, events come back, and the last one always comes.

Plain Python, without Qt. What starts, feeds and reads the operating system's process is a `Process`: one over QProcess,
one over subprocess. Everything here happens in the caller's thread, inside `Worker.ask` and `Worker.poll`.
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from SegExplainGui.worker.exit_reason import exit_reason
from SegExplainGui.worker.line_splitter import LineSplitter, LineTooLong
from SegExplainLib.contract import Command, Event, SegExplainError

LOG = logging.getLogger(__name__)
LOG_LINES = 30
JUNK_LINES = 10  # counted apart: a chatty library must not push an error out of the log
LOG_LINE_CHARACTERS = 2000
TERMINAL_EVENTS = ("finished", "failed")
DID_NOT_START, DIED, SILENT, CANCELLED = "WorkerDidNotStart", "WorkerDied", "WorkerSilent", "Cancelled"
PYTHON_HINT = "Check the worker's Python in the settings; the log's last lines say more."
AGAIN_HINT = "Try again: a new worker is started. The log's last lines say more."


class Process(Protocol):
    """A child process of the operating system with three pipes. One object is one process; no call blocks for long."""

    def start(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts the program with exactly this environment; OSError when it is missing or cannot be run."""

    def write(self, data: bytes) -> None:
        """Hands ``data`` over for its standard input; may raise OSError when nobody reads it any more."""

    def read(self) -> tuple[bytes, bytes]:
        """What has newly come on standard output and standard error, cut anywhere."""

    def exit_code(self) -> int | None:
        """None while it runs; afterwards its exit code, or the negative number of the signal that ended it.

        Once it is told, `read` gives all that the process still had to say.
        """

    def close_input(self) -> None:
        """Closes its standard input after what was written."""

    def end(self, worker_pid: int | None) -> None:
        """Ends it at once with the tree of the worker that it has started, where that one's pid is known."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How the worker is started.

    Attributes:
        program: A Python or a launcher of one, as an absolute path.
        arguments: ``start_worker.py`` and what it needs.
        environment: All variables that it gets; none is inherited.
    """

    program: str
    arguments: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the worker is waited for.

    Attributes:
        start_s: From the process's start to its ``ready``.
        silence_s: Without a single byte while a command runs.
        cancel_s: From the wish to cancel to the end of the command; then the worker is ended.
        quit_s: For the worker to end itself when it is closed; `Worker.close` may block as long.
    """

    start_s: float = 60.0
    silence_s: float = 600.0
    cancel_s: float = 2.0
    quit_s: float = 1.0


class WorkerBusy(SegExplainError):
    """The worker runs a command and takes another one only afterwards."""


@dataclass(eq=False)
class _Session:
    """One process, from its start to its end."""

    process: Process
    started_s: float
    heard_s: float
    worker_pid: int | None = None
    is_ready: bool = False
    output: LineSplitter = field(default_factory=LineSplitter)
    errors: LineSplitter = field(default_factory=lambda: LineSplitter(keep_end_of_long_lines=True))
    inbox: deque[str] = field(default_factory=deque)


@dataclass(eq=False)
class _Task:
    """The command that runs, and who wants to know."""

    command: Command
    on_event: Callable[[Event], None]
    cancelled_s: float | None = None
    fault: str = ""
    has_listener_raised: bool = False


class Worker:
    """Runs one command at a time in a worker process that is started when needed and kept between commands.

    Whatever happens to the process, the listener of a command gets exactly one terminal event (``finished | failed``),
    always from within `poll`; only `close` takes that promise back. A failure of the process itself has the kind
    "WorkerDidNotStart", "WorkerDied", "WorkerSilent" or "Cancelled", and the log's last lines in ``data["log"]``; the
    next command then starts a new process. A listener may call any method of the worker.

    Args:
        launch: How to start it.
        make_process: Makes an unstarted `Process`.
        patience: Time limits.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        launch: Launch,
        make_process: Callable[[], Process],
        *,
        patience: Patience = Patience(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._launch = launch
        self._make_process = make_process
        self._patience = patience
        self._clock = clock
        self._session: _Session | None = None
        self._task: _Task | None = None
        self._last_id = 0
        self._errors: deque[str] = deque(maxlen=LOG_LINES)
        self._junk: deque[str] = deque(maxlen=JUNK_LINES)

    @property
    def is_busy(self) -> bool:
        """A command runs: its terminal event has not been delivered."""
        return self._task is not None

    @property
    def is_alive(self) -> bool:
        """There is a process, and it has not ended."""
        return self._session is not None and self._session.process.exit_code() is None

    @property
    def pid(self) -> int | None:
        """Of the worker's interpreter, as it told itself; None until it has, and without a process."""
        return self._session.worker_pid if self._session else None

    @property
    def log_tail(self) -> list[str]:
        """The newest process's last lines: 10 that it printed beside its events, then 30 of its standard error."""
        return [*self._junk, *self._errors]

    def ask(self, command: Command, on_event: Callable[[Event], None]) -> None:
        """Gives a command to the worker, which is started if none runs.

        Args:
            command: Any but ``cancel`` and ``quit``; its id is set here.
            on_event: Gets the command's events. What it raises is logged, and changes nothing.

        Raises:
            WorkerBusy: the last command has not ended.
        """
        if self._task is not None:
            raise WorkerBusy(
                f"The worker is busy: its command {self._task.command.command!r} runs.",
                "Wait for its end, or cancel it.",
            )
        self._last_id += 1
        self._task = _Task(replace(command, id=self._last_id), on_event)
        if not self.is_alive:
            self._drop_session()
            self._start(self._task)
        if self._session is not None:
            self._session.heard_s = self._clock()
            self._send(self._task.command, self._session)

    def cancel(self) -> None:
        """Asks the worker to stop the running command; if it does not within ``cancel_s``, the worker is ended."""
        if self._task is not None and self._task.cancelled_s is None:
            self._task.cancelled_s = self._clock()
            if self._session is not None:
                self._send(Command(command="cancel"), self._session)

    def poll(self) -> None:
        """Delivers what has come and looks at the clock; call it from a timer or a loop."""
        session = self._session
        if session is None:
            if self._task is not None:
                self._fail(DID_NOT_START, f"The worker cannot be started: {self._task.fault}", PYTHON_HINT)
            return
        exit_code = session.process.exit_code()  # asked before reading, so that its last words are read
        self._read(session, exit_code is not None)
        while session.inbox and session is self._session:  # a listener may close the worker, or poll it itself
            self._take(session.inbox.popleft(), session)
        if session is not self._session:
            return
        failure = self._died(session, exit_code) if exit_code is not None else self._overdue(session)
        if exit_code is not None or failure is not None:
            self._drop_session()
        if failure is not None and self._task is not None:
            self._fail(*failure)

    def close(self) -> None:
        """Ends the process with all its children within about ``quit_s``; no event is delivered any more."""
        session, self._task = self._session, None
        if session is None:
            return
        with contextlib.suppress(OSError):  # it has ended by itself
            session.process.write((Command(command="quit").to_json_line() + "\n").encode())
            session.process.close_input()
        deadline_s = time.monotonic() + self._patience.quit_s
        while session.process.exit_code() is None and time.monotonic() < deadline_s:
            session.process.read()
            time.sleep(0.01)
        self._drop_session()

    def _start(self, task: _Task) -> None:
        self._errors.clear()
        self._junk.clear()
        process, now_s = self._make_process(), self._clock()
        try:
            process.start(self._launch.program, self._launch.arguments, self._launch.environment)
        except OSError as error:
            task.fault = str(error)
        else:
            self._session = _Session(process, started_s=now_s, heard_s=now_s)

    def _send(self, command: Command, session: _Session) -> None:
        try:
            session.process.write((command.to_json_line() + "\n").encode())
        except OSError as error:
            if self._task is not None:
                self._task.fault = str(error)

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.process.end(session.worker_pid)

    def _read(self, session: _Session, is_at_end: bool) -> None:
        output, errors = session.process.read()
        if output or errors:
            session.heard_s = self._clock()
        for line in session.errors.feed(errors, is_at_end=is_at_end):
            _note(line, self._errors)
        try:
            session.inbox.extend(session.output.feed(output, is_at_end=is_at_end))
        except LineTooLong as error:
            if self._task is not None:
                self._task.fault = str(error)
            _note(str(error), self._errors)

    def _take(self, line: str, session: _Session) -> None:
        event, task = Event.from_json_line(line), self._task
        if event is None:
            _note(line, self._junk)
        elif event.id == 0:
            self._take_of_process(event, session)
        elif task is not None and event.id == task.command.id:
            self._deliver(event, task)

    def _take_of_process(self, event: Event, session: _Session) -> None:
        """An event of no command: the process has started, is ready, or could not make out what it was asked."""
        pid = event.data.get("pid")
        if isinstance(pid, int) and pid > 1:
            session.worker_pid = pid
        session.is_ready |= event.event == "ready"
        if event.message:
            _note(event.message, self._junk)
        if event.event == "failed" and self._task is not None:
            self._deliver(replace(event, id=self._task.command.id), self._task)

    def _deliver(self, event: Event, task: _Task) -> None:
        if event.event in TERMINAL_EVENTS:
            self._task = None  # first of all, so that the listener can ask the next question
        try:
            task.on_event(event)
        except Exception:  # the listener is not ours: its fault must not cost anyone the terminal event
            if not task.has_listener_raised:
                LOG.exception("A listener of the worker's events failed at %r.", event.event)
            task.has_listener_raised = True

    def _fail(self, kind: str, message: str, hint: str) -> None:
        if self._task is not None:
            failed = Event(
                event="failed",
                id=self._task.command.id,
                kind=kind,
                message=message,
                hint=hint,
                data={"log": self.log_tail},
            )
            self._deliver(failed, self._task)

    def _died(self, session: _Session, exit_code: int) -> tuple[str, str, str] | None:
        """Kind, message and hint for a process that has ended before it answered."""
        if self._task is None:
            return None
        if self._task.cancelled_s is not None:
            return CANCELLED, "The run was stopped; the worker ended with it.", "The next question starts a new worker."
        reason, hint = exit_reason(exit_code, self.log_tail)
        if not session.is_ready:
            return DID_NOT_START, f"The worker ended before it was ready: {reason}.{self._last_words()}", PYTHON_HINT
        command = self._task.command.command
        return DIED, f"The worker ended before it had answered {command!r}: {reason}.", hint or AGAIN_HINT

    def _overdue(self, session: _Session) -> tuple[str, str, str] | None:
        """Kind, message and hint when the running process cannot be waited for any longer."""
        task, patience, now_s = self._task, self._patience, self._clock()
        if task is None:
            return None
        if task.fault and task.cancelled_s is None:
            return DIED, f"The worker can no longer be talked to: {task.fault}", AGAIN_HINT
        if task.cancelled_s is not None and now_s - task.cancelled_s > patience.cancel_s:
            message = (
                f"The run was stopped; the worker did not stop by itself within {patience.cancel_s:g} s and was ended."
            )
            return CANCELLED, message, "The last interim result is kept. The next question starts a new worker."
        if not session.is_ready and now_s - session.started_s > patience.start_s:
            message = f"The worker was not ready within {patience.start_s:g} s and was ended.{self._last_words()}"
            return DID_NOT_START, message, PYTHON_HINT
        if session.is_ready and now_s - session.heard_s > patience.silence_s:
            message = f"The worker gave no sign of life for {patience.silence_s:g} s and was ended."
            return SILENT, message, "Try again with a smaller region or a smaller batch, or on another device."
        return None

    def _last_words(self) -> str:
        log = self.log_tail
        return f" Its last words: {log[-1]}" if log else ""


def _note(line: str, log: deque[str]) -> None:
    if line.strip():
        log.append(line[:LOG_LINE_CHARACTERS])
