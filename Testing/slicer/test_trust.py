"""Can it be trusted? The panel's section over a real scene, with the worker's answers spoken by the test."""

import pytest
import slicer_desktop
from PySide6 import QtGui
from test_panel import _event, _failure, _make_ready, _panel, _settle, _start

SENTENCES = ["More faithful than chance: “liver” goes first (p = 0.05).", "It need not agree with anatomy."]
VERDICT = "More faithful than chance."
HEADINGS = ["", "kernel-shap", "largest unit first", "chance"]
ROWS = [
    ["Area over the curve, by units ↑", "0.923", "0.846", "0.601"],
    ["   percentile among random orders ↑", "84.2", "84.2", "50.0"],
    ["   share of the way to the best order ↑", "–", "–", ""],
    ["Faithfulness correlation ↑", "0.767 ± 0.067", "", "0.00"],
]
UNDEFINED = ["The bounds of the area would take up to 4056 new coalitions."]


pytestmark = pytest.mark.usefixtures("no_error_in_a_slot")


@pytest.fixture
def a_bed(tmp_path):
    """A panel in which everything is ready to explain."""
    return _make_ready(_panel(tmp_path))


@pytest.fixture
def a_finished_bed(a_bed, tmp_path):
    """A finished result is shown."""
    _finish(a_bed, tmp_path)
    return a_bed


def _finish(bed, folder, **given):
    result = bed.services.finished_result(bed.ct, **given)
    result.set_sentences(["It rests on the liver."], folder=folder)
    bed.panel._on_result(result)
    _settle()
    return result


def _trust(picture=""):
    from SegExplainGui.shown_result import CheckedTrust

    return CheckedTrust(
        sentences=SENTENCES, verdict=VERDICT, headings=HEADINGS, rows=ROWS, undefined=UNDEFINED, picture=str(picture)
    )


def _picture(folder):
    path = folder / "evaluation.png"
    image = QtGui.QImage(2000, 800, QtGui.QImage.Format_RGB32)
    image.fill(QtGui.QColor("white"))
    assert image.save(str(path))
    return path


def _check(bed):
    bed.ui.trustButton.click()
    _settle()


def _cells(table):
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def test_a_result_can_be_checked_once_it_is_finished_and_not_before(a_bed, tmp_path):
    assert a_bed.ui.trustSection.isHidden()
    _start(a_bed)
    result = a_bed.services.finished_result(a_bed.ct)
    a_bed.services.answer("explain", "result", result)
    _settle()
    assert a_bed.ui.trustSection.isHidden()
    result.set_sentences(["It rests on the liver."], folder=tmp_path)
    a_bed.services.answer("explain", "result", result)
    assert not a_bed.ui.trustSection.isHidden()
    assert not a_bed.ui.trustButton.enabled
    a_bed.services.answer("explain", "end", None)
    _settle()
    assert a_bed.ui.trustButton.enabled
    assert a_bed.ui.trustLabel.isHidden()
    assert a_bed.ui.trustTable.isHidden()
    result.remove()
    _settle()
    assert a_bed.ui.trustSection.isHidden()


def test_a_check_tells_how_far_it_is_and_nothing_else_can_begin_meanwhile(a_finished_bed):
    bed = a_finished_bed
    _check(bed)
    asked = bed.services.asked[-1]
    assert (asked.name, asked.given["result"], asked.given["stability"]) == ("evaluate", bed.panel.shown_result, ())
    assert asked.given["use"].model == "/models/demo"
    assert bed.ui.trustButton.text == "Cancel the check"
    assert not bed.ui.stabilityCheckBox.enabled
    assert not bed.ui.explainButton.enabled
    assert bed.ui.reasonLabel.text == "An explanation is being checked."
    event = _event(event="progress", stage="evaluate coalitions", done=1, total=4, left_s=180)
    bed.services.answer("evaluate", "event", event)
    words = "Trying combinations of units, 3 min left"
    assert (bed.ui.progressBar.value, bed.ui.progressLabel.text, bed.ui.trustProgressLabel.text) == (250, words, words)
    assert not bed.ui.progressBar.isHidden()
    bed.services.answer("evaluate", "event", _event(event="warning", message="The CPU is used."))
    assert bed.panel.message.text == "The CPU is used."


def test_what_came_of_a_check_is_shown_with_its_numbers_and_curves(a_finished_bed, tmp_path):
    bed = a_finished_bed
    _check(bed)
    bed.panel.shown_result.set_trust(_trust(_picture(tmp_path)))
    ui = bed.ui
    ui.trustSection.collapsed = True
    bed.services.answer("evaluate", "end", None)
    _settle()
    assert not ui.trustSection.collapsed
    assert ui.trustLabel.text.split("\n") == [f"• {sentence}" for sentence in SENTENCES]
    table = ui.trustTable
    assert _cells(table) == ROWS
    assert [table.horizontalHeaderItem(at).text().replace("\n", " ") for at in range(4)] == HEADINGS
    assert ui.trustSection.text == f"Can it be trusted? {VERDICT}"
    assert UNDEFINED[0] in ui.undefinedLabel.text
    assert not ui.curvesButton.isHidden()
    assert ui.curvesButton.iconSize.width() / ui.curvesButton.iconSize.height() == pytest.approx(2.5, rel=0.02)
    ui.curvesButton.click()
    assert ("open_curves", bed.panel.shown_result) in bed.services.done
    assert ui.progressBar.isHidden()
    assert ui.trustProgressLabel.isHidden()
    assert (ui.trustButton.text, ui.trustButton.enabled) == ("Check this explanation", True)
    assert ui.explainButton.enabled


