"""A random torso CT with its labels: the story, top to bottom."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy import ndimage

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.phantom.canvas import Canvas
from SegExplainLib.phantom.circulation import paint_aorta, paint_great_vessels, paint_heart
from SegExplainLib.phantom.shapes import Points, rotation, smooth_field
from SegExplainLib.phantom.skeleton import draw_spine_curve, paint_pelvis, paint_ribs, paint_spine
from SegExplainLib.phantom.tissue import Tissues, draw_tissues
from SegExplainLib.phantom.trunk import draw_trunk, paint_lungs, paint_table, paint_wall
from SegExplainLib.phantom.viscera import (
    paint_bladder,
    paint_bowel,
    paint_kidney,
    paint_lesion,
    paint_liver,
    paint_spleen,
    paint_stomach,
)
from SegExplainLib.volume import Volume, VoxelGrid

LABEL_NAMES: dict[int, str] = dict(
    enumerate(
        (
            "background",
            "lung",
            "spine",
            "ribs",
            "pelvis",
            "liver",
            "spleen",
            "kidney_left",
            "kidney_right",
            "heart",
            "aorta",
            "stomach",
            "bladder",
            "lesion",
        )
    )
)
# The torso of the demo: shown in tutorials, never trained on.
DEMO_SEED = 6
_VALUE = {name: value for value, name in LABEL_NAMES.items()}


@dataclass(frozen=True)
class Torso:
    """A synthetic CT and what is where in it.

    Attributes:
        ct: float32 HU (k, j, i).
        labels: uint8 (k, j, i) on the same grid; each voxel has one label.
        label_names: label value -> name; 0 is background.
    """

    ct: Volume
    labels: Volume
    label_names: dict[int, str]

    def __post_init__(self) -> None:
        if self.ct.array.shape != self.labels.array.shape:
            raise ValueError(f"CT {self.ct.array.shape} and labels {self.labels.array.shape} differ in shape")


def make_torso(seed: int, *, spacing_mm: float = 5.0, has_lesion: bool = True) -> Torso:
    """Torso CT of a random synthetic patient, from the pelvis to the upper chest.

    Body shape, pose, organ sizes and places, contrast phase, noise and scan extent all follow from ``seed``: the same
    seed gives the same torso on the same platform. Without lesion the torso is the same but for the lesion and its rim.
    Another spacing shows a patient of the same build, bent and textured otherwise.

    The grid is isotropic and lies as a scanner's does: i to the patient's left, j to the back, k to the head. Liver and
    ``kidney_right`` are at positive R. Every label but ``lesion`` is always present.

    Anatomy and brightness are our own construction, in the spirit of the geometric phantoms of Segars et al. (2010),
    Medical Physics 37(9): believable at 4 to 8 mm voxels, not meant for dosimetry.

    Raises:
        InvalidRequest: ``spacing_mm`` is outside 2 to 10 mm: below, memory runs out; above, thin organs vanish.
    """
    if not 2.0 <= spacing_mm <= 10.0:
        raise InvalidRequest(f"A torso needs voxels of 2 to 10 mm; found {spacing_mm} mm.", "Ask for 5 mm, the demo's.")
    streams = count()

    def stream() -> np.random.Generator:
        return np.random.default_rng([seed, next(streams)])

    grid, canvas = _empty_scan(stream(), spacing_mm)
    tissues = draw_tissues(stream())
    _paint_anatomy(canvas, tissues, stream)
    lesion_rng, scanner_rng = stream(), stream()
    if has_lesion:
        paint_lesion(canvas, tissues, _VALUE["liver"], _VALUE["lesion"], lesion_rng)
    hu = _scan(canvas.hu, scanner_rng)
    return Torso(Volume(hu, grid), Volume(canvas.label, grid), dict(LABEL_NAMES))


def _paint_anatomy(canvas: Canvas, tissues: Tissues, stream: Callable[[], np.random.Generator]) -> None:
    """Everything but the lesion, from what lies behind to what covers it."""
    trunk = draw_trunk(canvas.points, stream())
    curve = draw_spine_curve(canvas.points, stream())
    paint_wall(canvas, trunk, tissues, stream())
    paint_lungs(canvas, trunk, tissues, _VALUE["lung"], stream())
    paint_bowel(canvas, trunk, tissues, stream())
    paint_liver(canvas, trunk, tissues, _VALUE["liver"], stream())
    paint_stomach(canvas, trunk, tissues, _VALUE["stomach"], stream())
    paint_spleen(canvas, trunk, tissues, _VALUE["spleen"], stream())
    paint_kidney(canvas, tissues, _VALUE["kidney_left"], is_left=True, rng=stream())
    paint_kidney(canvas, tissues, _VALUE["kidney_right"], is_left=False, rng=stream())
    paint_ribs(canvas, trunk, tissues, _VALUE["ribs"], stream())
    paint_pelvis(canvas, trunk, tissues, _VALUE["pelvis"])
    paint_spine(canvas, trunk, curve, tissues, _VALUE["spine"], stream())
    paint_great_vessels(canvas, curve, tissues)
    paint_heart(canvas, trunk, tissues, _VALUE["heart"], stream())
    paint_aorta(canvas, curve, tissues, _VALUE["aorta"], stream())
    paint_bladder(canvas, tissues, _VALUE["bladder"], stream())
    paint_table(canvas, stream())


def _empty_scan(rng: np.random.Generator, spacing_mm: float) -> tuple[VoxelGrid, Canvas]:
    """The scan's grid, and a canvas whose points are body coordinates under a random pose, size and gentle bending."""
    size = rng.uniform(0.93, 1.05)
    low = np.array([-204.0, -150.0, rng.uniform(-232, -218)]) * [1, 1, size]
    high = np.array([204.0, 136.0, rng.uniform(222, 252)]) * [1, 1, size]
    shape = np.ceil((high - low) / spacing_mm).astype(int)
    origin = np.array([high[0], high[1], low[2]]) + 0.5 * spacing_mm * np.array([-1, -1, 1])
    ijk_to_ras = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    ijk_to_ras[:3, 3] = origin + rng.uniform(-20, 20, size=3)
    shape_kji = (int(shape[2]), int(shape[1]), int(shape[0]))

    axes = [origin[a] + step * np.arange(shape[a]) for a, step in ((2, spacing_mm), (1, -spacing_mm), (0, -spacing_mm))]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    posed = np.stack([x, y, z]).astype(np.float32)
    turn = rotation(about_x=rng.uniform(-3, 3), about_y=rng.uniform(-2, 2), about_z=rng.uniform(-5, 5))
    posed = np.tensordot(turn.astype(np.float32), posed, axes=1) / np.float32(size)
    shift = rng.uniform(-4, 4, size=2)
    bend = [rng.uniform(2, 4) * smooth_field(rng, shape_kji, length_voxels=70 / spacing_mm) for _ in range(3)]
    points = Points(posed[0] + bend[0] + shift[0], posed[1] + bend[1] + shift[1], posed[2] + bend[2])
    return VoxelGrid(shape_kji, ijk_to_ras), Canvas(points, edge_mm=spacing_mm / size)


def _scan(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the scanner makes of the HU: a little blur, correlated noise, and nothing below air."""
    sharpness = rng.uniform(0.3, 0.45)
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), 0.6)
    noise *= rng.uniform(6, 13) / noise.std()
    return np.clip(ndimage.gaussian_filter(hu, sharpness) + noise, -1024, 3000).astype(np.float32)
