"""The trunk: skin, fat, muscle wall, the cavity inside, the diaphragm and the lungs."""

from dataclasses import dataclass

import numpy as np

from SegExplainLib.phantom.canvas import FAT_HU, Canvas
from SegExplainLib.phantom.shapes import Field, Points, ellipsoid, intersection, profile, smooth_field, union
from SegExplainLib.phantom.tissue import Tissues


@dataclass(frozen=True)
class Trunk:
    """Where the trunk's surfaces run; every field is float32 (k, j, i) in mm.

    Attributes:
        skin: signed distance to the skin, negative inside.
        fat_mm: thickness of the subcutaneous fat on the ray through the voxel.
        wall_mm: thickness of the muscle wall below it.
        cavity: signed distance to the wall's inner face, negative inside the chest and belly.
        diaphragm_z: height of the diaphragm above the voxel's (x, y).
        back_angle: angle in radians about the body axis, 0 at the back, pi at the front, the same on both sides.
        pelvic_bowl: signed distance to the ellipsoid on which the hip bones lie.
    """

    skin: Field
    fat_mm: Field
    wall_mm: Field
    cavity: Field
    diaphragm_z: Field
    back_angle: Field
    pelvic_bowl: Field


def draw_trunk(points: Points, rng: np.random.Generator) -> Trunk:
    """Trunk of a random patient, from slim to stout."""
    stoutness = rng.uniform(0.0, 1.0)
    x, y, z = points.x, points.y, points.z
    heights = [-240, -170, -100, -40, 40, 120, 190, 270]
    half_width = (162 + 18 * stoutness + rng.uniform(-4, 4)) * profile(
        z, at=heights, values=[1.0, 1.04, 0.99, 0.95, 0.96, 1.0, 0.99, 0.9]
    )
    half_depth = (110 + 16 * stoutness + rng.uniform(-3, 3)) * profile(
        z, at=heights, values=[0.99, 1.0, 0.96, 0.94, 0.97, 1.0, 0.96, 0.84]
    )
    level = ((np.abs(x) / half_width) ** 2.4 + (np.abs(y) / half_depth) ** 2.4) ** (1 / 2.4)
    radius = np.sqrt(x * x + y * y)
    skin = radius - radius / np.maximum(level, 1e-3)
    behind = y < 0
    skin = np.where(level < 0.05, -half_depth, skin) + np.where(behind, 5 * np.exp(-((x / 20) ** 2)), 0)
    back_angle = np.arctan2(np.abs(x), -y)

    fat_mm = (7 + 17 * stoutness) * profile(z, at=[-240, -120, 0, 100, 260], values=[1.15, 1.25, 1.1, 0.75, 0.6])
    fat_mm = fat_mm * (1 + 0.25 * np.sin(back_angle))
    wall_mm = profile(z, at=[-240, -30, 30, 180, 280], values=[13, 13, 20, 21, 42])
    wall_mm = wall_mm + np.where(behind, 12 * np.exp(-((x / 48) ** 4)), 0)
    bowl = ellipsoid(points, (0, 12, -95), semi_axes=(120 + 6 * stoutness, 90, 145))
    return Trunk(
        skin=skin.astype(np.float32),
        fat_mm=fat_mm.astype(np.float32),
        wall_mm=wall_mm.astype(np.float32),
        cavity=(skin + fat_mm + wall_mm).astype(np.float32),
        diaphragm_z=_draw_diaphragm(points, rng),
        back_angle=back_angle.astype(np.float32),
        pelvic_bowl=bowl,
    )


def _draw_diaphragm(points: Points, rng: np.random.Generator) -> Field:
    x, y = points.x, points.y
    breath = rng.uniform(-10, 10)

    def dome(top: float, cx: float, cy: float, wx: float, wy: float, drop: float) -> Field:
        return top + breath + rng.uniform(-5, 5) - drop * (((x - cx) / wx) ** 2 + ((y - cy) / wy) ** 2)

    right = dome(122, 72, 8, 95, 98, 112)
    left = dome(108, -78, 5, 95, 98, 105)
    middle = dome(104, -15, 30, 80, 75, 60)
    return -union(union(-right, -left, blend_mm=25), -middle, blend_mm=25)


def paint_wall(canvas: Canvas, trunk: Trunk, tissues: Tissues, rng: np.random.Generator) -> None:
    """Skin, subcutaneous fat, muscle wall with streaks of fat, and the fat that fills the cavity."""
    shape = canvas.shape_kji
    canvas.paint(trunk.skin, 0.0)
    canvas.paint(trunk.skin + 2, FAT_HU + 8 * smooth_field(rng, shape, length_voxels=3))
    streaks = smooth_field(rng, shape, length_voxels=2.5)
    muscle = tissues.muscle + 4 * streaks - 60 * np.clip(streaks - 1.6, 0, 1)
    canvas.paint(trunk.skin + trunk.fat_mm, muscle)
    canvas.paint(trunk.cavity, FAT_HU + 10 * smooth_field(rng, shape, length_voxels=3))
    # Gluteal muscle lies between the hip bones and the fat.
    z = canvas.points.z
    outside_bowl = np.maximum(-trunk.pelvic_bowl, trunk.skin + trunk.fat_mm)
    canvas.paint(intersection(outside_bowl, z + 92, blend_mm=20), muscle)


def paint_lungs(canvas: Canvas, trunk: Trunk, tissues: Tissues, label: int, rng: np.random.Generator) -> None:
    """Both lungs: above the diaphragm, on either side of the mediastinum, denser towards the back, with vessels."""
    p = canvas.points
    half_width = profile(p.y, at=[-80, -45, 0, 60, 90], values=[30, 31, 27, 13, 11])
    half_width = half_width + profile(p.z, at=[150, 230, 270], values=[0, 7, 12])
    mediastinum = half_width - np.abs(p.x + 3)
    chest = intersection(trunk.cavity + 1.5, (trunk.diaphragm_z - p.z) * 0.75, blend_mm=8)
    lungs = intersection(chest, mediastinum, blend_mm=14)
    vessels = np.abs(smooth_field(rng, canvas.shape_kji, length_voxels=4))
    hilum = np.exp(-((np.abs(p.x) - 40) ** 2) / 45**2 - (p.z - 175) ** 2 / 70**2)
    texture = 25 * smooth_field(rng, canvas.shape_kji, length_voxels=2) - 0.5 * p.y
    strands = 500 * np.clip(0.12 - vessels, 0, 1) / 0.12 * hilum
    canvas.paint(lungs, tissues.lung + texture + strands, label=label)


def paint_table(canvas: Canvas, rng: np.random.Generator) -> None:
    """The scanner's couch, on two scans of three: a thin curved shell behind the back."""
    if rng.uniform() < 1 / 3:
        return
    p = canvas.points
    top = -(rng.uniform(134, 140) + 0.0) + (p.x / 33.0) ** 2 * 0.6
    shell = np.maximum(np.abs(p.y - top) - 2.5, np.abs(p.x) - 195)
    shell = np.where(canvas.hu < -700, shell, 50.0)
    canvas.paint(shell, rng.uniform(-500, -250))
