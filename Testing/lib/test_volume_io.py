from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from image_builders import ct_values, placed_grid, write_dicom_slices, write_nifti

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.volume import LPS_FROM_RAS, Volume, VoxelGrid
from SegExplainLib.volume_io import read_ct, read_mask, write_label_image, write_nrrd

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RIGHT_ANGLED = ["straight", "flipped", "left-handed", "permuted", "oblique"]


@pytest.fixture
def told():
    """Warnings that a reader gave."""
    return []


def itk_affine(image):
    """(4, 4) index -> RAS of an ITK image."""
    to_lps = np.eye(4)
    to_lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    to_lps[:3, 3] = image.GetOrigin()
    return LPS_FROM_RAS @ to_lps


def itk_image(volume):
    """An ITK image made by ITK's own means."""
    to_lps = LPS_FROM_RAS @ volume.grid.ijk_to_ras
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    return image


def a_ct(axes="oblique"):
    grid = placed_grid(axes)
    return Volume(ct_values(grid.shape_kji), grid)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("axes", RIGHT_ANGLED)
def test_a_nifti_is_read_as_nibabel_and_itk_read_it(tmp_path, axes, suffix, told):
    path = write_nifti(tmp_path / f"ct{suffix}", a_ct(axes))
    ct = read_ct(path, warn=told.append)
    other = nibabel.load(path)
    assert np.array_equal(ct.array, np.asanyarray(other.dataobj).T)
    assert np.allclose(ct.grid.ijk_to_ras, other.affine, atol=1e-12)
    assert np.allclose(ct.grid.ijk_to_ras, itk_affine(sitk.ReadImage(str(path))), atol=1e-4)
    assert ct.array.dtype == np.int16
    assert not told


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("axes", [*RIGHT_ANGLED, "sheared"])
def test_an_nrrd_or_metaimage_of_itk_keeps_values_and_places(tmp_path, axes, suffix):
    ct = a_ct(axes)
    sitk.WriteImage(itk_image(ct), str(tmp_path / f"ct{suffix}"))
    got = read_ct(tmp_path / f"ct{suffix}", warn=lambda _: None)
    assert np.array_equal(got.array, ct.array)
    assert got.grid.is_same_as(ct.grid, tolerance_voxels=1e-4)


@pytest.mark.parametrize("space", ["right-anterior-superior", "left-anterior-superior", "LPS"])
def test_an_nrrd_in_any_patient_space_lies_where_it_says(tmp_path, space):
    signs = {"r": [1, 1, 1], "l": [-1, 1, 1], "L": [-1, -1, 1]}[space[0]]
    ct = a_ct()
    in_space = np.diag([*signs, 1.0]) @ ct.grid.ijk_to_ras
    header = {"space": space, "space directions": in_space[:3, :3].T, "space origin": in_space[:3, 3]}
    nrrd.write(str(tmp_path / "ct.nrrd"), ct.array, header, index_order="C")
    assert read_ct(tmp_path / "ct.nrrd").grid.is_same_as(ct.grid)


