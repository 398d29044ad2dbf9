"""Can it be trusted? Has the chosen result checked, and shows what came of it: sentences, main numbers, curves."""

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from SegExplainGui.services import STABILITY, Failure, ModelUse, Services
from SegExplainGui.shown_result import CheckedTrust, ShownResult
from SegExplainGui.views.message import MessageView
from SegExplainGui.views.progress_line import ProgressLine
from SegExplainLib.contract import Event

RIGHT_MIDDLE = 0x0082  # Qt::AlignRight | Qt::AlignVCenter as a number: not every PythonQt takes combined flags
LEAST_PICTURE_PX = 240
MARGIN_PX = 12


class TrustView:
    """One check at a time.

    Attributes:
        is_running: Whether a check that this panel started is under way.
    """

    def __init__(
        self,
        ui: Any,
        services: Services,
        *,
        message: MessageView,
        line: ProgressLine,
        chosen: Callable[[], ShownResult | None],
        use: Callable[[], ModelUse],
        on_change: Callable[[], None],
        on_missing: Callable[[Failure], None],
    ) -> None:
        self.is_running = False
        self._ui, self._services, self._message, self._line = ui, services, message, line
        self._chosen, self._use, self._on_change, self._on_missing = chosen, use, on_change, on_missing
        self._shown: tuple[Any, ...] | None = None
        ui.trustTable.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.trustButton.connect("clicked()", self._on_click)
        ui.curvesButton.connect("clicked()", self._on_curves)
        ui.resultSelector.connect("currentIndexChanged(int)", lambda _row: self.refresh())
        self._show_running(False)

    def refresh(self) -> None:
        """Follows the chosen result."""
        result, ui = self._chosen(), self._ui
        finished = result if result is not None and result.sentences else None
        ui.trustSection.setVisible(self.is_running or finished is not None)  # a check can always be cancelled
        why_not = "" if self.is_running or finished is None else self._why_not(finished)
        ui.trustButton.enabled = not why_not
        ui.trustButton.toolTip = why_not or self._button_tip()
        ui.stabilityCheckBox.enabled = not (why_not or self.is_running)
        ui.trustReasonLabel.text = why_not
        ui.trustReasonLabel.setVisible(bool(why_not))
        self._show(finished.trust if finished is not None else None)

    def _why_not(self, result: ShownResult) -> str:
        if self._services.is_busy:
            return _("Wait for the end of what is under way.")
        return self._services.why_unchecked(result)

    def _on_click(self) -> None:
        if self.is_running:
            self._ui.trustButton.enabled = False
            self._say(_("Stopping..."))
            with self._message.telling():
                self._services.cancel()
            return
        result = self._chosen()
        if result is None:
            return
        with self._message.telling():
            self._message.clear()
            stability = STABILITY if self._ui.stabilityCheckBox.checked else ()
            self._services.evaluate(
                result, self._use(), stability=stability, on_event=self._on_event, on_end=self._on_end
            )
            self._line.begin()
            self._show_running(True)
            self._say(self._line.text)
            self._on_change()

    def _on_event(self, event: Event) -> None:
        self._line.heard(event)
        self._ui.trustProgressLabel.text = self._line.text

    def _on_end(self, failure: Failure | None) -> None:
        self._line.end()
        self._show_running(False)
        if failure is None:
            self._ui.trustSection.collapsed = False
        elif failure.kind == "Cancelled":
            self._message.show_note(failure.message or _("Stopped."))
        else:
            self._message.show_failure(failure)
            self._on_missing(failure)
        self._on_change()

    def _say(self, text: str) -> None:
        """In the line that every work has, and here: that one may be out of sight."""
        self._line.say(text)
        self._ui.trustProgressLabel.text = text

    def _on_curves(self) -> None:
        result = self._chosen()
        if result is not None:
            with self._message.telling():
                self._services.open_curves(result)

    def _show_running(self, is_running: bool) -> None:
        self.is_running = is_running
        ui = self._ui
        ui.trustButton.text = _("Cancel the check") if is_running else _("Check this explanation")
        ui.trustButton.toolTip = self._button_tip()
        ui.trustProgressLabel.setVisible(is_running)

    def _button_tip(self) -> str:
        if self.is_running:
            return _("Stops the check. What was tried is kept: another check goes on from there.")
        return _(
            "Asks the network again, with units removed in the order of their importance and in random orders: does "
            "the label go with what the explanation calls important? Takes as long as an explanation, or several times "
            "that. Slicer stays usable meanwhile."
        )

    def _show(self, trust: CheckedTrust | None) -> None:
        """Draws what came of a check, if it is not there already."""
        ui = self._ui
        has_picture = trust is not None and trust.has_picture
        wanted = (trust, has_picture, self._picture_width if has_picture else 0)
        if wanted == self._shown:
            return
        self._shown = wanted
        ui.trustSection.text = " ".join([_("Can it be trusted?"), trust.verdict if trust is not None else ""]).strip()
        ui.trustLabel.text = "" if trust is None else "\n".join(f"• {sentence}" for sentence in trust.sentences)
        ui.trustLabel.setVisible(trust is not None)
        self._show_table(trust)
        reasons = [] if trust is None else trust.undefined
        ui.undefinedLabel.text = "\n".join([_("Without a value (–):"), *reasons])
        ui.undefinedLabel.setVisible(bool(reasons))
        ui.curvesButton.setVisible(has_picture)
        if trust is not None and has_picture:
            self._show_picture(trust.picture)

    def _show_table(self, trust: CheckedTrust | None) -> None:
        table = self._ui.trustTable
        headings = [] if trust is None else list(trust.headings)
        rows = [] if trust is None else trust.rows
        table.setVisible(bool(rows))
        table.setColumnCount(len(headings))
        table.setRowCount(len(rows))
        table.setHorizontalHeaderLabels([heading.replace(" ", "\n", 1) for heading in headings])
        for at, row in enumerate(rows):
            for column, text in enumerate(row):
                cell = qt.QTableWidgetItem(text)
                cell.setToolTip(text.strip())
                if column:
                    cell.setData(qt.Qt.TextAlignmentRole, RIGHT_MIDDLE)
                table.setItem(at, column, cell)
        for column in range(len(headings)):
            is_name = column == 0
            mode = qt.QHeaderView.Stretch if is_name else qt.QHeaderView.ResizeToContents
            table.horizontalHeader().setSectionResizeMode(column, mode)

    @property
    def _picture_width(self) -> int:
        return max(LEAST_PICTURE_PX, self._ui.trustSection.width - MARGIN_PX)

    def _show_picture(self, path: str) -> None:
        picture, button = qt.QPixmap(path), self._ui.curvesButton
        small = picture.scaledToWidth(self._picture_width, qt.Qt.SmoothTransformation)
        button.setIcon(qt.QIcon(small))
        button.iconSize = small.size()
