import json
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from image_builders import placed_grid, write_nifti

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.images.label_names import read_label_names
from SegExplainLib.images.totalsegmentator_labels import TOTAL_NAMES
from SegExplainLib.organ_map import OrganMap, organ_map_on, read_organ_map, write_organ_map
from SegExplainLib.volume import LPS_FROM_RAS, Volume, VoxelGrid, resampled_nearest
from SegExplainLib.volume_io import write_nrrd

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def told():
    """Warnings that were given."""
    return []


def labels_of(*present, axes="oblique"):
    """A volume in which each of the labels has a few voxels."""
    grid = placed_grid(axes)
    array = np.zeros(grid.n_voxels, dtype=np.uint8)
    for number, label in enumerate(present):
        array[3 * number + 2 : 3 * number + 5] = label
    return Volume(array.reshape(grid.shape_kji), grid)


def saved(folder, *present, name="organs.nii.gz"):
    return write_nifti(folder / name, labels_of(*present))


def slicer_segmentation(path, layers, grid, segments, **tags):
    """A ``.seg.nrrd`` as Slicer writes it; ``segments`` are (name, label, layer)."""
    to_lps = LPS_FROM_RAS @ grid.ijk_to_ras
    directions = to_lps[:3, :3].T
    header = {"space": "left-posterior-superior", "space origin": to_lps[:3, 3]}
    array = layers[0]
    if len(layers) > 1:
        array = np.stack(layers, axis=-1)
        directions = np.vstack([[np.nan] * 3, directions])
        header["kinds"] = ["list", "domain", "domain", "domain"]
    header["space directions"] = directions
    for number, (name, label, layer) in enumerate(segments):
        header[f"Segment{number}_ID"] = f"Segment_{number}"
        header[f"Segment{number}_Name"] = name
        if label is not None:
            header[f"Segment{number}_LabelValue"] = str(label)
            header[f"Segment{number}_Layer"] = str(layer)
    nrrd.write(str(path), array, header | tags, index_order="C")
    return path


def test_names_given_by_hand_come_before_all_others(tmp_path):
    path = saved(tmp_path, 1, 7)
    (tmp_path / "organs.json").write_text('{"1": "wrong", "7": "wrong too"}')
    (tmp_path / "mine.json").write_text('{"liver": 1, "spleen": 7, "background": 0, "absent": 9}')
    organs = read_organ_map(path, names_from=tmp_path / "mine.json")
    assert organs.names == {1: "liver", 7: "spleen"}
    assert organs.labels.grid.is_same_as(placed_grid("oblique"))
    assert np.array_equal(organs.labels.array, labels_of(1, 7).array)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("organs.json", '{"1": "liver", "7": "left kidney"}'),
        ("labels.json", '{"liver": 1, "left kidney": 7, "background": 0}'),
        ("dataset.json", '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "left kidney": 7}}'),
        ("dataset.json", '{"labels": {"0": "background", "1": "liver", "7": "left kidney"}}'),
        ("organs.csv", "1,liver\n7,left kidney\n"),
        ("labels.csv", 'id,name\n0,background\n1,liver\n7,"left kidney"\n'),
        ("organs.csv", "LabelValue,Color_R,Color_G,Color_B,Name\n1,10,20,30,liver\n7,1,2,3,left kidney\n"),
        (
            "organs.ctbl",
            '# Color table file\n0 background 0 0 0 0\n1 liver 221 130 101 255\n7 "left kidney" 1 2 3 255\n',
        ),
    ],
)
def test_names_come_from_a_list_beside_the_map(tmp_path, name, text, told):
    path = saved(tmp_path, 1, 7)
    (tmp_path / name).write_text(text)
    assert read_organ_map(path, warn=told.append).names == {1: "liver", 7: "left kidney"}
    assert not told


def test_the_list_of_the_same_name_comes_before_a_general_one(tmp_path):
    path = saved(tmp_path, 1)
    (tmp_path / "labels.json").write_text('{"1": "general"}')
    (tmp_path / "organs.json").write_text('{"1": "own"}')
    assert read_organ_map(path).names == {1: "own"}


