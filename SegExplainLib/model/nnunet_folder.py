"""From an nnU-Net v2 results folder to its plans and its networks, by nnunetv2's own public parts."""

import copy
import importlib.util
import inspect
import json
import pydoc
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from SegExplainLib.contract import MissingPackages, UnusableModel
from SegExplainLib.model.checkpoint import opened_checkpoint, with_weights

CHECKPOINT = "checkpoint_final.pth"
# Trainers that change the schedule, the loss, the augmentation or the mirroring, but not the network. Some are
# TotalSegmentator's, which nnunetv2 does not ship.
KEEPS_ARCHITECTURE = re.compile(
    r"nnUNetTrainer(_\d+epochs?|_?NoMirroring|_?onlyMirror01|_DASegOrd0|_MOSAIC_1k_QuarterLR|DiceTopK10Loss"
    r"|SkeletonRecall)*"
)
TRUSTED_PACKAGES = ("dynamic_network_architectures.", "torch.nn.")


@dataclass(frozen=True, eq=False)
class NnUNetParts:
    """What nnU-Net's own predictor would load.

    Attributes:
        plans: nnunetv2's PlansManager.
        configuration: nnunetv2's ConfigurationManager.
        labels: nnunetv2's LabelManager.
        dataset_json: As read.
        networks: One for each fold, on the device, in eval mode, without deep supervision.
        mirror_axes: Axes of the transposed array (0 to 2) that were mirrored in training.
    """

    plans: Any
    configuration: Any
    labels: Any
    dataset_json: dict[str, Any]
    networks: tuple[torch.nn.Module, ...]
    mirror_axes: tuple[int, ...]


def results_folder(path: Path) -> Path:
    """``path`` itself if it is a results folder, else the only 3D one in it.

    Raises:
        UnusableModel: none or several are there; all are named.
    """
    if _is_results_folder(path):
        return path
    inside = sorted(folder.name for folder in path.glob("*__*__*") if folder.is_dir())
    usable = [name for name in inside if name.split("__")[-1].startswith("3d") and "cascade" not in name]
    if len(usable) == 1:
        return path / usable[0]
    if not usable:
        raise UnusableModel(
            f"{path} holds no 3D nnU-Net configuration that can be explained, only: {', '.join(inside) or 'nothing'}.",
            "Give a TRAINER__PLANS__3d_fullres folder with plans.json, dataset.json and fold_0.",
        )
    raise UnusableModel(f"{path} holds {len(usable)} models.", f"Give one: {', '.join(str(path / n) for n in usable)}.")


def opened_parts(folder: Path, *, device: torch.device, trust: bool, folds: Sequence[str]) -> NnUNetParts:
    """Plans and networks of a results folder, checked to be of a kind that can be explained.

    Raises:
        MissingPackages: nnunetv2 is not installed.
        UnusableModel: a part is missing, broken, of an unsupported kind or not trusted.
    """
    require_nnunetv2()
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    dataset_json, plans_json = (_read_json(folder / name) for name in ("dataset.json", "plans.json"))
    # nnU-Net's own default, which it would otherwise print on standard output.
    plans_json.setdefault("label_manager", "LabelManager")
    paths = [folder / fold / CHECKPOINT for fold in chosen_folds(folder, folds)]
    checkpoints = [_checkpoint(path, trust=trust) for path in paths]
    name = checkpoints[0]["init_args"]["configuration"]
    try:
        plans = PlansManager(plans_json)
        configuration = plans.get_configuration(name)
        labels = plans.get_label_manager(dataset_json)
        _require_explainable(plans, configuration, dataset_json, f"The configuration {name} of {folder}")
        blank = _blank_network(plans, configuration, dataset_json, checkpoints[0]["trainer_name"], trust=trust)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, ImportError, RuntimeError) as error:
        raise UnusableModel(
            f"plans.json or dataset.json in {folder} cannot be used ({type(error).__name__}: {error}).",
            "Take both from the training that made the checkpoint; a newer nnunetv2 may be needed.",
        ) from error
    networks = tuple(
        with_weights(copy.deepcopy(blank), checkpoint["network_weights"], device=device, path=path)
        for checkpoint, path in zip(checkpoints, paths, strict=True)
    )
    mirror_axes = tuple(checkpoints[0].get("inference_allowed_mirroring_axes") or ())
    return NnUNetParts(plans, configuration, labels, dataset_json, networks, mirror_axes)


def require_nnunetv2() -> None:
    """Raises:
    MissingPackages: nnunetv2 is not installed.
    """
    if importlib.util.find_spec("nnunetv2") is None:
        raise MissingPackages(
            "nnU-Net models need the package nnunetv2.",
            'Run: pip install "segexplain[nnunet]"',
            packages=("nnunetv2", "acvl-utils"),
        )


