"""What the session says when something goes wrong that nobody foresaw; no worker is needed for it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scenes
import slicer_desktop

from SegExplainLib.contract import ESTIMATE_KEYS, Cancelled, Command, Event, InvalidRequest, ResultManifest


class Desktop:
    """Lets a test in where Slicer lets the user's clicks in."""

    def __init__(self):
        self.on_turn = lambda: None

    def repeat(self, callback, *, every_s):
        return lambda: None

    def stay_responsive(self):
        self.on_turn()


@pytest.fixture
def a_session(tmp_path):
    application = slicer_desktop.start(tmp_path / "settings")
    from SegExplainGui.run import Logics
    from SegExplainGui.session import Session
    from SegExplainGui.worker.child_process import ChildProcess

    logics = application.logics
    module_logics = Logics(segmentations=logics["segmentations"], colors=logics["colors"], plots=logics["plots"])
    session = Session(application.scene, module_logics, Desktop(), ChildProcess, data=tmp_path / "data")
    yield session
    session.close()


def _question(exported):
    return SimpleNamespace(roi=None, ct=None, fields={}, exported=exported)


def _broken(*_given, **_named):
    raise ZeroDivisionError("no size")


def _start(session, question):
    failures = []
    run = session.start(question, on_event=lambda _: None, on_result=lambda _: None, on_end=failures.append)
    return run, failures


def test_a_question_that_breaks_ends_its_run_and_says_why(a_session):
    run, failures = _start(a_session, _question(_broken))
    a_session.talk.poll()
    assert not run.is_active
    assert not a_session.is_busy
    assert "no size" in failures[0].message
    assert "Traceback" in failures[0].log


def test_a_listener_that_breaks_at_the_last_event_ends_the_run_all_the_same(a_session):
    failures = []
    run = a_session.start(_question(_broken), on_event=_broken, on_result=_broken, on_end=failures.append)
    run._heard(Event(event="failed", message="The worker gave up."))
    assert not run.is_active
    assert "no size" in failures[0].message


def test_a_result_that_cannot_be_imported_ends_the_run_and_its_last_event_is_told_all_the_same(a_session):
    failures, heard = [], []
    run = a_session.start(_question(_broken), on_event=heard.append, on_result=_broken, on_end=failures.append)
    run._heard(Event(event="finished", path="nowhere"))
    assert not run.is_active
    assert "nowhere" in failures[0].message
    assert heard[-1].event == "finished"


def test_another_python_ends_the_run_of_the_one_before(a_session):
    run, failures = _start(a_session, _question(_broken))
    a_session.use_python("/another/python")
    assert not run.is_active
    assert [failure.kind for failure in failures] == ["Cancelled"]


def test_an_answer_that_cannot_be_taken_is_a_failure(a_session, monkeypatch):
    monkeypatch.setattr(a_session.talk.queue, "ask", lambda _command, heard: heard(Event(event="finished")))
    failures = []
    a_session.check(lambda _: None, failures.append)
    assert "findings" in failures[0].message


def test_an_installation_that_breaks_ends_and_says_why(a_session, monkeypatch):
    from SegExplainGui.setup import dependencies

    monkeypatch.setattr(dependencies, "find_python", _broken)
    failures = []
    a_session.install(["torch"], on_text=lambda _: None, on_end=failures.append)
    a_session.talk.poll()
    assert not a_session.is_busy
    assert "no size" in failures[0].message


@pytest.fixture
def a_result(a_session, tmp_path):
    """Finished, with a folder that can be checked; the worker that is asked is never polled."""
    from scripted_services import ScriptedServices

    services = ScriptedServices(SimpleNamespace(scene=a_session.scene, logics=vars(a_session.logics)), tmp_path)
    ct = scenes.add_ct(a_session.scene, np.zeros((8, 10, 12), np.int16), scenes.ijk_to_ras("straight"))
    result, folder = services.finished_result(ct), tmp_path / "results"
    folder.mkdir()
    manifest = ResultManifest(
        request={"ct": str(tmp_path / "ct.nrrd"), "model": "/a/model"},
        estimate=dict.fromkeys(ESTIMATE_KEYS, 0),
        **{name: {} for name in ("versions", "counts", "timings_s")},
        **{name: [] for name in ("classes", "answer")},
        device="cpu",
    )
    for name, text in (("manifest.json", manifest.to_json()), ("report.html", ""), ("../ct.nrrd", "")):
        (folder / name).write_text(text, encoding="utf-8")
    result.set_sentences(["It rests on the liver."], folder=folder)
    return result


