"""What the user chooses in the scene: typed values in a parameter node, bound to the panel's widgets by name.

What belongs to this machine and not to the scene, such as the model's folder, is in `machine`.
"""

import typing
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from SegExplainLib.contract import GRADIENT_METHODS, PATH_METHODS, READ_BY

REFERENCE_CTS = "reference_cts"
"""Role of the parameter node's references to the CTs of `Removal.REFERENCES`."""


class UnitKind(Enum):
    """``ExplainRequest.units``. A scene keeps the member's name: never rename one."""

    ORGANS = "organs"
    FCC = "fcc"
    HYBRID = "hybrid"

    def label(self) -> str:
        """For people."""
        return {
            UnitKind.ORGANS: _("Whole organs"),
            UnitKind.FCC: _("Supervoxels on a lattice"),
            UnitKind.HYBRID: _("Organs, cut by a lattice"),
        }[self]


class Method(Enum):
    """``ExplainRequest.method``, Shapley methods first. A scene keeps the member's name: never rename one."""

    ADJUSTED_SHAP = "adjusted-shap"
    KERNEL_SHAP = "kernel-shap"
    LEVERAGE_SHAP = "leverage-shap"
    EXACT = "exact"
    PERMUTATION = "permutation"
    SHAP = "shap"
    CAPTUM = "captum"
    SEG_GRAD_CAM = "seg-grad-cam"
    SALIENCY = "saliency"
    INPUT_X_GRADIENT = "input-x-gradient"
    GUIDED_BACKPROP = "guided-backprop"
    SMOOTHGRAD = "smoothgrad"
    SMOOTHGRAD_SQUARED = "smoothgrad-squared"
    VARGRAD = "vargrad"
    INTEGRATED_GRADIENTS = "integrated-gradients"
    EXPECTED_GRADIENTS = "expected-gradients"
    XRAI = "xrai"

    def label(self) -> str:
        """For people."""
        return {
            Method.ADJUSTED_SHAP: _("Adjusted SHAP, learns as it asks"),
            Method.KERNEL_SHAP: _("KernelSHAP, paired samples"),
            Method.LEVERAGE_SHAP: _("Leverage SHAP"),
            Method.EXACT: _("Exact, few units only"),
            Method.PERMUTATION: _("Permutation sampling"),
            Method.SHAP: _("KernelSHAP of the shap package"),
            Method.CAPTUM: _("KernelShap of the captum package"),
            Method.SEG_GRAD_CAM: _("Seg-Grad-CAM (gradient)"),
            Method.SALIENCY: _("Saliency (gradient)"),
            Method.INPUT_X_GRADIENT: _("Input × gradient"),
            Method.GUIDED_BACKPROP: _("Guided backpropagation (gradient)"),
            Method.SMOOTHGRAD: _("SmoothGrad (gradients)"),
            Method.SMOOTHGRAD_SQUARED: _("SmoothGrad squared (gradients)"),
            Method.VARGRAD: _("VarGrad (gradients)"),
            Method.INTEGRATED_GRADIENTS: _("Integrated gradients"),
            Method.EXPECTED_GRADIENTS: _("Expected gradients"),
            Method.XRAI: _("XRAI regions (gradients)"),
        }[self]

    @property
    def uses_gradients(self) -> bool:
        """Whether it follows the network back instead of removing units."""
        return self.value in GRADIENT_METHODS

    @property
    def uses_removal(self) -> bool:
        """Whether it needs to know what an absent unit looks like."""
        return not self.uses_gradients or self.value in PATH_METHODS


