"""Installing what the worker lacks: real pip, wheels made here, no network."""

import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import time
import types
import venv
import zipfile
from pathlib import Path

import pytest
import slicer
from SegExplainGui.setup import installation
from SegExplainGui.setup.dependencies import Backend
from SegExplainGui.setup.installation import install, install_private, plan_for
from SegExplainGui.setup.pip_faults import InstallationFailed, explained

from SegExplainLib.contract import Cancelled, InvalidRequest, OutOfDisk

A_LIST = ("greeting>=1", "greedy", "nowhere>=7")
SLICERS = Backend(sys.executable, "slicer")


def wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> None:
    """A wheel of one module that does nothing."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        f"{name}/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))


@pytest.fixture(scope="session")
def a_package_index(tmp_path_factory):
    """Folder of wheels that stand in for the Package Index."""
    folder = tmp_path_factory.mktemp("index")
    wheel(folder, "greeting", "1.5", ("politeness>=2",))
    wheel(folder, "politeness", "2.0")
    wheel(folder, "greedy", "1.0", ("numpy>=99",))
    wheel(folder, "numpy", "99.0")
    wheel(folder, "slicer", "0.0.8")
    needs = ("numpy", "slicer==0.0.8", "gearbox>=3", 'colour ; extra == "plots"', 'winonly ; sys_platform == "none"')
    wheel(folder, "shap", "0.50.0", needs)
    wheel(folder, "gearbox", "3.1", ("ballbearing",))
    wheel(folder, "ballbearing", "1.0")
    return folder


@pytest.fixture(scope="session")
def another_python(tmp_path_factory):
    """A Python of the user's with pip and nothing else."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


@pytest.fixture
def an_environment(a_package_index):
    """Environment in which pip knows these wheels and no network."""
    return {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(a_package_index), "PIP_CONFIG_FILE": os.devnull}


def installed(python: str) -> set[str]:
    done = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    return {entry["name"] for entry in json.loads(done.stdout)}


def yes(_question):
    return True


def test_another_python_gets_the_packages_by_its_own_pip(another_python, an_environment, tmp_path):
    said = []
    done = install(
        ["greeting"],
        Backend(another_python, "setting"),
        private=tmp_path / "private",
        requirements=A_LIST,
        confirm=yes,
        say=said.append,
        environment=an_environment,
    )
    assert done
    assert {"greeting", "politeness"} <= installed(another_python)
    assert any("greeting" in line for line in said)
    assert not (tmp_path / "private").exists()


def test_nothing_happens_to_who_declines(another_python, an_environment, tmp_path):
    asked = []
    backend = Backend(another_python, "setting")
    where = {"private": tmp_path, "requirements": A_LIST, "environment": an_environment}
    assert not install(["greedy"], backend, **where, confirm=lambda question: asked.append(question), say=print)
    assert "greedy" in asked[0]
    assert another_python in asked[0]
    assert "greedy" not in installed(another_python)


def test_nobody_is_asked_when_nothing_is_missing(tmp_path):
    assert install([], SLICERS, private=tmp_path, confirm=lambda _: pytest.fail("asked"), say=print)


def test_a_package_that_the_index_lacks_is_told(another_python, an_environment, tmp_path):
    where = {"private": tmp_path, "requirements": A_LIST, "environment": an_environment, "confirm": yes, "say": print}
    with pytest.raises(InstallationFailed, match="no version that fits"):
        install(["nowhere"], Backend(another_python, "setting"), **where)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_cancelling_ends_pip_within_two_seconds(tmp_path):
    slow = tmp_path / "python"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho working\nexec sleep 60\n", encoding="utf-8")
    slow.chmod(0o755)
    begin, lines = time.monotonic(), []
    looking_on = {"say": lines.append, "is_cancelled": lambda: "working" in lines}
    with pytest.raises(Cancelled):
        install(
            ["greedy"],
            Backend(str(slow), "setting"),
            private=tmp_path,
            requirements=A_LIST,
            confirm=yes,
            **looking_on,
        )
    assert time.monotonic() - begin < 2
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_private_folder_gets_what_neither_it_nor_slicer_has(a_package_index, tmp_path, an_environment):
    private, calls = tmp_path / "private", []

    def run_pip(arguments):
        calls.append(arguments)
        command = [sys.executable, "-m", "pip", "install", "-q", *arguments]
        subprocess.run(command, env=an_environment, check=True, capture_output=True)

    install_private(("shap>=0.46", *installation.PRIVATE["shap"]), private, run_pip=run_pip)
    there = {found.metadata["Name"] for found in importlib.metadata.distributions(path=[str(private)])}
    assert there == {"shap", "slicer", "gearbox", "ballbearing"}  # not numpy: Slicer has it; no extra, no other system
    assert len(calls) == 3
    install_private(
        ("shap>=0.46", *installation.PRIVATE["shap"]), private, run_pip=run_pip
    )  # again: mends, adds nothing
    assert len(calls) == 4


def test_a_pip_that_installs_nothing_does_not_go_on_for_ever(tmp_path):
    calls = []
    install_private(["shap"], tmp_path, run_pip=calls.append)
    assert len(calls) == 1


def test_shap_goes_beside_slicer_and_everything_else_into_it():
    plan = plan_for(["torch", "captum", "shap", "pyyaml"], SLICERS)
    assert plan.torch == "torch>=2.6,!=2.9.*"
    assert plan.ordinary == ("captum>=0.9", "pyyaml>=6")
    assert plan.private == ("shap>=0.46", "slicer==0.0.8")
    question = plan.question(SLICERS, Path("private"))
    assert all(word in question for word in ("torch", "captum", "shap", "private", "Slicer's own Python", "8 GB"))


