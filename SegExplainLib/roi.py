"""The region of interest: the part of the segmentation that is to be explained, as voxels of the CT.

Written as text, so that it fits a command line and a request::

    ijk:100,140,80,120,30,50     voxels of the CT file, from the first to before the last, along i, j, k
    ras:-60,0,-40,20,100,150     a box in mm, from right to left (x), back to front (y), down to up (z) growing
    mask:lesion.nii.gz           the voxels of another image that are not 0
    segment:liver+10             an organ of the organ map, widened by 10 mm
"""

import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.images.file import Warn
from SegExplainLib.organ_map import OrganMap, organ_map_on
from SegExplainLib.volume import Volume, VoxelGrid
from SegExplainLib.volume_io import read_mask

# Voxel centres on a face of a box in mm are inside; file headers round them by less than this.
FACE_MM = 1e-3
# Below this shear the distance between voxels follows from the spacing alone to a thousandth.
RIGHT_ANGLED_SHEAR = 1e-3

_log = logging.getLogger(__name__)
_FORMS = "Write ijk:100,140,80,120,30,50 or ras:-60,0,-40,20,100,150 or mask:lesion.nii.gz or segment:liver+10."


@dataclass(frozen=True)
class IndexBox:
    """Voxels with ``start_kji <= index < stop_kji``."""

    start_kji: tuple[int, int, int]
    stop_kji: tuple[int, int, int]


@dataclass(frozen=True)
class PatientBox:
    """Voxels whose centres lie in a box along the patient's axes, faces included. RAS in mm."""

    low_ras: tuple[float, float, float]
    high_ras: tuple[float, float, float]


@dataclass(frozen=True)
class MaskFile:
    """Voxels where the image in a file is not 0."""

    path: Path


@dataclass(frozen=True)
class OrganSegment:
    """An organ and all within ``margin_mm`` of it, centre to centre."""

    name: str
    margin_mm: float


Roi = IndexBox | PatientBox | MaskFile | OrganSegment


def parse_roi(spec: str) -> Roi:
    """What a text asks for; no file is opened.

    Raises:
        InvalidRequest: the text is of no known form, or its bounds are empty or the wrong way round.
    """
    kind, colon, rest = spec.strip().partition(":")
    rest = rest.strip()
    if not colon or not rest or kind not in ("ijk", "ras", "mask", "segment"):
        raise InvalidRequest(f"The region of interest is {spec!r}, which is of no known form.", _FORMS)
    if kind == "mask":
        return MaskFile(Path(rest).expanduser())
    if kind == "segment":
        return _segment(spec, rest)
    lows, highs = _bounds(spec, kind, rest)
    if kind == "ijk":
        return IndexBox((int(lows[2]), int(lows[1]), int(lows[0])), (int(highs[2]), int(highs[1]), int(highs[0])))
    return PatientBox((lows[0], lows[1], lows[2]), (highs[0], highs[1], highs[2]))


def _bounds(spec: str, kind: str, rest: str) -> tuple[list[float], list[float]]:
    """The three lower and the three upper bounds of a box."""
    number = r"[+-]?\d+" if kind == "ijk" else r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
    texts = [text.strip() for text in rest.split(",")]
    if len(texts) != 6 or not all(re.fullmatch(number, text) for text in texts):
        expected = "six whole numbers" if kind == "ijk" else "six numbers of mm"
        raise InvalidRequest(f"The region of interest is {spec!r}; expected {expected}, with commas between.", _FORMS)
    values = [float(text) for text in texts]
    lows, highs = values[0::2], values[1::2]
    for axis, low, high in zip("ijk" if kind == "ijk" else "xyz", lows, highs):
        if low > high or (kind == "ijk" and low == high):
            hint = f"Write the smaller bound of {axis} first."
            if kind == "ijk":
                hint += " The last index is not included: 10,11 is one voxel."
            raise InvalidRequest(
                f"The region of interest {spec!r} is empty: {axis} runs from {low:g} to {high:g}.", hint
            )
    return lows, highs


