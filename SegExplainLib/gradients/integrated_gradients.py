"""Integrated gradients, with steps where the number changes, halved until the map adds up and has settled."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.gradients.memory import Memory, remember
from SegExplainLib.gradients.stitched_score import StitchedScore
from SegExplainLib.gradients.voxel_estimate import VoxelEstimate, require_baselines
from SegExplainLib.model.memory import available_bytes
from SegExplainLib.players.partition import PlayerPartition

N_STEPS = 16
"""Steps of the first estimate from each baseline, if the budget allows."""


def integrated_gradients(
    score: StitchedScore,
    partition: PlayerPartition,
    *,
    baselines: Sequence[NDArray[np.float32]],
    budget: int = 129,
    tolerance: float = 0.05,
    seed: int = 0,
    memory: Memory | None = None,
) -> Iterator[VoxelEstimate]:
    """The gradient along the straight path from a baseline to the CT, times their difference, mean over baselines.

    The map adds up to the explained number of the CT minus that of the baseline, so that its error can be seen. By the
    trapezoid rule on steps that are short where the number changes, which takes forward runs to find: under instance
    norm a path from an even baseline changes almost everything within its first thousandth. Then all steps are halved,
    again and again, and every gradient serves again. It stops when two relative errors are at most ``tolerance``: of
    each baseline the gap between the sum and what it should be, over the range of the number along the path; and of the
    units how far any value moved in the last halving, over the range of the values. These moves stand in the
    estimate's ``standard_errors``: they overstate the error that is left.

    Args:
        score: The explained number.
        partition: The units.
        baselines: Network inputs, each float32 (channels, k, j, i).
        budget: Most gradients; with m baselines s steps cost 1 + m s. Where the network keeps a single graph, m
            ``N_STEPS`` forward runs come before; else the maps of the first steps wait until their lengths are known.
        tolerance: As above; 0 spends the budget.
        seed: Is told in the estimate; nothing is drawn.
        memory: Of an interrupted run with the same baselines, to go on from; keeps the sums of this one.

    Raises:
        InvalidRequest: there is no baseline, or the budget does not pay for two steps from each.

    References:
        Sundararajan et al. (2017), Axiomatic attribution for deep networks; where the steps lie is our own.
    """
    require_baselines(baselines, "integrated-gradients")
    n_steps = min(N_STEPS, (budget - 1) // len(baselines))
    if n_steps < 2:
        raise InvalidRequest(
            f"Integrated gradients from {len(baselines)} baseline(s) need at least {1 + 2 * len(baselines)} gradients; "
            f"the budget is {budget}.",
            "Raise --budget.",
        )
    memory = {} if memory is None else memory
    paths = [_Path(score, score.cut(baseline), memory, number=n) for n, baseline in enumerate(baselines)]
    if not memory:
        _, full_gradient = score.gradient(score.image)
        remember(memory, _merged(path.begun(full_gradient) for path in paths))
    for path in paths:
        path.cut(n_steps)
    empty_value = float(np.mean([path.empty_value for path in paths]))
    while True:
        for path in paths:
            path.take_gradients()
        n_gradients = 1 + sum(path.n_steps for path in paths)
        voxel_map = score.on_grid(torch.from_numpy(np.mean([path.voxel_map for path in paths], axis=0)))
        values = partition.pooled(voxel_map)
        moves = np.abs(values - memory.get("values", math.inf))
        is_settled = moves.max() <= tolerance * np.ptp(values) and all(path.gap <= tolerance for path in paths)
        reason = "budget" if 2 * n_gradients - 1 > budget else None
        if tolerance > 0.0 and is_settled:
            reason = "tolerance"
        yield VoxelEstimate(
            voxel_map,
            values,
            moves,
            score.full_value,
            n_gradients,
            seed,
            reason,
            empty_value=empty_value,
            completeness_gap=float(voxel_map.sum(dtype=np.float64)) - (score.full_value - empty_value),
        )
        if reason is not None:
            return
        memory.update({"values": values} | _merged(path.halved() for path in paths))


def _merged(parts: Iterable[Memory]) -> Memory:
    """All of them in one, so that they are remembered together."""
    return {name: array for part in parts for name, array in part.items()}


class _Path:
    """The integral from one baseline. All that it knows lies in the memory, under its number:

    map: float64 (k, j, i) of the reach, the integral as far as gradients have been taken.
    ends: float64 (n_steps + 1,), of the steps, from 0 to 1.
    shares: float32 (n_steps + 1, k, j, i), while the steps are cut and where memory is there for them: of the ends.
    numbers: float64, the explained number at the ends; after those, once the steps are cut, wherever else it was met.
    todo: float64, the ends whose gradients are still to be taken; nothing until the steps are cut.
    """

    def __init__(self, score: StitchedScore, start: torch.Tensor, memory: Memory, *, number: int) -> None:
        self._score = score
        self._start = start
        self._difference = score.image - start
        self._memory = memory
        self._prefix = f"path {number} "

    def begun(self, full_gradient: torch.Tensor) -> Memory:
        """To be remembered: the CT's own share, before the length of its step is known."""
        return self._named(map=self._share(full_gradient))

    def cut(self, n_steps: int) -> None:
        """Cuts the path into steps: the one that is longest, in length and change of the number, is halved next."""
        if self._has("todo"):
            return
        if not self._has("ends"):
            self._memory.update(self._named(ends=np.ones(1), numbers=np.array([self._score.full_value])))
            if self._has_memory_for(n_steps):
                self._memory.update(self._named(shares=self.voxel_map[None].astype(np.float32)))
        if self.n_steps == 0:
            self._end_step(0, 0.0)
        while self.n_steps < n_steps:
            ends, numbers = self._known("ends"), self._known("numbers")
            sizes = np.diff(ends) + np.abs(np.diff(numbers)) / (np.ptp(numbers) or 1.0)
            after = int(np.argmax(sizes)) + 1
            self._end_step(after, float(ends[after - 1 : after + 1].mean()))
        self._memory.update(self._weighed())

    def _has_memory_for(self, n_steps: int) -> bool:
        """Whether the maps of all steps may wait: where more than one graph may, and a quarter of the host is free."""
        n_bytes = (n_steps + 1) * self.voxel_map.nbytes  # in half the precision, but twice while one is put in
        return self._score.network.kept_graphs > 1 and n_bytes <= available_bytes(torch.device("cpu")) // 4

    def _end_step(self, after: int, place: float) -> None:
        """A step ends there: its number, and its gradient where that is kept until all lengths are known."""
        if self._has("shares"):
            number, gradient = self._score.gradient(self._at(place))
            shares = np.insert(self._known("shares"), after, self._share(gradient).astype(np.float32), axis=0)
            remember(self._memory, self._ended(after, place, number) | self._named(shares=shares))
        else:
            self._memory.update(self._ended(after, place, self._score.value(self._at(place))))

    def _ended(self, after: int, place: float, number: float) -> Memory:
        ends, numbers = np.insert(self._known("ends"), after, place), np.insert(self._known("numbers"), after, number)
        return self._named(ends=ends, numbers=numbers)

    def _weighed(self) -> Memory:
        """To be remembered once the steps are cut: what is known of the integral, and whose gradients are to come."""
        ends = self._known("ends")
        if not self._has("shares"):
            return self._named(map=self.voxel_map * ((1.0 - ends[-2]) / 2), todo=ends[:-1])
        shares = self._memory.pop(self._prefix + "shares")
        lengths = np.diff(ends, prepend=0.0, append=1.0)
        weights = (lengths[:-1] + lengths[1:]) / 2
        return self._named(map=np.tensordot(weights, shares.astype(np.float64), axes=1), todo=np.zeros(0))

    def take_gradients(self) -> None:
        """Takes those that are still to be taken, by the trapezoid rule."""
        while len(self._known("todo")):
            place, ends = float(self._known("todo")[0]), self._known("ends")
            n = int(np.searchsorted(ends, place))
            weight = (ends[n + 1] - ends[max(n - 1, 0)]) / 2
            number, gradient = self._score.gradient(self._at(place))
            sums = self._named(
                map=self.voxel_map + weight * self._share(gradient),
                numbers=np.append(self._known("numbers"), number),
                todo=self._known("todo")[1:],
            )
            remember(self._memory, sums)

    def halved(self) -> Memory:
        """To be remembered: every step becomes two, with a gradient to be taken between them."""
        ends = self._known("ends")
        middles = (ends[:-1] + ends[1:]) / 2
        return self._named(map=self.voxel_map / 2, ends=np.sort(np.append(ends, middles)), todo=middles)

    @property
    def voxel_map(self) -> NDArray[np.float64]:
        """float64 (k, j, i) of the reach."""
        return self._known("map")

    @property
    def n_steps(self) -> int:
        """Each of them costs a gradient."""
        return len(self._known("ends")) - 1

    @property
    def empty_value(self) -> float:
        """The explained number at the baseline."""
        return float(self._known("numbers")[0])

    @property
    def gap(self) -> float:
        """How far the map is from adding up, over the range of the number along the path; 0 where that is constant."""
        gap = abs(float(self.voxel_map.sum()) - (self._score.full_value - self.empty_value))
        spread = float(np.ptp(self._known("numbers")))
        return gap / spread if spread > 0.0 else (math.inf if gap > 0.0 else 0.0)

    def _at(self, place: float) -> torch.Tensor:
        return self._start + place * self._difference

    def _share(self, gradient: torch.Tensor) -> NDArray[np.float64]:
        share: NDArray[np.float64] = (self._difference * gradient).sum(0, dtype=torch.float64).numpy()
        return share

    def _named(self, **arrays: NDArray) -> Memory:
        return {self._prefix + name: array for name, array in arrays.items()}

    def _has(self, name: str) -> bool:
        return self._prefix + name in self._memory

    def _known(self, name: str) -> NDArray:
        return self._memory[self._prefix + name]
