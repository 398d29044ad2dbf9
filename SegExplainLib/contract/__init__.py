"""What crosses the border of a process: requests, results, events, errors.

Standard library only, so that a graphical client imports it in milliseconds.
"""

from SegExplainLib.contract.choices import (
    DIFFERENTIABLE_VALUES,
    GRADIENT_METHODS,
    METHODS,
    PATH_METHODS,
    REMOVALS,
    SAMPLING_METHODS,
    SHAPLEY_METHODS,
    SINGLE_REMOVALS,
    STOPS,
    UNIT_KINDS,
    VALUES,
)
from SegExplainLib.contract.errors import (
    Cancelled,
    GeometryMismatch,
    InvalidRequest,
    MissingPackages,
    OutOfDisk,
    OutOfMemory,
    SegExplainError,
    UnusableModel,
    nearest_names,
)
from SegExplainLib.contract.manifest import ESTIMATE_KEYS, ResultManifest
from SegExplainLib.contract.messages import COMMANDS, EVENTS, Command, Event
from SegExplainLib.contract.request import READ_BY, SCHEMA_VERSION, ExplainRequest

__all__ = [
    "COMMANDS",
    "DIFFERENTIABLE_VALUES",
    "ESTIMATE_KEYS",
    "EVENTS",
    "GRADIENT_METHODS",
    "METHODS",
    "PATH_METHODS",
    "READ_BY",
    "REMOVALS",
    "SAMPLING_METHODS",
    "SCHEMA_VERSION",
    "SHAPLEY_METHODS",
    "SINGLE_REMOVALS",
    "STOPS",
    "UNIT_KINDS",
    "VALUES",
    "Cancelled",
    "Command",
    "Event",
    "ExplainRequest",
    "GeometryMismatch",
    "InvalidRequest",
    "MissingPackages",
    "OutOfDisk",
    "OutOfMemory",
    "ResultManifest",
    "SegExplainError",
    "UnusableModel",
    "nearest_names",
]
