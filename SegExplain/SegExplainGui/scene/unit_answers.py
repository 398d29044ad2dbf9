"""The importances of the units, as the worker writes them: players.csv while it runs, answers.csv at the end."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SegExplainLib.contract import InvalidRequest, nearest_names

SIGNS = ("both", "for", "against")


@dataclass(frozen=True, eq=False)
class Answer:
    """The importance of every unit for one explained number.

    Attributes:
        target: The explained class.
        quantity: The explained number, one of ``contract.VALUES``.
        unit: Of all numbers here: "voxels", "ml", "share", "logit", or "relative" where only ratios mean something.
        values: (n_units,) importances.
        standard_errors: (n_units,); 0 where exact, nan where not known.
        interval_factor: Half width of the 95 % interval over the standard error.
        empty_value: The explained number with every unit removed; nan where it is not known, or nothing is removed.
        full_value: The explained number of the CT as it is; nan while it is not known.
    """

    target: str
    quantity: str
    unit: str
    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    interval_factor: float
    empty_value: float
    full_value: float

    @cached_property
    def half_widths(self) -> NDArray[np.float64]:
        """(n_units,) of the 95 % intervals; 0 where exact, infinite where the error is not known."""
        known = np.isfinite(self.standard_errors) & (self.standard_errors > 0)
        widths = np.where(self.standard_errors == 0, 0.0, np.inf)
        widths[known] = self.standard_errors[known] * self.interval_factor
        return widths

    @property
    def has_errors(self) -> bool:
        """Whether an error of any importance is known and not 0."""
        return bool((np.isfinite(self.standard_errors) & (self.standard_errors > 0)).any())

    def only_clear(self) -> "Answer":
        """The answer with 0 for each unit whose 95 % interval includes zero: what an interim picture may show."""
        return replace(self, values=np.where(np.abs(self.values) > self.half_widths, self.values, 0.0))

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """(n_units,) places of the units, the largest absolute importance first."""
        return np.argsort(-np.abs(np.nan_to_num(self.values)), kind="stable")

    @cached_property
    def ranks(self) -> NDArray[np.intp]:
        """(n_units,) rank of each unit, from 1."""
        ranks = np.empty(len(self.order), dtype=np.intp)
        ranks[self.order] = np.arange(1, len(self.order) + 1)
        return ranks

    def strongest(self, top_k: int, sign: str) -> NDArray[np.intp]:
        """(at most top_k,) places of the strongest units of a sign, the strongest first; none without importance."""
        if sign not in SIGNS or top_k < 0:
            raise InvalidRequest(f"sign is {sign!r} and top_k {top_k}; expected one of {SIGNS} and at least 0.")
        values = np.nan_to_num(self.values[self.order])
        wanted = {"both": values != 0, "for": values > 0, "against": values < 0}[sign]
        return self.order[wanted][:top_k]


@dataclass(frozen=True, eq=False)
class UnitAnswers:
    """The units and every answer about them.

    Attributes:
        ids: (n_units,) label values, ascending.
        names: For people.
        volumes_ml: (n_units,).
        answers: The explained class and quantity first.
    """

    ids: NDArray[np.int64]
    names: tuple[str, ...]
    volumes_ml: NDArray[np.float64]
    answers: tuple[Answer, ...]

    def of(self, target: str, quantity: str) -> Answer:
        """The answer for a class and a quantity.

        Raises:
            InvalidRequest: there is none.
        """
        for answer in self.answers:
            if (answer.target, answer.quantity) == (target, quantity):
                return answer
        known = [f"{answer.target}, {answer.quantity}" for answer in self.answers]
        raise InvalidRequest(
            _("There is no answer for {asked}.").format(asked=f"{target}, {quantity}"),
            nearest_names(f"{target}, {quantity}", known),
        )

    def place_of(self, unit_id: int) -> int | None:
        """Where a unit stands in the arrays; None when there is no such unit."""
        place = int(np.searchsorted(self.ids, unit_id))
        return place if place < len(self.ids) and self.ids[place] == unit_id else None


def read_unit_answers(path: Path, *, target: str = "", quantity: str = "") -> UnitAnswers:
    """The units and answers of a table.

    Args:
        path: ``answers.csv``, or ``players.csv``, which holds one answer.
        target: The class that players.csv explains; answers.csv names its classes.
        quantity: The number that players.csv explains.

    Raises:
        InvalidRequest: the file is missing, incomplete, or holds something else than a number where one belongs.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            rows_of: dict[tuple[str, str], list[dict[str, str]]] = {}
            for line in lines:
                question = (line.get("class", target), line.get("quantity", quantity))
                rows_of.setdefault(question, []).append(line)
        return _collected(rows_of)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            _("{path} is not a table of units ({error}).").format(path=path, error=repr(error)),
            _("Run the explanation again."),
        ) from error


def _collected(rows_of: dict[tuple[str, str], list[dict[str, str]]]) -> UnitAnswers:
    for rows in rows_of.values():
        rows.sort(key=lambda row: int(row["id"]))
    units = next(iter(rows_of.values()), [])
    ids = [row["id"] for row in units]
    if not ids or len(set(ids)) != len(ids):
        raise ValueError("no units" if not ids else "a unit stands in it twice")
    if any([row["id"] for row in rows] != ids for rows in rows_of.values()):
        raise ValueError("its answers are not about the same units")
    return UnitAnswers(
        ids=np.array(ids, dtype=np.int64),
        names=tuple(row["name"] for row in units),
        volumes_ml=_column(units, "volume_ml"),
        answers=tuple(_answer(*question, rows) for question, rows in rows_of.items()),
    )


def _answer(target: str, quantity: str, rows: Sequence[dict[str, str]]) -> Answer:
    first, errors = rows[0], _column(rows, "standard_error")
    return Answer(
        target=target,
        quantity=quantity,
        unit=first["unit_of_value"] if "unit_of_value" in first else first["unit"],
        values=_column(rows, "value"),
        standard_errors=errors,
        interval_factor=_interval_factor(errors, _column(rows, "high_95") - _column(rows, "low_95")),
        empty_value=float(first.get("empty_value", "nan")),
        full_value=float(first.get("full_value", "nan")),
    )


def _interval_factor(standard_errors: NDArray, widths: NDArray) -> float:
    known = np.isfinite(standard_errors) & (standard_errors > 0)
    return float(np.median(widths[known] / standard_errors[known] / 2)) if known.any() else 1.96


def _column(rows: Sequence[dict[str, str]], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], dtype=np.float64)
