"""Installing what the worker lacks, after asking, without harm to Slicer's own packages.

Into Slicer's Python go the library's requirements, torch through the PyTorch extension if that is there. What shares a
name with Slicer (shap brings a package ``slicer``) goes into a private folder that only the worker sees. Another Python
that the user chose gets all of it by its own pip. What Slicer runs on is never replaced.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from SegExplainGui.setup.app_folders import unwritable
from SegExplainGui.setup.dependencies import Backend, application_folders, environment_for
from SegExplainGui.setup.pip_faults import InstallationFailed, explained
from SegExplainGui.worker.child_process import ChildProcess
from SegExplainLib.contract import Cancelled, InvalidRequest, OutOfDisk, SegExplainError
from SegExplainLib.requirements import REQUIREMENTS

PRIVATE = {"shap": ("slicer==0.0.8",)}
"""Package that clashes with Slicer -> what it needs that has the name of something in Slicer."""

KEPT = ("numpy", "scipy", "SimpleITK", "vtk", "itk", "requests", "pydicom", "pip", "setuptools", "packaging")
"""Packages that Slicer itself runs on: pip may not change their version."""

NEEDED_GIB = {"torch": 8.0}
NEEDED_GIB_ELSE = 1.0
LONGEST_PATH_IN_TORCH = 130
WINDOWS_MAX_PATH = 259

POLL_S = 0.05
QUIETLY = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
LOG_LINES = 30

RunPip = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class _Watch:
    """Who looks on while packages are installed, and may stop it."""

    say: Callable[[str], None]
    is_cancelled: Callable[[], bool]
    stay_responsive: Callable[[], None]

    def stop_if_cancelled(self) -> None:
        """Raises `Cancelled` when the user wants it to stop."""
        if self.is_cancelled():
            raise Cancelled(_("The installation was stopped."), _("What is installed stays; install again to go on."))


@dataclass(frozen=True)
class Plan:
    """What goes where.

    Attributes:
        torch: Requirement of torch, or empty.
        ordinary: Requirements for the Python itself.
        private: Requirements for the private folder.
    """

    torch: str
    ordinary: tuple[str, ...]
    private: tuple[str, ...]

    def question(self, backend: Backend, private: Path) -> str:
        """What to ask the user before anything is installed."""
        where = _("Slicer's own Python") if backend.is_slicers else backend.python
        own = [*([self.torch] if self.torch else []), *self.ordinary]
        lines = [_("SegExplain needs Python packages that are not installed. They come from the Python Package Index.")]
        if own:
            lines.append(_("Into {where}: {packages}.").format(where=where, packages=", ".join(own)))
        if self.private:
            lines.append(
                _("Into a folder that only SegExplain uses, {folder}: {packages}.").format(
                    folder=private, packages=", ".join(self.private)
                )
            )
        if self.torch:
            lines.append(_("PyTorch is large: up to 8 GB on the disk, and some minutes."))
        return "\n\n".join([*lines, _("Install them?")])


def install(
    missing: Sequence[str],
    backend: Backend,
    *,
    private: Path,
    requirements: Iterable[str] = REQUIREMENTS,
    confirm: Callable[[str], bool],
    say: Callable[[str], None],
    is_cancelled: Callable[[], bool] = lambda: False,
    stay_responsive: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] = os.environ,
) -> bool:
    """Installs ``missing`` for ``backend`` after asking; False when the user declined. Returns when all is done.

    Args:
        missing: Names of packages, as the worker's ``check`` gives them.
        backend: From `dependencies.find_python`.
        private: Folder for what clashes with Slicer.
        requirements: What pip may be asked for, with versions; those of ``missing`` are taken.
        confirm: Asks the user.
        say: Gets a line on how it goes, again and again.
        is_cancelled: Asked between packages, and all the time while another Python's pip runs.
        stay_responsive: Lets the application breathe while another Python's pip runs, which may be silent for minutes.
        environment: Of this process.

    Raises:
        InvalidRequest: a package is not among ``requirements``.
        InstallationFailed: no pip, no network, no right to write, or a version that does not fit.
        OutOfDisk: too little room.
        Cancelled: the user stopped it; what is installed stays.
    """
    plan = plan_for(missing, backend, requirements)
    if not (plan.torch or plan.ordinary or plan.private):
        return True
    if not confirm(plan.question(backend, private)):
        return False
    _refuse_no_room(plan, backend, private)
    watch = _Watch(say, is_cancelled, stay_responsive)
    if backend.is_slicers:
        _install_in_slicer(plan, private, watch)
    else:
        clean = environment_for(backend, environment, application_folders())
        _run_pip(["install", *QUIETLY, *_own(plan)], backend.python, clean, watch)
    watch.say(_("Installed."))
    return True


def plan_for(missing: Sequence[str], backend: Backend, requirements: Iterable[str] = REQUIREMENTS) -> Plan:
    """What goes where."""
    known = {_folded(_name(requirement)): requirement for requirement in requirements}
    names = [_folded(name) for name in missing]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidRequest(
            _("SegExplain does not know how to install {names}.").format(names=", ".join(unknown)),
            _("Install them by hand, or choose another Python in the panel."),
        )
    if not backend.is_slicers:
        return Plan("", tuple(known[name] for name in names), ())
    return Plan(
        known["torch"] if "torch" in names else "",
        tuple(known[name] for name in names if name != "torch" and name not in PRIVATE),
        tuple(requirement for name in names if name in PRIVATE for requirement in (known[name], *PRIVATE[name])),
    )


def is_installed(name: str) -> bool:
    """Whether this Python's metadata lists the package; nothing is imported."""
    importlib.invalidate_caches()
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _install_in_slicer(plan: Plan, private: Path, watch: _Watch) -> None:
    if importlib.util.find_spec("pip") is None:
        raise InstallationFailed(
            _("This Slicer has no pip, so that nothing can be installed into its Python."),
            _('Choose a Python that has the packages as "Other Python" in the panel.'),
        )
    for requirement, step in (
        (plan.torch, lambda: _install_torch(plan.torch)),
        (", ".join(plan.ordinary), lambda: _install_ordinary(plan.ordinary)),
        (", ".join(plan.private), lambda: install_private(plan.private, private, run_pip=_slicers_pip)),
    ):
        watch.stop_if_cancelled()
        if requirement:
            watch.say(_("Installing {packages} ...").format(packages=requirement))
            step()
    absent = [name for name in map(_name, _own(plan)) if not is_installed(name)]
    if absent:
        raise InstallationFailed(
            _("These packages are still missing: {names}.").format(names=", ".join(absent)),
            _("See Slicer's log for what pip said, then install again."),
        )


