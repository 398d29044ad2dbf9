"""The answer: how much each unit, and each voxel, speaks for or against the label. No plotting, no files."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.volume import Volume, VoxelGrid, resampled_linear, resampled_nearest


class Estimate(Protocol):
    """What any method says of how far it came."""

    @property
    def stop_reason(self) -> str | None:
        """Why it ended, "exact", "tolerance", "ranking" or "budget"; None while the work goes on."""

    @property
    def n_evaluations(self) -> int:
        """Coalitions evaluated, or gradients taken."""

    @property
    def relative_error(self) -> float:
        """Largest standard error over the range of the values; nan where the method gives none."""

    @property
    def degrees_of_freedom(self) -> float:
        """Behind the standard errors; 0 where there are none."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Importances of players for one explained number.

    Attributes:
        method: Estimator or gradient method that made it.
        partition: The players, on the network's grid.
        player_values: float64 (n_players,), in ``unit``; positive speaks for a larger explained number.
        standard_errors: float64 (n_players,), 0 where exact, nan where the method gives none.
        empty_value: The explained number with every player absent; nan for methods that remove nothing.
        full_value: The explained number of the CT as it is.
        quantity: Name of the explained number, as in ``contract.VALUES``.
        unit: Of the values: "voxels", "ml", "share", "logit", or "relative" where only their ratios mean something.
        target: Name of the class.
        voxel_map: float32 (k, j, i) on the network's grid, for methods that tell voxels apart; None where every voxel
            has the value of its player.
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
    voxel_map: NDArray[np.float32] | None = None

    @property
    def adds_up(self) -> bool:
        """Whether the values are shares of a difference: that between the CT and all players absent."""
        return math.isfinite(self.empty_value)

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
    """float32 (k, j, i) on the CT's own grid: the voxel map, or each voxel with the value of its player; 0 elsewhere.

    A voxel map is brought there by linear interpolation: it keeps the values of the network's voxels, not their sum.
    """
    if attribution.voxel_map is not None:
        return resampled_linear(Volume(attribution.voxel_map, attribution.partition.grid), native_grid)
    labels = native_labels_of(attribution.partition, native_grid)
    return np.concatenate([[0.0], attribution.player_values]).astype(np.float32)[labels]
