"""Choosing the network and the label: lists that come from this machine and from the network itself."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SegExplainGui.machine import Machine
from SegExplainGui.services import Failure, Installation, ModelChoice, ModelDescription, ModelUse, Services
from SegExplainGui.views.combo_box import fill

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters

PAUSE_MS = 300


class InputsView:
    """The network, its label and its device, by hand: their choices are not known beforehand."""

    def __init__(
        self,
        ui: Any,
        services: Services,
        machine: Machine,
        *,
        on_change: Callable[[], None],
        on_missing: Callable[[Failure], None],
    ) -> None:
        self._ui, self._services, self._machine = ui, services, machine
        self._on_change, self._on_missing = on_change, on_missing
        self._parameters: Parameters | None = None
        self._choices: list[ModelChoice] = []
        self._devices: list[str] = []
        self._classes: list[str] = []
        self._failure: Failure | None = None
        self._asked: tuple[Any, ...] | None = None
        self._can_ask = False
        self._fill_models()
        self.show_devices(None)
        self._make_searchable()
        self._pause = qt.QTimer()
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.connect("timeout()", self._describe)
        ui.modelSelector.connect("currentIndexChanged(int)", self._take_model)
        ui.modelFolderButton.connect("clicked()", self._choose_folder)
        ui.targetSelector.connect("currentTextChanged(QString)", self._take_target)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._take_device)
        ui.trustCheckBox.connect("toggled(bool)", self._take_trust)

    def use(self) -> ModelUse:
        """The network as chosen."""
        return ModelUse(
            model=self._machine.model, device=self._machine.device, trust_model=bool(self._ui.trustCheckBox.checked)
        )

    def reason(self) -> str:
        """Why the network or the label cannot be used; empty when they can."""
        if not self._machine.model:
            return _("Choose a network.")
        if self._failure is not None:
            return _("The network cannot be used: see below its name.")
        if not self._classes:
            return _("The network is being opened...")
        if self._parameters is None or self._parameters.target not in self._classes:
            typed = self._ui.targetSelector.currentText.strip()
            if typed and typed not in self._classes:
                return _("The network has no label “{name}”.").format(name=typed)
            return _("Choose the label to explain.")
        return ""

    def set_parameters(self, parameters: "Parameters | None") -> None:
        """Binds other parameters, or none."""
        self._parameters = parameters
        self._asked = None
        self._pause.stop()

    def ask_again(self) -> None:
        """The worker was ended: what it has not answered, it never will."""
        if not self._classes:
            self._asked = None

    def refresh(self, *, can_ask: bool) -> None:
        """Shows what the parameters say; opens the network when it is another one and ``can_ask``."""
        self._can_ask = can_ask
        if self._parameters is None:
            return
        self._show_target()
        if can_ask and self._key() != self._asked:
            self._pause.start()

    def show_devices(self, installation: Installation | None) -> None:
        """Offers the devices that the installation can use."""
        found = [device for device in (installation.devices if installation else ()) if device != "auto"]
        kept = self._machine.device
        self._devices = ["auto", *found] + ([kept] if kept not in ("auto", *found) else [])
        automatic = _("Automatic ({device})") if installation and installation.device else _("Automatic")
        names = [automatic.format(device=installation.device if installation else ""), *self._devices[1:]]
        fill(self._ui.deviceSelector, names, self._devices.index(kept))

    def _fill_models(self) -> None:
        recent = [
            ModelChoice(model=folder, label=_short(folder), detail=folder)
            for folder in self._machine.recent_models
            if os.path.isdir(folder) or folder == self._machine.model  # a folder that may not be read is none
        ]
        found = list(self._services.models())
        known = {choice.model for choice in found}
        self._choices = found + [choice for choice in recent if choice.model not in known]
        if self._machine.model not in {choice.model for choice in self._choices}:
            self._machine.model = self._choices[0].model if self._choices else ""
        names = [choice.model for choice in self._choices]
        at = names.index(self._machine.model) if self._machine.model in names else -1
        fill(self._ui.modelSelector, [choice.label for choice in self._choices], at)
        for row, choice in enumerate(self._choices):
            self._ui.modelSelector.setItemData(row, choice.detail, qt.Qt.ToolTipRole)

    def _make_searchable(self) -> None:
        completer = self._ui.targetSelector.completer()
        completer.completionMode = qt.QCompleter.PopupCompletion
        completer.caseSensitivity = qt.Qt.CaseInsensitive
        completer.filterMode = qt.Qt.MatchContains
        self._ui.targetSelector.lineEdit().placeholderText = _("Choose or type to search")
        self._ui.targetSelector.enabled = False

    def _take_model(self, row: int) -> None:
        if 0 <= row < len(self._choices):
            self._machine.model = self._choices[row].model
            self._ui.trustCheckBox.checked = False  # trust is given to one network at a time
            self._on_change()

    def _choose_folder(self) -> None:
        start = self._machine.model if os.path.isdir(self._machine.model) else ""
        folder = qt.QFileDialog.getExistingDirectory(self._ui.modelFolderButton, _("Folder of the network"), start)
        if folder:
            self._machine.remember_model(folder)
            self._machine.model = folder
            self._fill_models()
            self._on_change()

    def _take_device(self, row: int) -> None:
        if 0 <= row < len(self._devices):
            self._machine.device = self._devices[row]
            self._on_change()

    def _take_trust(self, _is_trusted: bool) -> None:
        self._on_change()

    def _take_target(self, text: str) -> None:
        if self._parameters is not None:
            self._parameters.target = text if text in self._classes else ""
            self._on_change()

    def _key(self) -> tuple[Any, ...]:
        """All that the network's description depends on."""
        parameters = self._parameters
        return (self.use(), parameters.folds, parameters.mirroring) if parameters is not None else (self.use(),)

    def _describe(self) -> None:
        if self._parameters is None or not self._machine.model or not self._can_ask:
            return
        key = self._asked = self._key()
        self._failure, self._classes = None, []
        self._say(_("Opening the network..."))

        def answered(description: ModelDescription) -> None:
            if key == self._asked:
                self._on_described(description)

        def failed(failure: Failure) -> None:
            if key == self._asked:
                self._on_failed(failure)

        self._services.describe(self._parameters, self.use(), on_answer=answered, on_failure=failed)
        self._on_change()

    def _on_described(self, description: ModelDescription) -> None:
        self._classes = list(description.classes)
        wanted = self._parameters.target if self._parameters is not None else ""
        only = self._classes[0] if len(self._classes) == 1 else ""
        at = self._classes.index(wanted) if wanted in self._classes else -1
        fill(self._ui.targetSelector, self._classes, at)
        self._ui.targetSelector.enabled = True
        self._say("")
        if only and not wanted and self._parameters is not None:
            self._parameters.target = only
        self._show_target()
        self._on_change()

    def _on_failed(self, failure: Failure) -> None:
        if failure.kind == "Cancelled":
            self._asked = None
            return
        self._failure = failure
        self._ui.targetSelector.enabled = False
        self._say("\n".join(part for part in (failure.message, failure.hint) if part))
        self._on_missing(failure)
        self._on_change()

    def _show_target(self) -> None:
        wanted = self._parameters.target if self._parameters is not None else ""
        if wanted in self._classes and self._ui.targetSelector.currentText != wanted:
            self._ui.targetSelector.currentIndex = self._classes.index(wanted)

    def _say(self, text: str) -> None:
        self._ui.modelStateLabel.text = text
        self._ui.modelStateLabel.setVisible(bool(text))


def _short(folder: str) -> str:
    """The last two parts of a folder: enough to know it again in a narrow box."""
    return "/".join(Path(folder).parts[-2:])
