"""What an evaluation holds: one question, one game, and what is said of each explanation of it."""

import json
from dataclasses import asdict, dataclass

from SegExplainLib.evaluation.map_scores import MapScores
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.unit_scores import UnitScores, Yardsticks

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
        map: What mask and units say.
    """

    name: str
    folder: str
    method: str
    removal: str
    units: UnitScores
    map: MapScores

    @property
    def metrics(self) -> dict[str, tuple[Metric, ...]]:
        """All metrics by family."""
        return self.units.metrics | self.map.metrics

    def metric(self, family: str, name: str) -> Metric:
        """One of them."""
        return next(metric for metric in self.metrics[family] if metric.name == name)


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
        results: In the order they were given.
        volume_only: Metrics of the order by volume.
        n_known: Coalitions that were known beforehand.
        n_new: Coalitions that were asked of the network.
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
    results: tuple[ResultScores, ...]
    volume_only: tuple[Metric, ...]
    n_known: int
    n_new: int
    counts: dict[str, float]
    warnings: tuple[str, ...]

    def to_json(self, *, sentences: list[str]) -> str:
        """Indented JSON text, with the sentences for people."""
        whole = {"schema_version": SCHEMA_VERSION, "sentences": sentences, **asdict(self)}
        return json.dumps(whole, indent=2, allow_nan=False)