def _segment(spec: str, rest: str) -> OrganSegment:
    # A name may hold a plus itself: only a number after the last one is a margin.
    matched = re.fullmatch(r"(?P<name>.+?)\s*\+\s*(?P<margin>[+-]?\d+\.?\d*|[+-]?\.\d+)\s*(mm)?", rest)
    if not matched:
        return OrganSegment(rest, 0.0)
    margin_mm = float(matched["margin"])
    if margin_mm < 0 or not math.isfinite(margin_mm):
        raise InvalidRequest(f"The region of interest {spec!r} has a margin of {margin_mm:g} mm.", "Write 0 or more.")
    return OrganSegment(matched["name"], margin_mm)


def roi_mask(
    spec: str | Roi, ct: Volume, *, organ_map: OrganMap | None = None, warn: Warn = _log.warning
) -> NDArray[np.bool_]:
    """bool (k, j, i) on the CT's own grid: the voxels of the region of interest, at least one.

    What reaches beyond the CT is cut off, with a warning. A mask or an organ map on another grid is resampled by
    nearest neighbour, with a warning.

    Raises:
        InvalidRequest: as ``parse_roi``; or no voxel is in the region; or the mask cannot be read; or no organ has the
            name; or there is no organ map.
        GeometryMismatch: the mask, or the organ map, lies elsewhere than the CT.
    """
    roi = parse_roi(spec) if isinstance(spec, str) else spec
    if isinstance(roi, IndexBox):
        return _index_box_mask(roi, ct.grid, warn)
    if isinstance(roi, PatientBox):
        return _patient_box_mask(roi, ct.grid, warn)
    if isinstance(roi, MaskFile):
        return read_mask(roi.path, ct.grid, warn=warn)
    return _segment_mask(roi, ct.grid, organ_map, warn)


def _index_box_mask(box: IndexBox, grid: VoxelGrid, warn: Warn) -> NDArray[np.bool_]:
    start = np.maximum(box.start_kji, 0)
    stop = np.minimum(box.stop_kji, grid.shape_kji)
    if (start >= stop).any():
        raise _outside(grid, f"from {box.start_kji[::-1]} to before {box.stop_kji[::-1]}")
    if tuple(start) != box.start_kji or tuple(stop) != box.stop_kji:
        warn(f"The region of interest reaches beyond the CT and was cut to {_as_ijk(start, stop)}.")
    mask = np.zeros(grid.shape_kji, dtype=bool)
    mask[tuple(map(slice, start, stop))] = True
    return mask


def _as_ijk(start: NDArray, stop: NDArray) -> str:
    return "ijk:" + ",".join(f"{low},{high}" for low, high in zip(start[::-1], stop[::-1]))


def _outside(grid: VoxelGrid, asked: str) -> InvalidRequest:
    k, j, i = grid.shape_kji
    corners = grid.ras_of(np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape_kji])).reshape(3, -1).T)
    extent = ", ".join(
        f"{axis} {low:.1f} to {high:.1f}" for axis, low, high in zip("xyz", corners.min(axis=0), corners.max(axis=0))
    )
    return InvalidRequest(
        f"The region of interest, {asked}, lies outside the CT.",
        f"The CT has i 0 to {i - 1}, j 0 to {j - 1}, k 0 to {k - 1}; in mm (RAS) {extent}.",
    )


