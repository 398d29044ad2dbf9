"""Evaluated results tell of their evaluation, and stay what they were."""

import base64
import csv
import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_builders import bars_partition, make_attribution, make_findings
from test_report_page import Page

from SegExplainLib.comparison import compared
from SegExplainLib.contract import InvalidRequest, ResultManifest
from SegExplainLib.evaluate import evaluate
from SegExplainLib.evaluated_results import tell_results
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.stability import FAMILIES, StabilityScores
from SegExplainLib.finished import finished_results
from SegExplainLib.pipeline import explain, revalue
from SegExplainLib.progress import Progress
from SegExplainLib.report.evaluation_curves import draw_curves
from SegExplainLib.report.evaluation_section import evaluation_of, evaluation_section, verdict, with_section
from SegExplainLib.report.evaluation_words import evaluation_markdown, evaluation_sentences
from SegExplainLib.report.maps import Picture
from SegExplainLib.report.page import page_html
from SegExplainLib.results_folder import read_attribution

TARGET = "kidney_right"
SECTION = re.compile(rb"<!-- evaluation -->.*<!-- end of evaluation -->", re.DOTALL)
TOLD = {"evaluation.csv", "evaluation.png", "report.html", "manifest.json"}


@pytest.fixture(scope="module")
def judged(a_question_of_few_units, tmp_path_factory):
    """(folders of two results as their runs left them, their evaluation): five units, all coalitions known."""
    folder = tmp_path_factory.mktemp("judged")
    request = replace(a_question_of_few_units("spine", "liver", TARGET, "aorta"), roi=f"segment:{TARGET}")
    explain(request, folder / "run" / "shap")
    explain(replace(request, method="seg-grad-cam"), folder / "run" / "cam")
    untold = [shutil.copytree(folder / "run" / name, folder / "untold" / name) for name in ("shap", "cam")]
    return untold, evaluate([folder / "run" / "shap", folder / "run" / "cam"], folder / "out", seed=3, voxel_steps=2)


def copied(folders, evaluation, to):
    """(copies of the folders, the evaluation of them)."""
    copies = [shutil.copytree(folder, to / folder.name) for folder in folders]
    results = [replace(one, folder=str(copy)) for one, copy in zip(evaluation.results, copies, strict=True)]
    return copies, replace(evaluation, results=tuple(results))


@pytest.fixture(scope="module")
def told(judged, tmp_path_factory):
    """(folders that were told, their evaluation) for tests that only look."""
    folders, evaluation = copied(*judged, tmp_path_factory.mktemp("told"))
    assert tell(evaluation) == []
    return folders, evaluation


@pytest.fixture
def copies(judged, tmp_path):
    """(untold folders, their evaluation) that a test may tell and spoil."""
    return copied(*judged, tmp_path)


@pytest.fixture
def told_copies(told, tmp_path):
    """(told folders, their evaluation) that a test may tell and spoil."""
    return copied(*told, tmp_path)


def tell(evaluation, out=Path("folder/of the evaluation")):
    """Warnings."""
    progress = Progress()
    tell_results(evaluation, out, progress=progress)
    return progress.warnings


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files_of(folder):
    return {path.name: path.is_dir() or path.read_bytes() for path in folder.iterdir()}


def section_of(folder):
    (section,) = SECTION.findall((folder / "report.html").read_bytes())
    return section.decode()


def test_the_page_is_the_same_but_for_the_section(judged, told):
    for before, folder in zip(judged[0], told[0], strict=True):
        pages = [(one / "report.html").read_bytes() for one in (before, folder)]
        assert pages[0] != pages[1]
        assert SECTION.sub(b"", pages[0]) == SECTION.sub(b"", pages[1])
        assert b"Not measured yet" in pages[0]
        assert b"Not measured yet" not in pages[1]
        assert pages[1].count(b"Can this explanation be trusted?") == 1


