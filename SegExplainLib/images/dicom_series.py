"""A folder of DICOM slices -> one volume with the geometry that the slices themselves state."""

import struct
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.errors import BytesLengthException, InvalidDicomError

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.images.file import Warn
from SegExplainLib.volume import LPS_FROM_RAS, Volume, VoxelGrid

# A slice that is farther from its place in an even stack, as a share of the slice distance, is refused or warned of.
# Positions are often rounded to 0.1 mm, which is within 5 % of any usual distance.
MAX_UNEVENNESS = 0.1
NOTED_UNEVENNESS = 0.01

_TAGS = [
    *("SeriesInstanceUID", "SeriesDescription", "Modality", "PhotometricInterpretation", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
]
# What pydicom raises for damaged files, some of it only when a value is asked for.
_FAULTS = (
    *(OSError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, MemoryError),
    *(struct.error, BytesLengthException),
)
_ONE_SERIES = "Give a folder that holds the slices of one CT series and no other, or export the series as .nrrd."


@dataclass(frozen=True)
class Header:
    """What one file says, decoded; empty or 0 where it says nothing.

    Attributes:
        shown_as: Photometric interpretation.
        size_ji: Rows and columns; (0, 0) of a DICOM file that is no image.
        position_mm: LPS centre of the first pixel.
        orientation: LPS directions along a row and along a column.
        spacing_mm: Between rows, between columns.
    """

    path: Path
    series: str
    description: str
    modality: str
    shown_as: str
    n_frames: int
    size_ji: tuple[int, int]
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Slice:
    """Where one slice lies.

    Attributes:
        position_lps: (3,) centre of the first pixel, mm.
        column_step_lps: (3,) from one column to the next, mm.
        row_step_lps: (3,) from one row to the next, mm.
        size_ji: Rows and columns.
    """

    path: Path
    position_lps: NDArray[np.float64]
    column_step_lps: NDArray[np.float64]
    row_step_lps: NDArray[np.float64]
    size_ji: tuple[int, int]


def read_dicom_series(folder: Path, *, warn: Warn) -> Volume:
    """The one series in a folder: float32 rescaled values and the grid that the slices' positions span.

    Files that are no DICOM images are passed over. Slices are sorted by position, ascending along the normal of the
    first. The third axis runs from the first slice's position to the last's, so that a tilted gantry gives a sheared
    grid rather than a wrong one. Not searched: subfolders.

    Raises:
        InvalidRequest: no image, several series, a multi-frame or colour image, a missing tag, a damaged file.
        GeometryMismatch: slices are missing, doubled, unevenly spaced, or differ in size, spacing or orientation.
    """
    folder = Path(folder)
    headers = _image_headers(folder, warn)
    _check_one_series(folder, headers)
    if headers[0].modality != "CT":
        modality = headers[0].modality or "of unknown modality"
        warn(f"The DICOM series in {folder.name} is {modality}, not CT; its values may not be Hounsfield units.")
    slices = [_slice_from(header) for header in headers]
    _check_alike(slices)
    normal = np.cross(slices[0].column_step_lps, slices[0].row_step_lps)
    slices.sort(key=lambda one: float(one.position_lps @ normal))
    step = _even_step(slices, normal / np.linalg.norm(normal), warn)
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3] = np.stack([slices[0].column_step_lps, slices[0].row_step_lps, step, slices[0].position_lps], axis=1)
    array = _voxels(slices)
    return Volume(array, VoxelGrid(array.shape, LPS_FROM_RAS @ ijk_to_lps))


