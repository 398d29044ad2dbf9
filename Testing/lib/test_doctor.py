"""What the doctor says of sound, bare and broken installations."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from SegExplainLib import doctor
from SegExplainLib.doctor import findings, missing_packages
from SegExplainLib.requirements import EXPLAINING, REQUIREMENTS, unmet_requirements

ROOT = Path(__file__).resolve().parents[2]

BARE = """
import json, sys
sys.path[:] = [entry for entry in sys.path if "site-packages" not in entry]
sys.path[:0] = {paths!r}
before = set(sys.modules)
from SegExplainLib.doctor import findings, missing_packages
new = {{name.split(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names - {{"SegExplainLib"}}
told = [(finding.state, finding.text) for finding in findings()]
print(json.dumps([sorted(new), missing_packages(), told]))
"""


def told_by_a_bare_python(*folders):
    """(packages imported with the doctor, missing packages, findings) in a Python without any package."""
    code = BARE.format(paths=[str(ROOT), *map(str, folders)])
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    imported, missing, told = json.loads(done.stdout)
    return imported, missing, [tuple(finding) for finding in told]


def write_package(folder, name, *, version="", code=None, module=""):
    """A package as pip leaves it: its metadata, its code; either may be missing."""
    (folder / (module or name)).mkdir(parents=True)
    if code is not None:
        (folder / (module or name) / "__init__.py").write_text(code)
    if version:
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_the_requirements_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert list(REQUIREMENTS) == [*project["dependencies"], *project["optional-dependencies"]["nnunet"]]


def test_nothing_is_missing_where_the_tests_run():
    assert missing_packages() == []
    assert unmet_requirements() == []


def test_a_sound_installation_has_no_fault_and_tells_memory_and_disk(tmp_path):
    told = list(findings(tmp_path / "not" / "yet"))
    assert not [finding for finding in told if finding.state == "fault"]
    text = "\n".join(finding.text for finding in told)
    assert "GiB free" in text
    assert str(tmp_path) in text
    assert "demo model labels a tile" in text


def test_a_python_without_any_package_is_told_what_it_lacks():
    imported, missing, told = told_by_a_bare_python()
    assert imported == []
    assert missing[:2] == ["torch", "monai"]
    assert "numpy" in missing
    assert not {"shap", "captum", "typer", "nnunetv2"} & set(missing)
    assert {text.split("(")[0].split()[-1] for state, text in told if state == "fault"} == set(missing)
    assert any(state == "note" and "--method shap" in text and "shap>=0.46" in text for state, text in told)
    assert any("Disk of" in text for _, text in told)
    assert not any("demo model" in text for _, text in told)


@pytest.mark.parametrize("version", ["", "2.8.0"])
def test_a_torch_of_bare_folders_is_a_fault_with_the_usual_reason(tmp_path, version):
    write_package(tmp_path, "torch", version=version)
    _, missing, told = told_by_a_bare_python(tmp_path)
    assert "torch" in missing
    (text,) = [text for state, text in told if state == "fault" and "package torch" in text]
    assert "only in part" in text
    assert "short path" in text


@pytest.mark.parametrize(
    "code", ["", "raise ImportError('DLL load failed while importing _C')", "raise OSError('[WinError 206]')"]
)
def test_a_torch_that_breaks_when_it_is_imported_is_a_fault(tmp_path, code):
    write_package(tmp_path, "torch", version="2.8.0", code=code)
    _, _, told = told_by_a_bare_python(tmp_path)
    (text,) = [text for state, text in told if state == "fault" and "package torch" in text]
    assert "cannot be imported" in text
    assert "short path" in text


@pytest.mark.parametrize(
    ("name", "version", "is_met"),
    [
        ("torch", "2.6.0", True),
        ("torch", "2.13.0+cu130", True),
        ("torch", "2.10.0rc1", True),
        ("torch", "3", True),
        ("torch", "2.5.1", False),
        ("torch", "2.9.0", False),
        ("torch", "2.9.1+cpu", False),
        ("numpy", "1.26", True),
        ("numpy", "1.25.2", False),
        ("pynrrd", "1.0.0", True),
        ("pynrrd", "0.4.3", False),
    ],
)
def test_a_version_counts_as_pip_counts_it(tmp_path, name, version, is_met):
    from packaging.requirements import Requirement

    line = next(line for line in REQUIREMENTS if line.startswith(name))
    assert Requirement(line).specifier.contains(version, prereleases=True) == is_met
    write_package(tmp_path, name, version=version, code="", module="nrrd" if name == "pynrrd" else "")
    _, missing, told = told_by_a_bare_python(tmp_path)
    assert (name not in missing) == is_met
    assert any(f"is of version {version};" in text for _, text in told) != is_met


def test_a_package_without_metadata_is_taken_as_it_is(tmp_path):
    write_package(tmp_path, "SimpleITK", code="")
    assert "SimpleITK" not in told_by_a_bare_python(tmp_path)[1]


def test_metadata_that_names_no_version_is_no_crash(tmp_path):
    write_package(tmp_path, "shap", version="1.0", code="")
    (tmp_path / "shap-1.0.dist-info" / "METADATA").write_text("")
    assert "torch" in told_by_a_bare_python(tmp_path)[1]


def test_every_gpu_tells_its_memory_and_a_broken_one_is_a_fault(monkeypatch):
    def memory(number):
        if number == 2:
            raise RuntimeError("CUDA error: device is lost")
        return (20 * 2**30, 24 * 2**30) if number == 0 else (2**30, 24 * 2**30)

    cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 3,
        mem_get_info=memory,
        get_device_name=lambda number: f"card {number}",
    )
    monkeypatch.setattr(torch, "cuda", cuda)
    first, second, third = doctor._devices()
    assert (first.state, "20.0 of 24.0 GiB free" in first.text, "card 0" in first.text) == ("ok", True, True)
    assert (second.state, "1.0 of 24.0 GiB free" in second.text) == ("note", True)
    assert (third.state, "device is lost" in third.text) == ("fault", True)


def test_a_full_disk_is_a_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10 * 2**20))
    (finding,) = [finding for finding in findings(tmp_path) if "Disk" in finding.text]
    assert finding.state == "fault"
    assert "Free some space" in finding.text


def test_explaining_works_without_what_only_options_need(a_question, tmp_path):
    options = {"captum", "rich", "shap", "slicerio", "typer"}
    assert options == {
        name for line, use in REQUIREMENTS.items() if use != EXPLAINING and (name := line.split(">")[0]) in options
    }
    (tmp_path / "request.json").write_text(a_question.to_json())
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPTIONS, json.dumps(sorted(options)), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told["unmet"]) == options
    assert told["missing"] == []
    assert not {"shap", "captum"} & set(told["versions"])
    assert "needs the package shap" in told["refused"]
    assert (tmp_path / "results" / "report.html").exists()


WITHOUT_OPTIONS = """
import importlib.metadata, json, sys
from dataclasses import replace
from pathlib import Path

blocked = set(json.loads(sys.argv[1]))
for name in blocked:
    sys.modules[name] = None  # an import of it fails from now on
metadata_version = importlib.metadata.version

def version(name):
    if name in blocked:
        raise importlib.metadata.PackageNotFoundError(name)
    return metadata_version(name)

importlib.metadata.version = version
from SegExplainLib.contract import ExplainRequest, MissingPackages
from SegExplainLib.doctor import missing_packages
from SegExplainLib.pipeline import explain
from SegExplainLib.requirements import unmet_requirements

job = Path(sys.argv[2])
request = ExplainRequest.from_mapping(json.loads((job / "request.json").read_text()))
manifest = explain(request, job / "results")
refused = ""
try:
    explain(replace(request, method="shap"), job / "other")
except MissingPackages as error:
    refused = str(error)
unmet = [requirement.name for requirement in unmet_requirements()]
print(json.dumps({"unmet": unmet, "missing": missing_packages(), "versions": manifest.versions, "refused": refused}))
"""
