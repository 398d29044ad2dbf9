"""The skeleton: spine with sacrum, ribs with cartilage and sternum, and the hip bones."""

from dataclasses import dataclass

import numpy as np

from SegExplainLib.phantom.canvas import Canvas
from SegExplainLib.phantom.shapes import Field, Points, ellipsoid, intersection, profile, smooth_field, tube
from SegExplainLib.phantom.tissue import Tissues
from SegExplainLib.phantom.trunk import Trunk

_SACRUM_Z = -120.0
_THORAX_Z = 55.0
_LUMBAR_PITCH = 35.0
_RIB_PITCH = 26.0
_RIB_DROP = 78.0


@dataclass(frozen=True)
class SpineCurve:
    """Centre line of the vertebral bodies, and their half width and half depth, over z; all (k, j, i) in mm."""

    x: Field
    y: Field
    half_width: Field
    half_depth: Field


def draw_spine_curve(points: Points, rng: np.random.Generator) -> SpineCurve:
    """Spine of a random patient: lumbar lordosis, thoracic kyphosis, a little scoliosis."""
    z = points.z
    bend, phase = rng.uniform(0, 5), rng.uniform(0, 2 * np.pi)
    size = rng.uniform(0.95, 1.1)
    lordosis = rng.uniform(0.6, 1.3)
    y = profile(
        z, at=[-240, -180, -120, -70, 0, 80, 160, 220, 270], values=[-84, -78, -52, -40, -44, -53, -57, -56, -50]
    )
    return SpineCurve(
        x=bend * np.sin(z / 85 + phase),
        y=y + (lordosis - 1) * 6 * np.exp(-(((z + 60) / 60) ** 2)),
        half_width=size * profile(z, at=[-120, 0, 120, 260], values=[26, 24, 19, 16]),
        half_depth=size * profile(z, at=[-120, 0, 120, 260], values=[19, 18, 16, 13.5]),
    )


def paint_spine(
    canvas: Canvas, trunk: Trunk, curve: SpineCurve, tissues: Tissues, label: int, rng: np.random.Generator
) -> None:
    """Muscle along the spine, then discs, vertebrae in cortical shells, arches, processes, canal, and the sacrum."""
    p = canvas.points
    dx, dy = p.x - curve.x, p.y - curve.y
    erectors = np.sqrt(((np.abs(dx) - 27) / 1.6) ** 2 + (dy + curve.half_depth + 24) ** 2) - 14.0
    erectors = intersection(erectors, trunk.skin + trunk.fat_mm, blend_mm=6)
    canvas.paint(np.maximum(erectors, -185 - p.z), tissues.muscle)
    level = np.where(p.z < _THORAX_Z, (p.z - _SACRUM_Z) / _LUMBAR_PITCH, 5 + (p.z - _THORAX_Z) / _RIB_PITCH)
    pitch = np.where(p.z < _THORAX_Z, _LUMBAR_PITCH, _RIB_PITCH)
    from_middle = (level - np.floor(level) - 0.5) * pitch
    waist = 1 + 0.08 * np.cos(2 * np.pi * level)
    radial = np.sqrt((dx / curve.half_width) ** 2 + (dy / curve.half_depth) ** 2)
    body = (radial / waist - 1) * curve.half_depth
    above_sacrum = _SACRUM_Z - p.z
    canvas.paint(np.maximum(body, above_sacrum), tissues.disc, label=label)
    grain = 20 * smooth_field(rng, canvas.shape_kji, length_voxels=2)
    vertebra = np.maximum(body, np.abs(from_middle) - (0.5 * pitch - 3.5))
    vertebra = np.maximum(vertebra, above_sacrum)
    canvas.paint(vertebra, tissues.cortical_bone * 0.8, label=label)
    canvas.tint(vertebra + 2.5, tissues.spongy_bone + grain)

    behind = -(curve.half_depth + 9)
    arch = np.sqrt(dx * dx + (dy - behind) ** 2) - 15.0
    in_arch = np.abs(from_middle) - 0.36 * pitch
    spinous = np.maximum(np.abs(dx) - 4.5, np.abs(dy - behind + 24) - 14)
    transverse = np.maximum(np.abs(dx) - 36, np.abs(dy - behind - 1) - 6)
    transverse = np.maximum(transverse, np.abs(from_middle) - 6)
    processes = np.minimum(np.maximum(np.minimum(arch, spinous), in_arch), transverse)
    processes = np.maximum(np.maximum(processes, above_sacrum), trunk.skin + 8)
    canvas.paint(processes, 0.5 * (tissues.spongy_bone + tissues.cortical_bone), label=label)
    _paint_sacrum(canvas, trunk, curve, tissues, label)
    canal = np.sqrt((dx / 1.15) ** 2 + (dy - behind) ** 2) - 8.5
    canvas.paint(np.maximum(canal, -150 - p.z), 28.0)


