"""How long a run will take: which tiles its coalitions need, and how long the network takes for one."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.case import PreparedCase
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.counterfactual.search import N_STEPS as N_STEPS_OF_SEARCH
from SegExplainLib.game_record import GameRecord
from SegExplainLib.gradient_run import GRADIENTS
from SegExplainLib.gradients.integrated_gradients import N_STEPS
from SegExplainLib.model.segmenter import Segmenter
from SegExplainLib.model.tile_cache import n_distinct_tiles, players_in_tiles
from SegExplainLib.model.tile_runner import TileRunner
from SegExplainLib.pipeline import ESTIMATORS, SMALLEST_BUDGET
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.progress import Progress
from SegExplainLib.shapley.stopping import MIN_DEGREES_OF_FREEDOM

ENOUGH_S = 1.0
MOST_ROUNDS = 5
"""Tiles are timed in rounds as the run will have them, until they have taken ``ENOUGH_S`` in all."""

GRADIENT_TILES = 4
"""Tiles forward that a gradient costs: each one forward for the number, forward again with its graph, and back."""

ONE_ESTIMATE = ("exact", "shap", "captum")
"""Methods that give one estimate, at the end, so that none can be good enough before."""


def seconds_a_tile(segmenter: Segmenter, case: PreparedCase, *, batch: int, progress: Progress) -> float:
    """Seconds for one of the region's tiles, in the best of a few rounds: the first ones warm the device up."""
    image = torch.from_numpy(case.network_input.array)
    runner = TileRunner(segmenter, case.tiles.tile_shape, batch=batch, warn=progress.warn)
    runner.on_batch = progress.check_cancelled

    def make_tiles(jobs: Sequence[int]) -> torch.Tensor:
        numbers = [int(case.region.numbers[job % case.region.n_tiles]) for job in jobs]
        return torch.stack([image[:, *case.tiles.slices(number)] for number in numbers]).to(segmenter.device)

    best, spent = math.inf, 0.0
    for _ in range(MOST_ROUNDS):
        n_tiles, begin = runner.n_at_once, time.perf_counter()
        runner.run(n_tiles, make_tiles, lambda _job, _logits: None)
        seconds = time.perf_counter() - begin
        best, spent = min(best, seconds / n_tiles), spent + seconds
        if spent > ENOUGH_S:
            break
    return best


def tiles_least_and_most(
    request: ExplainRequest,
    case: PreparedCase,
    *,
    n_units: int,
    partition: PlayerPartition | None,
    record: GameRecord | None,
) -> tuple[int, int]:
    """Network tiles of the shortest possible run, and of the whole budget; a gradient's counted in tiles forward.

    Args:
        request: With its budget filled in.
        case: CT, region and tiles.
        n_units: Of the game.
        partition: The units; without them every tile of every coalition counts.
        record: Coalitions that have been evaluated before and cost nothing.
    """
    if request.uses_gradients:
        least, most = gradients_least_and_most(request)
        return least * GRADIENT_TILES * case.region.n_tiles, most * GRADIENT_TILES * case.region.n_tiles
    n_least = fewest_evaluations(request, n_units)
    planned = planned_coalitions(request, n_units) if partition else None
    if planned is None or partition is None:
        return n_least * case.region.n_tiles, request.budget * case.region.n_tiles
    players = players_in_tiles(partition.labels, case.region)

    def n_tiles(coalitions: NDArray[np.bool_]) -> int:
        new = coalitions[~record.table.is_known(coalitions)] if record else coalitions
        return n_distinct_tiles(new, players)

    return n_tiles(planned[:n_least]), n_tiles(planned)


def tiles_of_removal(request: ExplainRequest, case: PreparedCase) -> int:
    """Network tiles, in tiles forward, that it takes at most to make what an absent unit looks like."""
    is_searched = request.removal == "counterfactual" and request.uses_removal
    return N_STEPS_OF_SEARCH * GRADIENT_TILES * case.region.n_tiles if is_searched else 0


def gradients_least_and_most(request: ExplainRequest) -> tuple[int, int]:
    """Gradients after which the stopping rule may end the run at the earliest, and the whole budget."""
    if request.budget == 1 or request.tolerance == 0:
        return request.budget, request.budget
    if GRADIENTS[request.method].has_errors:
        return min(request.budget, MIN_DEGREES_OF_FREEDOM + 1), request.budget
    n_paths = request.n_baselines
    n_steps = min(N_STEPS, (request.budget - 1) // n_paths)
    return min(request.budget, 1 + 2 * n_steps * n_paths), request.budget


def fewest_evaluations(request: ExplainRequest, n_units: int) -> int:
    """Evaluations after which the stopping rule may end the run at the earliest."""
    never_early = request.tolerance == 0 and not request.settle
    if never_early or request.method in ONE_ESTIMATE or 2**n_units <= request.budget:
        return request.budget
    if request.method == "permutation":
        needed = 2 + 2 * (MIN_DEGREES_OF_FREEDOM + 1) * (n_units - 1)
    elif request.method == "adjusted-shap":  # no pair is spent on a regression: the first look may be the last
        needed = SMALLEST_BUDGET[request.method](n_units)
    else:
        needed = SMALLEST_BUDGET[request.method](n_units) + 2 * MIN_DEGREES_OF_FREEDOM
    return min(request.budget, needed)


class _Heard(Exception):
    """The estimator has said, or begun to ask, what it wants to know."""


class _ListeningGame:
    """A game that hears what an estimator announces, and answers nothing."""

    def __init__(self, n_players: int) -> None:
        self.n_players = n_players
        self.announced: NDArray[np.bool_] | None = None

    def announce(self, coalitions: NDArray[np.bool_]) -> None:
        self.announced = coalitions
        raise _Heard

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:  # noqa: ARG002
        raise _Heard


def planned_coalitions(request: ExplainRequest, n_units: int) -> NDArray[np.bool_] | None:
    """(n, n_units): what the estimator may ask for, in order; None where it does not say."""
    game = _ListeningGame(n_units)
    try:
        stream: Iterator[Any] = ESTIMATORS[request.method](
            game, budget=request.budget, tolerance=request.tolerance, seed=request.seed
        )
        next(stream)
    except _Heard:
        pass
    return game.announced
