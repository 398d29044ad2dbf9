"""Networks and torsos whose cause is known by construction, and whether the methods tell it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from benchmarks.planted.answer import Asker
from benchmarks.planted.case import COUNTED, SMOOTH, PlantedCase, write_case
from benchmarks.planted.network import TARGET, TRUTHS, PlantedNetwork
from benchmarks.planted.rank import standing
from benchmarks.planted_truth import table
from SegExplainLib.attribution import Attribution
from SegExplainLib.contract import InvalidRequest
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.pipeline import explain
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.progress import Progress
from SegExplainLib.question import predicted_organs
from SegExplainLib.results_folder import read_attribution
from SegExplainLib.volume import Volume, VoxelGrid, resampled_nearest

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def asker(tmp_path_factory):
    """Asks about the case of a truth and a seed; with few units, so that every coalition can be evaluated."""

    @cache
    def ask(truth, seed, **controls) -> Asker:
        return Asker(write_case(tmp_path_factory.mktemp(truth), truth, seed, kept_organs=("liver",), **controls))

    return ask


def labelled_as_lesion(case: PlantedCase) -> np.ndarray:
    """bool (k, j, i): what the network labels in the whole CT, by its framework's own tiles."""
    segmenter = load_segmenter(case.request.model, device=torch.device("cpu"), trust=True)
    ct = case.torso.ct
    found = predicted_organs(segmenter, ct, segmenter.prepared(ct), Progress())
    return found.labels.array == 1


def where(case: PlantedCase, name: str) -> np.ndarray:
    return case.torso.organs.labels.array == case.torso.organs.label_of(name)


def values(answer: Attribution) -> dict[str, float]:
    return dict(zip(answer.partition.names, answer.player_values))


def of(case: PlantedCase, answer: Attribution):
    return standing(answer, cause=case.torso.cause, labelled=case.torso.labelled)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_lesion_is_labelled_with_the_clip_and_not_without_it(asker, seed):
    with_clip, without = asker("marker", seed).case, asker("marker", seed, is_cause_painted=False).case
    np.testing.assert_array_equal(with_clip.torso.roi, without.torso.roi)
    assert labelled_as_lesion(with_clip)[with_clip.torso.roi].all()
    assert not labelled_as_lesion(without).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_just_the_slices_of_the_spleen_through_which_the_rod_passes_are_labelled(asker, seed):
    with_rod, without = asker("driver", seed).case, asker("driver", seed, is_cause_painted=False).case
    has_metal = where(with_rod, "rod").any(axis=(1, 2))[:, None, None]
    roi = with_rod.torso.roi
    np.testing.assert_array_equal(labelled_as_lesion(with_rod)[roi], np.broadcast_to(has_metal, roi.shape)[roi])
    assert not labelled_as_lesion(without).any()


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_cause_is_far_from_what_is_labelled_and_in_every_tile_that_meets_it(asker, truth):
    case = asker(truth, 0).case
    ct, roi, cause = case.torso.ct, case.torso.roi, where(case, case.torso.cause)
    apart = ct.grid.ras_of(np.argwhere(cause))[:, None] - ct.grid.ras_of(np.argwhere(roi))
    assert np.linalg.norm(apart, axis=-1).min() > 50.0
    segmenter = load_segmenter(case.request.model, device=torch.device("cpu"), trust=True)
    grid = segmenter.prepared(ct).grid
    tiles = segmenter.tile_grid(grid.shape_kji)
    cause, roi = (resampled_nearest(Volume(mask, ct.grid), grid) for mask in (cause, roi))
    meeting = [tiles.slices(tile) for tile in range(tiles.n_tiles) if roi[tiles.slices(tile)].any()]
    assert len(meeting) > 1
    assert all(cause[tile].sum() == cause.sum() for tile in meeting)


def test_the_texture_reaches_every_voxel_and_changes_no_label():
    tile = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    network = PlantedNetwork(truth="marker", cause_voxels=4.0)
    logits = network(tile)
    (gradient,) = torch.autograd.grad(logits[0, 1, 4, 4, 4], tile)
    assert (gradient != 0).float().mean() > 0.9
    plain = PlantedNetwork(truth="marker", cause_voxels=4.0, texture_logits=0.0)
    assert torch.equal(plain(tile).argmax(1), logits.argmax(1))
    assert float((plain(tile) - logits).detach().abs().max()) > 0.1


@pytest.mark.parametrize("removal", ["local-mean", "air"])
def test_exact_shapley_values_of_a_conjunction_are_two_halves(asker, removal):
    ask = asker("marker", 0)
    n = int(ask.case.torso.roi.sum())
    found = values(ask.answer("exact", value="tp", removal=removal))
    assert len(found) == 5
    expected = {name: n / 2 if name in (TARGET, "clip") else 0.0 for name in found}
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("removal", ["local-mean", "air"])
def test_exact_shapley_values_of_a_driver_are_all_its_own(asker, removal):
    ask = asker("driver", 0)
    n = int((ask.case.torso.roi & where(ask.case, "rod").any(axis=(1, 2))[:, None, None]).sum())
    found = values(ask.answer("exact", value="fp", removal=removal))
    assert len(found) == 6
    assert n > 0
    assert found == pytest.approx({name: float(n if name == "rod" else 0) for name in found}, abs=1e-9)


