"""start_worker.py in a real Python, and the real worker behind it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from SegExplainGui.worker.client import Launch, Process, Worker
from watching import REPOSITORY, START_WORKER, poll_until, runs, wait_for_end

from SegExplainLib.contract import Command, Event, ExplainRequest

DEMO_MODEL = str(REPOSITORY / "Resources" / "demo_model")


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
    code = Path(START_WORKER).read_text()
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


@pytest.fixture
def a_real_worker(a_backend_python, tmp_path) -> Iterator[Callable[[Callable[[], Process]], Worker]]:
    made = []

    def make(make_process: Callable[[], Process]) -> Worker:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        arguments = (START_WORKER, str(REPOSITORY))
        made.append(
            Worker(Launch(program=a_backend_python, arguments=arguments, environment=environment), make_process)
        )
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def last_event(worker: Worker, command: Command) -> Event:
    events: list[Event] = []
    worker.ask(command, events.append)
    poll_until(lambda: not worker.is_busy, worker, limit_s=120)
    return events[-1]


def test_the_real_worker_describes_a_model_and_outlives_a_wrong_question(a_real_worker, make_process, tmp_path):
    worker = a_real_worker(make_process)
    right = last_event(worker, Command(command="describe", request={"model": DEMO_MODEL}))
    assert right.event == "finished", (right, worker.log_tail)
    assert "liver" in right.data["classes"]
    pid = worker._session.worker_pid
    wrong = last_event(worker, Command(command="describe", request={"model": str(tmp_path)}))
    assert (wrong.event, wrong.kind) == ("failed", "UnusableModel")
    assert worker._session.worker_pid == pid
    assert runs(pid)
    worker.close()
    wait_for_end([pid])


MAKE_A_CT = """
import sys; from pathlib import Path
from SegExplainLib.phantom import DEMO_SEED, make_torso; from SegExplainLib.volume_io import write_nrrd
write_nrrd(make_torso(DEMO_SEED).ct, Path(sys.argv[1]))
"""


def test_a_real_explanation_is_cancelled_within_two_seconds(a_real_worker, a_backend_python, make_qt_process, tmp_path):
    subprocess.run([a_backend_python, "-c", MAKE_A_CT, tmp_path / "ct.nrrd"], cwd=REPOSITORY, check=True)
    request = ExplainRequest(
        ct=str(tmp_path / "ct.nrrd"), model=DEMO_MODEL, target="lesion", roi="segment:lesion+10", units="fcc",
        budget=5000, tolerance=0.0,
    )  # fmt: skip
    (tmp_path / "request.json").write_text(request.to_json())
    worker, events = a_real_worker(make_qt_process), []
    worker.ask(Command(command="explain", job=str(tmp_path)), events.append)
    poll_until(lambda: not worker.is_busy or (events[-1:] and events[-1].event == "progress"), worker, limit_s=120)
    assert worker.is_busy, events[-1]
    pid = worker._session.worker_pid
    worker.cancel()
    asked_s = time.monotonic()
    poll_until(lambda: not worker.is_busy, worker)
    assert time.monotonic() - asked_s < 2.5
    assert (events[-1].event, events[-1].kind) == ("failed", "Cancelled")
    assert not (tmp_path / "results" / "manifest.json").exists()
    assert runs(pid), "warm for the next question"
    worker.close()
    wait_for_end([pid])
