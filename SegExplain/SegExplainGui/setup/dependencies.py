"""Which Python runs the worker, and how it is started; what it lacks is installed by `installation`.

Slicer's launcher fills the environment with what Slicer's own Python needs and what breaks any other one, so each of
the two is started in an environment of its own.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegExplainGui.worker.client import Launch
from SegExplainLib.contract import SegExplainError

LEAST_PYTHON = (3, 11)
ENVIRONMENT_NAME = "SEGEXPLAIN_PYTHON"
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows opens a console for a child otherwise
ANSWER_TIMEOUT_S = 60.0  # a cold start from a network disk

FOR_THE_WORKER = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}

SLICERS_OWN = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONNOUSERSITE",
    "PYTHONSAFEPATH",
    "PYTHONSTARTUP",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FRAMEWORK_PATH",
    "QT_PLUGIN_PATH",
    "QT_QPA_PLATFORM_PLUGIN_PATH",
    "QML2_IMPORT_PATH",
    "SLICER_HOME",
    "ITK_AUTOLOAD_PATH",
    "TCL_LIBRARY",
    "TK_LIBRARY",
    "TCLLIBPATH",
    "SSL_CERT_FILE",
)
"""What Slicer's launcher sets for itself; Slicer's numpy, Qt and certificates break another Python."""


class NoPython(SegExplainError):
    """There is no Python that could run the worker."""


@dataclass(frozen=True)
class Backend:
    """The Python that runs the worker.

    Attributes:
        python: Path of the program.
        origin: Who named it: "setting", "environment" (``SEGEXPLAIN_PYTHON``), "command" (there is a ``segexplain``
            command on the PATH) or "slicer" (Slicer's own).
        version: (major, minor).
    """

    python: str
    origin: str
    version: tuple[int, int] = (0, 0)

    @property
    def is_slicers(self) -> bool:
        """Whether it is Slicer's own Python, into which the module installs."""
        return self.origin == "slicer"


def find_python(
    setting: str,
    *,
    environment: Mapping[str, str] = os.environ,
    application: Sequence[Path] | None = None,
) -> Backend:
    """The first of: ``setting``, ``SEGEXPLAIN_PYTHON``, a ``segexplain`` command's Python, Slicer's own. It was run.

    Args:
        setting: A program, or the folder of a virtual or conda environment; empty for none.
        environment: Of this process, as Slicer's launcher made it.
        application: Folders in which Slicer keeps its programs; None asks the running Slicer.

    Raises:
        NoPython: the named one does not exist, does not run or is too old (no other one is taken instead), or none is
            there.
    """
    folders = application_folders() if application is None else application
    if setting:
        return _checked(_program(Path(setting).expanduser()), "setting", environment, folders)
    named = environment.get(ENVIRONMENT_NAME, "")
    if named:
        return _checked(_program(Path(named).expanduser()), "environment", environment, folders)
    beside_command = _beside_command(environment, folders)
    if beside_command is not None:
        return _checked(beside_command, "command", environment, folders)
    return _checked(_python_slicer(environment, folders), "slicer", environment, folders)


def launch(
    backend: Backend,
    *,
    library: Path,
    private: Path,
    environment: Mapping[str, str] = os.environ,
    application: Sequence[Path] | None = None,
) -> Launch:
    """How the worker is started in ``backend``.

    Args:
        backend: From `find_python`.
        library: Folder that holds SegExplainLib.
        private: Folder of packages for a worker in Slicer's Python; no other Python gets to see it.
        environment: Of this process.
        application: As for `find_python`.
    """
    script = Path(__file__).parents[1] / "worker" / "start_worker.py"
    folders = [str(library), str(private)] if backend.is_slicers else [str(library)]
    clean = environment_for(backend, environment, application_folders() if application is None else application)
    return Launch(program=backend.python, arguments=(str(script), *folders), environment=clean)


def environment_for(backend: Backend, environment: Mapping[str, str], application: Iterable[Path]) -> dict[str, str]:
    """The environment for a child in ``backend``: Slicer's Python keeps it all, another one what is the user's own."""
    return (dict(environment) if backend.is_slicers else _users_own(environment, application)) | FOR_THE_WORKER


def application_folders() -> list[Path]:
    """Folders in which the running Slicer keeps its programs; none outside Slicer."""
    import slicer

    app: Any = getattr(slicer, "app", None)
    found = []
    if hasattr(app, "slicerHome"):
        found.append(Path(str(app.slicerHome)) / "bin")
    if hasattr(app, "applicationDirPath"):
        found.append(Path(str(app.applicationDirPath())))
    return found


def _users_own(environment: Mapping[str, str], application: Iterable[Path]) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if name not in SLICERS_OWN}
    homes = [_home(folder) for folder in application]
    if homes and "PATH" in kept:  # Windows loads libraries from there
        entries = kept["PATH"].split(os.pathsep)
        kept["PATH"] = os.pathsep.join(entry for entry in entries if not _is_inside(entry, homes))
    return kept


