"""What the panel asks of the rest of the module, and what comes back; the panel itself starts and computes nothing.

Nothing here waits: an answer comes through a callback, on the main thread, at most once, and
never before the call has returned. A callback belongs to one call: `Services.forget` takes all of them back.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from slicer.i18n import tr as _

from SegExplainGui.shown_result import ShownResult
from SegExplainLib.contract import Event, SegExplainError

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters


PREVIEW = "Seg-Grad-CAM preview"
"""Message of the ``partial`` event whose folder holds a quick map and no importances yet."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why something did not work, for people.

    Attributes:
        message: One sentence: what was expected and found.
        hint: What to do.
        kind: Name of the error's class; "Cancelled" where the user stopped it.
        log: Last lines of the worker's log, or empty.
        missing: Packages that could be installed to make it work.
    """

    message: str
    hint: str = ""
    kind: str = ""
    log: str = ""
    missing: tuple[str, ...] = ()

    @classmethod
    def of_event(cls, event: Event) -> "Failure":
        """What a ``failed`` event says."""
        log = event.data.get("log", "")
        lines = log if isinstance(log, str) else "\n".join(str(line) for line in log)
        missing = tuple(str(name) for name in event.data.get("missing", ()))
        return cls(message=event.message, hint=event.hint, kind=event.kind, log=lines, missing=missing)

    @classmethod
    def of_error(cls, error: SegExplainError) -> "Failure":
        """What an error says that was raised on this side."""
        return cls(message=error.message, hint=error.hint, kind=type(error).__name__)

    @classmethod
    def of_unexpected(cls, error: Exception) -> "Failure":
        """What to say of an error that nobody foresaw: a traceback in a console is nothing that a user looks for."""
        return cls(
            message=_("Something unexpected went wrong: {error}").format(error=str(error) or type(error).__name__),
            hint=_("Please report it with the text under Show log."),
            kind=type(error).__name__,
            log="".join(traceback.format_exception(error)),
        )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line on what is ready: ``state`` is "ok", "note" (works, but) or "fault" (does not work)."""

    state: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What the worker's Python can do.

    Attributes:
        findings: In the order to show.
        missing: Packages that must be installed first; empty when it can explain.
        device: What ``auto`` means here: "cpu" or "cuda".
        devices: All that can be chosen besides ``auto``, as in ``ExplainRequest.device``.
        python: The Python that was asked.
    """

    findings: Sequence[Finding]
    missing: Sequence[str] = ()
    device: str = ""
    devices: Sequence[str] = ("cpu",)
    python: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model to choose.

    Attributes:
        model: As in ``ExplainRequest.model``.
        label: For people.
        detail: Where it is; for a tool tip.
    """

    model: str
    label: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelUse:
    """Which model, and how it runs: what belongs to this machine and is not kept in the scene.

    Attributes:
        model: As in ``ExplainRequest.model``; empty when none is chosen.
        device: As in ``ExplainRequest.device``.
        trust_model: Allow a model file that executes code when it is opened.
    """

    model: str
    device: str = "auto"
    trust_model: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What a model is, in its own words."""

    name: str
    classes: Sequence[str]
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class RegionSize:
    """The ROI on the CT's grid."""

    n_voxels: int
    volume_ml: float


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What an explanation would take; the fields are those of the worker's answer to ``preview``."""

    n_voxels: int
    volume_ml: float
    n_roi_tiles: int
    n_image_tiles: int
    n_units: int
    units_are_exact: bool
    budget: int
    seconds_a_tile: float
    least_s: float
    most_s: float
    warnings: Sequence[str] = ()


STABILITY = ("noise", "seeds", "weights", "removals")
"""What can be measured of an explanation's stability; each runs it many times."""

OnFailure = Callable[[Failure], None]


