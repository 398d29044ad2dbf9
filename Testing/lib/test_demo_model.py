"""The demo model: a bundle that opens anywhere, reads an image file, and finds the organs of unseen torsos."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer

from SegExplainLib.phantom import DEMO_SEED, LABEL_NAMES, make_torso
from training.demo_bundle import DemoBundle, dice_per_organ, ras_arrays, score
from training.train_demo_model import EVALUATION_SEEDS, FIRST_TRAINING_SEED

ROOT = Path(__file__).resolve().parents[2] / "Resources" / "demo_model"
UNSEEN_SEEDS = [301, 302, 303]


@pytest.fixture(scope="module")
def bundle():
    return DemoBundle(ROOT)


@pytest.fixture(scope="module")
def dice(bundle):
    return score(bundle, UNSEEN_SEEDS)


@pytest.fixture(scope="module")
def a_scan_on_disk(tmp_path_factory):
    """The demo torso as a NIfTI file, as a scanner lies it: axes to the left, the back, the head."""
    torso = make_torso(DEMO_SEED)
    path = tmp_path_factory.mktemp("scan") / "torso.nii.gz"
    nibabel.save(nibabel.Nifti1Image(torso.ct.array.T, torso.ct.grid.ijk_to_ras), path)
    return torso, path


def test_the_weights_open_without_running_foreign_code_and_are_small(bundle):
    weights = torch.load(bundle.weights_path, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    assert bundle.weights_path.stat().st_size < 5_000_000


def test_metadata_names_every_channel_that_the_network_gives(bundle):
    metadata = json.loads((ROOT / "configs" / "metadata.json").read_text())
    output = metadata["network_data_format"]["outputs"]["pred"]
    assert {int(channel): name for channel, name in output["channel_def"].items()} == LABEL_NAMES
    tile = torch.zeros(1, 1, *output["spatial_shape"])
    assert bundle.trained_network()(tile).shape == (1, output["num_channels"], *output["spatial_shape"])


def test_the_inferer_is_monais_sliding_window_on_the_trained_tile(bundle):
    inferer = bundle.parser().get_parsed_content("inferer")
    assert isinstance(inferer, SlidingWindowInferer)
    assert tuple(inferer.roi_size) == (40, 40, 40)
    assert (inferer.overlap, str(inferer.mode)) == (0.5, "gaussian")


def test_a_tile_does_not_depend_on_its_neighbours_in_the_batch(bundle):
    network = bundle.trained_network()
    tiles = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 40, 40, 40), dtype=np.float32))
    with torch.inference_mode():
        torch.testing.assert_close(network(tiles)[1:], network(tiles[1:]), atol=1e-4, rtol=1e-4)


def test_preprocessing_a_file_gives_what_the_network_was_trained_on(bundle, a_scan_on_disk):
    torso, path = a_scan_on_disk
    image = bundle.parser().get_parsed_content("preprocessing")({"image": str(path)})["image"]
    np.testing.assert_allclose(image[0].numpy(), bundle.normalize(ras_arrays(torso)[0]), atol=2e-3)


def test_a_file_comes_back_segmented_on_its_own_grid(bundle, a_scan_on_disk, tmp_path):
    torso, path = a_scan_on_disk
    parser = bundle.parser()
    parser["output_dir"] = str(tmp_path)
    case = parser.get_parsed_content("preprocessing")({"image": str(path)})
    with torch.inference_mode():
        case["pred"] = parser.get_parsed_content("inferer")(case["image"][None], bundle.trained_network())[0]
    parser.get_parsed_content("postprocessing")(case)
    (written,) = tmp_path.rglob("*.nii.gz")
    segmentation = nibabel.load(written)
    np.testing.assert_allclose(segmentation.affine, torso.ct.grid.ijk_to_ras, atol=1e-3)
    found = dice_per_organ(np.asarray(segmentation.dataobj).T, torso.labels.array)
    assert min(found.values()) > 0.7, found


@pytest.mark.parametrize("organ", list(LABEL_NAMES.values())[1:])
def test_every_organ_of_unseen_torsos_is_found(dice, organ):
    assert np.mean(dice[organ]) >= 0.85


def test_what_is_scored_was_never_trained_on():
    assert max([*UNSEEN_SEEDS, *EVALUATION_SEEDS, DEMO_SEED]) < FIRST_TRAINING_SEED


def test_dice_counts_both_volumes_and_an_absent_organ_has_none():
    truth, predicted = np.zeros((2, 2, 3), int), np.zeros((2, 2, 3), int)
    truth[0], predicted[0, 0] = 5, 5
    found = dice_per_organ(predicted, truth)
    assert found["liver"] == pytest.approx(2 * 3 / (6 + 3))
    assert np.isnan(found["spleen"])
