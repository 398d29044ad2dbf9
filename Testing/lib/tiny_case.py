"""A question about a tiny CT and a random network, as files: what a benchmark's command line takes."""

import json
from pathlib import Path

import numpy as np
from builders import noise_ct, oblique_grid
from tiny_models import bundle_config, write_bundle

from SegExplainLib.organ_map import OrganMap, write_organ_map
from SegExplainLib.volume import Volume
from SegExplainLib.volume_io import write_nrrd


def write_tiny_case(folder: Path, *, block_edges: tuple[int, int]) -> Path:
    """Noise with a bright ball on one oblique tile; blocks of so many voxels along k and j as organs.

    Returns the folder: ``ct.nrrd``, ``organs.nrrd``, ``bundle`` and the request as ``request.json``.
    """
    grid = oblique_grid((16, 16, 16), spacing_ijk_mm=(3.0, 3.0, 3.0), flip=False)
    write_nrrd(noise_ct(grid=grid, seed=3), folder / "ct.nrrd")
    k, j, _ = np.indices(grid.shape_kji)
    rows = -(-16 // block_edges[0])
    blocks = (k // block_edges[0] + rows * (j // block_edges[1]) + 1).astype(np.int32)
    names = {n: f"block {n}" for n in range(1, int(blocks.max()) + 1)}
    write_organ_map(OrganMap(Volume(blocks, grid), names), folder / "organs.nrrd")
    config = bundle_config(pixdim=None, axcodes=None)
    config["network_def"]["act"] = "relu"
    write_bundle(folder / "bundle", config, seed=1)
    paths = {"ct": folder / "ct.nrrd", "model": folder / "bundle", "organs": folder / "organs.nrrd"}
    request = {"target": "liver", "roi": "ijk:4,12,4,12,4,12", "device": "cpu"}
    request |= {name: str(path) for name, path in paths.items()}
    (folder / "request.json").write_text(json.dumps(request))
    return folder
