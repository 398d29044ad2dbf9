"""A MONAI bundle as a segmenter: its own network, preprocessing, sliding window and postprocessing.

The network's spatial axes (a, b, c) are taken as (k, j, i) without moving data, so that the columns of the grid's
matrix are those of MONAI's affine in reverse. Both are in RAS.
"""

import json
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import SlidingWindowInferer, SlidingWindowInfererAdapt
from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd, MapTransform
from monai.utils import ensure_tuple_rep, fall_back_tuple
from monai.utils.enums import SpaceKeys
from numpy.typing import NDArray

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.bundle_config import TRUST_HINT, BundleConfig
from SegExplainLib.model.bundle_intensity import IntensityMap, mean_of, run_recorded
from SegExplainLib.model.checkpoint import opened_checkpoint, state_dict_in, with_weights
from SegExplainLib.model.segmenter import NetworkInput, SegmentClass, TilePass
from SegExplainLib.model.tiling import TileGrid, as_shape
from SegExplainLib.volume import Volume, VoxelGrid

PREDICTION = "pred"
WEIGHT_KEYS = ("model", "state_dict", "network", "net")


@dataclass(frozen=True, eq=False)
class _Preprocessing:
    """What leads back from the network's grid to the CT's.

    Attributes:
        image: The preprocessed CT with MONAI's record of what was done to it.
        ct_grid: The CT's own grid.
        inside: Where the preprocessed image lies in the padded one.
        intensity: HU -> network input.
    """

    image: MetaTensor
    ct_grid: VoxelGrid
    inside: tuple[slice, slice, slice]
    intensity: IntensityMap


@dataclass(frozen=True)
class _Decision:
    """How logits become labels, as the bundle's postprocessing says.

    Attributes:
        is_exclusive: The largest logit wins; else each channel by itself.
        has_inverse: The postprocessing leads back to the CT's grid.
        is_activated: The postprocessing leaves probabilities or labels, not logits.
    """

    is_exclusive: bool
    has_inverse: bool
    is_activated: bool


