"""players.csv: one line for each unit, at full precision."""

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from SegExplainLib.attribution import Attribution
from SegExplainLib.contract import InvalidRequest
from SegExplainLib.report.certainty import certainty_of
from SegExplainLib.report.wording import one_line

PLAYERS_CSV = "players.csv"


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
        unit: "voxels", "ml", "share" or "logit".
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
    per_ml = attribution.values_per_ml
    return [
        PlayerRow(
            id=player + 1,
            name=one_line(name),
            value=float(certainty.values[player]),
            standard_error=float(attribution.standard_errors[player]),
            low_95=float(certainty.intervals[player, 0]),
            high_95=float(certainty.intervals[player, 1]),
            sign=int(certainty.signs[player]),
            rank=rank_of[player],
            volume_ml=float(partition.volumes_ml[player]),
            value_per_ml=float(per_ml[player]),
            unit=attribution.unit,
        )
        for player, name in enumerate(partition.names)
    ]


def write_players_csv(path: Path, attribution: Attribution, *, interval_factor: float = 1.96) -> None:
    """Writes `player_rows` as comma-separated UTF-8 with a heading line; numbers are read back without loss."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([entry.name for entry in fields(PlayerRow)])
        writer.writerows(astuple(row) for row in player_rows(attribution, interval_factor=interval_factor))


def read_players_csv(path: Path) -> list[PlayerRow]:
    """The rows that `write_players_csv` wrote.

    Raises:
        InvalidRequest: the file is missing, lacks a column, or holds something else than a number where one belongs.
    """
    kinds: dict[str, Any] = {entry.name: entry.type for entry in fields(PlayerRow)}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                PlayerRow(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"{path} is not a table of units ({error!r}).", "Give the players.csv of a finished run."
        ) from error
