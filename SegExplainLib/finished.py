"""Finished results of one question, read back: what was asked, what was answered, and the coalitions behind it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.attribution import Attribution, native_labels_of, painted_natively
from SegExplainLib.comparison import answer_names, require_one_question
from SegExplainLib.contract import (
    PATH_METHODS,
    SHAPLEY_METHODS,
    SINGLE_REMOVALS,
    ExplainRequest,
    GeometryMismatch,
    InvalidRequest,
    ResultManifest,
)
from SegExplainLib.game_record import RECORD_NAME, GameRecord
from SegExplainLib.images.file import read_scalar_image
from SegExplainLib.progress import Progress
from SegExplainLib.report.methods import method_words
from SegExplainLib.report.tables import PLAYERS_CSV
from SegExplainLib.results_folder import ATTRIBUTION_NAME, read_attribution
from SegExplainLib.volume import Volume, resampled_linear

READ_FILES = (PLAYERS_CSV, ATTRIBUTION_NAME, RECORD_NAME)
SAME_GAME = ("the CT", "the model", "the model's settings", "the tiles", "the reference")
"""Fingerprints that results judged by one game have in common, beside those of one question; the removal may differ."""


@dataclass(frozen=True, eq=False)
class FinishedResult:
    """One of them.

    Attributes:
        folder: Of the results.
        name: The shortest words that tell it from the others.
        manifest: As written.
        request: As served.
        record: Of the game that it was made with.
        attribution: The units' values; its voxel map is not read, see `shown_map`.
    """

    folder: Path
    name: str
    manifest: ResultManifest
    request: ExplainRequest
    record: GameRecord
    attribution: Attribution

    @property
    def removes(self) -> bool:
        """Whether the method compares with a CT without its units, so that its answer depends on the removal."""
        return self.request.method in (*SHAPLEY_METHODS, *PATH_METHODS)

    @property
    def amounts(self) -> NDArray[np.float64]:
        """float64 (n_players,): values that add up over units; of a method that reports means, mean times ml."""
        values = self.attribution.player_values
        return values * self.attribution.partition.volumes_ml if method_words(self.request.method).is_mean else values

    @property
    def has_scale(self) -> bool:
        """Whether the values are meant in the unit of the explained number."""
        return self.attribution.unit != "relative"

    def shown_map(self, ct: Volume, *, progress: Progress) -> NDArray[np.float32]:
        """float32 (k, j, i) on the CT's grid, as in the folder: a voxel map, or each voxel with its unit's value.

        Raises:
            GeometryMismatch: it lies on another grid than the CT.
            InvalidRequest: the file cannot be read.
        """
        if not self.tells_voxels_apart:
            return painted_natively(self.attribution, ct.grid)
        shown = read_scalar_image(self.folder / ATTRIBUTION_NAME, warn=progress.warn)
        if not shown.grid.is_same_as(ct.grid):
            raise GeometryMismatch(f"{self.folder / ATTRIBUTION_NAME} does not lie on the CT's grid.", "Explain again.")
        return shown.array.astype(np.float32, copy=False)

    @property
    def tells_voxels_apart(self) -> bool:
        """Whether there is a voxel map, not one value for each unit."""
        return self.request.uses_gradients

    def voxel_amounts(self, shown: Volume) -> NDArray[np.float32]:
        """float32 (k, j, i) on the network's grid: values that add up over voxels; 0 outside the units.

        A voxel map as it is shown, brought back to the network's grid by linear interpolation; without one each unit's
        value shared out evenly among its voxels.

        Args:
            shown: As of `shown_map`, on the CT's grid.
        """
        partition = self.attribution.partition
        if not self.tells_voxels_apart:
            n_voxels = partition.volumes_ml / partition.grid.voxel_volume_ml
            return partition.painted(self.amounts / n_voxels)
        return np.where(partition.labels > 0, resampled_linear(shown, partition.grid), np.float32(0))

    def native_labels(self, ct: Volume) -> NDArray[np.int32]:
        """int32 (k, j, i) on the CT's grid: player number + 1, 0 elsewhere."""
        return native_labels_of(self.attribution.partition, ct.grid)


