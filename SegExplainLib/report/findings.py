"""What the page must know beyond the importances: what was asked, and how the run went."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from SegExplainLib.contract import ExplainRequest, InvalidRequest
from SegExplainLib.shapley.stopping import Ranking


@dataclass(frozen=True, kw_only=True)
class Findings:
    """One finished run, as the report tells of it.

    Attributes:
        request: As served, with automatic choices filled in.
        ct_name: Of the CT, for people. Shown instead of the path, which may name a patient.
        model_name: Of the network, for people.
        stop_reason: "exact", "tolerance", "ranking", "budget" or "cancelled".
        n_evaluations: Coalitions evaluated, the empty and the full one included.
        relative_error: Largest standard error over the range of the values; nan where the method gives none.
        device: Where the network ran.
        interval_factor: Half width of a 95 % interval in standard errors: Student's quantile for few samples.
        ranking: Of the largest importances, and whether it is settled; None where it was not asked for.
        counts: Name -> number; ``n_roi_tiles`` are the tiles that meet the region. Names that end in ``_share`` are
            shown in percent, with ``_bytes`` in them as MB, that end in ``_s`` as seconds.
        timings_s: Stage -> seconds.
        warnings: What the run warned of.
        versions: Package name -> version.
        command: That repeats the run; empty leaves it out.
    """

    request: ExplainRequest
    ct_name: str
    model_name: str
    stop_reason: str
    n_evaluations: int
    relative_error: float
    device: str
    interval_factor: float = 1.96
    ranking: Ranking | None = None
    counts: Mapping[str, float] = field(default_factory=dict)
    timings_s: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        if self.n_evaluations < 0:
            raise InvalidRequest(f"A run cannot have made {self.n_evaluations} evaluations.")
        if not self.interval_factor > 0:
            raise InvalidRequest(f"The interval factor is {self.interval_factor}; it must be positive.")

    @property
    def has_reference(self) -> bool:
        """Whether a mask was given as the truth; else the network's own prediction stood in for it."""
        return bool(self.request.reference)

    @property
    def has_missed_tolerance(self) -> bool:
        """Whether the run ended with a larger relative error than was asked for, and without the ranking that was."""
        if self.ranking is not None and self.ranking.is_settled:
            return False
        error, tolerance = self.relative_error, self.request.tolerance
        return tolerance > 0 and not math.isnan(error) and error > tolerance
