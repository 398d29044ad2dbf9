"""The organs of belly and pelvis: bowel, liver, stomach, spleen, kidneys, bladder, and the lesion in the liver."""

import numpy as np
from scipy import ndimage

from SegExplainLib.phantom.canvas import Canvas
from SegExplainLib.phantom.shapes import (
    Points,
    ellipsoid,
    intersection,
    rotation,
    smooth_field,
    tube,
)
from SegExplainLib.phantom.tissue import Tissues
from SegExplainLib.phantom.trunk import Trunk

_GAS_HU = -920.0


def paint_bowel(canvas: Canvas, trunk: Trunk, tissues: Tissues, rng: np.random.Generator) -> None:
    """Small bowel, colon with mixed content, pancreas and psoas: unlabelled, but what a belly looks like."""
    p, shape = canvas.points, canvas.shape_kji
    folds = smooth_field(rng, shape, length_voxels=22 / canvas.edge_mm)
    room = np.maximum(trunk.cavity + 7, trunk.pelvic_bowl + 10)
    room = np.maximum(room, np.maximum(-175 - p.z, np.maximum(p.z + 5 - 0.2 * p.y, -12 - p.y)))
    loops = np.maximum(room, (0.1 - folds) * 11)
    content = smooth_field(rng, shape, length_voxels=20 / canvas.edge_mm)
    canvas.paint(loops, tissues.bowel + 12 * content)
    canvas.tint(np.maximum(loops + 5, (1.5 - content - 0.004 * p.y) * 12), _GAS_HU)

    ascending = tube(p, [(100, -12, -118), (106, -18, -60), (98, 5, -30)], radii=[24.0, 21.0, 18.0])
    transverse = tube(p, [(98, 5, -30), (45, 62, -48), (-40, 62, -42), (-98, 5, 8)], radii=[18.0, 17.0, 17.0, 16.0])
    descending = tube(p, [(-98, 5, 8), (-110, -22, -30), (-106, -16, -110)], radii=[16.0, 15.0, 14.0])
    sigmoid = tube(
        p, [(-106, -16, -110), (-62, 8, -140), (-8, -22, -150), (0, -48, -185)], radii=[14.0, 14.0, 15.0, 17.0]
    )
    colon = np.minimum(np.minimum(ascending, transverse), np.minimum(descending, sigmoid))
    colon = intersection(colon, trunk.cavity + 6, blend_mm=6)
    canvas.paint(colon, 45.0, halo_mm=3)
    stool = smooth_field(rng, shape, length_voxels=16 / canvas.edge_mm)
    canvas.tint(colon + 3.5, 15 + 60 * stool - 700 * np.clip(stool - 0.9, 0, 1))

    pancreas = tube(p, [(34, 0, -5), (8, 12, 18), (-35, -2, 30), (-78, -30, 42)], radii=[14.0, 10.0, 11.0, 9.0])
    canvas.paint(pancreas, tissues.pancreas, halo_mm=2)
    sides = Points(np.abs(p.x), p.y, p.z)
    psoas = tube(sides, [(28, -46, 40), (42, -42, -60), (56, -28, -130), (84, 30, -232)], radii=[8.0, 18.0, 21.0, 18.0])
    canvas.paint(psoas, tissues.muscle)


def paint_liver(canvas: Canvas, trunk: Trunk, tissues: Tissues, label: int, rng: np.random.Generator) -> None:
    """Liver under the right dome, its lower edge rising to the left, with the gallbladder (unlabelled) at that edge."""
    p = canvas.points
    length = rng.uniform(-14, 12)
    uneven = 5 * smooth_field(rng, canvas.shape_kji, length_voxels=60 / canvas.edge_mm)
    edge_z = uneven - 42 + length + 0.52 * (np.minimum(95 - p.x, 230)) + 0.4 * np.maximum(-p.y - 10, 0)
    below_dome = (p.z - trunk.diaphragm_z + 5) * 0.75
    liver = intersection(below_dome, trunk.cavity + 3, blend_mm=12)
    liver = intersection(liver, (edge_z - p.z) * 0.85, blend_mm=14)
    reach = rng.uniform(14, 30)
    liver = intersection(liver, -p.x * 0.8 - p.y * 0.6 - reach, blend_mm=16)
    liver = intersection(liver, -p.x - rng.uniform(58, 85), blend_mm=12)
    texture = smooth_field(rng, canvas.shape_kji, length_voxels=30 / canvas.edge_mm)
    canvas.paint(liver, tissues.liver + 3 * texture, label=label, halo_mm=2)
    branches = np.abs(smooth_field(rng, canvas.shape_kji, length_voxels=45 / canvas.edge_mm))
    canvas.tint(np.maximum(liver + 14, (branches - 0.10) * 30), 0.5 * (tissues.liver + tissues.veins))

    x = rng.uniform(34, 52)
    edge_at_gallbladder = -42 + length + 0.52 * (95 - x)
    tilt = rotation(about_x=rng.uniform(15, 35))
    gallbladder = ellipsoid(p, (x, 34, edge_at_gallbladder - 2), semi_axes=(13, 15, 25), turned=tilt)
    canvas.paint(gallbladder, tissues.bile, halo_mm=1)


