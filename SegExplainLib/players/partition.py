"""Players as disjoint sets of voxels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.volume import VoxelGrid


@dataclass(frozen=True, eq=False)
class PlayerPartition:
    """Disjoint sets of voxels of the network's input: the players of the game.

    Attributes:
        labels: int32 (k, j, i); 0 is context, which is never removed; player p has label p + 1.
        grid: Places ``labels`` in the patient.
        names: One for each player, unique.
        kind: One of ``contract.UNIT_KINDS``.
    """

    labels: NDArray[np.int32]
    grid: VoxelGrid
    names: tuple[str, ...]
    kind: str

    def __post_init__(self) -> None:
        if self.labels.dtype != np.int32 or self.labels.shape != self.grid.shape_kji:
            raise InvalidRequest("A partition needs int32 labels on its grid.")
        if self.n_players == 0:
            raise InvalidRequest(
                "No unit lies in the part of the CT that can influence the ROI.",
                "Check that the organ map covers the ROI, or use --units fcc.",
            )
        if len(set(self.names)) != self.n_players:
            raise InvalidRequest("Two units have the same name.")
        counts = np.bincount(self.labels.ravel(), minlength=self.n_players + 1)
        if len(counts) != self.n_players + 1 or not (counts[1:] > 0).all():
            raise InvalidRequest(f"Labels must run from 1 to {self.n_players} without gaps.")

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.names)

    @cached_property
    def volumes_ml(self) -> NDArray[np.float64]:
        """(n_players,) volume of each player."""
        counts = np.bincount(self.labels.ravel(), minlength=self.n_players + 1)[1:]
        return counts.astype(np.float64) * self.grid.voxel_volume_ml

    def painted(self, values: NDArray) -> NDArray[np.float32]:
        """float32 (k, j, i): each voxel gets the value (n_players,) of its player; context gets 0."""
        return np.concatenate([[0.0], np.asarray(values)]).astype(np.float32)[self.labels]

    def pooled(self, voxel_map: NDArray) -> NDArray[np.float64]:
        """(n_players,) sum over each player's voxels of a map (k, j, i)."""
        weights = voxel_map.ravel()
        return np.bincount(self.labels.ravel(), weights=weights, minlength=self.n_players + 1)[1:].astype(np.float64)

    def averaged(self, voxel_map: NDArray) -> NDArray[np.float64]:
        """(n_players,) mean over each player's voxels of a map (k, j, i)."""
        return self.pooled(voxel_map) / (self.volumes_ml / self.grid.voxel_volume_ml)


def partition_from_ids(
    ids: NDArray, names: dict[int, str], *, within: NDArray[np.bool_], grid: VoxelGrid, kind: str
) -> PlayerPartition:
    """A partition of the voxels in ``within`` by any non-negative integer ``ids`` (k, j, i); id 0 stays context.

    Ids that keep no voxel inside ``within`` are dropped. Players are in ascending order of id.
    """
    ids = np.where(within, ids, 0)
    present = np.unique(ids)
    kept = present[present > 0]
    return PlayerPartition(dense_ids(ids), grid, tuple(names[int(value)] for value in kept), kind)


def dense_ids(ids: NDArray) -> NDArray[np.int32]:
    """int32 (k, j, i): non-negative ``ids`` renumbered 1 to n in ascending order; 0 stays 0."""
    present = np.unique(ids)
    present = present[present > 0]
    if len(present) and int(present[-1]) < 1 << 24:
        renumbered = np.zeros(int(present[-1]) + 1, dtype=np.int32)
        renumbered[present] = np.arange(1, len(present) + 1, dtype=np.int32)
        return renumbered[ids]
    return np.where(ids > 0, np.searchsorted(present, ids) + 1, 0).astype(np.int32)


def require_voxels(cover: NDArray[np.bool_]) -> None:
    """Nothing, if units can be made from the voxels of ``cover``.

    Raises:
        InvalidRequest: ``cover`` is empty.
    """
    if not cover.any():
        raise InvalidRequest(
            "No voxel of the body lies in the part of the CT that can influence the ROI.",
            "Move the ROI into the body, or check that the CT is in Hounsfield units.",
        )
