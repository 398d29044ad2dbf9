"""Baselines from other CTs: they come to lie where they belong, and only units take from them."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import TinySegmenter
from geometries import stored_otherwise
from tiny_models import bundle_config, scale_intensity_range, write_bundle, write_nnunet_model

from SegExplainLib.case import prepared_case
from SegExplainLib.contract import Cancelled, ExplainRequest, GeometryMismatch, InvalidRequest
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.phantom import make_torso
from SegExplainLib.pipeline import explain
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.progress import Progress
from SegExplainLib.question import prepared_question
from SegExplainLib.removal.references import is_same_scan, network_values, reference_fill
from SegExplainLib.removal.registration import aligned, coarse_ct
from SegExplainLib.volume import Volume, VoxelGrid
from SegExplainLib.volume_io import write_nrrd
from SegExplainLib.warm import WarmState

SPACING_MM = 8.0


@pytest.fixture(scope="module")
def torsos():
    return {seed: make_torso(seed, spacing_mm=SPACING_MM).ct for seed in (77, 5)}


@pytest.fixture(scope="module")
def two_reference_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    for seed in (5, 8):
        write_nrrd(make_torso(seed, spacing_mm=SPACING_MM).ct, folder / f"patient_{seed}.nrrd")
    return tuple(str(folder / f"patient_{seed}.nrrd") for seed in (5, 8))


def a_known_map() -> np.ndarray:
    """A turn by 8 degrees, stretches by up to 8 %, and a shift."""
    angle = np.deg2rad(8.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.08, 0.94, 1.05])
    affine[:3, 3] = [25.0, -40.0, 60.0]
    return affine


def moved(ct: Volume, affine: np.ndarray, *, order=(0, 1, 2), flips=(False, False, False)) -> Volume:
    """The same patient elsewhere: the voxels stay, their places move; stored in another order of axes."""
    grid, store = stored_otherwise(VoxelGrid(ct.grid.shape_kji, affine @ ct.grid.ijk_to_ras), order, flips)
    return Volume(store(ct.array), grid)


def at(affine, ras):
    return ras @ affine[:3, :3].T + affine[:3, 3]


def a_case(ct: Volume):
    """A tiny network's case in the torso's middle, with the two halves of the body as units."""
    segmenter = TinySegmenter(tile_shape=(16, 16, 16))
    roi = np.zeros(ct.array.shape, dtype=bool)
    k, j, i = (n // 2 for n in ct.array.shape)
    roi[k - 2 : k + 2, j - 2 : j + 2, i - 2 : i + 2] = True
    case = prepared_case(ct, roi, segmenter)
    labels = np.where(case.body & case.reach, 1 + (np.arange(ct.array.shape[2]) >= i), 0).astype(np.int32)
    return segmenter, case, PlayerPartition(labels, case.network_input.grid, ("one half", "other half"), "organs")


def a_fill(reference: Volume, ct: Volume):
    segmenter, case, partition = a_case(ct)
    otherwise = np.where(partition.labels > 0, np.float32(77.0), case.network_input.array)
    fill = reference_fill(
        reference, case, partition, segmenter=segmenter, fixed=coarse_ct(ct), otherwise=otherwise.astype(np.float32)
    )
    return fill, case, partition


def test_a_torso_that_was_moved_turned_and_stored_otherwise_comes_back_to_within_half_a_voxel(torsos):
    ct, affine = torsos[77], a_known_map()
    elsewhere = moved(ct, affine, order=(2, 0, 1), flips=(True, False, True))
    fixed = coarse_ct(ct)
    found = aligned(fixed, coarse_ct(elsewhere), needed=fixed.body)
    inside = fixed.grid.ras_of(np.argwhere(fixed.body))
    off_mm = np.linalg.norm(at(found.ras_to_ras, inside) - at(affine, inside), axis=1)
    assert off_mm.max() < SPACING_MM / 2
    assert found.correlation > 0.98


def test_another_patient_is_laid_closer_than_without_registration_and_the_same_way_twice(torsos):
    fixed, moving = coarse_ct(torsos[77]), coarse_ct(torsos[5])
    found = aligned(fixed, moving, needed=fixed.body)
    again = aligned(fixed, coarse_ct(torsos[5]), needed=fixed.body)
    np.testing.assert_array_equal(found.ras_to_ras, again.ras_to_ras)
    assert found.correlation == again.correlation > 0.7


def test_units_take_the_references_hu_where_its_patient_is_and_context_stays_bit_for_bit(torsos):
    ct, affine = torsos[77], a_known_map()
    # 40 HU brighter: not the CT itself, and every voxel says where it came from.
    brighter = moved(Volume(ct.array + np.float32(40.0), ct.grid), affine, flips=(False, True, False))
    fill, case, partition = a_fill(brighter, ct)
    is_unit = partition.labels > 0
    np.testing.assert_array_equal(fill.image[:, ~is_unit], case.network_input.array[:, ~is_unit])
    taken = is_unit & (fill.image[0] != 77.0)
    assert fill.covered_share == taken.sum() / is_unit.sum() > 0.95
    # Deep in the body, where neighbours are alike, half a voxel's error does not show.
    difference = 100.0 * (fill.image[0] - case.network_input.array[0])[taken]
    assert np.median(difference) == pytest.approx(40.0, abs=5.0)
    assert fill.image.dtype == np.float32


def test_what_the_references_scan_does_not_show_is_otherwise(torsos):
    ct = torsos[77]
    reference = Volume(ct.array + np.float32(40.0), ct.grid)
    _, _, partition = a_case(ct)
    rows = np.nonzero((partition.labels > 0).any(axis=(1, 2)))[0]
    cut = int(rows[0] + 0.7 * len(rows))
    cropped = Volume(reference.array[:cut], ct.grid.cropped((0, 0, 0), (cut, *ct.array.shape[1:])))
    unmeasured = Volume(np.where(np.arange(len(ct.array))[:, None, None] < cut, reference.array, -3024), ct.grid)
    for partial in (cropped, unmeasured):
        fill, _, _ = a_fill(partial, ct)
        is_otherwise = fill.image[0] == 77.0
        assert is_otherwise[cut + 1 :][partition.labels[cut + 1 :] > 0].all()
        assert not is_otherwise[: cut - 2][partition.labels[: cut - 2] > 0].mean() > 0.05
        assert fill.covered_share == pytest.approx(0.7, abs=0.1)
        assert fill.image.min() > -30  # no padding value got in


def test_a_reference_that_covers_less_than_half_of_the_units_is_refused(torsos):
    ct = torsos[77]
    _, _, partition = a_case(ct)
    rows = np.nonzero((partition.labels > 0).any(axis=(1, 2)))[0]
    n = max(6, len(rows) // 4)
    thin = Volume(torsos[5].array[10 : 10 + n], torsos[5].grid.cropped((10, 0, 0), (n, *torsos[5].array.shape[1:])))
    with pytest.raises(GeometryMismatch, match=r"covers at most \d+% of the units"):
        a_fill(thin, ct)


def test_a_reference_that_does_not_look_like_the_ct_is_refused(torsos):
    rng = np.random.default_rng(0)
    ct = torsos[77]
    noise = np.where(ct.array > -300, rng.normal(0, 200, ct.array.shape), 40.0).astype(np.float32)
    noise[0] = -1000.0
    with pytest.raises(GeometryMismatch):
        a_fill(Volume(noise, ct.grid), ct)


def test_the_ct_itself_is_known_however_it_is_stored_or_cropped(torsos):
    ct = torsos[77]
    assert is_same_scan(ct, ct)
    assert is_same_scan(moved(ct, np.eye(4), order=(1, 2, 0), flips=(True, True, False)), ct)
    shape = tuple(n - 8 for n in ct.array.shape)
    block = tuple(slice(4, 4 + n) for n in shape)
    assert is_same_scan(Volume(ct.array[block], ct.grid.cropped((4, 4, 4), shape)), ct)
    assert not is_same_scan(torsos[5], ct)
    assert not is_same_scan(Volume(ct.array + np.float32(3.0), ct.grid), ct)
    with pytest.raises(InvalidRequest, match="the CT itself"):
        a_fill(moved(ct, np.eye(4), flips=(True, False, False)), ct)


def test_values_that_are_no_hounsfield_units_are_refused(torsos):
    with pytest.raises(InvalidRequest, match="expected Hounsfield units"):
        a_fill(Volume(torsos[5].array + 1100.0, torsos[5].grid), torsos[77])


MODELS = {
    "nnU-Net, clipped": lambda folder: write_nnunet_model(folder),
    "nnU-Net, z-score": lambda folder: write_nnunet_model(folder, normalisation="ZScoreNormalization"),
    "bundle, symmetric clip": lambda folder: write_bundle(
        folder, bundle_config(intensity=[scale_intensity_range(a_min=-500, a_max=500)])
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_hu_become_input_as_in_the_case_whatever_the_normalisation(kind, tmp_path):
    if kind.startswith("nnU-Net"):
        pytest.importorskip("nnunetv2")
    segmenter = load_segmenter(str(MODELS[kind](tmp_path / "model")), device=torch.device("cpu"), trust=False)
    rng = np.random.default_rng(1)
    grid = VoxelGrid((20, 20, 20), np.diag([3.0, 3.0, 3.0, 1.0]))
    prepared = segmenter.prepared(Volume(rng.normal(0, 300, grid.shape_kji).astype(np.float32), grid))
    hu = rng.uniform(-1200, 1200, 200).astype(np.float32)
    expected = np.stack([segmenter.input_value(float(value), prepared) for value in hu], axis=1)
    one_hu = np.ptp(expected) / 1000.0
    np.testing.assert_allclose(network_values(hu, segmenter, prepared), expected, atol=one_hu)
    between = np.abs(np.abs(hu) - 500) > 2
    if kind.startswith("bundle"):
        np.testing.assert_allclose(network_values(hu, segmenter, prepared)[:, between], expected[:, between], atol=1e-4)


def values_of(request: ExplainRequest, warm: WarmState) -> list[float]:
    """The explained soft volume of each baseline of a finished run, by running all tiles of the whole image."""
    question = prepared_question(request, Progress(), warm=warm)
    channel = next(entry.channel for entry in question.segmenter.classes if entry.name == request.target)
    case, values = question.case, []
    for image in warm.at_hand(question.keys.absent).images:
        fused = torch.zeros((question.segmenter.n_channels, *case.tiles.image_shape))
        weight = torch.zeros(case.tiles.image_shape)
        for number in range(case.tiles.n_tiles):
            place = case.tiles.slices(number)
            logits = question.segmenter.tile_logits(torch.from_numpy(image[:, *place].copy())[None])[0]
            fused[:, *place] += logits * case.tiles.weights
            weight[place] += case.tiles.weights
        share = (fused / weight).softmax(0)[channel][torch.from_numpy(case.roi)].sum()
        values.append(float(share) * case.network_input.grid.voxel_volume_ml)
    return values


def test_expected_gradients_from_two_references_add_up_within_their_own_error(
    a_question, two_reference_files, tmp_path
):
    request = replace(
        a_question, method="expected-gradients", removal="references", reference_cts=two_reference_files, budget=8
    )
    progress, warm = Progress(), WarmState()
    manifest = explain(request, tmp_path / "out", progress=progress, warm=warm)
    estimate, counts = manifest.estimate, manifest.counts
    values = values_of(request, warm)
    assert len(values) == 2
    assert estimate["empty_value"] == pytest.approx(np.mean(values), rel=1e-3, abs=1e-4)
    with (tmp_path / "out" / "players.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    total, error = (sum(float(row[name]) for row in rows) for name in ("value", "standard_error"))
    assert error > 0
    assert abs(total - (estimate["full_value"] - estimate["empty_value"])) < 3 * error
    assert 0.5 <= counts["least_reference_overlap_share"] <= 1
    assert 0.25 <= counts["least_reference_correlation"] <= 1
    is_worth_a_word = counts["least_reference_overlap_share"] < 0.99 or counts["least_reference_correlation"] < 0.6
    assert is_worth_a_word == any("registered to the CT" in warning for warning in progress.warnings)


def test_black_and_white_begin_at_the_mean_of_both_ends(a_question, tmp_path):
    request = replace(a_question, method="integrated-gradients", removal="black-white", budget=5)
    warm = WarmState()
    manifest = explain(request, tmp_path / "out", warm=warm)
    values = values_of(request, warm)
    assert len(values) == 2
    assert values[0] != pytest.approx(values[1])
    assert manifest.estimate["empty_value"] == pytest.approx(np.mean(values), rel=1e-3, abs=1e-4)


def test_a_reference_at_fault_is_named(a_question, tmp_path):
    request = replace(
        a_question, method="expected-gradients", removal="references", reference_cts=(a_question.ct,), budget=8
    )
    with pytest.raises(InvalidRequest, match=r"The reference ct\.nrrd cannot serve as a baseline.*the CT itself"):
        explain(request, tmp_path / "out")
    gone = replace(request, reference_cts=(str(tmp_path / "gone.nrrd"),))
    with pytest.raises(InvalidRequest, match=r"gone\.nrrd"):
        explain(gone, tmp_path / "out")


def test_a_cancelled_registration_stops(torsos):
    fixed, moving = coarse_ct(torsos[77]), coarse_ct(torsos[5])
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        aligned(fixed, moving, needed=fixed.body, check_cancelled=progress.check_cancelled)
