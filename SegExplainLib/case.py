"""A CT and a region of interest, ready for one network: its input, the tiles that matter, the part that can matter."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.model.segmenter import NetworkInput, Segmenter
from SegExplainLib.model.stitching import RegionTiles
from SegExplainLib.model.tiling import TileGrid
from SegExplainLib.players.organs import body_mask
from SegExplainLib.volume import Volume, resampled_nearest


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """One question's geometry: what the network sees, and which part of it can reach the region of interest.

    The region is carried from the CT's grid to the network's by nearest neighbour; every value function counts the
    network's voxels. Tiles are those of the whole image, never laid anew on a crop, so that the fused logits of the
    region are those of the framework's own prediction.

    Attributes:
        ct: As read, on its native grid.
        network_input: The CT after preprocessing.
        roi_native: bool (k, j, i) on the CT's grid.
        roi: bool (k, j, i) on the network's grid.
        body: bool (k, j, i) on the network's grid: the patient, lungs and bowel gas included, without the air around.
        tiles: Tiles of the whole image.
        region: The tiles that meet the region of interest.
    """

    ct: Volume
    network_input: NetworkInput
    roi_native: NDArray[np.bool_]
    roi: NDArray[np.bool_]
    body: NDArray[np.bool_]
    tiles: TileGrid
    region: RegionTiles

    @cached_property
    def reach(self) -> NDArray[np.bool_]:
        """bool (k, j, i) on the network's grid: the receptive-field crop, padding left out.

        The union of the tiles that meet the region. Nothing outside it can change the region's logits.
        """
        union = self.tiles.union_of(self.region.numbers)
        padding = self.network_input.is_padding
        return union if padding is None else union & ~padding


def prepared_case(
    ct: Volume,
    roi_native: NDArray[np.bool_],
    segmenter: Segmenter,
    *,
    network_input: NetworkInput | None = None,
    body: NDArray[np.bool_] | None = None,
) -> PreparedCase:
    """The case of one CT and region for a network; ``network_input`` and ``body`` save work when they are at hand.

    Raises:
        InvalidRequest: no voxel of the region is inside what the network sees.
    """
    network_input = network_input or segmenter.prepared(ct)
    roi = resampled_nearest(Volume(roi_native, ct.grid), network_input.grid)
    if network_input.is_padding is not None:
        roi &= ~network_input.is_padding
    if not roi.any():
        raise InvalidRequest(
            "The ROI holds no voxel of the image that the network sees after its preprocessing.",
            "It lies in a margin that is cropped away, or is thinner than the network's voxels: enlarge it.",
        )
    tiles = segmenter.tile_grid(network_input.grid.shape_kji)
    region = RegionTiles.of(roi, tiles, device=segmenter.device)
    if body is None:
        body = body_on_input(ct, network_input)
    return PreparedCase(ct, network_input, roi_native, roi, body, tiles, region)


def body_on_input(ct: Volume, network_input: NetworkInput) -> NDArray[np.bool_]:
    """bool (k, j, i) on the network's grid: the patient, as `PreparedCase.body`."""
    return resampled_nearest(Volume(body_mask(ct), ct.grid), network_input.grid)