@pytest.mark.parametrize("axes", [*RIGHT_ANGLED, "sheared"])
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, bool])
def test_a_written_nrrd_reads_back_exactly(tmp_path, axes, compress, dtype):
    grid = placed_grid(axes)
    volume = Volume((ct_values(grid.shape_kji) % 7).astype(dtype), grid)
    path = tmp_path / "new folder" / "map.nrrd"
    write_nrrd(volume, path, compress=compress)
    itk = sitk.ReadImage(str(path))
    header = nrrd.read_header(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(itk), volume.array)
    assert np.allclose(itk_affine(itk), grid.ijk_to_ras, atol=1e-12)
    assert np.array_equal(header["space directions"].T, (LPS_FROM_RAS @ grid.ijk_to_ras)[:3, :3])
    assert header["encoding"] == ("gzip" if compress else "raw")
    assert [file.name for file in path.parent.iterdir()] == ["map.nrrd"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "map.nrrd"
    write_nrrd(Volume(np.ones((2, 2, 2), np.uint8), VoxelGrid((2, 2, 2), np.eye(4))), path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match="int64"):
        write_nrrd(Volume(np.ones((2, 2, 2), np.int64), VoxelGrid((2, 2, 2), np.eye(4))), path)
    (tmp_path / "taken.nrrd").mkdir()
    with pytest.raises(InvalidRequest, match="cannot be written"):
        write_nrrd(Volume(np.ones((2, 2, 2), np.uint8), VoxelGrid((2, 2, 2), np.eye(4))), tmp_path / "taken.nrrd")
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map.nrrd", "taken.nrrd"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("axes", RIGHT_ANGLED)
@pytest.mark.parametrize(("top", "dtype"), [(255, np.uint8), (256, np.uint16), (70_000, np.int32)])
def test_written_labels_read_back_in_itk_and_nibabel(tmp_path, suffix, axes, top, dtype):
    grid = placed_grid(axes)
    labels = np.arange(grid.n_voxels).reshape(grid.shape_kji) % 5
    labels[0, 0, 0] = top
    path = tmp_path / f"labels.v2{suffix}"
    write_label_image(Volume(labels, grid), path)
    itk = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(itk)
    assert array.dtype == dtype
    assert np.array_equal(array, labels)
    assert np.allclose(itk_affine(itk), grid.ijk_to_ras, atol=1e-4)
    if suffix == ".nii.gz":
        assert np.allclose(nibabel.load(path).affine, grid.ijk_to_ras, atol=1e-4)


def test_sheared_labels_go_into_an_nrrd_only(tmp_path):
    grid = placed_grid("sheared")
    labels = Volume(np.ones(grid.shape_kji, dtype=bool), grid)
    write_label_image(labels, tmp_path / "labels.nrrd")
    for name in ("labels.nii.gz", "labels.mha"):
        with pytest.raises(GeometryMismatch, match="right angles"):
            write_label_image(labels, tmp_path / name)


def test_labels_of_a_wrong_kind_are_not_written(tmp_path):
    grid = VoxelGrid((1, 1, 2), np.eye(4))
    with pytest.raises(InvalidRequest, match=r"labels\.png"):
        write_label_image(Volume(np.array([[[1, 2]]]), grid), tmp_path / "labels.png")
    with pytest.raises(TypeError, match="integers"):
        write_label_image(Volume(np.array([[[1.0, 2.0]]]), grid), tmp_path / "labels.nrrd")
    with pytest.raises(ValueError, match="-1"):
        write_label_image(Volume(np.array([[[-1, 2]]]), grid), tmp_path / "labels.nrrd")


def test_a_scaled_nifti_gives_the_scaled_values(tmp_path):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4) * 100, np.eye(4))
    image.header.set_slope_inter(0.5, -1024)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    ct = read_ct(tmp_path / "ct.nii.gz")
    assert ct.array.dtype == np.float32
    assert np.allclose(ct.array, sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "ct.nii.gz"))))


@pytest.mark.parametrize(
    ("stored", "given"), [("<i4", "i2"), (">i2", "i2"), ("<f8", "f4"), ("<u2", "i2"), ("<i8", "f4")]
)
def test_values_become_int16_where_they_fit_and_else_float32(tmp_path, stored, given):
    array = ct_values((4, 5, 6)).astype(stored) if stored != "<u2" else np.arange(120).reshape(4, 5, 6).astype(stored)
    if stored == "<i8":
        array[0, 0, 0] = 40_000
    image = nibabel.Nifti1Image(array.T, np.eye(4), dtype=array.dtype)
    nibabel.save(image, tmp_path / "ct.nii")
    ct = read_ct(tmp_path / "ct.nii", warn=lambda _: None)
    assert ct.array.dtype == np.dtype(given)
    assert np.array_equal(ct.array, array)


