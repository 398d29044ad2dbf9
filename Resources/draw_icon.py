"""Draw the icons of the Slicer module: ``python Resources/draw_icon.py``; needs numpy, matplotlib and the library.

The picture says what the tool does: an axial slice of a body, cut into units; red ones speak for a label, blue ones
against it. The thumbnail of the sample data is a coronal slice of the synthetic torso with its organs.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from SegExplainLib.phantom import DEMO_SEED, make_torso
from SegExplainLib.report.colours import diverging_rgb

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parents[1]
ICON_PIXELS, OVERSAMPLING = 128, 8
SEAM_WIDTH = 0.042
THUMBNAIL_MM, THUMBNAIL_PIXELS = (450.0, 418.0), (280, 260)

BODY, SKIN, BONE, SEAM = (0.80, 0.83, 0.87), (0.36, 0.42, 0.50), (0.98, 0.97, 0.93), (1.0, 1.0, 1.0)
ORGAN_COLOURS = {
    "lung": (0.62, 0.78, 0.90),
    "spine": (0.95, 0.90, 0.75),
    "ribs": (0.95, 0.90, 0.75),
    "pelvis": (0.95, 0.90, 0.75),
    "liver": (0.80, 0.42, 0.30),
    "spleen": (0.62, 0.42, 0.66),
    "kidney_left": (0.85, 0.62, 0.30),
    "kidney_right": (0.85, 0.62, 0.30),
    "heart": (0.86, 0.36, 0.40),
    "aorta": (0.90, 0.25, 0.22),
    "stomach": (0.90, 0.66, 0.60),
    "bladder": (0.93, 0.83, 0.45),
    "lesion": (0.98, 0.86, 0.10),
}


def icon() -> NDArray[np.uint8]:
    """(128, 128, 4): the slice, drawn large and averaged down."""
    n = ICON_PIXELS * OVERSAMPLING
    y, x = (np.mgrid[0:n, 0:n] + 0.5) / n * 2 - 1
    rgba = np.zeros((n, n, 4))

    def paint(mask: NDArray[np.bool_], colour: tuple[float, ...]) -> None:
        rgba[mask] = (*colour[:3], 1.0)

    body = _ellipse(x, y, centre=(0, 0), radii=(0.97, 0.80), power=2.5)
    inside = _ellipse(x, y, centre=(0, 0), radii=(0.895, 0.725), power=2.5)
    paint(body, SKIN)
    paint(inside, BODY)
    organ = _organ(x, y) & inside
    cell, is_seam = _units(x, y)
    for number, importance in enumerate(_IMPORTANCES):
        paint(organ & (cell == number), tuple(diverging_rgb(importance, limit=1.0)))
    paint(organ & is_seam, SEAM)
    paint(_ellipse(x, y, centre=(0.03, 0.42), radii=(0.155, 0.135), power=2), BONE)
    paint(_ellipse(x, y, centre=(0.03, 0.615), radii=(0.055, 0.09), power=2), BONE)
    small = rgba.reshape(ICON_PIXELS, OVERSAMPLING, ICON_PIXELS, OVERSAMPLING, 4)
    alpha = small[..., 3:].mean(axis=(1, 3))
    colour = (small[..., :3] * small[..., 3:]).mean(axis=(1, 3)) / np.maximum(alpha, 1e-6)
    return (255 * np.concatenate([colour, alpha], axis=-1)).round().astype(np.uint8)


# Seeds of the units, x to the right and y down in -1..1, and what each is worth: one strong centre, less around it.
_SEEDS = np.array(
    [
        (-0.40, -0.02),
        (-0.70, -0.18),
        (-0.38, -0.38),
        (-0.66, 0.22),
        (-0.28, 0.28),
        (-0.06, -0.20),
        (0.26, -0.30),
        (0.5, -0.1),
    ]
)
_IMPORTANCES = (1.0, 0.35, 0.5, 0.22, 0.12, 0.62, -0.35, -0.9)


def _units(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Number of the nearest seed, and a band of one width along the border between two."""
    squared = np.stack([(x - seed[0]) ** 2 + (y - seed[1]) ** 2 for seed in _SEEDS])
    first = squared.argmin(axis=0)
    to_border = np.full(x.shape, np.inf)
    for number, seed in enumerate(_SEEDS):
        apart = np.hypot(*(_SEEDS[first] - seed).transpose(2, 0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            border = (squared[number] - squared.min(axis=0)) / (2 * apart)
        to_border = np.where(first == number, to_border, np.minimum(to_border, border))
    return first, to_border < SEAM_WIDTH / 2


def _organ(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A liver: broad on the patient's right, which is the viewer's left, and thin across the midline."""
    corners = [
        (-0.70, -0.36),
        (-0.40, -0.60),
        (0.12, -0.60),
        (0.66, -0.44),
        (0.72, -0.14),
        (0.36, -0.06),
        (0.02, -0.04),
    ]
    corners += [(-0.10, 0.20), (-0.24, 0.46), (-0.58, 0.46), (-0.84, 0.12)]
    points = np.array(corners)
    middles = (points + np.roll(points, -1, axis=0)) / 2
    vertices = [middles[-1]]
    for point, middle in zip(points, middles, strict=True):
        vertices += [point, middle]
    codes = [Outline.MOVETO] + [Outline.CURVE3] * (2 * len(points))
    smooth = Outline(1000 * np.array(vertices), codes).to_polygons(closed_only=False)[0] / 1000  # flattened to one unit
    return Outline(smooth).contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)


def _ellipse(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    centre: tuple[float, float],
    radii: tuple[float, float],
    power: float,
) -> NDArray[np.bool_]:
    return np.abs((x - centre[0]) / radii[0]) ** power + np.abs((y - centre[1]) / radii[1]) ** power <= 1


def thumbnail() -> NDArray[np.uint8]:
    """(280, 260, 3): the coronal plane through the lesion, in a radiologist's window, organs tinted."""
    torso = make_torso(DEMO_SEED)
    lesion = np.argwhere(torso.labels.array == _value(torso.label_names, "lesion")).mean(axis=0).round().astype(int)
    grey = np.clip((torso.ct.array[:, lesion[1]] + 160) / 400, 0, 1)
    labels = torso.labels.array[:, lesion[1]]
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    for name, colour in ORGAN_COLOURS.items():
        inside = labels == _value(torso.label_names, name)
        rgb[inside] = 0.4 * rgb[inside] + 0.6 * np.array(colour) * (0.45 + 0.55 * rgb[inside])
    return (255 * _resized(rgb[::-1], float(torso.ct.grid.spacing_kji_mm[0]))).round().astype(np.uint8)


def _resized(picture: NDArray[np.float64], pixel_mm: float) -> NDArray[np.float64]:
    """The middle of a picture at the thumbnail's size, between pixels linear."""
    axes = [
        (np.arange(n) + 0.5 - n / 2) / n * mm / pixel_mm + size / 2 - 0.5
        for n, mm, size in zip(THUMBNAIL_PIXELS, THUMBNAIL_MM, picture.shape, strict=False)
    ]
    for axis, at in enumerate(axes):
        at = np.clip(at, 0, picture.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, picture.shape[axis] - 1)
        share = (at - low).reshape([-1 if other == axis else 1 for other in range(3)])
        picture = np.take(picture, low, axis) * (1 - share) + np.take(picture, high, axis) * share
    return picture


def _value(names: dict[int, str], name: str) -> int:
    return next(value for value, found in names.items() if found == name)


def main() -> None:
    """Writes the pictures where Slicer and the index of extensions look for them."""
    from PIL import Image

    icons = ROOT / "SegExplain" / "Resources" / "Icons"
    icons.mkdir(parents=True, exist_ok=True)
    for path in (icons / "SegExplain.png", ROOT / "Resources" / "SegExplain.png"):
        Image.fromarray(icon(), "RGBA").save(path, optimize=True)
    Image.fromarray(thumbnail(), "RGB").save(icons / "SegExplainTorso.png", optimize=True)


if __name__ == "__main__":
    main()
