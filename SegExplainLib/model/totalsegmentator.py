"""Where TotalSegmentator keeps its weights, which are nnU-Net v2 results folders."""

import os
from dataclasses import dataclass
from pathlib import Path

from SegExplainLib.contract import UnusableModel

PREFIX = "totalsegmentator:"
# TotalSegmentator moves its window by 0.8 of a tile in the 1.5 mm parts of "total", and by 0.5 elsewhere.
WIDE_STEP_TASKS = (*range(291, 296), *range(831, 836), 850, 851)


@dataclass(frozen=True)
class TotalSegmentatorModel:
    """One network of TotalSegmentator, and how TotalSegmentator runs it: fold 0, no flips.

    Attributes:
        folder: The nnU-Net results folder.
        tile_step: Distance of neighbouring tiles as a share of a tile.
    """

    folder: Path
    tile_step: float


def totalsegmentator_model(name: str) -> TotalSegmentatorModel:
    """The installed network of a name such as ``totalsegmentator:297``.

    Raises:
        UnusableModel: the number is none, or its weights are not on this machine; the folders searched are named.
    """
    number = name.removeprefix(PREFIX)
    if not number.isdecimal():
        raise UnusableModel(
            f"{name!r} names no network of TotalSegmentator: expected a number after {PREFIX!r}, as in {PREFIX}297.",
            "297 is the fast 3 mm network of all organs, 291 to 295 are the 1.5 mm ones.",
        )
    task = int(number)
    found = [
        results
        for root in weights_folders()
        for dataset in sorted(root.glob(f"Dataset{task:03d}_*"))
        for results in sorted(dataset.glob("nnUNetTrainer*__*__3d_*"))
        if results.is_dir()
    ]
    if not found:
        searched = ", ".join(str(root) for root in weights_folders())
        raise UnusableModel(
            f"The weights of TotalSegmentator's task {task} are not on this machine; searched {searched}.",
            "Get them with TotalSegmentator's totalseg_download_weights, or give the results folder itself.",
        )
    full = [folder for folder in found if folder.name.endswith("__3d_fullres")]
    return TotalSegmentatorModel((full or found)[0], 0.8 if task in WIDE_STEP_TASKS else 0.5)


def weights_folders() -> list[Path]:
    """Where weights may be, in the order that TotalSegmentator and nnU-Net look."""
    roots = []
    if os.environ.get("TOTALSEG_WEIGHTS_PATH"):
        roots.append(Path(os.environ["TOTALSEG_WEIGHTS_PATH"]))
    if os.environ.get("TOTALSEG_HOME_DIR"):
        roots.append(Path(os.environ["TOTALSEG_HOME_DIR"]) / "nnunet" / "results")
    roots.append(Path.home() / ".totalsegmentator" / "nnunet" / "results")
    if os.environ.get("nnUNet_results"):  # noqa: SIM112 -- nnU-Net spells it so
        roots.append(Path(os.environ["nnUNet_results"]))  # noqa: SIM112
    return list(dict.fromkeys(roots))
