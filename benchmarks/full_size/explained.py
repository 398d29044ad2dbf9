"""One explanation, measured: by the clock of the wall, by that of the network, and by its own counts."""

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.full_size.clocks import now, peak_memory
from benchmarks.full_size.opened import Opened
from SegExplainLib.pipeline import explain
from SegExplainLib.progress import Progress

ANSWERING = ("remove units", "run unperturbed tiles", "evaluate coalitions")
"""Stages from the open question to the answer; what comes after writes tables, maps and a page."""


@dataclass(frozen=True)
class Explained:
    """What one explanation took, the question open and the network warm.

    Attributes:
        method: Estimator.
        n_units: Players of the game.
        stop_reason: "tolerance", or what else ended it.
        relative_error: The estimator's own standard error over the range of the values.
        n_coalitions: Evaluated ones.
        n_asked: Tiles of the region for the coalitions, had nothing been reused.
        n_run: Tiles that the engine says it ran, those of the unperturbed CT included.
        n_seen: Tiles that the watched network was given.
        batch: Most tiles in one call.
        answer_s: Seconds to the answer.
        network_s: Of these, in the network.
        removal_s: Of these, to make what an absent unit looks like.
        writing_s: To write the results folder, after the answer.
        peak_gib: Most memory held.
    """

    method: str
    n_units: int
    stop_reason: str
    relative_error: float
    n_coalitions: int
    n_asked: int
    n_run: int
    n_seen: int
    batch: int
    answer_s: float
    network_s: float
    removal_s: float
    writing_s: float
    peak_gib: float

    @property
    def tiles_per_s(self) -> float:
        """Of the engine: all its tiles over all its seconds."""
        return self.n_seen / self.answer_s

    @property
    def outside_share(self) -> float:
        """Of the seconds to the answer, those outside the network."""
        return 1 - self.network_s / self.answer_s


def explained(opened: Opened, *, method: str, tolerance: float, budget: int) -> Explained:
    """Explains once, from nothing but the open question."""
    request = replace(opened.request, method=method, tolerance=tolerance, budget=budget)
    clock, device, progress = opened.clock, opened.question.segmenter.device, Progress()
    warm, out = opened.warm_state(), Path(opened.folder) / f"results-{method}"
    clock.start_over()
    with peak_memory(device) as peak:
        begin = now(device)
        manifest = explain(request, out, progress=progress, warm=warm)
        whole_s = now(device) - begin
    stages = progress.timings_s
    answer_s = sum(stages[stage] for stage in ANSWERING)
    return Explained(
        method=method,
        n_units=opened.question.partition.n_players,
        stop_reason=str(manifest.estimate["stop_reason"]),
        relative_error=float(manifest.estimate["relative_error"]),
        n_coalitions=int(manifest.counts["n_coalitions"]),
        n_asked=int(manifest.counts["n_region_tiles"]),
        n_run=int(manifest.counts["n_network_tiles"]),
        n_seen=clock.n_tiles,
        batch=clock.largest_batch,
        answer_s=answer_s,
        network_s=clock.seconds,
        removal_s=stages["remove units"],
        writing_s=whole_s - answer_s,
        peak_gib=peak.gib,
    )
