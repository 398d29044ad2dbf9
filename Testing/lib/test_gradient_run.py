"""Gradient methods from a request to a results folder, on the real demo model."""

import csv
import gc
import json
import math
import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SegExplainLib import gradient_run
from SegExplainLib.baselines import baselines_for
from SegExplainLib.contract import (
    GRADIENT_METHODS,
    Cancelled,
    ExplainRequest,
    InvalidRequest,
    ResultManifest,
    UnusableModel,
)
from SegExplainLib.counterfactual.search import counterfactual_input
from SegExplainLib.forecast import gradients_least_and_most
from SegExplainLib.gradient_run import GRADIENTS, PREVIEW
from SegExplainLib.job_folder import run_job
from SegExplainLib.pipeline import explain, revalue, with_budget
from SegExplainLib.preview import preview
from SegExplainLib.progress import Progress
from SegExplainLib.question import prepared_question
from SegExplainLib.results_folder import command_of, read_attribution
from SegExplainLib.warm import WarmState

BUDGETS = {"integrated-gradients": 9, "expected-gradients": 4, "smoothgrad": 4, "smoothgrad-squared": 4, "vargrad": 5}
BUDGETS["xrai"] = 9


def rows_of(folder) -> dict[str, dict[str, str]]:
    with (folder / "players.csv").open(encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def map_of(folder) -> sitk.Image:
    return sitk.ReadImage(str(folder / "attribution.nrrd"))


def test_every_method_of_the_contract_can_be_run():
    assert set(GRADIENTS) == set(GRADIENT_METHODS)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_every_method_gives_a_voxel_map_on_the_cts_grid_and_a_number_for_each_unit(
    method, a_question, the_answer, tmp_path
):
    out = tmp_path / "results"
    manifest = explain(replace(a_question, method=method, budget=BUDGETS.get(method, 0)), out)
    assert {file.name for file in out.iterdir()} == {*ResultManifest.read(out).files, "manifest.json"}
    assert list(rows_of(out)) == list(rows_of(the_answer[0]))
    ct, voxels = sitk.ReadImage(a_question.ct), map_of(out)
    assert ct.GetSize() == voxels.GetSize()
    np.testing.assert_allclose(ct.GetOrigin(), voxels.GetOrigin())
    np.testing.assert_allclose(ct.GetDirection(), voxels.GetDirection())
    assert len(np.unique(sitk.GetArrayFromImage(voxels))) > 1000
    assert manifest.estimate["full_value"] == pytest.approx(the_answer[1].estimate["full_value"], rel=1e-6)
    assert manifest.request["budget"] >= 1


def test_a_path_ends_where_the_coalition_of_nobody_is(a_question, the_answer, tmp_path):
    request = replace(a_question, method="integrated-gradients", budget=129, tolerance=0.02)
    manifest = explain(request, tmp_path / "path")
    assert manifest.estimate["empty_value"] == pytest.approx(the_answer[1].estimate["empty_value"], rel=1e-5)
    difference = manifest.estimate["full_value"] - manifest.estimate["empty_value"]
    total = sum(float(row["value"]) for row in rows_of(tmp_path / "path").values())
    assert total == pytest.approx(difference, abs=0.03 * abs(difference))


def test_a_method_without_a_baseline_knows_no_number_with_everything_removed(a_question, tmp_path):
    manifest = explain(replace(a_question, method="saliency", budget=0), tmp_path / "saliency")
    assert manifest.estimate["empty_value"] is None
    assert math.isnan(read_attribution(tmp_path / "saliency").empty_value)


def test_a_gradient_of_the_worker_is_that_of_a_network_asked_alone(a_question, tmp_path):
    """Central differences of the explained number by the CT, in the direction of the map itself."""
    request = replace(a_question, method="input-x-gradient", budget=0, value="mean-logit")
    explain(request, tmp_path / "map")
    total = sum(float(row["value"]) for row in rows_of(tmp_path / "map").values())
    question = prepared_question(request, Progress())
    case, segmenter = question.case, question.segmenter
    array, is_unit = case.network_input.array, question.partition.labels > 0

    def mean_logit(image: np.ndarray) -> float:
        """By the tiles of the whole image, without the engine."""
        fused, weights = 0.0, 0.0
        for tile in range(case.tiles.n_tiles):
            where = case.tiles.slices(tile)
            logits = torch.zeros(segmenter.n_channels, *case.tiles.image_shape, dtype=torch.float64)
            part = segmenter.tile_logits(torch.from_numpy(image[:, *where].copy())[None])[0]
            logits[:, *where] = part.double() * case.tiles.weights
            weight = torch.zeros(case.tiles.image_shape, dtype=torch.float64)
            weight[where] = case.tiles.weights.double()
            fused, weights = fused + logits, weights + weight
        logits = fused / weights
        channel = next(entry.channel for entry in segmenter.classes if entry.name == request.target)
        reference = mean_logit.reference if mean_logit.reference is not None else logits.argmax(0).numpy() == channel
        mean_logit.reference = reference
        return float(logits[channel].numpy()[case.roi & reference].mean())

    mean_logit.reference = None
    mean_logit(array)
    step = 1e-2
    up, down = (np.where(is_unit, array * (1 + sign * step), array).astype(np.float32) for sign in (1, -1))
    slope = (mean_logit(up) - mean_logit(down)) / (2 * step)
    assert total == pytest.approx(slope, rel=0.02)


def test_noise_and_layer_reach_their_methods(a_question, tmp_path):
    quiet, loud = (
        explain(replace(a_question, method="smoothgrad", budget=4, noise=noise), tmp_path / str(noise))
        for noise in (0.01, 0.3)
    )
    assert quiet.files["players.csv"] != loud.files["players.csv"]
    with pytest.raises(InvalidRequest, match="no layer 'nowhere'"):
        explain(replace(a_question, method="seg-grad-cam", budget=0, layer="nowhere"), tmp_path / "layer")
    assert not (tmp_path / "layer").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "saliency", "value": "dice"}, "dice counts labelled voxels"),
        ({"method": "kernel-shap", "removal": "black-white"}, "several images"),
        ({"method": "xrai", "removal": "references"}, "must be given together"),
        ({"method": "smoothgrad", "noise": 0.0}, "noise is 0.0"),
    ],
)
def test_contradictions_are_refused_before_a_file_is_opened(changes, words, a_question, tmp_path):
    request = replace(a_question, ct="no such file", **changes)
    with pytest.raises(InvalidRequest, match=words):
        explain(request, tmp_path / "out")


