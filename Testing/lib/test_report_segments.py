import numpy as np
import pytest
import SimpleITK as sitk
import slicerio
from report_builders import bars_partition, make_attribution, organ_partition, torso_attribution, torso_grid

from SegExplainLib.attribution import native_labels_of
from SegExplainLib.report.colours import diverging_rgb
from SegExplainLib.report.segments import write_players_seg_nrrd
from SegExplainLib.volume import LPS_FROM_RAS, VoxelGrid


def written(tmp_path, attribution, grid):
    path = tmp_path / "players.seg.nrrd"
    write_players_seg_nrrd(path, attribution, grid)
    return path, slicerio.read_segmentation(str(path))


@pytest.mark.parametrize("kind", ["plain", "flipped", "oblique"])
def test_every_unit_lies_where_it_lies_in_the_patient(tmp_path, kind):
    grid, attribution = torso_grid(kind), torso_attribution()
    path, segmentation = written(tmp_path, attribution, grid)
    np.testing.assert_allclose(segmentation["ijkToLPS"], LPS_FROM_RAS @ grid.ijk_to_ras, atol=1e-6)
    labels = native_labels_of(attribution.partition, grid)
    np.testing.assert_array_equal(segmentation["voxels"].transpose(2, 1, 0), labels)
    image = sitk.ReadImage(str(path))
    k, j, i = (int(n) for n in np.argwhere(labels == 4)[0])
    lps = image.TransformIndexToPhysicalPoint((i, j, k))
    np.testing.assert_allclose(np.array(lps) * [-1, -1, 1], grid.ras_of(np.array([k, j, i])), atol=1e-6)


def test_a_sheared_grid_keeps_its_axes(tmp_path):
    affine = np.array([[1.0, 0, 0, 5], [0, 1.2, 0.4, -3], [0, 0, 2.0, 8], [0, 0, 0, 1]])
    grid = VoxelGrid((6, 7, 8), affine)
    _, segmentation = written(tmp_path, torso_attribution(), grid)
    np.testing.assert_allclose(segmentation["ijkToLPS"], LPS_FROM_RAS @ affine, atol=1e-9)


def test_segments_carry_names_colours_and_values_the_strongest_first(tmp_path):
    attribution = torso_attribution()
    _, segmentation = written(tmp_path, attribution, torso_grid())
    names = attribution.partition.names
    assert [segment["name"] for segment in segmentation["segments"]] == [names[p] for p in attribution.ranking]
    for rank, segment in enumerate(segmentation["segments"], start=1):
        player = segment["labelValue"] - 1
        value, tags = attribution.player_values[player], segment["tags"]
        assert segment["name"] == names[player]
        assert segment["id"] == f"SegExplain_{player + 1}"
        np.testing.assert_allclose(segment["color"], diverging_rgb(value, limit=0.563), atol=1e-6)
        assert float(tags["SegExplain.Importance"]) == value
        assert float(tags["SegExplain.StandardError"]) == attribution.standard_errors[player]
        assert float(tags["SegExplain.VolumeMl"]) == attribution.partition.volumes_ml[player]
        assert int(tags["SegExplain.Rank"]) == rank
        assert (tags["SegExplain.Unit"], tags["SegExplain.Quantity"]) == ("share", "soft-dice")


def test_names_from_anywhere_survive_and_cannot_break_the_tags(tmp_path):
    names = ("Leber, äußere", "a|b:c", "d:=e", "two\nlines", "肝臓", " ", "rest")
    attribution = make_attribution(
        [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], partition=organ_partition(names=names), target="tumour: a|b"
    )
    path, segmentation = written(tmp_path, attribution, torso_grid())
    image = sitk.ReadImage(str(path))
    shown = [image.GetMetaData(f"Segment{number}_Name") for number in range(7)]
    assert shown == ["Leber, äußere", "a|b:c", "d:=e", "two lines", "肝臓", "unit 6", "rest"]
    assert {segment["tags"]["SegExplain.Target"] for segment in segmentation["segments"]} == {"tumour a b"}
    assert all(len(segment["tags"]) == 9 for segment in segmentation["segments"])


@pytest.mark.parametrize(("n_units", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_labels_are_as_small_as_their_number_allows(tmp_path, n_units, dtype):
    partition = bars_partition([f"cell {n}" for n in range(n_units)], n_voxels=1)
    _, segmentation = written(tmp_path, make_attribution(np.arange(n_units), partition=partition), partition.grid)
    assert segmentation["voxels"].dtype == dtype
    assert set(np.unique(segmentation["voxels"])) == set(range(1, n_units + 1))


def test_a_unit_between_the_voxel_centres_of_the_ct_becomes_an_empty_segment(tmp_path):
    partition = bars_partition(["one", "two", "three"], n_voxels=1)
    coarse = VoxelGrid((1, 1, 1), np.diag([15.0, 15.0, 15.0, 1.0]))
    _, segmentation = written(tmp_path, make_attribution([1, 2, 3], partition=partition), coarse)
    assert len(segmentation["segments"]) == 3
    assert np.unique(segmentation["voxels"]).tolist() == [1]