class Quantity(Enum):
    """``ExplainRequest.value``. A scene keeps the member's name: never rename one."""

    SOFT_DICE = "soft-dice"
    DICE = "dice"
    TP = "tp"
    TP_SHARE = "tp-share"
    FP = "fp"
    FP_SHARE = "fp-share"
    FP_RELATIVE = "fp-relative"
    FN = "fn"
    MEAN_LOGIT = "mean-logit"
    SOFT_VOLUME = "soft-volume"

    def label(self) -> str:
        """For people."""
        return {
            Quantity.SOFT_DICE: _("Soft Dice (probabilities)"),
            Quantity.DICE: _("Dice"),
            Quantity.TP: _("True positives (voxels)"),
            Quantity.TP_SHARE: _("Share found"),
            Quantity.FP: _("False positives (voxels)"),
            Quantity.FP_SHARE: _("False-positive share"),
            Quantity.FP_RELATIVE: _("Relative false positives"),
            Quantity.FN: _("Misses (voxels)"),
            Quantity.MEAN_LOGIT: _("Mean logit"),
            Quantity.SOFT_VOLUME: _("Soft volume (ml)"),
        }[self]


class Removal(Enum):
    """``ExplainRequest.removal``. A scene keeps the member's name: never rename one."""

    LOCAL_MEAN = "local-mean"
    AIR = "air"
    MEAN = "mean"
    BLUR = "blur"
    INPAINT = "inpaint"
    ZERO = "zero"
    COUNTERFACTUAL = "counterfactual"
    BLACK_WHITE = "black-white"
    REFERENCES = "references"

    def label(self) -> str:
        """For people."""
        return {
            Removal.LOCAL_MEAN: _("Mean of the surroundings"),
            Removal.AIR: _("Air"),
            Removal.MEAN: _("Mean of the CT"),
            Removal.BLUR: _("Blurred copy"),
            Removal.INPAINT: _("Smooth filling"),
            Removal.ZERO: _("Zero after normalisation"),
            Removal.COUNTERFACTUAL: _("Counterfactual CT"),
            Removal.BLACK_WHITE: _("Black, and white"),
            Removal.REFERENCES: _("Other CTs"),
        }[self]


class Mirroring(Enum):
    """``ExplainRequest.mirroring``. A scene keeps the member's name: never rename one."""

    MODEL = "model"
    OFF = "off"

    def label(self) -> str:
        """For people."""
        return {Mirroring.MODEL: _("As trained"), Mirroring.OFF: _("Off (faster)")}[self]


class Sign(Enum):
    """Which units of a result are shown. A scene keeps the member's name: never rename one."""

    BOTH = "both"
    FOR = "for"
    AGAINST = "against"

    def label(self) -> str:
        """For people."""
        return {Sign.BOTH: _("For and against"), Sign.FOR: _("For only"), Sign.AGAINST: _("Against only")}[self]


@parameterNodeWrapper
class Parameters:
    """The question and the view of its answer, kept in the scene.

    Attributes:
        ct: The CT to explain on.
        target: Class to explain, by name.
        roi: Where the network's output is explained.
        fit_segmentation, fit_segment, margin_mm: What the ROI is fitted to.
        units, organs, unit_mm: Who takes part; no segmentation means the model's own organs.
        method, value, removal, budget, tolerance_percent, seed, mirroring, folds, batch: As in ``ExplainRequest``.
        noise_percent, layer, float32, xrai_fast, xrai_units: As in ``ExplainRequest``, for some gradient methods.
        reference, reference_segment: Taken as the truth; none means the model's own prediction.
        top_k, sign, opacity: How a result is shown.
    """

    ct: vtkMRMLScalarVolumeNode
    target: str = ""
    roi: vtkMRMLMarkupsROINode
    fit_segmentation: vtkMRMLSegmentationNode
    fit_segment: str = ""
    margin_mm: Annotated[float, WithinRange(0, 200)] = 10.0
    units: UnitKind = UnitKind.ORGANS
    organs: vtkMRMLSegmentationNode
    unit_mm: Annotated[float, WithinRange(5, 200)] = 30.0
    method: Method = Method.ADJUSTED_SHAP
    value: Quantity = Quantity.SOFT_DICE
    removal: Removal = Removal.LOCAL_MEAN
    budget: Annotated[int, WithinRange(0, 1_000_000)] = 0
    tolerance_percent: Annotated[float, WithinRange(0, 99)] = 5.0
    seed: Annotated[int, WithinRange(0, 2_000_000_000)] = 0
    mirroring: Mirroring = Mirroring.MODEL
    folds: str = ""
    batch: Annotated[int, WithinRange(0, 1024)] = 0
    noise_percent: Annotated[float, WithinRange(0.1, 100)] = 10.0
    layer: str = ""
    float32: bool = False
    xrai_fast: bool = False
    xrai_units: bool = False
    reference: vtkMRMLSegmentationNode
    reference_segment: str = ""
    top_k: Annotated[int, WithinRange(1, 200)] = 8
    sign: Sign = Sign.BOTH
    opacity: Annotated[float, WithinRange(0, 1)] = 1.0

    if TYPE_CHECKING:  # what the decorator adds
        parameterNode: Any

        def __init__(self, node: Any) -> None: ...
        def connectGui(self, gui: Any) -> int: ...  # noqa: D102
        def disconnectGui(self, tag: int) -> None: ...  # noqa: D102