def test_everything_else_of_the_folder_and_of_the_manifest_stays(judged, told):
    for before, folder in zip(judged[0], told[0], strict=True):
        was, now = contents(before), contents(folder)
        assert now.keys() == was.keys() | TOLD
        assert {name for name in was if was[name] != now[name]} == {"report.html", "manifest.json"}
        then, since = json.loads(was["manifest.json"]), json.loads(now["manifest.json"])
        assert then["evaluation"] == {}
        assert {key for key in since if since[key] != then[key]} == {"evaluation", "files"}
        assert list(since) == list(then)


def test_the_manifest_vouches_for_every_file(told):
    for folder in told[0]:
        files = json.loads((folder / "manifest.json").read_text())["files"]
        there = {name: hashlib.sha256(data).hexdigest() for name, data in contents(folder).items()}
        assert files == {name: digest for name, digest in there.items() if name != "manifest.json"}


def test_telling_twice_changes_nothing_and_a_newer_evaluation_takes_the_older_one_s_place(told_copies):
    folders, evaluation = told_copies
    once = [contents(folder) for folder in folders]
    assert tell(evaluation) == []
    assert [contents(folder) for folder in folders] == once
    tell(replace(evaluation, removal="mean"), Path("another"))
    assert "“mean”" in section_of(folders[0])
    assert "“air”" not in section_of(folders[0]).replace("with “air”", "")
    assert ResultManifest.read(folders[0]).evaluation["folder"] == "another"
    tell(evaluation)
    assert [contents(folder) for folder in folders] == once


