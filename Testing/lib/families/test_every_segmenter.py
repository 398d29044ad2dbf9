"""What every segmenter promises, over nnU-Nets and MONAI bundles of all kinds that are supported."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import noise_ct, oblique_grid
from framework_oracles import BundleOracle, NnUNetOracle, as_stored
from oracles import sliding_window
from scipy import ndimage
from tiny_models import REGIONS, bundle_config, write_bundle, write_nnunet_model

from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.segmenter import NetworkInput, Segmenter
from SegExplainLib.volume import Volume, resampled_nearest

CPU = torch.device("cpu")
# nnU-Net sums weighted logits in float16. Closer calls than this may fall to either side ...
CLOSE_CALL = 1e-2
# ... and where all fusion weights are tiny, in corners and edges of the image, its products fall below float16's
# smallest step, so that its logits there are rounded to whole numbers.
SMALLEST_STEP = 6e-8
WEIGHT_THAT_RESOLVES = 1e-4


@dataclass
class Member:
    """One segmenter with a CT to run it on.

    Attributes:
        segmenter: Under test.
        ct: Oblique and flipped.
        framework_logits: The framework's own, (n_channels, k, j, i) without padding.
        framework_labels: The framework's own (k, j, i) on the CT's grid, and where they are no close call.
        logit_tolerance: Against the framework's.
        smallest_step: Of the framework's sum of weighted logits.
        snaps_to_slices: The preprocessing takes the nearest slice along k.
    """

    segmenter: Segmenter
    ct: Volume
    framework_logits: Callable[[], np.ndarray]
    framework_labels: Callable[[], tuple[np.ndarray, np.ndarray]]
    logit_tolerance: float
    smallest_step: float = 0.0
    snaps_to_slices: bool = False

    @cached_property
    def prepared(self) -> NetworkInput:
        return self.segmenter.prepared(self.ct)

    @cached_property
    def fused(self) -> torch.Tensor:
        return sliding_window(self.segmenter, self.prepared.array)


def nnunet(folder: Path, ct: Volume, *, snaps_to_slices=False, **settings) -> Member:
    model = write_nnunet_model(folder / "nnUNetTrainer__nnUNetPlans__3d_fullres", **settings)
    oracle = NnUNetOracle(model)

    def labels():
        found, margin = oracle.labels(ct)
        prepared = segmenter.prepared(ct)
        weight = segmenter.tile_grid(prepared.grid.shape_kji).weight_sum.numpy()
        resolves = ndimage.minimum_filter(weight, size=3) > WEIGHT_THAT_RESOLVES
        return found, (margin > CLOSE_CALL) & resampled_nearest(Volume(resolves, prepared.grid), ct.grid, fill=1)

    with torch.inference_mode():
        segmenter = load_segmenter(model, device=CPU, trust=False)
    return Member(segmenter, ct, lambda: oracle.logits(ct), labels, 0.01, SMALLEST_STEP, snaps_to_slices)


def bundle(folder: Path, ct: Volume, **settings) -> Member:
    config = bundle_config(**settings)
    ct = as_stored(ct)
    model = write_bundle(folder / "bundle", config)
    oracle = BundleOracle(model, scratch=folder)

    def labels():
        prediction = oracle.predicted(ct)[1]
        found = prediction[0] if len(prediction) == 1 else np.max([c * p for c, p in enumerate(prediction, 1)], axis=0)
        return found.T, np.ones(ct.grid.shape_kji, dtype=bool)

    with torch.inference_mode():
        segmenter = load_segmenter(model, device=CPU, trust=False)
    return Member(segmenter, ct, lambda: oracle.predicted(ct)[0], labels, logit_tolerance=1e-4)


def ct_of(shape=(20, 24, 28), *, spacing=(2.0, 3.0, 4.0), flip=True) -> Volume:
    return noise_ct(grid=oblique_grid(shape, spacing_ijk_mm=spacing, flip=flip))


def ct_in_zeros() -> Volume:
    """A CT whose outer slices are 0, which nnU-Net crops, with a hole of 0 that it keeps."""
    ct = ct_of()
    array = np.zeros_like(ct.array)
    array[2:-1, 3:-4, 1:-2] = ct.array[2:-1, 3:-4, 1:-2] + 400
    array[9:12, 9:12, 9:12] = 0
    return Volume(array, ct.grid)


MEMBERS = {
    "nnU-Net": lambda at: nnunet(at, ct_of()),
    "nnU-Net with mirroring": lambda at: nnunet(at, ct_of(), mirror_axes=(0, 1, 2)),
    "nnU-Net with mirroring of two axes": lambda at: nnunet(at, ct_of(flip=False), mirror_axes=(0, 2), seed=1),
    "nnU-Net of two folds": lambda at: nnunet(at, ct_of(), n_folds=2),
    "nnU-Net with transposed axes": lambda at: nnunet(at, ct_of(), transpose=(1, 2, 0), spacing=(2.5, 2.0, 5.0)),
    "nnU-Net with thick slices": lambda at: nnunet(
        at,
        ct_of((10, 24, 28), spacing=(2.0, 2.0, 9.0)),
        snaps_to_slices=True,
        spacing=(6.0, 2.5, 2.5),
        patch=(8, 16, 16),
    ),
    "nnU-Net with regions": lambda at: nnunet(at, ct_of(), labels=REGIONS, regions_class_order=(1, 2)),
    "nnU-Net with z-score": lambda at: nnunet(at, ct_of(), normalisation="ZScoreNormalization"),
    "nnU-Net with masked z-score on a cropped CT": lambda at: nnunet(
        at, ct_in_zeros(), normalisation="ZScoreNormalization", use_mask=True
    ),
    "nnU-Net with rescaling": lambda at: nnunet(at, ct_of(), normalisation="RescaleTo01Normalization"),
    "nnU-Net without normalisation": lambda at: nnunet(at, ct_of(), normalisation="NoNormalization"),
    "nnU-Net of a CT smaller than a tile": lambda at: nnunet(at, ct_of((9, 13, 12), spacing=(3.0, 3.0, 3.0))),
    "bundle": lambda at: bundle(at, ct_of()),
    "bundle with Gaussian weights": lambda at: bundle(
        at, ct_of(flip=False), mode="gaussian", overlap=0.6, inferer={"sigma_scale": 0.2}
    ),
    "bundle of odd sizes": lambda at: bundle(at, ct_of((17, 23, 29)), roi_size=(12, 16, 10), overlap=[0.1, 0.5, 0.7]),
    "bundle of a CT smaller than a tile": lambda at: bundle(
        at, ct_of((9, 13, 12), spacing=(3.0, 3.0, 3.0)), mode="gaussian", inferer={"cval": -1.0}
    ),
    "bundle with replicated borders": lambda at: bundle(
        at, ct_of((9, 13, 12), spacing=(3.0, 3.0, 3.0)), inferer={"padding_mode": "replicate"}
    ),
    "bundle with tiles as long as the image": lambda at: bundle(
        at, ct_of((8, 10, 20), spacing=(3.0, 3.0, 3.0)), roi_size=(16, -1, 16)
    ),
    "bundle with sigmoids": lambda at: bundle(at, ct_of(), activation="sigmoid", n_channels=2, nearest_inverse=False),
    "bundle in LPS": lambda at: bundle(at, ct_of(), axcodes="LPS"),
    "bundle on the CT's own grid": lambda at: bundle(at, ct_of(), axcodes=None, pixdim=None),
    "bundle with case statistics": lambda at: bundle(
        at,
        ct_of(),
        intensity=[
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
            {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1.0, "maxv": 1.0},
        ],
    ),
    "bundle with a channel-wise z-score": lambda at: bundle(
        at, ct_of(), intensity=[{"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True}]
    ),
    "bundle with given statistics": lambda at: bundle(
        at,
        ct_of(),
        intensity=[
            {"_target_": "ThresholdIntensityd", "keys": "image", "threshold": -500, "above": True, "cval": -500},
            {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": 40.0, "divisor": 150.0},
        ],
    ),
}


@pytest.fixture(scope="module", params=MEMBERS)
def member(request, tmp_path_factory) -> Member:
    return MEMBERS[request.param](tmp_path_factory.mktemp("model"))


def without_padding(array: np.ndarray, prepared: NetworkInput) -> np.ndarray:
    if prepared.is_padding is None:
        return array
    inside = np.argwhere(~prepared.is_padding)
    (k0, j0, i0), (k1, j1, i1) = inside.min(axis=0), inside.max(axis=0) + 1
    return array[:, k0:k1, j0:j1, i0:i1]


def test_its_tiles_fuse_to_the_frameworks_logits(member):
    ours = without_padding(member.fused.numpy(), member.prepared)
    theirs = member.framework_logits()
    assert ours.shape == theirs.shape
    assert ours.std() > 0.1, "logits that hardly vary would agree by chance"
    grid = member.segmenter.tile_grid(member.prepared.grid.shape_kji)
    weight = without_padding(grid.weight_sum.numpy()[None], member.prepared)
    unresolved = grid.n_tiles * member.smallest_step / weight
    assert np.mean(unresolved < member.logit_tolerance) > 0.7
    slack = member.logit_tolerance * np.maximum(1, np.abs(theirs) / 4) + unresolved
    assert (np.abs(ours - theirs) / slack).max() < 1


def test_its_labels_are_the_frameworks(member):
    labels = member.segmenter.native_labels(member.fused.float(), member.prepared)
    theirs, is_clear = member.framework_labels()
    assert labels.grid.is_same_as(member.ct.grid)
    assert is_clear.mean() > 0.7
    assert len(np.unique(theirs)) > 1, "one label everywhere would agree by chance"
    np.testing.assert_array_equal(labels.array[is_clear], theirs[is_clear])


def test_its_labels_are_those_that_its_classes_name(member):
    labels = member.segmenter.native_labels(member.fused.float(), member.prepared)
    assert set(np.unique(labels.array)) <= {0} | {entry.label for entry in member.segmenter.classes}
    assert [entry.channel for entry in member.segmenter.classes] == list(
        range(1 if member.segmenter.is_exclusive else 0, member.segmenter.n_channels)
    )


@pytest.mark.parametrize("place", [(0.3, 0.6, 0.4), (0.55, 0.35, 0.65)])
def test_a_place_in_the_patient_is_where_its_grid_says(member, place):
    grid = member.ct.grid
    ras = grid.ras_of(np.array(place) * (np.array(grid.shape_kji) - 1))
    distance = np.linalg.norm(grid.ras_of(np.stack(np.indices(grid.shape_kji), axis=-1)) - ras, axis=-1)
    blob = 40 + 650 * np.exp(-((distance / (1.2 * grid.spacing_kji_mm.max())) ** 2))
    prepared = member.segmenter.prepared(Volume(np.where(member.ct.array == 0, 0, blob).astype(np.float32), grid))
    seen = (
        prepared.array[0] if prepared.is_padding is None else np.where(prepared.is_padding, -np.inf, prepared.array[0])
    )
    brightest = np.unravel_index(seen.argmax(), seen.shape)
    assert np.abs(np.array(brightest) - prepared.grid.kji_of(ras)).max() < 1.0


def test_a_ramp_through_the_patient_is_seen_as_the_same_ramp(member):
    native = member.ct.grid
    mask = member.ct.array != 0
    inside = ndimage.find_objects(mask.astype(int))[0]
    direction = np.array([0.6, -0.5, 0.62])
    along = native.ras_of(np.stack(np.indices(native.shape_kji), axis=-1)) @ direction
    start, slope = along.min(), 400 / np.ptp(along)
    ramp = np.zeros(native.shape_kji, dtype=np.float32)
    ramp[inside] = (100 + slope * (along - start))[inside]
    prepared = member.segmenter.prepared(Volume(ramp, native))

    ras = prepared.grid.ras_of(np.stack(np.indices(prepared.grid.shape_kji), axis=-1))
    low, high = ([getattr(where, end) for where in inside] for end in ("start", "stop"))
    kji = native.kji_of(ras)
    # Splines bend towards the border of the image.
    is_deep = ((kji > np.array(low) + 2.9) & (kji < np.array(high) - 3.9)).all(axis=-1)
    assert is_deep.sum() > 10
    v10, v110 = (member.segmenter.input_value(hu, prepared)[0] for hu in (10.0, 110.0))
    seen_hu = 10 + (prepared.array[0][is_deep] - v10) * 100 / (v110 - v10)
    expected_hu = 100 + slope * (ras[is_deep] @ direction - start)
    a_voxel = slope * np.abs(direction @ prepared.grid.ijk_to_ras[:3, :3]).max()
    tolerance = (
        0.51 * slope * np.abs(direction @ native.ijk_to_ras[:3, 2]) if member.snaps_to_slices else 0.02 * a_voxel
    )
    np.testing.assert_allclose(seen_hu, expected_hu, atol=tolerance)


def test_a_batch_gives_what_its_tiles_give_one_by_one(member):
    grid = member.segmenter.tile_grid(member.prepared.grid.shape_kji)
    image = torch.from_numpy(member.prepared.array)
    tiles = torch.stack([image[:, *grid.slices(t)] for t in (0, grid.n_tiles // 2, grid.n_tiles - 1)])
    together = member.segmenter.tile_logits(tiles)
    one_by_one = torch.cat([member.segmenter.tile_logits(tile[None]) for tile in tiles])
    assert together.shape == (3, member.segmenter.n_channels, *grid.tile_shape)
    torch.testing.assert_close(together, one_by_one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("hu", [-1024.0, 137.0])
def test_an_intensity_becomes_what_its_preprocessing_makes_of_it(member, hu):
    ct = member.ct
    array = np.clip(ct.array, -300, 1100)
    block = tuple(slice(n // 6, n - n // 6) for n in array.shape)
    array[block] = hu
    prepared = member.segmenter.prepared(Volume(array, ct.grid))
    middle = np.round(prepared.grid.kji_of(ct.grid.ras_of((np.array(array.shape) - 1) / 2))).astype(int)
    np.testing.assert_allclose(
        prepared.array[:, *middle], member.segmenter.input_value(hu, prepared), atol=0.01 * prepared.array.std()
    )


def test_the_mean_value_lies_within_the_input(member):
    inside = member.prepared.array[0]
    if member.prepared.is_padding is not None:
        inside = inside[~member.prepared.is_padding]
    value = member.segmenter.mean_value(member.prepared)
    assert value.shape == (1,)
    assert inside.min() < value[0] < inside.max()


def test_it_gives_gradients_even_when_it_was_opened_in_inference_mode(member):
    grid = member.segmenter.tile_grid(member.prepared.grid.shape_kji)
    tile = torch.from_numpy(member.prepared.array)[:, *grid.slices(0)][None].clone().requires_grad_()
    member.segmenter.network(tile).square().sum().backward()
    assert tile.grad.abs().sum() > 0


def test_preprocessing_leaves_the_ct_as_it_was(member):
    before = member.ct.array.copy()
    member.segmenter.prepared(member.ct)
    np.testing.assert_array_equal(member.ct.array, before)
