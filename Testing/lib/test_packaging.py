"""What an installed extension holds: Slicer installs only what stands in a CMake list.

A forgotten line passes every other test.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).parent / "slicer_cmake"
MODULES = Path("lib/Slicer-5.13/qt-scripted-modules")

# List -> its CMake file, the folder whose files it names, which of them, where they are installed.
LISTS = {
    "MODULE_PYTHON_SCRIPTS": ("SegExplain", "SegExplain", r"(?!Testing/).*\.py", "."),
    "MODULE_PYTHON_RESOURCES": ("SegExplain", "SegExplain", r"(?!Testing/)(?!.*\.py$)(?!CMakeLists.txt).*", "."),
    "LIBRARY_PYTHON_SCRIPTS": ("SegExplainLib", "SegExplainLib", r".*\.py", "SegExplainLib"),
    "LIBRARY_PYTHON_RESOURCES": ("SegExplainLib", "SegExplainLib", r"(?!.*\.py$)(?!CMakeLists.txt).*", "SegExplainLib"),
    "DEMO_MODEL": ("SegExplainLib", "Resources", r"demo_model/.*", "SegExplainLib/resources"),
    "COUNTERFACTUAL": ("SegExplainLib", "Resources", r"counterfactual/.*", "SegExplainLib/resources"),
}


def listed(name: str) -> list[str]:
    """The entries of one list."""
    text = (ROOT / LISTS[name][0] / "CMakeLists.txt").read_text(encoding="utf-8")
    match = re.search(rf"set\({name}\n(.*?)\n?  \)", text, re.DOTALL)
    assert match, f"{LISTS[name][0]}/CMakeLists.txt has no list {name}"
    return [line.split("#")[0].strip() for line in match[1].splitlines() if line.split("#")[0].strip()]


def tracked(folder: str) -> list[str]:
    """Files of the repository in a folder, relative to it."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout")
    done = subprocess.run(["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [Path(name) for name in done.stdout.split("\0") if name and (ROOT / name).exists()]
    return [path.relative_to(folder).as_posix() for path in files]


@pytest.mark.parametrize("name", LISTS)
def test_every_file_of_the_repository_stands_in_its_list(name):
    cmake, folder, pattern, _ = LISTS[name]
    expected = [path for path in tracked(folder) if re.fullmatch(pattern, path)]
    forgotten = sorted(set(expected) - set(listed(name)))
    lines = "\n".join(f"  {path}" for path in forgotten)
    assert not forgotten, f"Slicer would not install these. Add to set({name} in {cmake}/CMakeLists.txt:\n{lines}"


@pytest.mark.parametrize("name", LISTS)
def test_every_listed_file_exists_once(name):
    cmake, folder, _, _ = LISTS[name]
    gone = [path for path in listed(name) if not (ROOT / folder / path).is_file()]
    lines = "\n".join(f"  {path}" for path in gone)
    assert not gone, f"These do not exist. Remove from set({name} in {cmake}/CMakeLists.txt:\n{lines}"
    assert len(set(listed(name))) == len(listed(name))


@pytest.fixture(scope="module")
def the_installed_extension(tmp_path_factory):
    """(build folder, install folder) of the extension, built by CMake with stand-ins for Slicer's macros."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    build, target = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("install")
    # The project is Python alone, but Slicer's own template enables C++: no compiler is needed to believe in one.
    compiler = shutil.which("cmake")
    no_compiler = [
        f"-DCMAKE_{language}_{setting}"
        for language in ("C", "CXX")
        for setting in (f"COMPILER={compiler}", "COMPILER_FORCED=ON", "COMPILER_ID_RUN=ON")
    ]
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), f"-DSlicer_DIR={STAND_IN}", *no_compiler]
    for command in (configure, ["cmake", "--install", str(build), "--prefix", str(target)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build, target


def test_the_installed_tree_is_the_checkout_file_by_file(the_installed_extension):
    installed = the_installed_extension[1] / MODULES
    expected = {
        Path(place, path).as_posix(): ROOT / folder / path
        for name, (_, folder, _, place) in LISTS.items()
        for path in listed(name)
    }
    there = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert there == set(expected)
    assert [path for path, source in expected.items() if (installed / path).read_bytes() != source.read_bytes()] == []


@pytest.mark.parametrize(
    "code",
    [
        "import SegExplainLib.cli",
        "from SegExplainLib.demo import demo_model_folder; assert 'qt-scripted-modules' in str(demo_model_folder())",
        "from SegExplainLib.counterfactual.autoencoder import trained_autoencoder, weights_path; import torch;"
        "trained_autoencoder(device=torch.device('cpu')); assert 'qt-scripted-modules' in str(weights_path())",
        "from SegExplainLib.report import page; page.__file__",
        "from SegExplainLib.doctor import findings; assert not [f for f in findings() if f.state == 'fault']",
    ],
)
def test_the_installed_library_runs_without_the_checkout(the_installed_extension, code, tmp_path):
    folder = the_installed_extension[1] / MODULES
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    prove = f"import SegExplainLib, sys; assert SegExplainLib.__file__.startswith({str(folder)!r}); {code}"
    done = subprocess.run(
        [sys.executable, "-c", prove],
        cwd=tmp_path,
        env=clean | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def the_metadata(the_installed_extension):
    """What CMake says of the extension."""
    text = (the_installed_extension[0] / "extension.txt").read_text(encoding="utf-8")
    return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture(scope="module")
def the_entry():
    """The entry for the index of extensions."""
    return json.loads((ROOT / "SegExplain.json").read_text(encoding="utf-8"))


def test_the_entry_for_the_index_keeps_its_schema(the_entry):
    """Fields and types of Slicer's slicer-extension-catalog-entry-schema-v1.0.2.json."""
    types = {
        "$schema": str,
        "category": str,
        "scm_url": str,
        "scm_revision": str,
        "scm_type": str,
        "build_dependencies": list,
        "dicom_support_rule": str,
        "build_subdirectory": str,
        "enabled": bool,
        "tier": int,
    }
    assert {"$schema", "category", "scm_url"} <= set(the_entry) <= set(types)
    assert all(type(value) is types[key] for key, value in the_entry.items())
    assert the_entry["$schema"].endswith("/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert the_entry["tier"] in range(1, 6)
    assert b"\r" not in (ROOT / "SegExplain.json").read_bytes()


def test_the_entry_and_cmake_say_the_same(the_entry, the_metadata):
    assert the_metadata["NAME"] == "SegExplain"
    assert the_metadata["HOMEPAGE"] == the_entry["scm_url"].removesuffix(".git")
    assert the_entry["scm_url"].rsplit("/", 1)[1].startswith("Slicer")
    assert the_metadata["DEPENDS"].split() == the_entry["build_dependencies"]


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_each_picture_of_the_extension_is_in_the_repository(the_metadata, name):
    start = the_metadata["HOMEPAGE"].replace("github.com", "raw.githubusercontent.com") + "/main/"
    urls = the_metadata[name].split()
    assert urls
    for url in urls:
        path = ROOT / url.removeprefix(start)
        assert url.startswith(start)
        assert path.read_bytes().startswith(b"\x89PNG")