def test_a_file_beside_that_names_no_labels_is_passed_over_with_a_warning(tmp_path, told):
    path = saved(tmp_path, 1)
    (tmp_path / "organs.json").write_text('{"Modality": "CT", "Manufacturer": "none"}')
    (tmp_path / "labels.json").write_text('{"1": "liver"}')
    assert read_organ_map(path, warn=told.append).names == {1: "liver"}
    assert ["organs.json holds neither" in line for line in told] == [True]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("names.json", '{"1": "liver", "spleen": 2}', "neither"),
        ("names.json", '{"labels": {"tumour": [1, 2]}}', "overlapping regions"),
        ("names.json", "[1, 2]", "no table"),
        ("names.json", '{"1": ', "cannot be read"),
        ("names.json", "{}", "names no label"),
        ("names.csv", "1,liver\n1,spleen\n", "label 1 two names"),
        ("names.csv", "1,liver\nspleen\n", "line 'spleen'"),
        ("names.xlsx", "", "no list of label names"),
        ("names.json", '{"1": true, "2": "x"}', None),
    ],
)
def test_a_broken_list_of_names_is_refused_when_it_was_asked_for(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    if said is None:
        assert read_label_names(tmp_path / name) == {1: "True", 2: "x"}
        return
    with pytest.raises(InvalidRequest, match=said) as caught:
        read_organ_map(saved(tmp_path, 1), names_from=tmp_path / name)
    assert caught.value.hint


def test_a_missing_list_of_names_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="There is no file"):
        read_organ_map(saved(tmp_path, 1), names_from=tmp_path / "nothing.csv")


def test_the_names_in_totalsegmentators_nifti_header_are_used(tmp_path, told):
    volume = labels_of(5, 52)
    image = nibabel.Nifti1Image(volume.array.T, volume.grid.ijk_to_ras)
    table = "".join(
        f'<Label Key="{label}" Red="1.0" Green="0.0" Blue="0" Alpha="1"><![CDATA[{name}]]></Label>\n'
        for label, name in {5: "liver", 52: "aorta"}.items()
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  <Date><![CDATA[2013-07-14T05:45:09]]></Date>'
        f'   <VolumeInformation Index="0">   <LabelTable>\n{table}\n  </LabelTable>  <StudyMetaDataLinkSet>'
        "  </StudyMetaDataLinkSet>  <VolumeType><![CDATA[Label]]></VolumeType>   </VolumeInformation>"
        "</CaretExtension>\n   "
    )
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, xml.encode()))
    nibabel.save(image, tmp_path / "organs.nii.gz")
    assert read_organ_map(tmp_path / "organs.nii.gz", warn=told.append).names == {5: "liver", 52: "aorta"}
    assert not told


def test_totalsegmentators_table_is_assumed_for_many_fitting_labels_and_the_user_told(tmp_path, told):
    organs = read_organ_map(saved(tmp_path, 1, 2, 5, 52, 117), warn=told.append)
    assert organs.names == {1: "spleen", 2: "kidney_right", 5: "liver", 52: "aorta", 117: "costal_cartilages"}
    assert ["taken to be TotalSegmentator's (1 is spleen)" in line for line in told] == [True]


@pytest.mark.parametrize("present", [(1,), (1, 2, 3, 4), (1, 2, 3, 4, 118)])
def test_labels_that_nothing_names_get_a_number_and_the_user_is_told(tmp_path, present, told):
    organs = read_organ_map(saved(tmp_path, *present), warn=told.append)
    assert organs.names == {label: f"label_{label}" for label in present}
    assert ["Nothing names the labels 1" in line for line in told] == [True]


def test_labels_missing_from_the_list_get_a_number(tmp_path, told):
    path = saved(tmp_path, 1, 7)
    (tmp_path / "labels.json").write_text('{"1": "liver"}')
    assert read_organ_map(path, warn=told.append).names == {1: "liver", 7: "label_7"}
    assert len(told) == 1


def test_one_name_for_two_labels_is_told_apart(tmp_path, told):
    path = saved(tmp_path, 1, 7)
    (tmp_path / "labels.json").write_text('{"1": "rib", "7": "rib"}')
    assert read_organ_map(path, warn=told.append).names == {1: "rib", 7: "rib (7)"}
    assert len(told) == 1


def test_the_table_of_totalsegmentator_is_complete():
    assert list(TOTAL_NAMES) == list(range(1, 118))
    assert len(set(TOTAL_NAMES.values())) == 117


@pytest.mark.skipif(not SHARED.exists(), reason="the shared CT volumes are not here")
def test_the_table_of_totalsegmentator_agrees_with_a_real_segmentation(told):
    given = json.loads((SHARED / "abdomen_pelvis" / "labels.json").read_text())
    assert all(TOTAL_NAMES[int(label)] == name for label, name in given.items())
    organs = read_organ_map(SHARED / "abdomen_pelvis" / "labels.nii.gz", warn=told.append)
    assert organs.names == {int(label): name for label, name in given.items()}
    assert len(organs.names) == 61
    assert not told


