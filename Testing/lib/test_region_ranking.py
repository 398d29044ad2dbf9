"""Regions are ranked as the authors of XRAI rank them, without a mask for each segment."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from xrai_oracle import literal_ranking, masks_of

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.gradients.region_ranking import Segments, ranked_regions

KINDS = ["any", "integers", "negative", "zero"]


def random_case(seed, *, shape=(4, 9, 11), kind="any", with_holes=True):
    """An attribution and three label volumes of blocks with ragged borders, in which some voxels have no label."""
    rng = np.random.default_rng(seed)
    volumes = []
    for edge in (2, 3, 5):
        blocks = np.indices(shape) + rng.integers(0, 2, size=(3, *shape))
        k, j, i = blocks // edge
        labels = (k * 40 + j) * 40 + i + 1
        labels[rng.random(shape) < (0.1 if with_holes else 0.0)] = 0
        volumes.append(labels.astype(np.int32))
    attribution = {
        "any": lambda: rng.normal(size=shape).astype(np.float32),
        "integers": lambda: rng.integers(-2, 3, size=shape).astype(np.float32),
        "negative": lambda: -rng.gamma(1.0, size=shape).astype(np.float32),
        "zero": lambda: np.zeros(shape, dtype=np.float32),
    }[kind]()
    return attribution, volumes


def ranked(attribution, volumes, *, least_voxels=1, is_fast=False):
    given = {"voxel_volume_mm3": 0.3, "least_mm3": 0.3 * least_voxels, "is_fast": is_fast}
    return ranked_regions(attribution, Segments.of(volumes), **given)


@pytest.mark.parametrize("is_fast", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("least_voxels", [1, 3, 12])
@pytest.mark.parametrize("seed", range(5))
def test_the_ranking_is_that_of_the_published_algorithm(seed, least_voxels, kind, is_fast):
    attribution, volumes = random_case(seed, kind=kind)
    found = ranked(attribution, volumes, least_voxels=least_voxels, is_fast=is_fast)
    heat, order = literal_ranking(attribution, masks_of(volumes), least_voxels=least_voxels, is_fast=is_fast)
    assert_array_equal(found.order, order)
    assert_allclose(found.heat_map, heat, rtol=1e-6, atol=1e-7)
    assert (found.heat_map.dtype, found.order.dtype) == (np.float32, np.int32)


@pytest.mark.parametrize("is_fast", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_the_ranking_is_that_of_the_authors_code(seed, kind, is_fast):
    """Up to what is left over, where only the sum is theirs.

    PAIR's package is no requirement of the tests: where it is missing, the literal oracle stands for it.
    """
    authors = pytest.importorskip("saliency.core").XRAI
    attribution, volumes = random_case(seed, shape=(1, 17, 19), kind=kind, with_holes=False)
    masks = [mask[0] for mask in masks_of(volumes)]
    theirs = authors._xrai_fast if is_fast else authors._xrai
    heat, order = theirs(attr=attribution[0].astype(np.float64), segs=masks, min_pixel_diff=5)
    found = ranked(attribution, volumes, least_voxels=5, is_fast=is_fast)
    assert_array_equal(found.order[0], order)
    left = order == order.max()
    assert_allclose(found.heat_map[0][~left], heat[~left], rtol=1e-6, atol=1e-7)
    assert found.heat_map[0][left].sum() == pytest.approx(heat[left].sum(), rel=1e-5, abs=1e-5)


def test_what_is_left_over_in_one_place_does_not_heat_another():
    attribution = np.array([[[-9.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, -5.0]]])
    volumes = [np.array([[[1, 1, 1, 1, 2, 2, 2, 2]]]), np.array([[[0, 1, 1, 1, 2, 2, 2, 0]]])]
    found = ranked(attribution, volumes, least_voxels=3)
    assert_array_equal(found.heat_map, attribution)
    assert_array_equal(found.order[0, 0], [3, 1, 1, 1, 2, 2, 2, 3])


def test_a_segment_whose_rest_gets_better_moves_up():
    attribution = np.array([[[-1.0, 5.0, 5.0, 4.0, 2.0]]])
    first = np.array([[[1, 1, 1, 0, 0]]])  # mean 3
    second = np.array([[[1, 0, 0, 1, 2]]])  # means 1.5, which becomes 4, and 2
    found = ranked(attribution, [first, second])
    assert_array_equal(found.heat_map[0, 0], [3, 3, 3, 4, 2])
    assert_array_equal(found.order[0, 0], [2, 2, 2, 1, 3])
    assert_array_equal(ranked(attribution, [first, second], is_fast=True).order, found.order)


def test_of_equal_segments_the_first_wins_even_where_sums_would_round():
    """0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1 in the last bit; the segments hold the same numbers."""
    attribution = np.array([[[0.3, 0.2, 0.1, 0.1, 0.2, 0.3]]])
    volumes = [np.array([[[0, 0, 0, 1, 1, 1]]]), np.array([[[1, 1, 1, 0, 0, 0]]])]
    for given, order in ((volumes, [2, 2, 2, 1, 1, 1]), (volumes[::-1], [1, 1, 1, 2, 2, 2])):
        assert_array_equal(ranked(attribution, given).order[0, 0], order)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_scale_of_an_attribution_only_scales_the_heat(scale):
    attribution, volumes = random_case(3)
    one, other = ranked(attribution, volumes), ranked(attribution.astype(np.float64) * scale, volumes)
    assert_array_equal(other.order, one.order)
    assert_allclose(other.heat_map, one.heat_map * np.float32(scale), rtol=1e-6)


def test_what_is_too_small_is_measured_in_mm3():
    attribution = np.array([[[9.0, 8.0, 1.0, 1.0]]])
    volumes = [np.array([[[1, 2, 2, 2]]])]
    given = {"voxel_volume_mm3": 27.0}
    found = ranked_regions(attribution, Segments.of(volumes), least_mm3=28.0, **given)
    assert_array_equal(found.order[0, 0], [2, 1, 1, 1])
    assert found.heat_map[0, 0, 0] == 9.0  # its own mean
    found = ranked_regions(attribution, Segments.of(volumes), least_mm3=27.0, **given)
    assert_array_equal(found.order[0, 0], [1, 2, 2, 2])


def test_voxels_in_no_segment_get_nothing():
    attribution, volumes = random_case(1)
    for volume in volumes:
        volume[:2] = 0
    found = ranked(attribution, volumes, least_voxels=4)
    outside = np.all([volume == 0 for volume in volumes], axis=0)
    assert outside[:2].all()
    assert not found.heat_map[outside].any()
    assert not found.order[outside].any()
    assert found.order[~outside].all()


def test_no_segments_at_all_are_an_empty_map():
    found = ranked(np.ones((2, 3, 4)), [np.zeros((2, 3, 4), dtype=np.int32)])
    assert not found.heat_map.any()
    assert not found.order.any()


def test_heat_adds_up_to_the_attribution_where_all_is_covered():
    attribution, volumes = random_case(2, with_holes=False)
    assert ranked(attribution, volumes).heat_map.sum() == pytest.approx(attribution.sum(), abs=1e-3)


@pytest.mark.parametrize("is_fast", [False, True])
def test_memory_grows_with_voxels_and_not_with_segments_times_voxels(is_fast):
    rng = np.random.default_rng(0)
    shape = (60, 60, 60)
    k, j, i = np.indices(shape)
    volumes = [((k // edge * 60 + j // edge) * 60 + i // edge + 1).astype(np.int32) for edge in (3, 4)]
    attribution = rng.normal(size=shape).astype(np.float32)
    n_segments = sum(len(np.unique(volume)) for volume in volumes)
    tracemalloc.start()
    ranked(attribution, volumes, is_fast=is_fast)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_segments > 10_000  # one mask each: 2.4 GB
    assert peak < 120 * attribution.size


def test_a_shape_that_does_not_fit_is_told():
    segments = Segments.of([np.ones((2, 3, 4), dtype=np.int32)])
    with pytest.raises(InvalidRequest, match="shape"):
        ranked_regions(np.ones((2, 3, 5)), segments, voxel_volume_mm3=1.0, least_mm3=1.0)
    with pytest.raises(InvalidRequest, match="one shape"):
        Segments.of([np.ones((2, 3, 4)), np.ones((2, 3, 5))])
    with pytest.raises(InvalidRequest, match="none"):
        Segments.of([])


def test_an_attribution_that_is_not_finite_is_told():
    with pytest.raises(InvalidRequest, match="not finite"):
        ranked(np.array([[[1.0, np.nan]]]), [np.ones((1, 1, 2), dtype=np.int32)])
