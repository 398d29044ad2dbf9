"""Where a planted cause stands in an answer."""

import math
from dataclasses import dataclass

import numpy as np

from SegExplainLib.attribution import Attribution


@dataclass(frozen=True)
class Standing:
    """How well an answer tells the cause.

    Attributes:
        rank: Of the best unit of the cause among all units but those of what is labelled, by absolute value; 1 is
            first. A tie counts against it.
        share: Of the units of the cause, of the sum of absolute values of these units; nan where all are 0.
        credit: The same, of all units.
        n_units: Units that are ranked.
    """

    rank: int
    share: float
    credit: float
    n_units: int


def standing(attribution: Attribution, *, cause: str, labelled: str) -> Standing:
    """The standing of the unit named ``cause``, or of its pieces (``cause 1``, ...).

    What is labelled is not ranked: that a label needs what it labels is no finding.

    Raises:
        ValueError: no unit has the name.
    """
    sizes = np.abs(attribution.player_values)
    names = attribution.partition.names
    is_cause = np.array([_is_of(name, cause) for name in names])
    is_ranked = np.array([not _is_of(name, labelled) for name in names])
    if not is_cause.any():
        raise ValueError(f"no unit is named {cause!r}")
    n_ahead = int((sizes[is_ranked & ~is_cause] >= sizes[is_cause].max()).sum())
    own = float(sizes[is_cause].sum())
    share, credit = (own / total if total > 0 else math.nan for total in (sizes[is_ranked].sum(), sizes.sum()))
    return Standing(1 + n_ahead, share, credit, int(is_ranked.sum()))


def _is_of(unit: str, organ: str) -> bool:
    stem, _, number = unit.rpartition(" ")
    return unit == organ or (number.isdigit() and stem in (organ, f"{organ} part"))
