"""The whole line as Slicer runs it: nodes out, a real worker with the demo model, nodes back."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer_desktop
from slicer.util import arrayFromVolume

from SegExplainLib.contract import InvalidRequest

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="module")
def the_data(tmp_path_factory):
    """Folder in which the session keeps its files."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def the_session(tmp_path_factory, the_data):
    """One session for all tests: its worker is asked again and again, as a user does."""
    application = slicer_desktop.start(tmp_path_factory.mktemp("settings"))
    from SegExplainGui.run import Logics
    from SegExplainGui.session import Session
    from SegExplainGui.worker.child_process import ChildProcess

    logics = application.logics
    session = Session(
        application.scene,
        Logics(segmentations=logics["segmentations"], colors=logics["colors"], plots=logics["plots"]),
        QuietDesktop(),
        ChildProcess,
        data=the_data,
    )
    yield session
    session.close()


@pytest.fixture
def a_session(the_session):
    """The session with an empty scene."""
    the_session.scene.Clear(False)
    the_session.use_python(PYTHON)
    yield the_session
    assert not the_session.is_busy


CROP = """
import sys
from pathlib import Path
import numpy as np
from SegExplainLib.organ_map import OrganMap, read_organ_map, write_organ_map
from SegExplainLib.volume import Volume
from SegExplainLib.volume_io import read_ct, write_nrrd
source, target = Path(sys.argv[1]), Path(sys.argv[2])
ct, organs = read_ct(str(source / "ct.nrrd")), read_organ_map(source / "organs.nrrd")
centre = np.argwhere(organs.labels.array == organs.label_of("lesion")).mean(axis=0).round().astype(int)
shape = [min(n, most) for n, most in zip(ct.array.shape, (40, 56, 56))]
start = [int(np.clip(c - n // 2, 0, full - n)) for c, n, full in zip(centre, shape, ct.array.shape)]
block = tuple(slice(s, s + n) for s, n in zip(start, shape))
grid = ct.grid.cropped(start, tuple(shape))
write_nrrd(Volume(ct.array[block].copy(), grid), target / "ct.nrrd")
labels = organs.labels.array[block].astype(np.int32)
names = {label: name for label, name in organs.names.items() if (labels == label).any()}
write_organ_map(OrganMap(Volume(labels, grid), names), target / "organs.nrrd")
"""


@pytest.fixture(scope="session")
def a_torso_folder(tmp_path_factory):
    """The torso's block around the lesion: a few tiles, so that an explanation takes seconds."""
    from SegExplainGui.setup.dependencies import find_python
    from SegExplainGui.setup.sample_data import make_torso

    whole = make_torso(find_python(PYTHON), data=tmp_path_factory.mktemp("whole"))
    block = tmp_path_factory.mktemp("block")
    subprocess.run(
        [PYTHON, "-c", CROP, str(whole), str(block)], check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": ""}
    )
    return block


@pytest.fixture
def a_torso(a_session, a_torso_folder):
    """(CT, organs, ROI around the lesion) in the scene."""
    from SegExplainGui.scene.export import fit_roi_to_segment, new_roi
    from SegExplainGui.setup.sample_data import load_torso

    scene = a_session.scene
    ct, organs = load_torso(a_torso_folder, scene, volumes_logic=slicer.modules.volumes.logic())
    roi = new_roi(scene, ct)
    fit_roi_to_segment(roi, organs, "lesion", ct, margin_mm=5.0)
    return ct, organs, roi


def a_question(torso, **fields):
    from SegExplainGui.scene_question import SceneQuestion
    from SegExplainGui.setup.demo_model import demo_model

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


@pytest.mark.parametrize(("method", "is_signed"), [("seg-grad-cam", False), ("input-x-gradient", True)])
def test_a_gradient_method_gives_a_number_for_each_voxel_and_its_folder_comes_back(
    a_session, a_torso, tmp_path, method, is_signed
):
    from SegExplainGui import console
    from SegExplainGui.result_files import load_folder, save_folder

    result = console.explain(a_session, a_question(a_torso, method=method, removal="local-mean"), callback=None)
    overlay = arrayFromVolume(result.overlay)
    assert result.has_voxel_map
    assert len(np.unique(overlay)) > 100
    assert (overlay.min() < 0) == is_signed
    assert result.unit_of_value(*result.shown) == ("share" if is_signed else "relative")
    assert result.answers() == {"lesion": ["soft-dice"]}
    assert not any("coalition" in text or "removed" in text for text in result.sentences)
    save_folder(result, tmp_path / "saved")
    again = load_folder(a_session.scene, tmp_path / "saved", a_torso[0], a_session.logics)
    np.testing.assert_array_equal(arrayFromVolume(again.overlay), overlay)
    assert again.rows(*result.shown) == result.rows(*result.shown)