def test_the_manifest_s_numbers_are_those_of_the_table_and_of_this_result_alone(told):
    folders, evaluation = told
    for folder, result in zip(folders, evaluation.results, strict=True):
        summary = ResultManifest.read(folder).evaluation
        with (folder / "evaluation.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["result"] for row in rows} - {"random voxels"} == {result.name, "largest unit first"}
        own = [row for row in rows if row["result"] == result.name]
        assert len(own) == sum(map(len, summary["metrics"].values())) == sum(map(len, result.metrics.values()))
        for row in own:
            kept = summary["metrics"][row["family"]][row["metric"]]
            in_row = {
                "value": row["value"],
                "standard_error": row["standard_error"],
                "interval": [row["low_95"], row["high_95"]],
                "chance": row["chance"],
                "better": row["better"],
                "why_undefined": row["why_undefined"],
            }
            interval = kept["interval"] or [None, None]
            texts = {name: "" if value is None else str(value) for name, value in kept.items() if name != "interval"}
            assert texts | {"interval": ["" if end is None else str(end) for end in interval]} == in_row
        assert summary["metrics"]["agreement with the mask"]["ROC-AUC"]["chance"] == 0.5


def test_the_manifest_says_who_judged_and_what_came_of_it(told):
    shap, cam = (ResultManifest.read(folder).evaluation for folder in told[0])
    assert (shap["folder"], shap["name"], shap["removal"]) == ("of the evaluation", "exact", "air")
    assert shap["removal_from"] == cam["removal_from"] == "that of exact"
    assert shap["mask"] == told[1].mask
    assert shap["verdict"] == "More faithful than chance."
    assert any("exact: more faithful than chance" in sentence for sentence in shap["sentences"])
    assert any("need not agree with anatomy" in sentence for sentence in shap["sentences"])
    assert not any("seg-grad-cam" in sentence for sentence in shap["sentences"])
    assert any(sentence.startswith("seg-grad-cam: ") for sentence in cam["sentences"])


def test_the_section_tells_the_sentences_shows_the_curves_and_the_main_numbers(told):
    for folder, result in zip(told[0], told[1].results, strict=True):
        page = Page((folder / "report.html").read_text(encoding="utf-8"))
        assert not page.open
        section = Page(section_of(folder))
        text = "".join(section.text)
        for sentence in ResultManifest.read(folder).evaluation["sentences"]:
            assert sentence in text
        (image,) = (attrs for tag, attrs in section.tags if tag == "img")
        shown = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert shown == (folder / "evaluation.png").read_bytes()
        assert len(image["alt"]) > 60
        rows = {row[0][1]: [cell[1] for cell in row[1:]] for row in section.rows if row}
        assert 8 <= len(rows) <= 24
        auc = result.metric("agreement with the mask", "ROC-AUC")
        shown, of_volume, chance = rows["ROC-AUC against the mask ↑"]
        assert (float(shown.split()[0]), of_volume, float(chance)) == (pytest.approx(auc.value, abs=0.006), "", 0.5)
        area, of_volume = rows["Area over the curve, by units ↑"][:2]
        assert float(area.split()[0]) == pytest.approx(
            result.metric("order by value", "aopc-units-relative").value, abs=0.01
        )
        by_size = next(metric for metric in told[1].volume_only if metric.name == "aopc-units-relative")
        assert float(of_volume.split()[0]) == pytest.approx(by_size.value, abs=0.01)
        assert "the folder “of the evaluation”" in text
        others = {"exact", "seg-grad-cam"} - {result.name}
        assert f"which also judged {others.pop()}" in text


def test_a_result_that_was_judged_alone_names_no_others(copies):
    folders, evaluation = copies
    assert tell(replace(evaluation, results=evaluation.results[:1])) == []
    assert "also judged" not in section_of(folders[0])
    assert ResultManifest.read(folders[1]).evaluation == {}


def test_what_has_no_value_is_told_with_its_reason_once(judged, tmp_path):
    picture = Picture(tmp_path / "p.png", "alt", "caption", 100)
    picture.path.write_bytes(b"\x89PNG")
    result = judged[1].results[0]
    family = "order by value"
    missing = [
        undefined(metric.name, "Nobody asked.") if "percentile" in metric.name else metric
        for metric in result.metrics[family]
    ]
    units = replace(result.units, metrics=result.units.metrics | {family: tuple(missing)})
    before, after = (
        evaluation_section(judged[1], one, curves=picture, folder_name="f")
        for one in (result, replace(result, units=units))
    )
    assert after.count("Without a value: percentile among random orders. Nobody asked.") == 1
    assert after.count("<td>–</td>") == before.count("<td>–</td>") + 2


@pytest.mark.parametrize(
    ("p", "expected"), [(0.05, "More faithful"), (0.051, "Not told from chance"), (None, "Not held against chance")]
)
def test_the_verdict_follows_the_p_value_of_the_gap(judged, p, expected):
    result, family, name = judged[1].results[0], "order by value", "abpc-units-p-value"
    known = undefined(name, "No orders.") if p is None else Metric(name, p, better="lower")
    metrics = tuple(known if metric.name == name else metric for metric in result.metrics[family])
    units = replace(result.units, metrics=result.units.metrics | {family: metrics})
    assert expected in verdict(replace(result, units=units), n_orders=19)


def test_nine_random_orders_cannot_tell_and_nobody_says_that_the_explanation_is_to_blame(judged):
    evaluation = judged[1]
    plan = replace(evaluation.sticks.plan, n_orders=9)
    few = replace(evaluation, sticks=replace(evaluation.sticks, plan=plan))
    assert verdict(few.results[0], n_orders=9) == "Too few random orders to tell it from chance."
    text = " ".join(evaluation_sentences(few))
    assert "too few random orders to tell it from chance" in text
    assert "not told from chance" not in text
    assert "more faithful" not in text


def test_who_was_made_from_the_game_that_judges_is_told_only_where_it_was(judged):
    words = "made from this very game"
    assert words in " ".join(evaluation_sentences(judged[1]))
    assert words not in " ".join(evaluation_sentences(replace(judged[1], removal="mean")))


def test_stability_is_told_so_that_it_can_be_read_alone(judged):
    def told_of(**ranks):
        families = {
            FAMILIES[kind]: (
                Metric("avg-sensitivity", 0.004, better="lower"),
                Metric("rank-correlation-mean", rank),
                Metric("rank-correlation-least", rank - 0.5),
            )
            for kind, rank in ranks.items()
        }
        result = replace(judged[1].results[0], stability=StabilityScores(families))
        alone = replace(judged[1], results=(result,), noise_hu=20.0)
        return [sentence for sentence in evaluation_sentences(alone) if "rank correlation" in sentence.lower()]

    (of_removals, explained) = told_of(removals=0.25)
    assert "with other removals the rank correlation is 0.25 (least −0.25)." in of_removals
    assert explained.startswith("A rank correlation is 1 where")
    assert "changes it by 0.4\u202f% of its size (rank correlation 0.95)" in told_of(noise=0.95)[0]
    assert "is chance" in told_of(noise=0.95, seeds=0.5)[0]
    assert "is chance" not in told_of(noise=0.95, seeds=0.95)[0] + told_of(seeds=0.5)[0]


def test_a_markdown_table_stays_one_whatever_a_result_is_called(judged):
    results = [replace(one, name=f"a | b\nc{n}") for n, one in enumerate(judged[1].results)]
    lines = evaluation_markdown(replace(judged[1], results=tuple(results))).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert not any(line.startswith("c0") for line in lines)


def test_names_from_outside_cannot_become_markup_nor_end_the_section(judged, tmp_path):
    evil = '"><script>alert(1)</script><!-- end of evaluation --><img src=x onerror=alert(2)>{{ 7 * 7 }}'
    results = [replace(result, name=f"{n}{evil}") for n, result in enumerate(judged[1].results)]
    changes = dict.fromkeys(("target", "removal", "removal_from", "mask", "ct"), evil)
    evaluation = replace(judged[1], results=tuple(results), warnings=(evil,), **changes)
    picture = Picture(tmp_path / "p.png", evil, evil, 100)
    picture.path.write_bytes(b"\x89PNG")
    section = evaluation_section(evaluation, results[0], curves=picture, folder_name=evil)
    before = (judged[0][0] / "report.html").read_bytes()
    page = with_section(before, section)
    found = Page(page.decode())
    assert not found.open
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    assert not any("onerror" in attrs for _, attrs in found.tags)
    assert "{{ 7 * 7 }}" in "".join(found.text)
    assert with_section(page, "") == with_section(before, "")


def test_a_told_folder_can_be_evaluated_again_compared_revalued_and_read(judged, told_copies, tmp_path):
    folders, _ = told_copies
    again = evaluate(folders, tmp_path / "again", seed=3, voxel_steps=2)
    for then, now in zip(judged[1].results, again.results, strict=True):
        assert now.metrics == then.metrics
    assert [ResultManifest.read(folder).evaluation["folder"] for folder in folders] == ["again", "again"]
    assert compared(folders).columns == ("exact", "seg-grad-cam")
    np.testing.assert_array_equal(
        read_attribution(folders[0]).player_values, read_attribution(judged[0][0]).player_values
    )
    revalued = revalue(folders[0], tmp_path / "logit", target=TARGET, value="mean-logit")
    assert revalued.evaluation == {}
    assert "Not measured yet" in section_of(tmp_path / "logit")


def test_a_manifest_from_before_evaluations_is_read_and_takes_one(copies):
    folders, evaluation = copies
    path = folders[0] / "manifest.json"
    old = json.loads(path.read_text())
    del old["evaluation"]
    path.write_text(json.dumps(old))
    assert ResultManifest.read(folders[0]).evaluation == {}
    assert tell(evaluation) == []
    assert ResultManifest.read(folders[0]).evaluation["name"] == "exact"


def test_a_folder_whose_telling_was_killed_before_the_manifest_is_read_and_told_anew(judged, told_copies):
    folders, evaluation = told_copies
    whole = contents(folders[0])
    shutil.copy(judged[0][0] / "manifest.json", folders[0])
    assert [result.name for result in finished_results(folders)] == ["exact", "seg-grad-cam"]
    assert tell(evaluation) == []
    assert contents(folders[0]) == whole


def without_a_place(folder):
    page = (folder / "report.html").read_bytes()
    (folder / "report.html").write_bytes(SECTION.sub(b"", page))
    return "earlier version"


def without_a_report(folder):
    (folder / "report.html").unlink()
    return "report.html"


def with_a_folder_in_the_way(folder):
    (folder / "evaluation.csv").mkdir()
    return "evaluation.csv"


def unfinished(folder):
    (folder / "manifest.json").unlink()
    return "not a finished results folder"


def of_another_class(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["request"]["target"] = "liver"
    path.write_text(json.dumps(manifest))
    return "another result by now"


@pytest.mark.parametrize(
    "spoil", [without_a_place, without_a_report, with_a_folder_in_the_way, unfinished, of_another_class]
)
def test_a_folder_that_cannot_take_it_keeps_its_manifest_with_a_warning_and_the_others_are_told(copies, spoil):
    folders, evaluation = copies
    why = spoil(folders[0])
    before = files_of(folders[0])
    (warning,) = tell(evaluation)
    assert str(folders[0]) in warning
    assert why in warning
    after = files_of(folders[0])
    assert after.get("manifest.json") == before.get("manifest.json")
    assert {name for name in after if after[name] != before.get(name)} <= TOLD - {"manifest.json"}
    if spoil is not with_a_folder_in_the_way:
        assert after == before
    assert ResultManifest.read(folders[1]).evaluation["name"] == "seg-grad-cam"


def test_a_folder_that_was_deleted_meanwhile_does_not_come_back(copies):
    folders, evaluation = copies
    shutil.rmtree(folders[0])
    (warning,) = tell(evaluation)
    assert str(folders[0]) in warning
    assert not folders[0].exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user whom modes bind")
def test_a_read_only_folder_is_told_as_a_warning(copies):
    folders, evaluation = copies
    before = contents(folders[0])
    folders[0].chmod(0o555)
    try:
        (warning,) = tell(evaluation)
    finally:
        folders[0].chmod(0o755)
    assert str(folders[0]) in warning
    assert contents(folders[0]) == before


def test_panels_stand_two_in_a_row_on_a_page_and_never_upon_each_other(judged):
    _, evaluation = judged
    for shown, n_columns in ((evaluation_of(evaluation.results[0], evaluation), 2), (evaluation, 4)):
        figure = draw_curves(shown)
        figure.draw_without_rendering()
        panels, title = figure.axes, figure.texts[0].get_window_extent()
        assert len(panels) == 4 * len(shown.results)
        boxes = [axes.get_tightbbox() for axes in panels]
        assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])
        assert all(box.ymax < title.ymin + 1 and box.xmax <= figure.bbox.xmax for box in boxes)
        assert len({round(axes.get_position().x0, 2) for axes in panels}) == n_columns
        labelled = [axes for axes in panels if "soft volume" in axes.get_ylabel()]
        assert len(labelled) == (2 if shown is not evaluation else len(shown.results))


def test_a_page_without_both_ends_of_the_place_is_refused():
    for page in (b"<p>", b"<!-- evaluation -->", b"<!-- end of evaluation --><!-- evaluation -->"):
        with pytest.raises(InvalidRequest, match="no place"):
            with_section(page, "")
    told = with_section(b"a\r\n<!-- evaluation --> old <!-- end of evaluation -->\xc3\xa9", r"\1 new")
    assert told.startswith(b"a\r\n<!-- evaluation -->")
    assert rb"\1 new" in told
    assert b"old" not in told
    assert told.endswith(b"<!-- end of evaluation -->\xc3\xa9")


def test_a_page_of_one_unit_says_that_it_cannot_be_measured(tmp_path):
    picture = Picture(tmp_path / "p.png", "alt", "caption", 100)
    picture.path.write_bytes(b"\x89PNG")
    attribution = make_attribution([0.5], 0.01, partition=bars_partition(["body"]))
    html = page_html(attribution, make_findings(), maps=[picture], ranking=picture)
    assert "one unit only" in html
    assert "segexplain evaluate" not in html
