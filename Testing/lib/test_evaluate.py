"""Finished results judged by the game that they were made from, and by a mask."""

import csv
import gc
import hashlib
import json
import re
import shutil
import weakref
from dataclasses import replace

import nrrd
import numpy as np
import pytest
import torch
from games import AdditiveGame
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from SegExplainLib.baselines import baselines_for
from SegExplainLib.cli import app
from SegExplainLib.contract import Cancelled, ExplainRequest, InvalidRequest, ResultManifest
from SegExplainLib.demo import demo_model_folder
from SegExplainLib.evaluate import evaluate
from SegExplainLib.evaluation.agreement import agreement
from SegExplainLib.evaluation.bounds import aopc_bounds, naopc
from SegExplainLib.evaluation.plan import LADDER, planned
from SegExplainLib.evaluation.random_orders import random_orders
from SegExplainLib.evaluation.remembered_game import RememberedGame
from SegExplainLib.evaluation.unit_curves import unit_faithfulness
from SegExplainLib.evaluation.unit_scores import curve_coalitions, curve_orders, unit_scores, yardsticks
from SegExplainLib.evaluation.unit_subsets import faithfulness_correlation, infidelity
from SegExplainLib.evaluation.voxel_bins import random_bins, ranked_bins
from SegExplainLib.evaluation.voxel_scores import most_coalitions
from SegExplainLib.game import RegionGame, TallyTable
from SegExplainLib.game_record import GameRecord
from SegExplainLib.images.file import read_scalar_image
from SegExplainLib.organ_map import OrganMap, write_organ_map
from SegExplainLib.pipeline import explain, revalue
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.progress import Progress
from SegExplainLib.question import open_game, prepared_question, tallier_for
from SegExplainLib.question_keys import QuestionKeys
from SegExplainLib.target import TargetScore
from SegExplainLib.volume import Volume, resampled_linear, resampled_nearest
from SegExplainLib.volume_io import read_ct, write_nrrd
from SegExplainLib.voxel_games import VoxelGames
from SegExplainLib.warm import WarmState

TARGET = "kidney_right"


@pytest.fixture(scope="module")
def a_five_unit_question(a_question_of_few_units, tmp_path_factory):
    """Four organs and the rest of the body; CT and model are copies, which a test may spoil."""
    folder, asked = tmp_path_factory.mktemp("five units"), a_question_of_few_units("spine", "liver", TARGET, "aorta")
    shutil.copy(asked.ct, folder / "ct.nrrd")
    shutil.copytree(demo_model_folder(), folder / "model")
    return replace(asked, ct=str(folder / "ct.nrrd"), model=str(folder / "model"), roi=f"segment:{TARGET}")


@pytest.fixture(scope="module")
def two_results(a_five_unit_question, tmp_path_factory):
    """Folders of exact Shapley values and of Seg-Grad-CAM."""
    folder = tmp_path_factory.mktemp("two results")
    explain(a_five_unit_question, folder / "shap")
    explain(replace(a_five_unit_question, method="seg-grad-cam"), folder / "cam")
    return [folder / "shap", folder / "cam"]


@pytest.fixture(scope="module")
def an_evaluation(two_results, tmp_path_factory):
    """(folder, evaluation) of both."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    return out, evaluate(two_results, out, seed=3, voxel_steps=6)


@pytest.fixture(scope="module")
def the_game(a_five_unit_question):
    """The same game, opened and played without any of the results."""
    progress, warm = Progress(), WarmState()
    question = prepared_question(a_five_unit_question, progress, warm=warm)
    absent = baselines_for(a_five_unit_question, question, progress).images[0]
    game = open_game(a_five_unit_question, question, absent, warm, progress)
    score = TargetScore("soft-volume", question.partition.grid.voxel_volume_ml)
    played = RegionGame(game.record.table, [(game.record.channel_of(TARGET), score)], tallier=game.tallier)
    return RememberedGame(played), question.partition


@pytest.fixture
def a_copy(two_results, tmp_path):
    """A copy of the Shapley result that a test may spoil."""
    return shutil.copytree(two_results[0], tmp_path / "copy")


def reseal(folder):
    """Makes the manifest vouch for the files as they are."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    path.write_text(json.dumps(manifest))


