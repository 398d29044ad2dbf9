"""Talk with the worker from the application's event loop: questions go out, answers come back on the main thread."""

import logging
import time
from collections.abc import Callable
from typing import Any

from SegExplainGui.desktop import Desktop
from SegExplainGui.services import Failure
from SegExplainGui.worker.client import Worker
from SegExplainGui.worker.question_queue import QuestionQueue
from SegExplainLib.contract import Command, Event

LOG = logging.getLogger(__name__)
POLL_EVERY_S = 0.1


class WorkerTalk:
    """Asks, and looks for answers while there is something to wait for.

    Args:
        desktop: Gives the timer.
        new_worker: Makes the worker when the first question comes.

    Attributes:
        queue: The questions.
    """

    def __init__(self, desktop: Desktop, new_worker: Callable[[], Worker]) -> None:
        self.queue = QuestionQueue(new_worker)
        self._desktop = desktop
        self._later: list[Callable[[], None]] = []
        self._stop_polling: Callable[[], None] | None = None
        self._is_polling = False

    def ask(
        self,
        command: Command,
        on_data: Callable[[dict[str, Any]], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        """Asks a question whose answer is the data of its last event."""

        def heard(event: Event) -> None:
            if event.event == "finished":
                try:
                    on_data(event.data)
                except Exception as error:  # whatever it is: who asked must not wait for ever
                    LOG.exception("An answer of the worker could not be taken.")
                    on_failure(Failure.of_unexpected(error))
            elif event.event == "failed":
                on_failure(Failure.of_event(event))

        self.queue.ask(command, heard)
        self._keep_polling()

    def soon(self, call: Callable[[], None]) -> None:
        """Calls from the event loop, after the caller has returned."""
        self._later.append(call)
        self._keep_polling()

    def poll(self) -> None:
        """Delivers what has come; the timer calls it, or a loop that waits."""
        if self._is_polling:
            return  # what a callback does may let the timer through
        self._is_polling = True
        try:
            later, self._later = self._later, []
            for call in later:
                call()
            self.queue.poll()
        finally:
            self._is_polling = False
        if self.queue.is_idle and not self._later:
            self._rest()

    def wait(self, seconds: float) -> None:
        """One turn of a loop that waits for an answer, with the application alive."""
        self.poll()
        self._desktop.stay_responsive()
        time.sleep(seconds)

    def forget(self) -> None:
        """Takes back every callback."""
        self._later.clear()
        self.queue.forget()

    def close(self) -> None:
        """Ends the worker; the next question starts a new one."""
        self._later.clear()
        self.queue.close()
        self._rest()

    def _keep_polling(self) -> None:
        if self._stop_polling is None:
            self._stop_polling = self._desktop.repeat(self.poll, every_s=POLL_EVERY_S)

    def _rest(self) -> None:
        if self._stop_polling is not None:
            self._stop_polling()
            self._stop_polling = None
