"""Fused logits of a region under many coalitions, each distinct (tile, pattern) run through the network once.

The logits of a tile depend only on which of the players *inside that tile* are absent: its pattern. And fusion is
linear, so a coalition's fused logits are those of the unperturbed CT plus the weighted differences of the tiles whose
pattern is not "all present". Both facts are exact (our reconstruction and extension of arXiv 2604.11775, whose cache
reuses only the tiles that no absent player touches).
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.model.memory import require_memory, told_when_full
from SegExplainLib.model.segmenter import Segmenter
from SegExplainLib.model.stitching import RegionTiles
from SegExplainLib.model.tile_runner import TileRunner

ACCUMULATOR_BYTES = 512 * 2**20
KEPT_BYTES = 1024 * 2**20
LARGEST_BLOCK = 16  # an interrupted block is lost, and what blocks have in common is kept anyway

TOO_LARGE_HINT = "Choose a smaller ROI, or --device cpu where the host has more memory."

Pattern = tuple[int, bytes]
"""A tile, by its place among the region's tiles, and the packed presence bits of the players inside it."""


@dataclass
class TileCounts:
    """What was asked and what was run.

    Attributes:
        n_coalitions: Coalitions evaluated.
        n_region_tiles: Tiles of the region times coalitions: the cost with no reuse.
        n_touched_tiles: Those that hold an absent player: the cost when only untouched tiles are reused.
        n_unperturbed_tiles: Tiles of the unperturbed CT run through the network; 0 when their logits were at hand.
        n_network_tiles: All tiles run through the network.
        unperturbed_bytes: Bytes of the region's logits for the unperturbed CT, tile by tile and fused: held throughout.
        kept_bytes_peak: Most bytes of tile results held for later coalitions.
        accumulator_bytes_peak: Most bytes of fused logits held at once.
    """

    n_coalitions: int = 0
    n_region_tiles: int = 0
    n_touched_tiles: int = 0
    n_unperturbed_tiles: int = 0
    n_network_tiles: int = 0
    unperturbed_bytes: int = 0
    kept_bytes_peak: int = 0
    accumulator_bytes_peak: int = 0

    def as_dict(self) -> dict[str, float]:
        """The counts by name."""
        return {name: float(count) for name, count in asdict(self).items()}


class MaskedTiles:
    """Tiles of the CT with the absent players removed, made on the network's device one tile at a time.

    Args:
        present: float32 (channels, k, j, i), the CT as the network sees it.
        absent: Same shape, what the network sees where a player is absent.
        labels: int (k, j, i), 0 context, player p has label p + 1.
        region: Which tiles there are.
        device: Where tiles are made.
    """

    def __init__(
        self, present: NDArray, absent: NDArray, labels: NDArray, region: RegionTiles, *, device: torch.device
    ) -> None:
        self._present = torch.from_numpy(np.ascontiguousarray(present)).to(device)
        self._absent = torch.from_numpy(np.ascontiguousarray(absent)).to(device)
        self._labels = torch.from_numpy(labels.astype(np.int32)).to(device)
        self._region = region
        self.players_in_tile = players_in_tiles(labels, region)

    def with_labels(self, labels: NDArray) -> Self:
        """The same CT and removal for other players; what lies on the device is shared."""
        other = copy.copy(self)
        other._labels = torch.from_numpy(labels.astype(np.int32)).to(self._labels.device)
        other.players_in_tile = players_in_tiles(labels, self._region)
        return other

    def tile(self, place: int, coalition: NDArray[np.bool_]) -> torch.Tensor:
        """(channels, k, j, i) of the region's tile number ``place`` under a coalition (n_players,)."""
        where = self._region.grid.slices(int(self._region.numbers[place]))
        is_kept = torch.from_numpy(np.concatenate([[True], coalition])).to(self._labels.device)
        keep = is_kept[self._labels[where]]
        return torch.where(keep, self._present[:, *where], self._absent[:, *where])


def players_in_tiles(labels: NDArray, region: RegionTiles) -> tuple[NDArray[np.int64], ...]:
    """For each of the region's tiles, the numbers of the players in it; ``labels`` as in `MaskedTiles`."""
    return tuple(np.setdiff1d(np.unique(labels[region.grid.slices(int(n))]), [0]) - 1 for n in region.numbers)


def n_distinct_tiles(coalitions: NDArray[np.bool_], players_in_tile: Sequence[NDArray[np.int64]]) -> int:
    """Tiles that coalitions (n, n_players) take when no (tile, pattern) runs twice: the least there can be.

    Tiles with every player present are not counted: their logits are those of the unperturbed CT.
    """
    n_tiles = 0
    for players in players_in_tile:
        present = coalitions[:, players]
        is_touched = ~present.all(axis=1)
        n_tiles += len(np.unique(np.packbits(present[is_touched], axis=1), axis=0))
    return n_tiles


