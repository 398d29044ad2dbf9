"""Which organ each voxel belongs to: a label map with a name for every label, from a file, on any grid."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import GeometryMismatch, InvalidRequest, nearest_names
from SegExplainLib.images.file import ImageFile, Warn, read_image_file
from SegExplainLib.images.label_names import lists_beside, names_in_nifti_texts, read_label_names, segments_in
from SegExplainLib.images.totalsegmentator_labels import TOTAL_NAMES
from SegExplainLib.volume import SAME_GRID_VOXELS, Volume, VoxelGrid, resampled_nearest, share_inside
from SegExplainLib.volume_io import write_label_image

MAX_LABELS = 1000
# Fewer labels than this may just as well be somebody's tumour mask: 1 is the spleen only for TotalSegmentator.
MIN_LABELS_FOR_TOTAL = 5
MIN_SHARE_INSIDE = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OrganMap:
    """A label map and what its labels mean.

    Attributes:
        labels: Integer labels (k, j, i); 0 is background.
        names: Label -> name, of every label that is present; no name twice.
    """

    labels: Volume
    names: dict[int, str]

    def __post_init__(self) -> None:
        if not np.issubdtype(self.labels.array.dtype, np.integer):
            raise TypeError(f"labels must be integers, not {self.labels.array.dtype}")
        if 0 in self.names or len(set(self.names.values())) != len(self.names):
            raise ValueError("names must leave out the background 0 and differ from each other")

    def label_of(self, name: str) -> int:
        """The label of an organ; case does not matter, nor ``_`` or ``-`` for a blank, where only one organ fits.

        Raises:
            InvalidRequest: no organ has the name; the hint offers the nearest.
        """
        for alike in (str, _folded):
            matches = [label for label, known in self.names.items() if alike(known) == alike(name)]
            if len(matches) == 1:
                return matches[0]
        raise InvalidRequest(f"The organ map has no {name!r}.", nearest_names(name, self.names.values()))


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def read_organ_map(path: Path | str, *, names_from: Path | str | None = None, warn: Warn = _log.warning) -> OrganMap:
    """An organ label map with its names, from a NIfTI, NRRD (``.seg.nrrd`` of Slicer too) or MetaImage file.

    Names come from the first of: ``names_from``; the file itself (Slicer's segments, TotalSegmentator's NIfTI header);
    a list beside it (``<stem>.json``, ``.csv``, ``.ctbl``, then ``labels.json``, ``labels.csv``, ``dataset.json``);
    TotalSegmentator's table "total" when there are at least 5 labels and all are in 1..117, with a warning; else
    ``label_7`` and the like, with a warning.

    Raises:
        InvalidRequest: unreadable, not integers >= 0, no label or more than 1000, overlapping segments, bad names.
        GeometryMismatch: a NIfTI's axes are sheared.
    """
    path = Path(path).expanduser()
    image = read_image_file(path, warn=warn)
    segments = segments_in(image.tags)
    if image.array.ndim == 4:
        labels, own_names = _merged_layers(path, image, segments)
    else:
        labels = _checked_labels(path, image.array)
        own_names = {label: name for name, label, _ in segments} or names_in_nifti_texts(image.tags)
    present = [label for label in _present_labels(labels) if label]
    if not present or len(present) > MAX_LABELS:
        raise InvalidRequest(
            f"{path} has {len(present)} labels besides 0; an organ map has 1 to {MAX_LABELS}.",
            "Give a label map, not a CT or an empty mask.",
        )
    if names_from is not None:
        known = read_label_names(Path(names_from))
    else:
        known = own_names or _listed_names(path, warn) or _assumed_names(path, present, warn)
    return OrganMap(Volume(labels, image.grid), _complete_names(path, present, known, warn))


def _checked_labels(path: Path, array: NDArray) -> NDArray[np.int32]:
    low, high = array.min().item(), array.max().item()
    # The comparison is written so that nan fails it.
    if not (low >= 0 and high < 2**31) or (array.dtype.kind == "f" and not np.array_equal(array, np.rint(array))):
        raise InvalidRequest(
            f"{path} runs from {low:g} to {high:g} in {array.dtype}; labels are whole numbers from 0 up.",
            "Give a label map, not a CT or a probability map.",
        )
    return array.astype(np.int32, copy=False)


def _present_labels(labels: NDArray[np.int32]) -> list[int]:
    # Slice by slice: sorting a whole CT at once takes half a minute and its memory several times over.
    found: set[int] = set()
    for plane in labels:
        found.update(np.unique(plane).tolist())
    return sorted(found)


def _merged_layers(path: Path, image: ImageFile, segments: list) -> tuple[NDArray[np.int32], dict[int, str]]:
    """One label map of a segmentation with several layers, numbered in the order of the segments."""
    if not segments:
        raise InvalidRequest(
            f"{path} is a colour or vector image with {image.array.shape[3]} values at each voxel; expected labels.",
            "Export the segmentation as one label map.",
        )
    merged = np.zeros(image.array.shape[:3], dtype=np.int32)
    names: dict[int, str] = {}
    for number, (name, label, layer) in enumerate(segments, start=1):
        if layer >= image.array.shape[3]:
            raise InvalidRequest(f"{path} lacks layer {layer} of segment {name}.", "Export the segmentation again.")
        is_inside = image.array[..., layer] == label
        taken = np.unique(merged[is_inside & (merged > 0)])
        if len(taken):
            raise InvalidRequest(
                f"{path}: the segments {names[int(taken[0])]} and {name} overlap; a voxel can be of one organ only.",
                "In Slicer's Segment Editor set Overwrite to all segments, or export a label map.",
            )
        merged[is_inside] = number
        names[number] = name
    return merged, names


def _listed_names(path: Path, warn: Warn) -> dict[int, str]:
    """From the first file beside ``path`` that names labels; scanners' and converters' files have such names, too."""
    for beside in lists_beside(path):
        try:
            return read_label_names(beside)
        except InvalidRequest as error:
            warn(f"The labels of {path.name} are not named by the file beside it: {error.message}")
    return {}


def _assumed_names(path: Path, present: list[int], warn: Warn) -> dict[int, str]:
    if len(present) >= MIN_LABELS_FOR_TOTAL and all(label in TOTAL_NAMES for label in present):
        warn(
            f"Nothing names the labels of {path.name}; they are taken to be TotalSegmentator's "
            f"({present[0]} is {TOTAL_NAMES[present[0]]}). If they are not, put a labels.json beside it."
        )
        return TOTAL_NAMES
    return {}


def _complete_names(path: Path, present: list[int], known: Mapping[int, str], warn: Warn) -> dict[int, str]:
    """A name for each label present, none twice."""
    nameless = [label for label in present if label not in known]
    if nameless:
        shown = ", ".join(map(str, nameless[:5])) + (", ..." if len(nameless) > 5 else "")
        warn(f"Nothing names the labels {shown} of {path.name}; they are called label_{nameless[0]} and so on.")
    names: dict[int, str] = {}
    for label in present:
        name = known.get(label, f"label_{label}")
        if name in names.values():
            warn(f"{path.name} has the name {name} twice; label {label} is called {name} ({label}).")
            name = f"{name} ({label})"
        names[label] = name
    return names


def write_organ_map(organ_map: OrganMap, path: Path | str) -> None:
    """Writes the labels, and their names into ``<stem>.json`` beside them, where ``read_organ_map`` finds them.

    Raises:
        As ``volume_io.write_label_image``.
    """
    path = Path(path)
    write_label_image(organ_map.labels, path)
    stem = path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem
    text = json.dumps({str(label): name for label, name in sorted(organ_map.names.items())}, indent=1)
    path.with_name(f"{stem}.json").write_text(text + "\n", encoding="utf-8")


def organ_map_on(organ_map: OrganMap, grid: VoxelGrid, *, warn: Warn = _log.warning) -> NDArray[np.integer]:
    """(k, j, i) labels on another grid, by nearest neighbour; 0 where the map does not reach.

    Raises:
        GeometryMismatch: less than half of either lies in the other, or no labelled voxel comes along.
    """
    labels = organ_map.labels
    if labels.grid.is_same_as(grid, tolerance_voxels=SAME_GRID_VOXELS):
        return labels.array
    covered = share_inside(grid, labels.grid)
    contained = share_inside(labels.grid, grid)
    if max(covered, contained) < MIN_SHARE_INSIDE:
        raise _elsewhere(
            labels.grid, grid, f"{covered:.0%} of the CT lies in the organ map and {contained:.0%} of it in the CT"
        )
    moved = resampled_nearest(labels, grid)
    if not moved.any():
        raise _elsewhere(labels.grid, grid, "no labelled voxel falls on a voxel of the CT")
    warn(
        f"The organ map lies on another grid than the CT and was resampled to it (nearest neighbour); "
        f"it covers {covered:.0%} of the CT."
    )
    return moved


def _elsewhere(labels: VoxelGrid, ct: VoxelGrid, found: str) -> GeometryMismatch:
    hint = "Check that it is of the same patient and scan."
    if labels.shape_kji == ct.shape_kji:
        hint += " It has as many voxels as the CT: probably its geometry was lost when it was saved."
    return GeometryMismatch(f"The organ map lies elsewhere than the CT: {found}.", hint)
