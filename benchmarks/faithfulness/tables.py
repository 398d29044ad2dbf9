"""The numbers as tables: every one of them in long form, and the few that tell the story."""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.faithfulness.judged import Judged
from benchmarks.faithfulness.methods import speaker_of
from benchmarks.faithfulness.run import Games
from SegExplainLib.atomic import atomic_path

COLUMNS = (
    *("case", "units", "n_units", "removal", "method", "order"),
    *("metric", "value", "standard_error", "chance", "why_undefined"),
)
Number = tuple[str, str]
"""Order and metric of a row."""
OF_A_METHOD: dict[str, Number] = {
    "AOPC, units": ("order by value", "aopc-units-relative"),
    "ABPC, units": ("order by value", "abpc-units-relative"),
    "NAOPC, units": ("order by value", "naopc-units"),
    "ABPC, volume": ("order by value-per-ml", "abpc-volume-relative"),
    "NAOPC, volume": ("order by value-per-ml", "naopc-volume"),
    "beats random, %": ("order by value-per-ml", "abpc-volume-percentile"),
    "correlation": ("subsets", "faithfulness-correlation"),
    "ROC-AUC": ("agreement", "ROC-AUC"),
}
OF_UNITS: dict[str, Number] = {
    "AOPC along count": ("order by value", "aopc-units-relative"),
    "ABPC along count": ("order by value", "abpc-units-relative"),
    "AOPC along volume": ("order by value-per-ml", "aopc-volume-relative"),
    "ABPC along volume": ("order by value-per-ml", "abpc-volume-relative"),
    "NAOPC, count": ("order by value", "naopc-units"),
    "NAOPC, volume": ("order by value-per-ml", "naopc-volume"),
    "beats random, %": ("order by value-per-ml", "aopc-volume-percentile"),
}
FIDELITY: dict[str, Number] = {
    "original": ("voxels, original", "fidelity"),
    "absolute": ("voxels, absolute", "fidelity"),
}
CONTROLS = ("volume only", "random")


def write_csv(judged: Sequence[Judged], path: Path) -> None:
    """Every number, one a line."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for game in judged:
            for row in game.rows:
                numbers = ("" if number is None else number for number in (row.value, row.standard_error, row.chance))
                which = (game.case, game.units, game.n_units, game.removal, row.method, row.order, row.metric)
                writer.writerow([*which, *numbers, row.why])


def write_markdown(judged: Sequence[Judged], games: Games, path: Path) -> None:
    """Tables: by method, by units and removal, by removal, by voxels."""
    default = [game for game in judged if games.is_default(game)]
    parts = [
        f"## By method: {games.units[0].words}, {games.removals[0]}",
        table("method", {name: [(default, name)] for name in methods_of(judged)}, OF_A_METHOD),
        f"## By units and removal: {speaker(judged)}",
        table("units, removal", _by_units(judged, games), OF_UNITS),
        f"## NAOPC along volume by removal: {games.units[0].words}",
        _by_removal(judged, games),
        f"## Fidelity by voxels: {games.removals[0]}",
        table("method", {name: [(default, name)] for name in methods_of(judged)}, FIDELITY),
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def methods_of(judged: Iterable[Judged]) -> list[str]:
    """Every method that has a number, in the order they were run, the controls last."""
    names = dict.fromkeys(row.method for game in judged for row in game.rows if row.metric)
    return [*(name for name in names if name not in CONTROLS), *CONTROLS]


def speaker(judged: Iterable[Judged]) -> str:
    """The method by which units are compared."""
    return speaker_of(methods_of(judged))


Source = list[tuple[Sequence[Judged], str]]
"""Games and the method whose rows of them are meant."""


def table(corner: str, sources: dict[str, Source], numbers: dict[str, Number]) -> str:
    """Markdown: a row for each source, a column for each number, mean and spread over the cases in each cell."""

    def cells(source: Source) -> list[str]:
        return [spread(values_of(source, *number), digits=0 if "%" in name else 2) for name, number in numbers.items()]

    return grid([corner, *numbers], [[name, *cells(source)] for name, source in sources.items()])


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def values_of(source: Source, order: str, metric: str) -> list[float]:
    """The defined values of a number, one for each case."""
    return [
        row.value
        for games, method in source
        for game in games
        for row in game.rows
        if (row.method, row.order, row.metric) == (method, order, metric) and row.value is not None
    ]


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """Mean, and the standard deviation between cases where there are several."""
    if not values:
        return "-"
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" + ("" if math.isnan(deviation) else f" ± {deviation:.{digits}f}")


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The deviation is nan for one value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _by_units(judged: Sequence[Judged], games: Games) -> dict[str, Source]:
    """Label -> the games of these units and this removal."""
    method = speaker(judged)
    sources: dict[str, Source] = {}
    for removal in games.removals:
        for units in (*games.units, *games.fine_units):
            chosen = [game for game in judged if (game.units, game.removal) == (units.name, removal)]
            if chosen:
                sources[f"{units.words} ({count_range(game.n_units for game in chosen)}), {removal}"] = [
                    (chosen, method)
                ]
    return sources


def _by_removal(judged: Sequence[Judged], games: Games) -> str:
    units, number = games.units[0].name, OF_A_METHOD["NAOPC, volume"]

    def of_removal(method: str) -> Callable[[str], str]:
        def cell(removal: str) -> str:
            chosen = [game for game in judged if (game.units, game.removal) == (units, removal)]
            return spread(values_of([(chosen, method)], *number))

        return cell

    rows = [[method, *map(of_removal(method), games.removals)] for method in methods_of(judged)]
    return grid(["method", *games.removals], rows)


def count_range(numbers: Iterable[int]) -> str:
    """ "7" or "6-8"."""
    found = sorted(numbers)
    least, most = found[0], found[-1]
    return f"{least}" if least == most else f"{least}-{most}"
