"""All images that differ from a CT by an edit of the autoencoder's around the target."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.case import PreparedCase
from SegExplainLib.contract import InvalidRequest
from SegExplainLib.counterfactual.autoencoder import (
    DOWNSAMPLING,
    TRAINED_EDGE_VOXELS,
    VOXEL_MM,
    Autoencoder,
    hu_of_intensity,
    intensity_of_hu,
)
from SegExplainLib.counterfactual.crop import EditPlace, Slices, cube_grid, sampled_hu
from SegExplainLib.counterfactual.hu_scale import HuScale, hu_scale
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.model.segmenter import SegmentClass, Segmenter
from SegExplainLib.target import predicted_mask
from SegExplainLib.volume import VoxelGrid

TAPER_MM = 15.0
LARGEST_EDGE_VOXELS = 48


def cube_around_target(score: StitchedScore, case: PreparedCase, target: SegmentClass) -> VoxelGrid:
    """The cube whose untapered core holds every voxel of the region that the network labels as the target.

    Of the size that the autoencoder was trained on where that is enough, else the next larger one that it can take.

    Raises:
        InvalidRequest: there is no such voxel, or the largest cube does not hold all.
    """
    number = score.number
    logits = score.full_logits.flatten(1)[:, number.voxels]
    is_target = predicted_mask(logits, is_exclusive=number.is_exclusive)[target.channel].cpu().numpy()
    if not is_target.any():
        raise InvalidRequest(
            f"The network predicts no {target.name!r} in the ROI: a counterfactual has nothing to remove.",
            "Choose another removal, another class, or another ROI.",
        )
    in_box = np.argwhere(case.region.mask)[is_target]
    ras = case.network_input.grid.ras_of(in_box + [axis.start for axis in case.region.box])
    low, high = ras.min(axis=0), ras.max(axis=0)
    needed_mm = float((high - low).max()) + 2 * TAPER_MM
    step_mm = DOWNSAMPLING * VOXEL_MM
    # n voxels span n - 1 distances from centre to centre.
    edge = max(TRAINED_EDGE_VOXELS, DOWNSAMPLING * math.ceil((needed_mm + VOXEL_MM) / step_mm))
    if edge > LARGEST_EDGE_VOXELS:
        most_mm = (LARGEST_EDGE_VOXELS - 1) * VOXEL_MM - 2 * TAPER_MM
        raise InvalidRequest(
            f"The predicted {target.name!r} in the ROI is {needed_mm - 2 * TAPER_MM:.0f} mm long; a counterfactual can "
            f"remove what is at most {most_mm:.0f} mm.",
            "Choose a smaller ROI, or another removal.",
        )
    return cube_grid((low + high) / 2, edge_voxels=edge, voxel_mm=VOXEL_MM)


@dataclass(frozen=True, eq=False)
class EditSpace:
    """All images that differ from a CT by an edit of the autoencoder's in one cube.

    Attributes:
        autoencoder: Of cubes.
        score: The expected volume of the target, of images of the reach.
        network_input: float32 (channels, k, j, i) of the place's block, unedited.
        hu: float32 (k, j, i) of the same.
        scale: HU -> network input.
        place: Cube -> block of the network's grid.
        in_reach: The part of the reach that lies in the block.
        in_block: The part of the block that lies in the reach.
        start: Latents of the CT, (1, latent channels, k, j, i).
        start_hu: float32 (k, j, i) of the cube: what the autoencoder makes of these.
    """

    autoencoder: Autoencoder
    score: StitchedScore
    network_input: torch.Tensor
    hu: torch.Tensor
    scale: HuScale
    place: EditPlace
    in_reach: Slices
    in_block: Slices
    start: torch.Tensor
    start_hu: torch.Tensor

    @classmethod
    def of(
        cls,
        cube: VoxelGrid,
        case: PreparedCase,
        segmenter: Segmenter,
        score: StitchedScore,
        autoencoder: Autoencoder,
        *,
        is_fixed: NDArray[np.bool_] | None = None,
    ) -> Self:
        """The space of a case, around one cube; ``is_fixed`` (k, j, i) of the network's grid stays as it is.

        Raises:
            InvalidRequest: that is all of the cube.
            UnusableModel: the network's normalisation is no line between two clips.
        """
        prepared, device = case.network_input, segmenter.device
        fixed = [mask for mask in (prepared.is_padding, is_fixed) if mask is not None]
        is_fixed = np.logical_or.reduce(fixed) if fixed else None
        place = EditPlace.of(cube, prepared.grid, taper_mm=TAPER_MM, is_fixed=is_fixed, device=device)
        if not bool((place.weight > 0).any()):
            raise InvalidRequest(
                "A counterfactual has nothing to change: no unit lies around the predicted target.",
                "Choose another removal, other units, or another ROI.",
            )
        n_k, n_j, n_i = place.weight.shape
        block_grid = prepared.grid.cropped(tuple(axis.start for axis in place.block), (n_k, n_j, n_i))
        in_reach, in_block = _overlap(score.network.reach, place.block)
        with torch.no_grad():
            cube_hu = torch.from_numpy(sampled_hu(case.ct, cube)).to(device)
            start, _ = autoencoder.encode(intensity_of_hu(cube_hu)[None, None])
            start_hu = hu_of_intensity(autoencoder.decode(start))[0, 0]
        return cls(
            autoencoder,
            score,
            torch.from_numpy(prepared.array[:, *place.block]).to(device),
            torch.from_numpy(sampled_hu(case.ct, block_grid)).to(device),
            hu_scale(segmenter, prepared),
            place,
            in_reach,
            in_block,
            start,
            start_hu,
        )

    def edit_hu(self, latents: torch.Tensor) -> torch.Tensor:
        """float32 (k, j, i) of the cube, differentiable: what the latents add to the CT; 0 for ``start``."""
        return hu_of_intensity(self.autoencoder.decode(latents))[0, 0] - self.start_hu

    def block(self, edit_hu: torch.Tensor) -> torch.Tensor:
        """float32 (channels, k, j, i) of the place's block, differentiable: the network's input after an edit."""
        return self.scale.edited(self.network_input, hu=self.hu, edit_hu=self.place.placed(edit_hu))

    def target_ml(self, edit_hu: torch.Tensor) -> torch.Tensor:
        """float64 (), differentiable: the expected volume of the target after an edit."""
        image = self.score.image.clone()
        image[:, *self.in_reach] = self.block(edit_hu)[:, *self.in_block].to(image.device)
        return self.score(image[None])[0]


def _overlap(first: Slices, second: Slices) -> tuple[Slices, Slices]:
    """Where two blocks of one array meet, as slices of the first and of the second; empty where they do not."""
    starts = [max(a.start, b.start) for a, b in zip(first, second, strict=True)]
    stops = [max(start, min(a.stop, b.stop)) for start, a, b in zip(starts, first, second, strict=True)]

    def relative_to(block: Slices) -> Slices:
        k, j, i = (slice(start - b.start, stop - b.start) for start, stop, b in zip(starts, stops, block, strict=True))
        return k, j, i

    return relative_to(first), relative_to(second)
