"""Inputs from the scene become files for the worker. The scene stays exactly as it was.

Files are uncompressed, on the CT's own grid without its parent transforms, and named by what they hold: the same input
is the same file again, and a name tells nothing of the patient.
"""

import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SegExplainGui.scene.ct_grid import CtGrid, ct_grid, ct_voxels
from SegExplainGui.scene.nrrd_file import content_name, write_nrrd, writing
from SegExplainGui.scene.roi_box import RoiExtent, roi_extent, roi_rows
from SegExplainGui.scene.roi_placement import fit_roi_to_segment, new_roi
from SegExplainGui.scene.segment_labels import SegmentLabels, segment_labels
from SegExplainLib.contract import GeometryMismatch, InvalidRequest

__all__ = [
    "RoiExtent",
    "export_ct",
    "export_mask",
    "export_organs",
    "export_roi",
    "fit_roi_to_segment",
    "new_roi",
    "roi_extent",
]

Warn = Callable[[str], None]

_log = logging.getLogger(__name__)
# VTK counts changes in each process anew.
_PROCESS = uuid.uuid4().bytes


def export_ct(ct_node: Any, folder: Path) -> Path:
    """The CT as ``.nrrd``, in its own RAS: parent transforms are not applied. Values and their type are kept.

    The same path again while neither the voxels (their modified time) nor the geometry have changed, and a new one
    afterwards. 0.4 s for 512 x 512 x 300 voxels of int16 on two slow cores, without a copy in memory.

    Raises:
        InvalidRequest: the node is no CT or is under a non-linear transform; the folder cannot be written to.
        OutOfDisk: there is no room for the file.
    """
    grid, voxels = ct_grid(ct_node), ct_voxels(ct_node)
    state = f"{ct_node.GetImageData().GetMTime()} {voxels.dtype} {voxels.shape}"
    path = folder / content_name("ct", _PROCESS, state.encode(), grid.ijk_to_ras)
    write_nrrd(voxels, grid.ijk_to_ras, path)
    return path


def export_roi(roi_node: Any, ct_node: Any, folder: Path) -> str:
    """Text for ``ExplainRequest.roi``: ``ijk:`` when the voxels are a block of the CT, else ``mask:`` and a file.

    Raises:
        InvalidRequest: the ROI holds no voxel of the CT, or as `roi_box.roi_rows`; the folder cannot be written to.
        OutOfDisk: there is no room for the mask.
    """
    rows = roi_rows(roi_node, ct_node)
    if rows.is_block:
        return "ijk:" + ",".join(map(str, rows.ijk_bounds))
    return f"mask:{_write_labels('roi', rows.mask(), rows.grid, folder)}"


def export_organs(segmentation_node: Any, ct_node: Any, folder: Path, *, warn: Warn = _log.warning) -> Path:
    """All segments, shown or hidden, as one label map on the CT's grid, and their names in ``<stem>.json`` beside it.

    Labels are 1 to N in the order of the segments that have a voxel on the CT. Where segments overlap, the later one
    has the voxel. For 512 x 512 x 300 voxels 1 s, and up to 0.6 s more for each label map that is not shared.

    Args:
        warn: Hears of overlaps, of segments without a voxel, and of names that were changed.

    Raises:
        InvalidRequest: there is no segmentation or it is empty; a segment has neither label map nor surface; it is
            under a non-linear transform; the CT as in `export_ct`; the folder cannot be written to.
        GeometryMismatch: no segment has a voxel on the CT.
        OutOfDisk: there is no room for the files.
    """
    grid = ct_grid(ct_node)
    segments = _segments(segmentation_node)
    found = segment_labels(segmentation_node, list(segments), grid)
    is_present = _present(found.labels, len(segments))
    if not is_present[1:].any():
        raise _off_the_ct(found, segmentation_node)
    names = _unique_names(list(segments.values()), warn)
    _warn_of_losses(names, found, is_present, warn)
    dense = np.where(is_present, np.cumsum(is_present) - 1, 0).astype(found.labels.dtype)
    present = [name for name, is_there in zip(names, is_present[1:]) if is_there]
    labels = found.labels if is_present[1:].all() else np.stack([dense[plane] for plane in found.labels])
    text = json.dumps(dict(enumerate(present, start=1)), ensure_ascii=False, indent=1)
    path = folder / content_name("organs", labels, grid.ijk_to_ras, text.encode())
    _write_names(path.with_suffix(".json"), text)
    write_nrrd(labels, grid.ijk_to_ras, path)
    return path


