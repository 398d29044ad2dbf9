import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_builders import placed_grid, write_nifti
from scipy import ndimage

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.organ_map import OrganMap
from SegExplainLib.roi import FACE_MM, IndexBox, MaskFile, OrganSegment, PatientBox, parse_roi, roi_mask, widened
from SegExplainLib.volume import Volume, VoxelGrid
from SegExplainLib.volume_io import write_nrrd

AXES = ["straight", "flipped", "left-handed", "permuted", "oblique", "sheared"]


@pytest.fixture
def told():
    """Warnings that were given."""
    return []


def a_ct(axes="straight", shape_kji=(4, 5, 6)):
    grid = placed_grid(axes, shape_kji)
    return Volume(np.zeros(shape_kji, np.int16), grid)


def centres_of(grid):
    """(k, j, i, 3) RAS of every voxel, by the matrix."""
    k, j, i = np.indices(grid.shape_kji)
    return np.stack([i, j, k, np.ones_like(i)], axis=-1) @ grid.ijk_to_ras[:3].T


@pytest.mark.parametrize(
    ("spec", "roi"),
    [
        ("ijk:1,2,3,5,6,9", IndexBox((6, 3, 1), (9, 5, 2))),
        (" ijk: -1, 2 ,3,+5,6,9 ", IndexBox((6, 3, -1), (9, 5, 2))),
        ("ras:-60,0,-40.5,20,1e2,150.", PatientBox((-60, -40.5, 100), (0, 20, 150))),
        ("segment:liver", OrganSegment("liver", 0)),
        ("segment:liver+10", OrganSegment("liver", 10)),
        ("segment:liver + 2.5mm", OrganSegment("liver", 2.5)),
        ("segment:right kidney+.5 mm", OrganSegment("right kidney", 0.5)),
        ("segment:GTV+nodes", OrganSegment("GTV+nodes", 0)),
        ("segment:GTV+nodes+3", OrganSegment("GTV+nodes", 3)),
    ],
)
def test_a_region_is_understood(spec, roi):
    assert parse_roi(spec) == roi


def test_a_path_may_hold_colons():
    roi = parse_roi(r"mask:C:\cases\lesion.nii.gz")
    assert isinstance(roi, MaskFile)
    assert str(roi.path) == r"C:\cases\lesion.nii.gz"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "no known form"),
        ("liver", "no known form"),
        ("organ:liver", "no known form"),
        ("mask:", "no known form"),
        ("segment: ", "no known form"),
        ("ijk:1,2,3", "six whole numbers"),
        ("ijk:1,2,3,4,5,6,7", "six whole numbers"),
        ("ijk:1,2,3,4,5,6.5", "six whole numbers"),
        ("ijk:a,b,c,d,e,f", "six whole numbers"),
        ("ijk:1;2;3;4;5;6", "six whole numbers"),
        ("ras:1,2,3,4,5,nan", "six numbers of mm"),
        ("ras:1,2,3,4,5,inf", "six numbers of mm"),
        ("ras:1,2,3,4,5", "six numbers of mm"),
        ("ijk:5,5,0,1,0,1", "i runs from 5 to 5.*10,11 is one voxel"),
        ("ijk:0,1,3,2,0,1", "j runs from 3 to 2.*smaller bound of j first"),
        ("ras:0,1,0,1,9,8", "z runs from 9 to 8.*smaller bound of z"),
        ("segment:liver+-5", "margin of -5 mm"),
    ],
)
def test_a_region_that_cannot_be_understood_is_refused_with_an_example(spec, said):
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_roi(spec)
    assert caught.value.hint


def test_indices_are_those_of_the_file_with_the_last_not_included():
    mask = roi_mask("ijk:1,3,0,5,2,4", a_ct())
    expected = np.zeros((4, 5, 6), bool)
    expected[2:4, 0:5, 1:3] = True
    assert mask.dtype == bool
    assert np.array_equal(mask, expected)


def test_a_box_of_indices_beyond_the_ct_is_cut_with_a_warning(told):
    mask = roi_mask("ijk:-2,2,4,99,0,1", a_ct(), warn=told.append)
    assert np.argwhere(mask).tolist() == [[0, 4, 0], [0, 4, 1]]
    assert told == ["The region of interest reaches beyond the CT and was cut to ijk:0,2,4,5,0,1."]


