"""XRAI's ranking as published, slow and literal: one mask for each segment, every mean taken anew in every round.

What no region covers is ours: its voxels have the mean over those of them that share the first mask that holds them.
"""

import numpy as np


def masks_of(label_volumes) -> list[np.ndarray]:
    """One bool mask for each label above 0, volume after volume."""
    return [volume == label for volume in label_volumes for label in np.unique(volume[volume > 0])]


def literal_ranking(attribution, masks, *, least_voxels, is_fast=False):
    """(heat, order): of each voxel the mean of the region that covered it, and the region's number by falling mean."""
    attribution = attribution.astype(np.float64)
    everywhere = np.any(masks, axis=0)
    covered = np.zeros_like(everywhere)
    found = (_fast if is_fast else _full)(attribution, masks, covered, least_voxels)
    heat, order = np.zeros(attribution.shape), np.zeros(attribution.shape, dtype=int)
    for number, (region, gain) in enumerate(sorted(found, key=lambda pair: -pair[1]), start=1):
        heat[region], order[region] = gain, number
    left = everywhere & ~covered
    order[left] = len(found) + 1
    for mask in masks:
        if (mask & left).any():
            heat[mask & left] = attribution[mask & left].mean()
        left &= ~mask
    return heat, order


def _full(attribution, masks, covered, least_voxels):
    remaining, found = list(masks), []
    while True:
        remaining = [mask for mask in remaining if (mask & ~covered).sum() >= least_voxels]
        if not remaining:
            return found
        gains = [attribution[mask & ~covered].mean() for mask in remaining]
        best = remaining.pop(int(np.argmax(gains)))  # the first of equal ones
        found.append((best & ~covered, max(gains)))
        covered |= best


def _fast(attribution, masks, covered, least_voxels):
    found = []
    for mask in sorted(masks, key=lambda mask: -attribution[mask].mean()):
        new = mask & ~covered
        if new.sum() >= least_voxels:
            found.append((new, attribution[new].mean()))
            covered |= mask
    return found
