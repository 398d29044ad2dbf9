"""The panel over a real scene, with the worker's answers spoken by the test."""

import ast
import re
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scenes
import slicer
import slicer_desktop
from PySide6 import QtGui, QtWidgets

from SegExplainLib import contract

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "SegExplain"
UI_FILE = MODULE / "Resources" / "UI" / "SegExplain.ui"
FAILED = "The network's folder is gone."


pytestmark = pytest.mark.usefixtures("no_error_in_a_slot")


@pytest.fixture
def a_panel(tmp_path):
    """A panel that was entered, in a scene with a CT; the worker has not answered yet."""
    return _panel(tmp_path)


@pytest.fixture
def a_ready_panel(a_panel):
    """All is there: backend, network, label, ROI."""
    return _make_ready(a_panel)


def _panel(folder):
    application = slicer_desktop.start(folder / "settings")
    from scripted_services import ScriptedServices
    from SegExplainGui.panel import Panel
    from SegExplainGui.parameters import Parameters

    services = ScriptedServices(application, folder)
    voxels = np.zeros((30, 40, 50), np.int16)
    ct = scenes.add_ct(application.scene, voxels, scenes.ijk_to_ras("straight"))
    ct.SetName("Torso")
    root = slicer_desktop.load_ui(UI_FILE)
    ui = slicer.util.childWidgetVariables(root)
    parameters = Parameters(application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    panel = Panel(ui, scene=application.scene, services=services)
    panel.enter(parameters)
    return SimpleNamespace(
        panel=panel, ui=ui, root=root, services=services, parameters=parameters, ct=ct, scene=application.scene
    )


def _make_ready(bed):
    from scripted_services import NETWORK, READY

    bed.services.answer("check", "answer", READY)
    _until_asked(bed, "describe")
    bed.services.answer("describe", "answer", NETWORK)
    bed.parameters.target = "liver"
    bed.ui.newRoiButton.click()
    _settle()
    return bed


def _settle():
    for _ in range(4):
        QtWidgets.QApplication.processEvents()


def _until(is_so):
    """Lets timers run out until something is so."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, "it did not come"
        QtWidgets.QApplication.processEvents()
        time.sleep(0.01)
    _settle()


def _until_asked(bed, name, *, times=1):
    _until(lambda: bed.services.names().count(name) == times)


def _let_pauses_end():
    end = time.monotonic() + 1.2
    _until(lambda: time.monotonic() > end)


def _failure(message=FAILED, hint="Choose it again.", kind="UnusableModel", log=""):
    from SegExplainGui.services import Failure

    return Failure(message=message, hint=hint, kind=kind, log=log)


def _event(**given):
    return contract.Event(**given)


def _start(bed):
    bed.ui.explainButton.click()
    _settle()


def _finish(bed, **given):
    result = bed.services.finished_result(bed.ct, **given)
    bed.services.answer("explain", "result", result)
    bed.services.answer("explain", "end", None)
    _settle()
    return result


# the file


def _code():
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((MODULE / "SegExplainGui").rglob("*.py")))


def _widgets():
    return {one.get("name"): one for one in ElementTree.parse(UI_FILE).getroot().iter("widget")}


def test_every_widget_that_the_code_names_is_in_the_file():
    used = set(re.findall(r"\b_?ui\.([a-z]\w+)", _code()))
    layouts = {one.get("name") for one in ElementTree.parse(UI_FILE).getroot().iter("layout")}
    assert used
    assert used <= set(_widgets()) | layouts


def test_no_widget_in_the_file_is_dead():
    """Each is a label, holds others, is bound by its parameter's name, or is used by the code."""
    used = set(re.findall(r"\b_?ui\.([a-z]\w+)", _code()))
    for name, widget in _widgets().items():
        is_bound = any(entry.get("name") == "SlicerParameterName" for entry in widget.iter("property"))
        is_label = widget.get("class") == "QLabel" and widget.find("property[@name='buddy']") is not None
        is_container = widget.find("layout") is not None
        assert is_bound or is_label or is_container or name in used, name


def test_every_bound_widget_names_a_parameter_that_can_be_connected(a_panel):
    bound = re.findall(
        r'name="SlicerParameterName"[^>]*>\s*<string notr="true">(\w+)<', UI_FILE.read_text(encoding="utf-8")
    )
    assert len(bound) == len(set(bound))
    by_hand = {"target", "fit_segmentation", "fit_segment", "reference", "reference_segment"}
    assert set(bound) | by_hand == set(a_panel.parameters.allParameters)


def test_every_input_has_a_tool_tip_and_a_place_in_the_tab_order():
    inputs = ("ComboBox", "SpinBox", "Slider", "Button", "LineEdit", "CheckBox", "Selector", "Table")
    for name, widget in _widgets().items():
        if any(kind in widget.get("class") for kind in inputs) and "Collapsible" not in widget.get("class"):
            tip = widget.find("property[@name='toolTip']/string")
            assert tip is not None, name
            assert tip.text, name


def test_mnemonics_of_a_section_do_not_clash():
    for section in ("inputsSection", "regionSection", "questionSection"):
        texts = [one.text or "" for one in _widgets()[section].iter("string")]
        keys = [match.group(1).lower() for text in texts for match in [re.search(r"&(\w)", text)] if match]
        assert len(keys) == len(set(keys)), section


# parameters


@pytest.mark.usefixtures("a_panel")
def test_choices_are_those_of_the_contract():
    from SegExplainGui import parameters

    assert {one.value for one in parameters.UnitKind} == set(contract.UNIT_KINDS)
    assert {one.value for one in parameters.Method} == set(contract.METHODS)
    assert {one.value for one in parameters.Quantity} == set(contract.VALUES)
    assert {one.value for one in parameters.Removal} == set(contract.REMOVALS)
    assert {one.value for one in parameters.Mirroring} == {"model", "off"}


@pytest.mark.usefixtures("a_panel")
def test_every_choice_has_words_of_its_own_for_people():
    from SegExplainGui import parameters

    for kind in (parameters.UnitKind, parameters.Method, parameters.Quantity, parameters.Removal, parameters.Sign):
        labels = [member.label() for member in kind]
        assert len(set(labels)) == len(labels)
        assert all(label and not set(label) & set("_<>") for label in labels)


def test_defaults_are_those_of_a_request_and_valid(a_panel):
    from SegExplainGui.parameters import request_fields

    found = request_fields(a_panel.parameters)
    defaults = {one.name: one.default for one in fields(contract.ExplainRequest)}
    assert {name: value for name, value in found.items() if name != "target"} == {
        name: defaults[name] for name in found if name != "target"
    }
    request = contract.ExplainRequest(ct="a", model="b", roi="c", **(found | {"target": "liver"}))
    assert request.problems() == []


def test_extreme_values_of_every_widget_make_a_valid_request(a_panel):
    from SegExplainGui.parameters import request_fields

    ui = a_panel.ui
    names = ("budgetSpinBox", "toleranceSpinBox", "batchSpinBox", "seedSpinBox", "unitSizeSlider", "noiseSpinBox")
    for name in names:
        for end in ("minimum", "maximum"):
            widget = getattr(ui, name)
            widget.value = getattr(widget, end)
            request = contract.ExplainRequest(
                ct="a", model="b", roi="c", **(request_fields(a_panel.parameters) | {"target": "liver"})
            )
            assert request.problems() == []


def test_widgets_and_parameters_follow_each_other(a_panel):
    from SegExplainGui.parameters import Method, UnitKind

    ui, parameters = a_panel.ui, a_panel.parameters
    ui.unitsSelector.currentIndex = 2
    ui.foldsLineEdit.text = "0, 3"
    ui.marginSpinBox.value = 25
    assert parameters.units == UnitKind.HYBRID
    assert parameters.folds == "0, 3"
    assert parameters.margin_mm == 25
    parameters.method = Method.EXACT
    parameters.opacity = 0.25
    assert ui.methodSelector.currentText == "Exact, few units only"
    assert ui.opacitySlider.value == pytest.approx(0.25)


def test_parameters_come_back_from_the_node_that_a_scene_keeps(a_panel):
    from SegExplainGui.parameters import Parameters, Removal

    a_panel.parameters.removal = Removal.BLUR
    a_panel.parameters.seed = 7
    again = Parameters(a_panel.parameters.parameterNode)
    assert (again.removal, again.seed, again.ct) == (Removal.BLUR, 7, a_panel.ct)


def test_a_choice_of_another_version_falls_back_to_the_default(a_panel):
    from SegExplainGui.parameters import Method, UnitKind, parameters_of

    node = a_panel.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    node.SetParameter("method", "OWEN")
    node.SetParameter("units", "HYBRID")
    found = parameters_of(node)
    assert (found.method, found.units) == (Method.ADJUSTED_SHAP, UnitKind.HYBRID)


def test_what_is_said_in_the_panel_can_be_translated(a_panel):
    """No text for people is put into a widget but through ``_()``."""
    shown = ("text", "toolTip", "placeholderText")
    for path in (MODULE / "SegExplainGui").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "attr", "") in shown:
                assert not (isinstance(node.value, ast.Constant) and node.value.value), f"{path.name}:{node.lineno}"