class Services(Protocol):
    """All that the panel needs; a plain call raises ``SegExplainError``, a question's error comes as a `Failure`.

    The worker answers one question at a time. A question that comes while it is busy waits; a newer one of the same
    kind takes its place, and the callbacks of the replaced one are never called.
    """

    @property
    def is_busy(self) -> bool:
        """Whether an explanation, a check or an installation is under way, whoever started it."""

    # what is installed

    def use_python(self, path: str) -> None:
        """Takes another Python for the worker, from the next question on; empty: find one."""

    def check(self, on_answer: Callable[[Installation], None], on_failure: OnFailure) -> None:
        """Asks what is ready, packages, device, memory and disk."""

    def install(
        self,
        missing: Sequence[str],
        *,
        on_text: Callable[[str], None],
        on_end: Callable[[Failure | None], None],
    ) -> None:
        """Installs packages after asking the user; ``on_text`` gets lines on how it goes."""

    # the question

    def models(self) -> Sequence[ModelChoice]:
        """What is found on this machine: the demo model, TotalSegmentator's. Cheap."""

    def describe(
        self,
        parameters: "Parameters",
        use: ModelUse,
        *,
        on_answer: Callable[[ModelDescription], None],
        on_failure: OnFailure,
    ) -> None:
        """Opens the model and tells its classes."""

    def region_size(self, parameters: "Parameters") -> RegionSize:
        """The ROI's voxels on the CT. Cheap: called while the ROI is dragged.

        Raises:
            SegExplainError: the ROI holds no voxel of the CT, or a transform is not linear.
        """

    def new_roi(self, parameters: "Parameters") -> Any:
        """A new vtkMRMLMarkupsROINode in the middle of the CT, a fifth of its size, with handles."""

    def fit_roi(self, parameters: "Parameters") -> None:
        """Moves ``parameters.roi`` around ``fit_segmentation``'s ``fit_segment`` with ``margin_mm``.

        Raises:
            SegExplainError: the segment is empty or does not overlap the CT.
        """

    def preview(
        self,
        parameters: "Parameters",
        use: ModelUse,
        *,
        on_answer: Callable[[Preview], None],
        on_failure: OnFailure,
    ) -> None:
        """Tells what an explanation would take. Not cheap for the worker: the panel asks when all is quiet."""

    # the answer

    def explain(
        self,
        parameters: "Parameters",
        use: ModelUse,
        *,
        on_event: Callable[[Event], None],
        on_result: Callable[[ShownResult], None],
        on_end: Callable[[Failure | None], None],
    ) -> None:
        """Runs an explanation.

        ``on_event`` gets stages, progress, warnings and, as ``partial`` with the message ``PREVIEW``, that
        `show_preview` has something to show; ``on_result`` the result, again after each partial import and
        after the final one; ``on_end`` is last, also when nodes vanish or the scene closes.
        """

    def cancel(self) -> None:
        """Stops what is under way; its ``on_end`` follows within 2 s, with kind "Cancelled"."""

    def results(self) -> Sequence[ShownResult]:
        """Every result in the scene, the newest first."""

    def bring_to_views(self, result: ShownResult) -> None:
        """Lays a result's map over its CT in the slice views and hides the other results; the user chose this one."""

    def show_preview(self) -> None:
        """Lays the preview of the run under way over its CT.

        It goes by itself, with the first importances or the end; the views then have again what they had.
        """

    def jump_to(self, result: ShownResult, unit_id: int) -> None:
        """Moves the slice views to the unit's centre."""

    def show_chart(self, result: ShownResult) -> None:
        """Opens the bar chart of the result in a layout with a plot view."""

    def remove(self, result: ShownResult) -> None:
        """Takes a result's nodes out of the scene."""

    # whether it can be trusted

    def why_unchecked(self, result: ShownResult) -> str:
        """Why `evaluate` cannot check a result, for people; empty when it can."""

    def evaluate(
        self,
        result: ShownResult,
        use: ModelUse,
        *,
        stability: Sequence[str],
        on_event: Callable[[Event], None],
        on_end: Callable[[Failure | None], None],
    ) -> object:
        """Checks a finished result, whose ``trust`` is there when ``on_end`` tells no failure.

        Args:
            result: The network is its own, and so are CT and region.
            use: Says whether that network's files may run programs, if it is the same one.
            stability: What is measured of its stability besides, of ``STABILITY``.
            on_event: Gets stages, progress and warnings.
            on_end: Is last, also when the result vanishes or the scene closes.
        """

    def open_curves(self, result: ShownResult) -> None:
        """Opens the picture of the curves of a checked result.

        Raises:
            SegExplainError: it is no longer on the disk.
        """

    # out of the scene, and off the disk

    def open_report(self, result: ShownResult) -> None:
        """Opens the report page in the browser.

        Raises:
            SegExplainError: it is no longer on the disk.
        """

    def save_table(self, result: ShownResult, path: str) -> None:
        """Writes the answer that is shown as CSV."""

    def save_segmentation(self, result: ShownResult, path: str) -> None:
        """Writes the units as a .seg.nrrd file."""

    def save_folder(self, result: ShownResult, folder: str) -> None:
        """Copies the whole results folder into ``folder``."""

    def load_folder(self, folder: str, parameters: "Parameters") -> ShownResult:
        """The nodes of a results folder, under ``parameters.ct``.

        Raises:
            SegExplainError: the folder holds no finished result, or one of another CT.
        """

    def downloads(self) -> str:
        """What "Delete my downloads and caches" would delete, for people, with its size; empty when nothing."""

    def delete_downloads(self) -> None:
        """Deletes it."""

    # the user and the end

    def confirm(self, question: str) -> bool:
        """Whether the user agrees, in a dialog of the application."""

    def forget(self) -> None:
        """Takes back every callback given so far: the panel goes away, or the scene closes."""
