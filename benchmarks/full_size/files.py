"""The files of one question, written to a folder: a synthetic torso, its organs, and an nnU-Net of random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.full_size.sizes import Size
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.organ_map import OrganMap, write_organ_map
from SegExplainLib.phantom import DEMO_SEED, make_torso
from SegExplainLib.volume import Volume, VoxelGrid
from SegExplainLib.volume_io import write_nrrd

CONFIGURATION = "3d_fullres"
HEAD_SCALE = 3.0
"""The last layer's weights times this: classes then win by a margin, as a trained network's do."""


def question_files(
    folder: Path, size: Size, *, n_classes: int, volume_scale: float, seed: int, device: str
) -> ExplainRequest:
    """Writes CT, organs and model to ``folder``; the request explains the first class, and stands for any."""
    write_ct(folder, size, volume_scale=volume_scale)
    write_model(folder / "model", size, n_classes=n_classes, seed=seed)
    return ExplainRequest(
        ct=str(folder / "ct.nrrd"),
        organs=str(folder / "organs.nrrd"),
        model=str(folder / "model"),
        target=class_name(1),
        roi=size.roi,
        units="hybrid",
        unit_mm=size.unit_mm,
        seed=seed,
        device=device,
    )


def class_name(label: int) -> str:
    return f"class {label}" if label else "background"


def write_ct(folder: Path, size: Size, *, volume_scale: float) -> None:
    """``ct.nrrd`` and ``organs.nrrd``: the demo's torso, cut at the head or mirrored there to the height that is asked.

    Every axis has a multiple of 3 voxels, so that the network's grid has 4 for every 3 of them, exactly.
    """
    torso = make_torso(DEMO_SEED, spacing_mm=size.ct_mm)
    n_slices = 3 * round(size.on_ct(size.height) * volume_scale / 3)
    grid = torso.ct.grid
    shape = (n_slices, grid.shape_kji[1] // 3 * 3, grid.shape_kji[2] // 3 * 3)

    def fitted(array: np.ndarray) -> np.ndarray:
        longer = np.pad(array, [(0, max(0, n_slices - len(array))), (0, 0), (0, 0)], mode="symmetric")
        return np.ascontiguousarray(longer[tuple(map(slice, shape))])

    grid = VoxelGrid(shape, grid.ijk_to_ras)
    names = {label: name for label, name in torso.label_names.items() if label}
    write_nrrd(Volume(fitted(torso.ct.array), grid), folder / "ct.nrrd")
    labels = Volume(fitted(torso.labels.array).astype(np.int32), grid)
    write_organ_map(OrganMap(labels, names), folder / "organs.nrrd")


def write_model(folder: Path, size: Size, *, n_classes: int, seed: int) -> None:
    """An nnU-Net v2 results folder with nnU-Net's own initial weights, without test-time flips.

    ``n_classes`` counts the background.
    """
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    plans = _plans(size)
    architecture = plans["configurations"][CONFIGURATION]["architecture"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            1,
            n_classes,
            deep_supervision=True,
        )
    with torch.no_grad():
        network.decoder.seg_layers[-1].weight *= HEAD_SCALE
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {class_name(label): label for label in range(n_classes)},
        "file_ending": ".nrrd",
    }
    (folder / "fold_0").mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(plans))
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def _plans(size: Size) -> dict[str, Any]:
    """As nnU-Net's planner writes them for a CT of that spacing."""
    n_stages = len(size.features)
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": f"nnUNetPlans_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [size.tile] * 3,
        "median_image_size_in_voxels": [size.tile] * 3,
        "spacing": [size.network_mm] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling | {"order": 3},
        "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": resampling | {"order": 1},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": n_stages,
                "features_per_stage": list(size.features),
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * n_stages,
                "strides": [[1, 1, 1]] + [[2, 2, 2]] * (n_stages - 1),
                "n_conv_per_stage": [2] * n_stages,
                "n_conv_per_stage_decoder": [2] * (n_stages - 1),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    intensities = {"mean": 20.0, "std": 180.0, "percentile_00_5": -900.0, "percentile_99_5": 800.0}
    return {
        "dataset_name": "Dataset902_RandomWeights",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [size.network_mm] * 3,
        "original_median_shape_after_transp": [size.tile] * 3,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }
