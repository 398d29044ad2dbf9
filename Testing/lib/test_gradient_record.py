"""An interrupted gradient run goes on from its file: to the same answer, for the same question only."""

import csv
import errno
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from SegExplainLib import gradient_run, record_file
from SegExplainLib.baseline_record import BASELINE_NAME
from SegExplainLib.contract import Cancelled, InvalidRequest, OutOfDisk, OutOfMemory
from SegExplainLib.counterfactual.search import counterfactual_input
from SegExplainLib.game_record import RECORD_NAME
from SegExplainLib.gradient_record import GRADIENTS_NAME, GradientRecord
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.job_folder import run_job
from SegExplainLib.pipeline import explain
from SegExplainLib.progress import Progress
from SegExplainLib.record_file import fingerprints_of
from SegExplainLib.warm import WarmState

BUDGET = 6


def a_record(**parts):
    memory = {"mean": np.arange(24.0).reshape(2, 3, 4), "path 0 todo": np.zeros(0), "n_gradients": np.array(7)}
    return GradientRecord(memory, fingerprints_of({"the CT": "one", "the seed": "0"} | parts))


def values_of(folder):
    with (folder / "players.csv").open(encoding="utf-8") as file:
        return np.array([float(row["value"]) for row in csv.DictReader(file)])


def map_of(folder):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "attribution.nrrd")))


def stopping_at(share, progress):
    """Asks to stop once this share of the gradients is taken."""

    def listen(event):
        if event.event == "progress" and event.stage == "take gradients" and event.done >= share * event.total:
            progress.cancel()

    return listen


@pytest.fixture(scope="module")
def warm():
    return WarmState()


@pytest.fixture(scope="module")
def smooth(a_question):
    return replace(a_question, method="smoothgrad", budget=BUDGET)


