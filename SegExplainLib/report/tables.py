"""Tables at full precision: players.csv, one line for each unit; answers.csv, one for each answer and unit."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from SegExplainLib.attribution import Attribution
from SegExplainLib.contract import InvalidRequest
from SegExplainLib.report.certainty import certainty_of
from SegExplainLib.report.wording import one_line

PLAYERS_CSV = "players.csv"
ANSWERS_CSV = "answers.csv"


@dataclass(frozen=True)
class PlayerRow:
    """One unit's line.

    Attributes:
        id: The unit's label value in ``players.seg.nrrd``: player number + 1.
        name: As in the organ map.
        value: Importance, in ``unit``.
        standard_error: Of the value; 0 where exact, nan where not known.
        low_95, high_95: Ends of the 95 % interval; infinite where the error is not known.
        sign: 1 or -1 where the interval excludes zero, else 0.
        rank: From 1, by absolute value.
        volume_ml: Of the unit, on the network's grid.
        value_per_ml: Value over volume.
        unit: "voxels", "ml", "share", "logit", or "relative" where only ratios mean something.
    """

    id: int
    name: str
    value: float
    standard_error: float
    low_95: float
    high_95: float
    sign: int
    rank: int
    volume_ml: float
    value_per_ml: float
    unit: str


def player_rows(attribution: Attribution, *, interval_factor: float = 1.96) -> list[PlayerRow]:
    """A row for each unit, in the order of players."""
    certainty = certainty_of(attribution, interval_factor)
    partition, rank_of = attribution.partition, {int(p): rank for rank, p in enumerate(attribution.ranking, start=1)}
    intervals, signs, per_ml = certainty.intervals, certainty.signs, attribution.values_per_ml
    return [
        PlayerRow(
            id=player + 1,
            name=one_line(name),
            value=float(certainty.values[player]),
            standard_error=float(attribution.standard_errors[player]),
            low_95=float(intervals[player, 0]),
            high_95=float(intervals[player, 1]),
            sign=int(signs[player]),
            rank=rank_of[player],
            volume_ml=float(partition.volumes_ml[player]),
            value_per_ml=float(per_ml[player]),
            unit=attribution.unit,
        )
        for player, name in enumerate(partition.names)
    ]


@dataclass(frozen=True)
class AnswerRow:
    """One unit's line in one answer.

    Attributes:
        class_name: Column ``class``: the explained class.
        quantity: The explained number, one of ``contract.VALUES``.
        unit_of_value: Of the value, its error and interval, as in ``players.csv``; unless
            "relative", of the empty and the full value, too.
        id: The unit's label value in ``players.seg.nrrd``: player number + 1.
        name: As in the organ map.
        value: Importance.
        standard_error: Of the value; 0 where exact, nan where not known.
        low_95, high_95: Ends of the 95 % interval; infinite where the error is not known.
        volume_ml: Of the unit, on the network's grid.
        empty_value: The explained number with every unit removed, or at the baseline; nan for methods without one.
        full_value: The explained number of the CT as it is.
    """

    class_name: str
    quantity: str
    unit_of_value: str
    id: int
    name: str
    value: float
    standard_error: float
    low_95: float
    high_95: float
    volume_ml: float
    empty_value: float
    full_value: float


HEADINGS = {"class_name": "class"}
"""Columns that Python does not let be a field's name."""


def answer_rows(answers: Iterable[Attribution], *, interval_factor: float = 1.96) -> Iterator[AnswerRow]:
    """The rows of all answers, one answer after the other, units in the order of players."""
    return (
        AnswerRow(
            class_name=answer.target,
            quantity=answer.quantity,
            unit_of_value=row.unit,
            id=row.id,
            name=row.name,
            value=row.value,
            standard_error=row.standard_error,
            low_95=row.low_95,
            high_95=row.high_95,
            volume_ml=row.volume_ml,
            empty_value=float(answer.empty_value),
            full_value=float(answer.full_value),
        )
        for answer in answers
        for row in player_rows(answer, interval_factor=interval_factor)
    )


def write_players_csv(path: Path, attribution: Attribution, *, interval_factor: float = 1.96) -> None:
    """Writes `player_rows` as comma-separated UTF-8 with a heading line; numbers are read back without loss."""
    _write(path, PlayerRow, player_rows(attribution, interval_factor=interval_factor))


def write_answers_csv(path: Path, answers: Iterable[Attribution], *, interval_factor: float = 1.96) -> None:
    """Writes `answer_rows` as comma-separated UTF-8 with a heading line; numbers are read back without loss."""
    _write(path, AnswerRow, answer_rows(answers, interval_factor=interval_factor))


def read_players_csv(path: Path) -> list[PlayerRow]:
    """The rows that `write_players_csv` wrote.

    Raises:
        InvalidRequest: the file is missing, lacks a column, or holds something else than a number where one belongs.
    """
    return _read(path, PlayerRow)


def read_answers_csv(path: Path) -> list[AnswerRow]:
    """The rows that `write_answers_csv` wrote.

    Raises:
        InvalidRequest: the file is missing, lacks a column, or holds something else than a number where one belongs.
    """
    return _read(path, AnswerRow)


def _write(path: Path, kind: type, rows: Iterable[Any]) -> None:
    names = [entry.name for entry in fields(kind)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([HEADINGS.get(name, name) for name in names])
        writer.writerows(map(attrgetter(*names), rows))


def _read(path: Path, kind: type) -> list[Any]:
    columns: list[tuple[str, str, Any]] = [
        (entry.name, HEADINGS.get(entry.name, entry.name), entry.type) for entry in fields(kind)
    ]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                kind(**{name: convert(row[heading]) for name, heading, convert in columns})
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"{path} is not a table of units ({error!r}).", f"Give the {path.name} of a finished run."
        ) from error
