"""The examples for Slicer's Python console in docs/slicer.md run, with a real worker, one after the other as there."""

import os
import re
import time
from pathlib import Path

import pytest
import slicer
import slicer_desktop

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("SEGEXPLAIN_PYTHON", "")
PATIENCE_S = 150
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs SEGEXPLAIN_PYTHON, a Python that has the backend")


@pytest.fixture
def the_tutorials_scene(tmp_path, monkeypatch):
    """The module and the nodes that the tutorial leaves: CT, organs, ROI around the lesion."""
    from test_module import load_module

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    slicer_desktop.start(tmp_path / "settings")
    file, _instance = load_module()
    from SegExplainGui.scene.export import fit_roi_to_segment, new_roi
    from SegExplainGui.setup.dependencies import find_python
    from SegExplainGui.setup.sample_data import CT_NAME, load_torso, make_torso

    torso = make_torso(find_python(PYTHON))
    ct, organs = load_torso(torso, slicer.mrmlScene, volumes_logic=slicer.modules.volumes.logic())
    ct.SetName(CT_NAME)
    roi = new_roi(slicer.mrmlScene, ct)
    fit_roi_to_segment(roi, organs, "lesion", ct, margin_mm=10.0)
    yield ct
    file.SegExplainLogic.forget_session()


def test_the_console_examples_of_the_documents_run(the_tutorials_scene, capsys):
    waiting, calling_back = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "slicer.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    asked = "unit_mm=120.0)"
    assert asked in waiting
    console = {"slicer": slicer}
    exec(compile(waiting.replace(asked, "unit_mm=120.0, budget=84)"), "docs/slicer.md", "exec"), console)
    lines = capsys.readouterr().out.splitlines()
    assert "lesion" in lines[0]
    assert all(re.fullmatch(r".+: [+-]\d\.\d{3} ± \d\.\d{3}", line) for line in lines[-3:])
    assert console["result"].shown == ("liver", "tp-share")
    assert console["importance"].any()
    assert console["result"].ct is the_tutorials_scene

    exec(compile(calling_back, "docs/slicer.md", "exec"), console)
    run, begin = console["run"], time.monotonic()
    assert run.is_active, "it returns at once"
    while run.is_active and time.monotonic() - begin < PATIENCE_S:
        slicer.app.processEvents()
        time.sleep(0.02)
    assert run.failure is None
    assert run.result.shown == ("lesion", "soft-dice")
    assert run.result.sentences