def test_a_gradient_that_is_not_finite_is_refused_and_nothing_is_written(a_question, tmp_path):
    warm = WarmState()
    request = replace(a_question, method="saliency", budget=0)
    question = prepared_question(request, Progress(), warm=warm)
    explain(request, tmp_path / "whole", warm=warm)

    class Root(torch.nn.Module):
        """Finite, with an infinite slope at 0."""

        def forward(self, x):
            return x + (x - x.detach()).abs().sqrt()

    question.segmenter.passes[0].network.add_module("after", Root())
    network = question.segmenter.passes[0].network
    handle = network.register_forward_hook(lambda module, _inputs, output: module.after(output))
    try:
        with pytest.raises(UnusableModel, match="not finite"):
            explain(request, tmp_path / "out", warm=warm)
    finally:
        handle.remove()
    assert not (tmp_path / "out").exists()


def test_a_gradient_runs_results_cannot_be_revalued(a_question, tmp_path):
    explain(replace(a_question, method="seg-grad-cam", budget=0), tmp_path / "cam")
    with pytest.raises(InvalidRequest, match="one question only"):
        revalue(tmp_path / "cam", tmp_path / "again", target="liver", value="soft-dice")


def test_a_cancelled_run_stops_at_its_next_tile_and_leaves_nothing(a_question, tmp_path):
    progress = Progress()
    progress.listener = lambda event: event.stage == "take gradients" and progress.cancel()
    with pytest.raises(Cancelled):
        explain(replace(a_question, method="smoothgrad", budget=500), tmp_path / "out", progress=progress)
    assert not (tmp_path / "out").exists()


def laid_on(grid, part):
    """The voxels of a part where SimpleITK finds them on a whole image's grid."""
    return sitk.GetArrayFromImage(sitk.Resample(part, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0))


def test_those_who_watch_see_the_map_sharpen(a_question, tmp_path):
    (tmp_path / "job").mkdir()
    request = replace(a_question, method="smoothgrad", budget=12)
    (tmp_path / "job" / "request.json").write_text(request.to_json())
    events = []
    run_job(tmp_path / "job", listener=events.append)
    partial = tmp_path / "job" / "partial"
    assert [event.event for event in events].count("partial") >= 1
    assert {file.name for file in partial.iterdir()} == {"units.nrrd", "players.csv", "map.nrrd"}
    final = map_of(tmp_path / "job" / "results")
    last = sitk.ReadImage(str(partial / "map.nrrd"))
    np.testing.assert_array_equal(laid_on(final, last), sitk.GetArrayFromImage(final))


