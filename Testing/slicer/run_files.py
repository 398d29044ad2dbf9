"""What a worker leaves of a run: label files and tables, written by hand, for a CT of 12 x 10 x 8 voxels."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from SegExplainGui.scene.nrrd_file import write_nrrd

SHAPE_KJI = (8, 10, 12)
NAMES = ("liver", 'left "lung"', "Milz", "a speck", "spine")
"""The fourth is so small that no voxel of the CT belongs to it."""
VALUES = (0.5, -0.25, 0.03, 0.001, -0.4)
QUESTIONS = (("liver", "soft-dice", "share"), ("liver", "tp", "voxels"), ('Niere; "links"', "mean-logit", "logit"))
HOLE = (10, 2, 3)
"""Index (i, j, k) of a voxel in the box of units that belongs to none."""


def unit_labels() -> NDArray[np.uint16]:
    """(k, j, i) four units with voxels, one of them around another, with none at the margin and in a hole."""
    labels = np.zeros(SHAPE_KJI, dtype=np.uint16)
    labels[1:6, 2:8, 3:11] = 1
    labels[2:5, 3:7, 5:9] = 2
    labels[5, 2:8, 3:11] = 3
    labels[1, 7, 3:11] = 5
    labels[HOLE[::-1]] = 0
    return labels


def write_labels(folder: Path, ijk_to_ras: NDArray, labels: NDArray | None = None) -> Path:
    """units.nrrd as the worker writes it."""
    path = folder / "units.nrrd"
    path.unlink(missing_ok=True)
    write_nrrd(unit_labels() if labels is None else labels, ijk_to_ras, path)
    return path


def values_of(question: int, values: Sequence[float] = VALUES) -> NDArray[np.float64]:
    """(n_units,) importances in one of ``QUESTIONS``; each question has other ones."""
    return np.roll(np.asarray(values), question) * (1.0, 1000.0, 3.0)[question]


def voxel_map(*, is_signed: bool) -> NDArray[np.float32]:
    """(k, j, i) another number at each voxel of a box within that of the units, with a hole of 0 in it."""
    values = np.zeros(SHAPE_KJI, dtype=np.float32)
    numbers = np.linspace(-1.0 if is_signed else 0.1, 1.5, 3 * 5 * 6, dtype=np.float32)
    values[2:5, 2:7, 4:10] = numbers.reshape(3, 5, 6)
    values[3, 4, 6] = 0.0
    return values


def write_map(folder: Path, ijk_to_ras: NDArray, values: NDArray, name: str = "map.nrrd") -> Path:
    """map.nrrd, or attribution.nrrd, as the worker writes it."""
    path = folder / name
    path.unlink(missing_ok=True)
    write_nrrd(np.ascontiguousarray(values, dtype=np.float32), ijk_to_ras, path)
    return path


def write_gradient_answers(folder: Path, values: Sequence[float], unit: str = "relative") -> Path:
    """answers.csv of a gradient method: one answer, no errors, nothing removed."""
    path, nan = folder / "answers.csv", float("nan")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        heading = "class,quantity,unit_of_value,id,name,value,standard_error,low_95,high_95,volume_ml,empty_value"
        writer.writerow([*heading.split(","), "full_value"])
        for n, (name, value) in enumerate(zip(NAMES, values), start=1):
            ends = (-float("inf"), float("inf"))
            writer.writerow(["liver", "soft-dice", unit, n, name, value, nan, *ends, 10 * n, nan, 0.9])
    return path


def write_players(folder: Path, values: Sequence[float] = VALUES, names: Sequence[str] = NAMES) -> Path:
    """players.csv, of the first question."""
    path = folder / "players.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [
                "id",
                "name",
                "value",
                "standard_error",
                "low_95",
                "high_95",
                "sign",
                "rank",
                "volume_ml",
                "value_per_ml",
                "unit",
            ]
        )
        for n, (name, value) in enumerate(zip(names, values), start=1):
            error = abs(value) / 10
            low, high = value - 2.5 * error, value + 2.5 * error
            writer.writerow([n, name, value, error, low, high, int(np.sign(value)), n, 10 * n, value / n, "share"])
    return path


def write_answers(folder: Path, names: Sequence[str] = NAMES, questions: Sequence = QUESTIONS) -> Path:
    """answers.csv with every question; the first standard error is not known, the second unit is exact."""
    path = folder / "answers.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        heading = (
            "class quantity unit_of_value id name value standard_error low_95 high_95 volume_ml empty_value full_value"
        )
        writer.writerow(heading.split())
        for number, question in enumerate(questions):
            for n, (name, value) in enumerate(zip(names, values_of(number)), start=1):
                error = {1: float("nan"), 2: 0.0}.get(n, abs(value) / 10)
                half = {1: float("inf")}.get(n, 2.5 * error)
                writer.writerow([*question, n, name, value, error, value - half, value + half, 10 * n, 0.1, 0.9])
    return path