def test_padding_outside_the_field_of_view_is_left_as_it_is(tmp_path):
    ct = a_ct()
    ct.array[0] = -3024
    assert read_ct(write_nifti(tmp_path / "ct.nii.gz", ct)).array.min() == -3024


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_a_fourth_axis_of_length_one_is_dropped(tmp_path, name):
    ct = a_ct()
    if name == "ct.nii.gz":
        nibabel.save(nibabel.Nifti1Image(ct.array.T[..., None], ct.grid.ijk_to_ras), tmp_path / name)
    else:
        sitk.WriteImage(sitk.JoinSeries([itk_image(ct)]), str(tmp_path / name))
    got = read_ct(tmp_path / name, warn=lambda _: None)
    assert np.array_equal(got.array, ct.array)
    assert got.grid.is_same_as(ct.grid)


def test_a_sheared_nifti_is_refused_even_if_its_qform_is_not(tmp_path):
    sheared = placed_grid("sheared")
    image = nibabel.Nifti1Image(ct_values(sheared.shape_kji).T, sheared.ijk_to_ras)
    nibabel.save(image, tmp_path / "ct.nii")
    with pytest.raises(GeometryMismatch, match=r"14 degrees.*nrrd"):
        read_ct(tmp_path / "ct.nii")
    image.set_qform(placed_grid("oblique").ijk_to_ras, code=1)
    nibabel.save(image, tmp_path / "ct.nii")
    with pytest.raises(GeometryMismatch, match="right angles"):
        read_ct(tmp_path / "ct.nii")


def test_a_nifti_that_rounding_has_sheared_is_read_by_its_own_matrix(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 5e-4
    nibabel.save(nibabel.Nifti1Image(ct_values((4, 5, 6)).T, affine), tmp_path / "ct.nii")
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(tmp_path / "ct.nii"))
    assert np.allclose(read_ct(tmp_path / "ct.nii", warn=lambda _: None).grid.ijk_to_ras, affine, atol=1e-9)


@pytest.mark.parametrize("sform_code", [1, 2])
def test_where_sform_and_qform_differ_itk_is_followed_and_the_user_told(tmp_path, sform_code, told):
    shifted = placed_grid("oblique").ijk_to_ras.copy()
    shifted[:3, 3] += 7
    image = nibabel.Nifti1Image(ct_values((4, 5, 6)).T, np.eye(4))
    image.set_sform(shifted, code=sform_code)
    image.set_qform(placed_grid("oblique").ijk_to_ras, code=1)
    nibabel.save(image, tmp_path / "ct.nii")
    grid = read_ct(tmp_path / "ct.nii", warn=told.append).grid
    assert np.allclose(grid.ijk_to_ras, itk_affine(sitk.ReadImage(str(tmp_path / "ct.nii"))), atol=1e-4)
    assert len(told) == 1
    assert "says twice where it lies" in told[0]


def test_a_header_that_contradicts_itself_is_refused(tmp_path):
    image = nibabel.Nifti1Image(ct_values((4, 5, 6)).T, np.eye(4))
    image.set_sform(np.diag([2, 2, 3, 1]) + np.eye(4, k=3) * 10, code=1)
    image.set_qform(np.diag([1, 2, 3, 1]), code=1)
    nibabel.save(image, tmp_path / "ct.nii")
    with pytest.raises(GeometryMismatch, match="contradicts itself"):
        read_ct(tmp_path / "ct.nii")


@pytest.mark.parametrize("name", ["ct.nii", "ct.nrrd"])
def test_an_image_without_orientation_is_read_with_a_warning_as_itk_reads_it(tmp_path, name, told):
    array = ct_values((4, 5, 6))
    if name == "ct.nii":
        image = nibabel.Nifti1Image(array.T, None)
        image.header.set_zooms((0.7, 0.8, 2.5))
        nibabel.save(image, tmp_path / name)
    else:
        nrrd.write(str(tmp_path / name), array, {"spacings": [0.7, 0.8, 2.5]}, index_order="C")
    grid = read_ct(tmp_path / name, warn=told.append).grid
    assert np.allclose(grid.ijk_to_ras, itk_affine(sitk.ReadImage(str(tmp_path / name))), atol=1e-6)
    assert ["does not say how it lies" in line for line in told] == [True]