def _image_headers(folder: Path, warn: Warn) -> list[Header]:
    """Of the DICOM images in a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    headers = [header for path in files if (header := _header_of(path)) is not None]
    images = [header for header in headers if min(header.size_ji) > 0]
    if not images:
        raise _no_image(folder, files)
    if len(images) < len(headers):
        other = next(header.path.name for header in headers if min(header.size_ji) == 0)
        n_others = len(headers) - len(images)
        warn(f"{n_others} DICOM files in {folder.name} are no images and were passed over, such as {other}.")
    return images


def _header_of(path: Path) -> Header | None:
    """None of a file that is not DICOM."""
    try:
        given = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        return Header(
            path=path,
            series=str(given.get("SeriesInstanceUID", "")),
            description=str(given.get("SeriesDescription", "")),
            modality=str(given.get("Modality", "")),
            shown_as=str(given.get("PhotometricInterpretation", "")),
            n_frames=int(given.get("NumberOfFrames", None) or 1),
            size_ji=(int(given.get("Rows", None) or 0), int(given.get("Columns", None) or 0)),
            position_mm=_numbers(given, "ImagePositionPatient"),
            orientation=_numbers(given, "ImageOrientationPatient"),
            spacing_mm=_numbers(given, "PixelSpacing"),
        )
    except (InvalidDicomError, EOFError):
        return None
    except _FAULTS as error:
        raise _damaged(path, error) from error


def _numbers(given: pydicom.Dataset, tag: str) -> tuple[float, ...]:
    return tuple(float(number) for number in given.get(tag, None) or ())


def _no_image(folder: Path, files: list[Path]) -> InvalidRequest:
    subfolders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if files:
        found = f"it has {len(files)} files, such as {files[0].name}, but none is a DICOM image"
    else:
        found = "it has no files"
    hint = "Give the folder that holds the slices themselves, or an image file (.nii.gz, .nrrd, .mha)."
    if subfolders:
        hint += f" There are subfolders: {', '.join(subfolders[:5])}."
    return InvalidRequest(f"{folder} holds no DICOM series: {found}.", hint)


def _damaged(path: Path, error: Exception) -> InvalidRequest:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1][-200:] if lines else type(error).__name__
    return InvalidRequest(f"The DICOM file {path} cannot be read ({reason}).", "Copy or export the series again.")


def _check_one_series(folder: Path, headers: list[Header]) -> None:
    series: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        series[header.series].append(header)
    if len(series) > 1:
        listed = sorted(
            f"{members[0].description or uid}, {members[0].modality or 'of unknown modality'} ({len(members)} images)"
            for uid, members in series.items()
        )
        more = f"; and {len(listed) - 10} more" if len(listed) > 10 else ""
        raise InvalidRequest(f"{folder} holds {len(series)} DICOM series: {'; '.join(listed[:10])}{more}.", _ONE_SERIES)
    first = headers[0]
    if first.n_frames > 1:
        raise InvalidRequest(
            f"{first.path} is a multi-frame DICOM image; expected one slice a file.", "Export it as .nrrd."
        )
    if len(headers) < 2:
        raise InvalidRequest(f"{folder} holds a single DICOM image; expected the slices of a volume.", _ONE_SERIES)


def _slice_from(header: Header) -> Slice:
    sizes = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    for (tag, n), numbers in zip(sizes.items(), (header.position_mm, header.orientation, header.spacing_mm)):
        if len(numbers) != n or not np.isfinite(numbers).all():
            raise InvalidRequest(f"The DICOM file {header.path} has no {tag}; its place is unknown.", _ONE_SERIES)
    if header.shown_as not in ("MONOCHROME2", ""):
        raise InvalidRequest(
            f"The DICOM file {header.path} is {header.shown_as}; expected MONOCHROME2, as every CT is.", _ONE_SERIES
        )
    along_row, along_column = np.array(header.orientation).reshape(2, 3)
    row_mm, column_mm = header.spacing_mm
    if row_mm <= 0 or column_mm <= 0 or abs(np.linalg.norm(np.cross(along_row, along_column)) - 1) > 0.01:
        raise InvalidRequest(
            f"The DICOM file {header.path} has a pixel spacing of zero or no proper orientation.", _ONE_SERIES
        )
    steps = (along_row * column_mm, along_column * row_mm)
    return Slice(header.path, np.array(header.position_mm), *steps, header.size_ji)


def _check_alike(slices: list[Slice]) -> None:
    first = slices[0]
    for one in slices[1:]:
        gap_mm = max(
            float(np.abs((one.column_step_lps - first.column_step_lps) * first.size_ji[1]).max()),
            float(np.abs((one.row_step_lps - first.row_step_lps) * first.size_ji[0]).max()),
        )
        if one.size_ji != first.size_ji or gap_mm > 0.1 * float(np.linalg.norm(first.column_step_lps)):
            raise GeometryMismatch(
                f"{one.path.name} and {first.path.name} of one series differ in size, pixel spacing or orientation.",
                "Take scouts and other reconstructions out of the folder.",
            )


def _even_step(slices: list[Slice], normal: NDArray, warn: Warn) -> NDArray[np.float64]:
    """(3,) from one slice to the next, mm, of slices that are already sorted."""
    positions = np.array([one.position_lps for one in slices])
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    doubled = np.flatnonzero(gaps < max(0.01 * usual, 1e-3))
    if len(doubled):
        pair = [slices[doubled[0] + n].path.name for n in (0, 1)]
        raise GeometryMismatch(
            f"{len(doubled)} slices lie where another already is, such as {pair[0]} and {pair[1]}.",
            "The series may hold several time points; give a folder with one.",
        )
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    offsets = positions - positions[0] - np.arange(len(slices))[:, None] * step
    unevenness = float(np.linalg.norm(offsets, axis=1).max() / np.linalg.norm(step))
    if unevenness > MAX_UNEVENNESS:
        worst = int(np.abs(gaps - usual).argmax())
        raise GeometryMismatch(
            f"The slices are unevenly spaced: {gaps[worst]:.4g} mm between {slices[worst].path.name} and "
            f"{slices[worst + 1].path.name}, but {usual:.4g} mm as a rule. A slice may be missing.",
            "Add the missing slices, or resample the series to even spacing and give it as .nrrd.",
        )
    if unevenness > NOTED_UNEVENNESS:
        warn(
            f"The slices are unevenly spaced by up to {100 * unevenness:.2g} % of their distance; an even one is used."
        )
    return step


def _voxels(slices: list[Slice]) -> NDArray[np.float32]:
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(one.path) for one in slices])
    # Each slice has its own rescale slope and intercept: float32 holds them all, the first slice's type may not.
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        return sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _damaged(slices[0].path.parent, error) from error