def request_fields(parameters: Parameters) -> dict[str, Any]:
    """Every field of an ``ExplainRequest`` that the parameters know without exporting a node.

    Of a removal and of options that the method has no use for nothing is asked: they are kept for other methods.
    """
    removal = parameters.removal if parameters.method.uses_removal else Removal.LOCAL_MEAN
    fields = {
        "target": parameters.target,
        "units": parameters.units.value,
        "unit_mm": parameters.unit_mm,
        "method": parameters.method.value,
        "value": parameters.value.value,
        "removal": removal.value,
        "budget": parameters.budget,
        "tolerance": parameters.tolerance_percent / 100,
        "noise": parameters.noise_percent / 100,
        "layer": parameters.layer.strip(),
        "float32": parameters.float32,
        "xrai_fast": parameters.xrai_fast,
        "xrai_units": parameters.xrai_units,
        "seed": parameters.seed,
        "batch": parameters.batch,
        "mirroring": parameters.mirroring.value,
        "folds": tuple(parameters.folds.replace(",", " ").split()),
    }
    method = parameters.method.value
    return {name: value for name, value in fields.items() if method in READ_BY.get(name, (method,))}


def reference_cts(parameters: Parameters) -> list[Any]:
    """The vtkMRMLScalarVolumeNodes that the removal is made from; none where another one is chosen."""
    is_used = parameters.method.uses_removal and parameters.removal == Removal.REFERENCES
    return chosen_reference_cts(parameters) if is_used else []


def chosen_reference_cts(parameters: Parameters) -> list[Any]:
    """The vtkMRMLScalarVolumeNodes that are chosen as reference CTs, whether or not they are used."""
    node = parameters.parameterNode
    found = (node.GetNthNodeReference(REFERENCE_CTS, at) for at in range(node.GetNumberOfNodeReferences(REFERENCE_CTS)))
    return [ct for ct in found if ct is not None]


def choose_reference_cts(parameters: Parameters, cts: Iterable[Any]) -> None:
    """Chooses other reference CTs."""
    node = parameters.parameterNode
    was_modifying = node.StartModify()
    node.RemoveNodeReferenceIDs(REFERENCE_CTS)
    for ct in cts:
        node.AddNodeReferenceID(REFERENCE_CTS, ct.GetID())
    node.Modified()
    node.EndModify(was_modifying)


def parameters_of(node: Any) -> Parameters:
    """The parameters kept in a vtkMRMLScriptedModuleNode, whichever version of SegExplain wrote it.

    A choice that this version does not know would raise when it is read: it falls back to the default.
    """
    for name, kind in typing.get_type_hints(Parameters).items():
        is_choice = isinstance(kind, type) and issubclass(kind, Enum)
        if is_choice and node.GetParameter(name) and node.GetParameter(name) not in kind.__members__:
            node.UnsetParameter(name)
    return Parameters(node)
