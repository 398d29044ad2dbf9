"""What crosses the border of a process: requests, results, events, errors.

Standard library only, so that a graphical client imports it in milliseconds.
"""

import difflib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, get_origin

SCHEMA_VERSION = 1

UNIT_KINDS = ("organs", "fcc", "hybrid")
REMOVALS = ("air", "mean", "local-mean", "blur", "inpaint")
VALUES = (
    "tp",
    "tp-share",
    "dice",
    "soft-dice",
    "fp",
    "fp-share",
    "fp-relative",
    "fn",
    "mean-logit",
    "soft-volume",
)
METHODS = ("kernel-shap", "leverage-shap", "exact", "permutation", "shap", "captum")


class SegExplainError(Exception):
    """One clear sentence for the user: what was expected and found; ``hint`` says what to do, ``stage`` where."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.stage = ""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidRequest(SegExplainError):
    """The request cannot be served as asked."""


class GeometryMismatch(SegExplainError):
    """Two images that must share a place in the patient do not."""


class UnusableModel(SegExplainError):
    """The model folder is missing a part, broken, of an unsupported kind, or not trusted."""


class MissingPackages(SegExplainError):
    """What was asked needs packages that are not installed; ``packages`` are their names."""

    def __init__(self, message: str, hint: str = "", *, packages: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.packages = packages


class OutOfMemory(SegExplainError):
    """Even the smallest batch does not fit into memory."""


class OutOfDisk(SegExplainError):
    """The disk is full, or too full for the results."""


class Cancelled(SegExplainError):
    """The user stopped the run; what was evaluated so far is kept."""


def nearest_names(name: str, names: Iterable[str]) -> str:
    """A hint that offers the names nearest to a wrong one, or all of them when none is near."""
    choices = list(names)
    near = difflib.get_close_matches(name, choices, n=5, cutoff=0.4)
    near += [choice for choice in choices if name and name.lower() in choice.lower() and choice not in near]
    return f"Did you mean: {', '.join(near)}?" if near else f"Choose one of: {', '.join(choices)}."


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """All that defines one explanation. JSON-able; paths are strings.

    Attributes:
        ct: NIfTI, NRRD or MHA file, or a folder with one DICOM series.
        model: An nnU-Net v2 results folder, a MONAI bundle, or ``totalsegmentator:TASK_ID``.
        target: Class to explain, by name.
        roi: ``ijk:i0,i1,j0,j1,k0,k1`` (half-open voxel indices of the file), ``ras:x0,x1,y0,y1,z0,z1`` in mm,
            ``mask:PATH``, or ``segment:NAME+MARGIN_MM``.
        units: Who takes part in the game, one of ``UNIT_KINDS``.
        organs: Organ label map file; empty means the model's own prediction.
        unit_mm: Lattice edge of the FCC supervoxels in mm.
        reference: Mask file taken as the truth y; empty means the model's own unperturbed prediction.
        removal: What an absent unit looks like, one of ``REMOVALS``.
        value: What number is explained, one of ``VALUES``.
        method: Estimator, one of ``METHODS``.
        budget: Most coalitions to evaluate; 0 lets the pipeline choose by the number of units.
        tolerance: Stop when the largest standard error is below this share of the range of the values; 0 never.
        seed: Of every random choice.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch: Tiles in one network call; 0 is automatic.
        mirroring: Test-time flips of an nnU-Net: ``model`` (as trained), ``off``.
        folds: Folds of an nnU-Net to average; empty means all that are there.
        trust_model: Allow a model file that executes code when it is opened.
    """

    ct: str
    model: str
    target: str
    roi: str
    units: str = "organs"
    organs: str = ""
    unit_mm: float = 30.0
    reference: str = ""
    removal: str = "local-mean"
    value: str = "soft-dice"
    method: str = "kernel-shap"
    budget: int = 0
    tolerance: float = 0.05
    seed: int = 0
    device: str = "auto"
    batch: int = 0
    mirroring: str = "model"
    folds: tuple[str, ...] = ()
    trust_model: bool = False
    schema_version: int = SCHEMA_VERSION

    def problems(self) -> list[str]:
        """All faults that can be seen without opening a file; empty means valid."""
        found = [f"{name} is empty" for name in ("ct", "model", "target", "roi") if not getattr(self, name)]
        choices = {"units": UNIT_KINDS, "removal": REMOVALS, "value": VALUES, "method": METHODS}
        choices["mirroring"] = ("model", "off")
        for name, allowed in choices.items():
            given = getattr(self, name)
            if given not in allowed:
                found.append(f"{name} is {given!r}. {nearest_names(str(given), allowed)}")
        if not 0 < self.unit_mm < float("inf"):
            found.append(f"unit_mm is {self.unit_mm}; it must be a positive length in mm")
        if not 0 <= self.tolerance < 1:
            found.append(f"tolerance is {self.tolerance}; it must be at least 0 and below 1")
        if self.budget < 0:
            found.append(f"budget is {self.budget}; it must be 0 (automatic) or a positive count")
        if self.batch < 0:
            found.append(f"batch is {self.batch}; it must be 0 (automatic) or a positive count")
        if self.seed < 0:
            found.append(f"seed is {self.seed}; it must be 0 or more")
        if self.value == "fp-relative" and not self.reference:
            found.append(
                "value fp-relative needs a reference mask: without one the unperturbed CT has no false positives"
            )
        if self.schema_version != SCHEMA_VERSION:
            found.append(f"schema_version is {self.schema_version}; this version reads {SCHEMA_VERSION}")
        return found

    def to_json(self) -> str:
        """Indented JSON text."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    def with_paths_from(self, folder: Path) -> Self:
        """The request with every path that exists below ``folder`` made absolute, a mask ROI's too."""
        found = {name: _absolute(getattr(self, name), folder) for name in ("ct", "model", "organs", "reference")}
        kind, _, rest = self.roi.partition(":")
        if kind.strip() == "mask":
            found["roi"] = "mask:" + _absolute(rest.strip(), folder)
        return replace(self, **found)  # type: ignore[arg-type]

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Self:
        """A request from decoded JSON.

        Raises:
            InvalidRequest: a key is unknown or missing, or a value has the wrong type.
        """
        known = {entry.name: entry for entry in fields(cls)}
        unknown = [key for key in given if key not in known]
        if unknown:
            raise InvalidRequest(f"The request has the unknown key {unknown[0]!r}.", nearest_names(unknown[0], known))
        missing = [name for name in ("ct", "model", "target", "roi") if name not in given]
        if missing:
            raise InvalidRequest(f"The request lacks {', '.join(missing)}.", "Add what is missing to request.json.")
        return cls(**{key: _as_type(key, value, known[key].type) for key, value in given.items()})


