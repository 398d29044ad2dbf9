"""Segments cover what they should, hold together, follow edges, and are of one size in mm on any grid."""

import numpy as np
import pytest
import SimpleITK as sitk
from builders import oblique_grid
from numpy.testing import assert_array_equal
from scipy import ndimage

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.gradients.oversegmentation import LEAST_SHARE, oversegmentations
from SegExplainLib.volume import VoxelGrid

FACES = ndimage.generate_binary_structure(3, 1)


def grid_of(shape, spacing_kji_mm):
    return VoxelGrid(shape, np.diag([*spacing_kji_mm[::-1], 1.0]))


def organs(shape, spacing_kji_mm):
    """A body with a large and a small ball in noise of 15 HU, sampled in mm: (image, labels, body)."""
    rng = np.random.default_rng(0)
    k, j, i = (
        (np.arange(n) + 0.5)[tuple(slice(None) if axis == a else None for a in range(3))] * s
        for axis, (n, s) in enumerate(zip(shape, spacing_kji_mm))
    )
    labels = np.ones(shape, dtype=int)
    labels[(k - 32) ** 2 + (j - 42) ** 2 + (i - 38) ** 2 < 22**2] = 2
    labels[(k - 36) ** 2 + (j - 60) ** 2 + (i - 70) ** 2 < 9**2] = 3
    body = np.broadcast_to((j - 48) ** 2 + (i - 48) ** 2 < 44**2, shape)
    labels[~body] = 0
    hu = np.array([-1000.0, -100.0, 60.0, 130.0])[labels] + rng.normal(scale=15.0, size=shape)
    return hu.astype(np.float32)[None], labels, body.copy()


def segments_of(image, body, spacing_kji_mm, **options):
    return list(oversegmentations(image, within=body, grid=grid_of(body.shape, spacing_kji_mm), **options))


FINE, THICK = ((32, 48, 48), (2.0, 2.0, 2.0)), ((16, 48, 48), (4.0, 2.0, 2.0))


@pytest.fixture(scope="module", params=[FINE, THICK], ids=["2 mm", "4 mm slices"])
def a_body(request):
    image, labels, body = organs(*request.param)
    sizes = (12.0, 24.0)
    return labels, body, request.param[1], sizes, segments_of(image, body, request.param[1], sizes_mm=sizes)


def test_segments_cover_the_units_and_nothing_else(a_body):
    _, body, _, sizes, volumes = a_body
    assert len(volumes) == len(sizes)
    for volume in volumes:
        assert volume.dtype == np.int32
        assert_array_equal(volume > 0, body)
        assert_array_equal(np.unique(volume[body]), np.arange(1, volume.max() + 1))


def test_every_segment_holds_together_through_faces(a_body):
    for volume in a_body[-1]:
        for number, box in enumerate(ndimage.find_objects(volume), start=1):
            assert ndimage.label(volume[box] == number, FACES)[1] == 1


def test_no_segment_is_a_splinter(a_body):
    _, _, spacing, sizes, volumes = a_body
    for size, volume in zip(sizes, volumes):
        least_mm3 = np.bincount(volume.ravel())[1:].min() * np.prod(spacing)
        assert least_mm3 >= LEAST_SHARE * size**3 - 1e-6


def test_segments_have_their_size_in_mm_along_every_axis(a_body):
    _, _, spacing, sizes, volumes = a_body
    for size, volume in zip(sizes, volumes):
        extents = np.array([[axis.stop - axis.start for axis in box] for box in ndimage.find_objects(volume)])
        across = np.median(extents * np.array(spacing), axis=0)
        assert (across > 0.6 * size).all()
        assert (across < 2.0 * size).all()


def test_segments_follow_the_borders_of_organs(a_body):
    labels, body, _, _, volumes = a_body
    for volume, least in zip(volumes, (0.97, 0.94)):
        table = np.zeros((volume.max() + 1, 4), dtype=int)
        np.add.at(table, (volume[body], labels[body]), 1)
        assert table.max(axis=1).sum() / body.sum() > least


