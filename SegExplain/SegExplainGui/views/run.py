"""The Explain button, the run that it started, and the way to stop it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from SegExplainGui.services import PREVIEW, Failure, ModelUse, Services
from SegExplainGui.shown_result import ShownResult
from SegExplainGui.views.message import MessageView
from SegExplainGui.views.progress_line import ProgressLine
from SegExplainLib.contract import Event

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters


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
        line: ProgressLine,
        on_start: Callable[[], tuple["Parameters", ModelUse] | None],
        on_result: Callable[[ShownResult], None],
        on_change: Callable[[], None],
        on_missing: Callable[[Failure], None],
        on_preview: Callable[[], None],
    ) -> None:
        self.is_running = False
        self._ui, self._services, self._message, self._line = ui, services, message, line
        self._on_start, self._on_result, self._on_change = on_start, on_result, on_change
        self._on_missing, self._on_preview = on_missing, on_preview
        self._has_result = False
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
            self._line.say(_("Stopping..."))
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
            self._has_result = False
            self._line.begin()
            self._show_running(True)
            self._on_change()

    def _on_event(self, event: Event) -> None:
        if event.event == "partial" and event.message == PREVIEW:
            if not self._has_result:
                self._line.note = _("Shown meanwhile: a Seg-Grad-CAM preview, which is not the answer.")
            self._on_preview()
        else:
            self._line.heard(event)

    def _on_answer(self, result: ShownResult) -> None:
        self._has_result, self._line.note = True, ""
        self._on_result(result)

    def _on_end(self, failure: Failure | None) -> None:
        self._line.end()
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
