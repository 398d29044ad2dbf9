"""The whole line as Slicer runs it: nodes out, a real worker with the demo model, nodes back."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer_desktop
from slicer.util import arrayFromVolume

PYTHON = os.environ.get("SEGEXPLAIN_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs SEGEXPLAIN_PYTHON, a Python that has the backend")


class QuietDesktop:
    """A desktop without a screen: agrees to everything, opens nothing; its loops are polled by whoever waits."""

    def __init__(self):
        self.opened = []

    def confirm(self, question):
        return True

    def open_file(self, path):
        self.opened.append(path)

    def repeat(self, callback, *, every_s):
        return lambda: None

    def stay_responsive(self):
        pass


@pytest.fixture
def an_application(tmp_path):
    return slicer_desktop.start(tmp_path / "settings")


@pytest.fixture
def a_session(an_application, tmp_path):
    from SegExplainGui.child_process import ChildProcess
    from SegExplainGui.run import Logics
    from SegExplainGui.session import Session

    logics = an_application.logics
    session = Session(
        an_application.scene,
        Logics(segmentations=logics["segmentations"], colors=logics["colors"], plots=logics["plots"]),
        QuietDesktop(),
        ChildProcess,
        data=tmp_path / "data",
    )
    session.use_python(PYTHON)
    yield session
    session.close()


@pytest.fixture(scope="session")
def a_torso_folder(tmp_path_factory):
    from SegExplainGui.dependencies import find_python
    from SegExplainGui.sample_data import make_torso

    return make_torso(find_python(PYTHON), data=tmp_path_factory.mktemp("torso"))


@pytest.fixture
def a_torso(an_application, a_torso_folder):
    """(CT, organs, ROI around the lesion) in the scene."""
    from SegExplainGui.sample_data import load_torso
    from SegExplainGui.scene_export import fit_roi_to_segment, new_roi

    scene = an_application.scene
    ct, organs = load_torso(a_torso_folder, scene, volumes_logic=an_application.logics["volumes"])
    roi = new_roi(scene, ct)
    fit_roi_to_segment(roi, organs, "lesion", ct, margin_mm=5.0)
    return ct, organs, roi


def a_question(torso, **fields):
    from SegExplainGui.run import SceneQuestion
    from SegExplainGui.session import demo_model

    ct, organs, roi = torso
    fields = {"model": demo_model(), "target": "lesion", "tolerance": 0.0, "budget": 40, "removal": "air"} | fields
    return SceneQuestion(ct=ct, roi=roi, fields=fields, organs=organs)


def test_an_explanation_goes_from_nodes_to_nodes(a_session, a_torso):
    from SegExplainGui import console

    ct, _organs, _roi = a_torso
    events = []
    result = console.explain(a_session, a_question(a_torso), callback=None)
    assert result.shown == ("lesion", "soft-dice")
    assert result.sentences
    overlay = arrayFromVolume(result.overlay)
    assert np.isfinite(overlay).all()
    assert np.abs(overlay).max() > 0
    assert result.ct is ct
    assert events == []
