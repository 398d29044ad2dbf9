"""Fragments too small to be units of their own join a neighbour of the same kind."""

import heapq

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.volume import VoxelGrid


def merged_fragments(
    fragments: NDArray[np.int32], *, group_of: NDArray[np.int64], grid: VoxelGrid, floor_ml: float
) -> NDArray[np.int64]:
    """Which fragment each fragment becomes part of, so that none stays below a volume floor.

    The smallest fragment below the floor joins the fragment of its own group with which it shares the largest border
    in mm^2 (equal borders: the one with the lower number); with no neighbour in its group, the one of its group whose
    centroid is nearest. This repeats until every fragment reaches the floor or is alone in its group.

    The outcome depends on the physical fragments and on their numbers, not on how the array is stored: it is the same
    for a flipped or permuted array on the matching grid.

    Args:
        fragments: int32 (k, j, i), 0 for none, else 1 to n without gaps.
        group_of: (n + 1,) group of each fragment; entry 0 is not used. Groups never mix.
        grid: Gives volumes, border areas and distances.
        floor_ml: Smallest volume that a fragment may keep while its group has another.

    Returns:
        int64 (n + 1,): entry f is the surviving fragment that f is part of (itself when it survives); entry 0 is 0.
    """
    n = len(group_of) - 1
    volumes = np.bincount(fragments.ravel(), minlength=n + 1).tolist()
    centroids = centroids_ras(fragments, n, grid=grid)
    borders = _borders_mm2(fragments, group_of, grid)
    members: dict[int, set[int]] = {}
    for fragment in range(1, n + 1):
        members.setdefault(int(group_of[fragment]), set()).add(fragment)
    floor_voxels = floor_ml / grid.voxel_volume_ml
    becomes = np.arange(n + 1)
    queue = [(volumes[f], f) for f in range(1, n + 1) if volumes[f] < floor_voxels]
    heapq.heapify(queue)
    while queue:
        volume, small = heapq.heappop(queue)
        group = members[int(group_of[small])]
        # A fragment that has grown or gone since it was queued leaves its old entry behind.
        if small not in group or volume != volumes[small] or len(group) == 1:
            continue
        host = _host_of(small, group, borders, centroids)
        becomes[small] = host
        group.remove(small)
        total = volumes[host] + volume
        centroids[host] += (centroids[small] - centroids[host]) * (volume / total)
        volumes[host] = total
        _move_borders(borders, small, host)
        if total < floor_voxels:
            heapq.heappush(queue, (total, host))
    while not np.array_equal(becomes, becomes[becomes]):
        becomes = becomes[becomes]
    return becomes


def centroids_ras(fragments: NDArray[np.int32], n: int, *, grid: VoxelGrid) -> NDArray[np.float64]:
    """(n + 1, 3) RAS in mm of the centroids of fragments 1 to n of an array (k, j, i); row 0 is 0."""
    k, j, i = np.nonzero(fragments)
    numbers = fragments[k, j, i]
    counts = np.maximum(np.bincount(numbers, minlength=n + 1), 1)
    means = [np.bincount(numbers, weights=axis, minlength=n + 1) / counts for axis in (k, j, i)]
    centroids = grid.ras_of(np.stack(means, axis=-1))
    centroids[0] = 0
    return centroids


def face_areas_mm2(grid: VoxelGrid) -> NDArray[np.float64]:
    """(3,) area of the face that two voxels share when they are neighbours along k, j, i."""
    edge_i, edge_j, edge_k = grid.ijk_to_ras[:3, :3].T
    pairs = ((edge_i, edge_j), (edge_i, edge_k), (edge_j, edge_k))
    return np.array([np.linalg.norm(np.cross(first, second)) for first, second in pairs])


def _borders_mm2(fragments: NDArray, group_of: NDArray, grid: VoxelGrid) -> list[dict[int, float]]:
    """For each fragment, its neighbours in the same group and the shared area."""
    n = len(group_of)
    borders: list[dict[int, float]] = [{} for _ in range(n)]
    for axis, area in enumerate(face_areas_mm2(grid)):
        low = np.moveaxis(fragments, axis, 0)[:-1]
        high = np.moveaxis(fragments, axis, 0)[1:]
        is_border = (low != high) & (low > 0) & (high > 0)
        first, second = low[is_border], high[is_border]
        same = group_of[first] == group_of[second]
        packed = np.minimum(first, second)[same].astype(np.int64) * n + np.maximum(first, second)[same]
        for pair, count in zip(*np.unique(packed, return_counts=True), strict=True):
            one, other = divmod(int(pair), n)
            borders[one][other] = borders[other][one] = borders[one].get(other, 0.0) + area * float(count)
    return borders


def _host_of(small: int, group: set[int], borders: list[dict[int, float]], centroids: NDArray) -> int:
    """The fragment that takes ``small`` in."""
    # Rounding keeps the order in which areas were summed from deciding between equal borders.
    if borders[small]:
        return min(borders[small], key=lambda other: (-round(borders[small][other], 3), other))
    return min(
        group - {small}, key=lambda other: (round(float(np.linalg.norm(centroids[other] - centroids[small])), 3), other)
    )


def _move_borders(borders: list[dict[int, float]], small: int, host: int) -> None:
    """The borders of ``small`` become those of ``host``."""
    for other, area in borders[small].items():
        del borders[other][small]
        if other != host:
            borders[host][other] = borders[other][host] = borders[host].get(other, 0.0) + area
    borders[small] = {}