def test_a_preview_comes_before_the_first_importances_and_goes_with_them(a_session, a_torso):
    def has_preview(events, run):
        return not run.is_active or any(event.message == "Seg-Grad-CAM preview" for event in events)

    question = a_question(a_torso, budget=3000, unit_mm=31.0, units="fcc", method="kernel-shap")
    run, _events = events_of(a_session, question, until=has_preview)
    assert run.preview is not None
    assert run.result is None
    assert arrayFromVolume(run.preview.volume).max() >= 100
    while run.is_active and run.result is None:
        a_session.talk.wait(0.02)
    assert run.preview is None
    assert run.result is not None
    run.cancel()
    while run.is_active:
        a_session.talk.wait(0.02)


def events_of(session, question, *, until):
    """Starts a run and polls until ``until(events, run)``; gives (run, events)."""
    from SegExplainGui import console

    events = []
    run = console.explain(session, question, callback=events.append)
    begin = time.monotonic()
    while not until(events, run):
        session.talk.wait(0.02)
        assert time.monotonic() - begin < 240, [event.event for event in events]
    return run, events


def has_ended(_events, run):
    return not run.is_active


def has_partial(events, run):
    return not run.is_active or any(event.event == "partial" and not event.message for event in events)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def node_ids(scene):
    return {scene.GetNthNode(place).GetID() for place in range(scene.GetNumberOfNodes())}


def test_the_map_shows_each_voxels_importance_where_the_organ_lies(a_session, a_torso):
    """The organ segmentation, sampled by Slicer at each voxel of the map, says which number must stand there."""
    from SegExplainGui import console

    ct, organs, _roi = a_torso
    result = console.explain(a_session, a_question(a_torso), callback=None)
    by_name = {row.name: row.importance for row in result.rows(*result.shown)}
    lesion = slicer.util.arrayFromSegmentBinaryLabelmap(organs, "lesion", ct)
    overlay = arrayFromVolume(result.overlay)
    first = [round(number) for number in first_voxel(result.overlay, ct)]
    block = tuple(slice(start, start + size) for start, size in zip(reversed(first), overlay.shape))
    inside = lesion[block] > 0
    assert inside.any()
    np.testing.assert_allclose(overlay[inside], by_name["lesion"], rtol=1e-6)


def first_voxel(volume, ct):
    """IJK on the CT of a volume's first voxel."""
    from vtk import vtkMatrix4x4

    to_ras, to_ijk = vtkMatrix4x4(), vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    ct.GetRASToIJKMatrix(to_ijk)
    return to_ijk.MultiplyPoint(to_ras.MultiplyPoint((0, 0, 0, 1)))[:3]


def test_cancelling_keeps_what_was_shown_and_the_worker_answers_the_next_question_warm(a_session, a_torso):
    run, _events = events_of(a_session, a_question(a_torso, budget=3000), until=has_partial)
    assert run.is_active
    begin = time.monotonic()
    run.cancel()
    while run.is_active:
        a_session.talk.wait(0.02)
    assert time.monotonic() - begin < 4
    assert run.failure.kind == "Cancelled"
    assert np.abs(arrayFromVolume(run.result.overlay)).max() > 0 or run.result.rows(*run.result.questions()[0][:2])
    _again, events = events_of(a_session, a_question(a_torso, value="dice"), until=has_ended)
    assert events[-1].event == "finished"
    assert any("were at hand" in event.message for event in events if event.event == "warning")


def test_closing_the_session_leaves_no_process_and_no_image_of_the_patient(a_session, a_torso, the_data):
    _run, _events = events_of(a_session, a_question(a_torso, budget=3000), until=has_partial)
    pid = a_session.talk.queue.worker_pid
    assert is_alive(pid)
    assert list(the_data.rglob("ct-*.nrrd"))
    a_session.close()
    assert not is_alive(pid)
    assert not [path for path in (the_data / "jobs").rglob("*") if path.is_file()]


