"""Pictures of three planes through the region: the CT with contours, and with importances over it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.colour_bar import INK, axes_at, draw_colour_bar
from SegExplainLib.report.methods import method_words
from SegExplainLib.report.planes import (
    PLANES,
    Plane,
    bounds_to_show,
    centre_voxel_ras,
    picture_of_importances,
    plane_through,
    sampled,
)
from SegExplainLib.report.rounding import rounded
from SegExplainLib.report.shown import as_shown, map_limit, picture_rgba
from SegExplainLib.report.wording import quantity_words, readable, shortened
from SegExplainLib.volume import Volume, VoxelGrid

DPI = 200
"""Twice the pixels of a page, for sharp screens and print; `css_width` halves it again."""

_PREDICTION = "#ffdd33"
_REFERENCE = "#35e0c2"
_REGION = "#ffffff"
_PANEL_WIDTH, _PANEL_HEIGHT_MOST = 4.55, 5.6
_MARGIN, _GAP, _HEAD, _FOOT, _BAR_SPACE, _WORDS = 0.12, 0.14, 0.34, 0.40, 1.08, 0.62
_SLOT_LEAST = (1.8, 1.9)  # Inches that titles and the colour bar's words need, however thin the picture.
_DASHES = (0, (3, 1.6))

LineStyle = str | tuple[int, tuple[float, float]]
_OUTLINE = [withStroke(linewidth=2.2, foreground="#000000aa")]


@dataclass(frozen=True)
class Picture:
    """A picture file with what must be said of it.

    Attributes:
        path: PNG file.
        alt: What it shows, for who cannot see it.
        caption: For below it.
        css_width: Pixels on a page at 100 %.
    """

    path: Path
    alt: str
    caption: str
    css_width: int


@dataclass(frozen=True)
class GreyWindow:
    """Which HU are black and white."""

    name: str
    width_hu: float
    level_hu: float

    @property
    def limits(self) -> tuple[float, float]:
        """HU shown black, HU shown white."""
        return self.level_hu - self.width_hu / 2, self.level_hu + self.width_hu / 2


SOFT_TISSUE = GreyWindow("soft tissue", 400, 40)
LUNG = GreyWindow("lung", 1500, -600)
BONE = GreyWindow("bone", 1800, 400)


def grey_window(hu: NDArray) -> GreyWindow:
    """Soft tissue, unless most of the values lie beyond it: then lung or bone."""
    black, white = SOFT_TISSUE.limits
    middle = float(np.median(hu)) if np.size(hu) else 0.0
    return LUNG if middle < black else BONE if middle > white else SOFT_TISSUE


@dataclass(frozen=True, eq=False)
class PlanePictures:
    """All that is drawn of one plane, as displayed: arrays (rows, columns), row 0 at the top, column 0 at the left.

    Attributes:
        plane: Where.
        hu: CT, nan outside of it.
        importances: 0 where there is no unit.
        roi: 0 or 1.
        predicted: 0..1 with the border at one half, nan outside the region.
        reference: Likewise; None without one.
    """

    plane: Plane
    hu: NDArray[np.float32]
    importances: NDArray[np.float32]
    predicted: NDArray[np.float32]
    roi: NDArray[np.float32]
    reference: NDArray[np.float32] | None


def plane_pictures(
    attribution: Attribution,
    ct: Volume,
    *,
    predicted: NDArray[np.bool_],
    roi: NDArray[np.bool_],
    reference: NDArray[np.bool_] | None = None,
) -> list[PlanePictures]:
    """The axial, coronal and sagittal picture through the target's centre in the region; masks as for `write_maps`."""
    point = centre_voxel_ras(ct.grid, predicted, roi)
    bounds = bounds_to_show(attribution, ct.grid, roi)
    return [
        _pictures_of(plane_through(point, name, bounds_ras=bounds), attribution, ct, predicted, roi, reference)
        for name in PLANES
    ]


