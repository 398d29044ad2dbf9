"""Serve a job folder: ``request.json`` in, ``events.jsonl`` and ``results/`` out; for a shell, a cluster, Slicer."""

import json
from pathlib import Path
from typing import TextIO

from SegExplainLib.contract import Event, ExplainRequest, InvalidRequest, ResultManifest, SegExplainError
from SegExplainLib.pipeline import explain
from SegExplainLib.progress import Listener, Progress


class EventFile:
    """A listener that appends each event to an open file as one line of JSON and passes it on."""

    def __init__(self, file: TextIO, listener: Listener | None = None) -> None:
        self._file = file
        self._listener = listener

    def __call__(self, event: Event) -> None:
        """Writes the event at once, so that a reader of the file sees it."""
        self._file.write(event.to_json_line() + "\n")
        self._file.flush()
        if self._listener is not None:
            self._listener(event)


def job_request(job: Path) -> ExplainRequest:
    """The request of a job folder; its relative paths are relative to the folder.

    Raises:
        InvalidRequest: there is no readable request.
    """
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
    job: Path, *, listener: Listener | None = None, progress: Progress | None = None, resume: bool = False
) -> ResultManifest:
    """Runs one job; every event goes to its ``events.jsonl`` and to ``listener``.

    Raises:
        SegExplainError: after it has been told as a ``failed`` event, unless there is no such folder to tell it in.
    """
    if not job.is_dir():
        raise InvalidRequest(f"There is no job folder {job}.", "Make it, with a request.json in it.")
    with (job / "events.jsonl").open("a", encoding="utf-8") as file:
        tell = EventFile(file, listener)
        progress = progress or Progress()
        progress.listener = tell
        tell(Event(event="started", path=str(job)))
        try:
            manifest = explain(job_request(job), job / "results", progress=progress, resume=resume)
        except SegExplainError as error:
            tell(Event(event="failed", stage=error.stage, message=error.message, hint=error.hint))
            raise
        except Exception as error:
            tell(Event(event="failed", message=f"{type(error).__name__}: {error}", hint="See the log."))
            raise
        tell(Event(event="finished", path=str(job / "results")))
        return manifest
