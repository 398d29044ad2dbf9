"""Signed distances of simple solids, and smooth random fields, on a grid of points in the body.

Distances are in millimetres, negative inside. They are exact on the surface and approximate away from it, which is all
that partial volume at an organ's edge needs. Arrays are float32 (k, j, i).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from scipy import ndimage

Field: TypeAlias = np.ndarray
Point: TypeAlias = tuple[float, float, float]

# Said of voxels outside a solid's box, where nobody looks at the exact distance.
_FAR_MM = 60.0
_BOX_MARGIN_MM = 30.0


@dataclass(frozen=True)
class Points:
    """Body coordinates in mm of every voxel centre: ``x`` to the right, ``y`` to the front, ``z`` to the head."""

    x: Field
    y: Field
    z: Field

    def __post_init__(self) -> None:
        if not (self.x.shape == self.y.shape == self.z.shape):
            raise ValueError(f"coordinates differ in shape: {self.x.shape}, {self.y.shape}, {self.z.shape}")

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Number of voxels along k, j, i."""
        return self.x.shape[0], self.x.shape[1], self.x.shape[2]

    @cached_property
    def _ranges(self) -> list[tuple[Field, Field]]:
        """Least and greatest z of each k, y of each j, x of each i."""
        across = ((self.z, (1, 2)), (self.y, (0, 2)), (self.x, (0, 1)))
        return [(field.min(axis=axes), field.max(axis=axes)) for field, axes in across]

    def box(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, slice, slice]:
        """Slices (k, j, i) that hold every voxel in the box from ``low`` to ``high`` (x, y, z), and a margin around."""
        slices = []
        for (least, greatest), a, b in zip(self._ranges, low[::-1], high[::-1], strict=True):
            inside = np.flatnonzero((greatest > a - _BOX_MARGIN_MM) & (least < b + _BOX_MARGIN_MM))
            slices.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0))
        return slices[0], slices[1], slices[2]


def rotation(*, about_x: float = 0.0, about_y: float = 0.0, about_z: float = 0.0) -> np.ndarray:
    """Rotation matrix (3, 3) that turns by the given angles in degrees, about x first and z last."""
    a, b, c = np.deg2rad([about_x, about_y, about_z])
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return turn_z @ turn_y @ turn_x


def ellipsoid(points: Points, centre: Point, *, semi_axes: Point, turned: np.ndarray | None = None) -> Field:
    """Distance to an ellipsoid, by the first-order estimate ``f (f - 1) / |grad f|`` of its implicit function."""
    reach = max(semi_axes)
    box = points.box(tuple(c - reach for c in centre), tuple(c + reach for c in centre))
    dx, dy, dz = points.x[box] - centre[0], points.y[box] - centre[1], points.z[box] - centre[2]
    if turned is not None:
        m = turned.T.astype(float)
        dx, dy, dz = (float(r[0]) * dx + float(r[1]) * dy + float(r[2]) * dz for r in m)
    u, v, w = dx / semi_axes[0], dy / semi_axes[1], dz / semi_axes[2]
    level = np.sqrt(u * u + v * v + w * w)
    slope = np.sqrt((u / semi_axes[0]) ** 2 + (v / semi_axes[1]) ** 2 + (w / semi_axes[2]) ** 2)
    distance = np.full(points.x.shape, _FAR_MM, np.float32)
    distance[box] = level * (level - 1.0) / np.maximum(slope, 1e-6)
    return distance


def tube(points: Points, nodes: list[Point], *, radii: list[float]) -> Field:
    """Distance to a chain of capsules through ``nodes``, the radius running linearly from node to node."""
    nearest = np.full(points.x.shape, _FAR_MM, np.float32)
    for start, end, r0, r1 in zip(nodes[:-1], nodes[1:], radii[:-1], radii[1:], strict=True):
        axis = [float(e - s) for s, e in zip(start, end, strict=True)]
        reach = max(r0, r1)
        low, high = (
            tuple(f(s, e) + d for s, e in zip(start, end, strict=True)) for f, d in ((min, -reach), (max, reach))
        )
        box = points.box(low, high)
        dx, dy, dz = points.x[box] - start[0], points.y[box] - start[1], points.z[box] - start[2]
        t = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / sum(c * c for c in axis), 0.0, 1.0)
        gap = np.sqrt((dx - t * axis[0]) ** 2 + (dy - t * axis[1]) ** 2 + (dz - t * axis[2]) ** 2)
        np.minimum(nearest[box], gap - (r0 + (r1 - r0) * t), out=nearest[box])
    return nearest


def union(a: Field, b: Field, *, blend_mm: float) -> Field:
    """Smooth union of two solids: the crease between them is filled over about ``blend_mm``."""
    near = np.maximum(blend_mm - np.abs(a - b), 0.0) / blend_mm
    return np.minimum(a, b) - near * near * (blend_mm / 4.0)


def intersection(a: Field, b: Field, *, blend_mm: float) -> Field:
    """Smooth intersection of two solids: the common edge is rounded over about ``blend_mm``."""
    return -union(-a, -b, blend_mm=blend_mm)


def profile(positions: Field, *, at: Sequence[float], values: Sequence[float]) -> Field:
    """Piecewise linear function of position through ``(at, values)``, constant beyond the ends; float32."""
    return np.interp(positions, at, values).astype(np.float32)


def smooth_field(rng: np.random.Generator, shape_kji: tuple[int, int, int], *, length_voxels: float) -> Field:
    """Random field (k, j, i) of zero mean and unit standard deviation that varies over about ``length_voxels``."""
    coarse_by = max(1.0, length_voxels / 2.0)
    coarse_shape = tuple(max(4, round(n / coarse_by)) for n in shape_kji)
    field = ndimage.gaussian_filter(
        rng.standard_normal(coarse_shape, dtype=np.float32), length_voxels / coarse_by / 2.0
    )
    for axis, n in enumerate(shape_kji):
        field = _stretch(field, n, axis=axis)
    field -= field.mean()
    return field / field.std()


def _stretch(field: Field, n: int, *, axis: int) -> Field:
    """Linear interpolation to ``n`` samples along one axis, end to end."""
    at = np.linspace(0, field.shape[axis] - 1, n)
    lower = np.minimum(at.astype(int), field.shape[axis] - 2)
    share = (at - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    below, above = np.take(field, lower, axis=axis), np.take(field, lower + 1, axis=axis)
    return below + share * (above - below)
