"""Slow and literal: what the engine must equal."""

import numpy as np
import torch


def masked_input(present, absent, labels, coalition):
    """The whole network input of a coalition, voxel by voxel as the words say."""
    out = present.copy()
    for player in np.flatnonzero(~coalition):
        out[:, labels == player + 1] = absent[:, labels == player + 1]
    return out


def sliding_window(segmenter, network_input):
    """Fused logits (n_channels, k, j, i) of a whole input in float64, one tile after the other, nothing kept."""
    grid = segmenter.tile_grid(network_input.shape[1:])
    total = torch.zeros((segmenter.n_channels, *grid.image_shape), dtype=torch.float64)
    weight = torch.zeros(grid.image_shape, dtype=torch.float64)
    for tile in range(grid.n_tiles):
        where = grid.slices(tile)
        logits = segmenter.tile_logits(torch.from_numpy(network_input[:, *where][None]))[0]
        total[:, *where] += logits.double() * grid.weights.double()
        weight[where] += grid.weights.double()
    return total / weight


def tally_by_voxel(logits, reference, is_exclusive):
    """The eight sums of one class table by a loop over voxels: logits and reference (n_channels, n_voxels)."""
    n_channels, n_voxels = logits.shape
    sums = np.zeros((n_channels, 8))
    for x in range(n_voxels):
        z = logits[:, x].astype(np.float64)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum() if is_exclusive else 1 / (1 + np.exp(-z))
        for c in range(n_channels):
            s = c == int(np.argmax(z)) if is_exclusive else p[c] > 0.5
            y = bool(reference[c, x])
            sums[c] += [s and y, s and not y, y and not s, p[c], p[c] * y, p[c] ** 2, z[c], z[c] * y]
    return sums