def test_another_python_can_have_shap_itself():
    plan = plan_for(["torch", "shap"], Backend("python", "setting"))
    assert plan.ordinary == ("torch>=2.6,!=2.9.*", "shap>=0.46")
    assert plan.private == ()


def test_a_package_that_nobody_knows_is_refused():
    with pytest.raises(InvalidRequest, match="leftpad"):
        plan_for(["leftpad"], SLICERS)


def test_nothing_that_slicer_runs_on_would_change_its_version():
    with installation._kept_versions() as path:
        lines = path.read_text(encoding="utf-8").splitlines()
    assert f"numpy=={importlib.metadata.version('numpy')}" in lines
    assert f"vtk=={importlib.metadata.version('vtk')}" in lines
    assert not any(line.startswith("scipy") for line in lines) or installation.is_installed("scipy")


def test_pip_refuses_what_would_replace_slicers_numpy(a_slicer_before_5_12, tmp_path):
    with pytest.raises(InstallationFailed, match="no version that fits"):
        install(["greedy"], SLICERS, private=tmp_path, requirements=A_LIST, confirm=yes, say=print)
    assert importlib.metadata.version("numpy") != "99.0"


@pytest.fixture
def a_slicer_before_5_12(monkeypatch, an_environment, another_python):
    """``slicer.util.pip_install`` of Slicer 5.10, into a Python that may change."""

    def pip_install(requirements):
        command = [another_python, "-m", "pip", "install", *requirements]
        subprocess.run(command, env=an_environment, check=True, capture_output=True, text=True)

    monkeypatch.setattr(slicer.util, "pip_install", pip_install, raising=False)


def module(monkeypatch, name: str, **contents) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)
    return made


def pip_ensure(requirements, constraints=None, prompt_install=True, requester=None):
    """The part of Slicer 5.12's signature that is used."""


def test_newer_slicers_install_by_their_own_packaging_and_ask_nothing_again(monkeypatch, tmp_path):
    calls = []

    def record(*arguments, **named):
        given = inspect.signature(pip_ensure).bind(*arguments, **named).arguments
        calls.append((given["requirements"], given["prompt_install"], Path(given["constraints"]).read_text()))

    slicer_packaging = module(monkeypatch, "slicer.packaging", pip_ensure=record)
    monkeypatch.setattr(slicer, "packaging", slicer_packaging, raising=False)
    monkeypatch.setattr(installation, "is_installed", lambda name: name in ("numpy", "monai"))
    install(["monai"], SLICERS, private=tmp_path, confirm=yes, say=print)
    assert calls == [(["monai>=1.4"], False, f"numpy=={importlib.metadata.version('numpy')}\n")]


def test_torch_comes_through_the_pytorch_extension(monkeypatch, tmp_path):
    calls = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            calls.append((askConfirmation, torchVersionRequirement))

    module(monkeypatch, "PyTorchUtils", PyTorchUtilsLogic=PyTorchUtilsLogic)
    monkeypatch.setattr(installation, "is_installed", lambda name: name == "torch")
    install(["torch"], SLICERS, private=tmp_path, confirm=yes, say=print)
    assert calls == [(False, ">=2.6,!=2.9.*")]


def test_what_is_still_missing_afterwards_is_told(monkeypatch, tmp_path):
    module(monkeypatch, "slicer.packaging", pip_ensure=lambda *_, **__: None)  # as Slicer does while it tests
    monkeypatch.setattr(slicer, "packaging", sys.modules["slicer.packaging"], raising=False)
    with pytest.raises(InstallationFailed, match="still missing: monai"):
        install(["monai"], SLICERS, private=tmp_path, confirm=yes, say=print)


def test_a_slicer_without_pip_is_told(monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name))
    with pytest.raises(InstallationFailed, match="no pip"):
        install(["monai"], SLICERS, private=tmp_path, confirm=yes, say=print)


def test_too_little_room_is_told_before_anything_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(installation.shutil, "disk_usage", lambda _folder: types.SimpleNamespace(free=3 * 2**30))
    with pytest.raises(OutOfDisk, match="GB free; the packages need 8"):
        install(["torch"], SLICERS, private=tmp_path, confirm=yes, say=print)


@pytest.mark.parametrize(
    ("log", "kind", "says"),
    [
        ("ERROR: [Errno 28] No space left on device", OutOfDisk, "full"),
        ("OSError: [WinError 206] The filename or extension is too long", InstallationFailed, "long a name"),
        ("ERROR: [Errno 13] Permission denied: '/usr/lib'", InstallationFailed, "may not write"),
        ("NewConnectionError: [Errno -3] Temporary failure in name resolution", InstallationFailed, "be reached"),
        (
            "Retrying ... NewConnectionError ...\nERROR: No matching distribution found for torch>=2.6",
            InstallationFailed,
            "be reached",
        ),
        ("/usr/bin/python3: No module named pip", InstallationFailed, "no pip"),
        ("ERROR: ResolutionImpossible: for help", InstallationFailed, "no version"),
        ("something\nnobody foresaw", InstallationFailed, "nobody foresaw"),
        ("", InstallationFailed, "said nothing"),
    ],
)
def test_pips_log_becomes_one_sentence_and_what_to_do(log, kind, says):
    error = explained(log)
    assert type(error) is kind
    assert says in error.message
    assert error.hint


@pytest.mark.skipif("SLICER_SOURCE" not in os.environ, reason="SLICER_SOURCE names no source tree of Slicer")
def test_slicers_own_packaging_takes_what_we_give_it():
    path = Path(os.environ["SLICER_SOURCE"]) / "Base" / "Python" / "slicer" / "packaging.py"
    text = path.read_text(encoding="utf-8")
    for name in (*inspect.signature(pip_ensure).parameters, "def pip_ensure", "def pip_install"):
        assert name in text
