"""The autoencoder of the counterfactual baseline: its weights, its intensities, and how well it draws."""

import numpy as np
import pytest
import torch

from SegExplainLib.contract import UnusableModel
from SegExplainLib.counterfactual.autoencoder import (
    DOWNSAMPLING,
    HU_KNOTS,
    TRAINED_EDGE_VOXELS,
    hu_of_intensity,
    intensity_of_hu,
    new_autoencoder,
    trained_autoencoder,
    weights_path,
)
from training.train_counterfactual import EVALUATION_SEEDS, FIRST_TRAINING_SEED, cubes_of_torso, errors_hu

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def the_autoencoder():
    return trained_autoencoder(device=CPU)


def test_intensities_are_between_0_and_1_and_lead_back():
    hu = torch.linspace(-1000, 1000, 2001)
    intensity = intensity_of_hu(hu)
    assert (intensity.min(), intensity.max()) == (0.0, 1.0)
    assert (intensity.diff() > 0).all()
    assert torch.allclose(hu_of_intensity(intensity), hu, atol=0.02)
    assert np.allclose(intensity_of_hu(torch.tensor([-3000.0, 50.0, 3000.0])), [0.0, 0.55, 1.0])
    assert hu_of_intensity(torch.tensor([-0.5, 1.5])).tolist() == [HU_KNOTS[0], HU_KNOTS[-1]]


def test_the_scale_has_the_gradient_of_its_slope():
    intensity = torch.tensor([0.1, 0.5], requires_grad=True)
    (gradient,) = torch.autograd.grad(hu_of_intensity(intensity).sum(), intensity)
    assert torch.allclose(gradient, torch.tensor([4000.0, 500 / 0.7]))


def test_the_shipped_weights_are_small_and_open_without_running_code(the_autoencoder):
    assert weights_path().stat().st_size < 4_000_000
    assert all(name in the_autoencoder.state_dict() for name in torch.load(weights_path(), weights_only=True))
    assert not the_autoencoder.training
    assert not any(weight.requires_grad for weight in the_autoencoder.parameters())


@pytest.mark.parametrize("edge_voxels", [TRAINED_EDGE_VOXELS, TRAINED_EDGE_VOXELS + DOWNSAMPLING])
def test_it_takes_cubes_of_several_sizes_and_latents_keep_their_place(the_autoencoder, edge_voxels):
    cube = torch.full((1, 1, edge_voxels, edge_voxels, edge_voxels), 0.5)
    with torch.no_grad():
        latents, sigma = the_autoencoder.encode(cube)
        assert the_autoencoder.decode(latents).shape == cube.shape
        moved = latents.clone()
        moved[0, :, 0, 0, 0] += 3.0
        change = (the_autoencoder.decode(moved) - the_autoencoder.decode(latents)).abs()[0, 0]
    assert latents.shape[2:] == (edge_voxels // DOWNSAMPLING,) * 3
    assert (sigma > 0).all()
    half = edge_voxels // 2
    assert change[:half, :half, :half].mean() > 10 * change[half:, half:, half:].mean()


def test_missing_weights_are_told_with_their_place(tmp_path):
    with pytest.raises(UnusableModel, match=r"there is no .*nowhere\.pt"):
        trained_autoencoder(device=CPU, path=tmp_path / "nowhere.pt")


def test_damaged_weights_are_told(tmp_path):
    path = tmp_path / "autoencoder.pt"
    path.write_bytes(weights_path().read_bytes()[:5000])
    with pytest.raises(UnusableModel, match="cut short"):
        trained_autoencoder(device=CPU, path=path)


def test_weights_of_another_network_are_told(tmp_path):
    path = tmp_path / "autoencoder.pt"
    torch.save(torch.nn.Conv3d(1, 1, 3).state_dict(), path)
    with pytest.raises(UnusableModel, match="do not fit"):
        trained_autoencoder(device=CPU, path=path)


def test_half_precision_on_disk_is_as_good_as_full(tmp_path):
    torch.manual_seed(0)
    network = new_autoencoder()
    path = tmp_path / "autoencoder.pt"
    torch.save({name: weight.half() for name, weight in network.state_dict().items()}, path)
    loaded = trained_autoencoder(device=CPU, path=path)
    cube = torch.rand(1, 1, 24, 24, 24)
    with torch.no_grad():
        assert torch.allclose(loaded.decode(loaded.encode(cube)[0]), network.decode(network.encode(cube)[0]), atol=5e-3)


def test_evaluation_torsos_are_not_trained_on():
    assert max(EVALUATION_SEEDS) < FIRST_TRAINING_SEED


def test_cubes_for_training_hold_lesions_and_the_same_places_without():
    cubes = cubes_of_torso(3).astype(np.float32)
    assert cubes.shape == (16, *(TRAINED_EDGE_VOXELS,) * 3)
    sick, well = cubes[0::4], cubes[1::4]
    for with_lesion, without in zip(sick, well):
        share = np.mean(np.abs(with_lesion - without) > 10)
        assert 0 < share < 0.2  # one lesion, the rest alike


def test_unseen_torsos_are_drawn_with_their_lesions():
    errors = {name: np.mean(values) for name, values in errors_hu(weights_path(), EVALUATION_SEEDS[:3]).items()}
    assert errors["absolute error in soft tissue, HU"] < 65
    assert errors["liver minus lesion, reconstructed, HU"] > 0.3 * errors["liver minus lesion, HU"]