@pytest.fixture(scope="module")
def uninterrupted(smooth, warm, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "results"
    explain(smooth, out, warm=warm)
    return out


@pytest.fixture
def _often(monkeypatch):
    """Tells and saves after each tile."""
    monkeypatch.setattr(gradient_run, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(gradient_run, "SAVE_EVERY_S", 0.0)


def test_a_record_comes_back_from_disk_as_it_was(tmp_path):
    record = a_record()
    record.save(tmp_path / GRADIENTS_NAME)
    back = GradientRecord.load(tmp_path / GRADIENTS_NAME)
    assert back.memory.keys() == record.memory.keys()
    for name, array in record.memory.items():
        np.testing.assert_array_equal(back.memory[name], array)
        assert back.memory[name].dtype == array.dtype
    assert back.fingerprints == record.fingerprints
    assert back.n_gradients == 7


def test_gradients_of_another_question_are_refused_and_all_differences_named():
    empty = GradientRecord({}, a_record(**{"the CT": "other", "the seed": "1"}).fingerprints)
    with pytest.raises(InvalidRequest, match="gradients belong to another question: the CT, the seed differ"):
        empty.take_over(a_record())
    assert empty.memory == {}


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_record_is_one_clear_error(tmp_path, damage):
    path = tmp_path / GRADIENTS_NAME
    a_record().save(path)
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        GradientRecord.load(path)
    path.unlink()
    with pytest.raises(InvalidRequest, match="no stored gradients"):
        GradientRecord.load(path)


def assert_same_results(found, expected):
    np.testing.assert_allclose(values_of(found), values_of(expected), rtol=1e-6)
    np.testing.assert_allclose(map_of(found), map_of(expected), rtol=0, atol=1e-6 * np.abs(map_of(expected)).max())


@pytest.mark.usefixtures("_often")
def test_a_cancelled_and_a_killed_run_go_on_to_the_same_answer(smooth, uninterrupted, warm, tmp_path):
    out, job = tmp_path / "stopped", tmp_path / "job"
    progress = Progress()
    stop = stopping_at(0.5, progress)

    def listen(event):
        if (out / GRADIENTS_NAME).exists() and not job.exists():  # what a killed process would leave
            shutil.copytree(out, job / "results")
        stop(event)

    progress.listener = listen
    with pytest.raises(Cancelled, match=r"kept in .*--resume"):
        explain(smooth, out, progress=progress, warm=warm)
    assert {file.name for file in out.iterdir()} == {GRADIENTS_NAME}
    n_kept = GradientRecord.load(out / GRADIENTS_NAME).n_gradients
    assert BUDGET / 2 - 1 <= n_kept < BUDGET
    with pytest.raises(InvalidRequest, match="holds the gradients of an interrupted run"):
        explain(smooth, out, warm=warm)
    with pytest.raises(InvalidRequest, match="the seed, the noise differ"):
        explain(replace(smooth, seed=1, noise=0.2), out, resume=True, warm=warm)
    with pytest.raises(InvalidRequest, match="the method differ"):
        explain(replace(smooth, method="kernel-shap", budget=32), out, resume=True, warm=warm)
    manifest = explain(smooth, out, resume=True, warm=warm)
    assert f"{n_kept} gradients were taken over" in " ".join(manifest.warnings)
    assert {file.name for file in out.iterdir()} == {*manifest.files, "manifest.json"}
    assert GRADIENTS_NAME not in manifest.files
    assert_same_results(out, uninterrupted)
    n_killed = GradientRecord.load(job / "results" / GRADIENTS_NAME).n_gradients
    assert 1 <= n_killed <= n_kept
    (job / "request.json").write_text(smooth.to_json())
    run_job(job, resume=True, warm=warm)
    assert_same_results(job / "results", uninterrupted)


@pytest.mark.usefixtures("_often")
def test_a_path_does_not_go_on_from_one_of_two_when_it_starts_from_the_first_alone(a_question, warm, tmp_path):
    request = replace(a_question, method="integrated-gradients", budget=9, removal="black-white")
    progress = Progress()
    progress.listener = stopping_at(0.2, progress)
    with pytest.raises(Cancelled, match="--resume"):
        explain(request, tmp_path / "out", progress=progress, warm=warm)
    with pytest.raises(InvalidRequest, match="another question: the removal differ"):
        explain(replace(request, removal="air"), tmp_path / "out", resume=True, warm=warm)


def test_a_run_that_is_stopped_while_it_writes_takes_no_gradient_again(
    smooth, uninterrupted, warm, tmp_path, monkeypatch
):
    out, progress = tmp_path / "out", Progress()
    progress.listener = lambda event: event.stage == "write results" and progress.cancel()
    with pytest.raises(Cancelled, match="--resume"):
        explain(smooth, out, progress=progress, warm=warm)
    monkeypatch.setattr(StitchedScore, "gradient", lambda *_: pytest.fail("a gradient was taken"))
    explain(smooth, out, resume=True, warm=warm)
    assert_same_results(out, uninterrupted)


@pytest.mark.usefixtures("_often")
def test_a_disk_that_is_full_when_the_sums_are_saved_is_told_as_such(smooth, warm, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record_file.np.lib.format, "write_array", full)
    with pytest.raises(OutOfDisk, match="is full"):
        explain(smooth, tmp_path / "out", warm=warm)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("_often")
def test_what_was_summed_before_a_failure_stays(smooth, warm, tmp_path, monkeypatch):
    gradient, calls = StitchedScore.gradient, []

    def fails_at_the_third(score, image, **options):
        calls.append(1)
        if len(calls) == 3:
            raise OutOfMemory("Even one tile does not fit.")
        return gradient(score, image, **options)

    monkeypatch.setattr(StitchedScore, "gradient", fails_at_the_third)
    with pytest.raises(OutOfMemory):
        explain(smooth, tmp_path / "out", warm=warm)
    assert GradientRecord.load(tmp_path / "out" / GRADIENTS_NAME).n_gradients == 2


@pytest.fixture
def searches(monkeypatch):
    """Every search ends a little elsewhere, as on a GPU, whose sums have no fixed order; its length counts them."""
    made = []

    def search(*arguments, **options):
        made.append(1)
        found = counterfactual_input(*arguments, **options, n_steps=2)
        is_edited = found.image != arguments[1].network_input.array
        return replace(found, image=found.image + np.float32(1e-4 * len(made)) * is_edited)

    monkeypatch.setattr("SegExplainLib.baselines.counterfactual_input", search)
    return made


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize(
    ("method", "budget", "stage", "kept"),
    [
        ("integrated-gradients", 9, "take gradients", GRADIENTS_NAME),
        ("kernel-shap", 32, "evaluate coalitions", RECORD_NAME),
    ],
)
def test_a_run_goes_on_with_the_counterfactual_that_it_began_with(
    method, budget, stage, kept, a_question, searches, tmp_path
):
    request = replace(a_question, method=method, budget=budget, removal="counterfactual")
    out, progress = tmp_path / "out", Progress()

    def stop(event):
        if event.event == "progress" and event.stage == stage and event.done >= 0.5 * event.total:
            progress.cancel()

    progress.listener = stop
    with pytest.raises(Cancelled, match="--resume"):
        explain(request, out, progress=progress)
    assert {file.name for file in out.iterdir()} == {kept, BASELINE_NAME}
    with pytest.raises(InvalidRequest, match="baselines belong to another question: the class differ"):
        explain(replace(request, target="liver"), out, resume=True)
    manifest = explain(request, out, resume=True)
    assert len(searches) == 1
    assert "taken over" in " ".join(manifest.warnings)
    assert any("not free of what is to be explained" in warning for warning in manifest.warnings)
    assert manifest.counts["counterfactual_steps"] == 2
    assert {file.name for file in out.iterdir()} == {*manifest.files, "manifest.json"}


def test_a_counterfactual_that_was_found_need_not_be_found_again(a_question, searches, tmp_path):
    request = replace(a_question, method="kernel-shap", removal="counterfactual")
    progress, stopped_again = Progress(), Progress()
    for each in (progress, stopped_again):
        each.listener = lambda event, each=each: event.stage == "run unperturbed tiles" and each.cancel()
    with pytest.raises(Cancelled, match="--resume"):
        explain(request, tmp_path / "out", progress=progress)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [BASELINE_NAME]
    with pytest.raises(Cancelled, match="--resume"):
        explain(request, tmp_path / "out", resume=True, progress=stopped_again)
    assert len(searches) == 1