@pytest.mark.parametrize("method", ["adjusted-shap", "kernel-shap", "leverage-shap", "permutation"])
@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_sampled_shapley_values_find_the_cause(asker, method, truth, seed):
    ask = asker(truth, seed)
    answer = ask.answer(method, value=COUNTED[truth], budget=36)
    cause, labelled = (answer.partition.names.index(name) for name in (ask.case.torso.cause, ask.case.torso.labelled))
    assert of(ask.case, answer).rank == 1
    assert of(ask.case, answer).share == pytest.approx(1.0, abs=1e-6)
    part = 0.5 if truth == "marker" else 1.0
    tolerance = 4 * answer.standard_errors[cause] + 1e-6
    assert answer.player_values[cause] == pytest.approx(part * answer.full_value, abs=tolerance)
    assert answer.player_values[labelled] == pytest.approx((1 - part) * answer.full_value, abs=tolerance)


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_integrated_gradients_rank_the_cause_first(asker, truth, seed):
    ask = asker(truth, seed)
    answer = ask.answer("integrated-gradients", value=SMOOTH[truth], budget=16)
    assert of(ask.case, answer).rank == 1
    assert of(ask.case, answer).share > 0.9


def test_of_two_causes_a_path_credits_the_one_that_arrives_last(asker):
    ask = asker("marker", 0)
    credit = {
        removal: of(ask.case, ask.answer("integrated-gradients", value="soft-dice", removal=removal, budget=16)).credit
        for removal in ("local-mean", "air")
    }
    assert credit["local-mean"] > 0.9
    assert credit["air"] < 0.1


def test_a_network_that_does_not_need_the_clip_gives_it_nothing(asker):
    ask = asker("marker", 0, needs_cause=False)
    n = int(ask.case.torso.roi.sum())
    found = values(ask.answer("exact", value="tp"))
    assert found == pytest.approx({name: float(n if name == TARGET else 0) for name in found}, abs=1e-9)
    assert of(ask.case, ask.answer("exact", value="tp")).rank > 1


@pytest.mark.parametrize("method", ["kernel-shap", "integrated-gradients"])
def test_without_metal_at_its_place_the_unit_gets_nothing(asker, method):
    present, absent = asker("marker", 0), asker("marker", 0, is_cause_painted=False)
    one, other = (values(ask.answer(method, value="soft-dice", budget=16))["clip"] for ask in (present, absent))
    assert one > 0.3
    assert abs(other) < 0.003


def test_without_the_rod_there_is_no_false_positive_to_explain(asker):
    with pytest.raises(InvalidRequest, match="holds no voxel of 'lesion'"):
        asker("driver", 0, is_cause_painted=False).answer("kernel-shap", value="fp")


@pytest.mark.parametrize("method", ["kernel-shap", "saliency"])
def test_the_benchmark_asks_as_the_pipeline_does(asker, method, tmp_path):
    ask = asker("marker", 0)
    asked = ask.answer(method, value="soft-dice", budget=36, removal="air")
    request = replace(ask.case.request, method=method, value="soft-dice", budget=36, removal="air")
    explain(request, tmp_path / "results")
    np.testing.assert_allclose(read_attribution(tmp_path / "results").player_values, asked.player_values, atol=1e-9)


def test_a_tie_counts_against_the_cause_and_pieces_count_together():
    grid = VoxelGrid((1, 1, 5), np.eye(4))
    names = ("clip 1", "clip 2", "stone", "lesion", "clip board")
    partition = PlayerPartition(np.arange(1, 6, dtype=np.int32)[None, None], grid, names, "hybrid")

    def judged(*sizes):
        errors = np.zeros(5)
        answer = Attribution("exact", partition, np.array(sizes), errors, 0.0, 1.0, "tp", "voxels", "lesion")
        return standing(answer, cause="clip", labelled="lesion")

    assert judged(1.0, -2.0, 1.5, 9.0, 0.5).rank == 1
    assert judged(1.0, -2.0, 1.5, 9.0, 0.5).share == pytest.approx(3 / 5)
    assert judged(1.0, -2.0, 1.5, 9.0, 0.5).credit == pytest.approx(3 / 14)
    assert judged(1.0, 2.0, -2.0, 9.0, 0.5).rank == 2
    assert judged(0.0, 0.0, 0.0, 9.0, 0.0).rank == 3
    assert np.isnan(judged(0.0, 0.0, 0.0, 9.0, 0.0).share)


def test_the_table_tells_the_median_the_worst_and_how_often_the_cause_is_first():
    rows = [
        {"truth": "marker", "method": "saliency", "removal": "–", "rank": rank, "share": share, "credit": share / 2}
        for rank, share in ((1, 0.5), (4, 0.1), (2, 0.3))
    ]
    *_, line = table(rows).splitlines()
    assert line == "| saliency | – | 2 (4) | 1/3 | 30.0% | 15.0% | – | – | – | – |"