def _own(plan: Plan) -> list[str]:
    return [*([plan.torch] if plan.torch else []), *plan.ordinary]


def _install_torch(requirement: str) -> None:
    """By the PyTorch extension, which knows the build for this machine's GPU; by pip where it is not installed."""
    if importlib.util.find_spec("PyTorchUtils") is None:
        _install_ordinary([requirement])
        return
    with _told():
        import PyTorchUtils

        PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=False, torchVersionRequirement=requirement.removeprefix("torch")
        )


def _install_ordinary(requirements: Sequence[str]) -> None:
    with _kept_versions() as constraints, _told():
        if importlib.util.find_spec("slicer.packaging") is None:  # before Slicer 5.12
            _slicers_pip([*requirements, "-c", str(constraints)])
            return
        import slicer.packaging

        slicer.packaging.pip_ensure(
            list(requirements), constraints=constraints, prompt_install=False, requester="SegExplain"
        )


def _slicers_pip(arguments: Sequence[str]) -> None:
    """``pip install`` with these arguments by Slicer's own means."""
    import slicer.util

    with _told():
        slicer.util.pip_install(list(arguments))


def install_private(requirements: Sequence[str], private: Path, *, run_pip: RunPip) -> None:
    """Installs into ``private`` what is named there, then whatever of its needs neither Slicer nor ``private`` has.

    Nothing that Slicer has is installed again: one numpy, one scipy for the worker.

    Raises:
        SegExplainError: ``private`` cannot be written, or pip failed.
    """
    try:
        private.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(private, error) from error
    wanted, tried = list(requirements), set[str]()
    while wanted:
        run_pip(["--target", str(private), "--upgrade", "--no-deps", *wanted])
        tried |= {_folded(_name(line)) for line in wanted}
        wanted = [line for line in _unmet(private) if _folded(_name(line)) not in tried]


