"""nnU-Net v2 as a segmenter: its own preprocessing, tiles, fusion weights, test-time flips and export."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest, UnusableModel
from SegExplainLib.model.nnunet_folder import NnUNetParts, opened_parts, results_folder
from SegExplainLib.model.segmenter import NetworkInput, SegmentClass, TilePass
from SegExplainLib.model.tiling import TileGrid, as_shape, tile_starts
from SegExplainLib.volume import Volume, VoxelGrid

TILE_STEP = 0.5
# Each is what nnU-Net does to an intensity; True where it depends on the case.
NORMALISATIONS = {
    "CTNormalization": False,
    "NoNormalization": False,
    "ZScoreNormalization": True,
    "RescaleTo01Normalization": True,
}


@dataclass(frozen=True, eq=False)
class _Preprocessing:
    """What leads back from the network's grid to the CT's.

    Attributes:
        seen: The CT as nnU-Net's reader would give it.
        ct_grid: The CT's own grid.
        properties: nnU-Net's record of crop and shapes.
        inside: Where the preprocessed image lies in the padded one.
    """

    seen: Volume
    ct_grid: VoxelGrid
    properties: dict[str, Any]
    inside: tuple[slice, slice, slice]


class MeanOfFolds(torch.nn.Module):
    """The mean of the logits of several networks, as one graph."""

    def __init__(self, networks: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """(batch, n_channels, k, j, i) of tiles (batch, channels, k, j, i)."""
        total = self.networks[0](tiles)
        for network in list(self.networks)[1:]:
            total = total + network(tiles)
        return total / len(self.networks)


class NnUNetSegmenter:
    """A trained nnU-Net v2 that gives nnU-Net's own prediction; the attributes are those of ``Segmenter``.

    One thing differs from nnU-Net's predictor: logits are fused, and averaged over flips and folds, in float32, where
    it sums in float16. Labels are the same but for close calls (logits within about 1e-2), and but for the outermost
    voxels at corners and edges of the image: there all fusion weights are so small that float16 rounds nnU-Net's own
    logits to whole numbers. nnU-Net ignores the direction of the axes, and so does the prediction here; only the grids
    know it.

    In a region-based model a class is a region, and its label is the value that the region's own voxels get in the
    label map, where later regions overwrite earlier ones.
    """

    def __init__(
        self, parts: NnUNetParts, *, name: str, device: torch.device, flips: bool = True, tile_step: float = TILE_STEP
    ) -> None:
        """Wraps opened parts.

        Args:
            parts: As loaded from a results folder.
            name: For people.
            device: Where the networks are.
            flips: Average over the flips that the model was trained with.
            tile_step: Largest distance of neighbouring tiles as a share of a tile.

        Raises:
            UnusableModel: the intensity normalisation is none of ``NORMALISATIONS``.
        """
        self._parts = parts
        self._tile_step = tile_step
        self._statistics: WeakKeyDictionary[NetworkInput, tuple[np.float32, np.float32]] = WeakKeyDictionary()
        axes = parts.mirror_axes if flips else ()
        mirrored = [tuple(2 + a for a in some) for n in range(len(axes) + 1) for some in combinations(axes, n)]
        self.passes = tuple(TilePass(network, flipped) for network in parts.networks for flipped in mirrored)
        self._normalisation = parts.configuration.normalization_schemes[0]
        if self._normalisation not in NORMALISATIONS:
            raise UnusableModel(
                f"The model {name} normalises with {self._normalisation}; known are {', '.join(NORMALISATIONS)}.",
                "Give a model that was trained on CT.",
            )
        self.name = name
        self.device = device
        self.n_channels = parts.labels.num_segmentation_heads
        self.is_exclusive = not parts.labels.has_regions
        self.classes = _classes(parts)
        self.network = parts.networks[0] if len(parts.networks) == 1 else MeanOfFolds(parts.networks).eval()

    def prepared(self, ct: Volume) -> NetworkInput:
        """The CT after nnU-Net's own preprocessing, padded with 0 to at least one tile.

        Raises:
            InvalidRequest: no voxel would be left.
        """
        from acvl_utils.cropping_and_padding.padding import pad_nd_image

        seen = self._as_read(ct)
        self._require_voxels(seen)
        configuration = self._parts.configuration
        properties: dict[str, Any] = {"spacing": [float(mm) for mm in seen.grid.spacing_kji_mm]}
        preprocessor = configuration.preprocessor_class(verbose=False)
        image = preprocessor.run_case_npy(
            seen.array[None], None, properties, self._parts.plans, configuration, self._parts.dataset_json
        )[0]
        tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
        padded, inside = pad_nd_image(tensor, configuration.patch_size, "constant", {"value": 0}, True, None)
        inside = tuple(inside[1:])
        is_padding = np.ones(padded.shape[1:], dtype=bool)
        is_padding[inside] = False
        grid = _network_grid(
            seen.grid, self._parts.plans.transpose_forward, properties, image.shape[1:], inside, padded
        )
        state = _Preprocessing(seen, ct.grid, properties, inside)
        return NetworkInput(padded.numpy(), grid, is_padding if is_padding.any() else None, state)

    def tile_grid(self, image_shape: tuple[int, int, int]) -> TileGrid:
        """nnU-Net's tiles, with its Gaussian weights rounded to float16 as it rounds them."""
        from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window

        tile_shape = as_shape(self._parts.configuration.patch_size)
        starts = compute_steps_for_sliding_window(image_shape, tile_shape, self._tile_step)
        weights = compute_gaussian(
            tile_shape, sigma_scale=1 / 8, value_scaling_factor=10, dtype=torch.float16, device=torch.device("cpu")
        )
        return TileGrid(as_shape(image_shape), tile_shape, tile_starts(starts), weights.float())

    def precision(self) -> AbstractContextManager:
        """Mixed precision on CUDA, where alone nnU-Net uses it."""
        return torch.autocast("cuda") if self.device.type == "cuda" else nullcontext()

    @torch.no_grad()
    def tile_logits(self, tiles: torch.Tensor) -> torch.Tensor:
        """(batch, n_channels, k, j, i): the mean over folds and flips; float16 on CUDA, where nnU-Net uses it too."""
        first, *others = self.passes
        with self.precision():
            logits = first(tiles)
            if not others:
                return logits
            total = logits.float()
            for one_pass in others:
                total += one_pass(tiles)
        return total.div_(1 + len(others)).to(logits.dtype)

    def input_value(self, hu: float, prepared: NetworkInput) -> NDArray[np.float32]:
        """(1,) what a voxel of ``hu`` becomes; z-score and rescaling use the statistics of this case."""
        if NORMALISATIONS[self._normalisation]:
            offset, scale = self._case_statistics(prepared)
            return np.array([(np.float32(hu) - offset) / scale], dtype=np.float32)
        from nnunetv2.preprocessing.normalization import default_normalization_schemes

        intensities = self._parts.plans.foreground_intensity_properties_per_channel["0"]
        scheme = getattr(default_normalization_schemes, self._normalisation)
        normalise = scheme(use_mask_for_norm=False, intensityproperties=intensities)
        return normalise.run(np.full((1, 1, 1), hu, dtype=np.float32)).reshape(1)

    def mean_value(self, prepared: NetworkInput) -> NDArray[np.float32]:
        """(1,) 0 where the normalisation subtracts a mean, else the mean of the case without padding."""
        if self._normalisation in ("CTNormalization", "ZScoreNormalization"):
            return np.zeros(1, dtype=np.float32)
        inside = prepared.array[:, *prepared.framework_state.inside]
        return inside.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)

    def native_labels(self, logits: torch.Tensor, prepared: NetworkInput) -> Volume:
        """nnU-Net's label map on the CT's grid: logits resampled, labelled, put back into the crop."""
        from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

        state: _Preprocessing = prepared.framework_state
        parts = self._parts
        labels = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits[:, *state.inside].float().cpu().contiguous(),
            parts.plans,
            parts.configuration,
            parts.labels,
            state.properties,
            num_threads_torch=torch.get_num_threads(),
        )
        return Volume(_turned_back(np.asarray(labels), state.seen.grid, state.ct_grid), state.ct_grid)

    def _as_read(self, ct: Volume) -> Volume:
        """The CT as the reader named in the plans gives it: one of them turns it to RAS, the others leave it."""
        if self._parts.plans.plans["image_reader_writer"] != "NibabelIOWithReorient":
            return ct
        turn = nibabel.io_orientation(ct.grid.ijk_to_ras)
        turned = nibabel.apply_orientation(ct.array.T, turn).T
        affine = ct.grid.ijk_to_ras @ nibabel.orientations.inv_ornt_aff(turn, ct.grid.shape_kji[::-1])
        return Volume(np.ascontiguousarray(turned), VoxelGrid(turned.shape, affine))

    def _require_voxels(self, seen: Volume) -> None:
        if not seen.array.any():
            raise InvalidRequest("The CT is 0 everywhere, and nnU-Net crops zeros away.", "Check the file.")
        spacing = [seen.grid.spacing_kji_mm[axis] for axis in self._parts.plans.transpose_forward]
        shape = [seen.grid.shape_kji[axis] for axis in self._parts.plans.transpose_forward]
        wanted = self._parts.configuration.spacing
        if any(round(n * mm / to) < 1 for n, mm, to in zip(shape, spacing, wanted, strict=True)):
            raise InvalidRequest(
                f"The CT of shape {seen.grid.shape_kji} is thinner than the model's voxels of {wanted} mm.",
                "Give a CT with more slices.",
            )

    def _case_statistics(self, prepared: NetworkInput) -> tuple[np.float32, np.float32]:
        """(subtrahend, divisor) as nnU-Net found them, from the same crop of the same array; found once a case."""
        if prepared not in self._statistics:
            self._statistics[prepared] = self._found_statistics(prepared)
        return self._statistics[prepared]

    def _found_statistics(self, prepared: NetworkInput) -> tuple[np.float32, np.float32]:
        from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

        forward = self._parts.plans.transpose_forward
        data = prepared.framework_state.seen.array[None].astype(np.float32)
        data, seg, _ = crop_to_nonzero(data.transpose([0, *[axis + 1 for axis in forward]]))
        values = data[0][seg[0] >= 0] if self._parts.configuration.use_mask_for_norm[0] else data[0]
        if self._normalisation == "ZScoreNormalization":
            return values.mean(), max(values.std(), np.float32(1e-8))
        return data[0].min(), max(data[0].max() - data[0].min(), np.float32(1e-8))


