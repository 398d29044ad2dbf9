"""Closeness of players to the region, against a literal sum over voxels."""

import numpy as np
import pytest
from builders import oblique_grid

from SegExplainLib.players.closeness import FALLS_OVER_MM, closeness


def a_scene(spacing_ijk_mm=(2.0, 3.0, 4.0)):
    grid = oblique_grid((10, 12, 14), spacing_ijk_mm=spacing_ijk_mm)
    labels = np.random.default_rng(0).integers(0, 5, size=grid.shape_kji)
    roi = np.zeros(grid.shape_kji, dtype=bool)
    roi[3:5, 4:7, 8:10] = True
    return labels, roi, grid


def test_it_is_the_sum_over_voxels_by_their_distance_in_mm():
    labels, roi, grid = a_scene()
    places = np.stack(np.indices(roi.shape), axis=-1) * grid.spacing_kji_mm
    inside = places[roi]
    expected = np.zeros(4)
    for place, label in zip(places.reshape(-1, 3), labels.ravel(), strict=True):
        if label:
            expected[label - 1] += np.exp(-np.linalg.norm(inside - place, axis=1).min() / FALLS_OVER_MM)
    np.testing.assert_allclose(closeness(labels, roi, grid, n_players=4), expected / expected.max(), rtol=1e-12)


def test_a_player_far_away_counts_almost_nothing_and_may_be_beyond_the_box():
    labels, roi, grid = a_scene(spacing_ijk_mm=(2.0, 3.0, 90.0))
    labels[:] = 0
    labels[3], labels[9] = 1, 2
    found = closeness(labels, roi, grid, n_players=3)
    assert found.tolist() == [1.0, 0.0, 0.0]


def test_without_a_player_near_by_all_are_alike():
    labels, roi, grid = a_scene()
    assert closeness(np.zeros_like(labels), roi, grid, n_players=3).tolist() == [1.0, 1.0, 1.0]
    assert closeness(labels, np.zeros_like(roi), grid, n_players=4).tolist() == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipped_images_say_the_same(axis):
    labels, roi, grid = a_scene()
    flipped = closeness(np.flip(labels, axis), np.flip(roi, axis), grid, n_players=4)
    np.testing.assert_allclose(flipped, closeness(labels, roi, grid, n_players=4), rtol=1e-12)
