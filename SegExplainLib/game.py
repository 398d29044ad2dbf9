"""The cooperative game that an explanation solves: coalitions of units in, values of the explained number out.

Evaluated coalitions are kept as tallies for every class, so that another class or value function, or a run that was
interrupted, asks the network for nothing that it has answered before.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.model.tile_cache import TileCache
from SegExplainLib.target import SUMS, TargetScore, predicted_mask, region_tally


@dataclass
class TallyTable:
    """Every coalition evaluated so far and its tallies, in the order of evaluation, each coalition once.

    Attributes:
        n_players: Players of the game.
        n_channels: Channels of the network.
    """

    n_players: int
    n_channels: int
    _place: dict[bytes, int] = field(default_factory=dict, repr=False)
    _tallies: list[NDArray[np.float64]] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self._tallies)

    def append(self, coalitions: NDArray[np.bool_], tallies: NDArray[np.float64]) -> None:
        """Adds rows (n, n_players) with tallies (n, n_channels, 8); a coalition that is there keeps its tally."""
        for key, tally in zip(_keys(coalitions), tallies, strict=True):
            if key not in self._place:
                self._place[key] = len(self._tallies)
                self._tallies.append(np.asarray(tally, dtype=np.float64))

    def is_known(self, coalitions: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """bool (n,): which rows have been evaluated."""
        return np.array([key in self._place for key in _keys(coalitions)], dtype=bool)

    def tallies_of(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        """float64 (n, n_channels, 8) of known rows.

        Raises:
            InvalidRequest: a row was never evaluated.
        """
        try:
            rows = [self._tallies[self._place[key]] for key in _keys(coalitions)]
        except KeyError as error:
            raise InvalidRequest(
                "The stored coalitions do not hold all that this estimator asks for.",
                "Run the explanation again with --resume.",
            ) from error
        return np.stack(rows) if rows else np.zeros((0, self.n_channels, len(SUMS)))

    @property
    def coalitions(self) -> NDArray[np.bool_]:
        """bool (n, n_players), in the order of evaluation."""
        packed = np.frombuffer(b"".join(self._place), dtype=np.uint8).reshape(len(self._place), -(-self.n_players // 8))
        return np.unpackbits(packed, axis=1, count=self.n_players).astype(bool)

    @property
    def tallies(self) -> NDArray[np.float64]:
        """float64 (n, n_channels, 8), in the order of evaluation."""
        return np.stack(self._tallies) if self._tallies else np.zeros((0, self.n_channels, len(SUMS)))


def _keys(coalitions: NDArray[np.bool_]) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(np.asarray(coalitions, dtype=bool), axis=1)]


class RegionTallier:
    """Tallies of coalitions by the network: masked tiles -> fused logits -> sums over the region's voxels.

    Args:
        cache: Gives fused logits of the region's bounding box.
        roi: bool (k, j, i) of that box, True on the region.
        reference: bool (n_channels, n_voxels), y over the region's voxels in C order; None takes the unperturbed
            prediction of every channel.
        is_exclusive: Softmax over the channels, or a sigmoid for each.
    """

    def __init__(
        self, cache: TileCache, roi: NDArray[np.bool_], *, reference: NDArray[np.bool_] | None, is_exclusive: bool
    ) -> None:
        self.cache = cache
        device = cache.full_logits.device
        self._voxels = torch.from_numpy(np.flatnonzero(roi)).to(device)
        self._is_exclusive = is_exclusive
        self.own_prediction = predicted_mask(self._at_voxels(cache.full_logits), is_exclusive=is_exclusive)
        self.reference = self.own_prediction if reference is None else torch.from_numpy(reference).to(device)

    def for_players(self, labels: NDArray) -> Self:
        """The same region, removal and reference for other players: 0 context, player p has label p + 1 (k, j, i)."""
        other = copy.copy(self)
        other.cache = self.cache.for_players(labels)
        return other

    def announce(self, coalitions: NDArray[np.bool_]) -> None:
        """Tells the cache what will be asked."""
        self.cache.announce(coalitions)

    @torch.no_grad()
    def blocks(self, coalitions: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Yields (row numbers (b,), tallies (b, n_channels, 8)), each row once, in the cache's order."""
        for rows, logits in self.cache.fused(coalitions):
            # One coalition at a time: the softmax of a whole block would double its memory.
            tallies = [
                region_tally(self._at_voxels(one), self.reference, is_exclusive=self._is_exclusive) for one in logits
            ]
            yield rows, torch.stack(tallies).cpu().numpy()

    def _at_voxels(self, logits: torch.Tensor) -> torch.Tensor:
        flat = logits.flatten(-3)
        return flat if len(self._voxels) == flat.shape[-1] else flat[..., self._voxels]


class RegionGame:
    """``shapley.ValueFunction`` of a region: what the explained numbers are when only some units are present.

    Args:
        table: Known tallies; new ones are added to it.
        scores: (channel, quantity) of each explained number; the first one decides when an estimator stops.
        tallier: Evaluates what the table lacks; None for a replay, which asks the network for nothing.
        closeness: Says how close each player is to the region, (n_players,) in [0, 1]; None where that is not known.
        on_block: Is called after each evaluated block, to show progress, to save, or to raise ``Cancelled``.

    Attributes:
        n_players: Players of the game.
        n_answered: Coalitions answered so far, from the table or by the network; one that is asked again counts again.
    """

    def __init__(
        self,
        table: TallyTable,
        scores: Sequence[tuple[int, TargetScore]],
        *,
        tallier: RegionTallier | None = None,
        closeness: Callable[[], NDArray[np.float64]] | None = None,
        on_block: Callable[[], None] | None = None,
    ) -> None:
        self.table = table
        self.n_players = table.n_players
        self.n_answered = 0
        self._closeness = closeness
        self._scores = tuple(scores)
        self._tallier = tallier
        self._on_block = on_block or (lambda: None)

    @property
    def closeness(self) -> NDArray[np.float64] | None:
        """(n_players,) in [0, 1], 1 for the closest to the region; None where that is not known."""
        return self._closeness() if self._closeness else None

    def announce(self, coalitions: NDArray[np.bool_]) -> None:
        """Tells the tile cache which coalitions (n, n_players) an estimator will ask for."""
        if self._tallier is not None:
            self._tallier.announce(self._missing(coalitions))

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        """float64 (n, n_targets): the explained numbers under each coalition (n, n_players)."""
        missing = self._missing(coalitions)
        n_after = self.n_answered + len(coalitions)
        self.n_answered = n_after - len(missing)
        self._evaluate(missing)
        self.n_answered = n_after
        tallies = self.table.tallies_of(coalitions)
        return np.stack([score.of(tallies[:, channel]) for channel, score in self._scores], axis=-1)

    def _missing(self, coalitions: NDArray[np.bool_]) -> NDArray[np.bool_]:
        unknown = coalitions[~self.table.is_known(coalitions)]
        first = {key: row for row, key in reversed(list(enumerate(_keys(unknown))))}
        return unknown[sorted(first.values())]

    def _evaluate(self, coalitions: NDArray[np.bool_]) -> None:
        if not len(coalitions) or self._tallier is None:
            return
        for rows, tallies in self._tallier.blocks(coalitions):
            self.table.append(coalitions[rows], tallies)
            self.n_answered += len(rows)
            self._on_block()
