"""One explanation, from the scene to nodes: export, ask the worker, show what comes, end cleanly however it ends."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegExplainGui.scene.preview_map import PreviewMap, create_preview
from SegExplainGui.scene.quantity_words import run_name
from SegExplainGui.scene.result import Result, create_result
from SegExplainGui.scene.roi_appearance import make_faint
from SegExplainGui.scene_question import SceneQuestion
from SegExplainGui.services import PREVIEW, Failure
from SegExplainGui.worker.question_queue import QuestionQueue
from SegExplainLib.contract import (
    GRADIENT_METHODS,
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

    Nodes are made with the first interim result and stay when the run is stopped; those of a preview go when it comes,
    or with the end. The CT is looked up in the scene before each use: a user may delete it, or close the scene, while
    the worker works.

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
        preview: The picture before the result; None when there is none.
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
        self.preview: PreviewMap | None = None
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
        self._name = run_name(request.target, request.method, self._question.ct.GetName(), time.strftime("%H:%M"))
        self._queue.ask(Command(command="explain", job=str(self._job)), self._heard)

    def cancel(self) -> None:
        """Stops the run; what has been shown stays."""
        if self.is_active:
            self._queue.cancel("explain")

    def abandon(self, failure: Failure | None) -> None:
        """Stops the run and ends at once, without touching a scene that closes; None tells nobody."""
        if not self.is_active:
            return
        self.is_active, self.failure = False, failure
        self._queue.cancel("explain")
        if not self._scene.IsClosing():
            self._drop_preview()
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
        folder = self._job / "partial"
        if event.event == "partial" and event.message == PREVIEW:
            self._show_preview(folder / "map.nrrd")
        elif event.event == "partial":
            self._show(folder / "units.nrrd", folder / "players.csv", folder / "map.nrrd", is_interim=True)
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
        files = (results / name for name in ("players.seg.nrrd", "answers.csv", "attribution.nrrd"))
        result = self._show(*files, is_interim=False)
        result.set_sentences(manifest.answer, folder=results)
        self._on_result(result)

    def _show(self, units: Path, answers: Path, voxel_map: Path, *, is_interim: bool) -> Result:
        """Brings the result up to date; of the map of voxels a Shapley method's has no need."""
        ct, fields = self._ct(), self._question.fields
        if self.result is None:
            self._drop_preview()
            self.result = create_result(
                self._scene,
                ct,
                name=self._name,
                segmentations_logic=self._logics.segmentations,
                colors_logic=self._logics.colors,
            )
            self.result.set_units(units)
            self._make_roi_faint()
        method = fields.get("method", ExplainRequest.method)
        if method in GRADIENT_METHODS:
            self.result.set_voxel_map(voxel_map, method=method)
        quantity = fields.get("value", ExplainRequest.value)
        self.result.set_answers(answers, target=fields["target"], quantity=quantity, is_interim=is_interim)
        self._on_result(self.result)
        return self.result

    def _show_preview(self, path: Path) -> None:
        """Without a preview the run goes on: it is not the answer."""
        ct = self._ct()
        self._drop_preview()
        if self.result is not None:
            return
        target = self._question.fields["target"]
        try:
            self.preview = create_preview(self._scene, ct, path, target=target, colors_logic=self._logics.colors)
        except SegExplainError as error:
            text = _("There is no preview. {error}").format(error=error.message)
            self._on_event(Event(event="warning", message=text))
        self._make_roi_faint()

    def _make_roi_faint(self) -> None:
        if self._scene.GetNodeByID(self._roi_id) is self._question.roi:
            make_faint(self._question.roi)

    def _drop_preview(self) -> None:
        if self.preview is not None:
            self.preview.remove()
            self.preview = None

    def _ct(self) -> Any:
        ct = self._scene.GetNodeByID(self._ct_id) if self._ct_id else None
        if ct is None or ct is not self._question.ct:
            raise InvalidRequest(_("The CT was deleted while it was being explained."), _("Load it and explain again."))
        return ct

    def _end(self, failure: Failure | None) -> None:
        self._drop_preview()
        self.is_active = False
        self.failure = failure
        self._on_end(failure)
