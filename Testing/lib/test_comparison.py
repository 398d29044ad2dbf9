"""Several answers to one question in one table."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from SegExplainLib.comparison import Comparison, compared, write_comparison
from SegExplainLib.contract import InvalidRequest, ResultManifest
from SegExplainLib.game_record import GameRecord
from SegExplainLib.pipeline import explain, revalue


@pytest.fixture(scope="module")
def two_answers(a_question, the_answer, tmp_path_factory):
    """Folders of KernelSHAP's answer and of Seg-Grad-CAM's to the same question."""
    cam = tmp_path_factory.mktemp("cam") / "results"
    explain(replace(a_question, method="seg-grad-cam", budget=0), cam)
    return [the_answer[0], cam]


def test_two_methods_stand_beside_each_other_unit_by_unit(two_answers, tmp_path):
    comparison = compared(two_answers)
    assert comparison.columns == ("adjusted-shap", "seg-grad-cam")
    assert comparison.value_units == ("ml", "relative")
    for column, folder in enumerate(two_answers):
        with (folder / "players.csv").open(encoding="utf-8") as file:
            rows = {row["name"]: float(row["value"]) for row in csv.DictReader(file)}
        assert dict(zip(comparison.units, comparison.values[:, column])) == rows
    write_comparison(tmp_path / "table.csv", comparison)
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    best = next(row for row in table if row["adjusted-shap rank"] == "1")
    assert abs(float(best["adjusted-shap value"])) == np.abs(comparison.values[:, 0]).max()
    assert sum(abs(float(row["seg-grad-cam share"])) for row in table) == pytest.approx(1.0)


def test_rank_correlation_is_pearsons_of_the_ranks():
    values = np.random.default_rng(0).normal(size=(7, 3))
    comparison = Comparison(("a", "b", "c"), tuple("1234567"), np.ones(7), values, ("ml",) * 3)
    np.testing.assert_allclose(
        comparison.rank_correlations, np.corrcoef(rankdata(np.abs(values), axis=0).T), atol=1e-12
    )
    flat = replace(comparison, values=np.zeros((7, 3)))
    assert np.isnan(flat.rank_correlations).all()
    assert not flat.shares.any()


def test_the_same_method_twice_is_told_apart_by_its_folder(two_answers):
    assert compared([two_answers[0], two_answers[0].parent / "results"]).columns[0].startswith("adjusted-shap")


def test_answers_to_different_questions_are_refused(two_answers, a_question, the_answer, tmp_path):
    shutil.copytree(the_answer[0], tmp_path / "other class")
    manifest = tmp_path / "other class" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"target": "kidney_right"', '"target": "liver"'))
    with pytest.raises(InvalidRequest, match="the class differ"):
        compared([the_answer[0], tmp_path / "other class"])
    elsewhere = replace(a_question, method="seg-grad-cam", budget=0, roi="segment:kidney_right+1")
    explain(elsewhere, tmp_path / "elsewhere")
    with pytest.raises(InvalidRequest, match="the ROI"):
        compared([two_answers[1], tmp_path / "elsewhere"])


def test_answers_by_another_model_are_refused_and_another_number_is_named(the_answer, tmp_path):
    revalue(the_answer[0], tmp_path / "dice", target="kidney_right", value="dice")
    columns = compared([the_answer[0], tmp_path / "dice"]).columns
    assert columns == ("adjusted-shap soft-volume", "adjusted-shap dice")
    shutil.copytree(the_answer[0], tmp_path / "other")
    record = GameRecord.load(tmp_path / "other" / "coalitions.npz")
    record.fingerprints["the model"] = "another"
    record.save(tmp_path / "other" / "coalitions.npz")
    with pytest.raises(InvalidRequest, match="the model differ"):
        compared([the_answer[0], tmp_path / "other"])


def test_one_result_or_an_unfinished_one_is_refused(two_answers, tmp_path):
    with pytest.raises(InvalidRequest, match="alone"):
        compared(two_answers[:1])
    with pytest.raises(InvalidRequest, match="not a finished results folder"):
        compared([two_answers[0], tmp_path])
    assert ResultManifest.read(two_answers[0]).estimate["unit"] == "ml"