def test_a_box_of_indices_outside_the_ct_is_refused_with_the_cts_extent():
    with pytest.raises(
        InvalidRequest, match=r"outside the CT\. The CT has i 0 to 5, j 0 to 4, k 0 to 3; in mm \(RAS\) x -120\.6"
    ):
        roi_mask("ijk:6,9,0,1,0,1", a_ct())


@settings(max_examples=60, deadline=None)
@given(axes=st.sampled_from(AXES), seed=st.integers(0, 2**32 - 1))
def test_a_box_in_mm_holds_the_voxels_whose_centres_are_inside(axes, seed):
    ct = a_ct(axes)
    centres = centres_of(ct.grid)
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.uniform(centres.min(axis=(0, 1, 2)) - 2, centres.max(axis=(0, 1, 2)) + 2, (2, 3)), axis=0)
    # A face counts in as far as FACE_MM beyond, as the box promises.
    expected = ((centres >= low - FACE_MM) & (centres <= high + FACE_MM)).all(axis=-1)
    spec = "ras:" + ",".join(f"{a!r},{b!r}" for a, b in zip(low.tolist(), high.tolist()))
    if expected.any():
        assert np.array_equal(roi_mask(spec, ct, warn=lambda _: None), expected)
    else:
        with pytest.raises(InvalidRequest, match=r"outside the CT|no voxel centre"):
            roi_mask(spec, ct)


@pytest.mark.parametrize("axes", ["straight", "flipped", "permuted"])
def test_a_box_through_voxel_centres_includes_them_on_both_faces(axes):
    ct = a_ct(axes)
    ends = ct.grid.ras_of(np.array([[1, 1, 1], [2, 3, 4]]))
    low, high = ends.min(axis=0), ends.max(axis=0)
    mask = roi_mask("ras:" + ",".join(f"{a},{b}" for a, b in zip(low, high)), ct)
    assert mask[1:3, 1:4, 1:5].all()
    assert mask.sum() == 2 * 3 * 4


def box_of(low, high):
    return "ras:" + ",".join(f"{a},{b}" for a, b in zip(low, high))


@pytest.mark.parametrize("axes", AXES)
def test_a_box_in_mm_is_told_when_it_reaches_beyond_the_ct_and_only_then(axes, told):
    ct = a_ct(axes, (20, 40, 40))
    middle = ct.grid.ras_of(np.array([9.5, 19.5, 19.5]))
    roi_mask(box_of(middle - 4, middle + 4), ct, warn=told.append)
    assert not told
    roi_mask(box_of(middle - 4, middle + np.array([4, 4, 400])), ct, warn=told.append)
    assert told == ["The region of interest reaches beyond the CT and was cut to it."]


def test_a_box_in_mm_outside_the_ct_or_between_its_voxels_is_refused():
    ct = a_ct("straight")
    with pytest.raises(InvalidRequest, match="outside the CT"):
        roi_mask("ras:0,10,0,10,0,10", ct)
    low = ct.grid.ras_of(np.array([1.3, 1.3, 1.3]))
    with pytest.raises(InvalidRequest, match=r"no voxel centre.*0\.70 x 0\.90 x 2\.50 mm"):
        roi_mask(box_of(low, low + 0.1), ct)


@pytest.mark.parametrize("axes", ["straight", "oblique"])
def test_a_mask_on_the_cts_grid_is_taken_as_it_is(tmp_path, axes, told):
    ct = a_ct(axes)
    array = (np.arange(120).reshape(4, 5, 6) % 7 == 0).astype(np.uint8) * 255
    write_nifti(tmp_path / "lesion.nii.gz", Volume(array, ct.grid))
    mask = roi_mask(f"mask:{tmp_path / 'lesion.nii.gz'}", ct, warn=told.append)
    assert mask.dtype == bool
    assert np.array_equal(mask, array > 0)
    assert not told


def test_a_cropped_mask_lands_where_it_was_drawn(tmp_path, told):
    ct = a_ct("oblique")
    write_nrrd(Volume(np.ones((2, 2, 2), np.uint8), ct.grid.cropped((1, 2, 3), (2, 2, 2))), tmp_path / "lesion.nrrd")
    mask = roi_mask(f"mask:{tmp_path / 'lesion.nrrd'}", ct, warn=told.append)
    assert mask[1:3, 2:4, 3:5].all()
    assert mask.sum() == 8
    assert len(told) == 1
    assert "resampled" in told[0]


