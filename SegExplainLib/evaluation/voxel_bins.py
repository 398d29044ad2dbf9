"""Voxels in groups of equal size: by rank of a map, or at random. As players of a game they make curves over voxels."""

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import GeometryMismatch, InvalidRequest, nearest_names
from SegExplainLib.evaluation.map_domain import require_domain

VOXEL_ORDERS = ("value", "absolute")
"""What makes a voxel important: what raises the number most, or what moves it most, up or down."""


def ranked_bins(voxel_map: NDArray, *, within: NDArray[np.bool_], by: str, n_bins: int, seed: int) -> NDArray[np.int32]:
    """int32 (k, j, i): 1 in the bin of the most important voxels, up to ``n_bins`` in that of the least; 0 outside.

    Bins are equal in size to one voxel. Voxels of equal importance stand in random order, so that where they lie in the
    array favours none: where a map has one value for each unit, a unit's voxels go scattered, unit after unit.

    Args:
        voxel_map: (k, j, i), finite in ``within``.
        within: bool (k, j, i).
        by: One of ``VOXEL_ORDERS``.
        n_bins: At least 2; fewer are made where there are fewer voxels.
        seed: Of ties.

    Raises:
        GeometryMismatch: map and domain differ in shape.
        InvalidRequest: the domain holds fewer than 2 voxels, a value is not finite, or there is no such order.
    """
    domain = require_domain(within, voxel_map.shape)
    if by not in VOXEL_ORDERS:
        raise InvalidRequest(f"There is no order of voxels named {by!r}.", nearest_names(by, VOXEL_ORDERS))
    values = np.asarray(voxel_map[domain], dtype=np.float64)
    if not np.isfinite(values).all():
        raise InvalidRequest(
            f"{np.count_nonzero(~np.isfinite(values))} voxels of the map are not finite.", "Explain again."
        )
    keys = np.abs(values) if by == "absolute" else values
    shuffled = np.random.default_rng(seed).permutation(len(keys))
    return _binned(shuffled[np.argsort(-keys[shuffled], kind="stable")], domain, n_bins=n_bins)


def random_bins(within: NDArray[np.bool_], *, n_bins: int, seed: int) -> NDArray[np.int32]:
    """int32 (k, j, i): each voxel in one of ``n_bins`` bins of equal size, at random; 0 outside.

    Args:
        within: bool (k, j, i).
        n_bins: At least 2; fewer are made where there are fewer voxels.
        seed: Of the draw.

    Raises:
        InvalidRequest: the domain holds fewer than 2 voxels, or there are fewer than 2 bins.
    """
    domain = require_domain(within, within.shape)
    order = np.random.default_rng(seed).permutation(int(domain.sum()))
    return _binned(order, domain, n_bins=n_bins)


def bin_sums(voxel_map: NDArray, bins: NDArray[np.int32]) -> NDArray[np.float64]:
    """float64 (n_bins,): the map (k, j, i) summed over each bin.

    Raises:
        GeometryMismatch: map and bins differ in shape.
    """
    if voxel_map.shape != bins.shape:
        raise GeometryMismatch(f"The map has shape {voxel_map.shape}, the bins {bins.shape}.")
    return np.bincount(bins.ravel(), weights=voxel_map.ravel())[1:].astype(np.float64)


def _binned(order: NDArray[np.int64], domain: NDArray[np.bool_], *, n_bins: int) -> NDArray[np.int32]:
    """Bins along an order of the domain's voxels."""
    n_voxels = len(order)
    if n_bins < 2 or n_voxels < 2:
        raise InvalidRequest(f"Voxels need two bins at least; found {n_bins} bins for {n_voxels} voxels.")
    n_bins = min(n_bins, n_voxels)
    bin_of = np.empty(n_voxels, dtype=np.int32)
    bin_of[order] = np.arange(n_voxels) * n_bins // n_voxels + 1
    bins = np.zeros(domain.shape, dtype=np.int32)
    bins[domain] = bin_of
    return bins
