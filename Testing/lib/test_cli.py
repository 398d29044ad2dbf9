import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from SegExplainLib.cli import app
from SegExplainLib.demo import demo_model_folder

ROOT = Path(__file__).resolve().parents[2]
MODEL = str(demo_model_folder())


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def spoken(result):
    """All that the command said, without line breaks of the terminal."""
    return re.sub(r"\s+", " ", result.output + result.stderr)


def test_explain_answers_in_plain_words_and_names_the_report(a_question, tmp_path):
    out = tmp_path / "out"
    result = run(
        *("explain", a_question.ct, "--model", MODEL, "--target", "kidney_right", "--roi", "segment:kidney_right"),
        *("--organs", a_question.organs, "--budget", 36, "--value", "soft-volume", "--out", out),
    )
    assert result.exit_code == 0, spoken(result)
    assert "kidney" in spoken(result)
    assert "report.html" in spoken(result)
    command = json.loads((out / "manifest.json").read_text())["request"]
    assert command["budget"] == 36

    again = run("revalue", out, "--target", "kidney_right", "--value", "dice", "--out", tmp_path / "dice")
    assert again.exit_code == 0, spoken(again)
    assert (tmp_path / "dice" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("ct", "nothing.nii.gz"), "nothing.nii.gz"),
        (("--target", "livver"), "Did you mean: liver"),
        (("--roi", "box:1,2,3"), "ijk:"),
        (("--units", "pixels"), "organs"),
        (("--model", "/nowhere/model"), "/nowhere/model"),
        (("--fold", "0"), "no folds"),
    ],
)
def test_a_fault_is_one_sentence_with_exit_code_1_and_no_traceback(a_question, tmp_path, change, says):
    words = {"--model": MODEL, "--target": "liver", "--roi": "ijk:5,30,5,30,5,30", "--units": "fcc"}
    ct = change[1] if change[0] == "ct" else a_question.ct
    if change[0] != "ct":
        words[change[0]] = change[1]
    out = tmp_path / "out"
    result = run("explain", ct, *[word for pair in words.items() for word in pair], "--out", out)
    assert result.exit_code == 1
    assert says in spoken(result)
    assert "Traceback" not in spoken(result)
    assert not out.exists()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda array: np.stack([array, array], axis=-1), "olour"),
        (lambda array: np.where(array == array.max(), np.nan, array), "NaN"),
        (lambda array: array[0], "3D volume"),
    ],
)
def test_an_image_that_is_no_ct_is_refused(a_question, tmp_path, spoil, says):
    array = spoil(sitk.GetArrayFromImage(sitk.ReadImage(a_question.ct)).astype(np.float32))
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 4), str(tmp_path / "bad.nrrd"))
    result = run("predict", tmp_path / "bad.nrrd", "--model", MODEL, "--out", tmp_path / "seg.nrrd")
    assert result.exit_code == 1
    assert says in spoken(result) or says.lower() in spoken(result).lower()
    assert not (tmp_path / "seg.nrrd").exists()


def test_a_results_folder_may_be_given_as_a_dot(the_answer, monkeypatch):
    monkeypatch.chdir(the_answer[0])
    result = run("revalue", ".", "--target", "heart/atrium", "--value", "dice")
    assert result.exit_code == 1
    assert "heart/atrium" in spoken(result)


def test_an_out_folder_under_a_file_is_refused_before_the_work(a_question):
    words = ("--model", MODEL, "--target", "liver", "--roi", "ijk:0,9,0,9,0,9", "--out", Path(a_question.ct) / "x")
    result = run("explain", a_question.ct, *words)
    assert result.exit_code == 1
    assert "not a folder" in spoken(result)


def test_a_batch_that_is_no_number_is_refused(a_question):
    result = run(
        "explain", a_question.ct, "--model", MODEL, "--target", "liver", "--roi", "ijk:0,1,0,1,0,1", "--batch", "x"
    )
    assert result.exit_code == 2


def test_the_doctor_runs_the_demo_model():
    result = run("doctor")
    assert result.exit_code == 0, spoken(result)
    assert "demo model labels a tile" in spoken(result)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(a_question, tmp_path):
    out = tmp_path / "out"
    words = ["explain", a_question.ct, "--model", MODEL, "--target", "kidney_right", "--roi", "segment:kidney_right"]
    words += ["--organs", a_question.organs, "--budget", "2000", "--tolerance", "0", "--value", "soft-volume"]
    process = subprocess.Popen(
        [sys.executable, "-m", "SegExplainLib", *words, "--units", "fcc", "--unit-mm", "60", "--out", str(out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not (out / "coalitions.npz").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert [file.name for file in out.iterdir()] == ["coalitions.npz"]
