"""The decisive test: cached logits equal an uncached full-volume sliding window, for every tiler, unit, removal."""

import numpy as np
import pytest
import torch
from builders import oblique_grid
from oracles import masked_input, sliding_window
from scipy import ndimage
from tiny_models import bundle_config, write_bundle, write_nnunet_model

from SegExplainLib.baselines import REMOVALS
from SegExplainLib.case import prepared_case
from SegExplainLib.contract import SINGLE_REMOVALS
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.tile_cache import MaskedTiles, TileCache
from SegExplainLib.players.hybrid import hybrid_players
from SegExplainLib.players.organs import organ_players
from SegExplainLib.players.supervoxels import fcc_players
from SegExplainLib.volume import Volume, resampled_nearest

TILERS = {
    "nnU-Net": lambda folder: write_nnunet_model(folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"),
    "nnU-Net with flips and folds": lambda folder: write_nnunet_model(
        folder / "nnUNetTrainer__nnUNetPlans__3d_fullres", n_folds=2, mirror_axes=(0, 2)
    ),
    "MONAI": lambda folder: write_bundle(folder / "bundle", bundle_config(mode="gaussian", overlap=0.5)),
}
ORGANS = {1: "liver", 2: "spleen", 3: "spine"}


@pytest.fixture(scope="module")
def a_body():
    """An oblique, flipped CT of a smooth body in air, with three organs."""
    grid = oblique_grid((24, 30, 34), spacing_ijk_mm=(3.0, 3.0, 3.0))
    centre = (np.array(grid.shape_kji) - 1) / 2
    radius = np.linalg.norm((np.indices(grid.shape_kji).T - centre) / (centre * 0.95), axis=-1).T
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=grid.shape_kji), 1.0)
    hu = np.where(radius < 1, 40 + 300 * texture, -1000).astype(np.float32)
    j = np.indices(grid.shape_kji)[1]
    organs = np.where(radius < 0.7, 1 + (j > 12) + (j > 18), 0).astype(np.int32)
    return Volume(hu, grid), Volume(organs, grid)


@pytest.fixture(scope="module", params=TILERS, ids=list(TILERS))
def a_case(request, a_body, tmp_path_factory):
    model = TILERS[request.param](tmp_path_factory.mktemp("model"))
    segmenter = load_segmenter(model, device=torch.device("cpu"), trust=False)
    ct, organs = a_body
    roi = np.zeros(ct.array.shape, dtype=bool)
    roi[4:10, 6:13, 8:15] = True
    case = prepared_case(ct, roi, segmenter)
    return segmenter, case, resampled_nearest(organs, case.network_input.grid)


def players(kind, case, organ_ids):
    grid, common = case.network_input.grid, {"within": case.reach, "body": case.body}
    if kind == "organs":
        return organ_players(organ_ids, ORGANS, grid=grid, **common)
    if kind == "fcc":
        return fcc_players(grid, edge_mm=25.0, **common)
    return hybrid_players(organ_ids, ORGANS, edge_mm=35.0, grid=grid, **common)


@pytest.mark.parametrize("removal", [name for name in SINGLE_REMOVALS if name in REMOVALS])
@pytest.mark.parametrize("kind", ["organs", "fcc", "hybrid"])
def test_cached_logits_equal_the_uncached_full_volume(a_case, kind, removal):
    segmenter, case, organ_ids = a_case
    partition = players(kind, case, organ_ids)
    present = case.network_input.array
    (fill,) = REMOVALS[removal]
    absent = fill(
        present,
        partition,
        body=case.body,
        air=segmenter.input_value(-1024.0, case.network_input),
        mean=segmenter.mean_value(case.network_input),
    )
    tiles = MaskedTiles(present, absent, partition.labels, case.region, device=segmenter.device)
    cache = TileCache(segmenter, case.region, tiles)
    coalitions = np.random.default_rng(1).random((3, partition.n_players)) < 0.6
    n_run = 0
    for rows, logits in cache.fused(coalitions):
        n_run = cache.counts.n_network_tiles
        for row, one in zip(rows, logits, strict=True):
            whole = masked_input(present, absent, partition.labels, coalitions[row])
            expected = sliding_window(segmenter, whole)[:, case.roi].numpy()
            np.testing.assert_allclose(one[:, case.region.mask].numpy(), expected, atol=1e-4, rtol=0)
    assert 0 < n_run <= (len(coalitions) + 1) * case.region.n_tiles


def test_the_unperturbed_logits_are_the_networks_own_prediction(a_case):
    segmenter, case, organ_ids = a_case
    partition = players("organs", case, organ_ids)
    present = case.network_input.array
    tiles = MaskedTiles(present, np.zeros_like(present), partition.labels, case.region, device=segmenter.device)
    full = TileCache(segmenter, case.region, tiles).full_logits[:, case.region.mask]
    expected = sliding_window(segmenter, present)[:, case.roi]
    np.testing.assert_allclose(full.numpy(), expected.numpy(), atol=1e-4, rtol=0)
