"""What a running 3D Slicer offers besides its classes: a scene, an application, the logics of modules; without Qt.

slicer-core has MRML, the logics and ``slicer.util``, but nothing that creates them. `start` does what Slicer's start
does, so that code that takes a scene and logics runs as it does in Slicer.
"""

import sys
import tempfile
import types
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import slicer
import vtk

LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Plots": "vtkSlicerPlotsLogic",
}
"""Module, by the name under which Slicer's own code looks it up -> class of its logic."""


@dataclass(frozen=True, eq=False)
class Application:
    """A scene and the logics that belong to it.

    Attributes:
        scene: vtkMRMLScene.
        logic: vtkSlicerApplicationLogic.
        logics: Module name -> its logic, as ``slicer.modules.<name>.logic()`` gives them.
    """

    scene: Any
    logic: Any
    logics: dict[str, Any]
    _kept: list[Any] = field(default_factory=list)


def start() -> Application:
    """A fresh application; becomes ``slicer.mrmlScene``, ``slicer.app`` and ``slicer.modules``."""
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)  # it misses data files that the wheel lacks
    scene, logic = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic.SetMRMLScene(scene)
    colors = logic.GetColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    logics = {name.lower(): _module_logic(name, kind, logic, scene) for name, kind in LOGICS.items()}
    application = Application(scene, logic, logics, _scene_bundles(scene, logic))
    _publish(application)
    return application


def _module_logic(name: str, kind: str, application_logic: Any, scene: Any) -> Any:
    logic = getattr(slicer, kind)()
    logic.SetMRMLApplicationLogic(application_logic)
    logic.SetMRMLScene(scene)
    application_logic.SetModuleLogic(name, logic)
    return logic


def _scene_bundles(scene: Any, application_logic: Any) -> list[Any]:
    """What reading and writing .mrb files needs."""
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.SetMRMLApplicationLogic(application_logic)
    remote.GetCacheManager().SetRemoteCacheDirectory(tempfile.mkdtemp())
    manager = slicer.vtkDataIOManagerLogic()
    manager.SetMRMLScene(scene)
    manager.SetMRMLApplicationLogic(application_logic)
    manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    return [remote, manager]


def _publish(application: Application) -> None:
    slicer.mrmlScene = application.scene
    slicer.modules = SimpleNamespace(
        **{name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in application.logics.items()}
    )
    slicer.app = SimpleNamespace(
        applicationLogic=lambda: application.logic,
        mrmlScene=lambda: application.scene,
        temporaryPath=tempfile.gettempdir(),
        processEvents=lambda *_: None,
        pauseRender=lambda: None,
        resumeRender=lambda: None,
        layoutManager=lambda: None,
    )
    publish_translations()


def publish_translations() -> None:
    """``slicer.i18n``, which the wheel lacks: every text stays as it is."""
    translations = types.ModuleType("slicer.i18n")
    translations.tr = lambda text: text
    translations.translate = lambda _context, text: text
    sys.modules["slicer.i18n"] = slicer.i18n = translations
