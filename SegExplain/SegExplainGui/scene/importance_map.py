"""The importances over the CT: red speaks for, blue against, and what hardly matters is hardly seen; with a legend.

Two volumes on the same voxels. The *map* holds the numbers, for the legend and Slicer's data probe. What is seen is the
*label map* of units, through a colour for each unit: Slicer's foreground layer takes any opacity of a colour table
above 0 for 1, so that a map there would veil the CT wherever a unit is, while the label layer blends every opacity.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SegExplainGui.scene.colour_scale import ColourScale
from SegExplainGui.scene.unit_answers import Answer, UnitAnswers
from SegExplainGui.scene.unit_labels import axes_of, set_voxels, voxels_of

N_COLOURS = 256
_LIMIT, _SIGNED, _CONTENT = "SegExplain.Limit", "SegExplain.Signed", "SegExplain.Content"


def fill_colours(colours: Any, *, is_signed: bool = True) -> None:
    """Makes a vtkMRMLColorTableNode the scale from minus to plus the limit, or from zero, clear at zero.

    With an even number of entries zero lies between the two in the middle, and the display rounds it to the lower one:
    both are clear, so that the signed scale is symmetric.
    """
    scale = ColourScale(1.0, is_signed)
    if is_signed:
        centres = np.arange(N_COLOURS) - (N_COLOURS - 1) / 2
        shares = np.where(np.abs(centres) < 1, 0.0, centres / centres.max())
    else:
        shares = np.linspace(0.0, 1.0, N_COLOURS)
    prepare_table(colours, N_COLOURS)
    for number, (share, rgb, rgba) in enumerate(zip(shares, scale.rgb(shares), scale.rgba(shares))):
        colours.SetColor(number, f"{100 * share:+.0f} %", *rgb, rgba[3])


def colour_units(colours: Any, units: UnitAnswers, answer: Answer, scale: ColourScale) -> None:
    """Gives each unit its name and colour in a vtkMRMLColorTableNode: opaque where it matters most, clear at zero."""
    was_modifying = colours.StartModify()
    if colours.GetNumberOfColors() != units.ids.max() + 1:
        prepare_table(colours, int(units.ids.max()) + 1)
        colours.SetColor(0, _("no unit"), 0.0, 0.0, 0.0, 0.0)
    for unit_id, name, rgba in zip(units.ids.tolist(), units.names, scale.rgba(answer.values)):
        colours.SetColor(unit_id, name, *rgba)
    colours.EndModify(was_modifying)


def prepare_labels(labels_volume: Any, colours: Any) -> None:
    """Lets a label map volume be seen through the colours of units."""
    display = labels_volume.GetScene().AddNewNodeByClass("vtkMRMLLabelMapVolumeDisplayNode")
    display.SetAndObserveColorNodeID(colours.GetID())
    labels_volume.SetAndObserveDisplayNodeID(display.GetID())


def prepare_map(volume: Any, colours: Any, colors_logic: Any) -> None:
    """Gives a new vtkMRMLScalarVolumeNode its display, and a legend that speaks few words."""
    display = volume.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.SetAndObserveColorNodeID(colours.GetID())
    display.SetAutoWindowLevel(False)
    display.SetApplyThreshold(False)
    display.SetInterpolate(False)  # between a unit for and one against, a blend would show a seam that is neither
    volume.SetAndObserveDisplayNodeID(display.GetID())
    legend = colors_logic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetUseColorNamesForLabels(False)
    legend.SetNumberOfLabels(5)
    legend.SetMaxNumberOfColors(N_COLOURS)
    legend.SetOrientation(legend.Vertical)
    legend.SetSize(0.1, 0.36)
    legend.SetPosition(0.99, 0.5)
    title, labels = legend.GetTitleTextProperty(), legend.GetLabelTextProperty()
    for text in (title, labels):
        text.SetBold(False)
        text.SetItalic(False)
        text.SetShadow(True)
    title.SetFontSize(14)
    labels.SetFontSize(13)


def place_map(volume: Any, labels_volume: Any) -> None:
    """Gives the volume the voxels and the place of the label map, all zero."""
    volume.RemoveAttribute(_CONTENT)
    set_voxels(volume, np.zeros(voxels_of(labels_volume).shape, dtype=np.float32), axes_of(labels_volume))


def recolour_map(volume: Any, labels: NDArray, ids: NDArray, values: NDArray) -> None:
    """Writes each unit's importance to its voxels, in place; 0 where there is no unit or no number.

    Does nothing where they hold these numbers already: a CT of 80 million voxels takes half a second.

    Args:
        volume: vtkMRMLScalarVolumeNode of the shape of ``labels``.
        labels: (k, j, i).
        ids: (n_units,) label values.
        values: (n_units,) importances.
    """
    value_of = np.zeros(1 + max(int(labels.max(initial=0)), int(ids.max(initial=0))), dtype=np.float32)
    value_of[ids] = np.where(np.isfinite(values), values, 0.0)
    content = hashlib.blake2b(value_of.tobytes(), digest_size=8).hexdigest()
    if volume.GetAttribute(_CONTENT) == content:
        return
    np.take(value_of, labels, out=voxels_of(volume), mode="clip")
    volume.SetAttribute(_CONTENT, content)
    volume.GetImageData().GetPointData().GetScalars().Modified()
    volume.GetImageData().Modified()
    volume.InvokeCustomModifiedEvent(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)


def scale_map(volume: Any, scale: ColourScale, *, keep_user_window: bool) -> None:
    """Lets the colours run along the scale; a window that the user has set can stay."""
    display = volume.GetDisplayNode()
    if display is None:
        return
    last = scale_of(volume)
    if keep_user_window and last is not None:
        found = display.GetWindowLevelMin(), display.GetWindowLevelMax()
        if not np.allclose(found, (last.low, last.limit), rtol=0, atol=1e-5 * last.limit):
            return
    volume.SetAttribute(_LIMIT, repr(scale.limit))
    volume.SetAttribute(_SIGNED, None if scale.is_signed else "0")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(scale.low, scale.limit)


def scale_of(volume: Any) -> ColourScale | None:
    """The scale that `scale_map` gave a map last; None before the first."""
    limit = volume.GetAttribute(_LIMIT)
    return ColourScale(float(limit), volume.GetAttribute(_SIGNED) != "0") if limit else None


def title_legend(volume: Any, title: str, scale: ColourScale, *, is_percent: bool = False) -> None:
    """Names the legend and gives its numbers two digits."""
    legend = legend_of(volume)
    if legend is None:
        return
    if legend.GetTitleText() != title:
        legend.SetTitleText(title)
    decimals, sign = max(0, 1 - math.floor(math.log10(scale.limit / 2))), "+" if scale.is_signed else ""
    label_format = f"%{sign}.{decimals}f" if decimals <= 5 else f"%{sign}.1e"
    if is_percent:
        label_format = f"%{sign}.0f"  # VTK 9.6 writes "%%" as it stands
    if legend.GetLabelFormat() != label_format:
        legend.SetLabelFormat(label_format)


def legend_of(volume: Any) -> Any:
    """vtkMRMLColorLegendDisplayNode of a volume, or None."""
    displays = (volume.GetNthDisplayNode(place) for place in range(volume.GetNumberOfDisplayNodes()))
    return next((display for display in displays if display and display.IsA("vtkMRMLColorLegendDisplayNode")), None)


def lay_over(volume: Any, labels_volume: Any, ct: Any, composite_nodes: Iterable[Any], opacity: float) -> None:
    """Shows the units over the CT in slice views, each given by its vtkMRMLSliceCompositeNode.

    The map lies between them, clear, for its legend and for the data probe.
    """
    for composite in composite_nodes:
        was_modifying = composite.StartModify()
        if ct is not None:
            composite.SetBackgroundVolumeID(ct.GetID())
        composite.SetForegroundVolumeID(volume.GetID())
        composite.SetForegroundOpacity(0.0)
        composite.SetLabelVolumeID(labels_volume.GetID())
        composite.SetLabelOpacity(opacity)
        composite.EndModify(was_modifying)
    if (legend := legend_of(volume)) is not None:
        legend.Modified()  # the views look for it only now


@dataclass(frozen=True)
class Layers:
    """What a slice view shows: IDs of volumes, None where there is none, and how opaque the upper two are."""

    background: str | None
    foreground: str | None
    label: str | None
    foreground_opacity: float
    label_opacity: float


def layers_of(composite: Any) -> Layers:
    """What the view of a vtkMRMLSliceCompositeNode shows."""
    volumes = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID()
    return Layers(*volumes, composite.GetForegroundOpacity(), composite.GetLabelOpacity())


def set_layers(composite: Any, layers: Layers) -> None:
    """Lets a view show what it showed; a volume that was deleted since is left out, an empty view keeps the CT."""
    scene, was_modifying = composite.GetScene(), composite.StartModify()

    def known(volume_id: str | None) -> str | None:
        return volume_id if volume_id and scene.GetNodeByID(volume_id) is not None else None

    composite.SetBackgroundVolumeID(known(layers.background) or composite.GetBackgroundVolumeID())
    composite.SetForegroundVolumeID(known(layers.foreground))
    composite.SetLabelVolumeID(known(layers.label))
    composite.SetForegroundOpacity(layers.foreground_opacity)
    composite.SetLabelOpacity(layers.label_opacity)
    composite.EndModify(was_modifying)


def fade(labels_volume: Any, composite_nodes: Iterable[Any], opacity: float) -> None:
    """Sets the opacity of the units where they are shown already."""
    for composite in composite_nodes:
        if composite.GetLabelVolumeID() == labels_volume.GetID():
            composite.SetLabelOpacity(opacity)


def prepare_table(colours: Any, count: int) -> None:
    """Makes a vtkMRMLColorTableNode a table of the user's with so many entries."""
    colours.SetTypeToUser()
    colours.SetNumberOfColors(count)
    if hasattr(colours, "NamesInitialisedOn"):
        colours.NamesInitialisedOn()