def chosen_folds(folder: Path, folds: Sequence[str]) -> list[str]:
    """Names of the fold folders to average: those asked for, else all numbered ones, else ``fold_all``.

    Raises:
        UnusableModel: there are none, or not the ones asked for.
    """
    there = sorted(
        (found.name for found in folder.glob("fold_*") if found.is_dir()), key=lambda name: (len(name), name)
    )
    if not there:
        raise UnusableModel(f"{folder} has no fold_* folder with {CHECKPOINT}.", "Copy the trained folds into it.")
    asked = [name if name.startswith("fold_") else f"fold_{name}" for name in folds]
    missing = [name for name in asked if name not in there]
    if missing:
        raise UnusableModel(f"{folder} has no {missing[0]}.", f"The folds there are: {', '.join(there)}.")
    # As in nnU-Net: a network trained on all cases is not averaged with those of the cross-validation.
    return asked or [name for name in there if name != "fold_all"] or there


def _is_results_folder(path: Path) -> bool:
    return any((path / name).exists() for name in ("plans.json", "dataset.json")) or any(path.glob("fold_*"))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UnusableModel(f"The nnU-Net model lacks {path.name} in {path.parent}.", "Copy the whole results folder.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnusableModel(f"{path} is no readable JSON ({error}).", "Copy the file again.") from error
    if not isinstance(content, dict):
        raise UnusableModel(f"{path} holds a {type(content).__name__}; expected an object.", "Copy the file again.")
    return content


def _checkpoint(path: Path, *, trust: bool) -> dict[str, Any]:
    """A checked checkpoint of nnU-Net's trainer."""
    if not path.is_file() and path.parent.is_dir():
        others = sorted(found.name for found in path.parent.glob("checkpoint_*.pth"))
        found = f"; found {', '.join(others)}" if others else ""
        raise UnusableModel(f"{path.parent} lacks {CHECKPOINT}{found}.", "Finish the training, or copy the file.")
    content = opened_checkpoint(path, trust=trust)
    needed = ("network_weights", "trainer_name", "init_args")
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing or "configuration" not in content["init_args"]:
        raise UnusableModel(
            f"{path} is not a checkpoint of nnU-Net v2: it lacks {', '.join(missing) or 'init_args/configuration'}.",
            "Models of nnU-Net v1 must be trained anew with v2.",
        )
    return content


def _require_explainable(plans: Any, configuration: Any, dataset_json: dict[str, Any], who: str) -> None:
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    if len(configuration.patch_size) != 3:
        raise UnusableModel(f"{who} is 2D.", "Only 3D configurations can be explained.")
    if configuration.previous_stage_name is not None:
        raise UnusableModel(
            f"{who} is the second stage of a cascade and needs the labels of {configuration.previous_stage_name}.",
            "Give a 3d_fullres or 3d_lowres configuration.",
        )
    if configuration.preprocessor_class is None:
        raise UnusableModel(
            f"{who} is preprocessed by {configuration.preprocessor_name}, which nnunetv2 does not have.",
            "Install the nnunetv2 that it was trained with.",
        )
    n_channels = determine_num_input_channels(plans, configuration, dataset_json)
    if n_channels != 1:
        raise UnusableModel(f"{who} takes {n_channels} input channels; expected one, the CT.", "Give a model for CT.")


def _blank_network(
    plans: Any, configuration: Any, dataset_json: dict[str, Any], trainer_name: str, *, trust: bool
) -> torch.nn.Module:
    """The architecture, with weights of no meaning."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    if not trust:
        _require_known_architecture(configuration)
    n_channels = plans.get_label_manager(dataset_json).num_segmentation_heads
    architecture = (
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
    )
    if KEEPS_ARCHITECTURE.fullmatch(trainer_name):
        return get_network_from_plans(*architecture, 1, n_channels, allow_init=False, deep_supervision=False)
    build = _trainer_class(trainer_name).build_network_architecture
    if "plans_manager" in inspect.signature(build).parameters:
        return build(plans, configuration, 1, n_channels, enable_deep_supervision=False)
    return build(*architecture, 1, n_channels, enable_deep_supervision=False)


def _trainer_class(name: str) -> Any:
    """nnU-Net's own search for a trainer, which may bring its own architecture."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        return recursive_find_trainer_class_by_name(name)
    except (RuntimeError, ImportError, AssertionError) as error:
        raise UnusableModel(
            f"The model was trained with {name}, which nnunetv2 does not find here ({str(error).splitlines()[0]}).",
            "Install the package that defines it, or name its folder in the environment variable nnUNet_extTrainer.",
        ) from error


def _require_known_architecture(configuration: Any) -> None:
    """plans.json names classes to import; a foreign one could name any callable."""
    arguments = configuration.network_arch_init_kwargs
    names = [configuration.network_arch_class_name]
    names += [arguments[key] for key in configuration.network_arch_init_kwargs_req_import if arguments[key] is not None]
    for name in names:
        found = pydoc.locate(name) if name.startswith(TRUSTED_PACKAGES) else None
        if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
            raise UnusableModel(
                f"plans.json builds the network with {name}, which is no layer or network of "
                "dynamic_network_architectures or torch.nn.",
                "If you trust where the model comes from, give --trust-model.",
            )