def _unmet(private: Path) -> list[str]:
    """What packages in ``private`` require and nobody has."""
    from packaging.requirements import Requirement

    importlib.invalidate_caches()
    there = {_folded(found.metadata["Name"]): found for found in importlib.metadata.distributions(path=[str(private)])}
    unmet: dict[str, str] = {}
    for distribution in there.values():
        for line in distribution.requires or []:
            requirement = Requirement(line)
            name = _folded(requirement.name)
            is_asked = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if is_asked and name not in there and not is_installed(name):
                unmet.setdefault(name, f"{requirement.name}{requirement.specifier}")
    return list(unmet.values())


@contextmanager
def _kept_versions() -> Iterator[Path]:
    """A constraints file that holds Slicer's own packages at their versions."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "constraints.txt"
        lines = [f"{name}=={importlib.metadata.version(name)}\n" for name in KEPT if is_installed(name)]
        path.write_text("".join(lines), encoding="utf-8")
        yield path


@contextmanager
def _told() -> Iterator[None]:
    """Whatever pip, Slicer or the PyTorch extension raises, as one error with a hint."""
    try:
        yield
    except SegExplainError:
        raise
    except Exception as error:  # each of them raises what it likes
        raise explained(
            f"{error}\n{getattr(error, 'stdout', '') or ''}\n{getattr(error, 'stderr', '') or ''}"
        ) from error


def _run_pip(arguments: Sequence[str], python: str, environment: Mapping[str, str], watch: _Watch) -> None:
    """``pip`` in a Python of the user's, line by line; ended at once when the user cancels."""
    process = ChildProcess()
    try:
        process.start(python, ["-m", "pip", *arguments], environment)
    except OSError as error:
        raise InstallationFailed(
            _("{python} does not run ({reason}).").format(python=python, reason=error.strerror),
            _("Choose another Python."),
        ) from error
    process.close_input()
    log, rest, code = [], "", None
    try:
        while code is None:
            code = process.exit_code()  # before the last output is read
            *lines, rest = (rest + b"".join(process.read()).decode("utf-8", "replace")).split("\n")
            for line in filter(str.strip, lines):
                log.append(line.rstrip())
                watch.say(log[-1])
            watch.stay_responsive()
            watch.stop_if_cancelled()
            time.sleep(0 if lines else POLL_S)
    finally:
        process.end(None)
    if code:
        raise explained("\n".join([*log[-LOG_LINES:], rest]))


def _refuse_no_room(plan: Plan, backend: Backend, private: Path) -> None:
    """Ask first: pip fills the disk before it notices, and Windows leaves half a torch."""
    is_torch = any(_name(requirement) == "torch" for requirement in _own(plan))
    needed = NEEDED_GIB["torch"] if is_torch else NEEDED_GIB_ELSE
    folders = {_existing(Path(backend.python).parent), *([_existing(private)] if plan.private else [])}
    for folder in folders:
        free = shutil.disk_usage(folder).free / 2**30
        if free < needed:
            raise OutOfDisk(
                _("{folder} has {free} GB free; the packages need {needed}.").format(
                    folder=folder, free=f"{free:.1f}", needed=f"{needed:.0f}"
                ),
                _("Free some disk space, then install again."),
            )
    if is_torch and backend.is_slicers and sys.platform == "win32":
        if len(sysconfig.get_path("purelib")) + LONGEST_PATH_IN_TORCH > WINDOWS_MAX_PATH:
            raise explained("path too long")


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]


def _folded(name: str) -> str:
    """As the Package Index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()