class BundleSegmenter:
    """A MONAI bundle that gives its own workflow's prediction; the attributes are those of ``Segmenter``.

    Where channels are decided each by itself, their labels are channel + 1 and later channels overwrite earlier ones.
    """

    def __init__(self, folder: Path, *, device: torch.device, trust: bool = False) -> None:
        """Opens a bundle.

        Raises:
            UnusableModel: a part is missing, broken, of an unsupported kind or not trusted; the message names it.
        """
        config = BundleConfig(folder, device=device, trust=trust)
        metadata = _metadata(folder)
        parts = ["preprocessing", "inferer"] + (["postprocessing"] if config.has("postprocessing") else [])
        self._preprocessing, inferer, *post = config.built(*parts)
        self._postprocessing = Compose(post)
        self._key = _image_key(self._preprocessing, folder)
        self._inferer = _supported(inferer, folder)
        self._has_amp = config.raw("evaluator::amp") is True
        self.name = str(metadata.get("name") or folder.resolve().name)
        self.device = device
        self.network = _network(folder, config, device=device, trust=trust)
        self.passes: tuple[TilePass, ...] = (TilePass(self.network),)
        self.n_channels = _n_channels(metadata, config, self.network, folder)
        self._decision = _decision(self._postprocessing, self.n_channels, folder)
        self.is_exclusive = self._decision.is_exclusive
        self.classes = _classes(metadata, self.n_channels, is_exclusive=self.is_exclusive)

    def prepared(self, ct: Volume) -> NetworkInput:
        """The CT after the bundle's own preprocessing, padded half and half to at least one tile as the inferer does.

        Raises:
            UnusableModel: the preprocessing loses the image's place, or gives more than one channel.
        """
        affine = torch.from_numpy(ct.grid.ijk_to_ras.copy())
        array = torch.from_numpy(np.array(ct.array.T[None], dtype=np.float32, order="C"))  # transforms may write to it
        meta = {"original_affine": affine.clone(), "spatial_shape": array.shape[1:], "space": SpaceKeys.RAS}
        data: dict[Hashable, Any] = {self._key: MetaTensor(array, affine=affine, meta=meta)}
        data, intensity = run_recorded(self._preprocessing, data, key=self._key)
        image = data[self._key]
        if not isinstance(image, MetaTensor) or image.ndim != 4 or len(image) != 1:
            raise UnusableModel(
                f"The preprocessing of {self.name} gives {type(image).__name__} of shape {tuple(np.shape(image))}; "
                "expected one channel of a MetaTensor (1, a, b, c).",
                "Give a bundle for single-channel CT volumes.",
            )
        affine_kji = image.affine.cpu().numpy()
        grid = VoxelGrid(as_shape(image.shape[1:]), affine_kji[:, [2, 1, 0, 3]])
        padded, inside = self._padded(image.as_tensor().cpu().float())
        is_padding = np.ones(padded.shape[1:], dtype=bool)
        is_padding[inside] = False
        state = _Preprocessing(cast(MetaTensor, image.cpu()), ct.grid, inside, intensity)
        return NetworkInput(
            padded.numpy(),
            grid.cropped(tuple(-where.start for where in inside), as_shape(padded.shape[1:])),
            is_padding if is_padding.any() else None,
            state,
        )

    def tile_grid(self, image_shape: tuple[int, int, int]) -> TileGrid:
        """MONAI's windows and importance map, as the bundle's inferer would lay them."""
        tile_shape = fall_back_tuple(self._inferer.roi_size, image_shape)
        overlaps = ensure_tuple_rep(self._inferer.overlap, 3)
        interval = [
            tile if tile == size else max(int(tile * (1 - overlap)), 1)
            for tile, size, overlap in zip(tile_shape, image_shape, overlaps, strict=True)
        ]
        windows = dense_patch_slices(image_shape, tile_shape, interval)
        weights = compute_importance_map(tile_shape, mode=self._inferer.mode, sigma_scale=self._inferer.sigma_scale)
        starts = np.array([[axis.start for axis in window] for window in windows], dtype=np.int64)
        return TileGrid(as_shape(image_shape), as_shape(tile_shape), starts, weights.float())

    def precision(self) -> AbstractContextManager:
        """Mixed precision on CUDA when the bundle's evaluator uses it."""
        is_mixed = self._has_amp and self.device.type == "cuda"
        return torch.autocast("cuda") if is_mixed else nullcontext()

    @torch.no_grad()
    def tile_logits(self, tiles: torch.Tensor) -> torch.Tensor:
        """(batch, n_channels, k, j, i); float16 on CUDA when the bundle's evaluator uses mixed precision.

        Raises:
            UnusableModel: the network's output has another shape.
        """
        with self.precision():
            logits = self.network(tiles)
        expected = (len(tiles), self.n_channels, *tiles.shape[2:])
        if not torch.is_tensor(logits) or tuple(logits.shape) != expected:
            found = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
            raise UnusableModel(
                f"The network of {self.name} gives {found}; expected logits of shape {expected}.",
                "Give a bundle whose network gives one logit for each class and voxel.",
            )
        return logits

    def input_value(self, hu: float, prepared: NetworkInput) -> NDArray[np.float32]:
        """(1,) what a voxel of ``hu`` becomes, by the bundle's intensity transforms as they were for this case.

        Raises:
            UnusableModel: one of them is not a known map of single intensities.
        """
        return np.array([prepared.framework_state.intensity(hu)], dtype=np.float32)

    def mean_value(self, prepared: NetworkInput) -> NDArray[np.float32]:
        """(1,) 0 where the last intensity transform subtracts a mean, else the mean of the case without padding."""
        is_centred = prepared.framework_state.intensity.is_centred
        return np.array([0.0 if is_centred else mean_of(prepared.array[0], prepared.is_padding)], dtype=np.float32)

    def native_labels(self, logits: torch.Tensor, prepared: NetworkInput) -> Volume:
        """The bundle's own postprocessing of the logits, as one label map on the CT's grid.

        Raises:
            UnusableModel: it does not lead back to the CT's grid.
        """
        state: _Preprocessing = prepared.framework_state
        kept = logits[:, *state.inside].float().cpu().contiguous()
        data: dict[Hashable, Any] = {self._key: state.image, PREDICTION: MetaTensor(kept).copy_meta_from(state.image)}
        data = self._postprocessing(data)
        prediction = torch.as_tensor(data[PREDICTION]).detach().cpu()
        labels = self._labels(prediction)
        if not self._decision.has_inverse:
            data[PREDICTION] = MetaTensor(labels[None].float()).copy_meta_from(state.image)
            inverse = Invertd(PREDICTION, transform=self._preprocessing, orig_keys=self._key, nearest_interp=True)
            labels = torch.as_tensor(inverse(data)[PREDICTION])[0].round()
        if tuple(labels.shape) != state.ct_grid.shape_kji[::-1]:
            raise UnusableModel(
                f"The postprocessing of {self.name} gives {tuple(labels.shape)} voxels (i, j, k); the CT has "
                f"{state.ct_grid.shape_kji[::-1]}.",
                "Correct the Invertd transform of the bundle.",
            )
        kind = np.uint8 if self.n_channels < 255 else np.uint16
        return Volume(np.ascontiguousarray(labels.numpy().astype(kind).T), state.ct_grid)

    def _labels(self, prediction: torch.Tensor) -> torch.Tensor:
        """(a, b, c) labels from the postprocessed prediction (channels, a, b, c)."""
        if self.is_exclusive:
            return prediction[0].round() if len(prediction) == 1 else prediction.argmax(0)
        probabilities = prediction if self._decision.is_activated else prediction.sigmoid()
        labels = torch.zeros(prediction.shape[1:])
        for channel, probability in enumerate(probabilities):
            labels[probability > 0.5] = channel + 1
        return labels

    def _padded(self, image: torch.Tensor) -> tuple[torch.Tensor, tuple[slice, slice, slice]]:
        """(1, k, j, i) with at least a tile along each axis, and where the image lies in it."""
        shape = image.shape[1:]
        tile_shape = fall_back_tuple(self._inferer.roi_size, shape)
        missing = [max(tile - size, 0) for tile, size in zip(tile_shape, shape, strict=True)]
        before = [total // 2 for total in missing]
        k, j, i = (slice(low, low + size) for low, size in zip(before, shape, strict=True))
        if not any(missing):
            return image, (k, j, i)
        amounts = [
            amount for low, total in zip(before[::-1], missing[::-1], strict=True) for amount in (low, total - low)
        ]
        mode, fill = str(getattr(self._inferer.padding_mode, "value", self._inferer.padding_mode)), self._inferer.cval
        padded = torch.nn.functional.pad(image[None], amounts, mode=mode, value=fill if mode == "constant" else None)
        return padded[0], (k, j, i)


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / "configs" / "metadata.json"
    if not path.is_file():
        raise UnusableModel(f"The bundle {folder} lacks configs/metadata.json.", "Copy the whole bundle.")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnusableModel(f"{path} is no readable JSON ({error}).", "Copy the whole bundle again.") from error
    if not isinstance(metadata, dict):
        raise UnusableModel(f"{path} is no description of a bundle.", "Copy the whole bundle again.")
    inputs = _described(metadata, "network_data_format", "inputs")
    channels = [entry.get("num_channels", 1) for entry in inputs.values() if isinstance(entry, dict)]
    if len(channels) > 1 or any(n != 1 for n in channels):
        raise UnusableModel(
            f"The network of {folder.name} takes {len(channels)} inputs of {channels} channels; expected one, the CT.",
            "Give a bundle that segments a CT alone.",
        )
    return metadata


def _described(metadata: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A part of the description, empty where it is not given."""
    part: Any = metadata
    for key in keys:
        part = part.get(key) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else {}


def _network(folder: Path, config: BundleConfig, *, device: torch.device, trust: bool) -> torch.nn.Module:
    """The network with its weights: models/model.pt, or what the configuration's checkpoint loader names."""
    path = folder / "models" / "model.pt"
    if config.has("checkpointloader::load_path") and (trust or config.is_safe("checkpointloader::load_path")):
        named = Path(str(config.built("checkpointloader::load_path")[0]))
        path = named if named.is_file() else path
    script = folder / "models" / "model.ts"
    if not path.is_file() and script.is_file():
        if not trust:
            raise UnusableModel(f"{folder} has TorchScript only, which is code: {script}.", TRUST_HINT)
        scripted = torch.jit.load(str(script), map_location=device).eval()
        for parameter in scripted.parameters():
            parameter.requires_grad_(False)
        return scripted
    if not path.is_file():
        raise UnusableModel(f"The bundle {folder} lacks models/model.pt.", "Download the weights of the bundle.")
    network = config.built("network_def")[0]
    weights = state_dict_in(opened_checkpoint(path, trust=trust), keys=WEIGHT_KEYS, path=path)
    return with_weights(network, weights, device=device, path=path)


def _supported(inferer: Any, folder: Path) -> SlidingWindowInferer:
    if type(inferer) not in (SlidingWindowInferer, SlidingWindowInfererAdapt) or inferer.with_coord:
        raise UnusableModel(
            f"The inferer of {folder} is {type(inferer).__name__}; expected a plain SlidingWindowInferer.",
            "Only sliding windows over a volume can be explained.",
        )
    if not isinstance(inferer.roi_size, int) and len(inferer.roi_size) != 3:
        raise UnusableModel(f"The bundle {folder} is not 3D: its roi_size is {inferer.roi_size}.", "Give a 3D bundle.")
    return inferer


def _image_key(preprocessing: Any, folder: Path) -> Hashable:
    """The one key that the preprocessing works on."""
    transforms = preprocessing.flatten().transforms if isinstance(preprocessing, Compose) else []
    if not transforms or not all(isinstance(transform, MapTransform) for transform in transforms):
        raise UnusableModel(
            f"The preprocessing of {folder} is not a Compose of dictionary transforms (names that end in d).",
            "Rewrite it with dictionary transforms.",
        )
    keys = {key for transform in transforms for key in transform.keys}
    if len(keys) != 1:
        raise UnusableModel(
            f"The preprocessing of {folder} works on {', '.join(sorted(map(str, keys)))}; expected one image, the CT.",
            "Give a bundle that segments a CT alone.",
        )
    return keys.pop()


def _n_channels(metadata: dict[str, Any], config: BundleConfig, network: torch.nn.Module, folder: Path) -> int:
    """Channels of the logits, by the network's own attribute, its definition, or the description."""
    candidates = [config.raw(f"network_def::{key}") for key in ("out_channels", "num_classes")]
    candidates.append(getattr(network, "out_channels", None))
    candidates.append(_described(metadata, "network_data_format", "outputs", PREDICTION).get("num_channels"))
    for candidate in candidates:
        if isinstance(candidate, int) and candidate > 0:
            return candidate
    raise UnusableModel(
        f"{folder} does not say how many channels its network gives.",
        f"Add network_data_format/outputs/{PREDICTION}/num_channels to configs/metadata.json.",
    )


def _decision(postprocessing: Compose, n_channels: int, folder: Path) -> _Decision:
    """What the postprocessing does with the prediction.

    Raises:
        UnusableModel: it decides at another place than the largest logit or a sigmoid of 0.5.
    """
    transforms = postprocessing.flatten().transforms
    activations = [t for t in transforms if isinstance(t, Activationsd)]
    discretes = [t for t in transforms if isinstance(t, AsDiscreted)]
    has_sigmoid = any(any(t.sigmoid) for t in activations)
    has_argmax = any(any(t.argmax) for t in discretes)
    thresholds = [value for t in discretes if not any(t.argmax) for value in t.threshold if value is not None]
    is_exclusive = n_channels > 1 and not has_sigmoid and (has_argmax or not thresholds)
    if not is_exclusive and thresholds and (not has_sigmoid or any(value != 0.5 for value in thresholds)):
        raise UnusableModel(
            f"The postprocessing of {folder} cuts at {thresholds}{'' if has_sigmoid else ' without a sigmoid'}; "
            "expected the largest logit, or a sigmoid above 0.5.",
            "Change its Activationsd and AsDiscreted.",
        )
    has_inverse = any(isinstance(t, Invertd) for t in transforms)
    return _Decision(is_exclusive, has_inverse, is_activated=bool(activations or discretes))


def _classes(metadata: dict[str, Any], n_channels: int, *, is_exclusive: bool) -> tuple[SegmentClass, ...]:
    """Foreground classes by the names that metadata.json gives to channels, or by number where it gives none."""
    names = _described(metadata, "network_data_format", "outputs", PREDICTION, "channel_def")
    first = 1 if is_exclusive else 0
    return tuple(
        SegmentClass(
            str(names.get(str(channel), f"channel {channel}")), channel, channel if is_exclusive else channel + 1
        )
        for channel in range(first, n_channels)
    )