def _paint_sacrum(canvas: Canvas, trunk: Trunk, curve: SpineCurve, tissues: Tissues, label: int) -> None:
    p = canvas.points
    half_width = profile(p.z, at=[-235, -215, -190, -140, -118], values=[2, 12, 28, 50, 48])
    half_depth = profile(p.z, at=[-235, -190, -118], values=[5, 12, 20])
    dx, dy = p.x - curve.x, p.y - (curve.y - 4 - 0.006 * p.x**2)
    flat = (np.sqrt((dx / half_width) ** 2 + (dy / half_depth) ** 2) - 1) * half_depth
    sacrum = np.maximum(flat, np.maximum(p.z - _SACRUM_Z, -232 - p.z))
    sacrum = np.maximum(sacrum, trunk.skin + 10)
    canvas.paint(sacrum, tissues.cortical_bone * 0.75, label=label)
    canvas.tint(sacrum + 3, tissues.spongy_bone * 0.9)


def paint_ribs(canvas: Canvas, trunk: Trunk, tissues: Tissues, label: int, rng: np.random.Generator) -> None:
    """Ribs in the chest wall, sloping down from the spine to the front, with cartilage and the sternum (unlabelled).

    All ribs follow one curve that repeats every pitch, so a single distance serves them all. The two lowest ribs end at
    the flank, as floating ribs do.
    """
    p, angle = canvas.points, trunk.back_angle
    drop = _RIB_DROP * (np.minimum(angle, 2.3) / 2.3) ** 1.25 - 30 * np.maximum(angle - 2.3, 0)
    level = (p.z + drop - (_THORAX_Z + 0.5 * _RIB_PITCH)) / _RIB_PITCH + rng.uniform(-0.05, 0.05)
    number = np.clip(np.round(level), 0, 11)
    along = (level - number) * _RIB_PITCH * 0.86
    depth = -trunk.skin - trunk.fat_mm - 0.58 * profile(p.z, at=[-30, 30, 180, 280], values=[13, 20, 21, 42])
    depth = depth - 16 * np.exp(-((p.x / 40) ** 2)) * (angle < 1.2)
    half_height, half_thickness = rng.uniform(7.2, 8.4), rng.uniform(5.0, 5.8)
    tube_distance = (np.sqrt((along / half_height) ** 2 + (depth / half_thickness) ** 2) - 1) * half_thickness
    ends_at = np.array([1.25, 1.75, 2.15, 2.3, 2.4, 2.45, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5])[number.astype(int)]
    reach_mm = np.sqrt(p.x**2 + p.y**2)
    bony = np.maximum(tube_distance, (angle - ends_at) * reach_mm)
    bony = np.maximum(bony, 27 - np.abs(p.x))

    cartilage = np.maximum(tube_distance, np.maximum((angle - 2.95) * reach_mm, (3.5 - number) * 10))
    canvas.paint(np.maximum(cartilage, 27 - np.abs(p.x)), 110.0)
    sternum = np.maximum(np.abs(p.x) - 19, np.abs(depth + 1) - 6)
    sternum = np.maximum(sternum, 118 - p.z)
    canvas.paint(np.where(p.y > 0, sternum, 50.0), tissues.spongy_bone)
    canvas.paint(bony, tissues.cortical_bone * 0.95, label=label)
    canvas.tint(bony + 3.8, tissues.spongy_bone + 60)


def paint_pelvis(canvas: Canvas, trunk: Trunk, tissues: Tissues, label: int) -> None:
    """Hip bones: the iliac wings as shells, the sockets, and the pubic rami meeting in front."""
    p = canvas.points
    side = np.abs(p.x)
    crest = -98 - 0.0035 * (p.y - 5) ** 2
    wing = np.abs(trunk.pelvic_bowl + 2) - 6.5
    wing = intersection(wing, p.z - crest, blend_mm=8)
    front_edge = p.y - profile(p.z, at=[-215, -100], values=[35, 52])
    wing = np.maximum(wing, np.maximum(front_edge, 40 - side))
    mirrored = Points(side, p.y, p.z)
    socket = ellipsoid(mirrored, (90, 8, -214), semi_axes=(24, 30, 34))
    ramus = tube(mirrored, [(82, 30, -206), (40, 62, -212), (4, 70, -224)], radii=[11, 9, 12])
    hips = np.minimum(np.minimum(wing, socket), ramus)
    canvas.paint(hips, tissues.cortical_bone * 0.85, label=label)
    canvas.tint(hips + 3.8, tissues.spongy_bone + 30)