def units_column(folder, column):
    with (folder / "players.csv").open(encoding="utf-8") as file:
        return np.array([float(row[column]) for row in csv.DictReader(file)])


def csv_rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sitk_volume(path):
    return read_scalar_image(path, warn=lambda message: None)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_number_is_that_of_the_pure_functions_on_a_game_opened_anew(an_evaluation, two_results, the_game):
    game, partition = the_game
    volumes = partition.volumes_ml
    amounts = [units_column(two_results[0], "value"), units_column(two_results[1], "value") * volumes]
    *_, random = random_orders(game, volumes_ml=volumes, n_orders=99, seed=3)
    bounds = {axis: aopc_bounds(game, volumes_ml=volumes, axis=axis) for axis in ("units", "volume")}
    for result, values in zip(an_evaluation[1].results, amounts, strict=True):
        for by, axis in (("value", "units"), ("value-per-ml", "volume")):
            expected = unit_faithfulness(game, values, volumes_ml=volumes, by=by, seed=3)
            found = result.units.curves[by]
            assert found.most_first.order == expected.most_first.order
            np.testing.assert_allclose(found.most_first.values, expected.most_first.values, rtol=1e-6)
            np.testing.assert_allclose(found.least_first.values, expected.least_first.values, rtol=1e-6)
            metrics = {metric.name: metric.value for metric in result.metrics[f"order by {by}"]}
            for one in expected.metrics:
                assert metrics[one.name] == pytest.approx(one.value, rel=1e-6, abs=1e-9)
            area = next(one.value for one in expected.metrics if one.name == f"abpc-{axis}")
            assert metrics[f"abpc-{axis}-percentile"] == random.percentile(f"abpc-{axis}", area).value
            assert metrics[f"abpc-{axis}-p-value"] == random.p_value(f"abpc-{axis}", area).value
            assert metrics[f"naopc-{axis}"] == pytest.approx(naopc(expected.most_first, bounds[axis]).value, abs=1e-6)
        subsets = {metric.name: metric.value for metric in result.metrics["subsets"]}
        correlation = faithfulness_correlation(game, values, seed=3, n_subsets=100)
        assert subsets["faithfulness-correlation"] == pytest.approx(correlation.value, rel=1e-6)
        *_, scaled = infidelity(game, values, seed=3, n_subsets=100)
        assert subsets["infidelity-scaled"] == pytest.approx(scaled.value, rel=1e-5)


def test_voxel_curves_are_those_of_a_game_of_voxels_opened_anew(an_evaluation, two_results, a_five_unit_question):
    progress, warm = Progress(), WarmState()
    question = prepared_question(a_five_unit_question, progress, warm=warm)
    absent = baselines_for(a_five_unit_question, question, progress).images[0]
    grid, labels = question.partition.grid, question.partition.labels
    shown = sitk_volume(two_results[1] / "attribution.nrrd")
    amounts = np.where(labels > 0, resampled_linear(shown, grid), 0)
    bins = ranked_bins(amounts, within=labels > 0, by="value", n_bins=6, seed=3)
    names = tuple(f"sixth {n}" for n in range(1, 7))
    tallier = tallier_for(
        a_five_unit_question,
        question.case,
        PlayerPartition(bins, grid, names, "fcc"),
        absent,
        question.segmenter,
        progress,
    )
    target = next(entry for entry in question.segmenter.classes if entry.name == TARGET)
    score = TargetScore("soft-volume", grid.voxel_volume_ml)
    game = RegionGame(TallyTable(6, question.segmenter.n_channels), [(target.channel, score)], tallier=tallier)
    present = np.tri(7, 6, -1, dtype=bool)[::-1, ::-1]  # the first sixth goes first
    found = an_evaluation[1].results[1].voxels
    assert found.curves["value"].most_first.values == pytest.approx(game(present)[:, 0], rel=1e-5)
    assert found.curves["value"].least_first.values == pytest.approx(game(present[:, ::-1])[:, 0], rel=1e-5)
    most, least = game(present)[:, 0], game(present[:, ::-1])[:, 0]
    area = np.trapezoid(least, dx=1 / 6) - np.trapezoid(most, dx=1 / 6)
    span = most[0] - most[-1]
    metrics = {metric.name: metric.value for metric in found.metrics}
    assert metrics["fidelity-value-relative"] == pytest.approx(area / abs(span), abs=0.01)
    assert "random voxels" in {row["result"] for row in csv_rows(an_evaluation[0] / "evaluation.csv")}


