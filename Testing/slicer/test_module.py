"""SegExplain.py as Slicer loads it, with the real panel, QProcess, the real worker: opened, used, reloaded, closed."""

import importlib.util
import os
import subprocess
import sys
import time
import unittest
from pathlib import Path
from types import SimpleNamespace

import pytest
import slicer
import slicer_desktop

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "SegExplain" / "SegExplain.py"
PYTHON = os.environ.get("SEGEXPLAIN_PYTHON", "")
needs_backend = pytest.mark.skipif(not PYTHON, reason="needs SEGEXPLAIN_PYTHON, a Python that has the backend")
PATIENCE_S = 240


def load_module(*, with_instance=True):
    """The module's Python file and its instance, as Slicer's module factory makes them; a reload makes no new one."""
    spec = importlib.util.spec_from_file_location("SegExplain", FILE)
    file = sys.modules["SegExplain"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(file)
    if not with_instance:
        return file, None
    parent = SimpleNamespace(path=str(FILE), icon=None)
    instance = file.SegExplain(parent)
    slicer.modules.segexplain = parent
    return file, instance


def open_widget(file):
    """The module's widget, as Slicer makes it when the module is selected."""
    import qt

    class ModulePanel(slicer.qMRMLWidget):
        isEntered = True

    parent = ModulePanel()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    widget = file.SegExplainWidget(parent)
    widget.setup()
    widget.enter()
    slicer.modules.SegExplainWidget = widget
    return widget


@pytest.fixture
def the_module(tmp_path, monkeypatch):
    """(application, module file, instance); what it keeps on the disk lies in a folder of the test's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    application = slicer_desktop.start(tmp_path / "settings")
    file, instance = load_module()
    yield SimpleNamespace(application=application, file=file, instance=instance, data=tmp_path / "data")
    file.SegExplainLogic.forget_session()


def wait(is_done):
    begin = time.monotonic()
    while not is_done():
        slicer.app.processEvents()
        time.sleep(0.02)
        assert time.monotonic() - begin < PATIENCE_S


def test_slicer_reads_the_file_at_once_and_it_brings_nothing_heavy():
    """Slicer imports every module at its start, on the main thread."""
    code = (
        "import sys, slicer_desktop, tempfile, pathlib\n"
        "slicer_desktop.start(pathlib.Path(tempfile.mkdtemp()))\n"
        "from test_module import load_module\n"
        "before = set(sys.modules)\n"
        "load_module()\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names))"
    )
    path = os.pathsep.join([str(FILE.parent), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.stdout.strip() == "['SegExplain', 'SegExplainLib']"


BEGIN = """
import os, pathlib, sys, tempfile
import slicer, slicer_desktop
slicer_desktop.start(pathlib.Path(tempfile.mkdtemp()))
from test_module import FILE, load_module, open_widget
sys.path.append(str(FILE.parent))
file, _instance = load_module()
"""
RELOAD = """
widget = open_widget(file)
def reload(_name):
    file, _instance = load_module(with_instance=False)
    widget.cleanup()
    slicer.modules.SegExplainWidget = open_widget(file)
slicer.util.reloadScriptedModule = reload
widget.onReload()
print(type(slicer.modules.SegExplainWidget.panel) is type(widget.panel), flush=True)
os._exit(0)
"""
BROKEN = """
import qt
from SegExplainGui import panel
panel.Panel = lambda *_given, **_named: {}["no such widget"]
parent = slicer.qMRMLWidget()
parent.setLayout(qt.QVBoxLayout())
widget = file.SegExplainWidget(parent)
try:
    widget.setup()
except KeyError:
    widget.enter(), widget.exit(), widget.cleanup()
    print([label.property("text") for label in parent.findChildren(qt.QLabel)][-1], flush=True)
os._exit(0)
"""


def _in_a_checkout(code, folder):
    """What code prints where nothing but the bed is on the path: SegExplain.py must find the library itself."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "XDG_DATA_HOME": str(folder)}
    run = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(run, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_reload_brings_a_new_panel_in_a_checkout_too(tmp_path):
    assert _in_a_checkout(RELOAD, tmp_path).endswith("False\n")


def test_a_panel_that_cannot_be_made_says_so_in_its_place(tmp_path):
    assert "no such widget" in _in_a_checkout(BROKEN, tmp_path)


def test_the_module_says_what_it_is(the_module):
    parent = the_module.instance.parent
    assert parent.title == "SegExplain"
    assert parent.categories == ["Segmentation"]
    assert "not a medical device" in parent.helpText
    assert parent.contributors


def test_a_checkout_leaves_no_foreign_folder_on_the_path(the_module):
    assert "SegExplainLib" in sys.modules
    assert sys.path.count(str(ROOT)) <= os.environ.get("PYTHONPATH", "").split(os.pathsep).count(str(ROOT)) + 2


@needs_backend
def test_a_click_on_explain_brings_the_answer_into_the_panel(the_module):
    from SegExplainGui.scene.export import fit_roi_to_segment, new_roi
    from SegExplainGui.setup.demo_model import demo_model
    from SegExplainGui.setup.dependencies import find_python
    from SegExplainGui.setup.sample_data import load_torso, make_torso

    ct, organs = load_torso(make_torso(find_python("")), slicer.mrmlScene, volumes_logic=slicer.modules.volumes.logic())
    widget = open_widget(the_module.file)
    parameters = the_module.file.SegExplainLogic().getParameterNode()
    ui = widget.ui
    wait(lambda: ui.modelSelector.count > 0 and ui.targetSelector.count > 1)
    parameters = widget.parameters
    parameters.ct, parameters.organs, parameters.target = ct, organs, "lesion"
    parameters.roi = new_roi(slicer.mrmlScene, ct)
    fit_roi_to_segment(parameters.roi, organs, "lesion", ct, margin_mm=5.0)
    parameters.budget = 40
    wait(lambda: ui.explainButton.enabled)
    ui.explainButton.click()
    wait(lambda: not widget.logic.session().is_busy and ui.explainButton.text == "Explain")
    assert ui.messageLabel.text == ""
    result = widget.panel.shown_result
    assert result.shown[0] == "lesion"
    assert result.sentences
    assert demo_model()
    wait(lambda: ui.trustButton.enabled)
    ui.trustButton.click()
    wait(lambda: ui.trustProgressLabel.text.startswith("Trying combinations"))
    ui.trustButton.click()
    wait(lambda: not widget.logic.session().is_busy and ui.trustButton.text == "Check this explanation")
    assert "stopped" in ui.messageLabel.text
    widget.cleanup()


@needs_backend
def test_the_modules_own_test_passes_here(the_module):
    case = the_module.file.SegExplainTest()
    try:
        case.runTest()
    except unittest.SkipTest as skipped:  # it must not pass for a run where a backend was promised
        pytest.fail(f"it skipped itself: {skipped}")
