"""Which Python runs the worker, and in what environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from SegExplainGui.setup import dependencies
from SegExplainGui.setup.dependencies import Backend, NoPython, environment_for, find_python, launch

POISON = {
    "PYTHONHOME": "/nonexistent",
    "PYTHONPATH": "/nonexistent",
    "LD_LIBRARY_PATH": "/nonexistent",
    "QT_PLUGIN_PATH": "/nonexistent",
    "PYTHONNOUSERSITE": "1",
}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")


@pytest.fixture
def a_python(tmp_path):
    """Makes a program that runs this Python, or behaves as told."""

    def make(path: str, *, body: str = f'exec "{sys.executable}" "$@"') -> Path:
        program = tmp_path / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        program.chmod(0o755)
        return program

    return make


def of_slicer(folder: Path) -> dict[str, str]:
    """Slicer's environment: its own programs first on the PATH, and what breaks another Python."""
    return {"PATH": os.pathsep.join([str(folder), "/usr/bin", "/bin"]), "HOME": "/home/somebody"} | POISON


def found(setting="", *, environment, application=()):
    backend = find_python(setting, environment=environment, application=list(application))
    return Path(backend.python), backend.origin


def test_the_setting_comes_before_the_variable_the_command_and_slicer(a_python, tmp_path):
    slicer, command = a_python("Slicer/bin/PythonSlicer"), a_python("tools/segexplain")
    beside, named, chosen = a_python("tools/python"), a_python("named/python"), a_python("chosen/python")
    home = [slicer.parent]
    path = {"PATH": os.pathsep.join([str(command.parent), "/usr/bin", "/bin"])}
    variable = path | {"SEGEXPLAIN_PYTHON": str(named)}
    assert found(str(chosen), environment=variable, application=home) == (chosen, "setting")
    assert found(environment=variable, application=home) == (named, "environment")
    assert found(environment=path, application=home) == (beside, "command")
    command.unlink()
    assert found(environment=path, application=home) == (slicer, "slicer")


def test_a_python_says_its_version_even_in_an_environment_that_would_break_it(tmp_path):
    backend = find_python(sys.executable, environment=of_slicer(tmp_path), application=[])
    assert backend.version == sys.version_info[:2]


def test_the_folder_of_an_environment_will_do(a_python, tmp_path):
    program = a_python("env/bin/python3")
    assert found(str(tmp_path / "env"), environment={"PATH": "/bin"}) == (program, "setting")


def test_the_command_of_slicers_own_python_is_slicers_own_python(a_python):
    slicer, _ = a_python("Slicer/bin/PythonSlicer"), a_python("Slicer/lib/Python/bin/segexplain")
    a_python("Slicer/lib/Python/bin/python")
    environment = {"PATH": os.pathsep.join([str(slicer.parents[1] / "lib/Python/bin"), "/bin"])}
    assert found(environment=environment, application=[slicer.parent]) == (slicer, "slicer")


def test_slicers_python_is_found_on_the_path_when_slicer_does_not_say_where_it_is(a_python):
    slicer = a_python("anywhere/PythonSlicer")
    assert found(environment={"PATH": f"{slicer.parent}:/bin"}) == (slicer, "slicer")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("echo 'cannot open shared object' >&2; exit 127", "cannot open shared object"),
        ("echo nonsense", "does not run as Python"),
        ("echo '[3, 9]'", "Python 3.9; SegExplain needs 3.11"),
        ("exit 0", "does not run as Python"),
    ],
)
def test_what_does_not_work_is_told_and_no_other_python_is_taken(a_python, body, says):
    broken, slicer = a_python("broken/python", body=body), a_python("Slicer/bin/PythonSlicer")
    with pytest.raises(NoPython, match=says) as caught:
        find_python(str(broken), environment={"PATH": "/bin"}, application=[slicer.parent])
    assert "Other Python" in caught.value.hint


def test_a_python_that_never_answers_is_given_up(a_python, monkeypatch):
    monkeypatch.setattr(dependencies, "ANSWER_TIMEOUT_S", 0.3)
    with pytest.raises(NoPython, match="did not answer"):
        find_python(str(a_python("slow", body="exec sleep 20")), environment={"PATH": "/bin"}, application=[])


@pytest.mark.parametrize("setting", ["missing/python", ""])
def test_none_at_all_is_one_clear_sentence(setting, tmp_path):
    with pytest.raises(NoPython) as caught:
        find_python(setting and str(tmp_path / setting), environment={"PATH": str(tmp_path)}, application=[tmp_path])
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


def test_a_folder_without_a_python_is_told(tmp_path):
    with pytest.raises(NoPython, match="holds no Python"):
        find_python(str(tmp_path), environment={}, application=[])


def test_another_python_gets_the_users_own_environment(tmp_path):
    home = tmp_path / "Slicer"
    given = of_slicer(home / "bin") | {"HTTPS_PROXY": "http://proxy", "CUDA_VISIBLE_DEVICES": "1"}
    got = environment_for(Backend("/usr/bin/python3", "setting"), given, [home / "bin"])
    assert not set(POISON) & set(got)
    assert got["PATH"] == "/usr/bin:/bin"
    assert {name: got[name] for name in ("HOME", "HTTPS_PROXY", "CUDA_VISIBLE_DEVICES")} == {
        "HOME": "/home/somebody",
        "HTTPS_PROXY": "http://proxy",
        "CUDA_VISIBLE_DEVICES": "1",
    }
    assert got["PYTHONUNBUFFERED"] == "1"
    assert got["PYTHONIOENCODING"] == "utf-8"


def test_slicer_in_a_folder_of_everybodys_takes_nothing_else_off_the_path(tmp_path):
    given = {"PATH": "/usr/bin:/usr/local/bin:/bin"}
    got = environment_for(Backend("/opt/python", "setting"), given, [Path("/usr/bin")])
    assert got["PATH"] == "/usr/local/bin:/bin"


def test_slicers_python_keeps_slicers_environment(tmp_path):
    given = of_slicer(tmp_path)
    got = environment_for(Backend("PythonSlicer", "slicer"), given, [tmp_path])
    assert given.items() <= got.items()


def test_only_slicers_python_sees_the_private_packages(tmp_path):
    folders = {"library": tmp_path / "library", "private": tmp_path / "private"}
    own, other = (
        launch(Backend("python", origin), **folders, environment={}, application=[]) for origin in ("slicer", "setting")
    )
    assert own.arguments[1:] == (str(tmp_path / "library"), str(tmp_path / "private"))
    assert other.arguments[1:] == (str(tmp_path / "library"),)
    assert Path(own.arguments[0]).is_file()


def test_the_worker_starts_in_another_python_despite_slicers_environment(tmp_path):
    """The real script in a real child: it reads the library, says where it runs, and ends with its input."""
    root = Path(__file__).resolve().parents[2]
    backend = find_python(sys.executable, environment=of_slicer(tmp_path), application=[])
    start = launch(backend, library=root, private=tmp_path, environment=of_slicer(tmp_path), application=[])
    done = subprocess.run(
        [start.program, *start.arguments],
        env=start.environment,
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert json.loads(done.stdout.splitlines()[0])["event"] == "started"


def test_slicer_is_asked_for_its_folders(monkeypatch):
    import slicer

    class App:
        slicerHome = "/opt/Slicer"

        @staticmethod
        def applicationDirPath():
            return "/opt/Slicer/bin"

    monkeypatch.setattr(slicer, "app", App, raising=False)
    assert set(dependencies.application_folders()) == {Path("/opt/Slicer/bin")}
    monkeypatch.delattr(slicer, "app")
    assert dependencies.application_folders() == []
