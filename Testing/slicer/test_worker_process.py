"""The worker's client over real child processes that misbehave, the same for both ways to run a process."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from SegExplainGui.child_process import ChildProcess
from SegExplainGui.exit_reason import exit_reason
from SegExplainGui.line_splitter import LineSplitter, LineTooLong
from SegExplainGui.process_tree import end_process_tree
from SegExplainGui.worker_process import Launch, Patience, Process, Worker, WorkerBusy

from SegExplainLib.contract import Command, Event

REPOSITORY = Path(__file__).parents[2]
WORKERS = Path(__file__).with_name("workers")
START_WORKER = REPOSITORY / "SegExplain" / "SegExplainGui" / "start_worker.py"
CHECK = Command(command="check")
TERMINAL = ("finished", "failed")
LONG_ENOUGH_S = 20.0


def _child_process() -> Process:
    return ChildProcess()


def _qt_process() -> Process:
    """A `QtProcess` over PySide6, whose QProcess has the calls that PythonQt's has."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    core = pytest.importorskip("PySide6.QtCore")
    widgets = pytest.importorskip("PySide6.QtWidgets")
    _qt_process.application = core.QCoreApplication.instance() or widgets.QApplication([])  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, {"qt": core}):
        from SegExplainGui.qt_process import QtProcess
    return QtProcess()


@pytest.fixture(params=[_child_process, _qt_process], ids=["subprocess", "qt"])
def make_process(request) -> Callable[[], Process]:
    return request.param


@pytest.fixture
def a_worker(make_process) -> Iterator[Callable[..., Worker]]:
    """Makes workers that misbehave as asked; none of them outlives the test."""
    made = []

    def make(
        *behaviour: str, program: str = sys.executable, arguments: tuple[str, ...] | None = None, **patience: float
    ):
        patience = {"start_s": LONG_ENOUGH_S, "silence_s": LONG_ENOUGH_S, "quit_s": 0.5} | patience
        script = (str(WORKERS / "misbehaving_worker.py"), *behaviour)
        launch = Launch(program=program, arguments=arguments or script, environment={"GREETING": "grüß dich"})
        made.append(Worker(launch, make_process, patience=Patience(**patience)))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def _poll_until(condition: Callable[[], bool], worker: Worker, limit_s: float = LONG_ENOUGH_S) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, f"nothing within {limit_s} s; log: {worker.log_tail}"
        worker.poll()
        time.sleep(0.005)