def _home(programs: Path) -> Path:
    """Slicer's own folder from that of its programs; some builds keep those in a folder of everybody's."""
    home = programs.parent
    return programs if home in (Path("/"), Path("/usr"), Path("/usr/local"), Path.home()) else home


def _is_inside(entry: str, folders: Iterable[Path]) -> bool:
    return bool(entry) and any(Path(entry).is_relative_to(folder) for folder in folders)


def _program(path: Path) -> Path:
    """The Python in an environment's folder, or the path itself."""
    if not path.is_dir():
        return path
    names = ("Scripts/python.exe", "python.exe") if os.name == "nt" else ("bin/python3", "bin/python")
    for name in names:
        if (path / name).exists():
            return path / name
    raise NoPython(
        _("The folder {folder} holds no Python.").format(folder=path),
        _("Choose the program, or the folder of a virtual or conda environment."),
    )


def _beside_command(environment: Mapping[str, str], application: Sequence[Path]) -> Path | None:
    command = shutil.which("segexplain", path=environment.get("PATH", ""))
    if command is None or _is_inside(command, [_home(folder) for folder in application]):
        return None
    suffix = ".exe" if os.name == "nt" else ""
    for folder in (Path(command).parent, Path(command).resolve().parent):
        for place in (folder, folder.parent) if os.name == "nt" else (folder,):
            if (place / f"python{suffix}").exists():
                return place / f"python{suffix}"
    return None


def _python_slicer(environment: Mapping[str, str], application: Sequence[Path]) -> Path:
    suffix = ".exe" if os.name == "nt" else ""
    for folder in application:
        if (folder / f"PythonSlicer{suffix}").exists():
            return folder / f"PythonSlicer{suffix}"
    on_path = shutil.which("PythonSlicer", path=environment.get("PATH", ""))
    if on_path is not None:
        return Path(on_path)
    raise NoPython(
        _("Slicer's own Python was not found: there is no PythonSlicer on the PATH or in {folders}.").format(
            folders=", ".join(str(folder) for folder in application) or _("the application's folder")
        ),
        _('Choose one that has the packages as "Other Python" in the panel.'),
    )


def _checked(path: Path, origin: str, environment: Mapping[str, str], application: Sequence[Path]) -> Backend:
    """The backend after its Python has said its version."""
    backend = Backend(str(path), origin)
    hint = {
        "setting": _('Choose another program as "Other Python" in the panel, or clear the field.'),
        "environment": _("Mend or remove the environment variable {name}.").format(name=ENVIRONMENT_NAME),
        "command": _('Install segexplain again, or choose a Python as "Other Python" in the panel.'),
        "slicer": _('Choose a Python as "Other Python" in the panel.'),
    }[origin]
    if not path.is_file():
        raise NoPython(_("There is no Python at {path}.").format(path=path), hint)
    version = _version(path, environment_for(backend, environment, application), hint)
    if version < LEAST_PYTHON:
        found, least = (".".join(map(str, one)) for one in (version, LEAST_PYTHON))
        raise NoPython(
            _("{path} is Python {found}; SegExplain needs {least} or newer.").format(
                path=path, found=found, least=least
            ),
            hint if origin != "slicer" else _("Use Slicer 5.10 or newer, or another Python."),
        )
    return Backend(str(path), origin, version)


def _version(python: Path, environment: dict[str, str], hint: str) -> tuple[int, int]:
    """What the Python says of itself."""
    question = "import json, sys; print(json.dumps(list(sys.version_info[:2])))"
    try:
        done = subprocess.run(
            [str(python), "-c", question],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_TIMEOUT_S,
            check=True,
            creationflags=NO_WINDOW,
        )
        major, minor = json.loads(done.stdout.decode("utf-8", "replace").strip().splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise NoPython(
            _("{path} did not answer within {seconds} s.").format(path=python, seconds=f"{ANSWER_TIMEOUT_S:.0f}"), hint
        ) from error
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError, TypeError) as error:
        said = (getattr(error, "stderr", b"") or b"").decode("utf-8", "replace").strip().splitlines()
        reason = said[-1] if said else str(error)
        raise NoPython(
            _("{path} does not run as Python ({reason}).").format(path=python, reason=reason), hint
        ) from error
    return int(major), int(minor)
