"""The check of one result, from its folder to what the scene keeps of it; ends once, however it ends."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegExplainGui.scene.result import Result
from SegExplainGui.services import Failure, ModelUse
from SegExplainGui.setup.job_folders import JobFolders
from SegExplainGui.shown_result import CheckedTrust
from SegExplainGui.worker.question_queue import QuestionQueue
from SegExplainLib.contract import Command, Event, InvalidRequest, ResultManifest, SegExplainError

LOG = logging.getLogger(__name__)


class EvaluationRun:
    """A check under way. Its callbacks are called from the queue's ``poll``.

    Args:
        result: A finished one.
        queue: Of the worker.
        folders: Has room for the evaluation.
        use: Says whether the network's files may run programs, if it is the one that was explained.
        stability: What is measured of the explanation's stability.
        on_event: Gets each event of the worker.
        on_end: Gets the failure, or None; called once, last.

    Attributes:
        is_active: Whether it has not ended.
        result: What is checked; its ``trust`` is what came of it.
        failure: Why it ended; None while it is active, and after a success.
    """

    def __init__(
        self,
        result: Result,
        queue: QuestionQueue,
        folders: JobFolders,
        *,
        use: ModelUse,
        stability: Sequence[str],
        on_event: Callable[[Event], None],
        on_end: Callable[[Failure | None], None],
    ) -> None:
        self.result = result
        self._queue, self._folders = queue, folders
        self._use, self._stability = use, stability
        self._on_event = on_event
        self._on_end = on_end
        self.failure: Failure | None = None
        self.is_active = True

    def start(self) -> None:
        """Queues the question; a result that cannot be checked ends it."""
        try:
            folder, request = checkable(self.result)
        except SegExplainError as error:
            self._end(Failure.of_error(error))
            return
        command = Command(
            command="evaluate",
            results=[str(folder)],
            out=str(self._folders.evaluation_of(folder)),
            stability=list(self._stability),
            request={"trust_model": self._use.trust_model and self._use.model == request["model"]},
        )
        self._queue.ask(command, self._heard)

    def cancel(self) -> None:
        """Stops the check; what was evaluated is kept for the next."""
        if self.is_active:
            self._queue.cancel("evaluate")

    def abandon(self, failure: Failure | None) -> None:
        """Stops the check and ends at once; None tells nobody."""
        if self.is_active:
            self._queue.cancel("evaluate")
            self.is_active, self.failure = False, failure
            if failure is not None:
                self._on_end(failure)

    def _heard(self, event: Event) -> None:
        if not self.is_active:
            return
        failure = Failure.of_event(event) if event.event == "failed" else None
        try:
            if event.event == "finished":
                self.result.set_trust(CheckedTrust.of(event.data))
            self._on_event(event)
        except SegExplainError as error:
            failure = failure or Failure.of_error(error)
        except Exception as error:  # whatever it is: a check that never ends would lock the panel
            LOG.exception("A worker's event could not be shown.")
            failure = failure or Failure.of_unexpected(error)
        if event.event in ("finished", "failed"):
            self._end(failure)

    def _end(self, failure: Failure | None) -> None:
        self.is_active, self.failure = False, failure
        self._on_end(failure)


def checkable(result: Result) -> tuple[Path, dict[str, Any]]:
    """Folder and request of a result that can be checked.

    Raises:
        InvalidRequest: its folder, or the copy of the CT that was explained, is no longer on this computer.
    """
    hint = _("They are deleted when Slicer closes. Explain again, then check.")
    if not result.has_report or result.folder is None:
        raise InvalidRequest(_("The results of {name} are no longer on this computer.").format(name=result.name), hint)
    request = ResultManifest.read(result.folder).request
    if not Path(str(request.get("ct", ""))).exists():
        raise InvalidRequest(_("The copy of the CT that was explained is no longer on this computer."), hint)
    return result.folder, request
