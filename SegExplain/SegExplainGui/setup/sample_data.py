"""The synthetic torso in Slicer's Sample Data module: the worker's Python makes it, nothing is downloaded."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

import SegExplainLib
from SegExplainGui.setup.app_folders import samples_folder, unwritable
from SegExplainGui.setup.dependencies import Backend, application_folders, environment_for, find_python
from SegExplainGui.worker.child_process import ChildProcess
from SegExplainLib.contract import SegExplainError

CATEGORY, NAME = "SegExplain", "SegExplain torso"
CT_NAME, ORGANS_NAME = "Torso", "Torso organs"
SOFT_TISSUE_HU = (400.0, 40.0)  # window width and level
LIBRARY = Path(SegExplainLib.__file__).resolve().parents[1]
THUMBNAIL = Path(__file__).resolve().parents[2] / "Resources" / "Icons" / "SegExplainTorso.png"
MAKE = """
import sys
from pathlib import Path
library, folder = sys.argv[1:]
sys.path.insert(0, library)
import SegExplainLib
sys.path.remove(library)
from SegExplainLib.demo import write_torso
write_torso(Path(folder))
"""
POLL_S = 0.05
PATIENCE_S = 300.0

COLOURS = {
    "lung": (0.77, 0.64, 0.66),
    "spine": (0.89, 0.82, 0.65),
    "ribs": (0.95, 0.89, 0.73),
    "pelvis": (0.91, 0.85, 0.69),
    "liver": (0.87, 0.51, 0.40),
    "spleen": (0.62, 0.44, 0.58),
    "kidney_left": (0.73, 0.40, 0.33),
    "kidney_right": (0.73, 0.40, 0.33),
    "heart": (0.81, 0.33, 0.35),
    "aorta": (0.88, 0.38, 0.30),
    "stomach": (0.85, 0.60, 0.55),
    "bladder": (0.87, 0.75, 0.42),
    "lesion": (0.95, 0.85, 0.20),
}
"""Organ -> colour near to what anatomy atlases use."""


def register() -> None:
    """Adds the torso to the Sample Data module; called when Slicer has started."""
    from SampleData import SampleDataLogic

    SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        uris=[],
        fileNames=[],
        nodeNames=[],
        thumbnailFileName=str(THUMBNAIL),
        customDownloader=_on_click,
    )


def _on_click(_source: Any) -> None:
    """What a click on the thumbnail does, with one dialog when it cannot."""
    import slicer

    from SegExplainGui.machine import Machine

    slicer.util.showStatusMessage(_("Making the synthetic torso ..."), 3000)
    try:
        folder = make_torso(find_python(Machine().python), stay_responsive=slicer.app.processEvents)
        ct, _organs = load_torso(folder, slicer.mrmlScene, volumes_logic=slicer.modules.volumes.logic())
    except SegExplainError as error:
        slicer.util.errorDisplay(f"{error.message}\n\n{error.hint}", windowTitle="SegExplain")
        return
    slicer.util.setSliceViewerLayers(background=ct, fit=True)


def make_torso(
    backend: Backend,
    *,
    data: Path | None = None,
    stay_responsive: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] = os.environ,
) -> Path:
    """Folder with ``ct.nrrd``, ``organs.nrrd`` and ``organs.json``; made in seconds, or kept from the last time.

    Args:
        backend: The worker's Python.
        data: Folder of what SegExplain keeps; None is the user's.
        stay_responsive: Called while it is made.
        environment: Of this process.

    Raises:
        SegExplainError: the worker's Python lacks a package, the disk is full, or it cannot be written.
    """
    folder = samples_folder(data) / f"torso-{SegExplainLib.__version__}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _run(backend, partial, environment, stay_responsive)
        partial.rename(folder)
    except OSError as error:
        raise unwritable(partial.parent, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _run(backend: Backend, folder: Path, environment: Mapping[str, str], stay_responsive: Callable[[], None]) -> None:
    """What ``segexplain phantom`` does, without the packages of the command line, which a worker does not need."""
    process = ChildProcess()
    clean = environment_for(backend, environment, application_folders())
    process.start(backend.python, ["-c", MAKE, str(LIBRARY), str(folder)], clean)
    process.close_input()
    told, code, begin = b"", None, time.monotonic()
    try:
        while code is None and time.monotonic() - begin < PATIENCE_S:
            code = process.exit_code()  # before the last output is read
            told += b"".join(process.read())
            stay_responsive()
            time.sleep(POLL_S)
    finally:
        process.end(None)
    if code == 0:
        return
    lines = [line.strip() for line in told.decode("utf-8", "replace").splitlines() if line.strip()]
    if any(line.startswith(("ModuleNotFoundError", "ImportError")) for line in lines):
        raise SegExplainError(
            _("The sample data is made by SegExplain's worker, which is not installed yet."),
            _('Open the module SegExplain and press "Install what is missing", then come back.'),
        )
    raise SegExplainError(
        _("The synthetic torso could not be made: {reason}").format(reason=lines[-1] if lines else _("no answer")),
        _("Open the module SegExplain and see what it says of its installation."),
    )


def load_torso(folder: Path, scene: Any, *, volumes_logic: Any) -> tuple[Any, Any]:
    """(vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode) of a folder of `make_torso`, added to the scene.

    Raises:
        SegExplainError: a file is missing or broken; the folder is deleted, so that the next time makes it anew.
    """
    ct = volumes_logic.AddArchetypeVolume(str(folder / "ct.nrrd"), CT_NAME, 0)
    label_map = volumes_logic.AddArchetypeVolume(str(folder / "organs.nrrd"), "organs", 1)
    try:
        names = json.loads((folder / "organs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        names = None
    if ct is None or label_map is None or names is None:
        for node in (ct, label_map):
            if node is not None:
                scene.RemoveNode(node)
        shutil.rmtree(folder, ignore_errors=True)
        raise SegExplainError(_("The files of the synthetic torso are broken."), _("Load it again: it is made anew."))
    ct.GetDisplayNode().SetAutoWindowLevel(False)
    ct.GetDisplayNode().SetWindowLevel(*SOFT_TISSUE_HU)
    organs = _segmentation(label_map, {int(label): name for label, name in names.items()}, ct, scene)
    scene.RemoveNode(label_map)
    return ct, organs


def _segmentation(label_map: Any, names: Mapping[int, str], ct: Any, scene: Any) -> Any:
    """All organs in one shared label map."""
    import slicer

    image = slicer.vtkSlicerSegmentationsModuleLogic.CreateOrientedImageDataFromVolumeNode(label_map)
    organs = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(ORGANS_NAME))
    organs.CreateDefaultDisplayNodes()
    organs.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    binary_label_map = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    organs.GetSegmentation().SetSourceRepresentationName(binary_label_map)
    for label, name in names.items():
        segment = slicer.vtkSegment()
        segment.SetName(name.replace("_", " "))
        segment.SetNameAutoGenerated(False)
        segment.SetColor(*COLOURS.get(name, (0.7, 0.7, 0.7)))
        segment.SetColorAutoGenerated(False)
        segment.SetLabelValue(label)
        segment.AddRepresentation(binary_label_map, image)
        organs.GetSegmentation().AddSegment(segment, name)
    display = organs.GetDisplayNode()
    display.SetOpacity2DFill(0.2)
    return organs
