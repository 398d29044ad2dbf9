"""The answer: how much each unit, and each voxel, speaks for or against the label. No plotting, no files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.volume import Volume, VoxelGrid, resampled_nearest


@dataclass(frozen=True, eq=False)
class Attribution:
    """Importances of players for one explained number.

    Attributes:
        method: Estimator or gradient method that made it.
        partition: The players, on the network's grid.
        player_values: float64 (n_players,), in ``unit``; positive speaks for a larger explained number.
        standard_errors: float64 (n_players,), 0 where exact, nan where the method gives none.
        empty_value: The explained number with every player absent.
        full_value: The explained number of the CT as it is.
        quantity: Name of the explained number, as in ``contract.VALUES``.
        unit: Of the values: "voxels", "ml", "share", "logit".
        target: Name of the class.
    """

    method: str
    partition: PlayerPartition
    player_values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    empty_value: float
    full_value: float
    quantity: str
    unit: str
    target: str

    @property
    def ranking(self) -> NDArray[np.int64]:
        """(n_players,) player numbers from the largest absolute value down; ties keep the order of players."""
        return np.argsort(-np.abs(self.player_values), kind="stable")

    @property
    def values_per_ml(self) -> NDArray[np.float64]:
        """(n_players,) value per millilitre of the player."""
        return self.player_values / self.partition.volumes_ml


def native_labels_of(partition: PlayerPartition, native_grid: VoxelGrid) -> NDArray[np.int32]:
    """int32 (k, j, i) player labels on the CT's own grid, by nearest neighbour; 0 outside the network's input."""
    return resampled_nearest(Volume(partition.labels, partition.grid), native_grid)


def painted_natively(attribution: Attribution, native_grid: VoxelGrid) -> NDArray[np.float32]:
    """float32 (k, j, i) on the CT's own grid: each voxel gets the value of its player; 0 elsewhere."""
    labels = native_labels_of(attribution.partition, native_grid)
    return np.concatenate([[0.0], attribution.player_values]).astype(np.float32)[labels]
