"""What an evaluation holds: one question, one game, and what is said of each explanation of it."""

import json
from dataclasses import asdict, dataclass

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.map_scores import MapScores
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.stability import StabilityScores
from SegExplainLib.evaluation.unit_scores import UnitScores, Yardsticks
from SegExplainLib.evaluation.voxel_scores import VOXELS, VoxelScores, VoxelYardsticks

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ResultScores:
    """Of one finished result.

    Attributes:
        name: As the column of a table.
        folder: Of the results.
        method: As of the request.
        removal: As of the request; empty for a method that removes nothing.
        units: What the game says.
        voxels: What the game says of the map voxel by voxel; None where it was not asked.
        map: What mask and units say.
        stability: What changes when the run is made again; None where it was not measured.
    """

    name: str
    folder: str
    method: str
    removal: str
    units: UnitScores
    voxels: VoxelScores | None
    map: MapScores
    stability: StabilityScores | None = None

    @property
    def metrics(self) -> dict[str, tuple[Metric, ...]]:
        """All metrics by family."""
        voxels = {VOXELS: self.voxels.metrics} if self.voxels else {}
        again = self.stability.metrics if self.stability else {}
        return self.units.metrics | voxels | self.map.metrics | again

    def metric(self, family: str, name: str) -> Metric:
        """One of them.

        Raises:
            InvalidRequest: there is none of that name.
        """
        found = self.found(family, name)
        if found is None:
            raise InvalidRequest(f"{self.name} has no metric {name!r} of {family!r}.")
        return found

    def found(self, family: str, name: str) -> Metric | None:
        """One of them; None where it was not measured."""
        return next((metric for metric in self.metrics.get(family, ()) if metric.name == name), None)


@dataclass(frozen=True)
class Evaluation:
    """What is said of several explanations of one question.

    Attributes:
        target: Class.
        quantity: The explained number, one of ``contract.VALUES``.
        unit: Of it.
        removal: Of the game that judges.
        removal_from: Whose removal that is, in words.
        mask: What agreement is measured with, in words.
        ct: File or folder.
        unit_names: (n_units,).
        sticks: What the explanations are held against.
        voxel_sticks: What maps are held against voxel by voxel; None where the game was not asked.
        why_no_voxels: A sentence, where that is so.
        results: In the order they were given.
        volume_only: Metrics of the order by volume.
        n_known: Coalitions that were known beforehand.
        n_new: Coalitions of units that were asked of the network.
        n_voxels: Coalitions of groups of voxels.
        noise_hu: Bound of the noise under which stability was measured; 0 where it was not.
        counts: Of tiles, and the network's seconds, by name.
        warnings: What the user should know.
    """

    target: str
    quantity: str
    unit: str
    removal: str
    removal_from: str
    mask: str
    ct: str
    unit_names: tuple[str, ...]
    sticks: Yardsticks
    voxel_sticks: VoxelYardsticks | None
    why_no_voxels: str
    results: tuple[ResultScores, ...]
    volume_only: tuple[Metric, ...]
    n_known: int
    n_new: int
    n_voxels: int
    noise_hu: float
    counts: dict[str, float]
    warnings: tuple[str, ...]

    def to_json(self, *, sentences: list[str]) -> str:
        """Indented JSON text, with the sentences for people."""
        whole = {"schema_version": SCHEMA_VERSION, "sentences": sentences, **asdict(self)}
        return json.dumps(whole, indent=2, allow_nan=False)
