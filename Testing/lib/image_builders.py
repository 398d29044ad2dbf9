"""Image files as other programs write them: NIfTI by nibabel, DICOM slices by pydicom, grids in every orientation."""

from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from SegExplainLib.volume import LPS_FROM_RAS, Volume, VoxelGrid

TURN = np.array([[0.8, 0.6, 0.0], [-0.48, 0.64, 0.6], [0.36, -0.48, 0.8]])


def placed_grid(axes: str, shape_kji=(4, 5, 6)) -> VoxelGrid:
    """A grid with 0.7 x 0.9 x 2.5 mm voxels away from the origin: straight, flipped, permuted, oblique or sheared."""
    matrix = {
        "straight": np.eye(3),
        "flipped": np.diag([-1.0, -1.0, 1.0]),
        "left-handed": np.diag([1.0, 1.0, -1.0]),
        "permuted": np.eye(3)[[1, 2, 0]],
        "oblique": TURN,
        "sheared": TURN @ np.array([[1, 0, 0], [0, 1, 0.25], [0, 0, 1]]),
    }[axes]
    affine = np.eye(4)
    affine[:3, :3] = matrix * [0.7, 0.9, 2.5]
    affine[:3, 3] = [-120.25, 33.5, 1002.125]
    return VoxelGrid(shape_kji, affine)


def ct_values(shape_kji, *, seed: int = 0) -> np.ndarray:
    """int16 values as of a CT."""
    return np.random.default_rng(seed).integers(-1024, 1500, shape_kji).astype(np.int16)


def write_nifti(path: Path, volume: Volume) -> Path:
    """A NIfTI by nibabel, whose sform and qform both say where the volume lies."""
    image = nibabel.Nifti1Image(volume.array.T, volume.grid.ijk_to_ras)
    image.set_sform(volume.grid.ijk_to_ras, code=1)
    image.set_qform(volume.grid.ijk_to_ras, code=1)
    nibabel.save(image, path)
    return path


def write_dicom_slices(folder: Path, volume: Volume, *, intercepts=-1024, slope=1, **tags) -> list[Path]:
    """One CT slice a file along k, in shuffled file names; ``tags`` overwrite any tag of every slice.

    ``intercepts`` may differ from slice to slice; values on disk are (value - intercept) / slope as uint16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    to_lps = LPS_FROM_RAS @ volume.grid.ijk_to_ras
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    cosines = to_lps[:3, :3] / spacing
    n_slices = volume.grid.shape_kji[0]
    names = np.random.default_rng(1).permutation(n_slices)
    series, frame = generate_uid(), generate_uid()
    paths = []
    for k, intercept in enumerate(np.broadcast_to(intercepts, n_slices).tolist()):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, generate_uid()
        one.SeriesInstanceUID, one.FrameOfReferenceUID = series, frame
        one.Modality, one.SeriesDescription = "CT", "Abdomen 2.5 mm"
        one.ImagePositionPatient = [f"{mm:.8g}" for mm in to_lps[:3] @ [0, 0, k, 1]]
        one.ImageOrientationPatient = [f"{part:.12g}" for part in cosines[:, :2].T.ravel()]
        one.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
        one.SliceThickness = f"{spacing[2]:.6g}"
        one.Rows, one.Columns = volume.grid.shape_kji[1:]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        one.RescaleIntercept, one.RescaleSlope = str(intercept), str(slope)
        one.PixelData = np.rint((volume.array[k] - intercept) / slope).astype("<u2").tobytes()
        for tag, value in tags.items():
            setattr(one, tag, value)
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        path = folder / f"IM{names[k]:04d}"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
