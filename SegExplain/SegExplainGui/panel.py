"""The panel: widgets <-> parameters, and what can be done at the moment.

Each section of the panel is a view in a file of its own. This one holds them together: whatever changes in the widgets,
the scene or the worker leads to one `_refresh`, which tells every view to show how things stand.
"""

from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin
from vtk import vtkCommand

from SegExplainGui.machine import Machine
from SegExplainGui.parameters import Quantity, UnitKind
from SegExplainGui.services import ModelUse, Services
from SegExplainGui.shown_result import ShownResult
from SegExplainGui.views.inputs import InputsView
from SegExplainGui.views.message import MessageView
from SegExplainGui.views.method_options import MethodOptions
from SegExplainGui.views.progress_line import ProgressLine
from SegExplainGui.views.region import RegionView
from SegExplainGui.views.result import ResultView
from SegExplainGui.views.run import RunView
from SegExplainGui.views.segment_choice import SegmentChoice
from SegExplainGui.views.status import StatusView
from SegExplainGui.views.stored_data import StoredData
from SegExplainGui.views.trust import TrustView

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters


class Panel(VTKObservationMixin):
    """What the user sees of SegExplain.

    Args:
        ui: The widgets of SegExplain.ui by name, as ``slicer.util.childWidgetVariables`` gives them.
        scene: vtkMRMLScene.
        services: Does what the panel asks for.

    Attributes:
        message: Says what went wrong.
    """

    def __init__(self, ui: Any, *, scene: Any, services: Services) -> None:
        VTKObservationMixin.__init__(self)
        self._ui, self._scene, self._services = ui, scene, services
        self._parameters: Parameters | None = None
        self._gui_tag: int | None = None
        self._observed: tuple[Any, Any] = (None, None)
        self._soon = qt.QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.connect("timeout()", self._refresh)
        machine, changed = Machine(), self._refresh_soon
        self.message = MessageView(ui)
        self._status = StatusView(ui, services, machine, message=self.message, on_change=self._on_status)
        self._inputs = InputsView(ui, services, machine, on_change=changed, on_missing=self._status.offer)
        self._region = RegionView(ui, services, message=self.message, on_change=changed)
        self._method = MethodOptions(ui, on_change=changed)
        self._result = ResultView(ui, services, machine, message=self.message)
        line = ProgressLine(ui, message=self.message)
        self._trust = TrustView(
            ui,
            services,
            message=self.message,
            line=line,
            chosen=lambda: self._result.chosen,
            use=self._inputs.use,
            on_change=changed,
            on_missing=self._status.offer,
        )
        self._run = RunView(
            ui,
            services,
            message=self.message,
            line=line,
            on_start=self._question,
            on_result=self._on_result,
            on_change=changed,
            on_missing=self._status.offer,
            on_preview=self._on_preview,
        )
        self._stored = StoredData(
            *(ui, services, machine),
            message=self.message,
            on_result=self._on_result,
            on_deleted=self._status.check,
        )
        self._segments = [
            SegmentChoice(ui.fitSelector, ("fit_segmentation", "fit_segment"), changed),
            SegmentChoice(ui.referenceSelector, ("reference", "reference_segment"), changed),
        ]
        self._has_checked = False

    @property
    def shown_result(self) -> ShownResult | None:
        """The result that is shown; None when the scene has none."""
        return self._result.chosen

    def enter(self, parameters: "Parameters") -> None:
        """Binds the panel to a scene's parameters; the first time it also asks what is ready."""
        self.leave()
        self._parameters = parameters
        if parameters.ct is None:
            parameters.ct = self._first_ct()
        self._gui_tag = parameters.connectGui(self._ui)
        self._set_parameters(parameters)
        self._observe()
        if not self._has_checked:
            self._has_checked = True
            self._status.check()
        self._refresh()

    def leave(self) -> None:
        """Unbinds the panel, before another module is shown, or the scene closes; a run goes on."""
        self.removeObservers()
        self._soon.stop()
        if self._parameters is not None and self._gui_tag is not None:
            self._parameters.disconnectGui(self._gui_tag)
        self._parameters, self._gui_tag = None, None
        self._set_parameters(None)

    def close(self) -> None:
        """Lets go of everything, for good."""
        self.leave()
        self._status.close()

    def reason(self) -> str:
        """Why nothing can be explained now; empty when it can."""
        parameters = self._parameters
        if parameters is None:
            return _("There is no scene.")
        if parameters.ct is None:
            return self._status.reason() or _("Choose a CT.")
        for reason in (self._status.reason(), self._inputs.reason(), self._region.reason()):
            if reason:
                return reason
        if self._method.reason():
            return self._method.reason()
        if parameters.value == Quantity.FP_RELATIVE and not (parameters.reference and parameters.reference_segment):
            return _("Relative false positives need a truth: choose its segment under Advanced.")
        if self._trust.is_running:
            return _("An explanation is being checked.")
        if self._services.is_busy and not self._run.is_running:
            return _("Another explanation is under way.")
        return ""

    def _set_parameters(self, parameters: "Parameters | None") -> None:
        bound: list[Any] = [self._inputs, self._region, self._method, self._result, self._stored, *self._segments]
        for view in bound:
            view.set_parameters(parameters)

    def _first_ct(self) -> Any:
        """The scene's first scalar volume that is no result of ours; None where there is none."""
        for at in range(self._scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
            node = self._scene.GetNthNodeByClass(at, "vtkMRMLScalarVolumeNode")
            names = [name for name in node.GetAttributeNames() or () if name.startswith("SegExplain")]
            if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors() and not names:
                return node
        return None

    def _observe(self) -> None:
        """Follows the parameters, the scene, and the nodes that say where the region is."""
        self.removeObservers()
        if self._parameters is None:
            return
        self.addObserver(self._parameters.parameterNode, vtkCommand.ModifiedEvent, self._on_parameters)
        scene = slicer.vtkMRMLScene
        for event in (scene.NodeRemovedEvent, scene.NodeAddedEvent, scene.EndImportEvent, scene.EndBatchProcessEvent):
            self.addObserver(self._scene, event, self._on_scene)
        moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        for node, events in (
            (self._parameters.ct, (moved,)),
            (self._parameters.roi, (vtkCommand.ModifiedEvent, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, moved)),
        ):
            for event in events if node is not None else ():
                self.addObserver(node, event, self._on_moved)
        self._observed = (self._parameters.ct, self._parameters.roi)

    def _on_parameters(self, _caller: Any, _event: Any) -> None:
        if self._parameters is not None and (self._parameters.ct, self._parameters.roi) != self._observed:
            self._observe()
        self._refresh_soon()

    def _on_scene(self, _caller: Any, _event: Any) -> None:
        self._refresh_soon()

    def _on_moved(self, _caller: Any, _event: Any) -> None:
        self._region.moved()
        self._refresh_soon()

    def _on_status(self) -> None:
        if self._status.installation is None:
            self._inputs.ask_again()
            self._region.ask_again()
        self._inputs.show_devices(self._status.installation)
        self._refresh_soon()

    def _refresh_soon(self) -> None:
        """Many changes in one go lead to one refresh."""
        if self._parameters is not None or self._run.is_running or self._trust.is_running:
            self._soon.start()

    def _refresh(self) -> None:
        if self._parameters is None or self._scene.IsBatchProcessing():  # as a scene half loaded: its end is heard
            return
        with self.message.telling():
            self._refresh_views()

    def _refresh_views(self) -> None:
        can_ask = not self._status.reason() and not self._services.is_busy
        self._inputs.refresh(can_ask=can_ask)
        is_question = not (self._inputs.reason() or self._method.reason())
        self._region.refresh(self._inputs.use(), can_ask=can_ask and is_question)
        for choice in self._segments:
            choice.refresh()
        self._show_units()
        self._method.refresh()
        self._result.refresh()
        self._trust.refresh()
        self._stored.refresh()
        self._run.refresh(self.reason())

    def _show_units(self) -> None:
        """Greys out what the chosen kind of units does not use."""
        units = self._parameters.units if self._parameters is not None else UnitKind.ORGANS
        for widget in (self._ui.organsSelector, self._ui.organsLabel):
            widget.enabled = units != UnitKind.FCC
        for widget in (self._ui.unitSizeSlider, self._ui.unitSizeLabel):
            widget.enabled = units != UnitKind.ORGANS

    def _question(self) -> "tuple[Parameters, ModelUse] | None":
        """What to explain; None when something is still missing, which the panel then says."""
        self._refresh()
        return None if self._parameters is None or self.reason() else (self._parameters, self._inputs.use())

    def _on_result(self, result: ShownResult) -> None:
        self._result.show_result(result)
        self._trust.refresh()

    def _on_preview(self) -> None:
        if self._parameters is not None:
            with self.message.telling():
                self._services.show_preview()
