"""What is asked, as nodes and settings; and as a request for the worker, once the nodes are written to files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegExplainGui.parameters import Parameters, reference_cts, request_fields
from SegExplainGui.scene import export
from SegExplainGui.services import ModelUse
from SegExplainLib.contract import ExplainRequest, InvalidRequest


@dataclass(frozen=True, eq=False)
class SceneQuestion:
    """What is asked, as nodes and settings.

    Attributes:
        ct: vtkMRMLScalarVolumeNode.
        roi: vtkMRMLMarkupsROINode.
        fields: The fields of an ``ExplainRequest`` that need no export; model and target among them.
        organs: vtkMRMLSegmentationNode, or None for the model's own organs.
        reference: vtkMRMLSegmentationNode and segment id of the truth, or None.
        reference_cts: vtkMRMLScalarVolumeNodes that the removal ``references`` is made from.
    """

    ct: Any
    roi: Any
    fields: dict[str, Any]
    organs: Any = None
    reference: tuple[Any, str] | None = None
    reference_cts: Sequence[Any] = ()

    def with_fields(self, **fields: Any) -> "SceneQuestion":
        """The same question with other fields."""
        return replace(self, fields=self.fields | fields)

    def exported(self, folder: Path, *, warn: Callable[[str], None]) -> ExplainRequest:
        """Writes the nodes to ``folder``, each only when it has changed, and gives the request.

        Raises:
            SegExplainError: a node is missing, empty, elsewhere, or under a transform that is not linear.
        """
        if self.ct is None:
            raise InvalidRequest(_("No CT is chosen."), _("Load a CT and choose it."))
        if self.roi is None:
            raise InvalidRequest(_("No region is chosen."), _("Place an ROI box, or fit one to a segment."))
        paths: dict[str, Any] = {
            "ct": str(export.export_ct(self.ct, folder)),
            "roi": export.export_roi(self.roi, self.ct, folder),
        }
        if self.organs is not None:
            organs = export.export_organs(self.organs, self.ct, folder, warn=warn)
            paths["organs"] = str(organs)
        if self.reference is not None:
            node, segment = self.reference
            mask = export.export_mask(node, segment, self.ct, folder)
            paths["reference"] = str(mask)
        if self.reference_cts:
            paths["reference_cts"] = [str(export.export_ct(ct, folder)) for ct in self.reference_cts]
        return ExplainRequest.from_mapping({**self.fields, **paths})


def scene_question(parameters: Parameters, use: ModelUse) -> SceneQuestion:
    """What the panel's parameters ask."""
    has_reference = parameters.reference is not None and bool(parameters.reference_segment)
    reference = (parameters.reference, parameters.reference_segment) if has_reference else None
    return SceneQuestion(
        ct=parameters.ct,
        roi=parameters.roi,
        fields=request_fields(parameters) | model_fields(use),
        organs=parameters.organs,
        reference=reference,
        reference_cts=reference_cts(parameters),
    )


def model_fields(use: ModelUse) -> dict[str, Any]:
    """The fields of an ``ExplainRequest`` that say which model, and how it runs."""
    return {"model": use.model, "device": use.device, "trust_model": use.trust_model}