@pytest.mark.parametrize(
    ("low", "high", "is_suspect"), [(-1024, 1500, False), (0, 255, True), (-1, 1, True), (-150, 300, False)]
)
def test_values_that_do_not_look_like_hounsfield_units_are_told(tmp_path, low, high, is_suspect, told):
    array = np.linspace(low, high, 120, dtype=np.float32).reshape(4, 5, 6)
    read_ct(write_nifti(tmp_path / "ct.nii", Volume(array, placed_grid("oblique"))), warn=told.append)
    assert ["Hounsfield" in line for line in told] == [True] * is_suspect


def test_a_sheared_nrrd_is_read_exactly_with_a_warning(tmp_path, told):
    ct = a_ct("sheared")
    write_nrrd(ct, tmp_path / "ct.nrrd")
    assert read_ct(tmp_path / "ct.nrrd", warn=told.append).grid.is_same_as(ct.grid, tolerance_voxels=1e-9)
    assert ["14 degrees off right angles" in line for line in told] == [True]


def nifti_bytes(tmp_path, name="whole.nii.gz"):
    return write_nifti(tmp_path / name, a_ct()).read_bytes()


def a_missing_path(folder):
    return folder / "nothing.nii.gz"


def an_empty_file(folder):
    (folder / "ct.nii.gz").write_bytes(b"")
    return folder / "ct.nii.gz"


def a_truncated_nii_gz(folder):
    (folder / "ct.nii.gz").write_bytes(nifti_bytes(folder)[:-60])
    return folder / "ct.nii.gz"


def a_truncated_nii(folder):
    (folder / "ct.nii").write_bytes(nifti_bytes(folder, "whole.nii")[:-60])
    return folder / "ct.nii"


def a_truncated_nrrd(folder):
    write_nrrd(a_ct(), folder / "whole.nrrd", compress=False)
    (folder / "ct.nrrd").write_bytes((folder / "whole.nrrd").read_bytes()[:-60])
    return folder / "ct.nrrd"


def a_truncated_mha(folder):
    sitk.WriteImage(itk_image(a_ct()), str(folder / "whole.mha"), False)
    (folder / "ct.mha").write_bytes((folder / "whole.mha").read_bytes()[:-60])
    return folder / "ct.mha"


def an_mhd_without_its_raw_file(folder):
    sitk.WriteImage(itk_image(a_ct()), str(folder / "ct.mhd"))
    (folder / "ct.raw").unlink()
    return folder / "ct.mhd"


def a_text_named(suffix):
    def text_file(folder):
        (folder / f"ct{suffix}").write_text("This is no image.\n" * 50)
        return folder / f"ct{suffix}"

    return text_file


def a_colour_nrrd(folder):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 3, 4, 3), np.uint8), isVector=True), str(folder / "ct.nrrd"))
    return folder / "ct.nrrd"


def a_colour_nifti(folder):
    rgb = np.zeros((4, 3, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), folder / "ct.nii")
    return folder / "ct.nii"


def a_vector_nifti(folder):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2, 1, 3), np.float32), np.eye(4)), folder / "ct.nii")
    return folder / "ct.nii"


def a_nifti_of(array):
    def nifti_file(folder):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / "ct.nii")
        return folder / "ct.nii"

    return nifti_file


def a_2d_mha(folder):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4), np.int16)), str(folder / "ct.mha"))
    return folder / "ct.mha"


def a_4d_mha(folder):
    sitk.WriteImage(sitk.JoinSeries([itk_image(a_ct())] * 2), str(folder / "ct.mha"))
    return folder / "ct.mha"


def a_complex_nrrd(folder):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 3, 4), np.complex64)), str(folder / "ct.nrrd"))
    return folder / "ct.nrrd"


def a_nifti_without_spacing(folder):
    raw = bytearray(nifti_bytes(folder, "whole.nii"))
    raw[84:88] = bytes(4)
    (folder / "ct.nii").write_bytes(raw)
    return folder / "ct.nii"


def an_nrrd_without_spacing(folder):
    header = {"space": "LPS", "space directions": np.diag([1, 1, 0]), "space origin": [0, 0, 0]}
    nrrd.write(str(folder / "ct.nrrd"), ct_values((2, 3, 4)), header, index_order="C")
    return folder / "ct.nrrd"


