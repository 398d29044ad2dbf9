import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from SegExplainLib import pipeline, question
from SegExplainLib.contract import Cancelled, ExplainRequest, InvalidRequest, ResultManifest
from SegExplainLib.demo import demo_model_folder
from SegExplainLib.game_record import GameRecord
from SegExplainLib.job_folder import run_job
from SegExplainLib.pipeline import explain, predict, revalue
from SegExplainLib.progress import Progress
from SegExplainLib.report.shap_export import shap_explanation
from SegExplainLib.results_folder import read_attribution

FILES = {
    "answers.csv",
    "attribution.nrrd",
    "coalitions.npz",
    "map_axial.png",
    "map_coronal.png",
    "map_sagittal.png",
    "players.csv",
    "players.seg.nrrd",
    "ranking.png",
    "report.html",
}


def players_of(folder):
    with (folder / "players.csv").open(encoding="utf-8") as file:
        return {row["name"]: float(row["value"]) for row in csv.DictReader(file)}


def test_the_folder_holds_every_file_with_the_checksum_that_the_manifest_tells(the_answer):
    out, manifest, _ = the_answer
    assert {file.name for file in out.iterdir()} == FILES | {"manifest.json"}
    for name, digest in manifest.files.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert json.loads(ResultManifest.read(out).to_json()) == json.loads(manifest.to_json())


def test_the_importances_add_up_to_the_difference_of_the_two_ends(the_answer):
    out, manifest, _ = the_answer
    ends = manifest.estimate
    assert sum(players_of(out).values()) == pytest.approx(ends["full_value"] - ends["empty_value"], abs=1e-6)
    assert ends["full_value"] != pytest.approx(ends["empty_value"], rel=0.05)


def test_the_voxel_map_lies_on_the_cts_grid_and_carries_the_units_values(the_answer, a_question):
    out, _, _ = the_answer
    ct, painted = sitk.ReadImage(a_question.ct), sitk.ReadImage(str(out / "attribution.nrrd"))
    assert ct.GetSize() == painted.GetSize()
    np.testing.assert_allclose(ct.GetOrigin(), painted.GetOrigin())
    np.testing.assert_allclose(ct.GetDirection(), painted.GetDirection())
    organs, _ = nrrd.read(a_question.organs, index_order="C")
    names = json.loads(Path(a_question.organs).with_suffix(".json").read_text())
    label = next(int(key) for key, name in names.items() if name == "liver")
    values = np.unique(sitk.GetArrayFromImage(painted)[organs == label])
    assert set(np.round(values, 5)) <= {0.0, np.round(np.float32(players_of(out)["liver"]), 5)}
    assert len(values) >= 1


def test_a_finished_folder_can_be_read_back_for_shaps_plots(the_answer):
    out, manifest, _ = the_answer
    attribution = read_attribution(out)
    explanation = shap_explanation(attribution)
    np.testing.assert_array_equal(explanation.values, list(players_of(out).values()))
    assert explanation.base_values == manifest.estimate["empty_value"]
    assert attribution.unit == "ml"


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(a_question, the_answer, tmp_path):
    again = explain(a_question, tmp_path / "again")
    other = explain(replace(a_question, seed=1), tmp_path / "other")
    assert again.files["players.csv"] == the_answer[1].files["players.csv"]
    assert other.files["players.csv"] != the_answer[1].files["players.csv"]


