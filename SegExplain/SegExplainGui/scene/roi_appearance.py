"""An ROI box that lets a result be seen: its fill hides the units in slices, its label covers the target."""

from typing import Any


def make_faint(roi: Any) -> None:
    """Takes the fill and the label from a vtkMRMLMarkupsROINode; outline and handles stay, for the next question."""
    display = roi.GetDisplayNode()
    if display is not None:
        display.SetFillOpacity(0.0)
        display.SetPropertiesLabelVisibility(False)