def a_nifti_in_metres(folder):
    image = nibabel.Nifti1Image(ct_values((2, 3, 4)).T, np.diag([0.001, 0.001, 0.002, 1]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, folder / "ct.nii")
    return folder / "ct.nii"


def a_picture(folder):
    (folder / "ct.png").write_bytes(b"\x89PNG")
    return folder / "ct.png"


def one_dicom_file(folder):
    return write_dicom_slices(folder, a_ct())[0].rename(folder / "slice.dcm")


def an_empty_folder(folder):
    return folder


def a_folder_with_a_random_file(folder):
    (folder / "notes").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder


def a_folder_with_the_series_below(folder):
    write_dicom_slices(folder / "series 1", a_ct())
    return folder


FAULTS = [
    (a_missing_path, "There is no file"),
    (an_empty_file, "empty"),
    (a_truncated_nii_gz, "cannot be read.*cut short"),
    (a_truncated_nii, "cannot be read.*cut short"),
    (a_truncated_nrrd, "cannot be read.*cut short"),
    (a_truncated_mha, "cannot be read.*cut short"),
    (an_mhd_without_its_raw_file, "cannot be read"),
    (a_text_named(".nrrd"), "cannot be read"),
    (a_text_named(".nii"), "cannot be read"),
    (a_text_named(".nii.gz"), "cannot be read"),
    (a_text_named(".mha"), "cannot be read"),
    (a_colour_nrrd, "colour or vector"),
    (a_colour_nifti, "colour or vector"),
    (a_vector_nifti, "colour or vector"),
    (a_complex_nrrd, "complex"),
    (a_nifti_of(np.ones((2, 3, 4), np.complex64)), "complex"),
    (a_2d_mha, r"2 axes \(4 x 3\)"),
    (a_nifti_of(np.ones((4, 3), np.int16)), r"2 axes \(4 x 3\)"),
    (a_4d_mha, r"4 axes \(6 x 5 x 4 x 2\)"),
    (a_nifti_of(np.ones((4, 3, 2, 5), np.int16)), r"4 axes \(4 x 3 x 2 x 5\)"),
    (a_nifti_of(np.full((2, 3, 4), np.nan, np.float32)), "24 voxels that are NaN"),
    (a_nifti_of(np.array([0, np.inf, 1, 2], np.float32).reshape(4, 1, 1)), "1 voxels that are NaN or infinite"),
    (a_nifti_of(np.full((2, 3, 4), -1024, np.int16)), "Every voxel .* is -1024"),
    (a_nifti_without_spacing, "spacing of zero"),
    (an_nrrd_without_spacing, "spacing of zero"),
    (a_nifti_in_metres, "lengths in meter"),
    (a_picture, "unknown type"),
    (one_dicom_file, "folder that holds its slices"),
    (an_empty_folder, "no files"),
    (a_folder_with_a_random_file, "none is a DICOM image"),
    (a_folder_with_the_series_below, "series 1"),
]


@pytest.mark.parametrize(
    ("fault", "said"), FAULTS, ids=[f"{n:02d} {fault.__name__}" for n, (fault, _) in enumerate(FAULTS)]
)
def test_what_is_no_ct_is_refused_with_one_clear_sentence(tmp_path, fault, said):
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(InvalidRequest, match=f"(?s){said}") as caught:
        read_ct(fault(folder), warn=lambda _: None)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


# Not .mha: ITK's own parser of it writes beyond its memory on damaged headers, which may end the whole run.
@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd"])
def test_a_damaged_header_gives_a_clear_error_or_an_image_and_nothing_else(tmp_path, name):
    if name == "ct.nrrd":
        write_nrrd(a_ct(), tmp_path / name)
    else:
        write_nifti(tmp_path / name, a_ct())
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(7)
    n_refused = 0
    for _ in range(60):
        raw = bytearray(whole[: int(rng.integers(1, len(whole) + 1))])
        for place in rng.integers(0, min(len(raw), 352), 4):
            raw[place] = int(rng.integers(0, 256))
        (tmp_path / name).write_bytes(raw)
        try:
            read_ct(tmp_path / name, warn=lambda _: None)
        except (InvalidRequest, GeometryMismatch):
            n_refused += 1
    assert n_refused > 30


@pytest.mark.parametrize("axes", [*RIGHT_ANGLED, "sheared"])
def test_a_dicom_series_lies_where_its_slices_say(tmp_path, axes, told):
    ct = a_ct(axes)
    write_dicom_slices(tmp_path / "series", ct)
    (tmp_path / "series" / "readme.txt").write_text("not a slice")
    got = read_ct(tmp_path / "series", warn=told.append)
    # Slices ascend along the normal of the first, so that a left-handed grid comes back with k reversed.
    is_reversed = np.linalg.det(ct.grid.ijk_to_ras[:3, :3]) < 0
    step, first = (-1, ct.grid.shape_kji[0] - 1) if is_reversed else (1, 0)
    assert np.array_equal(got.array, ct.array[::step])
    assert got.grid.is_same_as(ct.grid.mapped(ct.grid.shape_kji, np.diag([step, 1, 1]), np.array([first, 0, 0])))
    assert ["tilted gantry" in line for line in told] == [True] * (axes == "sheared")


def test_a_straight_dicom_series_is_read_as_itk_reads_it(tmp_path):
    write_dicom_slices(tmp_path, a_ct("oblique"))
    itk = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    ct = read_ct(tmp_path)
    assert np.array_equal(ct.array, sitk.GetArrayFromImage(itk))
    assert np.allclose(ct.grid.ijk_to_ras, itk_affine(itk), atol=1e-4)


def test_each_dicom_slice_has_its_own_rescale(tmp_path):
    ct = Volume(a_ct().array + 0.25, placed_grid("oblique"))
    write_dicom_slices(tmp_path, ct, intercepts=[-1024, -2000.5, -3000, -1024], slope=0.25)
    assert np.array_equal(read_ct(tmp_path).array, ct.array)


def test_two_dicom_series_are_listed_and_refused(tmp_path):
    write_dicom_slices(tmp_path, a_ct())
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(f"first {path.name}"))
    write_dicom_slices(tmp_path, a_ct("straight"), SeriesDescription="Scout", Modality="CR")
    with pytest.raises(InvalidRequest, match=r"2 DICOM series: Abdomen 2.5 mm, CT \(4 images\); Scout, CR"):
        read_ct(tmp_path)


