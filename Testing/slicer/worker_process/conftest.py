"""Workers that misbehave as asked, over each way to run a process."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from SegExplainGui.worker.child_process import ChildProcess
from SegExplainGui.worker.client import Launch, Patience, Process, Worker
from watching import LONG_ENOUGH_S, MISBEHAVING_WORKER

BED = str(Path(__file__).parents[1] / "bed_qt")


@pytest.fixture(scope="session")
def a_qt() -> Iterator[Any]:
    """The module ``qt`` as in Slicer's Python, with an application."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if BED not in sys.path:
        sys.path.insert(0, BED)
    import qt

    application = qt.QApplication.instance() or qt.QApplication([])
    yield qt
    del application


@pytest.fixture
def make_qt_process(a_qt) -> Callable[[], Process]:
    from SegExplainGui.worker.qt_process import QtProcess

    return QtProcess


@pytest.fixture(params=["subprocess", "qt"])
def make_process(request) -> Callable[[], Process]:
    return ChildProcess if request.param == "subprocess" else request.getfixturevalue("make_qt_process")


@pytest.fixture
def a_worker(make_process) -> Iterator[Callable[..., Worker]]:
    """Makes workers that misbehave as asked; none of them outlives the test."""
    made = []

    def make(
        *behaviour: str, program: str = sys.executable, arguments: tuple[str, ...] | None = None, **patience: float
    ):
        patience = {"start_s": LONG_ENOUGH_S, "silence_s": LONG_ENOUGH_S, "quit_s": 0.5} | patience
        script = (MISBEHAVING_WORKER, *behaviour)
        launch = Launch(program=program, arguments=arguments or script, environment={"GREETING": "grüß dich"})
        made.append(Worker(launch, make_process, patience=Patience(**patience)))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.fixture
def a_library(tmp_path) -> Callable[[str], Path]:
    """A folder with a package SegExplainLib whose worker misbehaves as asked."""

    def make(behaviour: str) -> Path:
        package = tmp_path / "library" / "SegExplainLib"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        code = Path(MISBEHAVING_WORKER).read_text()
        (package / "worker.py").write_text(code + f"\n\nserve = {behaviour}\n")
        return package.parent

    return make