def _answer(worker: Worker, command: Command = CHECK) -> list[Event]:
    """All events of a command; exactly the last one is terminal, also after some more polling."""
    events: list[Event] = []
    worker.ask(command, events.append)
    _poll_until(lambda: not worker.is_busy, worker)
    for _ in range(5):
        worker.poll()
        time.sleep(0.005)
    assert [event.event in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    return events


def _failure(worker: Worker) -> Event:
    failed = _answer(worker)[-1]
    assert failed.event == "failed"
    assert failed.message
    return failed


def _runs(pid: int) -> bool:
    """Whether the process is there and is more than an entry that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_for_end(pids: list[int]) -> None:
    deadline_s = time.monotonic() + 5
    while any(map(_runs, pids)):
        assert time.monotonic() < deadline_s, f"still running: {[pid for pid in pids if _runs(pid)]}"
        time.sleep(0.01)


# --- what a healthy worker gets and gives


def test_commands_get_ids_and_answers_and_keep_one_process(a_worker):
    worker = a_worker("good")
    first, second = _answer(worker), _answer(worker, Command(command="describe", request={"model": "Ä b"}))
    assert [event.event for event in first] == ["started", "finished"]
    asked = Command.from_json_line(json.dumps(second[-1].data["asked"]))
    assert asked == Command(command="describe", id=2, request={"model": "Ä b"})
    assert first[-1].data["pid"] == second[-1].data["pid"]
    assert worker.is_alive


def test_the_process_gets_its_launch_s_environment_and_nothing_else(a_worker, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    given = _answer(a_worker("good"))[-1].data["environment"]
    given.pop("LC_CTYPE", None)  # Python's own doing
    assert given == {"GREETING": "grüß dich"}


def test_an_empty_environment_does_not_let_the_parent_s_in(make_process, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "1")
    launch = Launch(program=sys.executable, arguments=(str(WORKERS / "misbehaving_worker.py"), "good"), environment={})
    worker = Worker(launch, make_process)
    try:
        assert "SECRET_OF_THE_PARENT" not in _answer(worker)[-1].data["environment"]
    finally:
        worker.close()


def test_nothing_is_started_before_the_first_command(a_worker):
    worker = a_worker("good")
    worker.poll()
    worker.cancel()
    worker.close()
    assert not worker.is_alive
    assert not worker.is_busy


def test_a_busy_worker_refuses_another_command_and_serves_the_first(a_worker):
    worker, events = a_worker("good"), []
    worker.ask(CHECK, events.append)
    with pytest.raises(WorkerBusy, match="check"):
        worker.ask(Command(command="describe"), events.append)
    _poll_until(lambda: not worker.is_busy, worker)
    assert [event.event for event in events] == ["started", "finished"]


def test_a_command_larger_than_any_pipe_is_delivered_whole(a_worker):
    text = "ü" * (1 << 20)
    asked = _answer(a_worker("good"), Command(command="preview", request={"roi": text}))[-1].data["asked"]
    assert asked["request"]["roi"] == text


def test_lines_cut_anywhere_with_any_end_and_junk_between_give_the_events(a_worker):
    worker = a_worker("cut_anywhere")
    events = _answer(worker)
    assert [(event.event, event.message) for event in events] == [("stage", "Größe → 3 µm"), ("finished", "füñf")]
    assert worker.log_tail[0].startswith("loading weights")
    assert worker.log_tail[1:3] == ["[1, 2]", '{"event": 5}']


def test_events_of_others_and_events_after_the_last_are_ignored(a_worker):
    events = _answer(a_worker("foreign_ids"))
    assert [(event.event, event.done, event.message) for event in events] == [
        ("progress", 1, ""),
        ("finished", 0, "mine"),
    ]


def test_floods_on_both_pipes_neither_block_nor_fill_the_log(a_worker):
    worker = a_worker("floods")
    assert _answer(worker)[-1].event == "finished"
    assert len(worker.log_tail) == 30
    assert any("stdout 2999" in line for line in worker.log_tail)
    assert "100 %" in worker.log_tail


def test_last_words_without_a_line_s_end_count(a_worker):
    assert _answer(a_worker("ends_without_newline"))[-1].message == "my last words"


def test_a_refusal_without_an_id_is_the_answer_to_the_running_command(a_worker):
    failed = _failure(a_worker("does_not_understand"))
    assert (failed.id, failed.kind) == (1, "InvalidRequest")


def test_a_sign_of_life_is_enough_to_be_waited_for(a_worker):
    assert _answer(a_worker("breathes", silence_s=0.6))[-1].event == "finished"


# --- how it fails


def test_a_worker_that_exits_is_told_with_its_code_and_log(a_worker):
    failed = _failure(a_worker("exits_with", "7"))
    assert failed.kind == "WorkerDied"
    assert "'check'" in failed.message
    assert "exit code 7" in failed.message
    assert failed.hint
    assert failed.data["log"][-1] == "the tensor is of the wrong size"


def test_an_exit_without_an_answer_is_a_death_even_with_code_0(a_worker):
    assert _failure(a_worker("exits_with", "0")).kind == "WorkerDied"


@pytest.mark.parametrize("behaviour", [("ended_by_signal", "9"), ("exits_with", "137")])
def test_a_worker_that_the_system_killed_is_said_to_have_run_out_of_memory(a_worker, behaviour):
    failed = _failure(a_worker(*behaviour))
    assert failed.kind == "WorkerDied"
    assert "memory ran out" in failed.message
    assert "smaller" in failed.hint


def test_a_crash_is_named_by_its_signal(a_worker):
    failed = _failure(a_worker("ended_by_signal", str(int(signal.SIGSEGV))))
    assert "crashed (signal SIGSEGV)" in failed.message


def test_a_kill_that_a_launcher_hides_is_told_as_one(a_worker):
    script = (str(WORKERS / "launcher.py"), str(WORKERS / "misbehaving_worker.py"), "ended_by_signal", "9")
    failed = _failure(a_worker(arguments=script))
    assert "memory ran out" in failed.message


def test_python_s_own_memory_error_is_told_as_one(a_worker):
    failed = _failure(a_worker("out_of_memory"))
    assert "memory ran out (exit code 1)" in failed.message
    assert "smaller" in failed.hint


def test_a_worker_that_dies_before_it_is_ready_says_why(a_worker):
    failed = _failure(a_worker("dies_before_ready"))
    assert failed.kind == "WorkerDidNotStart"
    assert "No module named 'numpy'" in failed.message
    assert any("Traceback" in line for line in failed.data["log"])


@pytest.mark.parametrize("behaviour", ["is_never_ready", "writes_rubbish_only"])
def test_a_worker_that_is_not_ready_in_time_is_ended(a_worker, behaviour):
    worker = a_worker(behaviour, start_s=0.4)
    failed = _failure(worker)
    assert failed.kind == "WorkerDidNotStart"
    assert "within 0.4 s" in failed.message
    assert not worker.is_alive


def test_a_worker_that_falls_silent_is_ended(a_worker):
    worker = a_worker("falls_silent", silence_s=0.3)
    failed = _failure(worker)
    assert failed.kind == "WorkerSilent"
    assert not worker.is_alive


def test_an_endless_line_ends_the_worker_with_a_clear_message(a_worker):
    worker = a_worker("writes_one_endless_line")
    failed = _failure(worker)
    assert failed.kind == "WorkerDied"
    assert "more than 8 MiB" in failed.message
    assert len(json.dumps(failed.data)) < 2000
    assert not worker.is_alive


def test_a_program_that_is_missing_or_no_program_is_told_as_one_event(a_worker, tmp_path):
    not_executable = tmp_path / "python"
    not_executable.write_text("text")
    for program in (tmp_path / "missing", not_executable, tmp_path):
        worker = a_worker("good", program=str(program))
        failed = _failure(worker)
        assert failed.kind == "WorkerDidNotStart"
        assert "settings" in failed.hint
        assert not worker.is_alive


def test_after_a_death_the_next_command_gets_a_new_process(a_worker, tmp_path):
    worker = a_worker("dies_once", str(tmp_path / "marker"))
    assert _failure(worker).kind == "WorkerDied"
    assert _answer(worker)[-1].event == "finished"
    assert worker.log_tail == []


def test_a_death_between_commands_is_mended_unheard(a_worker):
    worker = a_worker("dies_when_idle")
    first = _answer(worker)
    _poll_until(lambda: not worker.is_alive, worker)
    assert [event.event for event in first + _answer(worker)] == ["finished", "finished"]


def test_a_death_between_commands_that_nobody_polled_is_mended_too(a_worker):
    worker, events = a_worker("dies_when_idle"), []
    _answer(worker)
    time.sleep(0.7)
    worker.ask(CHECK, events.append)
    _poll_until(lambda: not worker.is_busy, worker)
    assert [event.event for event in events] == ["finished"]


# --- cancelling and closing


def test_a_cancelled_command_ends_as_the_worker_says_and_the_worker_stays(a_worker):
    worker, events = a_worker("good"), []
    worker.ask(Command(command="explain", job="/job"), events.append)
    _poll_until(lambda: bool(events), worker)
    worker.cancel()
    worker.cancel()
    _poll_until(lambda: not worker.is_busy, worker)
    assert (events[-1].kind, events[-1].message) == ("Cancelled", "Stopped as you asked.")
    assert worker.is_alive
    assert _answer(worker)[-1].event == "finished"


@pytest.mark.parametrize("behaviour", ["is_stubborn", "is_never_ready"])
def test_a_worker_that_does_not_stop_is_ended_in_time(a_worker, behaviour):
    worker, events = a_worker(behaviour, cancel_s=0.3), []
    worker.ask(Command(command="explain"), events.append)
    for _ in range(20):
        worker.poll()
        time.sleep(0.01)
    worker.cancel()
    asked_s = time.monotonic()
    _poll_until(lambda: not worker.is_busy, worker)
    assert 0.3 <= time.monotonic() - asked_s < 2
    assert (events[-1].event, events[-1].kind) == ("failed", "Cancelled")
    assert not worker.is_alive


def test_a_death_while_cancelling_is_a_cancel(a_worker):
    worker, events = a_worker("falls_silent"), []
    worker.ask(CHECK, events.append)
    _poll_until(lambda: bool(events), worker)
    worker.cancel()
    worker._session.process.end(None)
    _poll_until(lambda: not worker.is_busy, worker)
    assert events[-1].kind == "Cancelled"


def test_closing_a_healthy_worker_is_quick_and_nothing_is_heard_afterwards(a_worker):
    worker, events = a_worker("good", quit_s=10), []
    pid = _answer(worker)[-1].data["pid"]
    worker.ask(CHECK, events.append)
    started_s = time.monotonic()
    worker.close()
    worker.close()
    assert time.monotonic() - started_s < 5
    assert not _runs(pid)
    worker.poll()
    assert events == []
    assert not worker.is_busy
    assert _answer(worker)[-1].event == "finished", "a closed worker can be asked again"


def _ask_for_pids(worker: Worker) -> list[int]:
    events: list[Event] = []
    worker.ask(CHECK, events.append)
    _poll_until(lambda: bool(events), worker)
    assert events[0].event == "progress", events
    return events[0].data["pids"]


def test_closing_ends_launcher_worker_and_grandchild(a_worker, a_library):
    script = (str(WORKERS / "launcher.py"), str(START_WORKER), str(a_library("has_a_child")))
    worker = a_worker(arguments=script, quit_s=0.2)
    pids = _ask_for_pids(worker)
    assert len(set(pids)) == 3
    assert all(map(_runs, pids))
    started_s = time.monotonic()
    worker.close()
    assert time.monotonic() - started_s < 1.5
    _wait_for_end(pids)


def test_ending_a_silent_worker_ends_its_children(a_worker, a_library):
    script = (str(WORKERS / "launcher.py"), str(START_WORKER), str(a_library("has_a_child")))
    worker = a_worker(arguments=script, silence_s=0.5)
    pids = _ask_for_pids(worker)
    _poll_until(lambda: not worker.is_busy, worker)
    _wait_for_end(pids)


def test_a_worker_that_is_never_ready_is_ended_behind_its_launcher(a_worker, a_library, tmp_path):
    script = (str(WORKERS / "launcher.py"), str(START_WORKER), str(a_library("is_never_ready")))
    worker = a_worker(arguments=script, start_s=1.5)
    worker.ask(CHECK, lambda event: None)
    _poll_until(lambda: worker._session.worker_pid is not None, worker)
    pid = worker._session.worker_pid
    assert _runs(pid)
    _poll_until(lambda: not worker.is_busy, worker)
    _wait_for_end([pid])


def test_a_parent_that_dies_takes_the_worker_with_it(a_library, tmp_path):
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, str(parent), sys.executable, str(START_WORKER), str(a_library("good"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        pid = json.loads(running.stdout.readline())["data"]["pid"]
        assert _runs(pid)
        running.kill()
    _wait_for_end([pid])


def test_no_process_that_we_did_not_start_is_ever_ended(monkeypatch):
    killed = []
    monkeypatch.setattr(os, "kill", lambda *given: killed.append(given))
    monkeypatch.setattr(os, "killpg", lambda *given: killed.append(given))
    for pid in (-1, 0, 1, os.getpid(), os.getpgrp()):
        end_process_tree(pid)
    assert killed == []


# --- listeners


def test_a_listener_that_raises_is_logged_once_and_still_gets_the_last_event(a_worker, caplog):
    heard = []

    def raising(event: Event) -> None:
        heard.append(event.event)
        raise ValueError("a fault of the panel")

    worker = a_worker("good")
    with caplog.at_level(logging.ERROR):
        worker.ask(CHECK, raising)
        _poll_until(lambda: not worker.is_busy, worker)
    assert heard == ["started", "finished"]
    assert [record.exc_info[0] for record in caplog.records] == [ValueError]
    assert _answer(worker)[-1].event == "finished"


def test_a_listener_may_ask_the_next_question_and_wait_for_it(a_worker):
    worker, events = a_worker("good"), []

    def then_ask(event: Event) -> None:
        if event.event == "finished":
            events.extend(_answer(worker, Command(command="describe")))

    worker.ask(CHECK, then_ask)
    _poll_until(lambda: not worker.is_busy and bool(events), worker)
    assert [event.id for event in events] == [2, 2]


def test_a_listener_of_a_failure_may_ask_again(a_worker, tmp_path):
    worker, events = a_worker("dies_once", str(tmp_path / "marker")), []
    worker.ask(CHECK, lambda event: worker.ask(CHECK, events.append))
    _poll_until(lambda: not worker.is_busy and bool(events), worker)
    assert events[-1].event == "finished"


def test_a_listener_may_close_the_worker_and_hears_no_more(a_worker):
    worker, events = a_worker("foreign_ids"), []

    def close(event: Event) -> None:
        events.append(event.event)
        worker.close()

    worker.ask(CHECK, close)
    _poll_until(lambda: bool(events), worker)
    worker.poll()
    assert events == ["progress"]
    assert not worker.is_alive


# --- Qt


def test_a_timer_of_a_running_event_loop_drives_the_worker():
    process = _qt_process()
    core = pytest.importorskip("PySide6.QtCore")
    script = (str(WORKERS / "misbehaving_worker.py"), "floods")
    worker = Worker(Launch(program=sys.executable, arguments=script, environment={}), lambda: process)
    loop, timer, events = core.QEventLoop(), core.QTimer(), []
    timer.timeout.connect(worker.poll)
    timer.timeout.connect(lambda: None if worker.is_busy else loop.quit())
    worker.ask(CHECK, events.append)
    timer.start(10)
    core.QTimer.singleShot(int(LONG_ENOUGH_S * 1000), loop.quit)
    loop.exec()
    worker.close()
    assert [event.event for event in events] == ["finished"]


# --- the parts


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_do_not_depend_on_where_the_bytes_are_cut(size):
    data = "eins\nzwölf €\r\n\r\n10 %\r50 %\r100 %\nohne Ende".encode()
    splitter, lines = LineSplitter(), []
    for start in range(0, len(data), size):
        lines += splitter.feed(data[start : start + size])
    assert lines == ["eins", "zwölf €", "", "100 %"]
    assert splitter.feed(b"", is_at_end=True) == ["ohne Ende"]
    assert splitter.feed(b"", is_at_end=True) == []


def test_a_long_line_is_refused_or_keeps_its_end():
    with pytest.raises(LineTooLong, match="begins with b'aaa"):
        LineSplitter(longest_bytes=100).feed(b"a" * 101)
    splitter = LineSplitter(keep_end_of_long_lines=True, longest_bytes=100)
    for _ in range(10):
        assert splitter.feed(b"a" * 60) == []
    (line,) = splitter.feed(b"b\n")
    assert line.endswith("aab")
    assert len(line) <= 101


@pytest.mark.parametrize(
    ("exit_code", "expected"),
    [
        (0, "it ended with exit code 0"),
        (3, "it ended with exit code 3"),
        (-11, "it crashed (signal SIGSEGV)"),
        (139, "it crashed (signal SIGSEGV)"),
        (-64, "it crashed (exit code -64)"),
        (-1073741819, "it crashed (exit code 0xC0000005)"),
        (0xC0000005, "it crashed (exit code 0xC0000005)"),
        (255, "it ended with exit code 255"),
    ],
)
def test_an_exit_code_is_put_into_words(exit_code, expected):
    assert exit_reason(exit_code, []) == (expected, "")


# --- start_worker.py, and the real worker behind it


@pytest.fixture
def a_library(tmp_path) -> Callable[[str], Path]:
    """A folder with a package SegExplainLib whose worker misbehaves as asked."""

    def make(behaviour: str) -> Path:
        package = tmp_path / "library" / "SegExplainLib"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        code = (WORKERS / "misbehaving_worker.py").read_text()
        (package / "worker.py").write_text(code + f"\n\nserve = {behaviour}\n")
        return package.parent

    return make


def _start_worker(*arguments: object, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, START_WORKER, *map(str, arguments)], capture_output=True, text=True, check=False)


WHAT_CAN_BE_IMPORTED = """
import importlib.util, json, sys
def serve():
    import SegExplainLib.second
    names = ("child_process", "neighbour", "only_for_the_worker", "clashing", "json")
    found = {name: getattr(importlib.util.find_spec(name), "origin", None) for name in names}
    print(json.dumps(found))
    return 5
"""


def test_the_worker_sees_its_library_and_its_private_packages_but_not_their_neighbours(tmp_path):
    library, private, slicers = tmp_path / "library", tmp_path / "private", tmp_path / "slicers"
    for folder in (library / "SegExplainLib", private, slicers):
        folder.mkdir(parents=True)
    (library / "SegExplainLib" / "__init__.py").touch()
    (library / "SegExplainLib" / "second.py").touch()
    (library / "SegExplainLib" / "worker.py").write_text(WHAT_CAN_BE_IMPORTED)
    for path in (library / "neighbour.py", private / "only_for_the_worker.py"):
        path.touch()
    for folder in (slicers, private):
        (folder / "clashing.py").touch()
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(slicers)}):
        ran = _start_worker(library, private)
        alone = _start_worker(library, tmp_path / "missing")
        own = _start_worker(library, slicers)
    started, found = map(json.loads, ran.stdout.splitlines())
    assert started["event"] == "started"
    assert ran.returncode == 5
    assert found["child_process"] is None, "the folder of the script itself"
    assert found["neighbour"] is None
    assert found["only_for_the_worker"] == str(private / "only_for_the_worker.py")
    assert found["clashing"] == str(private / "clashing.py")
    for other in (alone, own):
        assert json.loads(other.stdout.splitlines()[1])["clashing"] == str(slicers / "clashing.py")


@pytest.mark.parametrize("arguments", [(), ("a", "b", "c")])
def test_wrong_arguments_are_told_how_it_is_started(arguments):
    ran = _start_worker(*arguments)
    assert ran.returncode == 2
    assert "start_worker.py LIBRARY_FOLDER" in ran.stderr


def test_a_folder_without_the_library_is_refused(tmp_path):
    ran = _start_worker(tmp_path)
    assert ran.returncode == 2
    assert f"no package SegExplainLib in {tmp_path}" in ran.stderr


def test_a_python_that_is_too_old_is_refused_with_its_version():
    code = START_WORKER.read_text()
    old = SimpleNamespace(version_info=(3, 9, 10), version="3.9.10 (old)", executable="/old/python", stderr=mock.Mock())
    scope: dict[str, object] = {"__name__": "start_worker"}
    exec(compile(code, "start_worker.py", "exec"), scope)
    scope["sys"] = old
    assert scope["main"]() == 2
    (said,) = old.stderr.write.call_args.args
    assert said == "SegExplain's worker needs Python 3.11 or newer, but /old/python is 3.9.10.\n"


@pytest.fixture(scope="module")
def a_backend_python() -> str:
    python = os.environ.get("SEGEXPLAIN_PYTHON", "")
    if not python:
        pytest.skip("SEGEXPLAIN_PYTHON names no Python that has SegExplain's packages")
    return python


def test_the_real_worker_describes_a_model_is_cancelled_and_leaves_no_process(make_process, a_backend_python, tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    launch = Launch(program=a_backend_python, arguments=(str(START_WORKER), str(REPOSITORY)), environment=environment)
    worker = Worker(launch, make_process)
    try:
        describe = Command(command="describe", request={"model": str(REPOSITORY / "Resources" / "demo_model")})
        described = _answer_slowly(worker, describe)
        assert described.event == "finished", (described, worker.log_tail)
        assert "liver" in described.data["classes"]
        pid = worker._session.worker_pid
        assert _runs(pid)
        wrong = _answer_slowly(worker, Command(command="describe", request={"model": str(tmp_path)}))
        assert (wrong.event, wrong.kind) == ("failed", "UnusableModel")
        assert worker._session.worker_pid == pid
    finally:
        worker.close()
    _wait_for_end([pid])


def _answer_slowly(worker: Worker, command: Command) -> Event:
    events: list[Event] = []
    worker.ask(command, events.append)
    _poll_until(lambda: not worker.is_busy, worker, limit_s=120)
    return events[-1]
