"""Cancelling and closing end a worker in time, with all that it has started."""

import json
import os
import subprocess
import sys
import time

import pytest
from SegExplainGui.worker.child_process import ChildProcess
from SegExplainGui.worker.client import Worker
from SegExplainGui.worker.process_tree import end_process_tree
from watching import CHECK, LAUNCHER, LONG_ENOUGH_S, START_WORKER, answer, poll_until, runs, wait_for_end

from SegExplainLib.contract import Command, Event


def test_a_cancelled_command_ends_as_the_worker_says_and_the_worker_stays(a_worker):
    worker, events = a_worker("good"), []
    worker.ask(Command(command="explain", job="/job"), events.append)
    poll_until(lambda: bool(events), worker)
    worker.cancel()
    worker.cancel()
    poll_until(lambda: not worker.is_busy, worker)
    assert (events[-1].kind, events[-1].message) == ("Cancelled", "Stopped as you asked.")
    assert worker.is_alive
    assert answer(worker)[-1].event == "finished"


@pytest.mark.parametrize("behaviour", ["is_stubborn", "is_never_ready"])
def test_a_worker_that_does_not_stop_is_ended_in_time(a_worker, behaviour):
    worker, events = a_worker(behaviour, cancel_s=0.3), []
    worker.ask(Command(command="explain"), events.append)
    for _ in range(20):
        worker.poll()
        time.sleep(0.01)
    worker.cancel()
    asked_s = time.monotonic()
    poll_until(lambda: worker.cancel() or not worker.is_busy, worker)  # asking again does not put it off
    assert 0.3 <= time.monotonic() - asked_s < 2
    assert (events[-1].event, events[-1].kind) == ("failed", "Cancelled")
    assert not worker.is_alive


def test_a_death_while_cancelling_is_a_cancel(a_worker):
    worker, events = a_worker("falls_silent"), []
    worker.ask(CHECK, events.append)
    poll_until(lambda: bool(events), worker)
    worker.cancel()
    worker._session.process.end(None)
    poll_until(lambda: not worker.is_busy, worker)
    assert events[-1].kind == "Cancelled"


def test_closing_a_healthy_worker_is_quick_and_nothing_is_heard_afterwards(a_worker):
    worker, events = a_worker("good", quit_s=10), []
    pid = answer(worker)[-1].data["pid"]
    worker.ask(CHECK, events.append)
    started_s = time.monotonic()
    worker.close()
    worker.close()
    assert time.monotonic() - started_s < 5
    assert not runs(pid)
    worker.poll()
    assert events == []
    assert not worker.is_busy
    assert answer(worker)[-1].event == "finished", "a closed worker can be asked again"


def test_a_worker_that_waits_for_the_end_of_its_input_ends_when_it_is_closed(a_worker):
    worker = a_worker("waits_for_end_of_input", quit_s=10)
    answer(worker)
    started_s = time.monotonic()
    worker.close()
    assert time.monotonic() - started_s < 5


def _ask_for_pids(worker: Worker) -> list[int]:
    events: list[Event] = []
    worker.ask(CHECK, events.append)
    poll_until(lambda: bool(events), worker)
    assert events[0].event == "progress", events
    return events[0].data["pids"]


def test_closing_ends_launcher_worker_and_grandchild(a_worker, a_library):
    script = (LAUNCHER, START_WORKER, str(a_library("has_a_child")))
    worker = a_worker(arguments=script, quit_s=0.2)
    pids = _ask_for_pids(worker)
    assert len(set(pids)) == 3
    assert all(map(runs, pids))
    started_s = time.monotonic()
    worker.close()
    assert time.monotonic() - started_s < 1.5
    wait_for_end(pids)


def test_ending_a_silent_worker_ends_its_children(a_worker, a_library):
    script = (LAUNCHER, START_WORKER, str(a_library("has_a_child")))
    worker = a_worker(arguments=script, silence_s=0.5)
    pids = _ask_for_pids(worker)
    poll_until(lambda: not worker.is_busy, worker)
    wait_for_end(pids)


def test_a_worker_that_is_never_ready_is_ended_behind_its_launcher(a_worker, a_library, tmp_path):
    script = (LAUNCHER, START_WORKER, str(a_library("is_never_ready")))
    worker = a_worker(arguments=script, start_s=1.5)
    worker.ask(CHECK, lambda event: None)
    poll_until(lambda: worker._session.worker_pid is not None, worker)
    pid = worker._session.worker_pid
    assert runs(pid)
    poll_until(lambda: not worker.is_busy, worker)
    wait_for_end([pid])


def test_a_process_group_of_its_own_holds_what_hides_behind_a_launcher_from_the_first_moment(tmp_path):
    code = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    script, told = tmp_path / "script.py", tmp_path / "pid"
    script.write_text(code)
    process = ChildProcess()
    process.start(sys.executable, (LAUNCHER, str(script), str(told)), {})
    deadline_s = time.monotonic() + LONG_ENOUGH_S
    while not (told.exists() and told.read_text()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    pid = int(told.read_text())
    assert runs(pid)
    process.end(None)
    wait_for_end([pid])


def test_a_parent_that_dies_takes_the_worker_with_it(a_library, tmp_path):
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, str(parent), sys.executable, START_WORKER, str(a_library("good"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        pid = json.loads(running.stdout.readline())["data"]["pid"]
        assert runs(pid)
        running.kill()
    wait_for_end([pid])


def test_no_process_that_we_did_not_start_is_ever_ended(monkeypatch):
    killed = []
    monkeypatch.setattr(os, "kill", lambda *given: killed.append(given))
    monkeypatch.setattr(os, "killpg", lambda *given: killed.append(given))
    for pid in (-1, 0, 1, os.getpid(), os.getpgrp()):
        end_process_tree(pid)
    assert killed == []