def test_a_slicer_segmentation_brings_its_own_names(tmp_path, told):
    volume = labels_of(1, 4, axes="sheared")
    (tmp_path / "labels.json").write_text('{"1": "wrong", "4": "wrong too"}')
    segments = [("Right kidney", 4, 0), ("Liver", 1, 0)]
    path = slicer_segmentation(tmp_path / "organs.seg.nrrd", [volume.array], volume.grid, segments)
    organs = read_organ_map(path, warn=told.append)
    assert organs.names == {1: "Liver", 4: "Right kidney"}
    assert np.array_equal(organs.labels.array, volume.array)
    assert organs.labels.grid.is_same_as(volume.grid)
    assert not told


@pytest.mark.parametrize("is_old", [False, True])
def test_layers_of_a_slicer_segmentation_are_merged_when_they_do_not_overlap(tmp_path, is_old):
    grid = placed_grid("oblique")
    layers = [np.zeros(grid.shape_kji, np.uint8) for _ in range(2)]
    layers[0][0], layers[1][2] = 1, 1
    segments = [("Liver", None if is_old else 1, 0), ("Tumour", None if is_old else 1, 1)]
    path = slicer_segmentation(tmp_path / "organs.seg.nrrd", layers, grid, segments)
    organs = read_organ_map(path)
    assert organs.names == {1: "Liver", 2: "Tumour"}
    assert np.array_equal(organs.labels.array, layers[0] + 2 * layers[1])
    assert organs.labels.grid.is_same_as(grid)


def test_overlapping_segments_are_refused_by_name(tmp_path):
    grid = placed_grid("oblique")
    layers = [np.zeros(grid.shape_kji, np.uint8) for _ in range(2)]
    layers[0][:3], layers[1][2] = 1, 1
    path = slicer_segmentation(tmp_path / "organs.seg.nrrd", layers, grid, [("Liver", 1, 0), ("Tumour", 1, 1)])
    with pytest.raises(InvalidRequest, match=r"Liver and Tumour overlap.*Segment Editor"):
        read_organ_map(path)


def test_a_segment_without_a_whole_number_is_refused(tmp_path):
    volume = labels_of(1)
    path = slicer_segmentation(tmp_path / "organs.seg.nrrd", [volume.array], volume.grid, [("Liver", "one", 0)])
    with pytest.raises(InvalidRequest, match="Liver has the label 'one'"):
        read_organ_map(path)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([0, 1, 2.5, 3], np.float32), "whole numbers"),
        (np.array([0, -1, 2, 3], np.int16), "from -1 to 3 in int16"),
        (np.array([0, np.nan, 2, 3], np.float32), "whole numbers"),
        (np.array([0, 2.0**31, 2, 3], np.float64), "whole numbers"),
        (np.zeros(4, np.uint8), "has 0 labels"),
        (np.arange(1200, dtype=np.int16), "has 1199 labels"),
    ],
)
def test_what_is_no_label_map_is_refused(tmp_path, array, said):
    nibabel.save(nibabel.Nifti1Image(array.reshape(-1, 2, 2), np.eye(4)), tmp_path / "organs.nii")
    with pytest.raises(InvalidRequest, match=said) as caught:
        read_organ_map(tmp_path / "organs.nii")
    assert caught.value.hint


