"""One image file -> its voxels, its grid and its tags, or one clear error. NIfTI, NRRD and MetaImage."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
import SimpleITK as sitk
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.volume import LPS_FROM_RAS, ROUNDING_VOXELS, Volume, VoxelGrid

Warn = Callable[[str], None]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
META_SUFFIXES = (".mha", ".mhd")
# ITK, hence Slicer and nnU-Net, refuses a NIfTI whose axes are farther from right angles, or bends them.
NIFTI_MAX_SHEAR = 1e-3

# Codes of header extensions that are text: none, AFNI, comment, Caret.
_TEXT_EXTENSIONS = (0, 4, 6, 30)
_DAMAGED = "The file may be cut short, or not be what its name says; copy or export it again."


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What one file holds.

    Attributes:
        array: (k, j, i), or (k, j, i, component) of a vector image; numeric, real, of the machine's byte order.
        grid: Exactly the file's geometry, in RAS.
        tags: Key -> text of an NRRD; ``extension N`` -> text of a NIfTI's header extensions.
    """

    array: NDArray
    grid: VoxelGrid
    tags: dict[str, str] = field(default_factory=dict)


def read_scalar_image(path: Path, *, warn: Warn) -> Volume:
    """The single 3D image in a file, as stored and with the file's exact geometry.

    Raises:
        InvalidRequest: there is no such image, with what was found instead; or a voxel is NaN or infinite.
        GeometryMismatch: a NIfTI's axes are sheared.
    """
    image = read_image_file(path, warn=warn)
    if image.array.ndim != 3:
        raise InvalidRequest(
            f"{path} is a colour or vector image with {image.array.shape[3]} values at each voxel; expected one.",
            "Export it as a scalar volume.",
        )
    if image.array.dtype.kind == "f" and not np.isfinite(image.array).all():
        n_bad = image.array.size - int(np.isfinite(image.array).sum())
        raise InvalidRequest(
            f"{path} has {n_bad} voxels that are NaN or infinite; expected finite numbers.",
            "Replace them, for a CT by -1024 (air), and save the image again.",
        )
    return Volume(image.array, image.grid)


def read_image_file(path: Path, *, warn: Warn) -> ImageFile:
    """The voxels of a file, vector images included; ``warn`` hears of a geometry that is absent or ambiguous.

    A fourth axis of length 1 is dropped. NRRD and MetaImage keep sheared axes as they are.

    Raises:
        InvalidRequest: the path is missing, a folder, of another type, damaged, not 3D, complex, or without spacing.
        GeometryMismatch: a NIfTI's axes are sheared.
    """
    path = Path(path).expanduser()
    _check_is_file(path)
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return _read_nifti(path, warn)
    if name.endswith(NRRD_SUFFIXES + META_SUFFIXES):
        return _read_with_itk(path, warn)
    known = ", ".join(NIFTI_SUFFIXES + NRRD_SUFFIXES + META_SUFFIXES)
    raise InvalidRequest(
        f"{path} is of an unknown type; expected {known}.", "Of a DICOM series, give the folder that holds its slices."
    )


def _check_is_file(path: Path) -> None:
    if not path.exists():
        raise InvalidRequest(f"There is no file {path}.", "Check the path.")
    if path.is_dir():
        raise InvalidRequest(f"{path} is a folder; expected an image file.", "Give the file itself.")
    if path.stat().st_size == 0:
        raise InvalidRequest(f"{path} is empty (0 bytes).", "Copy or export it again.")


def _unreadable(path: Path, reason: object) -> InvalidRequest:
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    return InvalidRequest(f"{path} cannot be read ({lines[-1][-200:] if lines else 'no reason given'}).", _DAMAGED)


def _unplaced(path: Path) -> str:
    return (
        f"{path.name} does not say how it lies in the patient; its axes are taken to run to left, posterior, superior."
    )


