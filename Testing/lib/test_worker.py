import csv
import json
import shutil
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import SimpleITK as sitk
from worker_client import WorkerClient, job_events, make_job

from SegExplainLib.contract import Cancelled, ExplainRequest, InvalidRequest, OutOfDisk, OutOfMemory, UnusableModel
from SegExplainLib.job_folder import failure, run_job


@pytest.fixture(scope="module")
def a_worker():
    client = WorkerClient()
    yield client
    assert client.end() == 0, client.log


@pytest.fixture
def another_worker():
    client = WorkerClient()
    yield client
    client.end()


def kinds_of(events):
    return [event.event for event in events]


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def long_question(a_question):
    """Runs for minutes, with a first estimate after seconds."""
    return replace(a_question, budget=4000, tolerance=0.0)


@pytest.fixture(scope="module")
def few_units(a_question, a_question_of_few_units):
    """All 8 coalitions of the target, an organ beside it and the rest of the body."""
    return a_question_of_few_units(a_question.target, "liver")


def test_a_worker_is_ready_before_it_imports_anything_heavy():
    code = (
        "import sys, io, SegExplainLib.worker as worker;"
        "worker.Server(io.StringIO()).serve([]);"
        "print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    client = WorkerClient(program=("-c", code))
    assert client.process.wait(timeout=60) == 0
    client.end()
    assert client.lines == [b"[]\n"]


def test_a_worker_answers_a_question_and_the_next_about_the_same_units_from_memory(a_worker, a_question, tmp_path):
    jobs = [make_job(tmp_path / value, replace(a_question, value=value)) for value in ("soft-volume", "mean-logit")]
    first, second = (a_worker.answer("explain", job=str(job)) for job in jobs)
    for job, events in zip(jobs, (first, second)):
        assert events[-1].event == "finished", events[-1]
        assert events[-1].path == str(job / "results")
        own = [event for event in events if event.id == events[-1].id]
        assert kinds_of(own)[0] == "started"
        assert kinds_of(own).count("finished") == 1
        assert [event["event"] for event in job_events(job)] == kinds_of(own)
        assert (job / "results" / "manifest.json").exists()
    counts = [json.loads((job / "results" / "manifest.json").read_text())["counts"] for job in jobs]
    assert counts[0]["n_network_tiles"] > 100
    assert counts[1]["n_network_tiles"] == 0
    assert max(event.tiles for event in second) == 0

    partials = [event for event in first if event.event == "partial"]
    assert partials[-1].done == 40
    assert partials[-1].path == str(jobs[0] / "partial")
    assert rows_of(jobs[0] / "partial" / "players.csv") == rows_of(jobs[0] / "results" / "players.csv")


def test_the_units_of_interim_results_lie_on_the_cts_grid(a_worker, a_question, tmp_path):
    job = make_job(tmp_path / "job", a_question)
    a_worker.answer("explain", job=str(job))
    units, ct = sitk.ReadImage(str(job / "partial" / "units.nrrd")), sitk.ReadImage(a_question.ct)
    assert units.GetPixelID() == sitk.sitkUInt8
    assert (units.GetSize(), units.GetSpacing()) == (ct.GetSize(), ct.GetSpacing())
    np.testing.assert_allclose(units.GetDirection(), ct.GetDirection())
    np.testing.assert_allclose(units.GetOrigin(), ct.GetOrigin())
    header = (job / "partial" / "units.nrrd").read_bytes()[:2000]
    assert b"encoding: raw" in header
    finished = sitk.ReadImage(str(job / "results" / "players.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(units), sitk.GetArrayFromImage(finished))
    ids = {int(row["id"]) for row in rows_of(job / "partial" / "players.csv").values()}
    assert set(np.unique(sitk.GetArrayFromImage(units))) - {0} <= ids


def test_a_run_that_is_stopped_ends_within_2_s_keeps_what_it_has_and_goes_on(a_worker, a_question, tmp_path):
    request = long_question(a_question)
    job = make_job(tmp_path / "job", request)
    number = a_worker.send("explain", job=str(job))
    events = a_worker.until("partial", "failed", id=number)
    assert events[-1].event == "partial", events[-1]
    begin = time.monotonic()
    a_worker.send("cancel")
    last = a_worker.until("finished", "failed", id=number)[-1]
    assert time.monotonic() - begin < 2.0
    assert (last.event, last.kind, last.stage) == ("failed", "Cancelled", "evaluate coalitions")
    assert "resume" in last.hint
    assert rows_of(job / "partial" / "players.csv")

    fewer = replace(request, tolerance=0.9)
    (job / "request.json").write_text(fewer.to_json(), encoding="utf-8")
    refused = a_worker.answer("explain", job=str(job))[-1]
    assert (refused.event, refused.kind) == ("failed", "InvalidRequest")
    events = a_worker.answer("explain", job=str(job), resume=True)
    assert events[-1].event == "finished", events[-1]


def test_lines_that_are_no_commands_are_told_and_do_no_harm(a_worker):
    begin = len(a_worker.lines)
    for junk in ("hello", "[1, 2]", "[" * 200_000, '{"command": "explain", "jub": "x"}', "", "\x00\xff"):
        a_worker.write(junk)
    a_worker.write('{"command": "dance", "id": 77}')
    last = a_worker.until("failed", id=77)[-1]
    assert "dance" in last.message
    assert last.kind == "InvalidRequest"
    assert len(a_worker.lines) - begin >= 5
    assert a_worker.answer("describe", request={"model": "/nowhere"})[-1].kind == "UnusableModel"


@pytest.mark.parametrize(
    ("command", "fields", "kind", "says"),
    [
        ("explain", {"job": "/nowhere/job"}, "InvalidRequest", "no job folder"),
        ("explain", {}, "InvalidRequest", "no job"),
        ("evaluate", {"out": "/nowhere/out"}, "InvalidRequest", "no results folder"),
        ("evaluate", {"results": ["/nowhere/results"], "out": "/nowhere/out"}, "InvalidRequest", "not a finished"),
        (
            "evaluate",
            {"results": ["r"], "out": "o", "request": {"trust_model": "yes"}},
            "InvalidRequest",
            "trust_model = 'yes'",
        ),
        ("evaluate", {"results": ["r"], "out": "o", "request": {"budget": 5}}, "InvalidRequest", "budget = 5"),
        ("preview", {"request": {"ct": "a"}}, "InvalidRequest", "lacks"),
        ("preview", {"request": {"ct": "a", "model": "m", "target": "t", "roi": "r", "x": 1}}, "InvalidRequest", "x"),
        ("describe", {"request": {"modle": "a"}}, "InvalidRequest", "modle"),
        ("describe", {"request": {"model": 5}}, "InvalidRequest", "expected str"),
    ],
)
def test_each_fault_is_one_failed_event_of_its_kind(a_worker, command, fields, kind, says):
    events = a_worker.answer(command, **fields)
    assert kinds_of(events).count("failed") == 1
    assert events[-1].kind == kind
    assert says in events[-1].message


def test_a_finished_result_is_evaluated_once_and_the_answer_is_what_its_files_say(a_worker, few_units, tmp_path):
    job = make_job(tmp_path / "job", few_units)
    explained = a_worker.answer("explain", job=str(job))[-1]
    assert explained.event == "finished", explained
    asked = {"results": [str(job / "results")], "out": str(job / "evaluation"), "request": {"device": "cpu"}}
    number = a_worker.send("evaluate", **asked)
    events = [event for event in a_worker.until("finished", "failed", id=number) if event.id == number]
    assert (kinds_of(events)[0], kinds_of(events)[-1]) == ("started", "finished"), events[-1]
    data, out = events[-1].data, job / "evaluation"
    assert (data["folder"], data["picture"]) == (str(out), str(out / "evaluation.png"))
    assert data["headings"] == ["", "exact", "largest unit first", "chance"]
    page = (out / "evaluation.md").read_text(encoding="utf-8")
    assert all(f"- {sentence}\n" in page for sentence in [*data["sentences"], *data["undefined"]])
    assert all(f"| {' | '.join(cell.strip() for cell in row)} |" in page for row in data["rows"])
    again = a_worker.answer("evaluate", **asked)[-1]
    assert (again.event, again.kind) == ("failed", "InvalidRequest")
    assert "already holds" in again.message


def test_an_evaluation_that_is_stopped_ends_within_2_s_and_keeps_what_was_evaluated(a_worker, the_answer, tmp_path):
    results, out = the_answer[0], tmp_path / "evaluation"
    number = a_worker.send("evaluate", results=[str(results)], out=str(out))
    a_worker.until("progress", "failed", id=number)
    begin = time.monotonic()
    a_worker.send("cancel")
    last = a_worker.until("finished", "failed", id=number)[-1]
    assert time.monotonic() - begin < 2.0
    assert (last.event, last.kind) == ("failed", "Cancelled"), last
    assert (out / "unit_coalitions.npz").exists()
    assert not (out / "evaluation.json").exists()


def test_a_model_is_described_and_a_question_previewed(a_worker, a_question):
    described = a_worker.answer("describe", request={"model": a_question.model})[-1]
    assert "kidney_right" in described.data["classes"]
    previewed = a_worker.answer("preview", request=asdict(a_question))[-1]
    assert previewed.data["n_units"] == 12
    assert previewed.data["seconds_a_tile"] > 0


def test_the_installation_is_checked(a_worker):
    checked = a_worker.answer("check")[-1]
    assert checked.event == "finished", checked
    assert {finding["state"] for finding in checked.data["findings"]} <= {"ok", "note", "fault"}
    assert checked.data["missing"] == []


def test_two_commands_are_answered_one_after_the_other(a_worker, a_question):
    ids = [a_worker.send("describe", request={"model": a_question.model}) for _ in range(2)]
    events = a_worker.until("finished", "failed", id=ids[1])
    of_commands = [event.id for event in events if event.id in ids]
    assert of_commands == sorted(of_commands)
    assert [event.id for event in events if event.event == "finished"] == ids


def test_the_end_of_the_input_ends_the_work_and_the_worker(another_worker, a_question, tmp_path):
    job = make_job(tmp_path / "job", long_question(a_question))
    another_worker.send("explain", job=str(job))
    another_worker.until("partial", "failed")  # the preview
    another_worker.until("partial", "failed")
    begin = time.monotonic()
    assert another_worker.end() == 0
    assert time.monotonic() - begin < 10
    assert job_events(job)[-1]["kind"] == "Cancelled"
    assert (job / "results" / "coalitions.npz").exists()


def test_quit_ends_the_worker(another_worker):
    another_worker.until("ready")
    another_worker.send("quit")
    assert another_worker.process.wait(timeout=20) == 0


def test_what_libraries_print_never_gets_between_the_events():
    code = """
import os, sys, threading
import SegExplainLib.doctor as doctor, SegExplainLib.worker as worker
def noisy():
    print("printed", end="")
    os.write(1, b"written {")
    print(repr(sys.stdin.read()))
    yield doctor.Finding("ok", "loud – and clear")
doctor.findings = noisy
doctor.missing_packages = lambda: ["a-package"]
worker.serve()
"""
    client = WorkerClient(program=("-c", code))
    ready = client.until("ready")[0]
    assert ready.data["pid"] == client.process.pid
    last = client.answer("check")[-1]
    assert client.end() == 0
    assert last.data["findings"] == [{"state": "ok", "text": "loud – and clear"}]
    assert last.data["missing"] == ["a-package"]
    assert {"segexplain", "python", "numpy"} <= set(last.data["versions"])
    assert last.data["device"] in ("cpu", "cuda")
    assert all(json.loads(line)["event"] for line in client.lines)
    assert not any(b"\r" in line for line in client.lines)
    assert "printed" in client.log
    assert "written" in client.log


def test_a_cancel_after_an_answer_stops_the_next_command_and_not_the_one_that_was_answered():
    code = """
import io, sys, threading, time
import SegExplainLib.doctor as doctor, SegExplainLib.worker as worker
doctor.findings, doctor.missing_packages = (lambda: iter(())), list
ended = {1: threading.Event(), 2: threading.Event()}
class SlowPipe(io.StringIO):
    def write(self, line):
        print(line, end="", flush=True)
        for number in ended:
            if f'"id": {number},' in line and "started" not in line:
                ended[number].set()
                time.sleep(0.3)
def lines():
    yield b'{"command": "check", "id": 1}'
    ended[1].wait(20)
    yield b'{"command": "check", "id": 2}'
    yield b'{"command": "cancel"}'
    ended[2].wait(20)
worker.Server(SlowPipe()).serve(lines())
"""
    client = WorkerClient(program=("-c", code))
    told = [event for event in client.until("finished", "failed", id=2) if event.event in ("finished", "failed")]
    client.end()
    assert [(event.id, event.event) for event in told] == [(1, "finished"), (2, "failed")]
    assert told[1].kind == "Cancelled"


def test_what_an_error_held_is_gone_before_memory_is_given_back():
    code = """
import weakref
import SegExplainLib.doctor as doctor, SegExplainLib.worker as worker
class Large: pass
def broken():
    global seen
    large = Large()
    seen = weakref.ref(large)
    raise MemoryError
    yield
doctor.findings, doctor.missing_packages = broken, list
worker.WarmState.clear = lambda self: print("still held" if seen() else "let go")
worker.serve()
"""
    client = WorkerClient(program=("-c", code))
    assert client.answer("check")[-1].kind == "OutOfMemory"
    assert client.end() == 0
    assert "let go" in client.log


def test_a_job_folder_that_cannot_be_written_to_is_a_failure_that_is_told(tmp_path):
    job = make_job(tmp_path / "job", ExplainRequest(ct="none.nrrd", model="m", target="t", roi="ijk:0,1,0,1,0,1"))
    (job / "events.jsonl").mkdir()
    heard = []
    with pytest.raises(InvalidRequest, match="cannot be written to"):
        run_job(job, listener=heard.append)
    assert kinds_of(heard) == ["started", "failed"]
    assert "cannot be written to" in heard[-1].message


def test_a_job_folder_that_goes_away_ends_the_run(tmp_path):
    job = make_job(tmp_path / "job", ExplainRequest(ct="none.nrrd", model="m", target="t", roi="ijk:0,1,0,1,0,1"))
    heard = []

    def listener(event):
        heard.append(event)
        if event.event == "started":
            shutil.rmtree(job)

    with pytest.raises(InvalidRequest, match="cannot be written to"):
        run_job(job, listener=listener)
    assert kinds_of(heard) == ["started", "failed"]
    assert not job.exists()


def test_work_that_does_not_stop_ends_with_its_process():
    code = """
import time
import SegExplainLib.doctor as doctor, SegExplainLib.worker as worker
worker.GRACE_S = 0.5
def stubborn():
    print("asleep")
    time.sleep(60)
    yield
doctor.findings, doctor.missing_packages = stubborn, list
worker.serve()
"""
    client = WorkerClient(program=("-c", code))
    client.send("check")
    begin = time.monotonic()
    while "asleep" not in client.log and time.monotonic() - begin < 20:
        time.sleep(0.02)
    begin = time.monotonic()
    assert client.end() == 1
    assert time.monotonic() - begin < 10


def test_an_unexpected_error_is_logged_and_the_worker_goes_on():
    code = """
import SegExplainLib.doctor as doctor, SegExplainLib.worker as worker
faults = [ZeroDivisionError("by none"), MemoryError(), ModuleNotFoundError("no", name="torch"), OSError(28, "full")]
def broken():
    raise faults.pop(0)
    yield
doctor.findings, doctor.missing_packages = broken, list
worker.serve()
"""
    client = WorkerClient(program=("-c", code))
    kinds = [client.answer("check")[-1].kind for _ in range(4)]
    assert client.end() == 0
    assert kinds == ["ZeroDivisionError", "OutOfMemory", "ModuleNotFoundError", "OutOfDisk"]
    assert "Traceback" in client.log


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Cancelled("stopped"), "Cancelled"),
        (OutOfMemory("too large"), "OutOfMemory"),
        (OutOfDisk("full"), "OutOfDisk"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "OutOfMemory"),
        (KeyError("x"), "KeyError"),
    ],
)
def test_a_failure_tells_the_kind_and_the_stage(error, kind):
    told = failure(error, stage="read CT")
    assert told.kind == kind
    assert told.message
    assert told.stage == ("" if isinstance(error, Cancelled | OutOfMemory | OutOfDisk) else "read CT")


def test_a_failure_of_a_job_is_written_once(tmp_path):
    job = make_job(tmp_path / "job", ExplainRequest(ct="none.nrrd", model="m", target="t", roi="ijk:0,1,0,1,0,1"))
    heard = []
    with pytest.raises(UnusableModel, match="no model folder"):
        run_job(job, listener=heard.append)
    assert kinds_of(heard) == [event["event"] for event in job_events(job)]
    assert kinds_of(heard).count("failed") == 1
