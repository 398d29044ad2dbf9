"""What the chosen method is, and which of the question's options it uses; the others are out of the way."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SegExplainGui.parameters import Method, Quantity, Removal, choose_reference_cts, chosen_reference_cts
from SegExplainLib.contract import DIFFERENTIABLE_VALUES, SINGLE_REMOVALS

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters

SAMPLED = {"budget", "tolerance", "seed"}
OPTIONS_OF_GRADIENTS: dict[Method, set[str]] = {
    Method.SEG_GRAD_CAM: {"layer"},
    Method.SMOOTHGRAD: SAMPLED | {"noise"},
    Method.SMOOTHGRAD_SQUARED: SAMPLED | {"noise"},
    Method.VARGRAD: SAMPLED | {"noise"},
    Method.INTEGRATED_GRADIENTS: {"budget", "tolerance"},
    Method.EXPECTED_GRADIENTS: SAMPLED,
    Method.XRAI: {"budget", "tolerance", "xrai"},
}
"""Gradient method -> its options besides precision; none for those that take one gradient."""


class MethodOptions:
    """Method, removal and the options that some methods have.

    Args:
        ui: The widgets by name.
        on_change: Called when the user chose other reference CTs.
    """

    def __init__(self, ui: Any, on_change: Callable[[], None]) -> None:
        self._ui, self._on_change = ui, on_change
        self._parameters: Parameters | None = None
        self._is_writing = False
        ui.referenceCtsSelector.connect("checkedNodesChanged()", self._take_cts)

    def set_parameters(self, parameters: "Parameters | None") -> None:
        """Binds other parameters, or none; whoever connects them to the widgets has done it before."""
        self._parameters = parameters
        if parameters is not None:
            for row, method in enumerate(Method):
                self._ui.methodSelector.setItemData(row, method_tip(method), qt.Qt.ToolTipRole)
            self.refresh()

    def reason(self) -> str:
        """Why method, measure and removal do not go together; empty when they do."""
        parameters = self._parameters
        if parameters is None:
            return ""
        if parameters.method.uses_gradients and parameters.value.value not in DIFFERENTIABLE_VALUES:
            return _("“{value}” counts voxels and has no gradient. Measures that have: {choices}.").format(
                value=parameters.value.label(),
                choices=", ".join(one.label() for one in Quantity if one.value in DIFFERENTIABLE_VALUES),
            )
        if not parameters.method.uses_removal:
            return ""
        if not parameters.method.uses_gradients and parameters.removal.value not in SINGLE_REMOVALS:
            return _("“{removal}” is several images, and a unit can be replaced by one only.").format(
                removal=parameters.removal.label()
            )
        if parameters.removal == Removal.REFERENCES and not chosen_reference_cts(parameters):
            return _("Choose the other CTs below the removal.")
        return ""

    def refresh(self) -> None:
        """Shows what the chosen method uses."""
        parameters, ui = self._parameters, self._ui
        if parameters is None:
            return
        method = parameters.method
        ui.methodSelector.toolTip = method_tip(method)
        for widget in (ui.removalLabel, ui.removalSelector):
            widget.enabled = method.uses_removal
        used = OPTIONS_OF_GRADIENTS.get(method, set()) | {"float32"} if method.uses_gradients else SAMPLED
        if method.uses_removal and parameters.removal == Removal.REFERENCES:
            used = used | {"reference_cts"}
        for option, widgets in self._widgets_of().items():
            for widget in widgets:
                widget.setVisible(option in used)
        self._show_cts()

    def _widgets_of(self) -> dict[str, tuple[Any, ...]]:
        ui = self._ui
        return {
            "budget": (ui.budgetLabel, ui.budgetSpinBox),
            "tolerance": (ui.toleranceLabel, ui.toleranceSpinBox),
            "seed": (ui.seedLabel, ui.seedSpinBox),
            "noise": (ui.noiseLabel, ui.noiseSpinBox),
            "layer": (ui.layerLabel, ui.layerLineEdit),
            "xrai": (ui.xraiFastCheckBox, ui.xraiUnitsCheckBox),
            "float32": (ui.float32CheckBox,),
            "reference_cts": (ui.referenceCtsLabel, ui.referenceCtsSelector),
        }

    def _show_cts(self) -> None:
        if self._parameters is None:
            return
        wanted, shown = chosen_reference_cts(self._parameters), list(self._ui.referenceCtsSelector.checkedNodes())
        self._is_writing = True
        try:
            for ct in shown:
                if ct not in wanted:
                    self._ui.referenceCtsSelector.uncheck(ct)
            for ct in wanted:
                if ct not in shown:
                    self._ui.referenceCtsSelector.check(ct)
        finally:
            self._is_writing = False

    def _take_cts(self) -> None:
        if self._is_writing or self._parameters is None:
            return
        cts = list(self._ui.referenceCtsSelector.checkedNodes())
        if cts != chosen_reference_cts(self._parameters):
            choose_reference_cts(self._parameters, cts)
            self._on_change()


def method_tip(method: Method) -> str:
    """What a method does, in a line."""
    return {
        Method.ADJUSTED_SHAP: _(
            "Shapley values of units, learned from few combinations and corrected. Tells its error. Minutes or less."
        ),
        Method.KERNEL_SHAP: _("Shapley values of units, from combinations drawn in pairs. Tells its error. Minutes."),
        Method.LEVERAGE_SHAP: _(
            "Shapley values of units, from combinations drawn by leverage. Tells its error. Minutes."
        ),
        Method.EXACT: _("Shapley values of units, from every combination; for few units."),
        Method.PERMUTATION: _(
            "Shapley values of units, from orders in which they could join. Tells its error. Minutes."
        ),
        Method.SHAP: _("Shapley values of units by the package shap, for comparison."),
        Method.CAPTUM: _("Shapley values of units by the package captum, for comparison."),
        Method.SEG_GRAD_CAM: _("Where the network's deepest features support the label; coarse. Seconds."),
        Method.SALIENCY: _("How strongly a small change at each voxel would move the number; without sign. Seconds."),
        Method.INPUT_X_GRADIENT: _("Gradient times the normalised intensity at each voxel. Seconds."),
        Method.GUIDED_BACKPROP: _("Gradient along positive paths only: sharp, but says little of the label. Seconds."),
        Method.SMOOTHGRAD: _("Mean gradient over noisy copies of the CT: less noise than one gradient."),
        Method.SMOOTHGRAD_SQUARED: _("Mean squared gradient over noisy copies of the CT; without sign."),
        Method.VARGRAD: _("Variance of the gradient over noisy copies of the CT; without sign."),
        Method.INTEGRATED_GRADIENTS: _(
            "Gradients along the way from the baseline to the CT; adds up to the difference."
        ),
        Method.EXPECTED_GRADIENTS: _("Integrated gradients from random points of the way; tells its error."),
        Method.XRAI: _("Integrated gradients gathered into regions of the CT, ranked from the strongest."),
    }[method]
