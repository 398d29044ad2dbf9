"""Questions to the worker, one at a time: a newer question takes the place of a waiting one of the same kind."""

from collections.abc import Callable
from dataclasses import dataclass

from SegExplainGui.worker.client import Worker
from SegExplainLib.contract import Command, Event, SegExplainError

OnEvent = Callable[[Event], None]


@dataclass
class _Asked:
    command: Command
    on_event: OnEvent | None


class QuestionQueue:
    """Gives the worker one command after the other, in the order asked.

    A running ``describe`` or ``preview`` is let finish before an explanation: what it opens stays warm in the worker.

    Args:
        new_worker: Makes the worker when the first question comes; what ``SegExplainError`` it raises is told as a
            ``failed`` event.
    """

    def __init__(self, new_worker: Callable[[], Worker]) -> None:
        self._new_worker = new_worker
        self._worker: Worker | None = None
        self._running: _Asked | None = None
        self._waiting: list[_Asked] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self._running is None and not self._waiting

    @property
    def log_tail(self) -> str:
        """The worker's last lines, for a person who looks for a fault."""
        return "\n".join(self._worker.log_tail) if self._worker else ""

    @property
    def worker_pid(self) -> int | None:
        """Of the worker's interpreter; None while there is none."""
        return self._worker.pid if self._worker else None

    def ask(self, command: Command, on_event: OnEvent) -> None:
        """Queues a command; ``on_event`` gets its events, the last one ``finished`` or ``failed``, from `poll`.

        A waiting command of the same kind is dropped, and its ``on_event`` never called.
        """
        self._waiting = [asked for asked in self._waiting if asked.command.command != command.command]
        self._waiting.append(_Asked(command, on_event))

    def cancel(self, kind: str) -> None:
        """Stops the command of that kind, running or waiting; its last event says ``Cancelled``."""
        if self._running and self._running.command.command == kind and self._worker:
            self._worker.cancel()
        for asked in [asked for asked in self._waiting if asked.command.command == kind]:
            self._waiting.remove(asked)
            if asked.on_event:
                asked.on_event(Event(event="failed", kind="Cancelled", message="The run was stopped by the user."))

    def forget(self) -> None:
        """Takes back every callback: waiting commands are dropped, the running one is cancelled unheard."""
        self._waiting.clear()
        if self._running and self._worker:
            self._running.on_event = None
            self._worker.cancel()

    def poll(self) -> None:
        """Delivers events and starts the next command; call it a few times a second."""
        if self._worker:
            self._worker.poll()
        if self._running is None and self._waiting:
            self._start(self._waiting.pop(0))

    def close(self) -> None:
        """Ends the worker with all its children; the next question starts a new one. No callback is called."""
        self._waiting.clear()
        self._running = None
        if self._worker:
            self._worker.close()
            self._worker = None

    def _start(self, asked: _Asked) -> None:
        self._running = asked
        if self._worker is None:
            try:
                self._worker = self._new_worker()
            except SegExplainError as error:
                kind = type(error).__name__
                self._heard(asked, Event(event="failed", kind=kind, message=error.message, hint=error.hint))
                return
        self._worker.ask(asked.command, lambda event: self._heard(asked, event))

    def _heard(self, asked: _Asked, event: Event) -> None:
        if event.event in ("finished", "failed"):
            self._running = None
        if asked.on_event:
            asked.on_event(event)
