"""Everything that can go wrong, in words for the user."""

import difflib
from collections.abc import Iterable


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
