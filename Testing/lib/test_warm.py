from dataclasses import asdict, replace

import numpy as np
import pytest
import SimpleITK as sitk
from games import AdditiveGame

from SegExplainLib import question
from SegExplainLib.contract import Cancelled, InvalidRequest, ResultManifest
from SegExplainLib.forecast import fewest_evaluations
from SegExplainLib.game_record import GameRecord
from SegExplainLib.pipeline import ESTIMATORS, explain
from SegExplainLib.preview import describe, preview
from SegExplainLib.progress import Progress
from SegExplainLib.question_keys import QuestionKeys
from SegExplainLib.report.tables import read_players_csv
from SegExplainLib.warm import Key, WarmState


def values_of(folder):
    return {row.name: row.value for row in read_players_csv(folder / "players.csv")}


def files_of(folder):
    return {file.name for file in folder.iterdir()}


@pytest.fixture(scope="module")
def the_first_state(a_question, tmp_path_factory):
    """What is warm after another question about the same units."""
    warm = WarmState()
    explain(replace(a_question, value="mean-logit"), tmp_path_factory.mktemp("first") / "out", warm=warm)
    return warm


def test_an_item_is_made_once_for_a_key_and_tells_its_warnings_each_time():
    warm, made = WarmState(), []
    key = Key("ct", ("a.nrrd",))
    for _ in range(2):
        progress = Progress()
        item = warm.take(key, lambda progress=progress: progress.warn("tilted") or made.append(1) or "voxels", progress)
        assert item == "voxels"
        assert progress.warnings == ["tilted"]
    assert made == [1]


def test_what_rests_on_a_replaced_item_is_let_go_before_the_new_one_is_made_and_nothing_else():
    warm, progress = WarmState(), Progress()
    model, ct = Key("model", ("m",)), Key("ct", ("a",))
    case = Key("case", (), (model, ct))
    units = Key("units", (), (case,))
    for key in (model, ct, case, units):
        warm.take(key, lambda key=key: key.stage, progress)
    held = {}

    def other():
        held.update({key.stage: warm.at_hand(key) for key in (model, ct, case, units)})
        return "other ct"

    warm.take(Key("ct", ("b",)), other, progress)
    assert held == {"model": "model", "ct": None, "case": None, "units": None}


def test_an_item_that_could_not_be_made_is_not_kept():
    warm, key = WarmState(), Key("ct")

    def fails():
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        warm.take(key, fails, Progress())
    assert warm.take(key, lambda: "whole", Progress()) == "whole"


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"target": "liver", "value": "tp", "method": "exact", "tolerance": 0.3, "seed": 4, "budget": 9}, set()),
        ({"removal": "mean"}, {"absent", "game"}),
        ({"batch": 3}, {"game"}),
        ({"units": "hybrid"}, {"units", "absent", "game"}),
        ({"unit_mm": 12.0}, set()),
        ({"units": "fcc", "unit_mm": 12.0}, {"units", "absent", "game"}),
        ({"roi": "ijk:1,2,3,4,5,6"}, {"case", "units", "absent", "game"}),
        ({"organs": ""}, {"organs", "case", "units", "absent", "game"}),
        ({"mirroring": "off"}, {"model", "network_input", "body", "case", "units", "absent", "game"}),
    ],
)
def test_each_field_of_a_request_moves_the_stages_that_depend_on_it(a_question, change, differing):
    before, after = (vars(QuestionKeys.of(request)) for request in (a_question, replace(a_question, **change)))
    assert {stage for stage in before if before[stage] != after[stage]} == differing


def test_a_counterfactual_is_that_of_a_class_and_nothing_in_it_is_drawn(a_question):
    one = replace(a_question, removal="counterfactual")
    absent, of_seed, of_class = (
        QuestionKeys.of(replace(one, **c)).absent for c in ({}, {"seed": 4}, {"target": "liver"})
    )
    assert absent == of_seed
    assert absent != of_class


def test_a_reference_mask_ties_the_game_to_its_class(a_question):
    one = replace(a_question, reference=a_question.organs)
    assert QuestionKeys.of(one).game != QuestionKeys.of(replace(one, target="liver")).game


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_two_headers_in_one_folder_are_two_images(a_question, tmp_path, suffix):
    for name in ("one", "other"):
        (tmp_path / f"{name}{suffix}").write_text(name, encoding="utf-8")
    one, other = (replace(a_question, ct=str(tmp_path / f"{name}{suffix}")) for name in ("one", "other"))
    assert QuestionKeys.of(one).ct != QuestionKeys.of(other).ct


def test_a_region_is_looked_at_as_it_is_read_blanks_or_not(a_question, tmp_path):
    (tmp_path / "mask.nrrd").write_text("a", encoding="utf-8")
    request = replace(a_question, roi="mask: mask.nrrd").with_paths_from(tmp_path)
    before = QuestionKeys.of(request).case
    (tmp_path / "mask.nrrd").write_text("another", encoding="utf-8")
    assert QuestionKeys.of(request).case != before
    blank = replace(a_question, roi=" segment: kidney_right", organs="", units="fcc")
    assert question.needs_organs(blank)
    assert QuestionKeys.of(blank).organs in QuestionKeys.of(blank).case.made_from