def test_another_class_and_value_come_from_the_same_run_without_the_network(the_answer, tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(pipeline, "load_segmenter", no_network)
    monkeypatch.setattr(question, "load_segmenter", no_network)
    out, manifest, _ = the_answer
    same = revalue(out, tmp_path / "same", target="kidney_right", value="soft-volume")
    assert players_of(tmp_path / "same") == players_of(out)
    assert same.estimate == manifest.estimate
    other = revalue(out, tmp_path / "other", target="kidney_right", value="dice")
    assert other.estimate["full_value"] == 1.0
    values = players_of(tmp_path / "other")
    assert max(values, key=values.get) == "kidney_right"


def test_a_cancelled_run_keeps_what_it_has_and_goes_on_to_the_same_answer(a_question, the_answer, tmp_path):
    out = tmp_path / "stopped"
    progress = Progress()
    progress.listener = lambda event: event.done >= 10 and progress.cancel()
    with pytest.raises(Cancelled, match="stopped"):
        explain(a_question, out, progress=progress)
    assert {file.name for file in out.iterdir()} == {"coalitions.npz"}
    n_kept = len(GameRecord.load(out / "coalitions.npz").table)
    assert 10 <= n_kept < 40
    with pytest.raises(InvalidRequest, match="interrupted"):
        explain(a_question, out)
    with pytest.raises(InvalidRequest, match="the removal differ"):
        explain(replace(a_question, removal="mean"), out, resume=True)
    manifest = explain(a_question, out, resume=True)
    # Tiles meet in other batches after a resumption, which moves the last digits of float32.
    assert players_of(out) == pytest.approx(players_of(the_answer[0]), abs=1e-4)
    assert manifest.counts["n_coalitions"] == len(GameRecord.load(out / "coalitions.npz").table) - n_kept


def test_finished_results_are_never_overwritten(a_question, the_answer):
    for resume in (False, True):
        with pytest.raises(InvalidRequest, match="already holds"):
            explain(a_question, the_answer[0], resume=resume)


def test_a_job_folder_is_served_with_relative_paths_and_tells_its_events(a_question, a_small_torso, tmp_path):
    job = tmp_path / "job"
    (job / "inputs").mkdir(parents=True)
    for name in ("ct.nrrd", "organs.nrrd", "organs.json"):
        (job / "inputs" / name).write_bytes((a_small_torso / name).read_bytes())
    mask = sitk.ReadImage(a_question.organs) == 5
    sitk.WriteImage(mask, str(job / "inputs" / "roi.nrrd"))
    request = replace(a_question, ct="inputs/ct.nrrd", organs="inputs/organs.nrrd", target="liver")
    request = replace(request, roi="mask:inputs/roi.nrrd")
    (job / "request.json").write_text(replace(request, budget=36).to_json())
    run_job(job)
    events = [json.loads(line) for line in (job / "events.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert {"stage", "progress"} <= set(kinds)
    assert (job / "results" / "manifest.json").exists()


def test_a_failed_job_tells_why(tmp_path):
    (tmp_path / "request.json").write_text(
        json.dumps({"ct": "none.nrrd", "model": str(demo_model_folder()), "target": "liver", "roi": "ijk:0,1,0,1,0,1"})
    )
    with pytest.raises(InvalidRequest):
        run_job(tmp_path)
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "failed"
    assert "none.nrrd" in last["message"]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("method", ["kernel-shap", "permutation", "shap", "captum"])
def test_every_method_leaves_results_that_add_up(a_question, tmp_path, method):
    manifest = explain(replace(a_question, method=method, budget=46), tmp_path / "out")
    ends = manifest.estimate
    # captum holds the sum by a large weight only
    gap = sum(players_of(tmp_path / "out").values()) - (ends["full_value"] - ends["empty_value"])
    assert abs(gap) < 1e-3 * abs(ends["full_value"])
    json.loads((tmp_path / "out" / "manifest.json").read_text(), parse_constant=pytest.fail)


def test_a_reference_of_one_class_is_not_held_against_another(a_question, tmp_path):
    organs, header = nrrd.read(a_question.organs, index_order="C")
    nrrd.write(str(tmp_path / "mask.nrrd"), (organs == 8).astype(np.uint8), header, index_order="C")
    request = replace(a_question, reference=str(tmp_path / "mask.nrrd"), value="dice", budget=36)
    request = replace(request, roi="segment:kidney_right+30")
    explain(request, tmp_path / "out")
    progress = Progress()
    other = revalue(tmp_path / "out", tmp_path / "other", target="liver", value="soft-volume", progress=progress)
    assert other.request["reference"] == ""
    assert any("own unperturbed prediction" in warning for warning in progress.warnings)
    same = revalue(tmp_path / "out", tmp_path / "same", target="kidney_right", value="dice")
    assert same.request["reference"]
    assert same.estimate["full_value"] < 1.0
    with pytest.raises(InvalidRequest, match="does not know the mask"):
        revalue(tmp_path / "other", tmp_path / "back", target="kidney_right", value="dice")


def test_results_of_a_ct_that_has_changed_are_not_revalued(the_answer, a_question, tmp_path):
    ct = sitk.ReadImage(a_question.ct)
    original = Path(a_question.ct).read_bytes()
    try:
        sitk.WriteImage(ct + 100.0, a_question.ct)
        with pytest.raises(InvalidRequest, match="no longer the CT"):
            revalue(the_answer[0], tmp_path / "out", target="liver", value="soft-volume")
    finally:
        Path(a_question.ct).write_bytes(original)


@pytest.mark.parametrize("units", ["fcc", "hybrid"])
def test_the_other_kinds_of_units_are_explained_too(a_question, tmp_path, units):
    request = replace(a_question, units=units, unit_mm=110.0, method="leverage-shap", budget=0, tolerance=0.3)
    manifest = explain(request, tmp_path / "out")
    assert manifest.estimate["n_players"] > 3
    assert manifest.request["budget"] > 0


def test_the_models_own_prediction_serves_as_organ_map(a_question, tmp_path):
    request = replace(a_question, organs="", target="kidney_right", roi="segment:kidney_right")
    manifest = explain(request, tmp_path / "out")
    assert "kidney_right" in players_of(tmp_path / "out")
    assert manifest.estimate["full_value"] > 0


def test_a_reference_mask_makes_false_positives_of_the_unperturbed_ct_count(a_question, tmp_path):
    organs, header = nrrd.read(a_question.organs, index_order="C")
    nrrd.write(str(tmp_path / "mask.nrrd"), (organs == 2).astype(np.uint8), header, index_order="C")
    request = replace(a_question, reference=str(tmp_path / "mask.nrrd"), target="kidney_right", value="fp")
    manifest = explain(request, tmp_path / "out")
    assert manifest.estimate["full_value"] > 0


def test_a_prediction_by_our_tiles_is_written_on_the_cts_grid(a_question, tmp_path):
    organ_map = predict(a_question.ct, a_question.model, tmp_path / "seg.nii.gz")
    written = sitk.ReadImage(str(tmp_path / "seg.nii.gz"))
    assert written.GetSize() == sitk.ReadImage(a_question.ct).GetSize()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), organ_map.labels.array)
    assert "liver" in (tmp_path / "seg.json").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ct": "missing.nrrd"}, "missing.nrrd"),
        ({"target": "livr"}, "liver"),
        ({"roi": "ijk:0,900,0,5,0,5,7"}, "ijk:"),
        ({"roi": "ijk:500,520,0,5,0,5"}, "outside"),
        ({"roi": "segment:bladder"}, "bladder"),
        ({"model": "nowhere"}, "nowhere"),
        ({"units": "voxels"}, "units"),
        ({"removal": "noise"}, "removal"),
        ({"method": "exact", "units": "fcc", "unit_mm": 40.0}, "16"),
        ({"budget": 5}, "at least"),
        ({"method": "exact", "budget": 32}, "at least"),
        ({"device": "cuda:7"}, "device"),
        ({"value": "dice", "roi": "ijk:0,3,0,3,0,3"}, "no voxel of"),
        ({"organs": "missing.nrrd"}, "missing.nrrd"),
        ({"reference": "missing.nrrd"}, "missing.nrrd"),
        ({"tolerance": 2.0}, "tolerance"),
    ],
)
def test_each_fault_is_one_clear_error_and_leaves_no_folder(a_question, tmp_path, change, says):
    from SegExplainLib.contract import SegExplainError

    with pytest.raises(SegExplainError) as caught:
        explain(replace(a_question, **change), tmp_path / "out")
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_request_tells_all_its_faults_at_once():
    request = ExplainRequest(ct="", model="m", target="t", roi="r", units="x", tolerance=3.0)
    assert len(request.problems()) == 3
    assert ExplainRequest(ct="a", model="m", target="t", roi="r").problems() == []


def test_a_request_survives_json_and_refuses_unknown_keys():
    request = ExplainRequest(ct="a", model="m", target="t", roi="r", folds=("0", "1"), unit_mm=12.0)
    assert ExplainRequest.from_mapping(json.loads(request.to_json())) == request
    with pytest.raises(InvalidRequest, match="removal"):
        ExplainRequest.from_mapping({"ct": "a", "model": "m", "target": "t", "roi": "r", "remvoal": "air"})
    with pytest.raises(InvalidRequest, match="expected int"):
        ExplainRequest.from_mapping({"ct": "a", "model": "m", "target": "t", "roi": "r", "budget": "many"})
