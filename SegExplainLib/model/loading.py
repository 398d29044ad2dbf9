"""From what the user calls a model to a segmenter, whatever framework it is of."""

from collections.abc import Sequence
from pathlib import Path

import torch

from SegExplainLib.contract import InvalidRequest, UnusableModel, nearest_names
from SegExplainLib.model.segmenter import Segmenter
from SegExplainLib.model.totalsegmentator import PREFIX, totalsegmentator_model


def load_segmenter(
    path_or_name: str | Path,
    *,
    device: torch.device,
    trust: bool,
    folds: Sequence[str] = (),
    mirroring: str = "model",
) -> Segmenter:
    """The trained network, on its device, ready to predict and for gradients.

    Args:
        path_or_name: An nnU-Net v2 results folder or the dataset's folder above it, a MONAI bundle, or
            ``totalsegmentator:TASK_ID``.
        device: Where the network shall live.
        trust: Allow files that execute code when they are opened.
        folds: Folds of an nnU-Net to average, such as ``("0", "1")``; empty means all that its own predictor takes.
        mirroring: ``model`` averages over the flips that an nnU-Net was trained with, ``off`` does not.

    Raises:
        UnusableModel: nothing is there, or a part is missing, broken, of an unsupported kind or not trusted.
        InvalidRequest: folds are asked of a model that has none.
    """
    # Parameters that are made or moved in inference mode can never take part in a gradient.
    with torch.inference_mode(mode=False):
        return _opened(str(path_or_name), device=device, trust=trust, folds=folds, has_flips=mirroring == "model")


def _opened(name: str, *, device: torch.device, trust: bool, folds: Sequence[str], has_flips: bool) -> Segmenter:
    # Each framework takes seconds to import: only the one that is needed.
    if name.startswith(PREFIX):
        from SegExplainLib.model.nnunet import open_nnunet

        model = totalsegmentator_model(name)
        return open_nnunet(
            model.folder, device=device, trust=trust, folds=folds or ("0",), flips=False, tile_step=model.tile_step
        )
    path = Path(name).expanduser()
    if model_kind(path) == "nnunet":
        from SegExplainLib.model.nnunet import open_nnunet

        return open_nnunet(path, device=device, trust=trust, folds=folds, flips=has_flips)
    if folds:
        raise InvalidRequest(f"{path} is a MONAI bundle, which has no folds.", "Leave out --folds.")
    from SegExplainLib.model.monai_bundle import BundleSegmenter

    return BundleSegmenter(path, device=device, trust=trust)


def model_kind(path: Path) -> str:
    """``nnunet`` or ``monai``, by what lies in the folder.

    Raises:
        UnusableModel: the folder is missing, or of neither kind.
    """
    if not path.exists():
        there = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
        hint = nearest_names(path.name, there) if there else "Check the path."
        raise UnusableModel(f"There is no model folder {path}.", hint)
    if path.is_file():
        raise UnusableModel(
            f"{path} is a file; expected the folder of a model.",
            "Give the nnU-Net folder that holds plans.json, or the MONAI bundle that holds configs.",
        )
    configs = [
        path / "configs" / name for name in ("metadata.json", "inference.json", "inference.yaml", "inference.yml")
    ]
    if any(config.exists() for config in configs):
        return "monai"
    is_results = any((path / name).exists() for name in ("plans.json", "dataset.json")) or any(path.glob("fold_*"))
    if is_results or any(path.glob("*__*__*")):
        return "nnunet"
    raise UnusableModel(
        f"{path} is neither an nnU-Net v2 results folder (plans.json, dataset.json, fold_0) nor a MONAI bundle "
        "(configs, models).",
        "Give the folder of one model.",
    )