def test_another_question_about_the_same_units_runs_no_tile_and_answers_as_a_cold_run(
    a_question, the_first_state, the_answer, tmp_path
):
    manifest = explain(a_question, tmp_path / "warm", warm=the_first_state)
    out, cold, _ = the_answer
    assert manifest.counts["n_network_tiles"] == manifest.counts["n_coalitions"] == 0
    assert cold.counts["n_network_tiles"] > 100
    assert any("at hand" in warning for warning in manifest.warnings)
    assert values_of(tmp_path / "warm") == pytest.approx(values_of(out), rel=1e-5, abs=1e-5)
    assert files_of(tmp_path / "warm") == files_of(out)
    assert set(ResultManifest.read(tmp_path / "warm").files) == set(cold.files)


def test_a_warm_run_that_is_stopped_at_once_keeps_what_was_at_hand_in_its_own_folder(
    a_question, the_first_state, tmp_path
):
    progress = Progress()
    progress.listener = lambda event: event.stage == "evaluate coalitions" and progress.cancel()
    with pytest.raises(Cancelled, match="--resume"):
        explain(replace(a_question, budget=56), tmp_path / "stopped", warm=the_first_state, progress=progress)
    assert len(GameRecord.load(tmp_path / "stopped" / "coalitions.npz").table) == 40


def test_more_coalitions_are_asked_only_where_they_are_new_and_told_to_the_new_listener(
    a_question, the_answer, tmp_path
):
    warm, first, second = WarmState(), [], []
    fewer = replace(a_question, budget=36)
    before = explain(fewer, tmp_path / "first", warm=warm, progress=Progress(first.append))
    n_first = len(first)
    manifest = explain(a_question, tmp_path / "warm", warm=warm, progress=Progress(second.append))
    assert manifest.counts["n_coalitions"] == 4
    assert manifest.counts["n_unperturbed_tiles"] == 0
    assert 0 < manifest.counts["n_network_tiles"] <= 4 * manifest.counts["n_roi_tiles"]
    assert manifest.counts["n_network_tiles"] < before.counts["n_network_tiles"]
    assert 0 <= manifest.counts["reuse_share"] <= 1
    assert len(GameRecord.load(tmp_path / "warm" / "coalitions.npz").table) == 40
    assert values_of(tmp_path / "warm") == pytest.approx(values_of(the_answer[0]), rel=1e-4, abs=1e-4)

    assert len(first) == n_first
    last = [event for event in second if event.event == "progress"][-1]
    assert (last.done, last.tiles) == (40, manifest.counts["n_network_tiles"])


def test_a_run_that_is_stopped_leaves_a_state_that_answers_as_if_it_had_not_been(a_question, the_answer, tmp_path):
    warm, progress = WarmState(), Progress()
    progress.listener = lambda event: event.done >= 10 and event.tiles and progress.cancel()
    with pytest.raises(Cancelled):
        explain(a_question, tmp_path / "stopped", warm=warm, progress=progress)
    manifest = explain(a_question, tmp_path / "again", warm=warm)
    assert 0 < manifest.counts["n_coalitions"] < 40
    assert values_of(tmp_path / "again") == pytest.approx(values_of(the_answer[0]), abs=1e-4)


def test_a_fault_keeps_what_was_whole_before_it_and_nothing_after(a_question, tmp_path, monkeypatch):
    warm = WarmState()

    def no_absent(*args, **kwargs):
        raise InvalidRequest("this removal is broken")

    with monkeypatch.context() as patched:
        patched.setattr("SegExplainLib.pipeline.baselines_for", no_absent)
        with pytest.raises(InvalidRequest, match="broken"):
            explain(a_question, tmp_path / "broken", warm=warm)
    keys = QuestionKeys.of(a_question)
    assert warm.at_hand(keys.units) is not None
    assert warm.at_hand(keys.absent) is None
    assert warm.at_hand(keys.game) is None


def test_a_ct_that_has_changed_is_read_again(a_question, tmp_path):
    ct = sitk.ReadImage(a_question.ct)
    request = replace(a_question, budget=36, ct=str(tmp_path / "ct.nrrd"))
    sitk.WriteImage(ct, request.ct)
    warm = WarmState()
    explain(request, tmp_path / "first", warm=warm)
    sitk.WriteImage(sitk.Cast(ct, sitk.sitkFloat32) * 0.9, request.ct)
    manifest = explain(request, tmp_path / "second", warm=warm)
    assert manifest.counts["n_coalitions"] == 36
    assert not any("at hand" in warning for warning in manifest.warnings)
    assert values_of(tmp_path / "first") != values_of(tmp_path / "second")


def test_names_of_organs_that_have_changed_are_read_again(a_question, a_small_torso, tmp_path):
    for name in ("organs.nrrd", "organs.json"):
        (tmp_path / name).write_bytes((a_small_torso / name).read_bytes())
    request = replace(a_question, organs=str(tmp_path / "organs.nrrd"), roi="ijk:20,30,20,30,10,20")
    before = QuestionKeys.of(request).units
    text = (tmp_path / "organs.json").read_text(encoding="utf-8")
    (tmp_path / "organs.json").write_text(text.replace("liver", "liver lobe"), encoding="utf-8")
    assert QuestionKeys.of(request).units != before


