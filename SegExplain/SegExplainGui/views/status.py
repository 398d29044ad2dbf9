"""The strip at the top: what is ready on this computer and what is not, and installing what is missing."""

from collections.abc import Callable, Sequence
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from SegExplainGui.machine import Machine
from SegExplainGui.services import Failure, Finding, Installation, Services
from SegExplainGui.views.message import MessageView

ICON_PX = 16
TYPING_PAUSE_MS = 800


class StatusView:
    """Asks what is installed, shows it, and lets the user install or name another Python.

    Attributes:
        installation: The last answer; None while none has come.
    """

    def __init__(
        self, ui: Any, services: Services, machine: Machine, *, message: MessageView, on_change: Callable[[], None]
    ) -> None:
        self.installation: Installation | None = None
        self._ui, self._services, self._machine = ui, services, machine
        self._message, self._on_change = message, on_change
        self._failure: Failure | None = None
        self._wanted: tuple[str, ...] = ()
        self._rows: list[Any] = []
        self._is_installing = False
        ui.pythonPath.filters = ctk.ctkPathLineEdit.Files
        ui.pythonPath.currentPath = machine.python
        services.use_python(machine.python)
        self._pause = qt.QTimer()
        self._pause.setSingleShot(True)
        self._pause.setInterval(TYPING_PAUSE_MS)
        self._pause.connect("timeout()", self._take_python)
        ui.pythonPath.connect("currentPathChanged(QString)", self._wait_for_python)
        ui.installButton.connect("clicked()", self._on_install)
        ui.checkButton.connect("clicked()", self.check)
        ui.installButton.setVisible(False)

    def reason(self) -> str:
        """Why nothing can be explained yet; empty when all is there."""
        if self._is_installing:
            return _("Packages are being installed.")
        if self._failure is not None:
            return _("The worker does not start: see the top of the panel.")
        if self.installation is None:
            return _("Checking what is ready...")
        return _("Packages are missing: see the top of the panel.") if self.installation.missing else ""

    def check(self) -> None:
        """Asks anew."""
        self.installation, self._failure, self._wanted = None, None, ()
        self._ui.statusSection.text = _("Checking what is ready...")
        self._ui.checkButton.enabled = False
        self._services.check(self._on_answer, self._on_failure)
        self._on_change()

    def offer(self, failure: Failure) -> None:
        """Offers to install what a failed question would need; others can still be asked."""
        if not failure.missing or self.installation is None:
            return
        self._wanted = failure.missing
        findings = [*self.installation.findings, Finding(state="fault", text=failure.message)]
        self._show(findings, missing=(*self.installation.missing, *self._wanted))
        self._ui.statusSection.collapsed = False

    def close(self) -> None:
        """Waits for nothing more."""
        self._pause.stop()

    def _on_answer(self, installation: Installation) -> None:
        self.installation = installation
        self._show(installation.findings, missing=installation.missing)
        self._ui.statusSection.text = self._heading(installation)
        self._ui.statusSection.collapsed = not installation.missing and not _has_fault(installation.findings)
        self._on_change()

    def _on_failure(self, failure: Failure) -> None:
        self._failure = failure
        self._show([Finding(state="fault", text=" ".join([failure.message, failure.hint]).strip())], missing=())
        self._ui.statusSection.text = _("Not ready: the worker does not start")
        self._ui.statusSection.collapsed = False
        if failure.log:
            self._message.show_failure(failure)
        self._on_change()

    def _heading(self, installation: Installation) -> str:
        n_missing = len(installation.missing)
        if n_missing:
            return (
                _("Not ready: one package is missing")
                if n_missing == 1
                else _("Not ready: {n} packages are missing").format(n=n_missing)
            )
        if _has_fault(installation.findings):
            return _("Ready, with a fault")
        return _("Ready, on the GPU") if installation.device.startswith("cuda") else _("Ready, on the CPU")

    def _show(self, findings: Sequence[Finding], *, missing: Sequence[str]) -> None:
        layout = self._ui.findingsLayout
        for label in self._rows:
            layout.removeWidget(label)
            label.deleteLater()
        self._rows = []
        for row, finding in enumerate(findings):
            icon, text = qt.QLabel(), qt.QLabel(finding.text)
            icon.setPixmap(_icon(finding.state).pixmap(qt.QSize(ICON_PX, ICON_PX)))
            icon.setSizePolicy(qt.QSizePolicy.Fixed, qt.QSizePolicy.Preferred)
            icon.toolTip = _state_words(finding.state)
            icon.setAccessibleName(_state_words(finding.state))
            text.setWordWrap(True)
            layout.addWidget(icon, row, 0)
            layout.addWidget(text, row, 1)
            self._rows += [icon, text]
        self._ui.installButton.setVisible(bool(missing))
        self._ui.installButton.text = _("Install what is missing")
        self._ui.checkButton.enabled = True

    def _on_install(self) -> None:
        if self._is_installing:
            self._services.cancel()
            return
        if self.installation is None:
            return
        self._is_installing = True
        self._ui.installButton.text = _("Stop installing")
        self._ui.checkButton.enabled = False
        with self._message.telling():
            missing = (*self.installation.missing, *self._wanted)
            self._services.install(missing, on_text=self._on_install_text, on_end=self._on_install_end)
        self._on_change()

    def _on_install_text(self, text: str) -> None:
        self._ui.installLabel.text = text
        self._ui.installLabel.setVisible(True)

    def _on_install_end(self, failure: Failure | None) -> None:
        self._is_installing = False
        self._ui.installLabel.setVisible(False)
        if failure is not None and failure.kind != "Cancelled":
            self._message.show_failure(failure)
        self.check()

    def _wait_for_python(self, _path: str) -> None:
        self._pause.start()

    def _take_python(self) -> None:
        path = self._ui.pythonPath.currentPath.strip()
        if path != self._machine.python:
            self._machine.python = path
            self._services.use_python(path)
            self.check()


def _has_fault(findings: Sequence[Finding]) -> bool:
    return any(finding.state == "fault" for finding in findings)


def _icon(state: str) -> Any:
    icons = {"ok": qt.QStyle.SP_DialogApplyButton, "note": qt.QStyle.SP_MessageBoxInformation}
    return slicer.app.style().standardIcon(icons.get(state, qt.QStyle.SP_MessageBoxWarning))


def _state_words(state: str) -> str:
    return {"ok": _("Ready"), "note": _("Note")}.get(state, _("Not ready"))
