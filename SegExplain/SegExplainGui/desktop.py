"""What the module needs of the application around it: a timer, dialogs, opening files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from slicer.i18n import tr as _

from SegExplainLib.contract import SegExplainError


class Desktop(Protocol):
    """The application as seen from the session."""

    def confirm(self, question: str) -> bool:
        """Whether the user agrees."""

    def open_file(self, path: Path) -> None:
        """Opens a file in the user's own program for it.

        Raises:
            SegExplainError: no program took it.
        """

    def repeat(self, callback: Callable[[], None], *, every_s: float) -> Callable[[], None]:
        """Calls back again and again from the event loop; gives what stops it."""

    def stay_responsive(self) -> None:
        """Lets the user's clicks and repaints through while something blocks."""


class SlicerDesktop:
    """`Desktop` of the running Slicer."""

    def confirm(self, question: str) -> bool:
        """Asks in a dialog; agrees by itself when Slicer runs tests."""
        import slicer

        return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle="SegExplain"))

    def open_file(self, path: Path) -> None:
        """Opens the file in the browser or whatever is set for it."""
        import qt

        if not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path))):
            raise SegExplainError(
                _("No program on this computer opens {path}.").format(path=path), _("Open it in a browser by hand.")
            )

    def repeat(self, callback: Callable[[], None], *, every_s: float) -> Callable[[], None]:
        """A QTimer."""
        import qt

        # With a parent: else Python would delete the timer as soon as it is let go, which may be in its own signal.
        timer: Any = qt.QTimer(qt.QCoreApplication.instance())
        timer.setInterval(round(1000 * every_s))
        timer.connect("timeout()", callback)
        timer.start()

        def stop() -> None:
            timer.stop()
            timer.deleteLater()

        return stop

    def stay_responsive(self) -> None:
        """Runs the event loop once."""
        import slicer

        slicer.app.processEvents()
