"""A result and the disk: its report, table, segmentation and folder; and a finished folder as a result."""

import csv
import shutil
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegExplainGui.run import Logics
from SegExplainGui.scene.quantity_words import run_name
from SegExplainGui.scene.result import Result, create_result
from SegExplainGui.setup.app_folders import unwritable
from SegExplainGui.shown_result import CheckedTrust
from SegExplainLib.atomic import atomic_path
from SegExplainLib.contract import GRADIENT_METHODS, InvalidRequest, ResultManifest, SegExplainError

REPORT, UNITS, ANSWERS, VOXELS = "report.html", "players.seg.nrrd", "answers.csv", "attribution.nrrd"
CURVES = "evaluation.png"


def report_of(result: Result) -> Path:
    """The report page of a result.

    Raises:
        InvalidRequest: it is no longer on the disk.
    """
    return _folder_of(result) / REPORT


def curves_of(result: Result) -> Path:
    """The picture of the curves of a checked result.

    Raises:
        InvalidRequest: it was not checked, or the picture is no longer on the disk.
    """
    trust = result.trust
    if trust is None or not trust.has_picture:
        raise InvalidRequest(
            _("The curves of {name} are no longer on this computer.").format(name=result.name),
            _("They are deleted when Slicer closes unless the results were saved. Check the explanation again."),
        )
    return Path(trust.picture)


def save_table(result: Result, path: Path) -> None:
    """The answer that is shown as CSV in UTF-8, the strongest unit first.

    Raises:
        InvalidRequest: nothing is shown.
        SegExplainError: the file cannot be written.
    """
    if result.shown is None:
        raise InvalidRequest(_("No answer is shown."), _("Choose a result, a class and a quantity first."))
    target, quantity = result.shown
    unit = result.unit_of_value(target, quantity)
    rows = sorted(result.rows(target, quantity), key=lambda row: -abs(row.importance))
    try:
        with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["rank", "unit", "importance", "standard_error", "volume_ml", "class", "quantity", "in"])
            for rank, row in enumerate(rows, start=1):
                numbers = (repr(row.importance), repr(row.standard_error), repr(row.volume_ml))
                writer.writerow([rank, row.name, *numbers, target, quantity, unit])
    except OSError as error:
        raise unwritable(path.parent, error) from error


def save_segmentation(result: Result, path: Path) -> None:
    """All units with their colours and values as a ``.seg.nrrd`` file.

    Raises:
        InvalidRequest: the segmentation was deleted.
        SegExplainError: the file cannot be written.
    """
    if result.all_units is None:
        raise InvalidRequest(_("The segmentation of the units was deleted."), _("Load the results folder again."))
    try:
        with atomic_path(path) as partial:
            if result.has_report and result.shown == result.questions()[0][:2]:
                shutil.copyfile(_folder_of(result) / UNITS, partial)  # Slicer takes seconds to write hundreds of units
            else:
                _write_segmentation(result.all_units, partial)
    except OSError as error:
        raise unwritable(path.parent, error) from error


def _write_segmentation(node: Any, path: Path) -> None:
    storage = node.GetScene().CreateNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.UnRegister(None)
    storage.SetScene(node.GetScene())
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise SegExplainError(
            _("The segmentation could not be written to {folder}.").format(folder=path.parent),
            _("Choose another folder, or free some disk space."),
        )


def save_folder(result: Result, folder: Path) -> None:
    """Copies the results folder; the copy is there as a whole or not at all.

    Raises:
        InvalidRequest: the results are no longer on the disk, or ``folder`` exists.
        SegExplainError: it cannot be written.
    """
    source = _folder_of(result)
    if folder.exists():
        raise InvalidRequest(_("{folder} exists already.").format(folder=folder), _("Choose another folder."))
    partial = folder.with_name(f".{folder.name}.part")
    try:
        shutil.copytree(source, partial, dirs_exist_ok=True)
        partial.rename(folder)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise unwritable(folder.parent, error if isinstance(error, OSError) else OSError(str(error))) from error


def load_folder(scene: Any, folder: Path, ct: Any, logics: Logics) -> Result:
    """The nodes of a finished results folder, under a CT.

    Raises:
        InvalidRequest: the folder holds no finished result.
        GeometryMismatch: its units lie on another grid than the CT.
    """
    if not (folder / "manifest.json").exists() and (folder / "results" / "manifest.json").exists():
        folder = folder / "results"  # a job's folder, or the demo's
    manifest = ResultManifest.read(folder)
    asked = manifest.request
    name = run_name(asked.get("target", ""), asked.get("method", ""), ct.GetName(), folder.name)
    result = create_result(scene, ct, name=name, segmentations_logic=logics.segmentations, colors_logic=logics.colors)
    try:
        result.set_units(folder / UNITS)
        if asked.get("method") in GRADIENT_METHODS:
            result.set_voxel_map(folder / VOXELS, method=asked["method"])
        result.set_answers(folder / ANSWERS)
    except SegExplainError:
        result.remove()
        raise
    result.set_sentences(manifest.answer, folder=folder)
    if manifest.evaluation:
        result.set_trust(CheckedTrust.of({"sentences": [], "picture": str(folder / CURVES)} | manifest.evaluation))
    return result


def _folder_of(result: Result) -> Path:
    if not result.has_report or result.folder is None:
        raise InvalidRequest(
            _("The results folder of {name} is no longer on this computer.").format(name=result.name),
            _("It is deleted when Slicer closes unless it was saved. Explain again, and save it."),
        )
    return result.folder
