"""A CT from outside, and volumes back to files. Only this module and those it calls read images."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from SegExplainLib.atomic import atomic_path
from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.images.dicom_series import read_dicom_series
from SegExplainLib.images.file import Warn, read_image_file, read_scalar_image
from SegExplainLib.images.label_names import segments_in
from SegExplainLib.volume import LPS_FROM_RAS, SAME_GRID_VOXELS, Volume, VoxelGrid, resampled_nearest

LABEL_SUFFIXES = (".nii.gz", ".nrrd", ".mha")
# What ITK keeps of a NIfTI's or MetaImage's direction without a complaint.
MAX_WRITTEN_SHEAR = 1e-4

_log = logging.getLogger(__name__)
_WRITTEN_TYPES = ("uint8", "int16", "uint16", "int32", "float32")


def read_ct(path: Path | str, *, warn: Warn = _log.warning) -> Volume:
    """A CT in Hounsfield units from a NIfTI, NRRD or MetaImage file, or from a folder with one DICOM series.

    Values are the file's, with its rescaling applied and nothing else: a padding value such as -3024 outside the
    scanner's field of view stays, as it does in nnU-Net's own reading. int16 where every value of an integer file fits,
    else float32. The grid is exactly the file's: oblique, flipped, permuted, and (NRRD, MetaImage, DICOM) sheared.

    Args:
        warn: Hears what the user should know: no or contradictory orientation, another modality, uneven or tilted
            slices, values that do not look like Hounsfield units.

    Raises:
        InvalidRequest: there is no readable, finite, non-constant, scalar 3D image.
        GeometryMismatch: where the voxels lie cannot be told or kept exactly.
    """
    path = Path(path).expanduser()
    volume = read_dicom_series(path, warn=warn) if path.is_dir() else read_scalar_image(path, warn=warn)
    low, high = volume.array.min().item(), volume.array.max().item()
    if low == high:
        raise InvalidRequest(f"Every voxel of {path} is {low:g}; expected a CT.", "Export the image again.")
    if low >= 0 or high - low < 100:
        warn(f"{path.name} runs from {low:g} to {high:g}; a CT in Hounsfield units has air near -1000.")
    if volume.grid.shear > MAX_WRITTEN_SHEAR:
        degrees = np.degrees(np.arcsin(min(volume.grid.shear, 1.0)))
        warn(
            f"The axes of {path.name} are {degrees:.2g} degrees off right angles (a tilted gantry?). Places are kept "
            "exactly, but the network sees the voxels as if the axes were at right angles."
        )
    return Volume(_as_hounsfield(volume.array, low, high), volume.grid)


def _as_hounsfield(array: NDArray, low: float, high: float) -> NDArray:
    fits = np.issubdtype(array.dtype, np.integer) and low >= -(2**15) and high < 2**15
    return array.astype(np.int16 if fits else np.float32, copy=False)


def read_mask(path: Path | str, grid: VoxelGrid, *, warn: Warn = _log.warning) -> NDArray[np.bool_]:
    """bool (k, j, i) on the CT's ``grid``, at least one True: where the image in a file is not 0.

    Of a segmentation of Slicer (``.seg.nrrd``) it is the union of all segments. A mask on another grid is resampled by
    nearest neighbour, with a warning; what lies beyond the CT is cut off, with a warning.

    Raises:
        InvalidRequest: the file cannot be read, is no mask, or is 0 everywhere.
        GeometryMismatch: no voxel of the mask falls on one of the CT.
    """
    mask = _mask_in(Path(path).expanduser(), warn)
    if mask.grid.is_same_as(grid, tolerance_voxels=SAME_GRID_VOXELS):
        return mask.array
    kji = grid.kji_of(mask.grid.ras_of(np.argwhere(mask.array)))
    share = float(((kji >= -0.5) & (kji <= np.array(grid.shape_kji) - 0.5)).all(axis=1).mean())
    moved = resampled_nearest(mask, grid)
    if not moved.any():
        hint = "Check that the mask is of the same patient and scan, and not smaller than a voxel of the CT."
        if mask.grid.shape_kji == grid.shape_kji:
            hint += " It has as many voxels as the CT: probably its geometry was lost when it was saved."
        raise GeometryMismatch(f"The mask {path} marks no voxel of the CT: {share:.0%} of it lies inside the CT.", hint)
    name = Path(path).name
    warn(f"The mask {name} lies on another grid than the CT and was resampled to it (nearest neighbour).")
    if share < 1:
        warn(f"The mask {name} reaches beyond the CT: {1 - share:.1%} of it was cut off.")
    return moved


def _mask_in(path: Path, warn: Warn) -> Volume:
    image = read_image_file(path, warn=warn)
    array = image.array
    low, high = array.min().item(), array.max().item()
    # The comparison is written so that nan fails it.
    if not 0 <= low <= high or (array.ndim == 4 and not segments_in(image.tags)):
        raise InvalidRequest(
            f"{path} is no mask: expected one value at each voxel, 0 outside the region and above 0 inside.",
            "Export the region as a label map.",
        )
    if high == 0:
        raise InvalidRequest(f"The mask {path} is empty: every voxel is 0.", "Give a mask with a region in it.")
    if ((array != 0) & (array != high)).any():
        warn(f"The mask {path.name} has several values up to {high:g}; all voxels that are not 0 are taken.")
    return Volume(array != 0 if array.ndim == 3 else (array != 0).any(axis=-1), image.grid)


def write_nrrd(volume: Volume, path: Path | str, *, compress: bool = True) -> None:
    """Writes one NRRD, whole or not at all; any grid, sheared too, to the last digit.

    bool becomes uint8. The file appears under its name only when it is complete.

    Raises:
        InvalidRequest: the folder cannot be written to.
        OutOfDisk: the disk is full.
        TypeError: the array is not bool, uint8, int16, uint16, int32 or float32, which all readers share.
    """
    array = _writable(volume.array)
    ijk_to_lps = LPS_FROM_RAS @ volume.grid.ijk_to_ras
    header = {
        "space": "left-posterior-superior",
        "space directions": ijk_to_lps[:3, :3].T,
        "space origin": ijk_to_lps[:3, 3],
        "kinds": ["domain"] * 3,
        "encoding": "gzip" if compress else "raw",
    }
    with _written(Path(path)) as partial:
        nrrd.write(str(partial), array, header, index_order="C", compression_level=1)


def write_label_image(volume: Volume, path: Path | str) -> None:
    """Writes labels as ``.nii.gz``, ``.nrrd`` or ``.mha``, whole or not at all, in the smallest common integer type.

    Raises:
        GeometryMismatch: the grid is sheared and the type is not ``.nrrd``, which alone keeps it for all readers.
        InvalidRequest: the type is another one, or the folder cannot be written to.
        OutOfDisk: the disk is full.
        TypeError: the labels are not integers.
        ValueError: a label is negative or above 2**31 - 1.
    """
    path = Path(path)
    volume = Volume(smallest_labels(volume.array), volume.grid)
    name = path.name.lower()
    if not name.endswith(LABEL_SUFFIXES):
        raise InvalidRequest(f"Labels cannot be written as {path.name}.", f"Choose one of {', '.join(LABEL_SUFFIXES)}.")
    if name.endswith(".nrrd"):
        write_nrrd(volume, path)
        return
    if volume.grid.shear > MAX_WRITTEN_SHEAR:
        raise GeometryMismatch(
            f"{path.name} cannot hold axes that are not at right angles.", "Write the labels as .nrrd, which can."
        )
    with _written(path) as partial:
        if name.endswith(".mha"):
            sitk.WriteImage(_itk_image(volume), str(partial), True)
        else:
            image = nibabel.Nifti1Image(volume.array.T, volume.grid.ijk_to_ras)
            image.set_sform(volume.grid.ijk_to_ras, code=1)
            image.set_qform(volume.grid.ijk_to_ras, code=1)
            image.header.set_xyzt_units("mm")
            nibabel.save(image, partial)


def _itk_image(volume: Volume) -> sitk.Image:
    """An ITK image of a grid without shear."""
    image = sitk.GetImageFromArray(volume.array)
    ijk_to_lps = LPS_FROM_RAS @ volume.grid.ijk_to_ras
    spacing = volume.grid.spacing_kji_mm[::-1]
    image.SetSpacing(spacing.tolist())
    image.SetDirection((ijk_to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(ijk_to_lps[:3, 3].tolist())
    return image


def _writable(array: NDArray) -> NDArray:
    array = array.astype(np.uint8) if array.dtype == bool else array
    if array.dtype.name not in _WRITTEN_TYPES:
        raise TypeError(f"cannot write {array.dtype}; expected bool, {', '.join(_WRITTEN_TYPES)}")
    return np.ascontiguousarray(array)


def smallest_labels(array: NDArray) -> NDArray:
    """Labels in the smallest of uint8, uint16 and int32 that holds them all; bool becomes uint8.

    Raises:
        TypeError: the labels are not integers.
        ValueError: a label is negative or above 2**31 - 1.
    """
    if array.dtype == bool:
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"labels must be integers, not {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= 2**31:
        raise ValueError(f"labels run from {low} to {high}; expected 0 to 2**31 - 1")
    return array.astype(np.uint8 if high < 2**8 else np.uint16 if high < 2**16 else np.int32)


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """As ``atomic_path``, with any other failure told as one clear error."""
    try:
        with atomic_path(path) as partial:
            yield partial
    except (OSError, RuntimeError) as error:
        raise InvalidRequest(
            f"{path} cannot be written ({error}).", "Choose a folder that exists and is yours."
        ) from error
