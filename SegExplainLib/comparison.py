"""Several answers to one question, by other methods or removals, in one table: a row for each unit."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from SegExplainLib.atomic import atomic_path
from SegExplainLib.contract import InvalidRequest, ResultManifest
from SegExplainLib.game_record import RECORD_NAME, GameRecord
from SegExplainLib.report.tables import PLAYERS_CSV, read_players_csv

SAME_QUESTION = ("the CT's voxels", "the CT's place", "the model", "the ROI", "the units")
"""Fingerprints that results on one question have in common."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What several methods say of the same units.

    Attributes:
        columns: Name of each answer: its method, and where it takes more to tell them apart, also the explained number,
            the removal or the folder.
        units: Names of the units.
        volumes_ml: float64 (n_units,).
        values: float64 (n_units, n_answers), each column in its method's own unit.
        value_units: Of each column: "voxels", "ml", "share", "logit", or "relative".
    """

    columns: tuple[str, ...]
    units: tuple[str, ...]
    volumes_ml: NDArray[np.float64]
    values: NDArray[np.float64]
    value_units: tuple[str, ...]

    @property
    def shares(self) -> NDArray[np.float64]:
        """float64 (n_units, n_answers): value over the sum of all absolute values, so that columns can be compared."""
        total = np.abs(self.values).sum(axis=0)
        return self.values / np.where(total > 0, total, 1.0)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """int64 (n_units, n_answers), from 1, by absolute value; ties keep the order of units."""
        order = np.argsort(-np.abs(self.values), axis=0, kind="stable")
        return np.argsort(order, axis=0) + 1

    @property
    def rank_correlations(self) -> NDArray[np.float64]:
        """float64 (n_answers, n_answers): Spearman's, of absolute values; nan where a column is constant."""
        n = len(self.columns)
        sizes = np.abs(self.values)
        correlations = np.full((n, n), math.nan)
        varies = np.ptp(sizes, axis=0) > 0
        for a in range(n):
            for b in range(n):
                if varies[a] and varies[b]:
                    correlations[a, b] = spearmanr(sizes[:, a], sizes[:, b]).statistic
        return correlations


def compared(folders: Sequence[Path]) -> Comparison:
    """Reads finished results of one question.

    Raises:
        InvalidRequest: there are fewer than two, one is not finished or cannot be read, or they differ in CT, model,
            region, units or class.
    """
    if len(folders) < 2:
        raise InvalidRequest("One result alone cannot be compared.", "Give the folders of two results or more.")
    manifests = [ResultManifest.read(folder) for folder in folders]
    require_one_question(folders, manifests, [GameRecord.load(folder / RECORD_NAME) for folder in folders])
    tables = [read_players_csv(folder / PLAYERS_CSV) for folder in folders]
    return Comparison(
        columns=answer_names(folders, manifests),
        units=tuple(row.name for row in tables[0]),
        volumes_ml=np.array([row.volume_ml for row in tables[0]]),
        values=np.array([[row.value for row in table] for table in tables]).T,
        value_units=tuple(manifest.estimate["unit"] for manifest in manifests),
    )


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes a table: name, volume, and for each answer value, share and rank; a reader never sees half of it.

    Raises:
        OutOfDisk: the disk is full.
    """
    kinds = ("value", "share", "rank")
    headings = [f"{column} {kind}" for column in comparison.columns for kind in kinds]
    shares, ranks = comparison.shares, comparison.ranks
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "volume_ml", *headings])
        for row, name in enumerate(comparison.units):
            cells = zip(comparison.values[row], shares[row], ranks[row], strict=True)
            writer.writerow([name, comparison.volumes_ml[row], *(cell for three in cells for cell in three)])


def require_one_question(
    folders: Sequence[Path], manifests: Sequence[ResultManifest], records: Sequence[GameRecord]
) -> None:
    """Nothing, if all results are on one CT, model, region, class and choice of units.

    Raises:
        InvalidRequest: they are not; says what differs.
    """
    for folder, manifest, record in zip(folders[1:], manifests[1:], records[1:], strict=True):
        differing = [
            part for part in SAME_QUESTION if record.fingerprints.get(part) != records[0].fingerprints.get(part)
        ]
        if manifest.request["target"] != manifests[0].request["target"]:
            differing.append("the class")
        if differing:
            raise InvalidRequest(
                f"{folders[0]} and {folder} answer different questions: {', '.join(differing)} differ(s).",
                "Compare results on one CT, model, region, class and choice of units.",
            )


def answer_names(folders: Sequence[Path], manifests: Sequence[ResultManifest]) -> tuple[str, ...]:
    """The shortest words that tell the answers apart; the explained number is named where there are several."""
    methods = [str(manifest.request["method"]) for manifest in manifests]
    if len({manifest.request["value"] for manifest in manifests}) > 1:
        methods = [f"{method} {m.request['value']}" for method, m in zip(methods, manifests, strict=True)]
    with_removal = [f"{method} {m.request['removal']}" for method, m in zip(methods, manifests, strict=True)]
    with_folder = [f"{method} {folder.name}" for method, folder in zip(methods, folders, strict=True)]
    with_path = [f"{method} {folder}" for method, folder in zip(methods, folders, strict=True)]
    for names in (methods, with_removal, with_folder):
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(with_path)
