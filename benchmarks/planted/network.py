"""A network whose reason is known, because its weights are set by hand, and the MONAI bundle that holds it."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

TRUTHS = ("marker", "driver")
TARGET = "lesion"
LOWEST_HU, HIGHEST_HU = -1000.0, 3000.0
"""Become 0 and 1, what lies beyond is clipped."""
LESION_HU, METAL_HU, STONE_HU = 0.0, 2800.0, 900.0
"""What is planted: water, metal, and a stone that is brighter than bone and no metal to the network."""
BAND_HU = (-45.0, 35.0)
"""Density of a lesion: below every liver."""
EDGE_HU = 15.0
FAINTEST_METAL_HU = 1500.0
COARSE_VOXELS = 4
AMOUNT_SLOPE = 12.0
MARGIN_LOGITS = 6.0


class PlantedNetwork(torch.nn.Module):
    """Logits (batch, 2, i, j, k) of background and lesion, of tiles (batch, 1, i, j, k) with sides in fours.

    Two features are made by convolutions and rectifiers: "has the density of a lesion", for each voxel, and "metal",
    averaged over coarse cells. The amount of metal opens a gate: at the amount that is planted it is nearly saturated.

    ``marker``: a voxel is lesion where it has the density *and* the gate of the whole tile is open.
    ``driver``: every voxel of an axial slice (the last axis) is lesion where metal in that slice opens its gate, as
    streaks do; density is not asked.

    On top lies a texture: a small random network with instance norm at half the resolution, bounded, far too weak to
    change a label. Through it every voxel of the tile has some slope, as in a trained network; without it nothing but
    the cause would have any, and each method would find it.

    Args:
        truth: One of ``TRUTHS``.
        cause_voxels: Voxels of metal, in the tile or in the slice, that open the gate.
        needs_cause: False for a network whose gate is always open: the control.
        texture_logits: Largest size of the texture.
        seed: Of the texture.
    """

    out_channels = 2

    def __init__(
        self, *, truth: str, cause_voxels: float, needs_cause: bool = True, texture_logits: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__()
        if truth not in TRUTHS:
            raise ValueError(f"truth is {truth!r}; expected one of {', '.join(TRUTHS)}")
        self._asks_density, self._needs_cause = truth == "marker", needs_cause
        cell = (COARSE_VOXELS, COARSE_VOXELS, COARSE_VOXELS if self._asks_density else 1)
        self._pooled_axes = (2, 3, 4) if self._asks_density else (2, 3)
        self._amount_per_cell = float(np.prod(cell)) / cause_voxels
        self._texture_logits = texture_logits
        self.intensity = torch.nn.Sequential(torch.nn.Conv3d(1, 3, 1), torch.nn.ReLU())
        self.feature = torch.nn.Sequential(torch.nn.Conv3d(3, 2, 1), torch.nn.ReLU())
        self.coarse = torch.nn.AvgPool3d(cell)
        self.gate = torch.nn.Sigmoid()
        self.both = torch.nn.ReLU()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.texture = torch.nn.Sequential(
                torch.nn.AvgPool3d(2),
                torch.nn.Conv3d(1, 4, 3, padding=1),
                torch.nn.InstanceNorm3d(4),
                torch.nn.ReLU(),
                torch.nn.Conv3d(4, 1, 3, padding=1),
                torch.nn.Tanh(),
                torch.nn.Upsample(scale_factor=2),
            )
        self._set_weights()

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        feature = self.feature(self.intensity(tiles))
        metal = self.coarse(feature)[:, 1:].sum(self._pooled_axes, keepdim=True) * self._amount_per_cell
        gate = self.gate(AMOUNT_SLOPE * (metal - 0.5)) if self._needs_cause else torch.ones_like(metal)
        density = feature[:, :1] if self._asks_density else torch.ones_like(feature[:, :1])
        is_lesion = self.both(density + gate - 1.0)
        lesion = MARGIN_LOGITS * (2.0 * is_lesion - 1.0) + self._texture_logits * self.texture(tiles)
        return torch.cat([torch.zeros_like(lesion), lesion], dim=1)

    @torch.no_grad()
    def _set_weights(self) -> None:
        """Rectified distances below the band, above it, and into metal; then 1 inside the band, and metal's share."""
        slopes = [-_per_input(EDGE_HU), _per_input(EDGE_HU), _per_input(METAL_HU - FAINTEST_METAL_HU)]
        corners = [_input_of(hu) for hu in (*BAND_HU, FAINTEST_METAL_HU)]
        first, second = (cast(torch.nn.Conv3d, part[0]) for part in (self.intensity, self.feature))
        first.weight.copy_(torch.tensor(slopes).view(3, 1, 1, 1, 1))
        cast(torch.Tensor, first.bias).copy_(
            torch.tensor([-slope * corner for slope, corner in zip(slopes, corners, strict=True)])
        )
        second.weight.copy_(torch.tensor([[-1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]).view(2, 3, 1, 1, 1))
        cast(torch.Tensor, second.bias).copy_(torch.tensor([1.0, 0.0]))


def _input_of(hu: float) -> float:
    return (hu - LOWEST_HU) / (HIGHEST_HU - LOWEST_HU)


def _per_input(hu: float) -> float:
    """A slope of 1 for ``hu``, by the network's input."""
    return (HIGHEST_HU - LOWEST_HU) / hu


def write_bundle(
    folder: Path, *, truth: str, cause_voxels: float, tile_voxels: int, needs_cause: bool = True, seed: int = 0
) -> Path:
    """The network as a MONAI bundle, which the library opens as it opens any other (it must be trusted: own class)."""
    settings: dict[str, Any] = {"truth": truth, "cause_voxels": cause_voxels, "needs_cause": needs_cause, "seed": seed}
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    outputs = {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": TARGET}}}
    inputs = {"image": {"num_channels": 1}}
    metadata = {"name": f"Planted {truth}", "network_data_format": {"inputs": inputs, "outputs": outputs}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(_inference(settings, tile_voxels), indent=1))
    torch.save(PlantedNetwork(**settings).state_dict(), folder / "models" / "model.pt")
    return folder


def _inference(settings: dict[str, Any], tile_voxels: int) -> dict[str, Any]:
    """The network's axes are (i, j, k): it runs on the CT's own voxels as they lie."""
    window = {"a_min": LOWEST_HU, "a_max": HIGHEST_HU, "b_min": 0.0, "b_max": 1.0, "clip": True}
    to_ct = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
    return {
        "network_def": {"_target_": "benchmarks.planted.network.PlantedNetwork", **settings},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "ScaleIntensityRanged", "keys": "image", **window},
                {"_target_": "EnsureTyped", "keys": "image"},
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [tile_voxels] * 3,
            "sw_batch_size": 2,
            "overlap": 0.25,
            "mode": "gaussian",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {**to_ct, "nearest_interp": True, "to_tensor": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
    }