def open_nnunet(
    path: Path,
    *,
    device: torch.device,
    trust: bool = False,
    folds: Sequence[str] = (),
    flips: bool = True,
    tile_step: float = TILE_STEP,
) -> NnUNetSegmenter:
    """The model of a results folder, or of a dataset's folder that holds one 3D model.

    Raises:
        UnusableModel: a part is missing, broken, of an unsupported kind or not trusted; the message names it.
    """
    folder = results_folder(path)
    parts = opened_parts(folder, device=device, trust=trust, folds=folds)
    configuration = folder.name.split("__")[-1]
    name = f"{parts.plans.dataset_name} {configuration}" if "__" in folder.name else parts.plans.dataset_name
    return NnUNetSegmenter(parts, name=name, device=device, flips=flips, tile_step=tile_step)


def _classes(parts: NnUNetParts) -> tuple[SegmentClass, ...]:
    """Names in the order of dataset.json. Channels are labels, or regions in that same order."""
    named = {
        name: value for name, value in parts.dataset_json["labels"].items() if name not in ("background", "ignore")
    }
    if not parts.labels.has_regions:
        return tuple(
            SegmentClass(name, int(np.ravel(value)[0]), int(np.ravel(value)[0])) for name, value in named.items()
        )
    regions = [name for name, value in named.items() if np.any(value)]
    order = parts.labels.regions_class_order
    return tuple(SegmentClass(name, channel, int(order[channel])) for channel, name in enumerate(regions))


