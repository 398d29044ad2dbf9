"""Heart, aorta, veins, and the airway between them."""

import numpy as np

from SegExplainLib.phantom.canvas import Canvas
from SegExplainLib.phantom.shapes import Field, Points, ellipsoid, intersection, profile, rotation, tube, union
from SegExplainLib.phantom.skeleton import SpineCurve
from SegExplainLib.phantom.tissue import Tissues
from SegExplainLib.phantom.trunk import Trunk

_BIFURCATION_Z = -92.0


def paint_heart(canvas: Canvas, trunk: Trunk, tissues: Tissues, label: int, rng: np.random.Generator) -> None:
    """Heart on the diaphragm, pointing to the left front, with its chambers as bright as the blood."""
    p = canvas.points
    size = rng.uniform(0.92, 1.1)
    cx, cy, cz = -26 + rng.uniform(-5, 5), 20 + rng.uniform(-4, 4), 143 + rng.uniform(-4, 6)
    tilt = rotation(about_z=rng.uniform(20, 35), about_y=rng.uniform(-25, -12))
    ventricles = ellipsoid(p, (cx, cy, cz), semi_axes=(58 * size, 43 * size, 41 * size), turned=tilt)
    atria = ellipsoid(p, (cx + 30, cy - 22, cz + 20), semi_axes=(36 * size, 32 * size, 36 * size))
    heart = intersection(union(ventricles, atria, blend_mm=20), (trunk.diaphragm_z + 3 - p.z) * 0.8, blend_mm=10)
    heart = intersection(heart, trunk.cavity + 5, blend_mm=8)
    canvas.paint(heart, tissues.myocardium, label=label, halo_mm=4)
    inner = heart + 7
    left = ellipsoid(p, (cx - 18, cy - 4, cz + 2), semi_axes=(34, 20, 22), turned=tilt)
    right = ellipsoid(p, (cx + 6, cy + 22, cz - 4), semi_axes=(34, 14, 26), turned=tilt)
    upper = ellipsoid(p, (cx + 31, cy - 22, cz + 20), semi_axes=(29, 25, 29))
    canvas.tint(np.maximum(inner, left), tissues.arteries)
    canvas.tint(np.maximum(inner, right), 0.5 * (tissues.arteries + tissues.veins))
    canvas.tint(np.maximum(inner, upper), 0.6 * tissues.arteries + 0.4 * tissues.veins)


def paint_great_vessels(canvas: Canvas, curve: SpineCurve, tissues: Tissues) -> None:
    """Caval veins, pulmonary arteries, airway and gullet: the unlabelled neighbours of heart and aorta."""
    p = canvas.points
    cava_x = profile(p.z, at=[-90, 40, 110, 140], values=[20, 24, 26, 24])
    front = curve.y + curve.half_depth
    cava_y = front + profile(p.z, at=[-90, 40, 110, 140], values=[8, 14, 28, 40])
    cava = np.sqrt(((p.x - cava_x) / 1.15) ** 2 + (p.y - cava_y) ** 2) - 10.5
    cava = np.maximum(cava, np.maximum(_BIFURCATION_Z - p.z, p.z - 140))
    canvas.paint(cava, tissues.veins, halo_mm=1.5)
    gullet = np.sqrt((p.x + 4) ** 2 + (p.y - front - 10) ** 2) - 7.5
    canvas.paint(np.maximum(gullet, 95 - p.z), 38.0)
    canvas.paint(tube(p, [(27, 2, 175), (30, 6, 280)], radii=[10.0, 10.0]), tissues.veins, halo_mm=2)
    lungs_blood = 0.5 * (tissues.arteries + tissues.veins)
    trunk_nodes = [(-20.0, 34.0, 180.0), (-14.0, 12.0, 208.0)]
    canvas.paint(tube(p, trunk_nodes, radii=[13.0, 12.0]), lungs_blood, halo_mm=2)
    branches = [(-62.0, -12.0, 205.0), (-14.0, 6.0, 208.0), (20.0, -8.0, 200.0), (64.0, -18.0, 190.0)]
    canvas.paint(tube(p, branches, radii=[6.0, 10.0, 10.0, 6.0]), lungs_blood)
    airway = np.minimum(
        tube(p, [(2, -12, 290), (1, -20, 222)], radii=[8.5, 8.5]),
        tube(p, [(52, -26, 192), (1, -20, 222), (-54, -26, 190)], radii=[4.5, 6.5, 4.5]),
    )
    canvas.paint(airway - 1.5, 20.0)
    canvas.paint(airway, -960.0)
    legs = Points(np.abs(p.x - 2), p.y, p.z)
    canvas.paint(
        tube(legs, [(5, -22, _BIFURCATION_Z), (48, -12, -165), (70, 45, -230)], radii=[7.0, 6.5, 6.5]), tissues.arteries
    )
    canvas.paint(
        tube(legs, [(8, -34, _BIFURCATION_Z), (50, -27, -165), (62, 36, -230)], radii=[8.0, 7.5, 7.5]), tissues.veins
    )


def paint_aorta(canvas: Canvas, curve: SpineCurve, tissues: Tissues, label: int, rng: np.random.Generator) -> None:
    """Aorta from the heart over the arch and down the spine's left front to its bifurcation."""
    p = canvas.points
    radius = rng.uniform(11.5, 14.0)
    descending = _descending(p, curve, radius)
    arch_z = rng.uniform(228, 240)
    down_x, down_y = -24.0, -38.0
    nodes = [(2.0, 14.0, 172.0), (17.0, 19.0, 200.0), (14.0, 14.0, arch_z - 12), (2.0, -2.0, arch_z)]
    nodes += [(-14.0, -24.0, arch_z), (down_x, down_y, arch_z - 16), (down_x, down_y, 196.0)]
    arch = tube(p, nodes, radii=[radius + 2.5, radius + 2.5, radius + 1.5, radius + 0.5, radius, radius, radius])
    canvas.paint(union(descending, arch, blend_mm=6), tissues.arteries, label=label, halo_mm=2)


def _descending(points: Points, curve: SpineCurve, radius: float) -> Field:
    z = points.z
    x = profile(z, at=[-92, 0, 90, 200], values=[-5, -10, -18, -24])
    y = curve.y + profile(z, at=[-92, 0, 90, 160, 200], values=[1.0, 1.0, 0.85, 0.55, 0.45]) * (
        curve.half_depth + radius + 1
    )
    taper = profile(z, at=[-92, 100], values=[0.85, 1.0])
    inside = np.sqrt((points.x - x - curve.x) ** 2 + (points.y - y) ** 2) - radius * taper
    return np.maximum(inside, np.maximum(_BIFURCATION_Z - z, z - 200))
