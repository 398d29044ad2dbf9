"""The one test command: ``nox`` makes two environments with the constrained versions, checks the code, runs all tests.

They are two because shap brings a package ``slicer`` and slicer-core is another one.
"""

import logging
import os
from pathlib import Path

import nox

# nox's own closing line would hide pytest's; its errors are still told.
logging.getLogger("nox").setLevel(logging.WARNING)

nox.options.sessions = ["tests", "slicer"]
nox.options.default_venv_backend = "virtualenv"
nox.options.stop_on_first_error = True

SLICER_SIDE = ("slicer-core", "PySide6_Essentials", "pytest", "pytest-timeout", "pillow")
OFF_SCREEN = {"VTK_DEFAULT_OPENGL_WINDOW": "vtkEGLRenderWindow", "QT_QPA_PLATFORM": "offscreen"}


@nox.session
def tests(session: nox.Session) -> None:
    """Format, lint, types, then the library's tests; further arguments go to pytest."""
    session.install("-q", "-c", "constraints.txt", ".[nnunet,test]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    # Two processes of one thread each: the tests' tensors are too small for more threads.
    session.run("pytest", "-n", "2", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def slicer(session: nox.Session) -> None:
    """The Slicer module's tests over slicer-core and Qt; the worker runs in the Python of ``tests``."""
    session.install("-q", "-c", "constraints-slicer.txt", *SLICER_SIDE)
    worker = os.environ.get("SEGEXPLAIN_PYTHON") or _python_of_tests(session)
    # A worker that hangs must not hold up the run.
    arguments = ("Testing/slicer", "--timeout", "180", *session.posargs)
    session.run("pytest", *arguments, env={**OFF_SCREEN, "SEGEXPLAIN_PYTHON": worker})


def _python_of_tests(session: nox.Session) -> str:
    """Empty where that session has not run: the tests that need it say so and are skipped."""
    environment = Path(session.virtualenv.location).parent / "tests"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(python.absolute()) if python.exists() else ""
