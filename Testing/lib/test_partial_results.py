"""What those who watch a run read again and again: as small as it can be, and in its place."""

import builders
import numpy as np
import pytest
import report_builders
import SimpleITK as sitk

from SegExplainLib.attribution import painted_natively
from SegExplainLib.partial_results import PartialResults
from SegExplainLib.volume import Volume
from SegExplainLib.volume_io import write_nrrd


@pytest.fixture
def answer():
    """A map on the network's grid that is not 0 in a small part of an oblique, finer CT."""
    partition = builders.block_partition(builders.oblique_grid((12, 14, 16)))
    voxels = np.zeros(partition.grid.shape_kji, dtype=np.float32)
    voxels[3:6, 4:8, 5:11] = np.random.default_rng(0).uniform(0.5, 1.0, (3, 4, 6))
    values = np.ones(partition.n_players)
    return report_builders.gradient_attribution("saliency", values, partition=partition, voxel_map=voxels)


def test_a_map_is_cut_to_where_it_is_not_0_and_stays_in_its_place(answer, tmp_path):
    native = answer.partition.grid.mapped((20, 22, 24), np.diag([0.6, 0.7, 0.8]), np.array([-1.0, 0.5, 0.0]))
    PartialResults(tmp_path, native).write_map(answer)
    painted = painted_natively(answer, native)
    write_nrrd(Volume(painted, native), tmp_path / "whole.nrrd")
    part, whole = (sitk.ReadImage(str(tmp_path / name)) for name in ("map.nrrd", "whole.nrrd"))
    laid = sitk.Resample(part, whole, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(laid), painted)
    sides = [np.ptp(where) + 1 for where in np.nonzero(painted)]
    assert part.GetSize() == tuple(sides[::-1])
    assert part.GetNumberOfPixels() < 0.3 * painted.size


def test_a_map_of_zeros_is_one_voxel(answer, tmp_path):
    answer.voxel_map[...] = 0.0
    PartialResults(tmp_path, answer.partition.grid).write_map(answer)
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "map.nrrd"))).any()