def _network_grid(
    seen: VoxelGrid,
    forward: Sequence[int],
    properties: dict[str, Any],
    image_shape: Sequence[int],
    inside: Sequence[slice],
    padded: torch.Tensor,
) -> VoxelGrid:
    """Where nnU-Net's transposed, cropped, resampled and padded array lies in the patient.

    Resampling aligns the outer faces of the first and last voxels, not their centres (skimage's resize, and the
    separate-z path): old = (new + 0.5) * n_old / n_new - 0.5.
    """
    kji_from_new, offset = np.zeros((3, 3)), np.zeros(3)
    n_old = properties["shape_after_cropping_and_before_resampling"]
    for axis, old_axis in enumerate(forward):
        step = n_old[axis] / image_shape[axis]
        kji_from_new[old_axis, axis] = step
        crop = properties["bbox_used_for_cropping"][axis][0]
        offset[old_axis] = crop + (0.5 - inside[axis].start) * step - 0.5
    return seen.mapped(as_shape(padded.shape[1:]), kji_from_new, offset)


def _turned_back(labels: NDArray, seen: VoxelGrid, ct: VoxelGrid) -> NDArray:
    """Labels (k, j, i) on the grid that nnU-Net's reader gave, as they lie on the CT's own."""
    if seen is ct:
        return labels
    from_seen = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(seen.ijk_to_ras), nibabel.io_orientation(ct.ijk_to_ras)
    )
    return np.ascontiguousarray(nibabel.apply_orientation(labels.T, from_seen).T)