class TileCache:
    """Fused logits of a region for blocks of coalitions, at a bounded memory.

    Args:
        segmenter: The network.
        region: The region's tiles.
        tiles: Makes masked tiles.
        batch: Tiles in one network call, 0 for automatic.
        warn: Is told when memory runs short.
        on_batch: As ``TileRunner.on_batch``, also while the unperturbed tiles run.
        accumulator_bytes: Most bytes for the fused logits of one block of coalitions (one coalition at least).
        kept_bytes: Most bytes of tile results kept between blocks; 0 keeps none.

    Attributes:
        counts: Of tiles asked and run.
        runner: Runs the network.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        region: RegionTiles,
        tiles: MaskedTiles,
        *,
        batch: int = 0,
        warn: Callable[[str], None] | None = None,
        on_batch: Callable[[], None] | None = None,
        accumulator_bytes: int = ACCUMULATOR_BYTES,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._region = region
        self._tiles = tiles
        self._kept_bytes_most = kept_bytes
        self._kept: dict[Pattern, torch.Tensor] = {}
        self._kept_bytes = 0
        self._uses_ahead: Counter[Pattern] = Counter()
        self.runner = TileRunner(segmenter, region.grid.tile_shape, batch=batch, warn=warn)
        if on_batch is not None:
            self.runner.on_batch = on_batch
        self.counts = TileCounts()
        self._full_parts: list[torch.Tensor] = []
        n_voxels = region.mask.size + sum(share.numel() for share in region.shares)
        self.counts.unperturbed_bytes = 4 * segmenter.n_channels * n_voxels
        coalition_bytes = 4 * segmenter.n_channels * region.mask.size
        need = self.counts.unperturbed_bytes + coalition_bytes
        require_memory(need, segmenter.device, what="The logits of the ROI's tiles", hint=TOO_LARGE_HINT)
        with told_when_full("The prediction of the ROI", TOO_LARGE_HINT):
            self._full = self._run_unperturbed(segmenter)
        self._block = int(np.clip(accumulator_bytes // coalition_bytes, 1, LARGEST_BLOCK))

    @property
    def full_logits(self) -> torch.Tensor:
        """float32 (n_channels, k, j, i) of the region's box for the unperturbed CT."""
        return self._full

    @property
    def n_region_tiles(self) -> int:
        """Tiles that meet the region."""
        return self._region.n_tiles

    def for_players(self, labels: NDArray) -> Self:
        """An engine for other players of the same CT, removal and region; ``labels`` as in `MaskedTiles`.

        The unperturbed tiles do not run again, and counts and runner are those of this engine: they tell of both.
        """
        other = copy.copy(self)
        other._tiles = self._tiles.with_labels(labels)
        other._kept, other._kept_bytes, other._uses_ahead = {}, 0, Counter()
        return other

    def start_over(self, *, warn: Callable[[str], None], on_batch: Callable[[], None]) -> None:
        """For another run: counts from zero, nothing announced, other listeners; all logits at hand stay."""
        self.counts = TileCounts(unperturbed_bytes=self.counts.unperturbed_bytes, kept_bytes_peak=self._kept_bytes)
        self._uses_ahead.clear()
        self.runner.start_over()
        self.runner.warn, self.runner.on_batch = warn, on_batch

    def announce(self, coalitions: NDArray[np.bool_]) -> None:
        """Says which coalitions (n, n_players) will be asked for, so that results that come again are kept.

        What an earlier run left, because it was stopped, and nobody announces again makes room.
        """
        patterns, touched = self._patterns(coalitions)
        for row_patterns, row_touched in zip(patterns, touched):
            self._uses_ahead.update(p for p, is_touched in zip(row_patterns, row_touched) if is_touched)
        for pattern in [pattern for pattern in self._kept if not self._uses_ahead[pattern]]:
            self._let_go(pattern)

    def fused(self, coalitions: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
        """Yields (row numbers (b,), float32 logits (b, n_channels, k, j, i) of the region's box), block by block.

        Rows come in an order that lets equal patterns meet; each is yielded once. The tensor is overwritten by the
        next block.
        """
        patterns, touched = self._patterns(coalitions)
        self.counts.n_coalitions += len(coalitions)
        self.counts.n_region_tiles += touched.size
        self.counts.n_touched_tiles += int(touched.sum())
        asked = Counter(p for row, hit in zip(patterns, touched) for p, is_touched in zip(row, hit) if is_touched)
        for pattern, uses in asked.items():
            self._uses_ahead[pattern] = max(self._uses_ahead[pattern], uses)
        order = _meeting_order(patterns)
        for begin in range(0, len(order), self._block):
            rows = order[begin : begin + self._block]
            yield rows, self._fused_block(coalitions, rows, patterns, touched)

    def _fused_block(
        self, coalitions: NDArray, rows: NDArray, patterns: list[list[Pattern]], touched: NDArray
    ) -> torch.Tensor:
        with told_when_full("The logits of one coalition", TOO_LARGE_HINT):
            logits = self._full.expand(len(rows), *self._full.shape).clone()
        self.counts.accumulator_bytes_peak = max(self.counts.accumulator_bytes_peak, logits.numel() * 4)
        users: dict[Pattern, list[int]] = {}
        for position, row in enumerate(rows):
            for pattern, is_touched in zip(patterns[row], touched[row]):
                if is_touched:
                    users.setdefault(pattern, []).append(position)
        missing = [pattern for pattern in users if pattern not in self._kept]
        for pattern in users:
            if pattern in self._kept:
                self._add(logits, users[pattern], pattern[0], self._kept[pattern])

        def make_tiles(jobs: Sequence[int]) -> torch.Tensor:
            chosen = [missing[job] for job in jobs]
            return torch.stack([self._tiles.tile(p[0], coalitions[rows[users[p][0]]]) for p in chosen])

        def take(job: int, tile_logits: torch.Tensor) -> None:
            pattern = missing[job]
            place = pattern[0]
            change = tile_logits[:, *self._region.in_tile[place]].float() - self._full_parts[place]
            change *= self._region.shares[place]
            self._add(logits, users[pattern], place, change)
            if self._uses_ahead[pattern] > len(users[pattern]):
                self._keep(pattern, change)

        self.runner.run(len(missing), make_tiles, take)
        self.counts.n_network_tiles = self.runner.n_tiles
        for pattern, positions in users.items():
            self._spend(pattern, len(positions))
        return logits

    def _add(self, logits: torch.Tensor, positions: list[int], place: int, change: torch.Tensor) -> None:
        where = self._region.in_box[place]
        for position in positions:
            logits[position][:, *where] += change

    def _keep(self, pattern: Pattern, change: torch.Tensor) -> None:
        n_bytes = change.numel() * change.element_size()
        if self._kept_bytes + n_bytes > self._kept_bytes_most:
            return
        self._kept[pattern] = change
        self._kept_bytes += n_bytes
        self.counts.kept_bytes_peak = max(self.counts.kept_bytes_peak, self._kept_bytes)

    def _spend(self, pattern: Pattern, n_uses: int) -> None:
        self._uses_ahead[pattern] -= n_uses
        if self._uses_ahead[pattern] > 0:
            return
        del self._uses_ahead[pattern]
        if pattern in self._kept:
            self._let_go(pattern)

    def _let_go(self, pattern: Pattern) -> None:
        change = self._kept.pop(pattern)
        self._kept_bytes -= change.numel() * change.element_size()

    def _run_unperturbed(self, segmenter: Segmenter) -> torch.Tensor:
        everyone = np.ones(
            1 + max((int(p.max()) for p in self._tiles.players_in_tile if len(p)), default=0), dtype=bool
        )
        full = torch.zeros((segmenter.n_channels, *self._region.mask.shape), device=segmenter.device)

        def make_tiles(jobs: Sequence[int]) -> torch.Tensor:
            return torch.stack([self._tiles.tile(job, everyone) for job in jobs])

        def take(job: int, tile_logits: torch.Tensor) -> None:
            part = tile_logits[:, *self._region.in_tile[job]].float().clone()
            self._full_parts.append(part)
            full[:, *self._region.in_box[job]] += part * self._region.shares[job]

        self.runner.run(self._region.n_tiles, make_tiles, take)
        self.counts.n_network_tiles = self.counts.n_unperturbed_tiles = self.runner.n_tiles
        return full

    def _patterns(self, coalitions: NDArray[np.bool_]) -> tuple[list[list[Pattern]], NDArray[np.bool_]]:
        """For each coalition and tile: its pattern, and whether some player inside the tile is absent."""
        columns: list[list[Pattern]] = []
        touched = np.zeros((len(coalitions), self._region.n_tiles), dtype=bool)
        for place, players in enumerate(self._tiles.players_in_tile):
            present = coalitions[:, players]
            touched[:, place] = ~present.all(axis=1)
            packed = np.packbits(present, axis=1)
            columns.append([(place, row.tobytes()) for row in packed])
        return [list(row) for row in zip(*columns)], touched


def _meeting_order(patterns: list[list[Pattern]]) -> NDArray[np.int64]:
    """Row numbers sorted so that rows with equal patterns in the tiles of fewest patterns stand side by side."""
    if not patterns:
        return np.zeros(0, dtype=np.int64)
    ids = np.empty((len(patterns), len(patterns[0])), dtype=np.int64)
    for place in range(ids.shape[1]):
        _, ids[:, place] = np.unique([row[place][1] for row in patterns], return_inverse=True)
    fewest_first = np.argsort(ids.max(axis=0), kind="stable")
    return np.lexsort(ids[:, fewest_first[::-1]].T)
