"""What the session says when something goes wrong that nobody foresaw; no worker is needed for it."""

from types import SimpleNamespace

import pytest
import slicer_desktop

from SegExplainLib.contract import Cancelled, Event


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


def test_a_wait_in_the_console_ends_with_the_session(a_session, monkeypatch):
    from SegExplainGui.console import explain

    monkeypatch.setattr(a_session.talk, "poll", lambda: None)
    a_session._desktop.on_turn = a_session.close
    with pytest.raises(Cancelled):
        explain(a_session, _question(_broken), callback=None)