def _pictures_of(
    plane: Plane,
    attribution: Attribution,
    ct: Volume,
    predicted: NDArray[np.bool_],
    roi: NDArray[np.bool_],
    reference: NDArray[np.bool_] | None,
) -> PlanePictures:
    region = sampled(roi, ct.grid, plane, is_smooth=False, outside=0.0)
    is_inner = _inner_pixels(region, ct.grid, plane)

    def inside(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.where(is_inner, sampled(mask, ct.grid, plane, is_smooth=True), np.float32(np.nan))

    return PlanePictures(
        plane,
        hu=sampled(ct.array, ct.grid, plane, is_smooth=True),
        importances=picture_of_importances(attribution, plane),
        predicted=inside(predicted),
        roi=region,
        reference=None if reference is None else inside(reference),
    )


def _inner_pixels(region: NDArray[np.float32], grid: VoxelGrid, plane: Plane) -> NDArray[np.bool_]:
    """Pixels of the region a quarter of a voxel off its border: there, masks known inside alone keep their border."""
    n_pixels = 1 + int(np.ceil(0.25 * grid.spacing_kji_mm.max() / plane.pixel_mm))
    return ndimage.binary_erosion(region > 0.5, iterations=n_pixels, border_value=1)


def write_maps(
    folder: Path,
    attribution: Attribution,
    ct: Volume,
    *,
    predicted: NDArray[np.bool_],
    roi: NDArray[np.bool_],
    reference: NDArray[np.bool_] | None = None,
) -> list[Picture]:
    """Writes ``map_axial.png``, ``map_coronal.png`` and ``map_sagittal.png`` with one colour scale for all three.

    Args:
        folder: Where; must exist.
        attribution: Importances; their units may lie on any grid.
        ct: In HU, on its native grid.
        predicted: bool (k, j, i) on the CT's grid: where the network sets the target's label; counts inside ``roi``.
        roi: bool (k, j, i) on the CT's grid; holds a voxel at least.
        reference: bool (k, j, i) on the CT's grid: the truth, if there is one; counts inside ``roi``.
    """
    inside = ct.array[predicted & roi] if (predicted & roi).any() else ct.array[roi]
    window = grey_window(inside)
    attribution = as_shown(attribution)
    limit = map_limit(attribution)
    written = []
    for pictures in plane_pictures(attribution, ct, predicted=predicted, roi=roi, reference=reference):
        figure = draw_plane(pictures, attribution, limit=limit, window=window)
        path = folder / f"map_{pictures.plane.name}.png"
        FigureCanvasAgg(figure).print_png(path, metadata={"Software": None}, pil_kwargs={"compress_level": 4})
        written.append(_picture(path, figure, pictures, attribution))
    return written


def draw_plane(pictures: PlanePictures, attribution: Attribution, *, limit: float, window: GreyWindow) -> Figure:
    """Two panels: CT with contours; CT with importances, in colours up to ``limit`` in either direction there is."""
    rows, columns = pictures.plane.shape
    scale = min(_PANEL_WIDTH / columns, _PANEL_HEIGHT_MOST / rows)
    width, height = columns * scale, rows * scale
    slot_width, slot_height = max(width, _SLOT_LEAST[0]), max(height, _SLOT_LEAST[1])
    size = (2 * slot_width + 2 * _MARGIN + _GAP + _BAR_SPACE, slot_height + _HEAD + _FOOT)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    bottom = _FOOT + slot_height - height
    left = _panel(figure, (_MARGIN, bottom, width, height), pictures, window)
    right = _panel(figure, (_MARGIN + slot_width + _GAP, bottom, width, height), pictures, window)
    left.imshow(_tint(pictures.predicted), interpolation="nearest")
    right.imshow(picture_rgba(attribution, pictures.importances, limit=limit), interpolation="nearest")
    for axes, is_faint in ((left, False), (right, True)):
        _contours(axes, pictures, is_faint=is_faint)
    _text_in(
        left,
        0.985,
        0.012,
        f"W {rounded(window.width_hu, 0)}  L {rounded(window.level_hu, 0)}",
        ha="right",
        va="bottom",
        size=7,
    )
    left.set_title(f"{pictures.plane.name.capitalize()}, {pictures.plane.position}", loc="left", size=10, color=INK)
    right.set_title(_title(attribution), loc="left", size=10, color=INK)
    bar = axes_at(figure, (_MARGIN + 2 * slot_width + _GAP + 0.14, _FOOT + _WORDS, 0.17, slot_height - 2 * _WORDS))
    draw_colour_bar(bar, attribution, limit)
    _legend(figure, pictures, attribution.target)
    return figure


def _title(attribution: Attribution, *, is_start: bool = True) -> str:
    noun = method_words(attribution.method).noun
    part = "unit" if attribution.voxel_map is None else "voxel"
    return f"{noun[0].upper() + noun[1:] if is_start else noun} of each {part}"


def _panel(figure: Figure, inches: tuple[float, ...], pictures: PlanePictures, window: GreyWindow) -> Axes:
    axes = axes_at(figure, inches)
    black, white = window.limits
    axes.imshow(np.nan_to_num(pictures.hu, nan=black), cmap="gray", vmin=black, vmax=white, interpolation="bilinear")
    letters = pictures.plane.letters
    _text_in(axes, 0.012, 0.5, letters["left"], ha="left", va="center", size=10)
    _text_in(axes, 0.988, 0.5, letters["right"], ha="right", va="center", size=10)
    _text_in(axes, 0.5, 0.988, letters["top"], ha="center", va="top", size=10)
    _text_in(axes, 0.5, 0.012, letters["bottom"], ha="center", va="bottom", size=10)
    _scale_bar(axes, pictures.plane)
    axes.set(xticks=[], yticks=[], facecolor="black")
    axes.spines[:].set_visible(False)
    return axes


def _tint(predicted: NDArray[np.float32]) -> NDArray[np.float64]:
    """(rows, columns, 4): a breath of the contour's colour over the labelled part, in case no border is in sight."""
    rgba = np.zeros((*predicted.shape, 4))
    rgba[...] = to_rgba(_PREDICTION, alpha=0.0)
    rgba[..., 3] = 0.14 * (np.nan_to_num(predicted) > 0.5)
    return rgba


def _text_in(axes: Axes, x: float, y: float, text: str, *, ha: str, va: str, size: float) -> None:
    axes.text(x, y, text, transform=axes.transAxes, ha=ha, va=va, size=size, color="white", path_effects=_OUTLINE)


def _scale_bar(axes: Axes, plane: Plane) -> None:
    """A bar of a round length, at most a quarter of the picture's width."""
    rows, columns = plane.shape
    length_mm = max((mm for mm in (5, 10, 20, 50, 100) if mm <= 0.25 * columns * plane.pixel_mm), default=2)
    left, bottom = 0.025 * columns, rows - 1 - 0.02 * max(rows, columns)
    axes.plot([left, left + length_mm / plane.pixel_mm], [bottom, bottom], color="white", lw=2, path_effects=_OUTLINE)
    axes.annotate(
        f"{length_mm} mm",
        (left, bottom),
        (0, 4),
        textcoords="offset points",
        size=7.5,
        color="white",
        path_effects=_OUTLINE,
    )
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _contours(axes: Axes, pictures: PlanePictures, *, is_faint: bool) -> None:
    for picture, colour, style, width in (
        (pictures.roi, _REGION, "solid", 0.9),
        (pictures.reference, _REFERENCE, _DASHES, 1.3),
        (pictures.predicted, _PREDICTION, "solid", 1.3),
    ):
        if picture is not None and _has_border(picture):
            axes.contour(
                np.ma.masked_invalid(picture),
                [0.5],
                colors=[colour],
                linewidths=width * (0.75 if is_faint else 1.0),
                linestyles=[style],
            )


def _has_border(picture: NDArray[np.float32]) -> bool:
    """Whether a mask's picture has known pixels on both sides of one half: else there is no contour to draw."""
    known = picture[np.isfinite(picture)]
    return bool((known < 0.5).any() and (known > 0.5).any())


def _legend(figure: Figure, pictures: PlanePictures, target: str) -> None:
    width, height = figure.get_size_inches()
    others_inches, letter_inches = (3.9, 0.075) if pictures.reference is not None else (2.8, 0.075)
    name = shortened(readable(target), int(np.clip((width - others_inches) / letter_inches, 8, 40)))
    entries: list[tuple[str, LineStyle, str]] = [
        (_PREDICTION, "solid", f"predicted “{name}”"),
        (_REGION, "solid", "region of interest"),
    ]
    if pictures.reference is not None:
        entries.insert(1, (_REFERENCE, _DASHES, "reference"))
    handles = [
        Line2D(
            [],
            [],
            color=colour,
            ls=style,
            lw=1.6,
            label=label,
            path_effects=[withStroke(linewidth=3.6, foreground="#3a3d42")],
        )
        for colour, style, label in entries
    ]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(_MARGIN / width, 0.06 / height), ncols=len(handles),
        frameon=False, fontsize=8, labelcolor=INK, borderpad=0, borderaxespad=0, handlelength=2.2, columnspacing=1.8,
    )  # fmt: skip


def _picture(path: Path, figure: Figure, pictures: PlanePictures, attribution: Attribution) -> Picture:
    plane, target = pictures.plane, readable(attribution.target)
    words = method_words(attribution.method)
    colours = "red positive, blue negative" if words.is_signed else "from purple to orange the more there is"
    shown = "with the predicted contour" + ("" if pictures.reference is None else " and the reference contour")
    alt = (
        f"{plane.name.capitalize()} plane at {plane.position}. Left: the CT {shown} of {target} and the region of "
        f"interest. Right: the same with the {_title(attribution, is_start=False)} {words.joint} the "
        f"{quantity_words(attribution.quantity).short} in colour, {colours}."
    )
    has_target = (np.nan_to_num(pictures.predicted) > 0.5).any()
    centre = f"“{target}” in the region" if has_target else "the region"
    caption = f"{plane.name.capitalize()} plane at {plane.position}, through the centre of {centre}."
    return Picture(path, alt, caption, round(float(figure.get_size_inches()[0]) * DPI / 2))