def _absolute(path: str, folder: Path) -> str:
    try:
        # Links are not followed: what a file is called says of what kind it is.
        return str((folder / path).absolute()) if path and (folder / path).exists() else path
    except (OSError, ValueError):  # a name that no file can have: the reader says so
        return path


def _as_type(key: str, value: Any, kind: Any) -> Any:
    """``value`` if it is of the field's type, with int for float and a list for a tuple allowed."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[str, ...]:
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    kind_name = getattr(kind, "__name__", str(kind))
    raise InvalidRequest(f"The request's {key} is {value!r}; expected {kind_name}.", "Mend request.json.")


ESTIMATE_KEYS = ("stop_reason", "n_evaluations", "relative_error", "empty_value", "full_value", "quantity", "unit")


@dataclass(frozen=True, kw_only=True)
class ResultManifest:
    """What a results folder says of itself; written last, so that its presence means success.

    Attributes:
        request: The request as served, with automatic choices filled in.
        versions: Package name -> version.
        device: Where the network ran.
        classes: Names of the classes that can be explained.
        answer: The plain-words sentences that open the report.
        estimate: Stop reason, evaluations, empty and full value, relative error, unit of the value.
        counts: Tiles, network evaluations, reuse, bytes.
        timings_s: Stage -> seconds.
        warnings: What the user should know.
        files: File name -> sha256.
    """

    request: dict[str, Any]
    versions: dict[str, str]
    device: str
    classes: list[str]
    answer: list[str]
    estimate: dict[str, Any]
    counts: dict[str, float]
    timings_s: dict[str, float]
    warnings: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Indented JSON text."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a finished results folder.

        Raises:
            InvalidRequest: the folder holds no manifest, or one that cannot be read.
        """
        path = folder / "manifest.json"
        try:
            manifest = cls(**json.loads(path.read_text(encoding="utf-8")))
            if manifest.schema_version != SCHEMA_VERSION:
                raise ValueError(f"schema_version is {manifest.schema_version}; this version reads {SCHEMA_VERSION}")
            missing = [key for key in ESTIMATE_KEYS if key not in manifest.estimate]
            if missing:
                raise ValueError(f"its estimate lacks {', '.join(missing)}")
            return manifest
        except FileNotFoundError as error:
            raise InvalidRequest(
                f"{folder} is not a finished results folder: it has no manifest.json.",
                "Give the folder that `segexplain explain --out` made, or finish it with --resume.",
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise InvalidRequest(f"{path} cannot be read ({error}).", "Run the explanation again.") from error


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
    return isinstance(value, get_origin(kind) or kind) and not (kind is int and isinstance(value, bool))


COMMANDS = ("check", "describe", "preview", "explain", "cancel", "quit")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One line of the worker's standard input.

    Attributes:
        command: ``check`` what the installation can do; ``describe`` a model; ``preview`` what an explanation will
            take; ``explain`` a job folder; ``cancel`` what is running; ``quit``.
        id: Is repeated in every event of the command.
        job: Job folder, with ``explain``.
        resume: Go on with what an interrupted run left in the job folder, with ``explain``.
        request: Fields of an ``ExplainRequest``, with ``describe`` (those of the model) and ``preview`` (all).
    """

    command: str
    id: int = 0
    job: str = ""
    resume: bool = False
    request: dict[str, Any] = field(default_factory=dict)

    def to_json_line(self) -> str:
        """One line of JSON; empty fields are left out."""
        return json.dumps({key: value for key, value in asdict(self).items() if value not in ("", {})})

    @classmethod
    def from_json_line(cls, line: str) -> Self:
        """The command of a line.

        Raises:
            InvalidRequest: the line is not a JSON object, or holds no such command, an unknown key, a value of the
                wrong type, or no job to explain.
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
        return command
