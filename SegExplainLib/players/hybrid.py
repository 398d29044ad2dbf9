"""Units of one size that respect anatomy: organs cut into the cells of an FCC lattice."""

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.players.merging import centroids_ras, merged_fragments
from SegExplainLib.players.organs import numbered_organs
from SegExplainLib.players.partition import PlayerPartition, dense_ids, partition_from_ids
from SegExplainLib.players.supervoxels import cell_volume_ml, fcc_labels
from SegExplainLib.volume import VoxelGrid

FLOOR_SHARE = 0.25


def hybrid_players(
    organ_ids: NDArray[np.integer],
    names: dict[int, str],
    *,
    edge_mm: float,
    within: NDArray[np.bool_],
    body: NDArray[np.bool_],
    grid: VoxelGrid,
    floor_share: float = FLOOR_SHARE,
) -> PlayerPartition:
    """Whole organs and the rest of the body, each cut into FCC cells.

    A fragment is what one organ (or the rest of the body) has in one cell of ``supervoxels.fcc_labels``. One below
    ``floor_share`` of a whole cell joins a fragment of its own organ: that with the largest shared border, else the
    nearest (``merging.merged_fragments``). An organ below the floor is therefore one player, however small, and no
    player ever holds two organs. The players cover exactly what ``organs.organ_players`` covers.

    Players are in ascending order of organ id, the rest of the body last, and within an organ from superior to
    inferior: ``liver 1``, ``liver 2``, or ``liver`` when it is in one piece.

    Raises:
        InvalidRequest: no voxel is left, an organ id is negative or has no name, two organs have one name, or
            ``edge_mm`` is below the voxel spacing.

    References:
        Brioso et al. (2026), arXiv 2604.11775, for the idea of organ-aware supervoxels; the procedure is our
        reconstruction.
    """
    organs, organ_names = numbered_organs(organ_ids, names, within=within, body=body)
    cells = fcc_labels(grid, edge_mm=edge_mm)
    n_cells = int(cells.max()) + 1
    keys = np.where(organs > 0, organs.astype(np.int64) * n_cells + cells, 0)
    fragments = dense_ids(keys)
    group_of = np.concatenate([[0], np.unique(keys[keys > 0]) // n_cells])
    becomes = merged_fragments(fragments, group_of=group_of, grid=grid, floor_ml=floor_share * cell_volume_ml(edge_mm))
    fragments = becomes.astype(np.int32)[fragments]
    ranks, player_names = _ranked(fragments, group_of=group_of, organ_names=organ_names, grid=grid)
    return partition_from_ids(ranks[fragments], player_names, within=organs > 0, grid=grid, kind="hybrid")


def _ranked(
    fragments: NDArray[np.int32], *, group_of: NDArray[np.int64], organ_names: list[str], grid: VoxelGrid
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """(n + 1,) rank from 1 of each surviving fragment by organ and height, and the name of each rank."""
    n = len(group_of) - 1
    # Rounding keeps the last bit of a sum over voxels from deciding the order of two fragments at one height.
    right, front, up = np.round(centroids_ras(fragments, n, grid=grid), 3).T
    alive = np.flatnonzero(np.bincount(fragments.ravel(), minlength=n + 1)[1:]) + 1
    order = alive[np.lexsort((-right[alive], -front[alive], -up[alive], group_of[alive]))]
    ranks = np.zeros(n + 1, dtype=np.int32)
    ranks[order] = np.arange(1, len(order) + 1)
    player_names: dict[int, str] = {}
    pieces = np.bincount(group_of[order])
    seen = np.zeros_like(pieces)
    for rank, organ in enumerate(group_of[order].tolist(), start=1):
        seen[organ] += 1
        organ_name = organ_names[organ - 1]
        # "lesion" may be cut into pieces while another organ is called "lesion 2".
        numbered = f"{organ_name} {seen[organ]}"
        numbered = f"{organ_name} part {seen[organ]}" if numbered in organ_names else numbered
        player_names[rank] = organ_name if pieces[organ] == 1 else numbered
    return ranks, player_names
