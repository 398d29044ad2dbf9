"""The module at work: `services.Services` over the scene, the worker and the disk; one for each Slicer.

The panel and the Python console share it, so that there is one worker with one warm model. It owns the worker process,
the folder of exported images, and the run under way, and ends all of them when Slicer closes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

import SegExplainLib
from SegExplainGui import result_files
from SegExplainGui.desktop import Desktop
from SegExplainGui.evaluation_run import EvaluationRun, checkable
from SegExplainGui.parameters import Parameters, request_fields
from SegExplainGui.run import Logics, Run
from SegExplainGui.scene import export
from SegExplainGui.scene.result import Result, results_in
from SegExplainGui.scene.shown_in_views import bring_to_views, show_preview
from SegExplainGui.scene_question import SceneQuestion, model_fields, scene_question
from SegExplainGui.services import (
    Failure,
    Finding,
    Installation,
    ModelChoice,
    ModelDescription,
    ModelUse,
    OnFailure,
    Preview,
    RegionSize,
)
from SegExplainGui.setup import dependencies
from SegExplainGui.setup.app_folders import cache_folders, delete_downloads, private_folder
from SegExplainGui.setup.demo_model import demo_model
from SegExplainGui.setup.install_run import InstallRun
from SegExplainGui.setup.job_folders import JobFolders
from SegExplainGui.under_way import UnderWay
from SegExplainGui.worker.client import Process, Worker
from SegExplainGui.worker.talk import WorkerTalk
from SegExplainLib.contract import Command, Event, InvalidRequest, SegExplainError
from SegExplainLib.model.totalsegmentator import installed_models

LOG = logging.getLogger(__name__)
MAP_OPACITY = 1.0  # until the user moves the slider; colours of weak units are faint in themselves
LIBRARY = Path(SegExplainLib.__file__).resolve().parents[1]


class Session:
    """What the panel and the console ask for; see `services.Services` for each method's contract.

    Args:
        scene: vtkMRMLScene.
        logics: Module logics.
        desktop: The application around.
        make_process: Makes a process for the worker.
        data: Folder of what SegExplain keeps; None is the user's.
    """

    def __init__(
        self,
        scene: Any,
        logics: Logics,
        desktop: Desktop,
        make_process: Callable[[], Process],
        *,
        data: Path | None = None,
    ) -> None:
        self.scene = scene
        self.logics = logics
        self._desktop = desktop
        self._make_process = make_process
        self._data = data
        self._python = ""
        self._folders: JobFolders | None = None
        self._run: Run | None = None
        self._under_way = UnderWay(scene)
        self._install: InstallRun | None = None
        self.talk = WorkerTalk(desktop, self._new_worker)

    def close(self) -> None:
        """Ends the worker and deletes the exported images; the session can be used again."""
        self.forget()
        self.talk.close()
        if self._folders:
            self._folders.delete()
            self._folders = None

    @property
    def is_busy(self) -> bool:
        """Whether an explanation, a check or an installation is under way, whoever started it."""
        return self._under_way.is_active or (self._install is not None and self._install.is_active)

    # what is installed

    def use_python(self, path: str) -> None:
        """Takes another Python for the worker, from the next question on; empty: find one."""
        if path != self._python:
            self._python = path
            self._under_way.stop(_("Another Python was chosen while SegExplain was at work; the work was stopped."))
            self.talk.close()

    def check(self, on_answer: Callable[[Installation], None], on_failure: OnFailure) -> None:
        """Asks what is ready, packages, device, memory and disk."""

        def answered(data: dict[str, Any]) -> None:
            on_answer(
                Installation(
                    findings=[Finding(state=one["state"], text=one["text"]) for one in data["findings"]],
                    missing=data["missing"],
                    device=data["device"],
                    devices=data.get("devices", ["cpu"]),
                    python=data.get("python", ""),
                )
            )

        self.talk.ask(Command(command="check"), answered, on_failure)

    def install(
        self, missing: Sequence[str], *, on_text: Callable[[str], None], on_end: Callable[[Failure | None], None]
    ) -> None:
        """Installs packages after asking the user."""
        self._install = InstallRun(
            *(missing, self._desktop),
            python=self._python,
            data=self._data,
            end_worker=self.talk.close,
            on_text=on_text,
            on_end=on_end,
        )
        self.talk.soon(self._install.start)

    # the question

    def models(self) -> Sequence[ModelChoice]:
        """The demo model and TotalSegmentator's models that are on this machine."""
        found = [
            ModelChoice(model=model.name, label=model.label, detail=str(model.folder)) for model in installed_models()
        ]
        demo = demo_model()
        if not demo:
            return found
        return [ModelChoice(model=demo, label=_("Demo model (synthetic torso)"), detail=demo), *found]

    def describe(
        self,
        parameters: Parameters,
        use: ModelUse,
        *,
        on_answer: Callable[[ModelDescription], None],
        on_failure: OnFailure,
    ) -> None:
        """Opens the model and tells its classes."""
        fields = request_fields(parameters)
        request = {"folds": fields["folds"], "mirroring": fields["mirroring"], **model_fields(use)}

        def answered(data: dict[str, Any]) -> None:
            on_answer(ModelDescription(name=data["name"], classes=data["classes"], device=data["device"]))

        self.talk.ask(Command(command="describe", request=request), answered, on_failure)

    def region_size(self, parameters: Parameters) -> RegionSize:
        """The ROI's voxels on the CT."""
        _require(parameters.ct, parameters.roi)
        extent = export.roi_extent(parameters.roi, parameters.ct)
        return RegionSize(n_voxels=extent.n_voxels, volume_ml=extent.volume_ml)

    def new_roi(self, parameters: Parameters) -> Any:
        """A new ROI in the middle of the CT."""
        return export.new_roi(self.scene, parameters.ct)

    def fit_roi(self, parameters: Parameters) -> None:
        """Moves the ROI around a segment."""
        _require(parameters.ct, parameters.roi)
        if parameters.fit_segmentation is None or not parameters.fit_segment:
            raise InvalidRequest(
                _("No segment is chosen to fit the region to."), _("Choose a segmentation and segment.")
            )
        export.fit_roi_to_segment(
            parameters.roi,
            parameters.fit_segmentation,
            parameters.fit_segment,
            parameters.ct,
            margin_mm=parameters.margin_mm,
        )

    def preview(
        self, parameters: Parameters, use: ModelUse, *, on_answer: Callable[[Preview], None], on_failure: OnFailure
    ) -> None:
        """Tells what an explanation would take."""
        try:
            request = scene_question(parameters, use).exported(self._job_folders().inputs, warn=LOG.warning)
        except SegExplainError as error:
            failure = Failure.of_error(error)
            self.talk.soon(lambda: on_failure(failure))
            return
        known = Preview.__dataclass_fields__

        def answered(data: dict[str, Any]) -> None:
            on_answer(Preview(**{name: value for name, value in data.items() if name in known}))

        self.talk.ask(Command(command="preview", request=asdict(request)), answered, on_failure)

    # the answer

    def explain(
        self,
        parameters: Parameters,
        use: ModelUse,
        *,
        on_event: Callable[[Event], None],
        on_result: Callable[[Result], None],
        on_end: Callable[[Failure | None], None],
    ) -> None:
        """Runs an explanation of what the panel's parameters say."""
        self.start(scene_question(parameters, use), on_event=on_event, on_result=on_result, on_end=on_end)

    def start(
        self,
        question: SceneQuestion,
        *,
        on_event: Callable[[Event], None],
        on_result: Callable[[Result], None],
        on_end: Callable[[Failure | None], None],
    ) -> Run:
        """Runs an explanation; a fault in the question is told through ``on_end`` as any other.

        Raises:
            InvalidRequest: one is under way.
        """
        self._require_rest()
        folders = self._job_folders()
        run = self._run = Run(
            question,
            self.talk.queue,
            scene=self.scene,
            logics=self.logics,
            inputs=folders.inputs,
            job=folders.new_run(),
            on_event=on_event,
            on_result=on_result,
            on_end=self._ending(on_end),
        )
        self._under_way.begin(run)
        self.talk.soon(run.start)
        return run

    def cancel(self) -> None:
        """Stops the run, the check or the installation."""
        self._under_way.cancel()
        if self._install is not None:
            self._install.cancel()

    def results(self) -> Sequence[Result]:
        """Every result in the scene, the newest first."""
        return results_in(self.scene)

    def bring_to_views(self, result: Result) -> None:
        """Lays a result's map over its CT in the slice views and hides the other results."""
        bring_to_views(result, self.scene, opacity=MAP_OPACITY)

    def show_preview(self) -> None:
        """Lays the preview of the run under way over its CT; nothing where there is none."""
        if self._run is not None and self._run.is_active and self._run.preview is not None:
            show_preview(self._run.preview, self.scene, opacity=MAP_OPACITY)

    def show_chart(self, result: Result) -> None:
        """Opens the bar chart of the result in a layout with a plot view."""
        if result.chart is None:
            raise InvalidRequest(_("The chart of {name} was deleted.").format(name=result.name))
        self.logics.plots.ShowChartInLayout(result.chart)

    def jump_to(self, result: Result, unit_id: int) -> None:
        """Moves the slice views to the unit's centre."""
        slicer.vtkMRMLSliceNode.JumpAllSlices(self.scene, *result.unit_centre(unit_id))

    def remove(self, result: Result) -> None:
        """Takes a result's nodes out of the scene."""
        result.remove()

    # whether it can be trusted

    def why_unchecked(self, result: Result) -> str:
        """Why a result cannot be checked, for people; empty when it can."""
        try:
            checkable(result)
        except SegExplainError as error:
            return str(error)
        return ""

    def evaluate(
        self,
        result: Result,
        use: ModelUse,
        *,
        stability: Sequence[str],
        on_event: Callable[[Event], None],
        on_end: Callable[[Failure | None], None],
    ) -> EvaluationRun:
        """Checks a finished result; what stands in its way is told through ``on_end``.

        Raises:
            InvalidRequest: something is under way.
        """
        self._require_rest()
        run = EvaluationRun(
            *(result, self.talk.queue, self._job_folders()),
            use=use,
            stability=stability,
            on_event=on_event,
            on_end=self._ending(on_end),
        )
        self._under_way.begin(run)
        self.talk.soon(run.start)
        return run

    def open_curves(self, result: Result) -> None:
        """Opens the picture of the curves of a checked result."""
        self._desktop.open_file(result_files.curves_of(result))

    # out of the scene, and off the disk

    def open_report(self, result: Result) -> None:
        """Opens the report page in the browser."""
        self._desktop.open_file(result_files.report_of(result))

    def save_table(self, result: Result, path: str) -> None:
        """Writes the answer that is shown as CSV."""
        result_files.save_table(result, Path(path))

    def save_segmentation(self, result: Result, path: str) -> None:
        """Writes the units as a .seg.nrrd file."""
        result_files.save_segmentation(result, Path(path))

    def save_folder(self, result: Result, folder: str) -> None:
        """Copies the whole results folder into ``folder``."""
        result_files.save_folder(result, Path(folder))

    def load_folder(self, folder: str, parameters: Parameters) -> Result:
        """The nodes of a results folder, under the chosen CT."""
        if parameters.ct is None:
            raise InvalidRequest(_("No CT is chosen."), _("Load the CT that was explained and choose it."))
        return result_files.load_folder(self.scene, Path(folder), parameters.ct, self.logics)

    def downloads(self) -> str:
        """What would be deleted, for people."""
        folders = [folder for folder in cache_folders(self._data) if folder.n_bytes]
        return "\n".join(f"{folder.purpose}: {folder.n_bytes / 1e6:,.0f} MB ({folder.path})" for folder in folders)

    def delete_downloads(self) -> None:
        """Deletes it."""
        self._require_rest()
        self.close()
        delete_downloads(self._data)

    # the user and the end

    def confirm(self, question: str) -> bool:
        """Whether the user agrees, in a dialog of the application."""
        return self._desktop.confirm(question)

    def forget(self) -> None:
        """Takes back every callback given so far."""
        self.talk.forget()
        self._under_way.forget()
        self._run = None

    def _require_rest(self) -> None:
        if self.is_busy:
            raise InvalidRequest(_("An explanation or a check is under way."), _("Wait for its end, or cancel it."))

    def _ending(self, on_end: Callable[[Failure | None], None]) -> Callable[[Failure | None], None]:
        def ended(failure: Failure | None) -> None:
            self._under_way.ended()
            on_end(failure)

        return ended

    def _job_folders(self) -> JobFolders:
        if self._folders is None:
            self._folders = JobFolders(self._data)
        return self._folders

    def _new_worker(self) -> Worker:
        backend = dependencies.find_python(self._python)
        launch = dependencies.launch(backend, library=LIBRARY, private=private_folder(self._data))
        return Worker(launch, self._make_process)


def _require(ct: Any, roi: Any) -> None:
    if ct is None:
        raise InvalidRequest(_("No CT is chosen."), _("Load a CT and choose it."))
    if roi is None:
        raise InvalidRequest(_("No region is chosen."), _("Place an ROI box, or fit one to a segment."))