def test_another_modality_is_read_with_a_warning(tmp_path, told):
    write_dicom_slices(tmp_path, a_ct(), Modality="MR")
    read_ct(tmp_path, warn=told.append)
    assert ["is MR, not CT" in line for line in told] == [True]


def test_a_dicom_object_that_is_no_image_is_passed_over_with_a_warning(tmp_path, told):
    slices = write_dicom_slices(tmp_path, a_ct())
    report = pydicom.dcmread(slices[0])
    for tag in ("PixelData", "Rows", "Columns"):
        delattr(report, tag)
    report.save_as(tmp_path / "report")
    assert read_ct(tmp_path, warn=told.append).array.shape == (4, 5, 6)
    assert told == [f"1 DICOM files in {tmp_path.name} are no images and were passed over, such as report."]


def edit(path, **tags):
    slice_ = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(slice_, tag, value)
    slice_.save_as(path)


def moved(path, mm):
    """Shifts a slice along the table of a straight series."""
    x, y, z = pydicom.dcmread(path).ImagePositionPatient
    edit(path, ImagePositionPatient=[x, y, f"{float(z) + mm:.6f}"])


def test_a_missing_dicom_slice_is_noticed(tmp_path):
    write_dicom_slices(tmp_path, a_ct("straight"))[2].unlink()
    with pytest.raises(GeometryMismatch, match=r"unevenly spaced: 5 mm.*2\.5 mm as a rule|unevenly spaced"):
        read_ct(tmp_path)


