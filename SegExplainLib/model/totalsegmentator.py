"""Where TotalSegmentator keeps its weights, which are nnU-Net v2 results folders. Standard library only."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from SegExplainLib.contract import UnusableModel

PREFIX = "totalsegmentator:"
# TotalSegmentator moves its window by 0.8 of a tile in the 1.5 mm parts of "total", and by 0.5 elsewhere.
WIDE_STEP_TASKS = (*range(291, 296), *range(831, 836), 850, 851)

DATASET = re.compile(r"Dataset(?P<task>\d{3,})_(?P<title>.+)")
RESULTS = re.compile(r"nnUNetTrainer.*__.*__3d_.*")


@dataclass(frozen=True)
class TotalSegmentatorModel:
    """One network of TotalSegmentator, and how TotalSegmentator runs it: fold 0, no flips.

    Attributes:
        folder: The nnU-Net results folder.
        tile_step: Distance of neighbouring tiles as a share of a tile.
    """

    folder: Path
    tile_step: float


@dataclass(frozen=True)
class InstalledModel:
    """One network of TotalSegmentator that is on this machine.

    Attributes:
        task: TotalSegmentator's number.
        label: For people, from the name of the folder.
        folder: The nnU-Net results folder.
    """

    task: int
    label: str
    folder: Path

    @property
    def name(self) -> str:
        """As a request's ``model``."""
        return f"{PREFIX}{self.task}"


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
    folder = next(
        (found.folder for root in weights_folders() for found in _models_in(root) if found.task == task), None
    )
    if folder is None:
        searched = ", ".join(str(root) for root in weights_folders())
        raise UnusableModel(
            f"The weights of TotalSegmentator's task {task} are not on this machine; searched {searched}.",
            "Get them with TotalSegmentator's totalseg_download_weights, or give the results folder itself.",
        )
    return TotalSegmentatorModel(folder, 0.8 if task in WIDE_STEP_TASKS else 0.5)


def installed_models() -> list[InstalledModel]:
    """TotalSegmentator's networks on this machine, by task; of a task in several folders the one that would be run.

    Folders that cannot be read are passed over. Of nnU-Net's own results folder, where networks of anybody lie, only
    those that bear TotalSegmentator's name are taken.
    """
    own, others = _roots()
    found = [model for root in own for model in _models_in(root)]
    found += [model for root in others for model in _models_in(root) if "TotalSeg" in model.folder.parent.name]
    first = {model.task: model for model in reversed(found)}
    return [first[task] for task in sorted(first)]


def weights_folders() -> list[Path]:
    """Where weights may be, in the order that TotalSegmentator and nnU-Net look."""
    own, others = _roots()
    return [*own, *others]


def _roots() -> tuple[list[Path], list[Path]]:
    """TotalSegmentator's own folders of weights; nnU-Net's, where it is another."""
    roots = []
    if os.environ.get("TOTALSEG_WEIGHTS_PATH"):
        roots.append(Path(os.environ["TOTALSEG_WEIGHTS_PATH"]))
    if os.environ.get("TOTALSEG_HOME_DIR"):
        roots.append(Path(os.environ["TOTALSEG_HOME_DIR"]) / "nnunet" / "results")
    roots.append(Path.home() / ".totalsegmentator" / "nnunet" / "results")
    own = list(dict.fromkeys(roots))
    nnunets = os.environ.get("nnUNet_results")  # noqa: SIM112 -- nnU-Net spells it so
    return own, [Path(nnunets)] if nnunets and Path(nnunets) not in own else []


def _models_in(root: Path) -> Iterator[InstalledModel]:
    """The 3D networks below a folder of weights, by name; of a dataset the one of full resolution."""
    for dataset in _folders_in(root):
        match = DATASET.fullmatch(dataset.name)
        results = [folder for folder in _folders_in(dataset) if RESULTS.fullmatch(folder.name)] if match else []
        if match and results:
            full = [folder for folder in results if folder.name.endswith("__3d_fullres")]
            yield InstalledModel(int(match["task"]), _label(match["title"]), (full or results)[0])


def _folders_in(folder: Path) -> list[Path]:
    """Sorted by name; none where the folder is missing or cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if os.path.isdir(entry.path))
    except OSError:
        return []


def _label(title: str) -> str:
    """``TotalSegmentator_total_3mm_1559subj`` -> ``TotalSegmentator: total 3 mm``."""
    words = re.sub(r"_\d+subj$", "", title).removeprefix("TotalSegmentator_").replace("_", " ")
    return f"TotalSegmentator: {re.sub(r'(?<=[0-9])mm', ' mm', words)}"