def test_a_ct_deleted_during_the_run_ends_it_with_one_clear_failure(a_session, a_torso):
    run, _events = events_of(a_session, a_question(a_torso, budget=3000), until=lambda events, _run: len(events) > 2)
    a_session.scene.RemoveNode(a_torso[0])
    while run.is_active:
        a_session.talk.wait(0.02)
    assert "CT was deleted" in run.failure.message
    assert run.result is None


def test_a_result_deleted_during_the_run_ends_it_with_one_clear_failure(a_session, a_torso):
    run, _events = events_of(a_session, a_question(a_torso, budget=3000), until=has_partial)
    run.result.remove()
    while run.is_active:
        a_session.talk.wait(0.02)
    assert "no longer in the scene" in run.failure.message


def test_closing_the_scene_during_the_run_ends_it_and_leaves_no_node(a_session, a_torso):
    run, _events = events_of(a_session, a_question(a_torso, budget=3000), until=has_partial)
    a_session.scene.Clear(False)
    assert not run.is_active
    left = node_ids(a_session.scene)
    for _ in range(50):
        a_session.talk.wait(0.02)
    assert node_ids(a_session.scene) == left
    assert not a_session.is_busy


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "/no/such/model"}, "no model folder"),
        ({"target": "liverr"}, "liverr"),
        ({"units": "cells"}, "units is 'cells'"),
        ({"method": "exact", "units": "fcc", "unit_mm": 20.0}, "exact method serves"),
    ],
)
def test_a_question_that_cannot_be_answered_says_so_and_leaves_no_node(a_session, a_torso, fields, words):
    before = node_ids(a_session.scene)
    run, _events = events_of(a_session, a_question(a_torso, **fields), until=has_ended)
    assert words in run.failure.message
    assert node_ids(a_session.scene) == before


def test_a_python_without_the_backend_is_told_as_one_failure(a_session, a_torso, tmp_path):
    a_session.use_python(str(tmp_path / "no-python"))
    run, _events = events_of(a_session, a_question(a_torso), until=has_ended)
    assert "no Python at" in run.failure.message


