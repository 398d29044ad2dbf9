"""`services.Services` with the real scene behind it and a worker whose answers a test speaks."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import run_files
import scenes
import slicer
from SegExplainGui.scene.nrrd_file import write_nrrd
from SegExplainGui.scene.result import Result, create_result, results_in
from SegExplainGui.scene.roi_box import roi_extent
from SegExplainGui.scene.roi_placement import fit_roi_to_segment, new_roi
from SegExplainGui.services import Finding, Installation, ModelChoice, ModelDescription, Preview, RegionSize

READY = Installation(
    findings=[
        Finding(state="ok", text="Python 3.12.10 of Slicer, with SegExplain 0.1"),
        Finding(state="ok", text="torch 2.9.1, monai 1.5, nnunetv2 2.6"),
        Finding(state="ok", text="GPU: NVIDIA RTX 4090, 22.1 of 24.0 GB free"),
        Finding(state="note", text="Disk: 14 GB free; large networks need 20 GB"),
    ],
    device="cuda",
    devices=("cuda", "cpu"),
)
LACKING = Installation(
    findings=[
        Finding(state="ok", text="Python 3.12.10 of Slicer"),
        Finding(state="fault", text="torch, monai and captum are not installed (about 3 GB to download)"),
        Finding(state="note", text="No GPU was found: explanations run on the CPU and take many times longer"),
    ],
    missing=("torch", "monai", "captum"),
    device="cpu",
)
NETWORK = ModelDescription(name="Demo", classes=("spleen", "liver", "lesion"), device="cuda")
PREVIEW = Preview(
    n_voxels=12345,
    volume_ml=41.7,
    n_roi_tiles=18,
    n_image_tiles=80,
    n_units=51,
    units_are_exact=True,
    budget=612,
    seconds_a_tile=0.05,
    least_s=190,
    most_s=350,
)


@dataclass
class Asked:
    """One question: its name, what came with it, and the callbacks that answer it."""

    name: str
    given: dict[str, Any]
    calls: dict[str, Callable[..., None]]


@dataclass
class ScriptedServices:
    """Records what the panel asks; a test answers through `answer`."""

    application: Any
    folder: Path
    asked: list[Asked] = field(default_factory=list)
    done: list[tuple[Any, ...]] = field(default_factory=list)
    is_busy: bool = False
    agrees: bool = True
    stored: str = "Packages: 3,100 MB"
    unchecked: str = ""

    def names(self) -> list[str]:
        return [one.name for one in self.asked]

    def answer(self, name: str, call: str, *given: Any) -> None:
        """Calls back to the newest question of that name."""
        next(one for one in reversed(self.asked) if one.name == name).calls[call](*given)

    def _ask(self, name: str, calls: dict[str, Callable[..., None]], **given: Any) -> None:
        self.asked.append(Asked(name, given, calls))

    # what is installed

    def use_python(self, path: str) -> None:
        self.done.append(("use_python", path))

    def check(self, on_answer: Callable, on_failure: Callable) -> None:
        self._ask("check", {"answer": on_answer, "failure": on_failure})

    def install(self, missing: Sequence[str], *, on_text: Callable, on_end: Callable) -> None:
        self._ask("install", {"text": on_text, "end": on_end}, missing=missing)

    # the question

    def models(self) -> Sequence[ModelChoice]:
        return [
            ModelChoice(model="/models/demo", label="Demo model (synthetic torso)"),
            ModelChoice(model="totalsegmentator:297", label="TotalSegmentator: total, 3 mm"),
        ]

    def describe(self, parameters: Any, use: Any, *, on_answer: Callable, on_failure: Callable) -> None:
        self._ask("describe", {"answer": on_answer, "failure": on_failure}, use=use)

    def region_size(self, parameters: Any) -> RegionSize:
        extent = roi_extent(parameters.roi, parameters.ct)
        return RegionSize(n_voxels=extent.n_voxels, volume_ml=extent.volume_ml)

    def new_roi(self, parameters: Any) -> Any:
        return new_roi(self.application.scene, parameters.ct)

    def fit_roi(self, parameters: Any) -> None:
        fit_roi_to_segment(
            parameters.roi,
            parameters.fit_segmentation,
            parameters.fit_segment,
            parameters.ct,
            margin_mm=parameters.margin_mm,
        )

    def preview(self, parameters: Any, use: Any, *, on_answer: Callable, on_failure: Callable) -> None:
        self._ask("preview", {"answer": on_answer, "failure": on_failure}, use=use)

    # the answer

    def explain(self, parameters: Any, use: Any, *, on_event: Callable, on_result: Callable, on_end: Callable) -> None:
        self.is_busy = True
        self._ask("explain", {"event": on_event, "result": on_result, "end": self._ended(on_end)}, use=use)

    def _ended(self, on_end: Callable) -> Callable:
        def end(failure: Any) -> None:
            self.is_busy = False
            on_end(failure)

        return end

    def cancel(self) -> None:
        self.done.append(("cancel",))

    def why_unchecked(self, result: Result) -> str:
        return self.unchecked

    def evaluate(self, result: Result, use: Any, *, stability: Any, on_event: Callable, on_end: Callable) -> None:
        self.is_busy = True
        calls = {"event": on_event, "end": self._ended(on_end)}
        self._ask("evaluate", calls, result=result, use=use, stability=stability)

    def results(self) -> Sequence[Result]:
        return results_in(self.application.scene)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the panel has done is written down."""
        written_down = (
            *(
                "show_chart",
                "bring_to_views",
                "show_preview",
                "jump_to",
                "open_report",
                "open_curves",
                "save_table",
                "save_segmentation",
            ),
            *("save_folder", "delete_downloads", "forget"),
        )
        if name not in written_down:
            raise AttributeError(name)
        return lambda *given: self.done.append((name, *given))

    def remove(self, result: Result) -> None:
        result.remove()

    def load_folder(self, folder: str, parameters: Any) -> Result:
        return self.finished_result(parameters.ct, name="Loaded")

    def downloads(self) -> str:
        return self.stored

    def confirm(self, question: str) -> bool:
        self.done.append(("confirm", question))
        return self.agrees

    def finished_result(self, ct: Any, *, name: str = "Liver, soft Dice", n_units: int = 40) -> Result:
        """The nodes of a run, made from files as a worker writes them."""
        logics = self.application.logics
        result = create_result(
            *(self.application.scene, ct),
            name=name,
            segmentations_logic=logics["segmentations"],
            colors_logic=logics["colors"],
        )
        shape = ct.GetImageData().GetDimensions()[::-1]
        labels = (np.arange(np.prod(shape)) * n_units // np.prod(shape) + 1).astype(np.uint16).reshape(shape)
        write_nrrd(labels, scenes.ijk_to_ras("straight"), self.folder / f"units{n_units}.nrrd")
        result.set_units(self.folder / f"units{n_units}.nrrd")
        result.set_answers(write_answers(self.folder / "answers.csv", n_units=n_units))
        return result

    def gradient_result(self, ct: Any, *, method: str, values: Sequence[float], unit: str) -> Result:
        """The nodes of a gradient method's run: each voxel has the number of its unit, errors are not told."""
        result = self.finished_result(ct, name="By gradients", n_units=len(values))
        labels = slicer.util.arrayFromVolume(result.head.GetNodeReference("SegExplain.labels"))
        path = self.folder / "map.nrrd"
        write_nrrd(np.array([0, *values], np.float32)[labels], scenes.ijk_to_ras("straight"), path)
        result.set_voxel_map(path, method=method)
        result.set_answers(run_files.write_gradient_answers(self.folder, values, unit))
        return result


NAMES = ("liver", "stomach", "right lung, lower lobe", "spleen", "right kidney", "vertebra T12", "aorta", "rib 10")


def write_answers(path: Path, *, n_units: int) -> Path:
    """answers.csv with two classes, two numbers of each, and importances that fall off."""
    head = ["class", "quantity", "unit_of_value", "id", "name", "value", "standard_error", "low_95", "high_95"]
    head += ["volume_ml", "empty_value", "full_value"]
    questions = [
        ("liver", "soft-dice", "share", 0.6),
        ("liver", "tp", "voxels", 9000.0),
        ("spleen", "soft-dice", "share", 0.3),
        ("spleen", "soft-volume", "ml", 30.0),
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for cls, quantity, unit, scale in questions:
            for at in range(n_units):
                value = scale * (-1) ** (at % 3 == 1) / (1 + at) ** 1.3
                error = scale * 0.02 / (1 + at % 3)
                name = NAMES[at] if at < len(NAMES) else f"supervoxel {at}"
                low, high = value - 1.96 * error, value + 1.96 * error
                writer.writerow(
                    (cls, quantity, unit, at + 1, name, value, error, low, high, 31.4 * (1 + at % 7), 0.0, scale)
                )
    return path