def _write_names(path: Path, text: str) -> None:
    """Written once: the worker takes a file with a new time for a new one, and would ask the network all again."""
    if path.exists():
        return
    with writing(path, n_bytes=4 * len(text)) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def export_mask(segmentation_node: Any, segment_id: str, ct_node: Any, folder: Path) -> Path:
    """One segment as uint8 on the CT's grid, 1 inside.

    Raises:
        As `export_organs`.
    """
    grid = ct_grid(ct_node)
    if segment_id not in _segments(segmentation_node):
        raise InvalidRequest(
            _("{name} has no such segment any more.").format(name=segmentation_node.GetName()), _("Choose another.")
        )
    found = segment_labels(segmentation_node, [segment_id], grid)
    if not found.labels.any():
        raise _off_the_ct(found, segmentation_node.GetSegmentation().GetSegment(segment_id))
    return _write_labels("mask", found.labels, grid, folder)


def _write_labels(kind: str, labels: NDArray, grid: CtGrid, folder: Path) -> Path:
    path = folder / content_name(kind, labels, grid.ijk_to_ras)
    write_nrrd(labels, grid.ijk_to_ras, path)
    return path


def _segments(segmentation_node: Any) -> Mapping[str, str]:
    """Id -> name of each segment, in their order; at least one."""
    if segmentation_node is None or not segmentation_node.IsA("vtkMRMLSegmentationNode"):
        raise InvalidRequest(_("No segmentation is chosen."), _("Choose a segmentation."))
    segmentation = segmentation_node.GetSegmentation()
    segments = {
        segment_id: segmentation.GetSegment(segment_id).GetName() for segment_id in segmentation.GetSegmentIDs()
    }
    if not segments:
        raise InvalidRequest(
            _("The segmentation {name} has no segments.").format(name=segmentation_node.GetName()),
            _("Add segments, or choose another segmentation."),
        )
    return segments


def _present(labels: NDArray, n_segments: int) -> NDArray[np.bool_]:
    """(n + 1,) is there a voxel of this number? True for 0."""
    counts = np.zeros(n_segments + 1, dtype=np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=n_segments + 1)
    counts[0] = 1
    return counts > 0


def _off_the_ct(found: SegmentLabels, named: Any) -> GeometryMismatch | InvalidRequest:
    """``named`` is the segmentation or the segment; either has a name."""
    if not found.has_content:
        return InvalidRequest(
            _("{name} is empty: it has not one voxel.").format(name=named.GetName()), _("Choose another segmentation.")
        )
    return GeometryMismatch(
        _("{name} has no voxel on the CT.").format(name=named.GetName()),
        _("Check that it is of the same patient and scan, and under the same transform."),
    )


def _unique_names(names: Sequence[str], warn: Warn) -> list[str]:
    """The names as the worker takes them: on one line, none empty, none twice."""
    unique: list[str] = []
    for number, given in enumerate(names, start=1):
        stem = " ".join(given.split()) or f"label_{number}"
        choices = chain([stem], (f"{stem} ({n})" for n in count(number)))
        name = next(choice for choice in choices if choice not in unique)
        if name != stem:
            warn(_("The name {name} is there twice; the second is called {new}.").format(name=stem, new=name))
        unique.append(name)
    return unique


def _warn_of_losses(names: Sequence[str], found: SegmentLabels, is_present: NDArray[np.bool_], warn: Warn) -> None:
    overlapping = [names[number - 1] for number in sorted(found.overlapping)]
    if overlapping:
        warn(
            _("Segments overlap; where they do, the later in the list has the voxel: {names}.").format(
                names=_listed(overlapping)
            )
        )
    absent = [name for name, is_there in zip(names, is_present[1:]) if not is_there]
    if absent:
        warn(_("Segments without a voxel on the CT are left out: {names}.").format(names=_listed(absent)))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
