"""The synthetic torso of the Sample Data module: made by the real worker's Python, loaded into a real scene."""

import ast
import importlib.machinery
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import slicer
from SegExplainGui.setup import sample_data
from SegExplainGui.setup.dependencies import Backend, find_python
from SegExplainGui.setup.sample_data import load_torso, make_torso, register

from SegExplainLib.contract import SegExplainError


@pytest.fixture(scope="session")
def the_backend():
    """The Python with torch and the library's dependencies that the environment names."""
    named = os.environ.get("SEGEXPLAIN_PYTHON")
    if not named:
        pytest.skip("SEGEXPLAIN_PYTHON names no Python with the backend")
    return find_python(named, application=[])


@pytest.fixture(scope="session")
def a_torso(the_backend, tmp_path_factory):
    """Folder of the sample data."""
    return make_torso(the_backend, data=tmp_path_factory.mktemp("data"))


def test_the_ct_and_its_organs_come_into_the_scene_where_they_belong(a_torso, an_application):
    scene, logics = an_application.scene, an_application.logics
    ct, organs = load_torso(a_torso, scene, volumes_logic=logics["volumes"])
    names = {int(label): name for label, name in json.loads((a_torso / "organs.json").read_text()).items()}
    segmentation = organs.GetSegmentation()
    assert [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())] == list(names.values())
    assert segmentation.GetNumberOfLayers() == 1
    assert segmentation.GetSegment("kidney_left").GetName() == "kidney left"
    assert scene.GetNumberOfNodesByClass("vtkMRMLLabelMapVolumeNode") == 0
    voxels = slicer.util.arrayFromVolume(ct)
    mean_hu = {
        name: voxels[slicer.util.arrayFromSegmentBinaryLabelmap(organs, name, ct) > 0].mean()
        for name in ("lung", "liver", "spine")
    }
    assert mean_hu["lung"] < -600 < 0 < mean_hu["liver"] < 160 < mean_hu["spine"]
    assert ct.GetDisplayNode().GetWindow() == 400


def test_the_liver_lies_on_the_patients_right(a_torso, an_application):
    ct, organs = load_torso(a_torso, an_application.scene, volumes_logic=an_application.logics["volumes"])
    where = np.argwhere(slicer.util.arrayFromSegmentBinaryLabelmap(organs, "liver", ct)).mean(axis=0)[::-1]
    to_ras = slicer.util.arrayFromVTKMatrix(_matrix(ct))
    assert (to_ras @ [*where, 1])[0] > 20


def _matrix(ct):
    from vtk import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    return matrix


def test_the_second_torso_of_a_scene_has_a_name_of_its_own(a_torso, an_application):
    scene, logic = an_application.scene, an_application.logics["volumes"]
    names = {node.GetName() for _ in range(2) for node in load_torso(a_torso, scene, volumes_logic=logic)}
    assert len(names) == 4


def test_a_torso_that_was_made_is_not_made_again(a_torso):
    nobody = Backend("/nonexistent/python", "setting")
    assert make_torso(nobody, data=a_torso.parents[1]) == a_torso


def test_the_torso_loads_with_a_backend_that_has_slicers_environment(the_backend, tmp_path):
    poison = {**os.environ, "PYTHONHOME": "/nonexistent", "PYTHONPATH": "/nonexistent"}
    assert (make_torso(the_backend, data=tmp_path, environment=poison) / "ct.nrrd").exists()


def test_without_the_backend_it_says_what_to_install(tmp_path):
    bare = Backend(sys.executable, "setting")
    if subprocess.run([bare.python, "-c", "import typer"], capture_output=True, check=False).returncode == 0:
        pytest.skip("this Python has the backend")
    with pytest.raises(SegExplainError, match="not installed yet") as caught:
        make_torso(bare, data=tmp_path)
    assert "Install" in caught.value.hint
    assert list((tmp_path / "samples").iterdir()) == []


def test_broken_files_are_told_and_made_anew_the_next_time(an_application, tmp_path):
    folder = tmp_path / "torso"
    folder.mkdir()
    (folder / "ct.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(SegExplainError, match="broken"):
        load_torso(folder, an_application.scene, volumes_logic=an_application.logics["volumes"])
    assert not folder.exists()
    assert an_application.scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0


def test_it_is_registered_as_slicer_wants_it(monkeypatch):
    """The stand-in checks what Slicer's own SampleDataSource checks: lists of one length, a picture that exists."""
    sources = []

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(
            *, category, sampleName, uris, fileNames, nodeNames, customDownloader, thumbnailFileName
        ):
            assert len(uris) == len(fileNames) == len(nodeNames)
            assert Path(thumbnailFileName).read_bytes().startswith(b"\x89PNG")
            sources.append((category, sampleName, customDownloader))

    made = types.ModuleType("SampleData")
    made.__spec__ = importlib.machinery.ModuleSpec("SampleData", None)
    made.SampleDataLogic = SampleDataLogic
    monkeypatch.setitem(sys.modules, "SampleData", made)
    register()
    assert [(category, name, callable(click)) for category, name, click in sources] == [
        ("SegExplain", "SegExplain torso", True)
    ]


def test_every_organ_of_the_torso_has_a_colour_of_its_own_or_of_its_twin():
    text = (sample_data.LIBRARY / "SegExplainLib" / "phantom" / "torso.py").read_text(encoding="utf-8")
    names = ast.literal_eval(re.search(r"enumerate\(\s*(\(.*?\n {8}\))", text, re.DOTALL)[1])
    assert set(names) - {"background"} == set(sample_data.COLOURS)


@pytest.mark.skipif("SLICER_SOURCE" not in os.environ, reason="SLICER_SOURCE names no source tree of Slicer")
def test_slicers_own_registration_takes_what_we_give_it():
    path = Path(os.environ["SLICER_SOURCE"]) / "Modules" / "Scripted" / "SampleData" / "SampleData.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    taken = {argument.arg for argument in functions["registerCustomSampleDataSource"].args.args}
    assert {
        "category",
        "sampleName",
        "uris",
        "fileNames",
        "nodeNames",
        "customDownloader",
        "thumbnailFileName",
    } <= taken