# what can be done


def test_explain_is_refused_with_the_reason_until_all_is_there(a_panel):
    from scripted_services import LACKING, NETWORK, READY

    def shown():
        _settle()
        assert a_panel.ui.explainButton.enabled == (not a_panel.ui.reasonLabel.text)
        return a_panel.ui.reasonLabel.text

    assert shown() == "Checking what is ready..."
    a_panel.services.answer("check", "answer", LACKING)
    assert "Packages are missing" in shown()
    a_panel.services.answer("check", "answer", READY)
    assert "network is being opened" in shown()
    _until_asked(a_panel, "describe")
    a_panel.services.answer("describe", "failure", _failure())
    assert "network cannot be used" in shown()
    assert FAILED in a_panel.ui.modelStateLabel.text
    a_panel.services.answer("describe", "answer", NETWORK)
    a_panel.ui.trustCheckBox.checked = True
    _until_asked(a_panel, "describe", times=2)
    a_panel.services.answer("describe", "answer", NETWORK)
    assert "Choose the label" in shown()
    a_panel.ui.targetSelector.setCurrentText("gallbladder")
    assert "gallbladder" in shown()
    a_panel.ui.targetSelector.setCurrentText("lesion")
    assert "ROI" in shown()
    a_panel.ui.newRoiButton.click()
    assert shown() == ""
    a_panel.parameters.ct = None
    assert shown() == "Choose a CT."


