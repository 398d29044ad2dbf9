"""Whether this machine can draw, found out in a process of its own: without its libraries OpenGL ends the process."""

import functools
import signal
import subprocess
import sys

import pytest

OPENGL = """
import vtk
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(True)
window.SetSize(8, 8)
window.AddRenderer(vtk.vtkRenderer())
window.Render()
"""
QT = """
from PySide6 import QtWidgets
QtWidgets.QApplication([])
"""
LIBRARIES = "apt-get install libegl1 libgl1 libgl1-mesa-dri libxkbcommon0 libdbus-1-3 libfontconfig1"


def need_opengl() -> None:
    """Skips the test module that is being imported where nothing can be drawn off screen."""
    _skip_when("OpenGL does not draw off screen here", fault_of(OPENGL))


def need_qt() -> None:
    """Skips the test module that is being imported where Qt does not start."""
    _skip_when("Qt does not start here", fault_of(QT))


@functools.cache
def fault_of(code: str) -> str:
    """Why a piece of Python fails in a process of its own; empty when it does not."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "no answer in 120 s"
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    lines = done.stderr.strip().splitlines()
    return (lines[-1] if lines else f"exit code {done.returncode}") if done.returncode else ""


def _skip_when(problem: str, fault: str) -> None:
    if fault:
        pytest.skip(f"{problem} ({fault}); on Debian: {LIBRARIES}", allow_module_level=True)
