"""Which edits look like anatomy: a variational autoencoder of small cubes of CT, and its weights."""

from pathlib import Path
from typing import Protocol

import torch
from monai.networks.nets import AutoencoderKL

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.checkpoint import opened_checkpoint, state_dict_in, with_weights

VOXEL_MM = 5.0
TRAINED_EDGE_VOXELS = 24
DOWNSAMPLING = 4
LATENT_CHANNELS = 4
# Soft tissue takes 70 % of the range: a lesion is 40 HU from its organ, lung 900 from both.
HU_KNOTS = (-1000.0, -200.0, 300.0, 1000.0)
INTENSITY_KNOTS = (0.0, 0.2, 0.9, 1.0)


class Autoencoder(Protocol):
    """What the search needs of an autoencoder of cubes (1, 1, k, j, i), intensities as in `intensity_of_hu`."""

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the latents (1, latent channels, k, j, i)."""
        ...

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """The cube (1, 1, k, j, i) of latents; differentiable."""
        ...


def new_autoencoder() -> AutoencoderKL:
    """MONAI's AutoencoderKL without attention, weights random.

    Its latents keep their place in the cube (one for 20 mm along each axis, 4 channels), so that an edit stays where it
    is made, and being convolutional it takes any cube whose edge is a multiple of 4 voxels. `VarAutoEncoder` has one
    vector for the whole cube: a fixed cube, and nearly all weights in two dense layers.
    """
    return AutoencoderKL(
        spatial_dims=3,
        channels=(16, 32, 32),
        num_res_blocks=(1, 1, 1),
        attention_levels=(False, False, False),
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )


def weights_path() -> Path:
    """The weights that are shipped: inside an installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "resources" / "counterfactual" / "autoencoder.pt"
    return installed if installed.exists() else package.parent / "Resources" / "counterfactual" / "autoencoder.pt"


def trained_autoencoder(*, device: torch.device, path: Path | None = None) -> AutoencoderKL:
    """The autoencoder with its weights, frozen, in evaluation mode; the shipped ones where no path is given.

    Raises:
        UnusableModel: the weights are missing, damaged, or of another network.
    """
    path = path or weights_path()
    if not path.is_file():
        raise UnusableModel(
            f"The autoencoder of the counterfactual baseline is not part of this installation: there is no {path}.",
            "Install the package again, or choose another removal.",
        )
    weights = state_dict_in(opened_checkpoint(path, trust=False), keys=(), path=path)
    # Kept in half precision on disk.
    full = {name: weight.float() for name, weight in weights.items()}
    network = new_autoencoder()
    with_weights(network, full, device=device, path=path)
    return network


def intensity_of_hu(hu: torch.Tensor) -> torch.Tensor:
    """What the autoencoder sees of HU: 0 to 1, linear between `HU_KNOTS`, constant beyond. Differentiable."""
    return _piecewise_linear(hu, HU_KNOTS, INTENSITY_KNOTS)


def hu_of_intensity(intensity: torch.Tensor) -> torch.Tensor:
    """The inverse of `intensity_of_hu`; below 0 and above 1 the outermost HU. Differentiable."""
    return _piecewise_linear(intensity, INTENSITY_KNOTS, HU_KNOTS)


def _piecewise_linear(x: torch.Tensor, at: tuple[float, ...], values: tuple[float, ...]) -> torch.Tensor:
    y = torch.full_like(x, values[0])
    for start, stop, low, high in zip(at, at[1:], values, values[1:], strict=False):
        y = y + (high - low) / (stop - start) * (x - start).clamp(0.0, stop - start)
    return y
