"""Torsos with planted inserts: what is to be labelled, the metal that causes it, and a stone that causes nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.planted.network import LESION_HU, METAL_HU, STONE_HU, TARGET
from SegExplainLib.model.segmenter import Segmenter
from SegExplainLib.organ_map import OrganMap
from SegExplainLib.phantom import make_torso
from SegExplainLib.players.organs import body_mask
from SegExplainLib.volume import Volume, resampled_nearest

LESION_MM, INSERT_MM, ROD_MM, ROI_MM = 18.0, 10.0, 7.0, 20.0
"""Radii."""
ROD_LENGTH_MM = 36.0
FAR_MM = 50.0
"""From the labelled place to every insert."""
STREAM = 41
"""Keeps the places independent of the anatomy, which follows from the seed too."""
KEPT_NOISE = 0.3
"""Of the CT's own noise in an insert; more would lift voxels out of the network's band."""
CAUSES = {"marker": "clip", "driver": "rod"}
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PlantedTorso:
    """A torso whose label has one cause.

    Attributes:
        ct: In HU.
        organs: Of the phantom, and the inserts.
        roi: bool on the CT's grid: where the label is explained.
        lesion: bool on the CT's grid: the true lesion.
        cause: Name of the insert without which nothing is labelled.
        labelled: Name of the organ that is labelled.
    """

    ct: Volume
    organs: OrganMap
    roi: Mask
    lesion: Mask
    cause: str
    labelled: str


def planted_torso(
    truth: str, seed: int, *, segmenter: Segmenter, spacing_mm: float, is_cause_painted: bool = True
) -> PlantedTorso:
    """A torso of that seed with inserts at places of their own.

    ``marker``: the region is a lesion in the liver, the cause a clip. ``driver``: the region is a ball in the spleen,
    the cause a rod along the body's axis through some slices of it. Both causes lie in every tile that meets the
    region, at least 50 mm from it.

    Args:
        truth: One of ``network.TRUTHS``.
        seed: Of anatomy and places.
        segmenter: Lays the tiles.
        spacing_mm: Of the torso.
        is_cause_painted: False leaves the CT as it is where the cause would be; its unit stays.

    Raises:
        ValueError: the seed leaves no room for an insert.
    """
    torso = make_torso(seed, spacing_mm=spacing_mm, has_lesion=False)
    rng = np.random.default_rng([seed, STREAM])
    grid = torso.ct.grid
    liver, spleen = (torso.labels.array == _label(torso.label_names, name) for name in ("liver", "spleen"))
    lesion = _placed(ball(LESION_MM, spacing_mm), rng, inside=liver, what=TARGET)
    is_marker = truth == "marker"
    roi = lesion if is_marker else spleen & (_distance_mm(_deepest(spleen), spacing_mm) <= ROI_MM)
    free = body_mask(torso.ct) & ~liver & ~spleen & _common_reach(segmenter, torso.ct, roi)
    free &= _distance_mm(roi, spacing_mm) > FAR_MM
    shape = ball(INSERT_MM, spacing_mm) if is_marker else rod(spacing_mm)
    centres = free if is_marker else free & roi.any(axis=(1, 2), keepdims=True)
    metal = _placed(shape, rng, inside=free, centres=centres, what=CAUSES[truth])
    apart = free & (_distance_mm(metal, spacing_mm) > 2 * INSERT_MM)
    stone = _placed(ball(INSERT_MM, spacing_mm), rng, inside=apart, what="stone")

    hu, labels = torso.ct.array.copy(), torso.labels.array.astype(np.int32)
    names = {value: name for value, name in torso.label_names.items() if value and name != TARGET}
    inserts = {TARGET: (lesion, LESION_HU), CAUSES[truth]: (metal, METAL_HU), "stone": (stone, STONE_HU)}
    for value, (name, (where, density_hu)) in enumerate(inserts.items(), start=max(names) + 1):
        labels[where], names[value] = value, name
        if is_cause_painted or name != CAUSES[truth]:
            hu[where] = density_hu + KEPT_NOISE * (hu[where] - hu[where].mean())
    organs = OrganMap(Volume(labels, grid), names)
    return PlantedTorso(Volume(hu, grid), organs, roi, lesion, CAUSES[truth], TARGET if is_marker else "spleen")


def cause_voxels(truth: str, spacing_mm: float) -> int:
    """Voxels of the whole clip; of the rod in one slice."""
    return int(ball(INSERT_MM, spacing_mm).sum() if truth == "marker" else rod(spacing_mm)[0].sum())


def ball(radius_mm: float, spacing_mm: float) -> Mask:
    """bool (k, j, i), odd along each axis, of a ball about its middle."""
    n = int(radius_mm / spacing_mm)
    k, j, i = np.ogrid[-n : n + 1, -n : n + 1, -n : n + 1]
    return (k * k + j * j + i * i) * spacing_mm**2 <= radius_mm**2


def rod(spacing_mm: float) -> Mask:
    """bool (k, j, i), odd along each axis, of a rod along k."""
    n = round(ROD_LENGTH_MM / 2 / spacing_mm)
    disc = ball(ROD_MM, spacing_mm)
    return np.repeat(disc[disc.shape[0] // 2][None], 2 * n + 1, axis=0)


def _label(names: dict[int, str], name: str) -> int:
    return next(value for value, known in names.items() if known == name)


def _distance_mm(mask: Mask, spacing_mm: float) -> NDArray[np.float64]:
    return ndimage.distance_transform_edt(~mask, sampling=spacing_mm)


def _deepest(mask: Mask) -> Mask:
    """The one voxel of ``mask`` that is farthest from its border."""
    depth = ndimage.distance_transform_edt(mask)
    return _only(np.unravel_index(int(depth.argmax()), mask.shape), mask.shape)


def _placed(shape: Mask, rng: np.random.Generator, *, inside: Mask, what: str, centres: Mask | None = None) -> Mask:
    """``shape`` at a random place where it lies wholly inside, its middle on one of ``centres``."""
    room = ndimage.binary_erosion(inside, shape)
    candidates = np.argwhere(room if centres is None else room & centres)
    if not len(candidates):
        raise ValueError(f"this torso has no room for the {what}: take another seed")
    centre = candidates[rng.integers(len(candidates))]
    return ndimage.binary_dilation(_only(tuple(centre), inside.shape), shape)


def _only(index: tuple, shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[index] = True
    return mask


def _common_reach(segmenter: Segmenter, ct: Volume, roi: Mask) -> Mask:
    """What every tile that meets the region sees: from here metal opens the gate in all of them, or in none."""
    network_input = segmenter.prepared(ct)
    tiles = segmenter.tile_grid(network_input.grid.shape_kji)
    common = np.ones(network_input.grid.shape_kji, dtype=bool)
    for number in tiles.tiles_meeting(resampled_nearest(Volume(roi, ct.grid), network_input.grid)):
        common &= tiles.union_of(np.array([number]))
    return resampled_nearest(Volume(common, network_input.grid), ct.grid)