def test_stability_is_measured_when_it_is_asked_for(a_finished_bed):
    from SegExplainGui.services import STABILITY

    a_finished_bed.ui.stabilityCheckBox.click()
    _check(a_finished_bed)
    assert a_finished_bed.services.asked[-1].given["stability"] == STABILITY


def test_a_check_that_is_cancelled_or_fails_says_so_once_and_can_be_started_again(a_finished_bed):
    bed = a_finished_bed
    _check(bed)
    _check(bed)
    assert ("cancel",) in bed.services.done
    assert not bed.ui.trustButton.enabled
    assert bed.ui.trustProgressLabel.text == "Stopping..."
    bed.services.answer("evaluate", "end", _failure("Stopped by the user.", kind="Cancelled"))
    _settle()
    assert bed.panel.message.text == "Stopped by the user."
    _check(bed)
    assert bed.services.names().count("evaluate") == 2
    assert bed.panel.message.text == ""
    bed.services.answer("evaluate", "end", _failure(log="line 1"))
    _settle()
    assert bed.panel.message.text.endswith("Choose it again.")
    assert bed.ui.logText.toPlainText() == "line 1"
    assert bed.ui.trustButton.enabled
    assert bed.ui.trustLabel.isHidden()


def test_a_result_that_cannot_be_checked_says_why_and_keeps_what_was_found(a_finished_bed, tmp_path):
    bed = a_finished_bed
    bed.panel.shown_result.set_trust(_trust(tmp_path / "gone.png"))
    bed.services.unchecked = "The results are no longer on this computer."
    bed.panel._refresh()
    assert not bed.ui.trustButton.enabled
    assert not bed.ui.stabilityCheckBox.enabled
    assert bed.ui.trustReasonLabel.text == "The results are no longer on this computer."
    assert bed.ui.trustButton.toolTip == "The results are no longer on this computer."
    assert _cells(bed.ui.trustTable) == ROWS
    assert bed.ui.curvesButton.isHidden()


def test_each_result_shows_its_own_check(a_finished_bed, tmp_path):
    bed = a_finished_bed
    first = bed.panel.shown_result
    first.set_trust(_trust())
    _finish(bed, tmp_path, name="Second")
    assert bed.ui.trustLabel.isHidden()
    assert bed.ui.trustSection.text == "Can it be trusted?"
    bed.ui.resultSelector.currentIndex = 1
    assert bed.panel.shown_result == first
    assert bed.ui.trustLabel.text.startswith("• More faithful")


def test_a_check_goes_on_while_another_module_is_shown(a_finished_bed):
    bed = a_finished_bed
    result = bed.panel.shown_result
    _check(bed)
    bed.panel.leave()
    bed.services.answer("evaluate", "event", _event(event="stage", stage="write results"))
    result.set_trust(_trust())
    bed.services.answer("evaluate", "end", None)
    _settle()
    bed.panel.enter(bed.parameters)
    assert bed.ui.trustButton.text == "Check this explanation"
    assert bed.ui.trustLabel.text.startswith("• More faithful")


def test_a_check_whose_result_was_removed_can_still_be_cancelled(a_finished_bed):
    bed = a_finished_bed
    _check(bed)
    bed.panel.shown_result.remove()
    _settle()
    _check(bed)
    assert ("cancel",) in bed.services.done
    bed.services.answer("evaluate", "end", _failure("Stopped by the user.", kind="Cancelled"))
    _settle()
    assert bed.ui.trustSection.isHidden()
    assert bed.ui.explainButton.enabled


def test_an_unexpected_error_at_the_start_is_told_and_leaves_the_button_ready(a_finished_bed, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the moon is in the wrong house")

    monkeypatch.setattr(a_finished_bed.services, "evaluate", broken)
    _check(a_finished_bed)
    assert "the moon is in the wrong house" in a_finished_bed.panel.message.text
    assert a_finished_bed.ui.trustButton.text == "Check this explanation"


@pytest.mark.parametrize("width", [360, 420])
def test_the_section_fits_into_a_narrow_panel(a_finished_bed, tmp_path, width):
    bed = a_finished_bed
    bed.panel.shown_result.set_trust(_trust(_picture(tmp_path)))
    bed.panel._refresh()
    assert bed.root.minimumSizeHint().width() <= width
    slicer_desktop.picture(bed.root, tmp_path / "panel.png", width=width, height=1000)
    assert bed.ui.curvesButton.iconSize.width() <= width