def test_a_shapley_run_shows_a_seg_grad_cam_before_its_first_importances(a_question, tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "request.json").write_text(replace(a_question, value="tp").to_json())
    seen = []

    def listen(event):
        if event.event == "partial":
            seen.append((event.message, {file.name for file in (tmp_path / "job" / "partial").iterdir()}))

    run_job(tmp_path / "job", listener=listen)
    assert seen[0] == (PREVIEW, {"map.nrrd"})
    assert seen[1] == ("", {"map.nrrd", "units.nrrd", "players.csv"})
    explain(replace(a_question, method="seg-grad-cam", value="soft-dice", budget=0), tmp_path / "cam")
    final, shown = map_of(tmp_path / "cam"), sitk.ReadImage(str(tmp_path / "job" / "partial" / "map.nrrd"))
    np.testing.assert_allclose(laid_on(final, shown), sitk.GetArrayFromImage(final), atol=1e-6)


def test_the_command_of_a_gradient_run_asks_the_same_again(a_question):
    request = replace(
        a_question, method="xrai", removal="references", reference_cts=("a.nrrd", "b.nrrd"), xrai_fast=True, noise=0.2
    )
    words = command_of(request)
    assert "--reference-ct a.nrrd --reference-ct b.nrrd" in words
    assert "--xrai-fast" in words.split()
    assert "--noise 0.2" in words


def test_a_gradient_question_is_forecast_by_its_gradients(a_question):
    asked = [replace(a_question, method=method, budget=0, tolerance=0.05) for method in ("saliency", "smoothgrad")]
    once, often = (preview(json.loads(one.to_json()), progress=Progress(), warm=WarmState()) for one in asked)
    assert (once["budget"], often["budget"]) == (1, 50)
    assert once["least_s"] < often["least_s"] < often["most_s"]


@pytest.mark.parametrize("method", ["saliency", "input-x-gradient", "guided-backprop", "seg-grad-cam"])
def test_a_method_of_one_gradient_has_a_budget_of_one_whatever_was_allowed(method, a_question):
    assert with_budget(replace(a_question, method=method, budget=500), 9).budget == 1


@pytest.mark.parametrize(("removal", "least"), [("air", 33), ("black-white", 65)])
def test_every_path_is_halved_once_before_it_can_have_settled(removal, least, a_question):
    request = replace(a_question, method="integrated-gradients", budget=0, tolerance=0.05, removal=removal)
    assert gradients_least_and_most(with_budget(request, 9)) == (least, 129 if removal == "air" else 258)


def test_nothing_holds_the_sums_of_a_run_that_has_ended(a_question, tmp_path, monkeypatch):
    """A warm worker lives on: what refers to itself would stay until the collector comes by."""
    records = []
    opened = gradient_run.GradientRecord
    monkeypatch.setattr(
        gradient_run, "GradientRecord", lambda *parts: records.append(weakref.ref(it := opened(*parts))) or it
    )
    gc.disable()
    try:
        explain(replace(a_question, method="smoothgrad", budget=2), tmp_path / "out", warm=WarmState())
        assert [record() for record in records] == [None]
    finally:
        gc.enable()


def test_black_and_white_are_the_mean_of_two_paths(a_question, tmp_path):
    request = replace(a_question, method="integrated-gradients", budget=33, tolerance=0.0, removal="black-white")
    both = explain(request, tmp_path / "both")
    assert both.request["budget"] == 33
    dark = explain(replace(request, removal="air", budget=17), tmp_path / "dark")
    question = prepared_question(request, Progress())
    black, white = baselines_for(request, question, Progress()).images
    is_unit = question.partition.labels > 0
    assert black[:, is_unit].max() < white[:, is_unit].min()
    assert both.estimate["empty_value"] != dark.estimate["empty_value"]


def test_the_old_request_of_a_results_folder_is_still_read():
    given = {"ct": "a", "model": "b", "target": "c", "roi": "ijk:0,1,0,1,0,1", "method": "kernel-shap"}
    assert ExplainRequest.from_mapping(given).noise == 0.1


def test_a_path_from_a_counterfactual_ends_where_the_target_is_least(a_question, tmp_path, monkeypatch):
    monkeypatch.setattr("SegExplainLib.baselines.counterfactual_input", partial(counterfactual_input, n_steps=4))
    request = replace(a_question, method="integrated-gradients", budget=9, removal="counterfactual")
    progress = Progress()
    manifest = explain(request, tmp_path / "out", progress=progress)
    full, empty = manifest.estimate["full_value"], manifest.estimate["empty_value"]
    assert empty < full
    assert manifest.counts["counterfactual_steps"] == 4
    # The value is the class's volume in the region, which is what the search makes small.
    assert manifest.counts["counterfactual_validity_share"] == pytest.approx(1 - empty / full, abs=0.02)
    assert any("not free of what is to be explained" in warning for warning in progress.warnings)
