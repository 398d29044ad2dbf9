"""A small torso with organs in known places, its units and made-up importances: what the report's tests draw and "
"read."""

from dataclasses import replace

import numpy as np

from SegExplainLib.attribution import Attribution
from SegExplainLib.contract import PATH_METHODS, ExplainRequest
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.report.findings import Findings
from SegExplainLib.volume import Volume, VoxelGrid

# Name -> centre in RAS and half axes in mm, HU. The liver is on the patient's right, the stomach in front.
TORSO_ORGANS = {
    "liver": ((60, 10, 20), (55, 60, 50), 110),
    "spleen": ((-85, -40, 25), (22, 32, 35), 120),
    "stomach": ((-45, 35, 15), (32, 26, 34), 30),
    "vertebrae_L1": ((0, -75, 0), (20, 18, 90), 320),
    "aorta": ((-12, -48, 0), (10, 10, 90), 160),
    "kidney_right": ((55, -65, -35), (22, 18, 32), 140),
}
TORSO_IDS = {name: number for number, name in enumerate([*TORSO_ORGANS, "rest_of_body"], start=1)}


def torso_grid(kind: str = "plain") -> VoxelGrid:
    """A grid over the torso: ``plain`` is RAS, ``flipped`` LPS head first to feet, ``oblique`` turned and permuted."""
    if kind == "oblique":
        a, b = np.deg2rad(14.0), np.deg2rad(-9.0)
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        permuted = np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]], dtype=float)
        shape_ijk, directions = (88, 56, 100), turn @ tilt @ permuted
        spacing = np.array([3.2, 4.0, 3.0])
    else:
        shape_ijk, spacing = (100, 80, 50), np.array([2.8, 2.8, 4.0])
        directions = np.diag([-1.0, -1.0, -1.0] if kind == "flipped" else [1.0, 1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape_ijk) - 1) / 2)
    return VoxelGrid(tuple(shape_ijk[::-1]), affine)


def torso_organ_ids(grid: VoxelGrid) -> np.ndarray:
    """int32 (k, j, i): the number of each voxel's organ, 0 in air."""
    ras = grid.ras_of(np.stack(np.indices(grid.shape_kji), axis=-1))
    ids = np.where(_is_in(ras, (0, 0, 0), (130, 100, 400)), TORSO_IDS["rest_of_body"], 0)
    for name, (centre, half_axes, _) in TORSO_ORGANS.items():
        ids[_is_in(ras, centre, half_axes)] = TORSO_IDS[name]
    return ids.astype(np.int32)


def torso_ct(grid: VoxelGrid, *, seed: int = 0) -> Volume:
    """The torso in HU with some noise."""
    hu_of = np.array([-1000, *(hu for _, _, hu in TORSO_ORGANS.values()), -20])
    noise = np.random.default_rng(seed).normal(0, 14, grid.shape_kji)
    return Volume((hu_of[torso_organ_ids(grid)] + noise).astype(np.int16), grid)


def block_mask(grid: VoxelGrid, lower_ras, upper_ras) -> np.ndarray:
    """bool (k, j, i): voxels whose centre lies in a box in RAS."""
    ras = grid.ras_of(np.stack(np.indices(grid.shape_kji), axis=-1))
    return ((ras >= np.array(lower_ras)) & (ras <= np.array(upper_ras))).all(axis=-1)


def organ_partition(spacing_mm: float = 5.0, *, names=None) -> PlayerPartition:
    """The torso's organs on a network's grid of its own, axes permuted against the CT's."""
    directions = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]], dtype=float) * spacing_mm
    shape_ijk = np.array([44, 56, 34])
    affine = np.eye(4)
    affine[:3, :3] = directions
    affine[:3, 3] = -directions @ ((shape_ijk - 1) / 2)
    grid = VoxelGrid(tuple(int(n) for n in shape_ijk[::-1]), affine)
    return PlayerPartition(torso_organ_ids(grid), grid, names or tuple(TORSO_IDS), "organs")


def bars_partition(names, *, n_voxels: int = 8) -> PlayerPartition:
    """As many units as names, blocks in a row, for what needs no anatomy."""
    labels = np.repeat(np.arange(1, len(names) + 1, dtype=np.int32), n_voxels).reshape(1, len(names), n_voxels)
    return PlayerPartition(labels, VoxelGrid(labels.shape, np.diag([5.0, 5.0, 5.0, 1.0])), tuple(names), "fcc")