def test_an_roi_off_the_ct_is_refused_with_what_is_wrong(a_ready_panel):
    bed = a_ready_panel
    bed.parameters.roi.SetCenter(5000, 5000, 5000)
    _settle()
    assert not bed.ui.explainButton.enabled
    assert "ROI" in bed.ui.reasonLabel.text
    assert bed.ui.reasonLabel.text in bed.ui.regionSizeLabel.text
    bed.parameters.roi.SetCenter(*bed.services.new_roi(bed.parameters).GetCenter())
    _settle()
    assert bed.ui.explainButton.enabled


def test_a_transform_that_is_not_linear_is_refused(a_ready_panel):
    bed = a_ready_panel
    bed.ct.SetAndObserveTransformNodeID(scenes.warped(bed.scene).GetID())
    _settle()
    assert not bed.ui.explainButton.enabled
    assert "linear" in bed.ui.regionSizeLabel.text


def test_relative_false_positives_ask_for_a_truth(a_ready_panel):
    from SegExplainGui.parameters import Quantity

    a_ready_panel.parameters.value = Quantity.FP_RELATIVE
    _settle()
    assert "truth" in a_ready_panel.ui.reasonLabel.text


def test_what_the_units_do_not_use_is_greyed_out(a_panel):
    from SegExplainGui.parameters import UnitKind

    for units, uses_organs, uses_size in (
        (UnitKind.ORGANS, True, False),
        (UnitKind.FCC, False, True),
        (UnitKind.HYBRID, True, True),
    ):
        a_panel.parameters.units = units
        _settle()
        assert a_panel.ui.organsSelector.enabled == uses_organs
        assert a_panel.ui.unitSizeSlider.enabled == uses_size


# the method and what it uses

OPTIONS = {
    "budget": "budgetSpinBox",
    "tolerance": "toleranceSpinBox",
    "seed": "seedSpinBox",
    "noise": "noiseSpinBox",
    "layer": "layerLineEdit",
    "float32": "float32CheckBox",
    "xrai": "xraiFastCheckBox",
}
USED = {
    "saliency": "float32",
    "input-x-gradient": "float32",
    "guided-backprop": "float32",
    "seg-grad-cam": "float32 layer",
    "integrated-gradients": "float32 budget tolerance",
    "expected-gradients": "float32 budget tolerance seed",
    "smoothgrad": "float32 budget tolerance seed noise",
    "smoothgrad-squared": "float32 budget tolerance seed noise",
    "vargrad": "float32 budget tolerance seed noise",
    "xrai": "float32 budget tolerance xrai",
}


@pytest.mark.parametrize("name", contract.METHODS)
def test_each_method_shows_what_it_uses_and_can_be_asked(a_ready_panel, name):
    from SegExplainGui.parameters import Method, request_fields

    ui, parameters = a_ready_panel.ui, a_ready_panel.parameters
    parameters.noise_percent, parameters.layer = 20.0, "left over"
    parameters.float32 = parameters.xrai_fast = parameters.xrai_units = True
    parameters.method = Method(name)
    _settle()
    used = USED.get(name, "budget tolerance seed").split()
    assert {option for option, widget in OPTIONS.items() if not getattr(ui, widget).isHidden()} == set(used)
    assert ui.removalSelector.enabled == (name in contract.SHAPLEY_METHODS or name in contract.PATH_METHODS)
    assert ui.referenceCtsSelector.isHidden()
    assert ui.reasonLabel.text == ""
    request = contract.ExplainRequest(ct="a", model="b", roi="c", **request_fields(parameters))
    assert request.problems() == []
    assert request.unused_options == ()
    assert (request.noise == 0.2) == ("noise" in used)


def test_every_method_says_in_a_line_what_it_is(a_panel):
    import qt
    from SegExplainGui.parameters import Method

    tips = [a_panel.ui.methodSelector.itemData(row, qt.Qt.ToolTipRole) for row in range(len(Method))]
    assert len(set(tips)) == len(contract.METHODS)
    assert all(tip and len(tip) < 110 for tip in tips)
    a_panel.parameters.method = Method.XRAI
    _settle()
    assert a_panel.ui.methodSelector.toolTip == tips[-1]


def test_shapley_methods_come_first(a_panel):
    from SegExplainGui.parameters import Method

    uses_gradients = [method.uses_gradients for method in Method]
    assert uses_gradients == sorted(uses_gradients)
    assert a_panel.ui.methodSelector.count == len(contract.METHODS)


@pytest.mark.parametrize("value", [one for one in contract.VALUES if one != "fp-relative"])
@pytest.mark.parametrize("method", ["kernel-shap", "saliency"])
def test_a_measure_without_a_gradient_is_refused_for_gradients_with_what_can_be_chosen(a_ready_panel, method, value):
    from SegExplainGui.parameters import Method, Quantity

    bed = a_ready_panel
    bed.parameters.method, bed.parameters.value = Method(method), Quantity(value)
    _settle()
    is_refused = method == "saliency" and value not in contract.DIFFERENTIABLE_VALUES
    assert ("no gradient" in bed.ui.reasonLabel.text) == is_refused
    assert ("Mean logit" in bed.ui.reasonLabel.text) == is_refused
    assert bed.ui.explainButton.enabled == (not is_refused)