def test_the_models_own_prediction_is_made_once_for_several_regions(a_question, monkeypatch):
    warm, n_predictions = WarmState(), []
    real = question.predicted_organs

    def counted(*args, **kwargs):
        n_predictions.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(question, "predicted_organs", counted)
    for roi in ("segment:kidney_right", "segment:kidney_right+5"):
        question.prepared_question(replace(a_question, organs="", roi=roi), Progress(), warm=warm)
    assert n_predictions == [1]


def test_a_preview_counts_the_tiles_that_the_run_then_takes(a_question, tmp_path):
    request = replace(a_question, units="fcc", unit_mm=150.0, budget=36)
    warm = WarmState()
    told = preview(asdict(request), progress=Progress(), warm=warm)
    manifest = explain(request, tmp_path / "out", warm=warm)
    assert told["units_are_exact"]
    assert told["n_units"] == manifest.estimate["n_players"]
    assert told["n_roi_tiles"] == manifest.counts["n_roi_tiles"]
    assert told["n_image_tiles"] == manifest.counts["n_image_tiles"]
    assert told["budget"] == manifest.request["budget"]
    # Without a tolerance nothing ends the run early, and with this little memory needed no tile runs twice.
    assert told["least_s"] / told["seconds_a_tile"] == pytest.approx(manifest.counts["n_network_tiles"], rel=1e-6)
    assert told["least_s"] < told["most_s"]
    again = preview(asdict(request), progress=Progress(), warm=warm)
    assert again["least_s"] == 0.0


def test_a_preview_measures_the_region_on_the_cts_own_grid(a_question):
    told = preview(asdict(replace(a_question, roi="ijk:20,30,20,31,10,22")), progress=Progress(), warm=WarmState())
    spacing = np.array(sitk.ReadImage(a_question.ct).GetSpacing())
    assert told["n_voxels"] == 10 * 11 * 12
    assert told["volume_ml"] == pytest.approx(10 * 11 * 12 * spacing.prod() / 1000)


def test_a_preview_does_not_predict_but_guesses(a_question, monkeypatch):
    def no_prediction(*args, **kwargs):
        raise AssertionError("the whole CT was predicted")

    monkeypatch.setattr(question, "predicted_organs", no_prediction)
    guess = replace(a_question, organs="", roi="ijk:20,30,20,30,10,20", budget=0, tolerance=0.05)
    told = preview(asdict(guess), progress=Progress(), warm=WarmState())
    assert not told["units_are_exact"]
    assert told["n_units"] == 14
    tiles = told["n_image_tiles"] + told["n_roi_tiles"]
    assert told["least_s"] > tiles * told["seconds_a_tile"]
    with pytest.raises(InvalidRequest, match="own prediction"):
        preview(asdict(replace(a_question, organs="")), progress=Progress(), warm=WarmState())


@pytest.mark.parametrize(
    "method", ["adjusted-shap", "kernel-shap", "leverage-shap", "permutation", "exact", "shap", "captum"]
)
def test_every_method_can_be_previewed(a_question, method):
    request = replace(a_question, method=method, budget=0, tolerance=0.05)
    told = preview(asdict(request), progress=Progress(), warm=WarmState())
    assert 0 < told["least_s"] <= told["most_s"]
    assert told["budget"] >= told["n_units"]


@pytest.mark.parametrize("method", ["adjusted-shap", "kernel-shap", "leverage-shap", "permutation"])
def test_no_run_ends_before_the_fewest_evaluations_that_a_preview_tells(a_question, method):
    game = AdditiveGame(np.eye(12)[0])
    request = replace(a_question, method=method, budget=1000, tolerance=0.5)
    *_, last = ESTIMATORS[method](game, budget=1000, tolerance=0.5, seed=0)
    assert last.stop_reason == "tolerance"
    assert last.n_evaluations >= fewest_evaluations(request, 12)


def test_a_preview_fails_as_the_explanation_would(a_question):
    with pytest.raises(InvalidRequest, match="at least"):
        preview(asdict(replace(a_question, budget=5)), progress=Progress(), warm=WarmState())
    with pytest.raises(InvalidRequest, match="liver"):
        preview(asdict(replace(a_question, target="livr")), progress=Progress(), warm=WarmState())


def test_a_preview_can_be_stopped(a_question):
    progress = Progress()
    progress.listener = lambda event: event.stage == "time a tile" and progress.cancel()
    with pytest.raises(Cancelled):
        preview(asdict(a_question), progress=progress, warm=WarmState())


def test_a_description_names_the_classes_and_leaves_the_model_for_the_explanation(a_question, monkeypatch):
    warm = WarmState()
    told = describe({"model": a_question.model}, progress=Progress(), warm=warm)
    assert a_question.target in told["classes"]
    assert told["device"] in ("cpu", "cuda")
    assert warm.at_hand(QuestionKeys.of(a_question).model) is not None