def _not_3d(path: Path, sizes: tuple[int, ...]) -> InvalidRequest:
    shape = " x ".join(map(str, sizes))
    hint = "Export one time point as a 3D volume." if len(sizes) > 3 else "Give the whole volume, not one slice."
    return InvalidRequest(f"{path} has {len(sizes)} axes ({shape}); expected a 3D volume.", hint)


def _read_with_itk(path: Path, warn: Warn) -> ImageFile:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        sizes = reader.GetSize()
        if len(sizes) == 4 and sizes[3] == 1:
            reader.SetExtractSize([*sizes[:3], 0])
        elif len(sizes) != 3:
            raise _not_3d(path, sizes)
        if min(reader.GetSpacing()) <= 0:
            raise InvalidRequest(f"{path} has a voxel spacing of zero.", "Correct the image's spacing.")
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if "complex" in image.GetPixelIDTypeAsString():
        raise InvalidRequest(f"{path} holds complex numbers; expected real ones.", "Export the magnitude.")
    # A key that is not UTF-8 cannot be handed back to ITK; none that is needed has such a name.
    keys = [key for key in image.GetMetaDataKeys() if key.isascii()]
    tags = {key: image.GetMetaData(key) for key in keys}
    if path.name.lower().endswith(NRRD_SUFFIXES) and tags.get("NRRD_space") != "left-posterior-superior":
        warn(_unplaced(path))
    array = sitk.GetArrayFromImage(image)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    return ImageFile(
        array, _grid_from_lps(image.GetSize(), image.GetSpacing(), image.GetDirection(), image.GetOrigin()), tags
    )


def _grid_from_lps(sizes: tuple, spacing: tuple, direction: tuple, origin: tuple) -> VoxelGrid:
    """The grid from ITK's four parts, whose axes are (i, j, k) and whose patient axes are LPS."""
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = np.reshape(direction, (len(origin), len(origin)))[:3, :3] * spacing[:3]
    ijk_to_lps[:3, 3] = origin[:3]
    return VoxelGrid((sizes[2], sizes[1], sizes[0]), LPS_FROM_RAS @ ijk_to_lps)


def _read_nifti(path: Path, warn: Warn) -> ImageFile:
    """A NIfTI through nibabel: ITK gives zeros, without a word, for the part of a file that was cut off."""
    try:
        image = nibabel.load(path, mmap=False)
        if not isinstance(image, nibabel.Nifti1Pair):
            raise InvalidRequest(f"{path} is not a NIfTI image, though its name says so.", _DAMAGED)
        sizes = _three_sizes(path, image)
        array = _nifti_voxels(path, image).reshape(sizes, order="F").T
        grid = VoxelGrid(array.shape, _nifti_ijk_to_ras(path, image, warn))
        tags = _nifti_texts(image)
    except (
        ImageFileError,
        HeaderDataError,
        WrapStructError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        zlib.error,
    ) as error:
        raise _unreadable(path, error) from error
    return ImageFile(array, grid, tags)


def _nifti_texts(image: nibabel.Nifti1Pair) -> dict[str, str]:
    texts = {}
    for number, extension in enumerate(image.header.extensions):
        if extension.get_code() in _TEXT_EXTENSIONS:
            content = extension.get_content()
            text = content if isinstance(content, str) else bytes(content).decode("utf-8", "replace")
            texts[f"extension {number}"] = text.rstrip("\0")
    return texts


def _three_sizes(path: Path, image: nibabel.Nifti1Pair) -> tuple[int, int, int]:
    sizes = tuple(int(n) for n in image.shape)
    is_vector = len(sizes) == 5 and sizes[3] == 1 and sizes[4] > 1
    if is_vector or image.get_data_dtype().names:
        raise InvalidRequest(
            f"{path} is a colour or vector image; expected one value at each voxel.", "Export it as a scalar volume."
        )
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if len(sizes) != 3:
        raise _not_3d(path, sizes)
    return sizes


