"""One explanation, from the scene to nodes: export, ask the worker, show what comes, end cleanly however it ends."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegExplainGui.scene.result import Result, create_result
from SegExplainGui.scene.roi_appearance import make_faint
from SegExplainGui.scene_question import SceneQuestion
from SegExplainGui.services import Failure
from SegExplainGui.worker.question_queue import QuestionQueue
from SegExplainLib.contract import (
    Command,
    Event,
    ExplainRequest,
    InvalidRequest,
    ResultManifest,
    SegExplainError,
)

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Logics:
    """The module logics that MRML work needs.

    Attributes:
        segmentations: vtkSlicerSegmentationsModuleLogic.
        colors: vtkSlicerColorLogic.
        plots: vtkSlicerPlotsLogic.
    """

    segmentations: Any
    colors: Any
    plots: Any


class Run:
    """An explanation under way. Its callbacks are called from the queue's ``poll``.

    Nodes are made with the first interim result and stay when the run is stopped. The CT is looked up in the scene
    before each use: a user may delete it, or close the scene, while the worker works.

    Args:
        question: What is asked.
        queue: Of the worker.
        scene: vtkMRMLScene.
        logics: Module logics.
        inputs: Folder of exported nodes, shared by all runs.
        job: Folder of this run; made here.
        on_event: Gets each event of the worker.
        on_result: Gets the result after each import.
        on_end: Gets the failure, or None; called once, last.

    Attributes:
        is_active: Whether it has not ended.
        result: The nodes; None until there is something to show.
        failure: Why it ended; None while it is active, and after a success.
    """

    def __init__(
        self,
        question: SceneQuestion,
        queue: QuestionQueue,
        *,
        scene: Any,
        logics: Logics,
        inputs: Path,
        job: Path,
        on_event: Callable[[Event], None],
        on_result: Callable[[Result], None],
        on_end: Callable[[Failure | None], None],
    ) -> None:
        self._question = question
        self._queue = queue
        self._scene = scene
        self._logics = logics
        self._inputs = inputs
        self._job = job
        self._on_event = on_event
        self._on_result = on_result
        self._on_end = on_end
        self._ct_id = question.ct.GetID() if question.ct is not None else ""
        self._roi_id = question.roi.GetID() if question.roi is not None else ""
        self._name = ""
        self.failure: Failure | None = None
        self.result: Result | None = None
        self.is_active = True

    def start(self) -> None:
        """Exports the nodes and queues the job; a question that cannot be asked ends the run."""
        try:
            self._ask()
        except SegExplainError as error:
            self._end(Failure.of_error(error))
        except Exception as error:  # whatever it is: a run that never ends would lock the panel
            LOG.exception("A question could not be asked.")
            self._end(Failure.of_unexpected(error))

    def _ask(self) -> None:
        def warn(text: str) -> None:
            self._on_event(Event(event="warning", message=text))

        self._job.mkdir(parents=True)
        request = self._question.exported(self._inputs, warn=warn)
        problems = request.problems()
        if problems:
            raise InvalidRequest("; ".join(problems))
        (self._job / "request.json").write_text(request.to_json(), encoding="utf-8")
        self._name = _("Why {target}? ({ct}, {clock})").format(
            target=request.target, ct=self._question.ct.GetName(), clock=time.strftime("%H:%M")
        )
        self._queue.ask(Command(command="explain", job=str(self._job)), self._heard)

    def cancel(self) -> None:
        """Stops the run; what has been shown stays."""
        if self.is_active:
            self._queue.cancel("explain")

    def abandon(self, failure: Failure | None) -> None:
        """Stops the run and ends at once, without touching the scene again; None tells nobody."""
        if not self.is_active:
            return
        self.is_active, self.failure = False, failure
        self._queue.cancel("explain")
        if failure is not None:
            self._on_end(failure)

    def _heard(self, event: Event) -> None:
        if not self.is_active:
            return
        for take in (self._import, self._on_event):  # who hears of an event finds its nodes there
            try:
                take(event)
            except SegExplainError as error:
                self._stop_for(Failure.of_error(error), event)
            except Exception as error:  # as in `start`
                LOG.exception("A worker's event could not be shown.")
                self._stop_for(Failure.of_unexpected(error), event)
        if event.event in ("finished", "failed"):
            self._end(self.failure or (Failure.of_event(event) if event.event == "failed" else None))

    def _import(self, event: Event) -> None:
        if event.event == "partial":
            partial = self._job / "partial"
            self._show(partial / "units.nrrd", partial / "players.csv", is_interim=True)
        elif event.event == "finished":
            self._finish(Path(event.path))

    def _stop_for(self, failure: Failure, event: Event) -> None:
        """The first fault of this side is what the user is told; the worker need not go on."""
        if self.failure is None:
            self.failure = failure
        if event.event == "partial":
            self._queue.cancel("explain")

    def _finish(self, results: Path) -> None:
        manifest = ResultManifest.read(results)
        result = self._show(results / "players.seg.nrrd", results / "answers.csv", is_interim=False)
        result.set_sentences(manifest.answer, folder=results)
        self._on_result(result)

    def _show(self, units: Path, answers: Path, *, is_interim: bool) -> Result:
        ct = self._scene.GetNodeByID(self._ct_id) if self._ct_id else None
        if ct is None or ct is not self._question.ct:
            raise InvalidRequest(_("The CT was deleted while it was being explained."), _("Load it and explain again."))
        if self.result is None:
            self.result = create_result(
                self._scene,
                ct,
                name=self._name,
                segmentations_logic=self._logics.segmentations,
                colors_logic=self._logics.colors,
            )
            self.result.set_units(units)
            if self._scene.GetNodeByID(self._roi_id) is self._question.roi:
                make_faint(self._question.roi)
        fields = self._question.fields
        quantity = fields.get("value", ExplainRequest.value)
        self.result.set_answers(answers, target=fields["target"], quantity=quantity, is_interim=is_interim)
        self._on_result(self.result)
        return self.result

    def _end(self, failure: Failure | None) -> None:
        self.is_active = False
        self.failure = failure
        self._on_end(failure)