def paint_stomach(canvas: Canvas, trunk: Trunk, tissues: Tissues, label: int, rng: np.random.Generator) -> None:
    """Stomach with wall, fluid, and a gas bubble at the front, where gas rises in a patient on the back."""
    p = canvas.points
    full = rng.uniform(0.9, 1.15)
    dx, dy, dz = rng.uniform(-6, 6), rng.uniform(-5, 5), rng.uniform(-6, 6)
    nodes = [(-58, -18, 72), (-66, 16, 45), (-52, 40, 12), (-15, 44, -4), (18, 34, 4)]
    moved = [(x + dx, y + dy, z + dz) for x, y, z in nodes]
    stomach = tube(p, moved, radii=[r * full for r in (36, 33, 27, 22, 14)])
    stomach = intersection(stomach, (p.z - trunk.diaphragm_z + 6) * 0.75, blend_mm=10)
    stomach = intersection(stomach, trunk.cavity + 6, blend_mm=8)
    canvas.paint(stomach, 52.0, label=label, halo_mm=3)
    lumen = stomach + 5.0
    canvas.tint(lumen, tissues.stomach_fluid + 5 * smooth_field(rng, canvas.shape_kji, length_voxels=3))
    surface_y = rng.uniform(18, 36)
    canvas.tint(np.maximum(lumen, surface_y - p.y), _GAS_HU)


def paint_spleen(canvas: Canvas, trunk: Trunk, tissues: Tissues, label: int, rng: np.random.Generator) -> None:
    """Spleen under the left dome at the back, hollowed where it faces the stomach."""
    p = canvas.points
    size = rng.uniform(0.9, 1.15)
    centre = (-100 + rng.uniform(-4, 4), -44 + rng.uniform(-5, 5), 55 + rng.uniform(-8, 8))
    tilt = rotation(about_z=rng.uniform(-30, -10), about_x=rng.uniform(-20, 5))
    spleen = ellipsoid(p, centre, semi_axes=(37 * size, 54 * size, 60 * size), turned=tilt)
    hollow = ellipsoid(p, (centre[0] + 54, centre[1] + 30, centre[2]), semi_axes=(32, 34, 46))
    spleen = intersection(spleen, -hollow, blend_mm=10)
    spleen = intersection(spleen, (p.z - trunk.diaphragm_z + 7) * 0.75, blend_mm=10)
    spleen = intersection(spleen, trunk.cavity + 4, blend_mm=8)
    uneven = 10.0 if tissues.phase == "arterial" else 2.0
    texture = uneven * smooth_field(rng, canvas.shape_kji, length_voxels=4)
    canvas.paint(spleen, tissues.spleen + texture, label=label, halo_mm=3)


def paint_kidney(canvas: Canvas, tissues: Tissues, label: int, *, is_left: bool, rng: np.random.Generator) -> None:
    """One kidney in its fat: cortex, medulla, and the fat of the sinus open towards the midline."""
    p = canvas.points
    side = -1.0 if is_left else 1.0
    size = rng.uniform(0.92, 1.12)
    cx, cy = side * (66 + rng.uniform(-4, 5)), -46 + rng.uniform(-5, 4)
    cz = (6 if is_left else -8) + rng.uniform(-10, 10)
    tilt = rotation(about_y=-side * rng.uniform(8, 20), about_z=-side * rng.uniform(15, 35), about_x=rng.uniform(5, 15))
    kidney = ellipsoid(p, (cx, cy, cz), semi_axes=(27 * size, 25 * size, 52 * size), turned=tilt)
    sinus = ellipsoid(p, (cx - side * 17 * size, cy + 9, cz), semi_axes=(15 * size, 9 * size, 20 * size), turned=tilt)
    kidney = intersection(kidney, -sinus, blend_mm=8)
    canvas.paint(kidney, tissues.kidney_cortex, label=label, halo_mm=6)
    canvas.tint(kidney + 10, tissues.kidney_medulla)
    vessel = tube(p, [(cx - side * 12, cy + 8, cz), (side * 22, -14, cz + 8)], radii=[4.5, 5.5])
    canvas.tint(np.where(canvas.label == 0, vessel, 50.0), 0.5 * (tissues.arteries + tissues.veins))


def paint_bladder(canvas: Canvas, tissues: Tissues, label: int, rng: np.random.Generator) -> None:
    """Bladder behind the pubic bones, with its wall."""
    p = canvas.points
    full = rng.uniform(0.85, 1.15)
    centre = (rng.uniform(-6, 6), 24 + rng.uniform(-5, 5), -184 + rng.uniform(-5, 5))
    bladder = ellipsoid(p, centre, semi_axes=(42 * full, 32 * full, 27 * full))
    canvas.paint(bladder, 42.0, label=label, halo_mm=4)
    canvas.tint(bladder + 3.0, tissues.bladder)


def paint_lesion(canvas: Canvas, tissues: Tissues, liver: int, label: int, rng: np.random.Generator) -> None:
    """A rounded hypodense lesion wholly inside the liver, 16 to 26 mm in radius where the liver is thick enough."""
    inside = ndimage.distance_transform_edt(canvas.label == liver) * canvas.edge_mm
    radius = min(rng.uniform(16, 26), float(inside.max()) - 0.5 * canvas.edge_mm)
    candidates = np.flatnonzero(inside > min(radius + canvas.edge_mm, float(inside.max()) - 1e-3))
    chosen = np.unravel_index(candidates[rng.integers(len(candidates))], inside.shape)
    p = canvas.points
    centre = (float(p.x[chosen]), float(p.y[chosen]), float(p.z[chosen]))
    axes = (radius * rng.uniform(0.88, 1.12), radius * rng.uniform(0.88, 1.12), radius * rng.uniform(0.88, 1.12))
    turned = rotation(about_x=rng.uniform(0, 90), about_y=rng.uniform(0, 90), about_z=rng.uniform(0, 90))
    lesion = ellipsoid(p, centre, semi_axes=axes, turned=turned)
    lesion = np.where(canvas.label == liver, lesion, np.maximum(lesion, 0.5 * canvas.edge_mm))
    core = smooth_field(rng, canvas.shape_kji, length_voxels=3)
    canvas.paint(lesion, tissues.lesion + 3 * core, label=label)
