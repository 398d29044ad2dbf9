"""The schemes that are compared: an estimator, and which tiles its coalitions take."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.equal_error.opened import OpenedCase
from SegExplainLib.answers import Estimator
from SegExplainLib.model.tile_cache import n_distinct_tiles
from SegExplainLib.pipeline import ESTIMATORS
from SegExplainLib.shapley.value_function import ValueFunction

Tiles = Callable[[NDArray[np.bool_], OpenedCase], int]


def whole_volume(coalitions: NDArray[np.bool_], case: OpenedCase) -> int:
    """Every tile of the volume for every coalition."""
    return len(coalitions) * case.question.case.tiles.n_tiles


def touched(coalitions: NDArray[np.bool_], case: OpenedCase) -> int:
    """The region's tiles that hold an absent unit."""
    return sum(int((~coalitions[:, players].all(axis=1)).sum()) for players in case.players_in_tile)


def patterns(coalitions: NDArray[np.bool_], case: OpenedCase) -> int:
    """The region's tiles, each distinct pattern of absent units once."""
    return n_distinct_tiles(coalitions, case.players_in_tile)


@dataclass(frozen=True)
class Scheme:
    """One way to an answer.

    Attributes:
        name: For tables.
        method: One of the pipeline's estimators.
        tiles: Counts the tiles that coalitions take.
        streams: Gives estimates on the way.
    """

    name: str
    method: str
    tiles: Tiles
    streams: bool = True

    @property
    def estimator(self) -> Estimator:
        """As a function."""
        return ESTIMATORS[self.method]


OURS = "Adjusted SHAP, patterns once (default)"
SEED_PAPER = "plain sampling, touched ROI tiles (our reading of 2604.11775)"
SCHEMES = (
    Scheme("captum.KernelShap, whole volume", "captum", whole_volume, streams=False),
    Scheme("shap.KernelExplainer, whole volume", "shap", whole_volume, streams=False),
    Scheme(SEED_PAPER, "captum", touched, streams=False),
    Scheme("KernelSHAP in pairs, patterns once", "kernel-shap", patterns),
    Scheme("Leverage SHAP, patterns once", "leverage-shap", patterns),
    Scheme(OURS, "adjusted-shap", patterns),
)


@dataclass(frozen=True)
class Point:
    """An estimate on the way.

    Attributes:
        n_evaluations: Different coalitions asked.
        n_tiles: Network tiles that they take.
        error: Root mean square over the units, over the range of the reference.
        standard_error: As the estimate tells it, likewise; nan where it tells none.
    """

    n_evaluations: float
    n_tiles: float
    error: float
    standard_error: float


class _Listened:
    """Passes on to a game, and keeps what was asked, in order."""

    def __init__(self, game: ValueFunction) -> None:
        self.n_players = game.n_players
        self.closeness = getattr(game, "closeness", None)
        self._game = game
        self.asked: list[NDArray[np.bool_]] = []

    def announce(self, coalitions: NDArray[np.bool_]) -> None:
        """Lets the tile cache know what will come."""
        listener = getattr(self._game, "announce", None)
        if listener is not None:
            listener(coalitions)

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        self.asked.append(coalitions)
        return self._game(coalitions)


def run(
    scheme: Scheme, game: ValueFunction, case: OpenedCase, truth: NDArray[np.float64], *, budget: int, seed: int
) -> list[Point]:
    """Every estimate of one run, against the true values (n_players,)."""
    listened, spread, points = _Listened(game), float(np.ptp(truth)), []
    for estimate in scheme.estimator(listened, budget=budget, tolerance=0.0, seed=seed):
        asked = np.unique(np.concatenate(listened.asked), axis=0)
        values, errors = estimate.values.reshape(-1), estimate.standard_errors.reshape(-1)
        points.append(
            Point(
                estimate.n_evaluations,
                scheme.tiles(asked, case),
                float(np.sqrt(np.mean((values - truth) ** 2))) / spread,
                float(np.sqrt(np.mean(errors**2))) / spread,
            )
        )
    return points
