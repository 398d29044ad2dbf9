"""Follow a worker in a test: poll it, collect its answers, look after its processes."""

import time
from collections.abc import Callable
from pathlib import Path

from SegExplainGui.worker.client import Worker

from SegExplainLib.contract import Command, Event

CHECK = Command(command="check")
TERMINAL = ("finished", "failed")
LONG_ENOUGH_S = 20.0

REPOSITORY = Path(__file__).parents[3]
START_WORKER = str(REPOSITORY / "SegExplain" / "SegExplainGui" / "worker" / "start_worker.py")
MISBEHAVING_WORKER = str(Path(__file__).with_name("misbehaving_worker.py"))
LAUNCHER = str(Path(__file__).with_name("launcher.py"))


def poll_until(condition: Callable[[], bool], worker: Worker, limit_s: float = LONG_ENOUGH_S) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, f"nothing within {limit_s} s; log: {worker.log_tail}"
        worker.poll()
        time.sleep(0.005)


def answer(worker: Worker, command: Command = CHECK) -> list[Event]:
    """All events of a command; exactly the last one is terminal, also after some more polling."""
    events: list[Event] = []
    worker.ask(command, events.append)
    poll_until(lambda: not worker.is_busy, worker)
    for _ in range(5):
        worker.poll()
        time.sleep(0.005)
    assert [event.event in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    return events


def failure(worker: Worker) -> Event:
    failed = answer(worker)[-1]
    assert failed.event == "failed"
    assert failed.message
    return failed


def runs(pid: int) -> bool:
    """Whether the process is there and is more than an entry that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_end(pids: list[int]) -> None:
    deadline_s = time.monotonic() + 5
    while any(map(runs, pids)):
        assert time.monotonic() < deadline_s, f"still running: {[pid for pid in pids if runs(pid)]}"
        time.sleep(0.01)
