"""The bar and the line below the Explain button: what is done at the moment, how far it is, how long it still takes."""

from typing import Any

from slicer.i18n import tr as _

from SegExplainGui.views.message import MessageView
from SegExplainGui.views.wording import duration, stage_words
from SegExplainLib.contract import Event

BAR_STEPS = 1000


class ProgressLine:
    """Shows the events of whatever is under way, an explanation or a check.

    Attributes:
        note: Said below the stage, as long as it is set.
    """

    def __init__(self, ui: Any, *, message: MessageView) -> None:
        self._ui, self._message = ui, message
        self._stage = ""
        self.note = ""

    @property
    def text(self) -> str:
        """What is said."""
        return self._ui.progressLabel.text

    def begin(self) -> None:
        """Appears."""
        self.note = ""
        self.heard(Event(event="stage", stage="start"))
        self._set_visible(True)

    def end(self) -> None:
        """Goes away."""
        self._set_visible(False)

    def say(self, text: str) -> None:
        """Says something else than what the events tell."""
        self._ui.progressLabel.text = "\n".join(part for part in (text, self.note) if part)

    def heard(self, event: Event) -> None:
        """Follows one event; a warning becomes a note in the panel's message."""
        if event.event == "warning":
            self._message.add_note(event.message)
        elif event.event == "stage":
            self._stage = event.stage
            self._ui.progressBar.setRange(0, 0)
            self.say(stage_words(event.stage))
        elif event.event == "progress" and event.total > 0:
            self._ui.progressBar.setRange(0, BAR_STEPS)
            self._ui.progressBar.value = round(BAR_STEPS * min(event.done, event.total) / event.total)
            self.say(self._progress_words(event))

    def _progress_words(self, event: Event) -> str:
        parts = [stage_words(event.stage or self._stage)]
        if event.left_s is not None:
            parts.append(_("{time} left").format(time=duration(event.left_s)))
        if event.error is not None:
            parts.append(_("error {error} %").format(error=f"{100 * event.error:.2g}"))
        return ", ".join(parts)

    def _set_visible(self, is_visible: bool) -> None:
        self._ui.progressBar.setVisible(is_visible)
        self._ui.progressLabel.setVisible(is_visible)
