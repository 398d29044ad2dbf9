"""The buttons that take a result out of the scene: chart, report page, table, segmentation, folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SegExplainGui.machine import Machine
from SegExplainGui.services import Services
from SegExplainGui.shown_result import ShownResult
from SegExplainGui.views.message import MessageView


class ResultExport:
    """Asks where to, and has it written."""

    def __init__(
        self,
        ui: Any,
        services: Services,
        machine: Machine,
        *,
        message: MessageView,
        chosen: Callable[[], ShownResult | None],
    ) -> None:
        self._ui, self._services, self._machine = ui, services, machine
        self._message, self._chosen = message, chosen
        ui.chartButton.connect("clicked()", self._on_chart)
        ui.reportButton.connect("clicked()", self._on_report)
        ui.saveTableButton.connect("clicked()", self._on_table)
        ui.saveSegmentationButton.connect("clicked()", self._on_segmentation)
        ui.saveFolderButton.connect("clicked()", self._on_folder)

    def refresh(self) -> None:
        """Lets those buttons be pressed that have something to give."""
        result, ui = self._chosen(), self._ui
        for button in (ui.chartButton, ui.saveTableButton, ui.saveSegmentationButton):
            button.enabled = result is not None
        for button in (ui.reportButton, ui.saveFolderButton):
            button.enabled = result is not None and result.has_report

    def _on_chart(self) -> None:
        result = self._chosen()
        if result is not None:
            with self._message.telling():
                self._services.show_chart(result)

    def _on_report(self) -> None:
        result = self._chosen()
        if result is not None:
            with self._message.telling():
                self._services.open_report(result)

    def _on_table(self) -> None:
        self._save(self._services.save_table, _("Save the table of units"), ".csv", _("Table (*.csv)"))

    def _on_segmentation(self) -> None:
        self._save(self._services.save_segmentation, _("Save the units"), ".seg.nrrd", _("Segmentation (*.seg.nrrd)"))

    def _save(self, write: Callable[[ShownResult, str], None], title: str, ending: str, kinds: str) -> None:
        result = self._chosen()
        if result is None:
            return
        start = str(Path(self._machine.results_folder) / (file_stem(result.name) + ending))
        path = qt.QFileDialog.getSaveFileName(self._ui.resultSection, title, start, kinds)
        if not path:
            return
        path = path if path.endswith(ending) else path + ending
        with self._message.telling():
            write(result, path)
            self._machine.results_folder = str(Path(path).parent)
            self._message.show_note(_("Saved as {path}").format(path=path))

    def _on_folder(self) -> None:
        result = self._chosen()
        if result is None:
            return
        title = _("Folder to copy the results into")
        folder = qt.QFileDialog.getExistingDirectory(self._ui.resultSection, title, self._machine.results_folder)
        if folder:
            with self._message.telling():
                target = str(Path(folder) / file_stem(result.name))
                self._services.save_folder(result, target)
                self._machine.results_folder = folder
                self._message.show_note(_("Saved in {path}").format(path=target))


def file_stem(name: str) -> str:
    """A result's name as a file name that every system takes."""
    kept = "".join(letter if letter.isalnum() or letter in "-_ " else "_" for letter in name)
    return kept.strip() or "SegExplain"
