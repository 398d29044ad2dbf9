"""A run that is to settle which units matter most, from the request to the report."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from report_builders import make_attribution, make_findings
from typer.testing import CliRunner

from SegExplainLib.cli import app
from SegExplainLib.contract import METHODS, SAMPLING_METHODS, ExplainRequest, ResultManifest
from SegExplainLib.forecast import fewest_evaluations
from SegExplainLib.pipeline import explain, revalue
from SegExplainLib.report.answer import cautions
from SegExplainLib.results_folder import command_of, read_attribution
from SegExplainLib.shapley.stopping import Ranking


def a_request(**given):
    return ExplainRequest(ct="ct", model="model", target="liver", roi="segment:liver", **given)


def plain(sentences):
    return " ".join(sentences).replace("\u202f", " ").replace("\u00a0", " ")


@pytest.fixture(scope="module")
def a_settled_run(a_question, tmp_path_factory):
    """(request, results folder, manifest) of a run that ended once its most important unit was settled."""
    out = tmp_path_factory.mktemp("settled") / "results"
    request = replace(a_question, method="leverage-shap", budget=160, tolerance=0.01, stop_at="ranking", top=1)
    return request, out, explain(request, out)


def test_a_run_ends_once_its_ranking_is_settled_and_its_report_says_so(a_settled_run):
    _, out, manifest = a_settled_run
    assert manifest.estimate["stop_reason"] == "ranking"
    assert manifest.estimate["n_evaluations"] < 80
    assert manifest.estimate["relative_error"] > 0.01
    said = plain(manifest.answer)
    assert "ended as soon as the most important unit and its sign were settled" in said
    assert "“kidney right” itself (+)" in said
    assert "Not settled are its exact size, and all other units" in said
    assert "wished precision" not in said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "the most important units and their signs were settled" in page
    assert "the most important unit and its sign" in page


def test_a_settled_run_is_replayed_to_the_same_answer_and_for_another_number(a_settled_run, tmp_path):
    request, out, manifest = a_settled_run
    same = revalue(out, tmp_path / "same", target=request.target, value=request.value)
    assert same.estimate["n_evaluations"] == manifest.estimate["n_evaluations"]
    first, again = read_attribution(out), read_attribution(tmp_path / "same")
    np.testing.assert_array_equal(again.player_values, first.player_values)
    np.testing.assert_array_equal(again.standard_errors, first.standard_errors)
    assert "the most important unit and its sign are settled" in plain(same.answer).replace("The most", "the most")
    other = revalue(out, tmp_path / "other", target=request.target, value="dice")
    assert other.estimate["n_evaluations"] == manifest.estimate["n_evaluations"]
    assert re.search("most important unit (and its sign are|is not) settled", plain(other.answer))


def test_the_command_of_a_settled_run_asks_for_the_same_ranking(a_settled_run):
    request, out, _ = a_settled_run
    assert ResultManifest.read(out).request["stop_at"] == "ranking"
    assert "--stop-at ranking --top 1" in command_of(request)


def test_the_command_line_takes_what_is_to_be_settled(a_question, tmp_path):
    words = ["explain", a_question.ct, "--model", a_question.model, "--target", "kidney_right"]
    words += ["--roi", a_question.roi, "--out", str(tmp_path / "out")]
    for wrong, says in ((["--stop-at", "rankings"], "ranking"), (["--top", "0"], "top"), (["--top", "3"], "stop_at")):
        result = CliRunner().invoke(app, words + wrong)
        assert result.exit_code != 0
        assert says in re.sub(r"\s+", " ", result.output + result.stderr)
    assert not (tmp_path / "out").exists()


def test_a_request_tells_what_cannot_be_settled():
    assert a_request(stop_at="ranking", top=3).problems() == []
    for change, says in (
        ({"stop_at": "order"}, "stop_at is 'order'"),
        ({"stop_at": "ranking", "top": 0}, "top is 0; it must be a positive"),
        ({"top": 3}, "top is 3, which only stop_at ranking looks at"),
    ):
        assert any(says in problem for problem in a_request(**change).problems())
    request = a_request(stop_at="ranking", top=3)
    assert ExplainRequest.from_mapping(json.loads(request.to_json())) == request


@pytest.mark.parametrize("method", METHODS)
def test_only_methods_that_sample_and_know_their_error_read_it(method):
    request = a_request(method=method, stop_at="ranking", top=2)
    reads = method in SAMPLING_METHODS
    assert request.settle == (2 if reads else 0)
    assert request.unused_options == (() if reads else ("stop_at", "top"))
    assert a_request(method=method).settle == 0


@pytest.mark.parametrize("method", SAMPLING_METHODS)
def test_a_ranking_can_end_a_run_early_that_has_no_tolerance(method):
    open_ended = a_request(method=method, budget=2000, tolerance=0.0)
    assert fewest_evaluations(open_ended, 20) == 2000
    assert fewest_evaluations(replace(open_ended, stop_at="ranking"), 20) < 2000


def told(ranking, **changes):
    attribution = make_attribution([0.5, -0.3, 0.02, 0.01], 0.01)
    return plain(cautions(attribution, make_findings(ranking=ranking, relative_error=0.08, **changes)))


def test_what_is_settled_is_named_with_its_signs_and_what_is_not_is_said():
    said = told(Ranking((0, 1, 2), (1, -1, 0), True, True), stop_reason="ranking")
    assert "as soon as the 3 most important units and their signs were settled, with 95 % confidence" in said
    assert "ties within 5 % of the range of the importances: “unit 1” (+), “unit 2” (−) and “unit 3” (about 0)." in said
    assert "Not settled are the order among them, their exact sizes, and all other units" in said
    assert "The relative error is 8 %" in said
    assert "was not reached" not in said


def test_a_ranking_that_is_open_says_what_of_it_and_what_would_help():
    ranking = Ranking((0, 1, 2), (1, -1, 0), False, False)
    said = told(ranking, stop_reason="budget")
    assert (
        "The 3 most important units are not settled: other units may belong to them and the sign of “unit 3” is" in said
    )
    assert "A larger budget would help." in said
    assert "wished precision was not reached" in said
    assert "a smaller tolerance would go on" in told(ranking, stop_reason="tolerance")


def test_nothing_is_said_of_a_ranking_that_was_not_asked_for_or_is_exact():
    assert "settled" not in told(None, stop_reason="tolerance")
    assert "settled" not in told(Ranking((0,), (1,), True, True), stop_reason="exact")
