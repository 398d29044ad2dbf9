"""Stages, progress and cancelling of long work, told as events to whoever listens.

Standard library only. A listener is any callable that takes a ``contract.Event``: the command line draws a bar,
a worker writes JSON lines, a test keeps a list.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from SegExplainLib.contract import Cancelled, Event, SegExplainError

Listener = Callable[[Event], None]


class Progress:
    """Tells listeners where the work stands and carries the wish to cancel to it.

    Attributes:
        listener: Who is told, or None.
        last_stage: The stage that was begun last.
        timings_s: Stage -> seconds spent in it.
        warnings: Every warning told so far, in order.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self.listener = listener
        self._cancel = threading.Event()
        self._stage = self.last_stage = ""
        self.timings_s: dict[str, float] = {}
        self.warnings: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block under ``name``; an error that leaves it says in which stage it arose."""
        self.check_cancelled()
        outer, self._stage = self._stage, name
        self.last_stage = name
        self._tell(Event(event="stage", stage=name))
        begin = time.perf_counter()
        try:
            yield
        except SegExplainError as error:
            error.stage = error.stage or name
            raise
        finally:
            self.timings_s[name] = self.timings_s.get(name, 0.0) + time.perf_counter() - begin
            self._stage = outer

    def step(
        self, done: int, total: int, *, left_s: float | None = None, error: float | None = None, tiles: int = 0
    ) -> None:
        """Tells how far the stage is; ``tiles`` counts the network's tiles run so far.

        Raises:
            Cancelled: somebody asked to stop.
        """
        self._tell(
            Event(event="progress", stage=self._stage, done=done, total=total, left_s=left_s, error=error, tiles=tiles)
        )
        self.check_cancelled()

    def partial(self, path: Path, done: int, total: int, *, error: float | None, tiles: int, message: str = "") -> None:
        """Tells that interim results lie at ``path``; the numbers are those of ``step``."""
        self._tell(
            Event(
                event="partial",
                stage=self._stage,
                message=message,
                path=str(path),
                done=done,
                total=total,
                error=error,
                tiles=tiles,
            )
        )

    def warn(self, message: str) -> None:
        """Tells a warning once, and keeps it for the report."""
        if message not in self.warnings:
            self.warnings.append(message)
            self._tell(Event(event="warning", stage=self._stage, message=message))

    def cancel(self) -> None:
        """Asks the work to stop at its next step; safe from another thread or a signal handler."""
        self._cancel.set()

    def check_cancelled(self) -> None:
        """Raises:
        Cancelled: somebody asked to stop.
        """
        if self._cancel.is_set():
            raise Cancelled("The run was stopped by the user.")

    def _tell(self, event: Event) -> None:
        if self.listener is not None:
            self.listener(event)
