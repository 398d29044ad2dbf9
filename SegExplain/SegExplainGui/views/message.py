"""The one place in the panel where something is said: an error with its hint and log, or a note."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegExplainGui.services import Failure
from SegExplainLib.contract import SegExplainError

LOG = logging.getLogger(__name__)
ICON_PX = 24


class MessageView:
    """Shows one message at a time; a newer one takes its place. Nothing pops up."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        ui.dismissButton.connect("clicked()", self.clear)
        ui.logButton.connect("toggled(bool)", self._show_log)
        self.clear()

    @property
    def text(self) -> str:
        """What is said; empty when nothing is."""
        return "" if self._ui.messageFrame.isHidden() else self._ui.messageLabel.text

    def clear(self) -> None:
        """Says nothing."""
        self._ui.messageLabel.text = ""
        self._ui.messageFrame.setVisible(False)

    def show_failure(self, failure: Failure) -> None:
        """Says what did not work and what to do about it."""
        text = "\n".join(part for part in (failure.message, failure.hint) if part)
        self._show(text or _("Something did not work."), qt.QStyle.SP_MessageBoxWarning, log=failure.log)

    def show_note(self, text: str) -> None:
        """Says something that is no error."""
        self._show(text, qt.QStyle.SP_MessageBoxInformation, log="")

    def add_note(self, text: str) -> None:
        """Says something besides what was said; the same words only once."""
        said = self.text
        if text not in said.split("\n"):
            self.show_note("\n".join(part for part in (said, text) if part))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Around what a click starts: an error that leaves it is told here, and goes no further."""
        try:
            yield
        except SegExplainError as error:
            self.show_failure(Failure.of_error(error))
        except Exception as error:  # the outermost place
            LOG.exception("Unexpected error in SegExplain's panel")
            self.show_failure(Failure.of_unexpected(error))

    def _show(self, text: str, icon: Any, *, log: str) -> None:
        ui = self._ui
        ui.messageLabel.text = text
        ui.messageIconLabel.setPixmap(slicer.app.style().standardIcon(icon).pixmap(qt.QSize(ICON_PX, ICON_PX)))
        ui.logText.setPlainText(log)
        ui.logButton.setVisible(bool(log))
        ui.logButton.checked = False
        ui.messageFrame.setVisible(True)

    def _show_log(self, is_shown: bool) -> None:
        self._ui.logText.setVisible(is_shown)
        self._ui.logButton.text = _("Hide log") if is_shown else _("Show log")
