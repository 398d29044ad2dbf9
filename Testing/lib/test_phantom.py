"""The synthetic torso: the same for a seed, anatomically in order, and as bright as tissue is."""

import numpy as np
import pytest
from scipy import ndimage

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.phantom import DEMO_SEED, LABEL_NAMES, make_torso

SEEDS = (0, 3, DEMO_SEED)
VALUE = {name: value for value, name in LABEL_NAMES.items()}


@pytest.fixture(scope="module")
def torsos():
    return {seed: make_torso(seed) for seed in SEEDS}


def organ(torso, name):
    return torso.labels.array == VALUE[name]


def centre_ras(torso, name):
    """(R, A, S) in mm of an organ's centre of mass."""
    return torso.labels.grid.ras_of(np.argwhere(organ(torso, name)).mean(axis=0))


def median_hu(torso, name):
    """Median over the organ without its rim, where partial volume mixes in the neighbours."""
    core = ndimage.binary_erosion(organ(torso, name))
    return float(np.median(torso.ct.array[core if core.any() else organ(torso, name)]))


def test_the_same_seed_gives_the_same_torso(torsos):
    again = make_torso(SEEDS[0])
    np.testing.assert_array_equal(again.ct.array, torsos[SEEDS[0]].ct.array)
    np.testing.assert_array_equal(again.labels.array, torsos[SEEDS[0]].labels.array)
    np.testing.assert_array_equal(again.ct.grid.ijk_to_ras, torsos[SEEDS[0]].ct.grid.ijk_to_ras)


def test_different_seeds_give_different_patients(torsos):
    volumes = [[int(organ(torso, name).sum()) for name in VALUE] for torso in torsos.values()]
    assert len({tuple(v) for v in volumes}) == len(SEEDS)
    assert len({torso.ct.array.shape for torso in torsos.values()}) > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_every_organ_is_there_once_and_whole(torsos, seed):
    assert set(np.unique(torsos[seed].labels.array)) == set(LABEL_NAMES)
    for name in ("liver", "spleen", "kidney_left", "kidney_right", "heart", "stomach", "bladder", "lesion"):
        parts, n_parts = ndimage.label(organ(torsos[seed], name), structure=np.ones((3, 3, 3)))
        largest = np.bincount(parts.ravel())[1:].max()
        assert largest >= 0.97 * (parts > 0).sum(), f"{name} fell into {n_parts} parts"


@pytest.mark.parametrize("seed", SEEDS)
def test_types_and_grid_are_a_scanners(torsos, seed):
    torso = torsos[seed]
    assert torso.ct.array.dtype == np.float32
    assert torso.labels.array.dtype == np.uint8
    assert torso.ct.grid is torso.labels.grid
    np.testing.assert_allclose(torso.ct.grid.spacing_kji_mm, 5.0)
    np.testing.assert_array_equal(np.sign(torso.ct.grid.ijk_to_ras[:3, :3]), np.diag([-1, -1, 1]))


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_lie_on_their_side_of_the_patient(torsos, seed):
    torso = torsos[seed]
    midline = centre_ras(torso, "spine")[0]
    for name in ("liver", "kidney_right"):
        assert centre_ras(torso, name)[0] > midline + 20, f"{name} should be on the right"
    for name in ("spleen", "stomach", "kidney_left", "heart"):
        assert centre_ras(torso, name)[0] < midline - 8, f"{name} should be on the left"


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_are_stacked_from_pelvis_to_chest_and_the_spine_is_behind(torsos, seed):
    torso = torsos[seed]
    heights = [centre_ras(torso, name)[2] for name in ("bladder", "kidney_left", "stomach", "heart")]
    assert heights == sorted(heights)
    assert centre_ras(torso, "lung")[2] > centre_ras(torso, "liver")[2]
    for name in ("aorta", "heart", "stomach", "liver", "bladder"):
        assert centre_ras(torso, "spine")[1] < centre_ras(torso, name)[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_are_inside_the_body(torsos, seed):
    torso = torsos[seed]
    tissue, _ = ndimage.label(torso.ct.array > -300)
    body = tissue == np.bincount(tissue.ravel())[1:].argmax() + 1
    body = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(axial)) for axial in body])
    inside = ndimage.binary_erosion(body, structure=np.ones((1, 3, 3)))
    assert (torso.labels.array[~inside] == 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lesion_is_surrounded_by_liver(torsos, seed):
    lesion = organ(torsos[seed], "lesion")
    rim = ndimage.binary_dilation(lesion) & ~lesion
    assert organ(torsos[seed], "liver")[rim].mean() > 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_tissues_are_as_bright_as_tissues_are(torsos, seed):
    ranges = {
        "lung": (-920, -750),
        "liver": (45, 130),
        "spleen": (40, 135),
        "kidney_left": (25, 200),
        "kidney_right": (25, 200),
        "heart": (35, 270),
        "aorta": (35, 270),
        "bladder": (-5, 25),
        "lesion": (0, 60),
        "spine": (120, 650),
        "pelvis": (180, 700),
    }
    for name, (low, high) in ranges.items():
        assert low < median_hu(torsos[seed], name) < high, name
    stomach = torsos[seed].ct.array[organ(torsos[seed], "stomach")]
    assert (stomach < -700).any()
    assert (np.abs(stomach - 20) < 25).any()
    assert median_hu(torsos[seed], "lesion") < median_hu(torsos[seed], "liver") - 25


def test_brightness_alone_does_not_tell_the_organs_apart(torsos):
    """Over patients, spleen and liver share HU, and so do kidney and spleen: the network has to look around."""
    pooled = {
        name: np.concatenate([torso.ct.array[organ(torso, name)] for torso in torsos.values()])
        for name in ("liver", "spleen", "kidney_left")
    }
    for a, b in (("liver", "spleen"), ("kidney_left", "spleen")):
        low, high = np.percentile(pooled[a], [5, 95])
        assert ((pooled[b] > low) & (pooled[b] < high)).mean() > 0.3


def test_without_lesion_the_rest_of_the_torso_is_untouched(torsos):
    with_lesion, without = torsos[DEMO_SEED], make_torso(DEMO_SEED, has_lesion=False)
    assert not organ(without, "lesion").any()
    lesion = organ(with_lesion, "lesion")
    assert (without.labels.array[lesion] == VALUE["liver"]).all()
    np.testing.assert_array_equal(without.labels.array[~lesion], with_lesion.labels.array[~lesion])
    away = ~ndimage.binary_dilation(lesion, iterations=3)
    np.testing.assert_allclose(without.ct.array[away], with_lesion.ct.array[away], atol=1e-3)


def test_finer_voxels_show_a_patient_of_the_same_build(torsos):
    coarse, fine = make_torso(0, spacing_mm=8.0), torsos[0]
    for name in ("liver", "lung", "spine"):
        volumes = [organ(t, name).sum() * t.labels.grid.voxel_volume_ml for t in (coarse, fine)]
        assert volumes[0] == pytest.approx(volumes[1], rel=0.2), name


@pytest.mark.parametrize("spacing_mm", [1.0, 12.0])
def test_a_voxel_size_beyond_reason_is_refused(spacing_mm):
    with pytest.raises(InvalidRequest, match="2 to 10 mm"):
        make_torso(0, spacing_mm=spacing_mm)
