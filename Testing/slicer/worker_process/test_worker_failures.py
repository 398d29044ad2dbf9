"""Each way in which a worker process can fail ends in one clear message and a client that goes on."""

import json
import os
import signal
import time

import pytest
from watching import CHECK, LAUNCHER, MISBEHAVING_WORKER, answer, failure, poll_until, wait_for_end


def test_a_worker_that_exits_is_told_with_its_code_and_log(a_worker):
    failed = failure(a_worker("exits_with", "7"))
    assert failed.kind == "WorkerDied"
    assert "'check'" in failed.message
    assert "exit code 7" in failed.message
    assert failed.hint
    assert failed.data["log"][-1] == "the tensor is of the wrong size"


def test_an_exit_without_an_answer_is_a_death_even_with_code_0(a_worker):
    assert failure(a_worker("exits_with", "0")).kind == "WorkerDied"


@pytest.mark.parametrize("behaviour", [("ended_by_signal", "9"), ("exits_with", "137")])
def test_a_worker_that_the_system_killed_is_said_to_have_run_out_of_memory(a_worker, behaviour):
    failed = failure(a_worker(*behaviour))
    assert failed.kind == "WorkerDied"
    assert "memory ran out" in failed.message
    assert "smaller" in failed.hint


def test_a_crash_is_named_by_its_signal(a_worker):
    failed = failure(a_worker("ended_by_signal", str(int(signal.SIGSEGV))))
    assert "crashed (signal SIGSEGV)" in failed.message


def test_a_kill_that_a_launcher_hides_is_told_as_one(a_worker):
    script = (LAUNCHER, MISBEHAVING_WORKER, "ended_by_signal", "9")
    failed = failure(a_worker(arguments=script))
    assert "memory ran out" in failed.message


def test_python_s_own_memory_error_is_told_as_one(a_worker):
    failed = failure(a_worker("out_of_memory"))
    assert "memory ran out (exit code 1)" in failed.message
    assert "smaller" in failed.hint


def test_a_worker_that_dies_before_it_is_ready_says_why(a_worker):
    failed = failure(a_worker("dies_before_ready"))
    assert failed.kind == "WorkerDidNotStart"
    assert "No module named 'numpy'" in failed.message
    assert any("Traceback" in line for line in failed.data["log"])


@pytest.mark.parametrize("behaviour", ["is_never_ready", "writes_rubbish_only"])
def test_a_worker_that_is_not_ready_in_time_is_ended(a_worker, behaviour):
    worker = a_worker(behaviour, start_s=0.4)
    failed = failure(worker)
    assert failed.kind == "WorkerDidNotStart"
    assert "within 0.4 s" in failed.message
    assert not worker.is_alive


def test_a_worker_that_falls_silent_is_ended(a_worker):
    worker = a_worker("falls_silent", silence_s=0.3)
    failed = failure(worker)
    assert failed.kind == "WorkerSilent"
    assert not worker.is_alive


def test_an_endless_line_ends_the_worker_with_a_clear_message(a_worker):
    worker = a_worker("writes_one_endless_line")
    failed = failure(worker)
    assert failed.kind == "WorkerDied"
    assert "more than 8 MiB" in failed.message
    assert len(json.dumps(failed.data)) < 2000
    assert not worker.is_alive


def test_a_program_that_is_missing_or_no_program_is_told_as_one_event(a_worker, tmp_path):
    not_executable = tmp_path / "python"
    not_executable.write_text("text")
    for program in (tmp_path / "missing", not_executable, tmp_path):
        worker = a_worker("good", program=str(program))
        failed = failure(worker)
        assert failed.kind == "WorkerDidNotStart"
        assert "settings" in failed.hint
        assert not worker.is_alive


def test_after_a_death_the_next_command_gets_a_new_process(a_worker, tmp_path):
    worker = a_worker("dies_once", str(tmp_path / "marker"))
    assert failure(worker).kind == "WorkerDied"
    assert answer(worker)[-1].event == "finished"
    assert worker.log_tail == []


def test_a_death_between_commands_is_mended_unheard(a_worker):
    worker = a_worker("dies_when_idle")
    first = answer(worker)
    poll_until(lambda: not worker.is_alive, worker)
    assert [event.event for event in first + answer(worker)] == ["finished", "finished"]


def test_a_death_between_commands_that_nobody_polled_is_mended_too(a_worker):
    worker, events = a_worker("good"), []
    pid = answer(worker)[-1].data["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for_end([pid])
    time.sleep(0.1)
    worker.ask(CHECK, events.append)
    poll_until(lambda: not worker.is_busy, worker)
    assert [event.event for event in events] == ["started", "finished"]
