import numpy as np
import pytest

from SegExplainLib.report.colours import (
    MAX_OPACITY,
    NEGATIVE_HEX,
    NEUTRAL_HEX,
    POSITIVE_HEX,
    SEQUENTIAL_HEX,
    diverging_rgb,
    diverging_rgba,
    hex_of,
    sequential_rgb,
    sequential_rgba,
    symmetric_limit,
)

# Machado, Oliveira, Fernandes (2009), IEEE TVCG 15(6), table 1, severity 1.0; they act on linear RGB.
COLOUR_BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(linear_rgb):
    xyz = (
        np.clip(linear_rgb, 0, 1)
        @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    )
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def test_the_ends_and_the_middle_are_the_named_colours():
    shown = [hex_of(diverging_rgb(value, limit=2.0)) for value in (-2.0, 0.0, 2.0)]
    assert shown == [NEGATIVE_HEX, NEUTRAL_HEX, POSITIVE_HEX]


def test_positive_is_warm_and_negative_is_cold():
    values = np.linspace(0.05, 1, 20)
    warm, cold = diverging_rgb(values, limit=1.0), diverging_rgb(-values, limit=1.0)
    assert (warm[:, 0] > warm[:, 2]).all()
    assert (cold[:, 2] > cold[:, 0]).all()


def test_a_value_and_its_opposite_are_equally_light():
    values = np.linspace(0, 1, 50)
    lightness = [lab(linear(diverging_rgb(sign * values, limit=1.0)))[:, 0] for sign in (1, -1)]
    np.testing.assert_allclose(*lightness, atol=6)


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_the_signs_differ_under_every_colour_blindness(kind):
    matrix = np.array(COLOUR_BLINDNESS[kind])
    strong = lab(linear(diverging_rgb(np.array([0.5, -0.5, 1.0, -1.0]), limit=1.0)) @ matrix.T)
    assert np.linalg.norm(strong[0] - strong[1]) > 25
    assert np.linalg.norm(strong[2] - strong[3]) > 50


def test_opacity_is_zero_at_zero_and_rises_with_the_magnitude_alike_on_both_sides():
    values = np.linspace(0, 3, 40)
    positive, negative = (diverging_rgba(sign * values, limit=3.0)[:, 3] for sign in (1, -1))
    np.testing.assert_array_equal(positive, negative)
    assert positive[0] == 0
    assert positive[-1] == MAX_OPACITY
    assert (np.diff(positive) > 0).all()


def test_values_beyond_the_limit_and_unknown_ones_have_a_colour():
    np.testing.assert_array_equal(diverging_rgb(9.0, limit=1.0), diverging_rgb(1.0, limit=1.0))
    assert hex_of(diverging_rgb(np.nan, limit=1.0)) == NEUTRAL_HEX
    assert diverging_rgba(np.array([np.nan]), limit=1.0)[0, 3] == 0


def test_the_limit_is_the_largest_finite_magnitude():
    assert symmetric_limit([0.2, -0.7, np.nan, np.inf]) == 0.7
    assert symmetric_limit([0.0, 0.0]) == 1.0
    assert symmetric_limit([]) == 1.0


@pytest.mark.parametrize("kind", [None, *COLOUR_BLINDNESS])
def test_the_sequential_scale_grows_lighter_in_even_steps_for_every_eye(kind):
    matrix = np.eye(3) if kind is None else np.array(COLOUR_BLINDNESS[kind])
    colours = lab(linear(sequential_rgb(np.linspace(0, 1, 15), limit=1.0)) @ matrix.T)
    assert (np.diff(colours[:, 0]) > 0).all()
    assert np.ptp(colours[:, 0]) > 40
    if kind is None:
        steps = np.diff(colours[:, 0])
        assert steps.max() < 2.5 * steps.min()


def test_the_sequential_scale_is_clear_at_zero_and_ends_at_its_limit():
    rgba = sequential_rgba(np.array([0.0, 0.5, 2.0, 9.0, np.nan]), limit=2.0)
    assert rgba[[0, 4], 3].tolist() == [0.0, 0.0]
    assert 0 < rgba[1, 3] < rgba[2, 3] == MAX_OPACITY
    np.testing.assert_array_equal(rgba[2], rgba[3])
    assert hex_of(sequential_rgb(3 / 7, limit=1.0)) == SEQUENTIAL_HEX