def finished_results(folders: Sequence[Path]) -> list[FinishedResult]:
    """Reads finished results that one game can judge.

    Raises:
        InvalidRequest: there is none, one is given twice, unfinished, changed or unreadable, they differ in CT, model,
            region, units, class, explained number or reference, or there is one unit only.
    """
    if not folders:
        raise InvalidRequest("There is nothing to evaluate.", "Give the folder of a finished result.")
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise InvalidRequest("One results folder was given twice.", "Give each folder once.")
    manifests = [ResultManifest.read(folder) for folder in folders]
    for folder, manifest in zip(folders, manifests, strict=True):
        _require_unchanged(folder, manifest)
    records = [GameRecord.load(folder / RECORD_NAME) for folder in folders]
    require_one_question(folders, manifests, records)
    _require_one_game(folders, manifests, records)
    if records[0].partition.n_players == 1:
        raise InvalidRequest(
            f"{folders[0]} has one unit only: there is no order of units that could be right or wrong.",
            "Explain with more units (--units hybrid, a smaller --unit-mm).",
        )
    return [
        FinishedResult(
            folder, name, manifest, ExplainRequest.from_mapping(manifest.request), record, read_attribution(folder)
        )
        for folder, name, manifest, record in zip(
            folders, answer_names(folders, manifests), manifests, records, strict=True
        )
    ]


def judging_removal(results: Sequence[FinishedResult], removal: str = "") -> tuple[ExplainRequest, str]:
    """The request whose removal makes the game that judges all results, and whose that is, in words.

    Args:
        results: Of one question.
        removal: Asked for by name; empty for that of the first result whose method removes units.

    Raises:
        InvalidRequest: there is no such removal, or it is several images, which make no game.
    """
    if removal and removal not in SINGLE_REMOVALS:
        raise InvalidRequest(
            f"Units cannot be removed one by one as {removal!r}.", f"Choose one of {', '.join(SINGLE_REMOVALS)}."
        )
    for result in results:
        request = result.request
        if result.removes and request.removal in SINGLE_REMOVALS and removal in ("", request.removal):
            return request, "as asked for" if removal else f"that of {result.name}"
    own = results[0].request
    default = ExplainRequest(ct="", model="", target="", roi="").removal
    chosen = replace(own, removal=removal or default, reference_cts=())
    return chosen, "as asked for" if removal else "the default"


def _require_one_game(
    folders: Sequence[Path], manifests: Sequence[ResultManifest], records: Sequence[GameRecord]
) -> None:
    first = records[0]
    for folder, manifest, record in zip(folders[1:], manifests[1:], records[1:], strict=True):
        differing = [part for part in SAME_GAME if record.fingerprints.get(part) != first.fingerprints.get(part)]
        if differing:
            raise InvalidRequest(
                f"One game cannot judge {folders[0]} and {folder}: {', '.join(differing)} differ(s).",
                "Evaluate results of one model on one device, against the same reference.",
            )
        values = [one.request["value"] for one in (manifests[0], manifest)]
        if values[0] != values[1]:
            raise InvalidRequest(
                f"{folders[0]} explains {values[0]}, {folder} explains {values[1]}.",
                "Evaluate results that explain one number; `segexplain revalue` makes them of a Shapley method's.",
            )


def _require_unchanged(folder: Path, manifest: ResultManifest) -> None:
    for name in READ_FILES:
        path = folder / name
        if not path.exists():
            raise InvalidRequest(f"{folder} lacks {name}.", "Run the explanation again.")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if manifest.files.get(name) != digest:
            raise InvalidRequest(
                f"{path} has been changed since the run was finished.", "Restore it, or run the explanation again."
            )
