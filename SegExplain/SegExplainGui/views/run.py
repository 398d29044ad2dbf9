"""The Explain button and what it started: stage, share done, time left, error; and the way to stop it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from SegExplainGui.services import PREVIEW, Failure, ModelUse, Services, ShownResult
from SegExplainGui.views.message import MessageView
from SegExplainGui.views.wording import duration, stage_words
from SegExplainLib.contract import Event

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters

BAR_STEPS = 1000


class RunView:
    """One run at a time.

    Attributes:
        is_running: Whether a run that this panel started is under way.
    """

    def __init__(
        self,
        ui: Any,
        services: Services,
        *,
        message: MessageView,
        on_start: Callable[[], tuple["Parameters", ModelUse] | None],
        on_result: Callable[[ShownResult], None],
        on_change: Callable[[], None],
        on_missing: Callable[[Failure], None],
        on_preview: Callable[[], None],
    ) -> None:
        self.is_running = False
        self._ui, self._services, self._message = ui, services, message
        self._on_start, self._on_result, self._on_change = on_start, on_result, on_change
        self._on_missing, self._on_preview = on_missing, on_preview
        self._has_result, self._has_preview = False, False
        self._stage = ""
        ui.explainButton.connect("clicked()", self._on_click)

    def refresh(self, reason: str) -> None:
        """Lets the button be pressed, or says why it cannot."""
        ui = self._ui
        ui.explainButton.enabled = self.is_running or not reason
        ui.reasonLabel.text = "" if self.is_running else reason
        ui.reasonLabel.setVisible(bool(ui.reasonLabel.text))

    def _on_click(self) -> None:
        if self.is_running:
            self._ui.explainButton.enabled = False
            self._say(_("Stopping..."))
            with self._message.telling():
                self._services.cancel()
            return
        with self._message.telling():
            started = self._on_start()
            if started is None:
                return
            parameters, use = started
            self._message.clear()
            self._services.explain(
                parameters, use, on_event=self._on_event, on_result=self._on_answer, on_end=self._on_end
            )
            self._has_result, self._has_preview = False, False
            self._show_running(True)
            self._on_event(Event(event="stage", stage="start"))
            self._on_change()

    def _on_event(self, event: Event) -> None:
        if event.event == "warning":
            self._message.add_note(event.message)
        elif event.event == "stage":
            self._stage = event.stage
            self._ui.progressBar.setRange(0, 0)
            self._say(stage_words(event.stage))
        elif event.event == "partial" and event.message == PREVIEW:
            self._has_preview = True
            self._on_preview()
        elif event.event == "progress" and event.total > 0:
            self._ui.progressBar.setRange(0, BAR_STEPS)
            self._ui.progressBar.value = round(BAR_STEPS * min(event.done, event.total) / event.total)
            self._say(self._progress_words(event))

    def _progress_words(self, event: Event) -> str:
        parts = [stage_words(event.stage or self._stage)]
        if event.left_s is not None:
            parts.append(_("{time} left").format(time=duration(event.left_s)))
        if event.error is not None:
            parts.append(_("error {error} %").format(error=f"{100 * event.error:.2g}"))
        return ", ".join(parts)

    def _say(self, text: str) -> None:
        """Also what the views show, as long as it is not the answer."""
        is_preview = self._has_preview and not self._has_result
        note = _("Shown meanwhile: a Seg-Grad-CAM preview, which is not the answer.")
        self._ui.progressLabel.text = f"{text}\n{note}" if is_preview else text

    def _on_answer(self, result: ShownResult) -> None:
        self._has_result = True
        self._on_result(result)

    def _on_end(self, failure: Failure | None) -> None:
        self._show_running(False)
        if failure is not None and failure.kind == "Cancelled":
            is_kept = self._has_result and bool(self._services.results())
            kept = [_("What was found so far is shown under Result.")] if is_kept else []
            self._message.show_note("\n".join([failure.message or _("Stopped."), *kept]))
        elif failure is not None:
            self._message.show_failure(failure)
            self._on_missing(failure)
        self._on_change()

    def _show_running(self, is_running: bool) -> None:
        self.is_running = is_running
        ui = self._ui
        ui.explainButton.enabled = True
        ui.explainButton.text = _("Cancel") if is_running else _("Explain")
        ui.explainButton.toolTip = (
            _("Stops the explanation; what was found so far is kept")
            if is_running
            else _("Starts the explanation; Slicer stays usable meanwhile")
        )
        ui.progressBar.setVisible(is_running)
        ui.progressLabel.setVisible(is_running)