def test_a_mask_with_several_labels_is_their_union_with_a_warning(tmp_path, told):
    ct = a_ct()
    write_nrrd(Volume((np.arange(120).reshape(4, 5, 6) % 3).astype(np.uint8), ct.grid), tmp_path / "m.nrrd")
    assert roi_mask(f"mask:{tmp_path / 'm.nrrd'}", ct, warn=told.append).sum() == 80
    assert ["several values up to 2" in line for line in told] == [True]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 5, 6), np.uint8), "every voxel is 0"),
        (np.full((4, 5, 6), -1024, np.int16), "is no mask"),
        (np.full((4, 5, 6), np.nan, np.float32), "is no mask"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, array, said):
    ct = a_ct()
    write_nrrd(Volume(array, ct.grid), tmp_path / "m.nrrd")
    with pytest.raises(InvalidRequest, match=said):
        roi_mask(f"mask:{tmp_path / 'm.nrrd'}", ct)


def test_a_mask_elsewhere_in_the_patient_is_refused(tmp_path):
    ct = a_ct()
    write_nrrd(Volume(np.ones((4, 5, 6), np.uint8), VoxelGrid((4, 5, 6), np.eye(4))), tmp_path / "m.nrrd")
    with pytest.raises(GeometryMismatch, match=r"0% of it lies inside.*geometry was lost"):
        roi_mask(f"mask:{tmp_path / 'm.nrrd'}", ct)


def test_a_missing_mask_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="There is no file"):
        roi_mask(f"mask:{tmp_path / 'm.nrrd'}", a_ct())


def a_liver(ct):
    labels = np.zeros(ct.grid.shape_kji, np.int32)
    labels[1:3, 1:3, 2:4] = 5
    labels[3, 4, 5] = 1
    return OrganMap(Volume(labels, ct.grid), {1: "spleen", 5: "liver"})


def test_a_segment_is_the_organ_itself():
    ct = a_ct("oblique")
    organs = a_liver(ct)
    assert np.array_equal(roi_mask("segment:liver", ct, organ_map=organs), organs.labels.array == 5)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("margin_mm", [0.6, 0.7, 1.0, 2.5, 4.0, 1000.0])
def test_a_margin_is_in_mm_on_any_grid(axes, margin_mm):
    ct = a_ct(axes, (6, 7, 8))
    organs = a_liver(ct)
    places = centres_of(ct.grid)
    inside = places[organs.labels.array == 5]
    nearest_mm = np.linalg.norm(places[..., None, :] - inside, axis=-1).min(axis=-1)
    mask = roi_mask(f"segment:liver+{margin_mm}", ct, organ_map=organs)
    assert np.array_equal(mask, nearest_mm <= margin_mm + 1e-6)


def test_widening_in_a_block_equals_the_distance_transform_of_the_whole_volume():
    grid = placed_grid("oblique", (30, 40, 50))
    rng = np.random.default_rng(3)
    mask = ndimage.gaussian_filter(rng.normal(size=grid.shape_kji), 3) > 0.06
    mask[:, :, 30:] = False
    whole_mm = ndimage.distance_transform_edt(~mask, sampling=[2.5, 0.9, 0.7])
    assert np.array_equal(widened(mask, grid, 5.0), whole_mm <= 5.0)
    assert mask.any()


def test_a_margin_on_a_strongly_sheared_grid_is_not_cut_off():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 2] = 3.0
    grid = VoxelGrid((15, 31, 61), affine)
    mask = np.zeros(grid.shape_kji, bool)
    mask[7, 15, 30] = True
    distance_mm = np.linalg.norm(centres_of(grid) - grid.ras_of(np.array([7, 15, 30])), axis=-1)
    assert np.array_equal(widened(mask, grid, 8.0), distance_mm <= 8.0)


def test_an_organ_that_is_not_there_is_refused():
    ct = a_ct()
    with pytest.raises(InvalidRequest, match="Did you mean: liver"):
        roi_mask("segment:livr+5", ct, organ_map=a_liver(ct))
    with pytest.raises(InvalidRequest, match="no organ map"):
        roi_mask("segment:liver", ct)
    low = Volume(np.zeros((3, 5, 6), np.int16), ct.grid.cropped((0, 0, 0), (3, 5, 6)))
    with pytest.raises(InvalidRequest, match="No voxel of spleen lies in the CT"):
        roi_mask("segment:spleen+100", low, organ_map=a_liver(ct), warn=lambda _: None)


def test_a_region_parsed_before_is_taken_as_well():
    ct = a_ct()
    assert np.array_equal(roi_mask(IndexBox((0, 0, 0), (1, 1, 1)), ct), roi_mask("ijk:0,1,0,1,0,1", ct))