def _nifti_voxels(path: Path, image: nibabel.Nifti1Pair) -> NDArray:
    """All voxels, scaled; float32 when there is a scale, otherwise the type in the file."""
    if image.get_data_dtype().kind == "c":
        raise InvalidRequest(f"{path} holds complex numbers; expected real ones.", "Export the magnitude.")
    stored = cast(ArrayProxy, image.dataobj)
    is_scaled = (stored.slope, stored.inter) != (1.0, 0.0)
    array = np.asarray(stored, dtype=np.float32) if is_scaled else np.asarray(stored.get_unscaled())
    return array.astype(np.float32 if is_scaled else array.dtype.newbyteorder("="), copy=False)


def _nifti_ijk_to_ras(path: Path, image: nibabel.Nifti1Pair, warn: Warn) -> NDArray[np.float64]:
    """Index -> RAS by the header's sform or qform, whichever ITK takes, so that it lies where Slicer shows it.

    ITK prefers a scanner-anatomical sform that is free of shear and agrees with the spacing, and else the qform.
    """
    _check_nifti_lengths(path, image)
    forms = {"sform": image.get_sform(coded=True), "qform": image.get_qform(coded=True)}
    k, j, i = (int(n) for n in image.shape[2::-1])
    grids = {name: VoxelGrid((k, j, i), form) for name, (form, code) in forms.items() if code > 0}
    if not grids:
        warn(_unplaced(path))
        return LPS_FROM_RAS @ np.diag([*image.header.get_zooms()[:3], 1.0])
    used = _itk_form(path, grids)
    for other, grid in grids.items():
        gap = grids[used].largest_gap_voxels(grid)
        if gap > ROUNDING_VOXELS:
            warn(
                f"{path.name} says twice where it lies, and differently (by up to {gap:.3g} voxels); "
                f"its {used} is used, as ITK does, not its {other}."
            )
    return grids[used].ijk_to_ras


def _check_nifti_lengths(path: Path, image: nibabel.Nifti1Pair) -> None:
    with image.file_map["image"].get_prepare_fileobj("rb") as stream:
        # nibabel mends a spacing of zero to 1 mm when it loads; only the raw header tells.
        raw = type(image.header).from_fileobj(stream, check=False)
    if not np.all(np.abs(raw["pixdim"][1:4]) > 0):
        raise InvalidRequest(f"{path} has a voxel spacing of zero.", "Correct the image's spacing.")
    unit = image.header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise InvalidRequest(f"{path} gives its lengths in {unit}; expected mm.", "Export it in mm.")


def _itk_form(path: Path, grids: dict[str, VoxelGrid]) -> str:
    """Name of the form by which ITK places the file."""
    shear = max(grid.shear for grid in grids.values())
    if shear > NIFTI_MAX_SHEAR:
        raise _sheared(path, shear)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        # ITK refuses already a tenth of the shear that is harmless here, where the header's own matrix is used.
        if len(grids) == 1:
            return next(iter(grids))
        raise _ambiguous(path) from None
    parts = (reader.GetSpacing(), reader.GetDirection(), reader.GetOrigin())
    itk_grid = _grid_from_lps(reader.GetSize(), *parts)
    for name, grid in grids.items():
        if itk_grid.is_same_as(grid, tolerance_voxels=0.1):
            return name
    raise _ambiguous(path)


def _ambiguous(path: Path) -> GeometryMismatch:
    return GeometryMismatch(
        f"The header of {path} contradicts itself on where the image lies (sform, qform and spacing disagree).",
        "Give the DICOM folder or an .nrrd, or repair the header.",
    )


def _sheared(path: Path, shear: float) -> GeometryMismatch:
    return GeometryMismatch(
        f"The axes of {path} are not at right angles (off by {np.degrees(np.arcsin(min(shear, 1.0))):.2g} degrees); "
        "programs disagree on where such a NIfTI lies.",
        "Give the DICOM folder or an .nrrd, which keep sheared axes, or resample the image to right angles.",
    )
