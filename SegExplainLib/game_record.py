"""A game as far as it has been played, in one file: all that another question or a second start needs, no network."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest, nearest_names
from SegExplainLib.game import TallyTable
from SegExplainLib.players.closeness import closeness
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.record_file import read_record, require_same_question, write_record
from SegExplainLib.volume import VoxelGrid

RECORD_NAME = "coalitions.npz"
RECORD_VERSION = 1


@dataclass(frozen=True, eq=False)
class GameRecord:
    """Who played, what is known, and what was the reference.

    Attributes:
        table: Evaluated coalitions with their tallies.
        partition: The players, on the network's grid.
        roi: bool (k, j, i) on the network's grid.
        roi_native: bool (k, j, i) on the CT's grid.
        class_names: Name -> channel of each class that can be explained.
        own_prediction: bool (n_channels, n_voxels) over the ROI's voxels in C order, of the unperturbed CT.
        reference: Same shape, the y that the tallies were made with.
        reference_class: Class whose reference is a given mask; empty when every class is measured against its own
            unperturbed prediction.
        fingerprints: Part of the game -> sha256: two games with equal fingerprints give equal tallies.
    """

    table: TallyTable
    partition: PlayerPartition
    roi: NDArray[np.bool_]
    roi_native: NDArray[np.bool_]
    class_names: dict[str, int]
    own_prediction: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    reference_class: str
    fingerprints: dict[str, str]

    def channel_of(self, class_name: str) -> int:
        """Channel of a class.

        Raises:
            InvalidRequest: there is no such class; near names are offered.
        """
        if class_name not in self.class_names:
            raise InvalidRequest(
                f"The results hold no class {class_name!r}.", nearest_names(class_name, self.class_names)
            )
        return self.class_names[class_name]

    @cached_property
    def closeness(self) -> NDArray[np.float64]:
        """(n_players,) in [0, 1], how close each player is to the region: `players.closeness`."""
        return closeness(self.partition.labels, self.roi, self.partition.grid, n_players=self.table.n_players)

    def full_tallies(self) -> NDArray[np.float64]:
        """float64 (n_channels, 8): tallies with every player present.

        Raises:
            InvalidRequest: the full coalition has not been evaluated.
        """
        everyone = np.ones((1, self.table.n_players), dtype=bool)
        return self.table.tallies_of(everyone)[0]

    def painted_on_roi(self, voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """bool (k, j, i) on the network's grid from one channel's values (n_voxels,) over the ROI."""
        out = np.zeros(self.roi.shape, dtype=bool)
        out[self.roi] = voxels
        return out

    def save(self, path: Path) -> None:
        """Writes the record; a reader never sees half of it."""
        header = {
            "record_version": RECORD_VERSION,
            "n_players": self.table.n_players,
            "names": list(self.partition.names),
            "kind": self.partition.kind,
            "class_names": self.class_names,
            "reference_class": self.reference_class,
            "fingerprints": self.fingerprints,
        }
        parts = {
            "coalitions": self.table.coalitions,
            "tallies": self.table.tallies,
            "labels": self.partition.labels,
            "ijk_to_ras": self.partition.grid.ijk_to_ras,
            "roi": self.roi,
            "roi_native": self.roi_native,
            "own_prediction": self.own_prediction,
            "reference": self.reference,
        }
        write_record(path, header, parts)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a record.

        Raises:
            InvalidRequest: the file is missing, damaged, or of another version.
        """
        with read_record(path, version=RECORD_VERSION, holds="coalitions") as (header, part):
            table = TallyTable(header["n_players"], part["tallies"].shape[1])
            table.append(part["coalitions"], part["tallies"])
            grid = VoxelGrid(part["labels"].shape, part["ijk_to_ras"])
            partition = PlayerPartition(part["labels"], grid, tuple(header["names"]), header["kind"])
            return cls(
                table,
                partition,
                part["roi"],
                part["roi_native"],
                header["class_names"],
                part["own_prediction"],
                part["reference"],
                header["reference_class"],
                header["fingerprints"],
            )

    def take_over(self, earlier: Self) -> None:
        """Takes over the coalitions that an interrupted run of the same game has evaluated.

        Raises:
            InvalidRequest: the earlier run asked something else; says what differs.
        """
        require_same_question(self.fingerprints, earlier.fingerprints, holds="coalitions")
        self.table.append(earlier.table.coalitions, earlier.table.tallies)
