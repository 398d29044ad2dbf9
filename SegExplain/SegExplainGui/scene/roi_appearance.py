"""An ROI box that lets a result be seen: its fill hides the map in slices, its label covers the target."""

from typing import Any

_BEFORE = "SegExplain.Before"
FAINT = 0.0


def make_faint(roi: Any) -> None:
    """Takes the fill and the label from a vtkMRMLMarkupsROINode; its outline stays. Twice is as once."""
    display = roi.GetDisplayNode()
    if display is None or display.GetAttribute(_BEFORE):
        return
    display.SetAttribute(_BEFORE, f"{display.GetFillOpacity()!r} {int(display.GetPropertiesLabelVisibility())}")
    display.SetFillOpacity(FAINT)
    display.SetPropertiesLabelVisibility(False)


def make_plain(roi: Any) -> None:
    """Gives back what `make_faint` took; nothing where it took nothing."""
    display = roi.GetDisplayNode()
    before = display.GetAttribute(_BEFORE) if display is not None else None
    if not before:
        return
    opacity, is_labelled = before.split()
    display.SetFillOpacity(float(opacity))
    display.SetPropertiesLabelVisibility(bool(int(is_labelled)))
    display.RemoveAttribute(_BEFORE)
