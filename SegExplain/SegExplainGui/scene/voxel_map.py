"""A map with a number for each voxel, as a gradient method gives it: read from the worker, and seen over the CT.

Two volumes, for the reason that `importance_map` tells: the numbers, and a label map of 255 *shades* of them, which the
slice views' label layer blends with every opacity.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SegExplainGui.scene import importance_map
from SegExplainGui.scene.colour_scale import ColourScale
from SegExplainGui.scene.ct_grid import CtGrid
from SegExplainGui.scene.quantity_words import is_relative, is_signed
from SegExplainGui.scene.unit_labels import box_of, read_part, set_voxels, shifted
from SegExplainLib.contract import InvalidRequest
from SegExplainLib.report.colours import ROBUST_SHARE, symmetric_limit

N_SHADES = 255
MOST_SORTED = 2_000_000


@dataclass(frozen=True, eq=False)
class VoxelMap:
    """A box of voxels with numbers; outside of it all are zero.

    Attributes:
        values: float32 (k, j, i), finite.
        ijk_to_ras: (4, 4) index (i, j, k, 1) in the box -> the CT's own RAS in mm.
        is_signed: Whether the method can give a value below zero.
    """

    values: NDArray[np.float32]
    ijk_to_ras: NDArray[np.float64]
    is_signed: bool

    @cached_property
    def scale(self) -> ColourScale:
        """Up to a high quantile of the magnitudes, as in the report: a few outliers must not hide all others."""
        magnitudes = np.abs(self.values[self.values != 0])
        some = magnitudes[:: 1 + magnitudes.size // MOST_SORTED]
        limit = float(np.quantile(some, ROBUST_SHARE, method="lower")) if some.size else 1.0
        return ColourScale(symmetric_limit(limit), self.is_signed)

    def in_percent(self) -> "VoxelMap":
        """The map in percent of its scale's limit."""
        return replace(self, values=self.values * np.float32(100.0 / self.scale.limit))

    def shades(self) -> NDArray[np.uint8]:
        """(k, j, i) 1 to `N_SHADES` along the scale; 0 where the value is zero."""
        scale, shades = self.scale, np.empty(self.values.shape, dtype=np.uint8)
        step = (scale.limit - scale.low) / (N_SHADES - 1)
        for values, plane in zip(self.values, shades):
            numbers = 1 + np.rint((np.clip(values, scale.low, scale.limit) - scale.low) / step)
            plane[...] = np.where(values == 0, 0, numbers)
        return shades


def read_voxel_map(path: Path, grid: CtGrid, *, method: str) -> VoxelMap:
    """The map in a file, cut to where it is not zero; in percent where only ratios mean something.

    Args:
        path: map.nrrd, on a box of the CT's voxels, or attribution.nrrd, on all of them.
        grid: The CT's.
        method: That made it, one of ``contract.GRADIENT_METHODS``.

    Raises:
        InvalidRequest: the file is missing, cannot be read, or holds a number that is not finite.
        GeometryMismatch: it does not lie on the CT's voxels.
    """
    values, part = read_part(path, grid, slicer.vtkMRMLScalarVolumeNode())
    if not np.isfinite(values).all():
        raise InvalidRequest(
            _("{path} holds a number that is not finite.").format(path=path), _("Run the explanation again.")
        )
    box = box_of(values != 0) or (slice(0, 1),) * 3  # a map of zeros is a map
    cut = np.ascontiguousarray(values[box], dtype=np.float32)
    found = VoxelMap(cut, shifted(shifted(grid.ijk_to_ras, part), box), is_signed(method))
    return found.in_percent() if is_relative(method) else found


def fill_shade_colours(colours: Any, scale: ColourScale) -> None:
    """Makes a vtkMRMLColorTableNode the colours of the shades, named in percent of the limit."""
    values = np.linspace(scale.low, scale.limit, N_SHADES)
    importance_map.prepare_table(colours, 1 + N_SHADES)
    colours.SetColor(0, _("zero"), 0.0, 0.0, 0.0, 0.0)
    for number, (value, rgba) in enumerate(zip(values, scale.rgba(values)), start=1):
        colours.SetColor(number, f"{100 * value / scale.limit:+.0f} %", *rgba)


def show_voxels(found: VoxelMap, volume: Any, shades: Any, *, keep_user_window: bool) -> None:
    """Puts a map into its two volumes, and its scale into the colours of both.

    Args:
        found: The map.
        volume: vtkMRMLScalarVolumeNode for the numbers, as `importance_map.prepare_map` leaves it.
        shades: vtkMRMLLabelMapVolumeNode, as `importance_map.prepare_labels` leaves it.
        keep_user_window: A window that the user has set stays.
    """
    display, shown = volume.GetDisplayNode(), shades.GetDisplayNode()
    if display is not None and display.GetColorNode() is not None:
        display.SetInterpolate(True)
        importance_map.fill_colours(display.GetColorNode(), is_signed=found.scale.is_signed)
    if shown is not None and shown.GetColorNode() is not None:
        fill_shade_colours(shown.GetColorNode(), found.scale)
    set_voxels(volume, found.values, found.ijk_to_ras)
    set_voxels(shades, found.shades(), found.ijk_to_ras)
    importance_map.scale_map(volume, found.scale, keep_user_window=keep_user_window)
