"""Serve a job folder: ``request.json`` in, ``events.jsonl`` and ``results/`` out; for a shell, a cluster, Slicer."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from SegExplainLib.atomic import DISK_FULL, raise_if_disk_full
from SegExplainLib.contract import (
    Event,
    ExplainRequest,
    InvalidRequest,
    MissingPackages,
    OutOfDisk,
    OutOfMemory,
    ResultManifest,
    SegExplainError,
)
from SegExplainLib.progress import Listener, Progress
from SegExplainLib.warm import WarmState

Answer = TypeVar("Answer")

RESULTS = "results"
PARTIAL = "partial"
EVENTS_JSONL = "events.jsonl"


class EventFile:
    """A listener that passes each event on and appends it to a file as one line of JSON.

    The file is opened for each event: it is found out at once that its folder has gone, and nobody has to wait for the
    end of the run to move it.
    """

    def __init__(self, path: Path, listener: Listener) -> None:
        self._path = path
        self._listener = listener

    def __call__(self, event: Event) -> None:
        """Writes the event, then tells the listener, who may look at the file.

        Raises:
            OutOfDisk: the disk is full.
            InvalidRequest: the file cannot be written to. The listener has been told all the same.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(event.to_json_line() + "\n")
        except OSError as error:
            raise_if_disk_full(error, self._path.parent)
            raise InvalidRequest(
                f"{self._path} cannot be written to ({error.strerror or error}).",
                "Give a job folder that can be written to, and leave it there until the run has ended.",
            ) from error
        finally:
            self._listener(event)


def job_request(job: Path) -> ExplainRequest:
    """The request of a job folder; its relative paths are relative to the folder.

    Raises:
        InvalidRequest: there is no readable request.
    """
    if not job.is_dir():
        raise InvalidRequest(f"There is no job folder {job}.", "Make it, with a request.json in it.")
    path = job / "request.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidRequest(
            f"{job} is not a job folder: it has no request.json.", "Write the request there."
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} cannot be read as JSON ({error}).", "Mend the file.") from error
    if not isinstance(given, dict):
        raise InvalidRequest(f"{path} holds {type(given).__name__}, not an object.", "Mend the file.")
    return ExplainRequest.from_mapping(given).with_paths_from(job)


def run_job(
    job: Path,
    *,
    listener: Listener | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    warm: WarmState | None = None,
) -> ResultManifest:
    """Runs one job; every event goes to ``listener`` and, where there is such a folder, to its ``events.jsonl``.

    Raises:
        SegExplainError: after it has been told as a ``failed`` event.
    """
    progress = progress or Progress()

    def explained() -> ResultManifest:
        request = job_request(job)
        with progress.stage("load libraries"):
            from SegExplainLib.pipeline import explain

        return explain(request, job / RESULTS, progress=progress, resume=resume, warm=warm, partial_to=job / PARTIAL)

    tell = listener or (lambda _event: None)
    if job.is_dir():
        tell = EventFile(job / EVENTS_JSONL, tell)
    progress.listener = tell
    finished = Event(event="finished", path=str(job / RESULTS))
    return answered(explained, lambda _manifest: finished, tell=tell, progress=progress, path=str(job))


def answered(
    work: Callable[[], Answer],
    finished: Callable[[Answer], Event],
    *,
    tell: Listener,
    progress: Progress,
    path: str = "",
) -> Answer:
    """Tells ``started``, works, tells exactly one of ``finished`` and ``failed``; an error is raised all the same."""
    try:
        tell(Event(event="started", path=path))
        progress.check_cancelled()
        answer = work()
    except BaseException as error:
        tell(failure(error, stage=progress.last_stage))
        raise
    tell(finished(answer))
    return answer


def failure(error: BaseException, *, stage: str = "") -> Event:
    """The ``failed`` event of any error; ``stage`` serves where the error is none of ours and does not say its own."""
    told = error if isinstance(error, SegExplainError) else _explained(error, stage)
    kind = type(error if type(told) is SegExplainError else told).__name__
    data = {"missing": list(told.packages)} if isinstance(told, MissingPackages) else {}
    return Event(event="failed", stage=told.stage, message=told.message, hint=told.hint, kind=kind, data=data)


def _explained(error: BaseException, stage: str) -> SegExplainError:
    """One of our errors that says what another one means; the plain kind where that is not known."""
    if _is_out_of_memory(error):
        told: SegExplainError = OutOfMemory(
            "Memory ran out.", "Close other programs, choose a smaller ROI, or run on another device."
        )
    elif isinstance(error, OSError) and error.errno in DISK_FULL:
        told = OutOfDisk("The disk is full.", "Free some space, then go on with --resume.")
    elif isinstance(error, ModuleNotFoundError):
        told = SegExplainError(f"The Python package {error.name} is not installed.", "Install what is missing.")
    else:
        told = SegExplainError(f"{type(error).__name__}: {error}", "See the log.")
    told.stage = stage
    return told


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if "torch" not in sys.modules:
        return False
    from SegExplainLib.model.memory import is_out_of_memory

    return is_out_of_memory(error)