def make_attribution(
    values, errors=0.0, *, partition=None, empty=0.0, full=None, quantity="soft-dice", unit="share", target="liver"
):
    """Importances made up for a test; they add up to full - empty unless ``full`` says otherwise."""
    values = np.asarray(values, dtype=np.float64)
    partition = partition or bars_partition([f"unit {n}" for n in range(1, len(values) + 1)])
    full = empty + float(values.sum()) if full is None else full
    errors = np.broadcast_to(np.asarray(errors, dtype=np.float64), values.shape).copy()
    return Attribution("kernel-shap", partition, values, errors, empty, full, quantity, unit, target)


def torso_attribution() -> Attribution:
    """Importances for the label of the liver: itself and its neighbours for it, the kidney against it, the rest "
    "unclear."""
    values = [0.563, 0.0031, 0.121, 0.0874, 0.0021, -0.0512, 0.146]
    errors = [0.0146, 0.0042, 0.0112, 0.0135, 0.0031, 0.0094, 0.0188]
    return make_attribution(values, errors, partition=organ_partition(), empty=0.0421)


def make_findings(**changes) -> Findings:
    """A run as the pipeline would tell of it."""
    request = {
        "ct": "cases/torso.nii.gz", "model": "models/abdomen", "target": "liver", "roi": "ijk:50,90,20,60,18,38",
        "budget": 512, "seed": 7,
    }  # fmt: skip
    request.update(changes.pop("request", {}))
    known = {
        "ct_name": "torso.nii.gz",
        "model_name": "abdomen, 3d_fullres",
        "stop_reason": "tolerance",
        "n_evaluations": 386,
        "relative_error": 0.0306,
        "device": "cpu",
        "counts": {"n_roi_tiles": 18, "n_network_evaluations": 4211, "reuse_share": 0.394, "cache_bytes": 312_000_000},
        "timings_s": {"load model": 2.1, "play the game": 184.2, "write results": 3.9},
        "versions": {"segexplain": "0.1.0", "torch": "2.6.0"},
        "command": "segexplain explain --ct cases/torso.nii.gz --target liver --seed 7",
    }
    return Findings(request=ExplainRequest(**request), **{**known, **changes})


def _is_in(ras, centre, half_axes):
    return (((ras - np.array(centre)) / np.array(half_axes)) ** 2).sum(axis=-1) <= 1


NON_NEGATIVE = ("saliency", "smoothgrad-squared", "vargrad", "seg-grad-cam")
SAMPLED = ("expected-gradients", "smoothgrad", "smoothgrad-squared", "vargrad")
ADDING_UP = ("integrated-gradients", "expected-gradients")
IN_UNIT = ("input-x-gradient", *ADDING_UP)
"""Gradient methods whose values are in the unit of the explained number."""


def gradient_attribution(method, values=(0.42, -0.07, 0.2, 0.013), errors=0.01, *, partition=None, voxel_map=None):
    """Values as ``method`` would give them: no sign where it has none, errors only where it samples."""
    values = np.abs(values) if method in NON_NEGATIVE else np.asarray(values, dtype=np.float64)
    if method not in SAMPLED:
        errors = np.nan if method in ("integrated-gradients", "xrai") else 0.0
    made = make_attribution(values, errors, partition=partition, empty=0.042)
    return replace(
        made,
        method=method,
        unit="share" if method in IN_UNIT else "relative",
        empty_value=made.empty_value if method in PATH_METHODS else np.nan,
        full_value=made.full_value if method in ADDING_UP else 0.961,
        voxel_map=np.zeros(made.partition.labels.shape, np.float32) if voxel_map is None else voxel_map,
    )


def gradient_findings(method, **changes) -> Findings:
    """A finished run of a gradient method."""
    is_streamed = method in SAMPLED
    known = {
        "stop_reason": "tolerance" if is_streamed or method in PATH_METHODS else "exact",
        "n_evaluations": 33 if is_streamed or method in PATH_METHODS else 1,
        "relative_error": {"xrai": np.nan}.get(method, 0.021 if is_streamed or method in PATH_METHODS else 0.0),
        "counts": {
            "n_roi_tiles": 18,
            "n_image_tiles": 40,
            "n_coalitions": 1,
            "n_network_tiles": 18,
            "reuse_share": 0.5,
        },
        "command": f"segexplain explain cases/torso.nii.gz --target liver --method {method}",
    }
    return make_findings(request={"method": method, **changes.pop("request", {})}, **{**known, **changes})
