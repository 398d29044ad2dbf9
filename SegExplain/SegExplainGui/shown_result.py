"""A result as the panel sees it: its answers, its units, and what came of checking it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, Self


@dataclass(frozen=True, kw_only=True)
class UnitRow:
    """One unit of an answer.

    Attributes:
        id: Label value of the unit.
        name: For people.
        importance: In the answer's unit of value.
        standard_error: Of the importance; 0 where exact, nan where not known.
        volume_ml: Of the unit.
    """

    id: int
    name: str
    importance: float
    standard_error: float
    volume_ml: float


@dataclass(frozen=True, kw_only=True)
class CheckedTrust:
    """What came of checking an explanation; the fields are those of the worker's answer to ``evaluate``.

    Attributes:
        sentences: In the order in which they should be read.
        verdict: The shortest of them; empty where there is none.
        headings: Of the table of main numbers; empty where there is none.
        rows: A text for each heading.
        undefined: Why some of them have no value.
        picture: PNG file of the curves; it may have been deleted since.
    """

    sentences: Sequence[str]
    verdict: str = ""
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    undefined: Sequence[str] = ()
    picture: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """What is known of these fields; a newer worker may tell more."""
        return cls(**{entry.name: data[entry.name] for entry in fields(cls) if entry.name in data})

    @property
    def has_picture(self) -> bool:
        """Whether the curves are still on the disk."""
        return bool(self.picture) and Path(self.picture).is_file()


class ShownResult(Protocol):
    """One run's nodes, as the panel sees them. Two of them are equal when they are of the same run."""

    @property
    def name(self) -> str:
        """For people; unique in the scene."""

    @property
    def segmentation(self) -> Any:
        """vtkMRMLSegmentationNode of the strongest units, for "Show 3D"; None while there is none."""

    @property
    def sentences(self) -> Sequence[str]:
        """The answer in plain words; empty while the run goes on."""

    @property
    def trust(self) -> CheckedTrust | None:
        """What came of checking it; None while nobody has."""

    @property
    def has_report(self) -> bool:
        """Whether the results folder, and so the report page, is still on the disk."""

    def answers(self) -> dict[str, list[str]]:
        """Class -> quantities that can be shown; the explained class and quantity first."""

    def rows(self, cls: str, quantity: str) -> Sequence[UnitRow]:
        """Every unit's line, in any order."""

    def unit_of_value(self, cls: str, quantity: str) -> str:
        """ "voxels", "ml", "share", "logit", or "relative" where only ratios mean something."""

    def scale(self, cls: str, quantity: str) -> Any:
        """Colours of units in an answer: ``rgb(values)``, ``is_signed`` and the ``limit`` of the strongest."""

    @property
    def noun(self) -> str:
        """What its numbers are called, such as "importance"."""

    @property
    def has_voxel_map(self) -> bool:
        """Whether a gradient method made it: with a number for each voxel, and nothing removed."""

    @property
    def shown(self) -> tuple[str, str] | None:
        """Class and quantity that were shown last; None before the first `show`."""

    def show(self, cls: str, quantity: str, *, top_k: int, sign: str, opacity: float) -> None:
        """Recolours overlay, segments, table and chart. ``sign``: "both", "for" or "against"; opacity in 0..1."""

    def highlight(self, unit_id: int | None) -> None:
        """Makes one unit stand out, or none."""