def _patient_box_mask(box: PatientBox, grid: VoxelGrid, warn: Warn) -> NDArray[np.bool_]:
    low, high = np.array(box.low_ras), np.array(box.high_ras)
    corners_kji = grid.kji_of(np.array(np.meshgrid(*zip(low, high), indexing="ij")).reshape(3, -1).T)
    start = np.clip(np.floor(corners_kji.min(axis=0)).astype(int), 0, grid.shape_kji)
    stop = np.clip(np.ceil(corners_kji.max(axis=0)).astype(int) + 1, 0, grid.shape_kji)
    mask = np.zeros(grid.shape_kji, dtype=bool)
    if (start < stop).all():
        mask[tuple(map(slice, start, stop))] = _centres_within(grid, start, stop, low, high)
    if not mask.any():
        asked = f"x, y, z from {box.low_ras} to {box.high_ras} mm"
        middle = grid.kji_of((low + high) / 2)
        if ((middle < -0.5) | (middle > np.array(grid.shape_kji) - 0.5)).any():
            raise _outside(grid, asked)
        spacing = " x ".join(f"{mm:.2f}" for mm in grid.spacing_kji_mm[::-1])
        raise InvalidRequest(
            f"The region of interest, {asked}, holds no voxel centre of the CT.",
            f"Make it larger than a voxel ({spacing} mm).",
        )
    slack = FACE_MM / grid.spacing_kji_mm.min()
    reach = np.array(grid.shape_kji) - 0.5 + slack
    if ((corners_kji < -0.5 - slack) | (corners_kji > reach)).any():
        warn("The region of interest reaches beyond the CT and was cut to it.")
    return mask


def _centres_within(grid: VoxelGrid, start: NDArray, stop: NDArray, low: NDArray, high: NDArray) -> NDArray[np.bool_]:
    """bool over the block from ``start`` to ``stop``: is the voxel centre in the box of the patient?"""
    k, j, i = np.ogrid[tuple(map(slice, start, stop))]
    is_within = np.ones(stop - start, dtype=bool)
    for axis in range(3):
        per_i, per_j, per_k, origin = grid.ijk_to_ras[axis]
        place_mm = per_i * i + per_j * j + per_k * k + origin
        is_within &= (place_mm >= low[axis] - FACE_MM) & (place_mm <= high[axis] + FACE_MM)
    return is_within


def _segment_mask(segment: OrganSegment, grid: VoxelGrid, organ_map: OrganMap | None, warn: Warn) -> NDArray[np.bool_]:
    if organ_map is None:
        raise InvalidRequest(
            f"The region of interest is the segment {segment.name!r}, but there is no organ map.",
            "Give an organ map, or the region as a box or a mask.",
        )
    label = organ_map.label_of(segment.name)
    mask = organ_map_on(organ_map, grid, warn=warn) == label
    if not mask.any():
        raise InvalidRequest(f"No voxel of {segment.name} lies in the CT.", "Choose an organ that the CT shows.")
    return widened(mask, grid, segment.margin_mm)


def widened(mask: NDArray[np.bool_], grid: VoxelGrid, margin_mm: float) -> NDArray[np.bool_]:
    """bool (k, j, i): all voxels whose centre is within ``margin_mm`` of the centre of a voxel in ``mask``.

    By the distance transform with the true spacing, in the part of the volume that can be reached; on a sheared grid,
    where the spacing does not tell distances, by the nearest voxel in mm.
    """
    if margin_mm <= 0 or not mask.any():
        return mask.copy()
    # How far an index can change within the margin: the length of the rows of the inverse, for any affine.
    reach = np.linalg.norm(np.linalg.inv(grid.ijk_to_ras[:3, :3]), axis=1)[::-1] * margin_mm
    reach = np.minimum(np.ceil(reach), mask.shape).astype(int)
    block = tuple(
        slice(max(where.start - n, 0), where.stop + n)
        for where, n in zip(ndimage.find_objects(mask.astype(np.uint8))[0], reach)
    )
    part = mask[block]
    limit_mm = margin_mm + 1e-6
    wide = np.zeros_like(mask)
    if grid.shear <= RIGHT_ANGLED_SHEAR:
        distance_mm = ndimage.distance_transform_edt(~part, sampling=grid.spacing_kji_mm)
        wide[block] = distance_mm <= limit_mm
    else:
        outside = np.argwhere(~part)
        tree = cKDTree(grid.ras_of(np.argwhere(part)))
        distance_mm, _ = tree.query(grid.ras_of(outside), distance_upper_bound=limit_mm)
        found = part.copy()
        found[tuple(outside[distance_mm <= limit_mm].T)] = True
        wide[block] = found
    return wide