def test_a_saved_folder_comes_back_as_the_same_result(a_session, a_torso, tmp_path):
    from SegExplainGui import console
    from SegExplainGui.result_files import load_folder, save_folder, save_segmentation, save_table

    result = console.explain(a_session, a_question(a_torso), callback=None)
    save_folder(result, tmp_path / "saved")
    save_table(result, tmp_path / "units.csv")
    save_segmentation(result, tmp_path / "units.seg.nrrd")
    again = load_folder(a_session.scene, tmp_path / "saved", a_torso[0], a_session.logics)
    question = result.questions()[0][:2]
    assert again.rows(*question) == result.rows(*question)
    assert again.sentences == result.sentences
    lines = (tmp_path / "units.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(result.rows(*question))
    header = (tmp_path / "units.seg.nrrd").read_bytes()[:4000]
    assert header.startswith(b"NRRD")
    assert b"SegExplain" in header
    other = next(cls for cls in result.answers() if cls != question[0])
    result.show(other, result.answers()[other][0], top_k=5, sign="both", opacity=1.0)
    save_segmentation(result, tmp_path / "other.seg.nrrd")
    assert (tmp_path / "other.seg.nrrd").read_bytes()[:4000].count(b"SegExplain.Importance") > 1
    a_session.close()
    with pytest.raises(Exception, match="no longer on this computer"):
        save_folder(result, tmp_path / "late")


@pytest.fixture
def a_small_result(a_session, a_torso):
    """Of the lesion, the liver and the rest: all 8 coalitions are evaluated, so that a check takes seconds."""
    from SegExplainGui import console

    segments = a_torso[1].GetSegmentation()
    for name in set(segments.GetSegmentIDs()) - {"lesion", "liver"}:
        segments.RemoveSegment(name)
    return console.explain(a_session, a_question(a_torso, method="exact", budget=0), callback=None)


def checked_until(session, result, *, until):
    """Starts a check and polls until ``until(events, run)``; gives (run, events)."""
    from SegExplainGui import console

    events = []
    run = console.evaluate(session, result, stability=(), trust_model=False, callback=events.append)
    begin = time.monotonic()
    while not until(events, run):
        session.talk.wait(0.02)
        assert time.monotonic() - begin < 240, [event.event for event in events]
    return run, events


def test_a_check_can_be_cancelled_and_another_begins_where_it_ended(a_session, a_small_result):
    from SegExplainGui import console

    with pytest.raises(InvalidRequest, match="Did you mean: noise"):
        console.evaluate(a_session, a_small_result, stability=["noises"], trust_model=False, callback=None)
    run, _events = checked_until(a_session, a_small_result, until=lambda events, _run: len(events) > 2)
    assert a_session.is_busy
    with pytest.raises(InvalidRequest, match="under way"):
        a_session.evaluate(a_small_result, None, stability=(), on_event=print, on_end=print)
    begin = time.monotonic()
    a_session.cancel()
    while run.is_active:
        a_session.talk.wait(0.02)
    assert time.monotonic() - begin < 4
    assert run.failure.kind == "Cancelled"
    assert a_small_result.trust is None
    run, _events = checked_until(a_session, a_small_result, until=has_ended)
    assert run.failure is None
    assert a_small_result.trust.sentences


def test_the_scene_comes_back_from_a_file_with_its_answers(a_session, a_torso, tmp_path):
    from SegExplainGui import console
    from SegExplainGui.scene.result import results_in

    result = console.explain(a_session, a_question(a_torso), callback=None)
    answers, question = result.answers(), result.questions()[0][:2]
    rows = result.rows(*question)
    overlay = arrayFromVolume(result.overlay).copy()
    scene = a_session.scene
    scene.SetRootDirectory(str(tmp_path))
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    (again,) = results_in(scene)
    assert again.answers() == answers
    assert [row.name for row in again.rows(*question)] == [row.name for row in rows]
    np.testing.assert_array_equal(arrayFromVolume(again.overlay), overlay)
    other = next(cls for cls in answers if cls != "lesion")
    again.show(other, answers[other][0], top_k=5, sign="both", opacity=0.4)
    assert again.shown == (other, answers[other][0])


def test_a_finished_result_is_checked_and_a_saved_scene_keeps_what_was_found(a_session, a_small_result, tmp_path):
    from SegExplainGui import console
    from SegExplainGui.result_files import load_folder, save_folder
    from SegExplainGui.scene.result import results_in

    result = a_small_result
    assert a_session.why_unchecked(result) == ""
    trust = console.evaluate(a_session, result, stability=(), trust_model=False, callback=None)
    assert trust == result.trust
    assert trust.headings == ["", "exact", "largest unit first", "chance"]
    assert trust.has_picture
    a_session.open_curves(result)
    assert a_session._desktop.opened[-1] == Path(trust.picture)
    again = console.evaluate(a_session, result, stability=(), trust_model=False, callback=None)
    assert (again.sentences, again.rows) == (trust.sentences, trust.rows)
    assert again.picture != trust.picture, "a finished check stays as it is"
    trust = result.trust

    save_folder(result, tmp_path / "saved")
    loaded = load_folder(a_session.scene, tmp_path / "saved", result.ct, a_session.logics)
    assert loaded.trust.sentences == trust.sentences
    assert loaded.trust.has_picture
    elsewhere = console.evaluate(a_session, loaded, stability=(), trust_model=False, callback=None)
    assert (elsewhere.sentences, elsewhere.rows) == (trust.sentences, trust.rows)
    assert not list((tmp_path / "saved").glob("evaluation-*"))
    loaded.remove()

    scene = a_session.scene
    scene.SetRootDirectory(str(tmp_path))
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    a_session.close()
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    (kept,) = results_in(scene)
    assert kept.trust == trust
    assert not kept.trust.has_picture
    assert "no longer on this computer" in a_session.why_unchecked(kept)
    with pytest.raises(InvalidRequest, match="no longer on this computer"):
        console.evaluate(a_session, kept, stability=(), trust_model=False, callback=None)
    with pytest.raises(InvalidRequest, match="no longer on this computer"):
        a_session.open_curves(kept)