def test_agreement_is_that_of_the_files_on_the_ct_s_grid(an_evaluation, two_results, a_five_unit_question):
    ct = read_ct(a_five_unit_question.ct)
    record = GameRecord.load(two_results[0] / "coalitions.npz")
    on_network = record.painted_on_roi(record.own_prediction[record.channel_of(TARGET)])
    predicted = resampled_nearest(Volume(on_network, record.partition.grid), ct.grid)
    for folder, result in zip(two_results, an_evaluation[1].results, strict=True):
        shown = nrrd.read(str(folder / "attribution.nrrd"), index_order="C")[0]
        units = nrrd.read(str(folder / "players.seg.nrrd"), index_order="C")[0] > 0
        expected = agreement(Volume(shown, ct.grid), Volume(predicted, ct.grid), within=units)
        metrics = {metric.name: metric for metric in result.metrics["agreement with the mask"]}
        assert metrics["ROC-AUC"] == expected.roc_auc
        assert metrics["average precision"] == expected.average_precision
        assert metrics["pointing accuracy"] == expected.pointing
        positive = np.where(units, np.maximum(shown, 0), 0)
        if folder.name == "shap":  # the value of a unit stands at each of its voxels: share it out among them
            labels = nrrd.read(str(folder / "players.seg.nrrd"), index_order="C")[0]
            positive = positive / np.bincount(labels.ravel())[labels]
        share = positive[predicted & units].sum() / positive.sum()
        assert metrics["positive mass in the mask"].value == pytest.approx(share, rel=1e-4)


def test_shapley_values_beat_random_orders_and_lie_near_the_best_one(an_evaluation):
    shap, cam = an_evaluation[1].results
    assert shap.metric("order by value", "abpc-units-p-value").value <= 0.05
    assert shap.metric("order by value", "naopc-units").value > 0.9
    assert shap.metric("order by value-per-ml", "naopc-volume").value > 0.9
    assert shap.metric("subsets", "infidelity-scaled").value < cam.metric("subsets", "infidelity-scaled").value
    assert cam.metric("subsets", "infidelity").why_undefined


def run_contents(folder):
    """Files that an evaluation has no business with."""
    told = ("manifest.json", "report.html", "evaluation.csv", "evaluation.png")
    return {name: held for name, held in contents(folder).items() if name not in told}


def test_what_is_known_asks_the_network_for_nothing_and_the_run_s_files_stay_as_they_are(
    two_results, an_evaluation, tmp_path
):
    before = [run_contents(folder) for folder in two_results]
    plans, warm = [], WarmState()
    again = evaluate(two_results, tmp_path / "again", seed=3, voxel_steps=0, warm=warm, on_plan=plans.append)
    assert (again.n_known, again.n_new) == (32, 0)
    assert again.counts["n_network_tiles"] == again.counts["n_unperturbed_tiles"]
    assert len(plans) == 1
    assert "not asked" in plans[0]
    assert [run_contents(folder) for folder in two_results] == before
    assert again.results == tuple(replace(result, voxels=None) for result in an_evaluation[1].results)
    for folder, result in zip(two_results, again.results, strict=True):
        told = ResultManifest.read(folder).evaluation
        assert told["folder"] == "again"
        assert (
            told["metrics"]["order by value"]["aopc-units"]["value"]
            == result.metric("order by value", "aopc-units").value
        )
        assert "be trusted?" in (folder / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "again" / "unit_coalitions.npz").exists()
    keys = QuestionKeys.of(ExplainRequest.from_mapping(ResultManifest.read(two_results[0]).request))
    assert warm.at_hand(keys.model) is not None
    assert warm.at_hand(keys.ct) is not None
    assert warm.at_hand(keys.game) is None  # its units are those of the record


