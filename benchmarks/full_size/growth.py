"""How the cost of the same coalitions grows with the network's classes and the length of the CT."""

from dataclasses import dataclass

import numpy as np

from benchmarks.full_size.clocks import now, peak_memory
from benchmarks.full_size.opened import opened
from benchmarks.full_size.sizes import Size
from SegExplainLib.baselines import baselines_for
from SegExplainLib.progress import Progress
from SegExplainLib.question import tallier_for


@dataclass(frozen=True)
class Growth:
    """The engine on random coalitions of one question.

    Attributes:
        n_classes: Channels of the network.
        volume_scale: Length of the CT, times that of the benchmark.
        image_shape: (k, j, i) of the network's input.
        n_image_tiles: Tiles of the whole image.
        n_region_tiles: Tiles that meet the region.
        n_units: Players.
        n_asked: Tiles of the region for all coalitions, had nothing been reused.
        n_run: Tiles that the network was given for them.
        seconds: From the coalitions to their tallies.
        network_s: Of these, in the network.
        peak_gib: Most memory held, that of the unperturbed tiles included.
    """

    n_classes: int
    volume_scale: float
    image_shape: tuple[int, int, int]
    n_image_tiles: int
    n_region_tiles: int
    n_units: int
    n_asked: int
    n_run: int
    seconds: float
    network_s: float
    peak_gib: float

    @property
    def outside_s(self) -> float:
        """Seconds outside the network."""
        return self.seconds - self.network_s


def growth(size: Size, *, n_classes: int, volume_scale: float, n_coalitions: int, seed: int, device: str) -> Growth:
    """Evaluates random coalitions, the same ones for every network and CT as long as there are as many units."""
    with opened(size, n_classes=n_classes, volume_scale=volume_scale, seed=seed, device=device) as there:
        request, question, clock = there.request, there.question, there.clock
        segmenter, case, partition = question.segmenter, question.case, question.partition
        coalitions = np.random.default_rng(seed).random((n_coalitions, partition.n_players)) < 0.5
        (absent,) = baselines_for(request, question, Progress()).images
        with peak_memory(segmenter.device) as peak:
            tallier = tallier_for(request, case, partition, absent, segmenter, Progress())
            clock.start_over()
            begin = now(segmenter.device)
            tallier.announce(coalitions)
            for _ in tallier.blocks(coalitions):
                pass
            seconds = now(segmenter.device) - begin
        return Growth(
            n_classes=segmenter.n_channels,
            volume_scale=volume_scale,
            image_shape=case.tiles.image_shape,
            n_image_tiles=case.tiles.n_tiles,
            n_region_tiles=case.region.n_tiles,
            n_units=partition.n_players,
            n_asked=tallier.cache.counts.n_region_tiles,
            n_run=clock.n_tiles,
            seconds=seconds,
            network_s=clock.seconds,
            peak_gib=peak.gib,
        )
