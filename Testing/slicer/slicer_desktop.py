"""What `slicer_application` starts, and Qt: widgets, ``qt`` and ``ctk``, settings, Slicer's Python base classes.

With the environment variable SLICER_SOURCE at a checkout of Slicer, its own ScriptedLoadableModule, i18n and
parameterNodeWrapper serve instead of the stand-ins in ``bed_qt``: the same tests must pass both ways.
"""

import ctypes
import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

import off_screen
import slicer
import slicer_application

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
off_screen.need_qt()
BED = Path(__file__).parent / "bed_qt"


def start(settings_folder: Path) -> slicer_application.Application:
    """A fresh application with a desktop; settings are kept in ``settings_folder``."""
    if str(BED) not in sys.path:
        sys.path.insert(0, str(BED))
    application = slicer_application.start()
    _start_qt(settings_folder)
    import qmrml

    qmrml.publish()
    _publish_application(application)
    if os.environ.get("SLICER_SOURCE"):
        _take_slicers_own(Path(os.environ["SLICER_SOURCE"]))
    else:
        _take_stand_ins()
    return application


def _hold_none() -> None:
    """PySide6 6.12 takes too many references from None, of which Python before 3.12 can run out and abort."""
    if sys.version_info < (3, 12):
        for _ in range(100_000):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))


def _start_qt(settings_folder: Path) -> None:
    _hold_none()
    from PySide6 import QtCore, QtWidgets

    QtCore.QCoreApplication.setOrganizationName("NA-MIC")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(settings_folder))
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    application.setStyle("Fusion")  # Slicer's own style is a proxy of it


def _publish_application(application: slicer_application.Application) -> None:
    from PySide6 import QtCore, QtWidgets

    app = slicer.app
    app.processEvents = lambda *_: QtWidgets.QApplication.processEvents()
    app.userSettings = app.settings = QtCore.QSettings
    app.testingEnabled = lambda: True
    app.style = lambda: QtWidgets.QApplication.style()
    app.translate = lambda _context, text: text
    app.connect = lambda *_: True
    app.moduleManager = lambda: types.SimpleNamespace(connect=lambda *_: True, disconnect=lambda *_: True)
    app.applicationName = "Slicer"


def _take_stand_ins() -> None:
    import scripted_module
    import wrapper

    wrapper_module = types.ModuleType("slicer.parameterNodeWrapper")
    wrapper_module.parameterNodeWrapper = wrapper.parameterNodeWrapper
    wrapper_module.WithinRange = wrapper.WithinRange
    sys.modules["slicer.parameterNodeWrapper"] = slicer.parameterNodeWrapper = wrapper_module
    sys.modules["slicer.ScriptedLoadableModule"] = slicer.ScriptedLoadableModule = scripted_module


def _take_slicers_own(source: Path) -> None:
    folder = str(source / "Base" / "Python" / "slicer")
    if folder not in slicer.__path__:
        slicer.__path__.append(folder)
    sys.modules.pop("slicer.i18n", None)
    for name in ("i18n", "parameterNodeWrapper", "ScriptedLoadableModule"):
        setattr(slicer, name, importlib.import_module(f"slicer.{name}"))


def load_ui(path: Path) -> Any:
    """The widget of a .ui file, with the scene, as a module's ``setup`` makes it."""
    import qt

    file = qt.QFile(str(path))
    file.open(qt.QIODevice.ReadOnly)
    root = qt.QUiLoader().load(file)
    root.setMRMLScene(slicer.mrmlScene)
    return root


def picture(widget: Any, path: Path, *, width: int, height: int) -> None:
    """Draws a widget into a PNG file, in a scroll area as in Slicer's module panel."""
    from PySide6 import QtWidgets

    area = QtWidgets.QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QtWidgets.QFrame.NoFrame)
    area.setWidget(widget)
    area.resize(width, height)
    area.show()
    for _ in range(5):
        QtWidgets.QApplication.processEvents()
    area.grab().save(str(path))
    area.takeWidget()
