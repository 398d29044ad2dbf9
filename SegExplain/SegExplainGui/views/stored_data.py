"""Results folders that come back into the scene, and getting rid of what SegExplain stored on this computer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SegExplainGui.machine import Machine
from SegExplainGui.services import Services
from SegExplainGui.shown_result import ShownResult
from SegExplainGui.views.message import MessageView

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters


class StoredData:
    """The last section of the panel."""

    def __init__(
        self,
        ui: Any,
        services: Services,
        machine: Machine,
        *,
        message: MessageView,
        on_result: Callable[[ShownResult], None],
        on_deleted: Callable[[], None],
    ) -> None:
        self._ui, self._services, self._machine, self._message = ui, services, machine, message
        self._on_result, self._on_deleted = on_result, on_deleted
        self._parameters: Parameters | None = None
        ui.loadFolderButton.connect("clicked()", self._on_load)
        ui.deleteDownloadsButton.connect("clicked()", self._on_delete)

    def set_parameters(self, parameters: "Parameters | None") -> None:
        """Binds other parameters, or none."""
        self._parameters = parameters

    def refresh(self) -> None:
        """Lets a result be loaded only over a CT, and nothing be deleted while it is used."""
        has_ct = self._parameters is not None and self._parameters.ct is not None
        self._ui.loadFolderButton.enabled = has_ct
        self._ui.loadFolderButton.toolTip = (
            _("Shows an earlier result that was saved as a folder, over the chosen CT")
            if has_ct
            else _("Choose the CT that was explained first")
        )
        self._ui.deleteDownloadsButton.enabled = not self._services.is_busy

    def _on_load(self) -> None:
        if self._parameters is None:
            return
        title, start = _("Results folder"), self._machine.results_folder
        folder = qt.QFileDialog.getExistingDirectory(self._ui.dataSection, title, start)
        if folder:
            with self._message.telling():
                result = self._services.load_folder(folder, self._parameters)
                self._machine.results_folder = folder
                self._on_result(result)

    def _on_delete(self) -> None:
        with self._message.telling():
            found = self._services.downloads()
            if not found:
                self._message.show_note(_("There is nothing to delete."))
            elif self._services.confirm(_("Delete this?") + "\n\n" + found):
                self._services.delete_downloads()
                self._message.show_note(_("Deleted."))
                self._on_deleted()
