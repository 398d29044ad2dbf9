"""The one piece of work that may be under way, a run or a check: stopped by the user, or with the scene."""

from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

from SegExplainGui.services import Failure


class Work(Protocol):
    """What the worker is busy with for a user."""

    is_active: bool

    def cancel(self) -> None:
        """Asks to stop; the work's end follows."""

    def abandon(self, failure: Failure | None) -> None:
        """Stops and ends at once; None tells nobody."""


class UnderWay:
    """Holds it, and ends it with the scene.

    Args:
        scene: vtkMRMLScene.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._work: Work | None = None
        self._close_tag: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self._work is not None and self._work.is_active

    def begin(self, work: Work) -> None:
        """Takes a piece of work, and watches the scene as long as it lasts.

        No longer: an observer that outlives its use keeps scene and session alive for good.
        """
        self.ended()
        self._work = work
        event = slicer.vtkMRMLScene.StartCloseEvent
        self._close_tag = self._scene.AddObserver(event, lambda *_: self._scene_closes())

    def ended(self) -> None:
        """The work has ended by itself."""
        if self._close_tag is not None:
            self._scene.RemoveObserver(self._close_tag)
            self._close_tag = None

    def cancel(self) -> None:
        """Asks it to stop."""
        if self._work is not None:
            self._work.cancel()

    def stop(self, reason: str) -> None:
        """Ends it at once and says why."""
        self._abandon(Failure(message=reason, kind="Cancelled"))

    def forget(self) -> None:
        """Ends it at once and tells nobody."""
        self.ended()
        self._abandon(None)

    def _scene_closes(self) -> None:
        self.stop(_("The scene was closed while SegExplain was at work; the work was stopped."))

    def _abandon(self, failure: Failure | None) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.abandon(failure)