def test_a_colour_image_is_no_label_map(tmp_path):
    image = sitk.GetImageFromArray(np.ones((2, 3, 4, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "organs.nrrd"))
    with pytest.raises(InvalidRequest, match="colour or vector"):
        read_organ_map(tmp_path / "organs.nrrd", warn=lambda _: None)


def test_labels_kept_as_float_are_read_as_whole_numbers(tmp_path):
    volume = labels_of(1, 300 % 256)
    write_nrrd(Volume(volume.array.astype(np.float32), volume.grid), tmp_path / "organs.nrrd")
    organs = read_organ_map(tmp_path / "organs.nrrd", warn=lambda _: None)
    assert organs.labels.array.dtype == np.int32
    assert np.array_equal(organs.labels.array, volume.array)


@pytest.mark.parametrize("name", ["organs.nii.gz", "organs.v2.nrrd", "organs.mha"])
def test_a_written_organ_map_reads_back_with_its_names(tmp_path, name, told):
    volume = labels_of(3, 200)
    organs = OrganMap(Volume(volume.array.astype(np.int32), volume.grid), {3: "Leber", 200: "Bauchspeicheldrüse"})
    write_organ_map(organs, tmp_path / name)
    got = read_organ_map(tmp_path / name, warn=told.append)
    assert got.names == organs.names
    assert np.array_equal(got.labels.array, organs.labels.array)
    assert not told


def an_organ_map(volume, **names):
    return OrganMap(volume, {label: name for name, label in names.items()})


@pytest.mark.parametrize("asked", ["kidney_right", "Kidney Right", "kidney-right", " KIDNEY  RIGHT "])
def test_an_organ_is_found_by_its_name_in_any_spelling(asked):
    assert an_organ_map(labels_of(2, 3), kidney_right=2, kidney_left=3).label_of(asked) == 2


def test_an_organ_that_is_not_there_brings_up_the_nearest_names():
    with pytest.raises(InvalidRequest, match=r"no 'kidny'.*kidney_right"):
        an_organ_map(labels_of(2, 3), kidney_right=2, kidney_left=3).label_of("kidny")


def test_an_exact_name_comes_before_one_in_another_spelling():
    organs = OrganMap(labels_of(2, 3), {2: "Liver", 3: "liver"})
    assert (organs.label_of("Liver"), organs.label_of("liver")) == (2, 3)
    with pytest.raises(InvalidRequest, match="LIVER"):
        organs.label_of("LIVER")


def test_an_organ_map_holds_whole_numbers_and_different_names():
    with pytest.raises(TypeError, match="float"):
        OrganMap(Volume(np.zeros((1, 1, 1)), VoxelGrid((1, 1, 1), np.eye(4))), {})
    with pytest.raises(ValueError, match="differ"):
        OrganMap(labels_of(1, 2), {1: "liver", 2: "liver"})
    with pytest.raises(ValueError, match="background"):
        OrganMap(labels_of(1), {0: "background", 1: "liver"})


def test_on_its_own_grid_and_on_a_rounded_copy_the_labels_are_as_they_are(told):
    organs = an_organ_map(labels_of(1, 2), liver=1, spleen=2)
    grid = organs.labels.grid
    for other in (
        grid,
        VoxelGrid(grid.shape_kji, grid.ijk_to_ras.astype(np.float32)),
        grid.cropped((0, 0, 0.03), grid.shape_kji),
    ):
        assert organ_map_on(organs, other, warn=told.append) is organs.labels.array
    assert not told


def test_on_another_grid_the_labels_are_resampled_with_a_warning(told):
    organs = an_organ_map(labels_of(1, 2), liver=1, spleen=2)
    finer = organs.labels.grid.mapped((8, 10, 12), np.eye(3) / 2, np.full(3, -0.25))
    got = organ_map_on(organs, finer, warn=told.append)
    assert np.array_equal(got, organs.labels.array.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    assert ["resampled" in line and "covers 100%" in line for line in told] == [True]


def test_a_segmentation_cropped_to_its_segments_still_fits_the_ct(told):
    whole = labels_of(1, 2)
    block = Volume(whole.array[0:1, 0:2], whole.grid.cropped((0, 0, 0), (1, 2, 6)))
    got = organ_map_on(an_organ_map(block, liver=1, spleen=2), whole.grid, warn=told.append)
    assert np.array_equal(got, np.where(np.arange(4)[:, None, None] == 0, whole.array, 0))
    assert len(told) == 1


def test_a_map_of_which_too_little_lies_in_the_ct_is_refused_with_numbers():
    organs = an_organ_map(labels_of(1, 2), liver=1, spleen=2)
    grid = organs.labels.grid
    with pytest.raises(GeometryMismatch, match=r"33% of the CT lies in the organ map and 33% of it in the CT"):
        organ_map_on(organs, grid.cropped((0, 0, 4), grid.shape_kji))
    with pytest.raises(GeometryMismatch, match="geometry was lost"):
        organ_map_on(organs, VoxelGrid(grid.shape_kji, np.eye(4)))


def test_a_map_without_a_label_in_the_ct_is_refused():
    organs = an_organ_map(labels_of(1), liver=1)
    with pytest.raises(GeometryMismatch, match="no labelled voxel"):
        organ_map_on(organs, organs.labels.grid.cropped((2, 0, 0), (2, 5, 6)))


@pytest.mark.skipif(not SHARED.exists(), reason="the shared CT volumes are not here")
def test_organs_keep_their_volume_on_a_turned_grid(told):
    organs = read_organ_map(SHARED / "abdomen_pelvis" / "labels.nii.gz", warn=told.append)
    grid = organs.labels.grid
    turn = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])
    middle = (np.array(grid.shape_kji) - 1) / 2
    shape = (112, 130, 140)
    turned = grid.mapped(shape, turn, middle - turn @ ((np.array(shape) - 1) / 2))
    moved = organ_map_on(organs, turned, warn=told.append)
    label = organs.label_of("liver")
    assert abs((moved == label).sum() / (organs.labels.array == label).sum() - 1) < 0.01
    back = resampled_nearest(Volume(moved, turned), grid)
    shared = ((back == label) & (organs.labels.array == label)).sum()
    assert shared / (organs.labels.array == label).sum() > 0.9