def _check(session, result, *, model="/a/model", trust_model=True):
    from SegExplainGui.services import ModelUse

    failures, asked = [], []
    session.talk.queue.ask = lambda command, _heard: asked.append(command)
    use = ModelUse(model=model, trust_model=trust_model)
    run = session.evaluate(result, use, stability=("noise",), on_event=lambda _: None, on_end=failures.append)
    session.talk.poll()
    return run, failures, asked


def test_a_check_asks_about_the_results_folder_into_a_folder_of_the_session(a_session, a_result):
    _run, _failures, (command,) = _check(a_session, a_result)
    assert (command.command, command.results, command.stability) == ("evaluate", [str(a_result.folder)], ["noise"])
    assert Path(command.out).is_relative_to(a_session._folders.root)
    assert Command.from_json_line(command.to_json_line()) == command


@pytest.mark.parametrize(("model", "trusts"), [("/a/model", True), ("/another/model", False)])
def test_only_the_network_that_the_user_trusts_may_run_programs_in_a_check(a_session, a_result, model, trusts):
    _run, _failures, (command,) = _check(a_session, a_result, model=model)
    assert command.request == {"trust_model": trusts}


@pytest.mark.parametrize(("lost", "says"), [("report.html", "The results of"), ("../ct.nrrd", "The copy of the CT")])
def test_a_result_whose_files_are_gone_says_why_it_cannot_be_checked(a_session, a_result, lost, says):
    assert a_session.why_unchecked(a_result) == ""
    (a_result.folder / lost).unlink()
    assert a_session.why_unchecked(a_result).startswith(says)
    run, failures, asked = _check(a_session, a_result)
    assert not run.is_active
    assert failures[0].message.startswith(says)
    assert asked == []
    assert not a_session.is_busy


def test_a_result_removed_during_its_check_is_one_clear_failure(a_session, a_result):
    run, failures, _asked = _check(a_session, a_result)
    a_result.remove()
    run._heard(Event(event="finished", data={"sentences": ["Faithful."]}))
    assert "no longer in the scene" in failures[0].message
    assert len(failures) == 1
    assert not a_session.is_busy


def test_an_answer_of_a_newer_worker_is_kept_as_far_as_it_is_known(a_session, a_result):
    run, failures, _asked = _check(a_session, a_result)
    run._heard(Event(event="finished", data={"sentences": ["Faithful."], "smell": "of roses"}))
    assert failures == [None]
    assert a_result.trust.sentences == ["Faithful."]


def test_an_answer_that_cannot_be_read_ends_the_check_with_a_failure(a_session, a_result):
    run, failures, _asked = _check(a_session, a_result)
    run._heard(Event(event="finished", data={}))
    assert "sentences" in failures[0].message
    assert not run.is_active


def test_closing_the_scene_ends_a_check(a_session, a_result):
    run, failures, _asked = _check(a_session, a_result)
    a_session.scene.Clear(False)
    assert not run.is_active
    assert "scene was closed" in failures[0].message
    assert not a_session.is_busy


def test_a_check_and_a_run_are_never_under_way_together(a_session, a_result):
    _check(a_session, a_result)
    with pytest.raises(InvalidRequest, match="under way"):
        _start(a_session, _question(_broken))
    with pytest.raises(InvalidRequest, match="under way"):
        _check(a_session, a_result)


def test_a_wait_in_the_console_ends_with_the_session(a_session, monkeypatch):
    from SegExplainGui.console import explain

    monkeypatch.setattr(a_session.talk, "poll", lambda: None)
    a_session._desktop.on_turn = a_session.close
    with pytest.raises(Cancelled):
        explain(a_session, _question(_broken), callback=None)