def test_the_same_patient_in_thicker_slices_gets_nearly_the_same_segments():
    (fine_image, _, fine_body), (thick_image, _, thick_body) = organs(*FINE), organs(*THICK)
    (fine,) = segments_of(fine_image, fine_body, FINE[1], sizes_mm=[24.0])
    (thick,) = segments_of(thick_image, thick_body, THICK[1], sizes_mm=[24.0])
    there = fine[::2]
    both = (there > 0) & (thick > 0)
    table = np.zeros((there.max() + 1, thick.max() + 1))
    np.add.at(table, (there[both], thick[both]), 1)
    overlap = table.max(axis=0).sum() / both.sum()
    assert thick.max() == pytest.approx(fine.max(), rel=0.2)
    assert overlap > 0.7


def test_nothing_depends_on_chance_or_on_the_number_of_threads():
    image, _, body = organs(*THICK)
    threads, found = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), []
    try:
        for n in (1, 4, 4):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(n)
            found.append(segments_of(image, body, THICK[1], sizes_mm=[12.0])[0])
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[1], found[2])


def test_only_the_spacing_of_a_grid_matters():
    image, _, body = organs((12, 14, 16), (3.0, 3.0, 2.0))
    oblique = oblique_grid(spacing_ijk_mm=(2.0, 3.0, 3.0))
    (turned,) = oversegmentations(image, within=body, grid=oblique, sizes_mm=[12.0])
    assert_array_equal(turned, segments_of(image, body, (3.0, 3.0, 2.0), sizes_mm=[12.0])[0])


def test_a_flipped_array_gets_segments_of_the_same_kind():
    image, _, body = organs(*THICK)
    (one,) = segments_of(image, body, THICK[1], sizes_mm=[12.0])
    (other,) = segments_of(image[:, ::-1, :, ::-1], body[::-1, :, ::-1], THICK[1], sizes_mm=[12.0])
    assert other.max() == pytest.approx(one.max(), rel=0.1)


def test_no_segment_bridges_a_gap():
    image, _, body = organs(*THICK)
    body[:, :, 20:25] = False
    body[3, 24, 22] = True  # a voxel all alone
    for volume in segments_of(image, body, THICK[1], sizes_mm=[12.0, 60.0]):
        left, right = np.unique(volume[:, :, :20]), np.unique(volume[:, :, 25:])
        assert_array_equal(np.intersect1d(left, right), [0])
        assert (volume == volume[3, 24, 22]).sum() == 1


def test_an_edge_of_any_channel_is_followed():
    shape = (12, 24, 24)
    rng = np.random.default_rng(1)
    image = rng.normal(scale=0.02, size=(2, *shape)).astype(np.float32)
    image[1, :, :, 9:] += 100.0
    (volume,) = segments_of(image, np.ones(shape, dtype=bool), (2.0, 2.0, 2.0), sizes_mm=[12.0])
    left, right = np.unique(volume[:, :, :8]), np.unique(volume[:, :, 10:])
    assert len(np.intersect1d(left, right)) == 0


def test_an_even_image_is_cut_by_place_alone():
    shape = (16, 16, 16)
    image = np.full((1, *shape), 7.0, dtype=np.float32)
    (volume,) = segments_of(image, np.ones(shape, dtype=bool), (3.0, 3.0, 3.0), sizes_mm=[12.0])
    assert volume.max() == 4**3


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 7), (3, 2, 5)])
def test_an_image_smaller_than_a_segment_is_segmented(shape):
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    volumes = segments_of(image, np.ones(shape, dtype=bool), (3.0, 3.0, 3.0))
    assert all((volume > 0).all() for volume in volumes)


def test_sizes_that_are_the_same_in_voxels_are_made_once():
    image, _, body = organs(*THICK)
    assert len(segments_of(image, body, THICK[1], sizes_mm=[12.0, 12.1, 24.0])) == 2


def test_what_cannot_be_segmented_is_told():
    image, _, body = organs(*THICK)
    with pytest.raises(InvalidRequest, match="no voxel"):
        segments_of(image, np.zeros_like(body), THICK[1])
    for size in (0.0, -3.0, np.nan, np.inf):
        with pytest.raises(InvalidRequest, match="sizes"):
            segments_of(image, body, THICK[1], sizes_mm=[size])