def test_the_folder_holds_tables_curves_sentences_and_says_what_it_does_not(an_evaluation):
    out, evaluation = an_evaluation
    names = {"evaluation.csv", "evaluation.json", "evaluation.md", "evaluation.png", "evaluation_masses.csv"}
    assert {path.name for path in out.iterdir()} == names
    whole = json.loads((out / "evaluation.json").read_text())
    with (out / "evaluation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert bool(row["value"]) != bool(row["why_undefined"]), row
    in_json = whole["results"][0]["units"]["metrics"]["order by value"][0]
    assert float(rows[0]["value"]) == in_json["value"] == evaluation.results[0].metrics["order by value"][0].value
    assert {row["result"] for row in rows} == {"exact", "seg-grad-cam", "random voxels", "largest unit first"}
    text = (out / "evaluation.md").read_text(encoding="utf-8")
    assert "need not agree with anatomy" in text
    assert "Stability was not measured here" in text
    assert "exact: more faithful than chance" in text
    assert "“air” (that of exact)" in text
    with (out / "evaluation_masses.csv").open(encoding="utf-8") as file:
        masses = [
            row
            for row in csv.DictReader(file)
            if (row["result"], row["of"], row["sign"]) == ("exact", "units", "positive")
        ]
    assert len(masses) == 5
    assert sum(float(row["mass"]) for row in masses) == pytest.approx(1.0)
    picture = np.asarray(Image.open(out / "evaluation.png").convert("RGB"))
    assert picture.shape[0] > 1000
    assert (
        np.abs(picture.astype(int) - (215, 48, 31)).sum(axis=-1) < 12
    ).sum() > 1000  # the red of most important first


def test_another_removal_is_another_game_whose_evaluation_can_be_stopped_and_gone_on_with(two_results, tmp_path):
    progress, out = Progress(), tmp_path / "out"
    progress.listener = lambda event: progress.cancel() if event.event == "progress" and event.tiles else None
    with pytest.raises(Cancelled) as stopped:
        evaluate(two_results[:1], out, removal="mean", budget=20, progress=progress)
    assert "kept" in stopped.value.hint
    n_kept = len(GameRecord.load(out / "unit_coalitions.npz").table)
    assert not (out / "evaluation.json").exists()
    found = evaluate(two_results[:1], out, removal="mean", budget=10)
    assert (out / "evaluation.json").exists()
    assert found.n_known == n_kept > 1
    assert 0 < found.n_new <= found.sticks.plan.n_new_most <= 10
    assert (found.removal, found.removal_from) == ("mean", "as asked for")
    assert not found.sticks.bounds
    assert "new coalitions" in found.results[0].metric("order by value", "naopc-units").why_undefined


def test_stopped_over_voxels_it_goes_on_where_it_was(two_results, tmp_path):
    progress, out = Progress(), tmp_path / "out"

    def stop(event):
        if event.event == "progress" and event.stage == "evaluate voxels":
            progress.cancel()

    progress.listener = stop
    with pytest.raises(Cancelled) as stopped:
        evaluate(two_results, out, voxel_steps=3, seed=1, progress=progress)
    assert "kept" in stopped.value.hint
    assert [path.name for path in out.iterdir()] == ["voxel_coalitions.npz"]
    whole = evaluate(two_results, tmp_path / "whole", voxel_steps=3, seed=1)
    plans = []
    found = evaluate(two_results, out, voxel_steps=3, seed=1, on_plan=plans.append)
    assert 0 < found.n_voxels < whole.n_voxels <= most_coalitions(2, n_steps=3)
    assert f"Kept from an earlier evaluation: {whole.n_voxels - found.n_voxels}," in plans[1]
    for curves in (*found.results[1].voxels.curves.values(), found.voxel_sticks.random):
        ends = found.results[1].units.curves["value"].most_first  # all present and all absent: those of the units
        assert curves.most_first.values[0] == ends.values[0]
        assert curves.least_first.values[-1] == ends.values[-1]
    for one, other in zip(found.results, whole.results, strict=True):
        values, expected = (
            {m.name: m.value for m in scores.voxels.metrics if m.value is not None} for scores in (one, other)
        )
        assert values == pytest.approx(expected, rel=1e-5)
    assert not (out / "voxel_coalitions.npz").exists()


def test_who_stops_it_while_the_results_are_told_can_go_on(a_copy, tmp_path, monkeypatch):
    out, asked = tmp_path / "out", {"voxel_steps": 0, "removal": "mean", "budget": 20}

    def interrupted(*_given, **_named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("SegExplainLib.evaluate.tell_results", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate([a_copy], out, **asked)
    assert sorted(path.name for path in out.iterdir()) == ["unit_coalitions.npz"]
    assert evaluate([a_copy], out, **asked).n_new == 0
    assert ResultManifest.read(a_copy).evaluation["removal"] == "mean"


def test_games_of_voxels_keep_answers_and_one_volume_of_groups(a_five_unit_question):
    progress, warm = Progress(), WarmState()
    question = prepared_question(a_five_unit_question, progress, warm=warm)
    absent = baselines_for(a_five_unit_question, question, progress).images[0]
    opened = open_game(a_five_unit_question, question, absent, warm, progress)
    blocks = []
    asked = TARGET, TargetScore("soft-volume", question.partition.grid.voxel_volume_ml)
    games = VoxelGames(opened, asked, lambda: blocks.append(1))
    within = question.partition.labels > 0
    bins = [random_bins(within, n_bins=3, seed=seed) for seed in (0, 1)]
    without_first = np.array([[False, True, True]])
    number = games(bins[0])(without_first)
    forgotten = weakref.ref(games(bins[0]))
    assert games(bins[0]) is forgotten()
    games(bins[1])
    gc.collect()
    assert forgotten() is None
    n_blocks = len(blocks)
    assert games(bins[0])(without_first) == number
    assert (len(blocks), games.n_coalitions) == (n_blocks, 1)


def test_what_was_kept_for_another_removal_is_refused_and_left_alone(two_results, tmp_path):
    progress, out = Progress(), tmp_path / "out"
    progress.listener = lambda event: progress.cancel() if event.stage == "evaluate voxels" and event.tiles else None
    with pytest.raises(Cancelled):
        evaluate(two_results, out, voxel_steps=3, progress=progress)
    before = contents(out)
    with pytest.raises(InvalidRequest, match="the removal"):
        evaluate(two_results, out, voxel_steps=3, removal="mean")
    assert contents(out) == before


def test_stability_is_measured_when_asked_told_in_words_and_gone_on_with(two_results, tmp_path):
    progress, out = Progress(), tmp_path / "out"

    def stop(event):
        if event.event == "progress" and event.stage == "measure stability" and event.done > 70:
            progress.cancel()

    progress.listener = stop
    asked = {"stability": ("noise",), "n_repeats": 2, "voxel_steps": 0, "seed": 3}
    plans = []
    with pytest.raises(Cancelled) as stopped:
        evaluate(two_results[:1], out, **asked, progress=progress, on_plan=plans.append)
    assert "goes on" in stopped.value.hint
    assert (out / "reruns.json").exists()
    assert "under noise" in plans[-1]
    found = evaluate(two_results[:1], out, **asked)
    assert sorted(path.name for path in out.iterdir())[-1] == "evaluation_masses.csv"  # nothing kept any longer
    (shap,) = found.results
    assert set(shap.stability.metrics) == {"under noise"}
    assert shap.metric("under noise", "avg-sensitivity").value < 1.0
    text = (out / "evaluation.md").read_text(encoding="utf-8")
    assert "noise of up to 20 HU changes it by" in text
    assert "Stability was not measured" not in text
    with pytest.raises(InvalidRequest, match="no kind 'nose'"):
        evaluate(two_results[:1], tmp_path / "other", stability=("nose",))


def test_units_alone_have_no_curves_over_voxels_and_say_why(two_results, tmp_path):
    found = evaluate(two_results[:1], tmp_path / "out")
    assert found.results[0].voxels is None
    assert "tells the voxels of a unit apart" in found.why_no_voxels
    with pytest.raises(InvalidRequest, match="2 steps"):
        evaluate(two_results[:1], tmp_path / "other", voxel_steps=1)


def test_the_command_tells_a_table_and_sentences_and_refuses_to_overwrite(two_results, tmp_path):
    words = ["evaluate", *map(str, two_results), "--out", str(tmp_path / "out"), "--seed", "3", "--voxel-steps", "0"]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, words)
    spoken = re.sub(r"\s+", " ", result.output)
    assert result.exit_code == 0, spoken
    for word in ("seg-grad-cam", "Faithfulness correlation", "more faithful than chance", "need not agree"):
        assert word in spoken
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 1
    assert "already holds an evaluation" in re.sub(r"\s+", " ", again.output + again.stderr)


def test_results_that_no_one_game_can_judge_are_refused(two_results, the_answer, tmp_path):
    with pytest.raises(InvalidRequest, match="the units"):
        evaluate([two_results[0], the_answer[0]], tmp_path / "out")
    with pytest.raises(InvalidRequest, match="given twice"):
        evaluate([two_results[0], two_results[0]], tmp_path / "out")
    with pytest.raises(InvalidRequest, match="not a finished results folder"):
        evaluate([tmp_path], tmp_path / "out")
    with pytest.raises(InvalidRequest, match="one by one"):
        evaluate(two_results, tmp_path / "out", removal="black-white")
    revalue(two_results[0], tmp_path / "logit", target=TARGET, value="mean-logit")
    with pytest.raises(InvalidRequest, match="explains mean-logit"):
        evaluate([two_results[0], tmp_path / "logit"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_result_or_a_stopped_run_loses_nothing(two_results, a_copy, tmp_path):
    before = contents(a_copy)
    for results in (two_results, [a_copy]):
        with pytest.raises(InvalidRequest, match="holds a result"):
            evaluate(results, a_copy)
    assert contents(a_copy) == before
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    shutil.copy(a_copy / "coalitions.npz", stopped)
    evaluate([a_copy], stopped, voxel_steps=0)
    assert (stopped / "coalitions.npz").read_bytes() == before["coalitions.npz"]
    with pytest.raises(InvalidRequest, match="must be 0 or more"):
        evaluate([a_copy], tmp_path / "out", seed=-1)


def test_one_unit_alone_is_refused(a_five_unit_question, tmp_path):
    ct = read_ct(a_five_unit_question.ct)
    body = OrganMap(Volume(np.ones(ct.array.shape, np.int32), ct.grid), {1: "body"})
    write_organ_map(body, tmp_path / "organs.nrrd")
    change = {"organs": str(tmp_path / "organs.nrrd"), "roi": "ijk:20,32,29,41,14,26", "method": "seg-grad-cam"}
    explain(replace(a_five_unit_question, **change), tmp_path / "one")
    with pytest.raises(InvalidRequest, match="one unit only"):
        evaluate([tmp_path / "one"], tmp_path / "out")


def test_a_changed_file_ct_or_model_is_refused(two_results, a_copy, a_five_unit_question, tmp_path):
    table = (a_copy / "players.csv").read_text()
    (a_copy / "players.csv").write_text(table.replace("liver", "River"))
    with pytest.raises(InvalidRequest, match="csv has been changed"):
        evaluate([a_copy], tmp_path / "out")
    ct = read_ct(a_five_unit_question.ct)
    try:
        write_nrrd(Volume(ct.array + np.int16(1), ct.grid), a_five_unit_question.ct)
        with pytest.raises(InvalidRequest, match="no longer the CT"):
            evaluate(two_results, tmp_path / "out")
    finally:
        write_nrrd(ct, a_five_unit_question.ct)
    (weights,) = (path for path in (demo_model_folder() / "models").iterdir())
    state = torch.load(weights, weights_only=True, map_location="cpu")
    first = next(name for name, value in state.items() if value.is_floating_point())
    changed = a_five_unit_question.model + "/models/" + weights.name
    try:
        torch.save(state | {first: state[first] + 0.01}, changed)
        with pytest.raises(InvalidRequest, match="the model"):
            evaluate(two_results, tmp_path / "out")
    finally:
        shutil.copy(weights, changed)
    assert not (tmp_path / "out").exists()


def test_a_mask_without_a_voxel_is_refused_and_one_with_all_leaves_agreement_undefined(
    two_results, a_five_unit_question, tmp_path
):
    ct, progress = read_ct(a_five_unit_question.ct), Progress()
    write_nrrd(Volume(np.zeros(ct.array.shape, np.uint8), ct.grid), tmp_path / "empty.nrrd")
    with pytest.raises(InvalidRequest, match="is empty"):
        evaluate(two_results, tmp_path / "out", mask=str(tmp_path / "empty.nrrd"), progress=progress)
    assert "evaluate coalitions" not in progress.timings_s
    write_nrrd(Volume(np.ones(ct.array.shape, np.uint8), ct.grid), tmp_path / "full.nrrd")
    found = evaluate(two_results, tmp_path / "out", mask=str(tmp_path / "full.nrrd"), voxel_steps=0)
    for name in ("ROC-AUC", "positive mass in the mask"):
        assert "Every voxel" in found.results[0].metric("agreement with the mask", name).why_undefined
    assert "the mask full.nrrd is undefined" in (tmp_path / "out" / "evaluation.md").read_text(encoding="utf-8")


def test_equal_values_rank_nothing_and_say_so(a_copy, tmp_path):
    with (a_copy / "players.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (a_copy / "players.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"value": 1.5} for row in rows)
    reseal(a_copy)
    (flat,) = evaluate([a_copy], tmp_path / "out").results
    for name in ("aopc-units", "abpc-units-percentile", "abpc-units-p-value", "naopc-units"):
        assert "nothing to rank" in flat.metric("order by value", name).why_undefined
    assert flat.metric("order by value-per-ml", "abpc-volume").value is not None  # volumes differ
    assert "equal" in flat.metric("agreement with the mask", "ROC-AUC").why_undefined


@given(
    n_units=st.integers(2, 40),
    budget=st.sampled_from([0, 90, 700, 5000]),
    n_curves=st.integers(0, 60),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_who_goes_on_gets_the_plan_of_who_was_not_stopped(n_units, budget, n_curves, shares):
    n_unknown = 2**n_units
    n_curves = min(n_curves, n_unknown)
    whole = planned(n_units=n_units, n_curves=n_curves, n_unknown=n_unknown, budget=budget)
    n_curves_kept = int(shares[0] * n_curves)
    n_kept = n_curves_kept + int(shares[1] * (whole.n_new_most - n_curves)) * (n_curves_kept == n_curves)
    kept = {"n_kept": n_kept, "n_curves_kept": n_curves_kept}
    rest = planned(n_units=n_units, n_curves=n_curves, n_unknown=n_unknown, budget=budget, **kept)
    assert replace(rest, n_kept=0, n_new_most=whole.n_new_most) == whole
    assert rest.n_new_most >= whole.n_new_most - n_kept
    assert rest.n_new_most + n_curves_kept <= whole.n_new_most


@pytest.mark.parametrize("n_units", [2, 3, 7, 13, 24])
@pytest.mark.parametrize("budget", [0, 60, 400, 3000])
def test_a_plan_never_asks_for_more_than_it_tells(n_units, budget):
    rng = np.random.default_rng(n_units)
    game, volumes = AdditiveGame(rng.normal(size=n_units)), rng.random(n_units) + 0.5
    amounts = [rng.normal(size=n_units)]
    orders = curve_orders(amounts, volumes, seed=0)
    n_curves = len(curve_coalitions(orders))
    if budget and n_curves > budget:
        with pytest.raises(InvalidRequest, match="curves alone"):
            planned(n_units=n_units, n_curves=n_curves, n_unknown=2**n_units, budget=budget)
        return
    plan = planned(n_units=n_units, n_curves=n_curves, n_unknown=2**n_units, budget=budget)
    memory = RememberedGame(game)
    sticks = yardsticks(memory, orders, volumes_ml=volumes, plan=plan, seed=0)
    unit_scores(memory, amounts[0], sticks)
    assert game.n_evaluations <= plan.n_new_most <= plan.budget
    assert (plan.n_orders, plan.n_subsets) in {rung[:2] for rung in LADDER}
    assert budget or plan.n_orders >= 19


def test_an_additive_game_gives_its_own_weights_perfect_marks():
    weights, volumes = np.array([5.0, -1.0, 3.0, 0.5, 2.0, 0.1]), np.arange(1.0, 7.0)
    memory = RememberedGame(AdditiveGame(weights))
    orders = curve_orders([weights], volumes, seed=0)
    plan = planned(n_units=6, n_curves=len(curve_coalitions(orders)), n_unknown=64)
    scores = unit_scores(memory, weights, yardsticks(memory, orders, volumes_ml=volumes, plan=plan, seed=0))
    of = {metric.name: metric.value for metrics in scores.metrics.values() for metric in metrics}
    assert of["naopc-units"] == of["naopc-volume"] == pytest.approx(1.0)
    assert of["faithfulness-correlation"] == of["sensitivity-n-mean"] == pytest.approx(1.0)
    assert of["infidelity"] == pytest.approx(0.0, abs=1e-12)