@pytest.mark.parametrize("removal", ["black-white", "references"])
def test_several_images_are_for_paths_alone(a_ready_panel, removal):
    from SegExplainGui.parameters import Method, Removal, request_fields

    bed = a_ready_panel
    bed.parameters.removal = Removal(removal)
    _settle()
    assert "one only" in bed.ui.reasonLabel.text
    bed.parameters.method = Method.SALIENCY  # has no use for it
    _settle()
    assert bed.ui.reasonLabel.text == ""
    fields = request_fields(bed.parameters)
    assert contract.ExplainRequest(ct="a", model="b", roi="c", **fields).problems() == []
    bed.parameters.method = Method.EXPECTED_GRADIENTS
    _settle()
    assert ("Choose the other CTs" in bed.ui.reasonLabel.text) == (removal == "references")


def test_other_cts_are_chosen_from_the_scene_and_kept_with_it(a_ready_panel):
    from SegExplainGui.parameters import Method, Parameters, Removal, reference_cts

    bed = a_ready_panel
    others = [
        scenes.add_ct(bed.scene, np.full((4, 5, 6), value, np.int16), scenes.ijk_to_ras("oblique")) for value in (1, 2)
    ]
    bed.parameters.method, bed.parameters.removal = Method.INTEGRATED_GRADIENTS, Removal.REFERENCES
    _settle()
    assert not bed.ui.referenceCtsSelector.isHidden()
    for ct in others:
        bed.ui.referenceCtsSelector.check(ct)
    _settle()
    assert bed.ui.reasonLabel.text == ""
    assert reference_cts(Parameters(bed.parameters.parameterNode)) == others
    bed.panel.leave()
    bed.ui.referenceCtsSelector.uncheck(others[0])
    bed.panel.enter(bed.parameters)
    assert bed.ui.referenceCtsSelector.checkedNodes() == others
    bed.scene.RemoveNode(others[0])
    _settle()
    assert reference_cts(bed.parameters) == others[1:]
    bed.parameters.removal = Removal.BLACK_WHITE
    assert reference_cts(bed.parameters) == []


def test_other_cts_are_exported_like_the_ct(a_ready_panel, tmp_path):
    from SegExplainGui.parameters import Method, Removal, choose_reference_cts
    from SegExplainGui.scene_question import scene_question
    from SegExplainGui.services import ModelUse

    bed = a_ready_panel
    other = scenes.add_ct(bed.scene, np.full((4, 5, 6), 7, np.int16), scenes.ijk_to_ras("oblique"))
    bed.parameters.method, bed.parameters.removal = Method.INTEGRATED_GRADIENTS, Removal.REFERENCES
    choose_reference_cts(bed.parameters, [other])
    request = scene_question(bed.parameters, ModelUse(model="demo")).exported(tmp_path, warn=print)
    assert request.problems() == []
    (path,) = request.reference_cts
    assert path != request.ct
    assert Path(path).read_bytes().endswith(np.full((4, 5, 6), 7, np.int16).tobytes())
    assert "Müller" not in path


# region and preview


def test_the_live_line_tells_voxels_at_once_and_the_rest_when_all_is_quiet(a_ready_panel):
    from scripted_services import PREVIEW

    bed = a_ready_panel
    assert re.fullmatch(r"[\d,]+ voxels \([\d.e+]+ ml\)", bed.ui.regionSizeLabel.text)
    assert "preview" not in bed.services.names()
    for _ in range(10):
        bed.parameters.roi.SetCenter(*np.add(bed.parameters.roi.GetCenter(), 0.1))
        _settle()
    _let_pauses_end()
    assert bed.services.names().count("preview") == 1
    bed.services.answer("preview", "answer", PREVIEW)
    assert bed.ui.regionSizeLabel.text == "12,345 voxels (41.7 ml), 18 of 80 tiles, 51 units, about 3 to 6 min"


def test_an_answer_to_an_older_question_is_not_shown(a_ready_panel):
    from scripted_services import PREVIEW
    from SegExplainGui.parameters import UnitKind

    bed = a_ready_panel
    _until_asked(bed, "preview")
    bed.parameters.units = UnitKind.FCC
    _settle()
    bed.services.answer("preview", "answer", PREVIEW)
    assert "tiles" not in bed.ui.regionSizeLabel.text


def test_a_question_that_cannot_be_asked_is_not_counted(a_ready_panel):
    from SegExplainGui.parameters import Method, Quantity

    bed = a_ready_panel
    bed.parameters.method, bed.parameters.value = Method.SALIENCY, Quantity.DICE
    _let_pauses_end()
    assert "preview" not in bed.services.names()
    bed.parameters.value = Quantity.MEAN_LOGIT
    _until_asked(bed, "preview")


def test_the_view_of_a_result_asks_for_no_new_preview(a_ready_panel):
    bed = a_ready_panel
    _until_asked(bed, "preview")
    bed.parameters.opacity = 0.3
    bed.parameters.top_k = 5
    _let_pauses_end()
    assert bed.services.names().count("preview") == 1


