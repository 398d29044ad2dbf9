"""A baseline that took long to find, in one file while the run that it was found for is under way."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.record_file import read_record, write_record

BASELINE_NAME = "baseline.npz"
RECORD_VERSION = 1


@dataclass(frozen=True, eq=False)
class BaselineRecord:
    """One network input with every unit absent, told by what it changes in the CT's.

    A run that goes on needs the same bits: on a GPU, whose sums have no fixed order, the same search ends elsewhere.

    Attributes:
        changed: int64 (n,), flat indices in the network input (channels, k, j, i).
        values: float32 (n,), what is there.
        facts: What is known of how it came about, by name.
        warnings: What the user was told when it was made.
        fingerprints: Part of the question that it was made for -> sha256.
    """

    changed: NDArray[np.int64]
    values: NDArray[np.float32]
    facts: dict[str, float]
    warnings: tuple[str, ...]
    fingerprints: dict[str, str]

    def save(self, path: Path) -> None:
        """Writes the record; a reader never sees half of it.

        Raises:
            OutOfDisk: the disk is full.
        """
        told = {"facts": self.facts, "warnings": self.warnings, "fingerprints": self.fingerprints}
        write_record(path, {"record_version": RECORD_VERSION} | told, {"changed": self.changed, "values": self.values})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a record.

        Raises:
            InvalidRequest: the file is missing, damaged, or of another version.
        """
        with read_record(path, version=RECORD_VERSION, holds="baselines") as (header, part):
            warnings = tuple(header["warnings"])
            return cls(part["changed"], part["values"], header["facts"], warnings, header["fingerprints"])