def test_dicom_slices_at_one_place_are_refused(tmp_path):
    moved(write_dicom_slices(tmp_path, a_ct("straight"))[2], -2.5)
    with pytest.raises(GeometryMismatch, match="1 slices lie where another already is"):
        read_ct(tmp_path)


def test_slightly_uneven_dicom_slices_are_told_and_rounding_is_not(tmp_path, told):
    slices = write_dicom_slices(tmp_path, a_ct("straight"))
    moved(slices[2], 0.01)
    read_ct(tmp_path, warn=told.append)
    assert not told
    moved(slices[2], 0.09)
    read_ct(tmp_path, warn=told.append)
    assert ["unevenly spaced by up to 4 %" in line for line in told] == [True]


@pytest.mark.parametrize(
    ("tags", "error", "said"),
    [
        ({"PixelSpacing": [0.9, 0.8]}, GeometryMismatch, "differ in size, pixel spacing or orientation"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, GeometryMismatch, "differ in size"),
        ({"ImagePositionPatient": None}, InvalidRequest, "no ImagePositionPatient"),
        ({"PixelSpacing": [0, 1]}, InvalidRequest, "spacing of zero"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, InvalidRequest, "is MONOCHROME1"),
    ],
)
def test_a_dicom_slice_unlike_the_others_is_refused(tmp_path, tags, error, said):
    edit(write_dicom_slices(tmp_path, a_ct("straight"))[2], **tags)
    with pytest.raises(error, match=said):
        read_ct(tmp_path)


def test_a_multi_frame_dicom_and_a_single_slice_are_refused(tmp_path):
    first, *others = write_dicom_slices(tmp_path, a_ct())
    for path in others:
        path.unlink()
    with pytest.raises(InvalidRequest, match="a single DICOM image"):
        read_ct(tmp_path)
    edit(first, NumberOfFrames=3)
    with pytest.raises(InvalidRequest, match="multi-frame"):
        read_ct(tmp_path)


def test_a_truncated_dicom_slice_is_refused(tmp_path):
    path = write_dicom_slices(tmp_path, a_ct())[0]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_ct(tmp_path)


def test_a_mask_on_another_grid_is_resampled_and_cut_with_warnings(tmp_path, told):
    grid = VoxelGrid((4, 4, 4), np.eye(4))
    fine = VoxelGrid((8, 8, 12), np.diag([0.5, 0.5, 0.5, 1]) - 0.25 * np.eye(4, k=3) * 0)
    array = np.zeros(fine.shape_kji, np.uint8)
    array[2:4, 2:4, 4:] = 1
    write_nrrd(Volume(array, fine), tmp_path / "mask.nrrd")
    mask = read_mask(tmp_path / "mask.nrrd", grid, warn=told.append)
    assert np.argwhere(mask).tolist() == [[1, 1, 2], [1, 1, 3]]
    assert len(told) == 2
    assert "resampled" in told[0]
    assert "50.0% of it was cut off" in told[1]


@pytest.mark.skipif(not SHARED.exists(), reason="the shared CT volumes are not here")
def test_a_real_dicom_series_is_read_as_itk_reads_it(told):
    folder = SHARED / "liver_dicom" / "dicom"
    ct = read_ct(folder, warn=told.append)
    itk = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    assert ct.array.shape == (51, 512, 512)
    assert np.array_equal(ct.array, sitk.GetArrayFromImage(itk))
    assert np.allclose(ct.grid.ijk_to_ras, itk_affine(itk), atol=1e-4)
    assert ct.array.min() == -3024
    assert not told


@pytest.mark.skipif(not SHARED.exists(), reason="the shared CT volumes are not here")
@pytest.mark.parametrize("case", ["abdomen_pelvis", "aortic_cta", "thigh_sarcoma"])
def test_a_real_nifti_is_read_as_itk_reads_it(case, told):
    path = SHARED / case / "ct.nii.gz"
    ct = read_ct(path, warn=told.append)
    itk = sitk.ReadImage(str(path))
    assert np.array_equal(ct.array, sitk.GetArrayFromImage(itk))
    assert np.allclose(ct.grid.ijk_to_ras, itk_affine(itk), atol=1e-4)
    assert not told
