"""A gradient run as far as it has come, in one file while it is under way."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from SegExplainLib.gradients.memory import Memory, n_remembered
from SegExplainLib.record_file import read_record, require_same_question, write_record

GRADIENTS_NAME = "gradients.npz"
RECORD_VERSION = 1


@dataclass(frozen=True, eq=False)
class GradientRecord:
    """The sums so far, and what they are sums of.

    Attributes:
        memory: Of the method; grows as it runs.
        fingerprints: Part of the question -> sha256: two questions with equal fingerprints have equal gradients. How
            many are taken, the budget and the tolerance, is no part of it.
    """

    memory: Memory
    fingerprints: dict[str, str]

    @property
    def n_gradients(self) -> int:
        """Whose sums the memory holds."""
        return n_remembered(self.memory)

    def save(self, path: Path) -> None:
        """Writes the record; a reader never sees half of it.

        Raises:
            OutOfDisk: the disk is full.
        """
        write_record(path, {"record_version": RECORD_VERSION, "fingerprints": self.fingerprints}, self.memory)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a record.

        Raises:
            InvalidRequest: the file is missing, damaged, or of another version.
        """
        with read_record(path, version=RECORD_VERSION, holds="gradients") as (header, memory):
            return cls(memory, dict(header["fingerprints"]))

    def take_over(self, earlier: Self) -> None:
        """Takes over the gradients that an interrupted run of the same question has taken.

        Raises:
            InvalidRequest: the earlier run asked something else; says what differs.
        """
        require_same_question(self.fingerprints, earlier.fingerprints, holds="gradients")
        self.memory.update(earlier.memory)
