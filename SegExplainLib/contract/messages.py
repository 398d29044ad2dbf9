"""Lines of JSON between a worker and whoever started it."""

import json
import math
import sys
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, get_args, get_origin

from SegExplainLib.contract.errors import InvalidRequest

EVENTS = ("ready", "started", "stage", "progress", "partial", "warning", "finished", "failed")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a job's ``events.jsonl`` and of the worker's standard output.

    Attributes:
        event: ``ready`` once a worker has started; then for each command ``started``, any of
            ``stage | progress | partial | warning``, and last of all one of ``finished | failed``.
        id: Of the command that the event belongs to; 0 where there is none.
        stage: Stage of the pipeline.
        message: For people.
        done: Units of work done in this stage.
        total: Units of work in this stage, 0 when unknown.
        left_s: Forecast of the seconds left, or None.
        error: Current relative standard error of the estimate, or None.
        tiles: Tiles run through the network so far, 0 when none are.
        path: File or folder the event speaks of.
        hint: What to do, with ``failed``.
        kind: Name of the error's class, with ``failed``.
        data: The answer to a question, with ``finished``; JSON-able.
    """

    event: str
    id: int = 0
    stage: str = ""
    message: str = ""
    done: int = 0
    total: int = 0
    left_s: float | None = None
    error: float | None = None
    tiles: int = 0
    path: str = ""
    hint: str = ""
    kind: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def to_json_line(self) -> str:
        """One line of JSON; empty fields are left out."""
        told = {key: value for key, value in asdict(self).items() if value not in ("", None, {})}
        for key in ("left_s", "error"):
            if not math.isfinite(told.get(key, 0.0)):
                del told[key]
        return json.dumps(told, allow_nan=False)

    @classmethod
    def from_json_line(cls, line: str) -> Self | None:
        """The event of a line; None when it is none, such as what a library prints.

        Unknown keys are left out, and so is what is not of its field's type: an event that tells too little is better
        than a command without an answer.
        """
        try:
            given = json.loads(line)
        except (ValueError, RecursionError):  # the latter from brackets without end
            return None
        if not isinstance(given, dict) or given.get("event") not in EVENTS:
            return None
        kinds = {entry.name: entry.type for entry in fields(cls)}
        return cls(**{key: value for key, value in given.items() if key in kinds and _fits(value, kinds[key])})


def _fits(value: Any, kind: Any) -> bool:
    """Whether a decoded JSON value is of a field's type; a whole number is a float too, nan and infinity are not."""
    if kind == float | None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value is None or (is_number and abs(value) <= sys.float_info.max)
    if get_origin(kind) is list:
        return isinstance(value, list) and all(isinstance(entry, get_args(kind)) for entry in value)
    return isinstance(value, get_origin(kind) or kind) and not (kind is int and isinstance(value, bool))


COMMANDS = ("check", "describe", "preview", "explain", "evaluate", "cancel", "quit")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One line of the worker's standard input.

    Attributes:
        command: ``check`` what the installation can do; ``describe`` a model; ``preview`` what an explanation will
            take; ``explain`` a job folder; ``evaluate`` finished results; ``cancel`` what is running; ``quit``.
        id: Is repeated in every event of the command.
        job: Job folder, with ``explain``.
        resume: Go on with what an interrupted run left in the job folder, with ``explain``.
        request: Fields of an ``ExplainRequest``, with ``describe`` (those of the model), ``preview`` (all) and
            ``evaluate`` (``device`` and ``trust_model``).
        results: Results folders on one question, with ``evaluate``.
        out: Folder for the evaluation, with ``evaluate``.
        stability: What is measured of the explanation's stability, with ``evaluate``: names that the worker knows.
    """

    command: str
    id: int = 0
    job: str = ""
    resume: bool = False
    request: dict[str, Any] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)
    out: str = ""
    stability: list[str] = field(default_factory=list)

    def to_json_line(self) -> str:
        """One line of JSON; empty fields are left out."""
        return json.dumps({key: value for key, value in asdict(self).items() if value not in ("", {}, [])})

    @classmethod
    def from_json_line(cls, line: str) -> Self:
        """The command of a line.

        Raises:
            InvalidRequest: the line is not a JSON object, or holds no such command, an unknown key, a value of the
                wrong type, no job to explain, or nothing to evaluate.
        """
        try:
            given = json.loads(line)
            command = cls(**given)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidRequest(f"The worker got a line that is no command ({error}): {line[:80]!r}.") from error
        for entry in fields(cls):
            value = getattr(command, entry.name)
            if not _fits(value, entry.type):
                kind_name = getattr(entry.type, "__name__", str(entry.type))
                raise InvalidRequest(f"The command's {entry.name} is {value!r:.80}; expected {kind_name}.")
        if command.command not in COMMANDS:
            raise InvalidRequest(f"The worker has no command {command.command!r}.", f"One of {', '.join(COMMANDS)}.")
        if command.command == "explain" and not command.job:
            raise InvalidRequest("The command explain names no job folder.", "Give it as job.")
        if command.command == "evaluate" and not command.results:
            raise InvalidRequest("The command evaluate names no results folder.", "Give them as results.")
        if command.command == "evaluate" and not command.out:
            raise InvalidRequest("The command evaluate names no folder to write to.", "Give it as out.")
        return command
