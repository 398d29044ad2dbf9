"""The worker's client over real child processes: answers, listeners."""

import json
import logging
import sys
import time

import pytest
from SegExplainGui.worker.child_process import ChildProcess
from SegExplainGui.worker.client import Launch, Worker, WorkerBusy
from watching import CHECK, LONG_ENOUGH_S, MISBEHAVING_WORKER, answer, poll_until

from SegExplainLib.contract import Command, Event


def test_commands_get_ids_and_answers_and_keep_one_process(a_worker):
    worker = a_worker("good")
    first, second = answer(worker), answer(worker, Command(command="describe", request={"model": "Ä b"}))
    assert [event.event for event in first] == ["started", "finished"]
    asked = Command.from_json_line(json.dumps(second[-1].data["asked"]))
    assert asked == Command(command="describe", id=2, request={"model": "Ä b"})
    assert first[-1].data["pid"] == second[-1].data["pid"]
    assert worker.is_alive


def test_the_process_gets_its_launch_s_environment_and_nothing_else(a_worker, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    given = answer(a_worker("good"))[-1].data["environment"]
    given.pop("LC_CTYPE", None)  # Python's own doing
    assert given == {"GREETING": "grüß dich"}


def test_an_empty_environment_does_not_let_the_parent_s_in(make_process, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "1")
    launch = Launch(program=sys.executable, arguments=(MISBEHAVING_WORKER, "good"), environment={})
    worker = Worker(launch, make_process)
    try:
        assert "SECRET_OF_THE_PARENT" not in answer(worker)[-1].data["environment"]
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
    poll_until(lambda: not worker.is_busy, worker)
    assert [event.event for event in events] == ["started", "finished"]


def test_a_command_larger_than_any_pipe_is_delivered_whole(a_worker):
    text = "ü" * (1 << 20)
    asked = answer(a_worker("good"), Command(command="preview", request={"roi": text}))[-1].data["asked"]
    assert asked["request"]["roi"] == text


def test_lines_cut_anywhere_with_any_end_and_junk_between_give_the_events(a_worker):
    worker = a_worker("cut_anywhere")
    events = answer(worker)
    assert [(event.event, event.message) for event in events] == [("stage", "Größe → 3 µm"), ("finished", "füñf")]
    assert worker.log_tail[0].startswith("loading weights")
    assert worker.log_tail[1:3] == ["[1, 2]", '{"event": 5}']


def test_events_of_others_and_events_after_the_last_are_ignored(a_worker):
    events = answer(a_worker("foreign_ids"))
    assert [(event.event, event.done, event.message) for event in events] == [
        ("progress", 1, ""),
        ("finished", 0, "mine"),
    ]


def test_floods_on_both_pipes_neither_block_nor_fill_the_log(a_worker):
    worker = a_worker("floods")
    assert answer(worker)[-1].event == "finished"
    assert len(worker.log_tail) <= 40
    assert any("stdout 2999" in line for line in worker.log_tail)
    assert "100 %" in worker.log_tail


def test_last_words_without_a_line_s_end_count(a_worker):
    assert answer(a_worker("ends_without_newline"))[-1].message == "my last words"


def test_a_refusal_without_an_id_is_the_answer_to_the_running_command(a_worker):
    failed = answer(a_worker("does_not_understand"))[-1]
    assert (failed.id, failed.kind) == (1, "InvalidRequest")


def test_a_sign_of_life_is_enough_to_be_waited_for(a_worker):
    assert answer(a_worker("breathes", silence_s=0.6))[-1].event == "finished"


def test_time_between_commands_is_not_silence(a_worker):
    worker = a_worker("good", silence_s=0.3)
    answer(worker)
    time.sleep(0.5)
    assert answer(worker)[-1].event == "finished"


def test_an_exit_is_told_only_after_what_was_still_to_be_read():
    process = ChildProcess()
    process.start("/bin/sh", ("-c", "(sleep 0.2; echo late) & exit 3"), {})
    while (code := process.exit_code()) is None:
        time.sleep(0.005)
    assert (code, process.read()) == (3, (b"late\n", b""))


def test_an_exit_is_told_even_when_a_grandchild_keeps_the_pipes_open():
    process = ChildProcess()
    process.start("/bin/sh", ("-c", "sleep 30 & exit 3"), {})
    started_s = time.monotonic()
    while process.exit_code() is None:
        assert time.monotonic() - started_s < 5
        time.sleep(0.005)
    process.end(None)


class _ProcessWithLastWords:
    """Answers and ends right after it was read for the first time, which no real process can be made to do."""

    answer = b""
    has_ended = False

    def start(self, *_given):
        pass

    def write(self, data):
        self.answer = Event(event="finished", id=Command.from_json_line(data.decode()).id).to_json_line().encode()

    def exit_code(self):
        return 0 if self.has_ended else None

    def read(self):
        said, self.has_ended = (self.answer if self.has_ended else b""), True
        return said, b""

    def end(self, worker_pid):
        pass


def test_last_words_between_two_looks_are_not_lost():
    worker, events = Worker(Launch(program="", arguments=(), environment={}), _ProcessWithLastWords), []
    worker.ask(CHECK, events.append)
    worker.poll()
    worker.poll()
    assert [event.event for event in events] == ["finished"]


def test_a_listener_that_raises_is_logged_once_and_still_gets_the_last_event(a_worker, caplog):
    heard = []

    def raising(event: Event) -> None:
        heard.append(event.event)
        raise ValueError("a fault of the panel")

    worker = a_worker("good")
    with caplog.at_level(logging.ERROR):
        worker.ask(CHECK, raising)
        poll_until(lambda: not worker.is_busy, worker)
    assert heard == ["started", "finished"]
    assert [record.exc_info[0] for record in caplog.records] == [ValueError]
    assert answer(worker)[-1].event == "finished"


def test_a_listener_may_ask_the_next_question_and_wait_for_it(a_worker):
    worker, events = a_worker("good"), []

    def then_ask(event: Event) -> None:
        if event.event == "finished":
            events.extend(answer(worker, Command(command="describe")))

    worker.ask(CHECK, then_ask)
    poll_until(lambda: not worker.is_busy and bool(events), worker)
    assert [event.id for event in events] == [2, 2]


def test_a_listener_of_a_failure_may_ask_again(a_worker, tmp_path):
    worker, events = a_worker("dies_once", str(tmp_path / "marker")), []
    worker.ask(CHECK, lambda event: worker.ask(CHECK, events.append))
    poll_until(lambda: not worker.is_busy and bool(events), worker)
    assert events[-1].event == "finished"


def test_a_listener_may_close_the_worker_and_hears_no_more(a_worker):
    worker, events = a_worker("foreign_ids"), []

    def close(event: Event) -> None:
        events.append(event.event)
        worker.close()

    worker.ask(CHECK, close)
    poll_until(lambda: bool(events), worker)
    worker.poll()
    assert events == ["progress"]
    assert not worker.is_alive


def test_a_timer_of_a_running_event_loop_drives_the_worker(a_qt, make_qt_process):
    launch = Launch(program=sys.executable, arguments=(MISBEHAVING_WORKER, "floods"), environment={})
    worker = Worker(launch, make_qt_process)
    loop, timer, events = a_qt.QEventLoop(), a_qt.QTimer(), []
    timer.connect("timeout()", worker.poll)
    timer.connect("timeout()", lambda: None if worker.is_busy else loop.quit())
    worker.ask(CHECK, events.append)
    timer.start(10)
    a_qt.QTimer.singleShot(int(LONG_ENOUGH_S * 1000), loop.quit)
    loop.exec()
    timer.stop()
    worker.close()
    assert [event.event for event in events] == ["finished"]
