"""Units of one size and no anatomy: the cells of a face-centred cubic (FCC) lattice."""

import math

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.players.merging import centroids_ras, merged_fragments
from SegExplainLib.players.partition import PlayerPartition, dense_ids, partition_from_ids, require_voxels
from SegExplainLib.volume import VoxelGrid

FLOOR_SHARE = 0.1


def cell_volume_ml(edge_mm: float) -> float:
    """Volume of an FCC cell whose lattice edge is ``edge_mm``: edge^3 / sqrt(2); 19.1 ml at 30 mm."""
    return edge_mm**3 / math.sqrt(2.0) / 1000.0


def fcc_labels(grid: VoxelGrid, *, edge_mm: float) -> NDArray[np.int32]:
    """int32 (k, j, i): the number of the nearest site of an FCC lattice, 1 to n without gaps.

    ``edge_mm`` is the distance between neighbouring sites, so a cell is a rhombic dodecahedron ``edge_mm`` wide between
    opposite faces and holds ``edge_mm**3 / sqrt(2)``: what one means by a supervoxel of about 30 mm. (The edge of
    crystallography's cubic cell is ``sqrt(2)`` times this.)

    Sites are ``a * (x, y, z)`` with integers of even sum and ``a = edge_mm / sqrt(2)``, in the patient's RAS mm. The
    cells are the same bodies in mm on every grid of the same patient coordinates: anisotropic, oblique, flipped,
    permuted or cropped. Numbers run from superior to inferior, then anterior to posterior, then right to left.

    Exact to a millionth of an edge and linear in the voxels: round to integers; where their sum is odd, move the
    coordinate with the largest rounding error to its other neighbour.

    Raises:
        InvalidRequest: ``edge_mm`` is not finite or below the largest voxel spacing.

    References:
        Conway, Sloane (1982), IEEE Trans. Inf. Theory 28(2), "Fast quantizing and decoding ... for lattice quantizers",
        section on D_n. That supervoxels are FCC cells is from Brioso et al. (2026), arXiv 2604.11775; edge, place and
        order are our reconstruction.
    """
    widest = float(grid.spacing_kji_mm.max())
    if not (math.isfinite(edge_mm) and edge_mm >= widest * (1 - 1e-6)):
        raise InvalidRequest(
            f"Supervoxels of {edge_mm:g} mm are smaller than the network's voxels of {widest:g} mm.",
            "Choose a larger --unit-mm; 20 to 40 mm is usual.",
        )
    a = edge_mm / math.sqrt(2.0)
    ends = np.array(np.meshgrid(*[(0, size - 1) for size in grid.shape_kji], indexing="ij")).reshape(3, -1).T
    corners = grid.ras_of(ends) / a
    # Codes count down from the superior anterior right corner, so that their order is the order of the numbers.
    top = np.ceil(corners.max(axis=0)).astype(np.int64) + 1
    sizes = top - np.floor(corners.min(axis=0)).astype(np.int64) + 2
    plane = np.stack(np.meshgrid(*[np.arange(size) for size in grid.shape_kji[1:]], indexing="ij"), axis=-1)
    codes = np.empty(grid.shape_kji, dtype=np.int64)
    for k in range(grid.shape_kji[0]):
        slab = np.concatenate([np.full((*plane.shape[:2], 1), k), plane], axis=-1)
        from_right, from_front, from_top = np.moveaxis(top - _nearest_d3(grid.ras_of(slab) / a), -1, 0)
        codes[k] = (from_top * sizes[1] + from_front) * sizes[0] + from_right
    is_used = np.zeros(int(np.prod(sizes)), dtype=bool)
    is_used[codes.ravel()] = True
    return np.cumsum(is_used, dtype=np.int32)[codes]


def _nearest_d3(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """(..., 3) the integer points of even sum that are nearest to ``points`` (..., 3)."""
    # Voxels just between two sites are common (those at x = y). Without the last bits, which differ with the order of
    # the axes in memory, they fall to the same site however the array is stored.
    points = np.round(points, 6)
    rounded = np.rint(points)
    error = points - rounded
    worst = np.abs(error).argmax(axis=-1)[..., None]
    other = np.take_along_axis(rounded, worst, -1) + np.where(np.take_along_axis(error, worst, -1) < 0, -1.0, 1.0)
    moved = rounded.copy()
    np.put_along_axis(moved, worst, other, -1)
    is_odd = rounded.sum(axis=-1, keepdims=True) % 2 != 0
    return np.where(is_odd, moved, rounded).astype(np.int64)


def fcc_players(
    grid: VoxelGrid,
    *,
    edge_mm: float,
    within: NDArray[np.bool_],
    body: NDArray[np.bool_],
    floor_share: float = FLOOR_SHARE,
) -> PlayerPartition:
    """FCC cells, cut to the body inside the receptive-field crop.

    The players cover exactly ``within & body``. Air around the body is context: to remove air from air does nothing,
    and any other removal would paint flesh into it. What a cut leaves of a cell below ``floor_share`` of a whole cell
    joins the cell with the largest shared border (``merging.merged_fragments``), so every player but a lone one has at
    least that volume. A cell that the skin cuts in two stays one player.

    Players run from superior to inferior and are named by their centroid in RAS mm, as Slicer shows it:
    ``cell R20 A35 S110``.

    Raises:
        InvalidRequest: no voxel is in both ``within`` and ``body``, or ``edge_mm`` is below the voxel spacing.
    """
    cover = within & body
    require_voxels(cover)
    cells = dense_ids(np.where(cover, fcc_labels(grid, edge_mm=edge_mm), 0))
    n = int(cells.max())
    becomes = merged_fragments(
        cells, group_of=np.zeros(n + 1, dtype=np.int64), grid=grid, floor_ml=floor_share * cell_volume_ml(edge_mm)
    )
    cells = becomes.astype(np.int32)[cells]
    centroids = centroids_ras(cells, n, grid=grid)
    names: dict[int, str] = {}
    taken: dict[str, int] = {}
    for cell in np.flatnonzero(becomes == np.arange(n + 1))[1:].tolist():
        name = f"cell {place_name(centroids[cell])}"
        taken[name] = taken.get(name, 0) + 1
        names[cell] = name if taken[name] == 1 else f"{name} ({taken[name]})"
    return partition_from_ids(cells, names, within=cover, grid=grid, kind="fcc")


def place_name(ras: NDArray[np.float64]) -> str:
    """A point (3,) RAS in mm as Slicer's readers say it: ``R20 A35 S110``, or ``L42 P3 I17`` on the other sides."""
    letters = ("RL", "AP", "SI")
    # Half a millimetre is common; the first rounding keeps the last bit of a sum from deciding about it.
    whole = [int(value) for value in np.rint(np.round(ras, 3))]
    return " ".join(f"{pair[value < 0]}{abs(value)}" for pair, value in zip(letters, whole, strict=True))