def test_a_box_is_fitted_to_the_chosen_segment(a_ready_panel):
    bed = a_ready_panel
    mask = np.zeros((30, 40, 50), bool)
    mask[10:14, 20:25, 30:37] = True
    node = scenes.add_segmentation(bed.scene, [{"tumour": mask}], scenes.ijk_to_ras("straight"))
    bed.ui.fitSelector.setCurrentNode(node)
    bed.ui.fitSelector.setCurrentSegmentID("tumour")
    _settle()
    assert (bed.parameters.fit_segmentation, bed.parameters.fit_segment) == (node, "tumour")
    bed.ui.marginSpinBox.value = 0
    bed.ui.fitButton.click()
    _settle()
    assert bed.ui.regionSizeLabel.text.startswith(f"{4 * 5 * 7} voxels")


# a run


def test_explain_becomes_cancel_while_it_runs_and_tells_how_far_it_is(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    assert bed.ui.explainButton.text == "Cancel"
    bed.services.answer("explain", "event", _event(event="stage", stage="evaluate coalitions"))
    bed.services.answer(
        "explain",
        "event",
        _event(event="progress", stage="evaluate coalitions", done=45, total=100, left_s=180, error=0.042),
    )
    assert bed.ui.progressBar.value == 450
    assert bed.ui.progressLabel.text == "Trying combinations of units, 3 min left, error 4.2 %"
    bed.ui.explainButton.click()
    assert ("cancel",) in bed.services.done
    assert not bed.ui.explainButton.enabled
    bed.services.answer("explain", "end", _failure("Stopped by the user.", kind="Cancelled"))
    _settle()
    assert bed.ui.explainButton.text == "Explain"
    assert bed.ui.explainButton.enabled
    assert bed.ui.progressBar.isHidden()
    assert bed.panel.message.text == "Stopped by the user."


def test_a_failed_run_says_once_what_is_wrong_and_what_to_do(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    bed.services.answer("explain", "event", _event(event="warning", message="The CPU is used."))
    bed.services.answer("explain", "event", _event(event="warning", message="The CPU is used."))
    assert bed.panel.message.text == "The CPU is used."
    bed.services.answer("explain", "end", _failure(log="line 1\nline 2"))
    _settle()
    assert bed.panel.message.text == f"{FAILED}\nChoose it again."
    assert bed.ui.logText.isHidden()
    bed.ui.logButton.click()
    assert bed.ui.logText.toPlainText() == "line 1\nline 2"
    assert not bed.ui.logText.isHidden()
    bed.ui.dismissButton.click()
    assert bed.panel.message.text == ""
    assert bed.ui.explainButton.enabled


def test_a_run_of_the_console_keeps_the_panel_from_starting_another(a_ready_panel):
    a_ready_panel.services.is_busy = True
    a_ready_panel.parameters.seed = 1
    _settle()
    assert not a_ready_panel.ui.explainButton.enabled
    assert "under way" in a_ready_panel.ui.reasonLabel.text


def test_an_unexpected_error_is_told_in_the_panel(a_ready_panel, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the moon is in the wrong house")

    monkeypatch.setattr(a_ready_panel.services, "explain", broken)
    _start(a_ready_panel)
    assert "the moon is in the wrong house" in a_ready_panel.panel.message.text
    assert "Traceback" in a_ready_panel.ui.logText.toPlainText()
    assert a_ready_panel.ui.explainButton.text == "Explain"


def test_a_run_goes_on_while_another_module_is_shown(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    bed.panel.leave()
    bed.services.answer("explain", "event", _event(event="stage", stage="write results"))
    result = _finish(bed)
    assert ("bring_to_views", result) not in bed.services.done
    bed.panel.enter(bed.parameters)
    assert bed.ui.explainButton.text == "Explain"
    assert bed.ui.resultSelector.currentText == result.name
    assert bed.services.done.count(("bring_to_views", result)) == 1


def test_an_unexpected_error_while_the_panel_follows_the_scene_is_told(a_ready_panel, monkeypatch):
    def broken(_parameters):
        raise ZeroDivisionError("no size")

    monkeypatch.setattr(a_ready_panel.services, "region_size", broken, raising=False)
    a_ready_panel.parameters.roi.SetSize(9.0, 9.0, 9.0)
    _settle()
    assert "no size" in a_ready_panel.panel.message.text


# a result


def test_a_result_is_shown_and_every_control_changes_it_at_once(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    result = _finish(bed)
    ui = bed.ui
    assert not ui.resultSection.collapsed
    assert result.shown == ("liver", "soft-dice")
    assert ("bring_to_views", result) in bed.services.done
    assert ui.unitsTable.item(0, 0).text() == "liver"
    assert ui.unitsTable.item(1, 1).text() == "−0.244 ± 0.006"
    ui.topKSpinBox.value = 3
    _settle()
    assert result.segmentation.GetSegmentation().GetNumberOfSegments() == 3
    ui.signSelector.currentIndex = 2
    _settle()
    shown = result.segmentation.GetSegmentation()
    assert shown.GetNthSegment(0).GetName() == "stomach"
    ui.shownClassSelector.currentIndex = 1
    assert result.shown == ("spleen", "soft-dice")
    ui.shownValueSelector.currentIndex = 1
    assert result.shown == ("spleen", "soft-volume")
    assert ui.unitsTable.horizontalHeaderItem(1).text() == "Importance (ml)"
    assert "explain" in bed.services.names()
    assert bed.services.names().count("explain") == 1


def test_a_preview_is_shown_and_said_not_to_be_the_answer(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    bed.services.answer("explain", "event", _event(event="partial", message="Seg-Grad-CAM preview"))
    bed.services.answer("explain", "event", _event(event="stage", stage="evaluate coalitions"))
    assert bed.services.done[-1] == ("show_preview",)
    assert "not the answer" in bed.ui.progressLabel.text
    assert bed.ui.resultSelector.count == 0
    result = bed.services.finished_result(bed.ct)
    bed.services.answer("explain", "result", result)
    bed.services.answer("explain", "event", _event(event="progress", stage="evaluate coalitions", done=1, total=9))
    assert "preview" not in bed.ui.progressLabel.text
    assert bed.services.done[-1] == ("bring_to_views", result)


def test_a_preview_takes_no_views_while_another_module_is_shown(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    bed.panel.leave()
    bed.services.answer("explain", "event", _event(event="partial", message="Seg-Grad-CAM preview"))
    assert ("show_preview",) not in bed.services.done


def _gradient_result(bed, method, values, unit):
    result = bed.services.gradient_result(bed.ct, method=method, values=values, unit=unit)
    bed.services.answer("explain", "result", result)
    bed.services.answer("explain", "end", None)
    _settle()
    return result


def test_a_map_without_sign_is_told_in_percent_without_error_or_direction(a_ready_panel):
    bed, ui = a_ready_panel, a_ready_panel.ui
    _start(bed)
    _gradient_result(bed, "seg-grad-cam", (0.02, 0.008, 0.0), "relative")
    assert ui.unitsTable.horizontalHeaderItem(1).text() == "Heat (% of largest)"
    assert [ui.unitsTable.item(row, 1).text() for row in range(3)] == ["100.0", "40.0", "0.0"]
    for widget in (ui.signSelector, ui.shownClassSelector, ui.shownValueSelector):
        assert not widget.enabled
    assert "one question" in ui.shownClassSelector.toolTip
    _start(bed)
    _finish(bed, name="Shapley")
    for widget in (ui.signSelector, ui.shownClassSelector, ui.shownValueSelector):
        assert widget.enabled
    assert "Every label" in ui.shownClassSelector.toolTip
    assert ui.unitsTable.horizontalHeaderItem(1).text() == "Importance"


def test_a_signed_map_is_told_in_its_unit_with_signs(a_ready_panel):
    bed, ui = a_ready_panel, a_ready_panel.ui
    _start(bed)
    _gradient_result(bed, "integrated-gradients", (0.5, -0.25, 0.1), "share")
    assert ui.unitsTable.horizontalHeaderItem(1).text() == "Importance"
    assert [ui.unitsTable.item(row, 1).text() for row in range(3)] == ["+0.500", "−0.250", "+0.100"]
    assert ui.signSelector.enabled


def test_the_sign_of_a_slope_is_not_said_to_speak_for_the_label(a_ready_panel):
    bed, ui = a_ready_panel, a_ready_panel.ui
    _start(bed)
    _finish(bed, name="Shapley")
    assert "speak for" in ui.signSelector.toolTip
    _start(bed)
    _gradient_result(bed, "smoothgrad", (0.5, -0.25, 0.1), "relative")
    assert "above zero" in ui.signSelector.toolTip
    assert "speak" not in ui.signSelector.toolTip + ui.signLabel.toolTip


def test_gradients_are_told_in_their_own_words_while_they_are_taken(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    for stage in ("remove units", "run unperturbed tiles", "take gradients"):
        bed.services.answer("explain", "event", _event(event="stage", stage=stage))
        assert not re.search("remov|combination|coalition", bed.ui.progressLabel.text.lower())
    bed.services.answer("explain", "event", _event(event="progress", stage="take gradients", done=3, total=12))
    assert bed.ui.progressLabel.text == "Following the network back"
    assert bed.ui.progressBar.value == 250


def test_choosing_a_unit_jumps_to_it_and_highlights_it(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    result = _finish(bed)
    bed.ui.unitsTable.selectRow(2)
    assert result.highlighted == 3
    assert bed.services.done[-1] == ("jump_to", result, 3)


def test_a_click_on_the_chosen_unit_jumps_back_to_it(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    result = _finish(bed)
    bed.ui.unitsTable.selectRow(2)
    bed.services.done.clear()
    bed.ui.unitsTable.cellClicked.emit(2, 0)
    assert bed.services.done == [("jump_to", result, 3)]


def test_a_unit_that_is_no_longer_chosen_stands_out_no_more(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    result = _finish(bed)
    bed.ui.unitsTable.selectRow(2)
    bed.ui.unitsTable.clearSelection()
    assert result.highlighted is None


def test_the_chosen_result_is_still_chosen_when_the_user_comes_back(a_ready_panel):
    bed = a_ready_panel
    for name in ("Older", "Newer"):
        _start(bed)
        _finish(bed, name=name)
    bed.ui.resultSelector.currentIndex = 1
    bed.panel.leave()
    bed.panel.enter(bed.parameters)
    assert bed.ui.resultSelector.currentText == "Older"


def test_a_scene_that_is_half_loaded_is_left_alone_until_it_is_there(a_panel):
    a_panel.scene.StartState(a_panel.scene.ImportState)
    a_panel.services.finished_result(a_panel.ct)
    _settle()
    assert a_panel.ui.resultSelector.count == 0
    a_panel.scene.EndState(a_panel.scene.ImportState)
    _settle()
    assert a_panel.ui.resultSelector.count == 1


def test_the_table_sorts_by_the_heading_that_is_clicked(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    _finish(bed)
    table = bed.ui.unitsTable
    table.selectRow(0)
    table.horizontalHeader().sectionClicked.emit(0)
    names = [table.item(row, 0).text() for row in range(table.rowCount)]
    assert names == sorted(names, key=str.lower)
    assert table.selectedItems()[0].text() == "liver"
    table.horizontalHeader().sectionClicked.emit(2)
    volumes = [float(table.item(row, 2).text().replace(",", "")) for row in range(table.rowCount)]
    assert volumes == sorted(volumes, reverse=True)


def test_results_come_and_go_with_the_scene(a_ready_panel):
    bed = a_ready_panel
    first = bed.services.finished_result(bed.ct, name="First")
    second = bed.services.finished_result(bed.ct, name="Second")
    _settle()
    assert [bed.ui.resultSelector.itemText(at) for at in range(bed.ui.resultSelector.count)] == [
        second.name,
        first.name,
    ]
    bed.ui.removeResultButton.click()
    _settle()
    assert bed.ui.resultSelector.count == 1
    first.remove()
    _settle()
    assert bed.ui.resultSelector.count == 0
    assert bed.ui.unitsTable.rowCount == 0
    assert not bed.ui.saveTableButton.enabled


def test_an_interim_result_does_not_take_the_views_again(a_ready_panel):
    bed = a_ready_panel
    _start(bed)
    result = bed.services.finished_result(bed.ct)
    for _ in range(3):
        bed.services.answer("explain", "result", result)
    assert [one[0] for one in bed.services.done].count("bring_to_views") == 1


def test_a_reloaded_result_opens_with_the_answer_that_was_shown(a_ready_panel):
    bed = a_ready_panel
    result = bed.services.finished_result(bed.ct)
    result.show("spleen", "soft-volume", top_k=5, sign="both", opacity=0.5)
    bed.panel.enter(bed.parameters)
    assert bed.ui.shownClassSelector.currentText == "spleen"
    assert bed.ui.shownValueSelector.currentText == "Soft volume (ml)"


def test_what_is_saved_goes_where_the_user_said_with_the_right_ending(a_ready_panel, tmp_path):
    import qt

    bed = a_ready_panel
    result = bed.services.finished_result(bed.ct)
    _settle()
    qt.QFileDialog.answers = [str(tmp_path / "ranking"), "", str(tmp_path / "units.seg.nrrd")]
    bed.ui.saveTableButton.click()
    bed.ui.saveTableButton.click()
    bed.ui.saveSegmentationButton.click()
    assert [one for one in bed.services.done if one[0].startswith("save")] == [
        ("save_table", result, str(tmp_path / "ranking.csv")),
        ("save_segmentation", result, str(tmp_path / "units.seg.nrrd")),
    ]
    assert str(tmp_path) in bed.panel.message.text


# what is stored


def test_nothing_is_deleted_without_consent(a_ready_panel):
    bed = a_ready_panel
    bed.services.agrees = False
    bed.ui.deleteDownloadsButton.click()
    assert bed.services.done[-1] == ("confirm", "Delete this?\n\nPackages: 3,100 MB")
    bed.services.agrees = True
    bed.ui.deleteDownloadsButton.click()
    assert ("delete_downloads",) in bed.services.done
    assert bed.services.names()[-1] == "check"


def test_a_results_folder_is_loaded_over_the_chosen_ct(a_ready_panel, tmp_path):
    import qt

    qt.QFileDialog.answers = [str(tmp_path)]
    a_ready_panel.ui.loadFolderButton.click()
    assert a_ready_panel.ui.resultSelector.currentText == "Loaded"
    assert not a_ready_panel.ui.resultSection.collapsed


# this machine


def test_the_strip_opens_when_something_is_missing_and_closes_when_all_is_well(a_panel):
    from scripted_services import LACKING, READY

    ui, services = a_panel.ui, a_panel.services
    services.answer("check", "answer", LACKING)
    assert not ui.statusSection.collapsed
    assert ui.statusSection.text == "Not ready: 3 packages are missing"
    assert not ui.installButton.isHidden()
    ui.installButton.click()
    assert services.asked[-1].given == {"missing": LACKING.missing}
    services.answer("install", "text", "Downloading torch")
    assert ui.installLabel.text == "Downloading torch"
    ui.installButton.click()
    assert services.done[-1] == ("cancel",)
    services.answer("install", "end", None)
    services.answer("check", "answer", replace(READY, findings=READY.findings[:3]))
    assert ui.statusSection.collapsed
    assert ui.statusSection.text == "Ready, on the GPU"
    assert ui.installButton.isHidden()


def test_a_network_that_needs_another_package_brings_the_install_button(a_panel):
    """The demo model works without nnunetv2: its absence shows only when an nnU-Net is chosen."""
    from scripted_services import READY
    from SegExplainGui.services import Failure

    ui, services = a_panel.ui, a_panel.services
    services.answer("check", "answer", READY)
    _until_asked(a_panel, "describe")
    needed = ("nnunetv2", "acvl-utils")
    failure = Failure(message="nnU-Net models need nnunetv2.", kind="MissingPackages", missing=needed)
    services.answer("describe", "failure", failure)
    _settle()
    assert not ui.statusSection.collapsed
    assert not ui.installButton.isHidden()
    ui.installButton.click()
    assert services.asked[-1].given == {"missing": needed}


def test_a_worker_that_does_not_start_is_told_with_its_log(a_panel):
    a_panel.services.answer("check", "failure", _failure("The worker ended.", "Check again.", "WorkerDied", "Killed"))
    _settle()
    assert "The worker ended." in a_panel.panel.message.text
    assert not a_panel.ui.explainButton.enabled
    assert a_panel.ui.checkButton.enabled


def test_network_device_and_python_are_kept_on_this_machine_and_not_in_the_scene(a_panel, tmp_path):
    import qt
    from SegExplainGui.machine import Machine

    folder = tmp_path / "My network"
    folder.mkdir()
    qt.QFileDialog.answers = [str(folder)]
    a_panel.ui.modelFolderButton.click()
    a_panel.ui.deviceSelector.currentIndex = 0
    a_panel.ui.pythonPath.currentPath = "/opt/python"
    _until(lambda: ("use_python", "/opt/python") in a_panel.services.done)
    machine = Machine()
    assert (machine.model, machine.recent_models, machine.python) == (str(folder), [str(folder)], "/opt/python")
    node = a_panel.parameters.parameterNode
    kept = [node.GetParameter(name) for name in node.GetParameterNames()]
    assert not any("My network" in text or "/opt" in text for text in kept)


def test_trust_is_given_to_one_network_at_a_time(a_panel):
    a_panel.ui.trustCheckBox.checked = True
    a_panel.ui.modelSelector.currentIndex = 1
    assert not a_panel.ui.trustCheckBox.checked


def test_a_question_that_an_ended_worker_left_open_is_asked_again(a_panel):
    from scripted_services import READY

    a_panel.services.answer("check", "answer", READY)
    _until_asked(a_panel, "describe")
    a_panel.ui.checkButton.click()
    a_panel.services.answer("check", "answer", READY)
    _until_asked(a_panel, "describe", times=2)


# nodes that vanish


def test_deleted_nodes_leave_a_panel_that_says_what_is_missing(a_ready_panel):
    bed = a_ready_panel
    bed.scene.RemoveNode(bed.parameters.roi)
    _settle()
    assert bed.parameters.roi is None
    assert "ROI" in bed.ui.reasonLabel.text
    bed.scene.RemoveNode(bed.ct)
    _settle()
    assert bed.parameters.ct is None
    assert bed.ui.reasonLabel.text == "Choose a CT."


def test_nodes_that_went_while_another_module_was_shown_are_forgotten(a_ready_panel):
    bed = a_ready_panel
    kept = bed.parameters.roi
    bed.panel.leave()
    bed.scene.RemoveNode(kept)
    bed.panel.enter(bed.parameters)
    assert bed.parameters.roi is None
    assert "ROI" in bed.ui.reasonLabel.text


def test_parameters_are_at_their_defaults_after_the_scene_was_closed(a_panel):
    from SegExplainGui.parameters import Method, parameters_of

    a_panel.panel.leave()
    scene = a_panel.scene
    node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
    node.UnRegister(None)
    node.SetSingletonTag("SegExplain")  # it stays when the scene is closed, emptied
    parameters = parameters_of(scene.AddNode(node))
    parameters.ct, parameters.method = a_panel.ct, Method.EXACT
    scene.Clear(0)
    assert (parameters.ct, parameters.method) == (None, Method.ADJUSTED_SHAP)


def test_a_closed_scene_is_survived_and_the_next_one_starts_afresh(a_ready_panel):
    from SegExplainGui.parameters import Parameters

    bed = a_ready_panel
    bed.services.finished_result(bed.ct)
    bed.panel.leave()
    bed.scene.Clear(0)
    _settle()
    for button in ("newRoiButton", "fitButton", "explainButton", "removeResultButton", "loadFolderButton"):
        getattr(bed.ui, button).click()
    ct = scenes.add_ct(bed.scene, np.zeros((8, 8, 8), np.int16), scenes.ijk_to_ras("oblique"))
    bed.panel.enter(Parameters(bed.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")))
    assert bed.ui.ctSelector.currentNode() is ct
    assert bed.ui.resultSelector.count == 0
    assert bed.panel.message.text == ""


# how it looks


@pytest.mark.parametrize(("width", "height"), [(360, 1000), (420, 1400)])
def test_no_control_is_cut_off_in_a_narrow_panel(a_ready_panel, tmp_path, width, height):
    bed = a_ready_panel
    _start(bed)
    _finish(bed)
    for name in ("advancedSection", "statusSection", "segmentsSection", "dataSection"):
        getattr(bed.ui, name).collapsed = False
    assert bed.root.minimumSizeHint().width() <= width
    slicer_desktop.picture(bed.root, tmp_path / "panel.png", width=width, height=height)
    picture = QtGui.QImage(str(tmp_path / "panel.png"))
    assert (picture.width(), picture.height()) == (width, height)
    colours = {picture.pixel(x, y) for x in range(0, width, 3) for y in range(0, height, 3)}
    assert len(colours) > 30
