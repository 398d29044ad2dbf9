"""Reading a result: which one, which label and number, how much of it, and the units one by one; nothing runs anew."""

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from SegExplainGui.machine import Machine
from SegExplainGui.parameters import Quantity
from SegExplainGui.services import Services
from SegExplainGui.shown_result import ShownResult
from SegExplainGui.views.combo_box import fill
from SegExplainGui.views.message import MessageView
from SegExplainGui.views.result_export import ResultExport
from SegExplainGui.views.units import UnitsView
from SegExplainLib.contract import SegExplainError

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters


class ResultView:
    """The section below the Explain button."""

    def __init__(self, ui: Any, services: Services, machine: Machine, *, message: MessageView) -> None:
        self._ui, self._services, self._message = ui, services, message
        self._parameters: Parameters | None = None
        self._results: list[ShownResult] = []
        self._answers: dict[str, list[str]] = {}
        self._shown: tuple[Any, ...] | None = None
        self._brought: ShownResult | None = None
        self._arrived: ShownResult | None = None
        self._tips = [(widget, widget.toolTip) for widget in (ui.shownClassSelector, ui.shownValueSelector)]
        self._sign_tips = [(widget, widget.toolTip) for widget in (ui.signLabel, ui.signSelector)]
        self._table = UnitsView(ui.unitsTable, on_pick=self._on_pick)
        self._export = ResultExport(ui, services, machine, message=message, chosen=lambda: self.chosen)
        ui.resultSelector.connect("currentIndexChanged(int)", self._on_chosen)
        ui.shownClassSelector.connect("currentIndexChanged(int)", self._on_class)
        ui.shownValueSelector.connect("currentIndexChanged(int)", self._on_value)
        ui.removeResultButton.connect("clicked()", self._on_remove)
        self._show_results([], None)

    @property
    def chosen(self) -> ShownResult | None:
        """The result that is shown; None when the scene has none."""
        at = self._ui.resultSelector.currentIndex
        return self._results[at] if 0 <= at < len(self._results) else None

    def set_parameters(self, parameters: "Parameters | None") -> None:
        """Binds other parameters, or none; a result that came in between is shown like any new one."""
        self._parameters = parameters
        self._shown = None
        self.refresh()
        arrived, self._arrived = self._arrived, self._arrived if parameters is None else None
        if arrived in self._results:
            self.show_result(arrived)

    def refresh(self) -> None:
        """Follows the scene: results that came or went, and how they are to be shown."""
        results = list(self._services.results()) if self._parameters is not None else []
        if results != self._results:
            self._show_results(results, self.chosen or self._brought)
        self._show_chosen()

    def show_result(self, result: ShownResult) -> None:
        """Shows a result that has just come or changed; while another module is open, it waits for the user."""
        if self._parameters is None:
            self._arrived = result
            return
        self._show_results(list(self._services.results()), result)
        self._shown = None
        self._ui.resultSection.collapsed = False
        if result != self._brought:  # an interim result that sharpens must not undo what the user did to the views
            self._bring_to_views()
        self._show_chosen()

    def _show_results(self, results: list[ShownResult], chosen: ShownResult | None) -> None:
        self._results = results
        at = results.index(chosen) if chosen in results else 0
        fill(self._ui.resultSelector, [result.name for result in results], at if results else -1)
        self._show_choices()
        for widget in (
            *(self._ui.resultSelector, self._ui.removeResultButton, self._ui.shownClassSelector),
            *(self._ui.shownValueSelector, self._ui.unitsTable),
        ):
            widget.enabled = bool(results)
        self._export.refresh()

    def _show_choices(self) -> None:
        """Offers the labels and numbers of the chosen result; keeps those that were shown where it has them."""
        self._answers = answers_of(self.chosen) if self.chosen is not None else {}
        shown = self.chosen.shown if self._answers and self.chosen is not None else None
        classes = list(self._answers)
        fill(self._ui.shownClassSelector, classes, _index(classes, shown[0] if shown else ""))
        self._show_quantities(shown[1] if shown else "")

    def _show_quantities(self, kept: str) -> None:
        quantities = self._quantities()
        names = [quantity_label(quantity) for quantity in quantities]
        fill(self._ui.shownValueSelector, names, _index(quantities, kept))

    def _quantities(self) -> list[str]:
        return self._answers.get(self._ui.shownClassSelector.currentText, [])

    def _show_chosen(self) -> None:
        """Draws the chosen answer into the views and the table, if it is not there already."""
        result, parameters = self.chosen, self._parameters
        quantities, at = self._quantities(), self._ui.shownValueSelector.currentIndex
        if result is None or parameters is None or not 0 <= at < len(quantities):
            self._show_nothing()
            return
        cls, quantity = self._ui.shownClassSelector.currentText, quantities[at]
        top_k, sign, opacity = parameters.top_k, parameters.sign.value, parameters.opacity
        wanted = (result.name, cls, quantity, top_k, sign, opacity)
        if wanted == self._shown:
            return
        is_other_answer = self._shown is None or self._shown[:3] != wanted[:3]
        with self._message.telling():
            self._shown = wanted
            result.show(cls, quantity, top_k=top_k, sign=sign, opacity=opacity)
            if is_other_answer:
                self._show_answer(result, cls, quantity)
            self._say("\n".join(result.sentences))
            self._show_segmentation(result.segmentation)
            self._export.refresh()

    def _show_answer(self, result: ShownResult, cls: str, quantity: str) -> None:
        scale = result.scale(cls, quantity)
        self._table.show(
            result.rows(cls, quantity),
            unit_of_value=result.unit_of_value(cls, quantity),
            noun=result.noun.capitalize(),
            scale=scale,
            has_errors=not result.has_voxel_map,
        )
        for widget, tip in self._sign_tips:
            widget.enabled = scale.is_signed
            widget.toolTip = _("For: above zero. Against: below zero. The report says what signs mean here")
            if not result.has_voxel_map:
                widget.toolTip = tip
        n_answers = sum(len(quantities) for quantities in self._answers.values())
        for widget, tip in self._tips:
            widget.enabled = n_answers > 1
            widget.toolTip = tip if n_answers > 1 else _("This run answers one question; explain again for another")

    def _show_nothing(self) -> None:
        self._shown = None
        self._table.clear()
        self._say("" if self._results else _("There is no explanation in this scene yet."))
        self._show_segmentation(None)

    def _show_segmentation(self, node: Any) -> None:
        if self._ui.show3DButton.segmentationNode() is not node:
            self._ui.show3DButton.setSegmentationNode(node)
        if self._ui.segmentsTable.segmentationNode() is not node:
            self._ui.segmentsTable.setSegmentationNode(node)

    def _on_chosen(self, _row: int) -> None:
        self._show_choices()
        self._bring_to_views()
        self._show_chosen()

    def _on_class(self, _row: int) -> None:
        self._show_quantities(self._shown[2] if self._shown is not None else "")
        self._show_chosen()

    def _on_value(self, _row: int) -> None:
        self._show_chosen()

    def _bring_to_views(self) -> None:
        result = self.chosen
        if result is not None and self._answers:
            with self._message.telling():
                self._services.bring_to_views(result)
                self._brought = result

    def _on_pick(self, unit_id: int | None) -> None:
        result = self.chosen
        if result is not None:
            with self._message.telling():
                result.highlight(unit_id)
                if unit_id is not None:
                    self._services.jump_to(result, unit_id)

    def _on_remove(self) -> None:
        result = self.chosen
        if result is None:
            return
        with self._message.telling():
            question = _("Remove “{name}” and its nodes from the scene?").format(name=result.name)
            if self._services.confirm(question):
                self._services.remove(result)
                self.refresh()

    def _say(self, text: str) -> None:
        self._ui.answerLabel.text = text
        self._ui.answerLabel.setVisible(bool(text))


def answers_of(result: ShownResult) -> dict[str, list[str]]:
    """What a result can show; nothing before its first interim answer has come."""
    try:
        return result.answers()
    except SegExplainError:
        return {}


def quantity_label(quantity: str) -> str:
    """A value function for people."""
    known = {one.value: one for one in Quantity}
    return known[quantity].label() if quantity in known else quantity


def _index(names: list[str], kept: str) -> int:
    return names.index(kept) if kept in names else (0 if names else -1)
