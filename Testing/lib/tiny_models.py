"""Model folders as their frameworks write them, with tiny networks of random weights."""

import json
from pathlib import Path

import numpy as np
import torch

LABELS = {"background": 0, "liver": 1, "spleen": 2}
REGIONS = {"background": 0, "whole kidney": [1, 2], "tumour": 2}


def write_nnunet_model(
    folder: Path,
    *,
    labels=LABELS,
    regions_class_order=None,
    spacing=(3.0, 3.0, 3.0),
    patch=(16, 16, 16),
    transpose=(0, 1, 2),
    normalisation="CTNormalization",
    use_mask=False,
    n_folds=1,
    mirror_axes=None,
    reader="SimpleITKIO",
    trainer="nnUNetTrainer",
    configuration="3d_fullres",
    extra_configuration=None,
    channel_names=None,
    seed=0,
) -> Path:
    """An nnU-Net v2 results folder with a PlainConvUNet of two stages for each fold."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    folder.mkdir(parents=True)
    dataset = {"channel_names": channel_names or {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    if regions_class_order:
        dataset["regions_class_order"] = regions_class_order
    plans = _plans(spacing, patch, transpose, normalisation, use_mask, reader, configuration, extra_configuration or {})
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(plans))
    architecture = plans["configurations"][configuration]["architecture"]
    n_channels = PlansManager(plans).get_label_manager(dataset).num_segmentation_heads
    for fold in range(n_folds):
        with torch.random.fork_rng():
            torch.manual_seed(seed + fold)
            network = get_network_from_plans(
                architecture["network_class_name"],
                architecture["arch_kwargs"],
                architecture["_kw_requires_import"],
                1,
                n_channels,
                deep_supervision=True,
            )
            spread_logits(network)
        (folder / f"fold_{fold}").mkdir()
        checkpoint = _checkpoint(network, plans, configuration, trainer, mirror_axes)
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def spread_logits(network: torch.nn.Module, *, scale=2.0) -> None:
    """Random weights everywhere, so that every class wins somewhere and by a margin."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=scale / np.sqrt(parameter[0].numel()))
        elif parameter.numel() > 1:
            parameter.data += 0.3 * torch.randn_like(parameter)


def _plans(spacing, patch, transpose, normalisation, use_mask, reader, configuration, extra_configuration) -> dict:
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    content = {
        "data_identifier": f"nnUNetPlans_{configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": list(patch),
        "spacing": list(spacing),
        "normalization_schemes": [normalisation],
        "use_mask_for_norm": [use_mask],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling | {"order": 3},
        "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": resampling | {"order": 1},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2,
                "features_per_stage": [4, 8],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * 2,
                "strides": [[1, 1, 1], [2, 2, 2]],
                "n_conv_per_stage": [1, 1],
                "n_conv_per_stage_decoder": [1],
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
        **extra_configuration,
    }
    return {
        "dataset_name": "Dataset901_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": list(patch),
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [int(axis) for axis in np.argsort(transpose)],
        "configurations": {configuration: content},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 20.0, "std": 180.0, "percentile_00_5": -900.0, "percentile_99_5": 800.0}
        },
    }


def _checkpoint(network, plans, configuration, trainer, mirror_axes) -> dict:
    """What nnU-Net's trainer saves, with the numpy scalars and optimizer state that real ones hold."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.99)
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(-0.1)], "epochs": [np.int64(3)]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 3,
        "init_args": {"plans": plans, "configuration": configuration, "fold": 0, "device": torch.device("cpu")},
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": mirror_axes,
    }


def bundle_config(
    *,
    roi_size=(16, 16, 16),
    overlap=0.25,
    mode="constant",
    intensity=None,
    axcodes="RAS",
    pixdim=(3.0, 3.0, 3.0),
    n_channels=3,
    activation="softmax",
    nearest_inverse=True,
    inferer=None,
) -> dict:
    """The configuration of a usual inference bundle, with the expressions that usual ones have around its parts."""
    spatial = [{"_target_": "Orientationd", "keys": "image", "axcodes": axcodes}] if axcodes else []
    spatial += [{"_target_": "Spacingd", "keys": "image", "pixdim": list(pixdim), "mode": "bilinear"}] if pixdim else []
    discrete = {"argmax": True} if activation == "softmax" else {"threshold": 0.5}
    inverse = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$list(sorted(glob.glob(@bundle_root + '/*.nii.gz')))",
        "network_def": {
            "_target_": "UNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": n_channels,
            "channels": [4, 8],
            "strides": [2],
            "norm": "instance",
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                *spatial,
                *(intensity if intensity is not None else [scale_intensity_range()]),
                {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(roi_size),
            "sw_batch_size": 2,
            "overlap": overlap,
            "mode": mode,
            **(inferer or {}),
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", activation: True},
                {**inverse, "nearest_interp": nearest_inverse, "to_tensor": True},
                {"_target_": "AsDiscreted", "keys": "pred", **discrete},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "network": "@network", "amp": True},
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        },
        "run": ["$@evaluator.run()"],
    }


def scale_intensity_range(*, a_min=-900, a_max=900, clip=True) -> dict:
    """The usual window of a CT bundle."""
    bounds = {"a_min": a_min, "a_max": a_max, "b_min": 0.0, "b_max": 1.0, "clip": clip}
    return {"_target_": "ScaleIntensityRanged", "keys": "image", **bounds}


def write_bundle(folder: Path, config: dict, *, as_yaml=False, names=None, n_inputs=1, nested=None, seed=0) -> Path:
    """A MONAI bundle with weights for the network that ``config`` describes."""
    from monai.bundle import ConfigParser

    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    n_channels = config["network_def"]["out_channels"]
    names = names or {str(c): name for c, name in enumerate(["background", "liver", "spleen", "aorta"][:n_channels])}
    metadata = {
        "version": "0.1.0",
        "name": "Tiny bundle",
        "network_data_format": {
            "inputs": {"image": {"type": "image", "num_channels": n_inputs}},
            "outputs": {"pred": {"type": "image", "num_channels": n_channels, "channel_def": names}},
        },
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    if as_yaml:
        import yaml

        (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    else:
        (folder / "configs" / "inference.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ConfigParser({"network_def": config["network_def"]}).get_parsed_content("network_def")
        spread_logits(network, scale=3.0)
    weights = network.state_dict()
    torch.save({nested: weights, "epoch": 3} if nested else weights, folder / "models" / "model.pt")
    return folder


class ForeignNorm(torch.nn.InstanceNorm3d):
    """A layer that is neither torch's nor nnU-Net's."""
