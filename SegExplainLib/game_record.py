"""A game as far as it has been played, in one file: all that another question or a second start needs, no network."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.atomic import atomic_path
from SegExplainLib.contract import InvalidRequest, nearest_names
from SegExplainLib.game import TallyTable
from SegExplainLib.players.partition import PlayerPartition
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
            "header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
            "coalitions": self.table.coalitions,
            "tallies": self.table.tallies,
            "labels": self.partition.labels,
            "ijk_to_ras": self.partition.grid.ijk_to_ras,
            "roi": self.roi,
            "roi_native": self.roi_native,
            "own_prediction": self.own_prediction,
            "reference": self.reference,
        }
        # As numpy.savez_compressed, but at the fastest level: who cancels a run waits for this.
        with (
            atomic_path(path) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        ):
            for name, part in parts.items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, part, allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a record.

        Raises:
            InvalidRequest: the file is missing, damaged, or of another version.
        """
        hint = "Run the explanation again."
        try:
            with np.load(path, allow_pickle=False) as file:
                part = {name: file[name] for name in file.files}
            header = json.loads(part["header"].tobytes())
            if header["record_version"] != RECORD_VERSION:
                raise InvalidRequest(
                    f"{path} is of record version {header['record_version']}, not {RECORD_VERSION}.", hint
                )
            table = TallyTable(header["n_players"], part["tallies"].shape[1])
            table.append(part["coalitions"], part["tallies"])
            grid = VoxelGrid(part["labels"].shape, part["ijk_to_ras"])
            partition = PlayerPartition(part["labels"], grid, tuple(header["names"]), header["kind"])
        except FileNotFoundError as error:
            raise InvalidRequest(f"There are no stored coalitions at {path}.", hint) from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InvalidRequest(f"{path} cannot be read ({error}).", hint) from error
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
        differing = [part for part, digest in self.fingerprints.items() if earlier.fingerprints.get(part) != digest]
        if differing:
            raise InvalidRequest(
                f"The stored coalitions belong to another question: {', '.join(differing)} differ(s).",
                "Give the same options as before, or another --out folder.",
            )
        self.table.append(earlier.table.coalitions, earlier.table.tallies)


def fingerprints_of(parts: Mapping[str, NDArray | str]) -> dict[str, str]:
    """sha256 of each part's bytes (and of an array's shape)."""
    digests = {}
    for name, part in parts.items():
        digest = hashlib.sha256()
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            digest.update(repr((part.shape, part.dtype.str)).encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        digests[name] = digest.hexdigest()
    return digests
