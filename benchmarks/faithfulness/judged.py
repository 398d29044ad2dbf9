"""One game, all methods: every number of the table, in long form."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.faithfulness.methods import Importances, random_importances
from benchmarks.faithfulness.opened import OpenedGame, voxel_game
from SegExplainLib.atomic import atomic_path
from SegExplainLib.evaluation.agreement import agreement
from SegExplainLib.evaluation.metric import Metric, undefined
from SegExplainLib.evaluation.plan import planned
from SegExplainLib.evaluation.random_orders import Band, RandomOrders
from SegExplainLib.evaluation.remembered_game import is_negligible
from SegExplainLib.evaluation.unit_curves import SAME_AREA, Axis, UnitCurve, abpc, deletion_curve, unit_faithfulness
from SegExplainLib.evaluation.unit_orders import why_unranked
from SegExplainLib.evaluation.unit_scores import (
    ORDER_ALONG,
    SUBSETS,
    Yardsticks,
    curve_coalitions,
    curve_orders,
    order_metrics,
    unit_scores,
    yardsticks,
)
from SegExplainLib.evaluation.unit_subsets import faithfulness_correlation
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.volume import Volume

N_RANDOM = 10
"""Draws of random importances where the game is known in full and they cost nothing."""
VOXEL_STEPS = 40
"""Steps of 2.5 %."""
ABSOLUTE: dict[Axis, str] = {"units": "absolute", "volume": "absolute-per-ml"}


@dataclass(frozen=True)
class Row:
    """One number. ``chance`` is what importances that know nothing give; ``why`` tells why there is no value."""

    method: str
    order: str
    metric: str
    value: float | None
    standard_error: float | None
    chance: float | None
    why: str = ""


@dataclass(frozen=True)
class Curve:
    """A deletion curve, most important first.

    Attributes:
        method: Whose order.
        axis: "units" or "volume".
        shares: Removed, from 0 to 1.
        values: 1 for the CT as it is, 0 with every unit removed.
    """

    method: str
    axis: str
    shares: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Judged:
    """All that is said of one game.

    Attributes:
        settings: What it was made with; equal settings give equal numbers.
        case, units, removal: Which game.
        n_units: Of it.
        n_asked: Coalitions that the network was asked for.
        seconds: It took.
        rows: The numbers.
        curves: For the figure.
    """

    settings: dict
    case: str
    units: str
    removal: str
    n_units: int
    n_asked: int
    seconds: float
    rows: tuple[Row, ...]
    curves: tuple[Curve, ...]

    def save(self, path: Path) -> None:
        """Writes JSON."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), allow_nan=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Judged":
        """Reads JSON."""
        given = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(Row(**row) for row in given.pop("rows"))
        curves = tuple(Curve(**curve) for curve in given.pop("curves"))
        return cls(**given, rows=rows, curves=curves)


def judged_rows(
    opened: OpenedGame, answers: Sequence[Importances], *, budget: int, seed: int
) -> tuple[list[Row], list[Curve]]:
    """Every metric of every answer and of the controls, and the curves.

    Args:
        opened: The game that judges.
        answers: Of the methods.
        budget: Most new coalitions for random orders, subsets and bounds, where the game is not known in full.
        seed: Of all draws.
    """
    sticks = _yardsticks(opened, [answer.amounts for answer in answers], budget=budget, seed=seed)
    rows, curves = [], []
    for answer in answers:
        scores = unit_scores(opened.memory, answer.amounts, sticks, has_scale=answer.has_scale)
        for family, metrics in scores.metrics.items():
            rows += [_row(answer.method, family, metric) for metric in metrics]
        for axis, by in ORDER_ALONG.items():
            curves.append(_curve(answer.method, axis, scores.curves[by].most_first))
        rows += _anatomy(opened, answer)
        if opened.is_full:
            rows += _by_absolute(opened, answer, sticks)
    rows += _volume_only(sticks)
    curves += [_curve("volume only", axis, sticks.volume_only.most_first) for axis in ORDER_ALONG]
    if sticks.random:
        bands, ends = sticks.random.bands, sticks.volume_only.most_first
        curves += [_random_curve(axis, bands[axis], ends) for axis in ORDER_ALONG]
    return rows + _random_rows(opened, sticks, seed=seed), [curve for curve in curves if curve.values]


def fidelity_rows(opened: OpenedGame, answers: Sequence[Importances], *, seed: int) -> Iterator[Row]:
    """Area between least- and most-important-first deletion of voxels in steps of 2.5 %, by value and by size.

    Voxels get the intensities that the units' removal gives them.

    References:
        Brocki et al. (2022), fidelity in the "original" and the "absolute" order.
    """
    noise = np.random.default_rng(seed).normal(size=opened.question.partition.labels.shape).astype(np.float32)
    for method, voxel_map in [*((answer.method, answer.voxel_map) for answer in answers), ("random", noise)]:
        original = _fidelity(opened, voxel_map, seed=seed)
        is_signed = bool((voxel_map < 0).any())
        absolute = _fidelity(opened, np.abs(voxel_map), seed=seed) if is_signed else original
        yield _row(method, "voxels, original", original)
        yield _row(method, "voxels, absolute", absolute)


def _fidelity(opened: OpenedGame, values: NDArray, *, seed: int) -> Metric:
    """Relative to how far removing every voxel moves the number."""
    players = ranked_voxels(values, opened.question.partition, seed=seed)
    game, order = voxel_game(opened, players), np.arange(players.n_players)
    game(curve_coalitions([order]))
    most, least = (deletion_curve(game, way, volumes_ml=players.volumes_ml) for way in (order, order[::-1]))
    span = abs(most.full_value - most.empty_value)
    if most.relative_values() is None:
        return undefined("fidelity", "Removing every voxel leaves the number as it is.", chance=0.0)
    return Metric("fidelity", abpc(most, least, axis="volume") / span, chance=0.0)


def ranked_voxels(values: NDArray, units: PlayerPartition, *, seed: int) -> PlayerPartition:
    """Players of 2.5 % of the units' voxels each, those of the largest values first; ties in random order."""
    voxels = np.flatnonzero(units.labels.ravel() > 0)
    shuffled = np.random.default_rng(seed).permutation(voxels)
    ranked = shuffled[np.argsort(-values.ravel()[shuffled], kind="stable")]
    labels = np.zeros(units.labels.size, dtype=np.int32)
    labels[ranked] = np.arange(len(ranked)) * VOXEL_STEPS // len(ranked) + 1
    names = tuple(f"step {step + 1}" for step in range(VOXEL_STEPS))
    return PlayerPartition(labels.reshape(units.labels.shape), units.grid, names, units.kind)


def _yardsticks(opened: OpenedGame, amounts: list[NDArray], *, budget: int, seed: int) -> Yardsticks:
    volumes, n = opened.question.partition.volumes_ml, opened.memory.n_players
    orders = curve_orders(amounts, volumes, seed=seed)
    curves = curve_coalitions(orders)
    table = opened.game.record.table
    n_curves = int((~table.is_known(curves)).sum())
    plan = planned(n_units=n, n_curves=n_curves, n_unknown=2**n - len(table), budget=max(budget, n_curves))
    opened.memory.announce(curves)
    opened.memory(curves)
    return yardsticks(opened.memory, orders, volumes_ml=volumes, plan=plan, seed=seed)


def _row(method: str, order: str, metric: Metric) -> Row:
    return Row(method, order, metric.name, metric.value, metric.standard_error, metric.chance, why=metric.why_undefined)


def _anatomy(opened: OpenedGame, answer: Importances) -> list[Row]:
    """Agreement with the predicted target."""
    labels = opened.question.partition.labels
    found = agreement(Volume(answer.voxel_map, opened.predicted.grid), opened.predicted, within=labels > 0)
    return [_row(answer.method, "agreement", metric) for metric in (found.roc_auc, found.average_precision)]


def _by_absolute(opened: OpenedGame, answer: Importances, sticks: Yardsticks) -> list[Row]:
    """The order by size: the "absolute" of Brocki et al., by units."""
    rows = []
    for axis, by in ABSOLUTE.items():
        volumes = np.array(sticks.volumes_ml)
        found = unit_faithfulness(opened.memory, answer.sizes, volumes_ml=volumes, by=by, seed=sticks.seed)
        why = why_unranked(by, answer.sizes, volumes_ml=volumes)
        metrics = order_metrics(found, sticks, axes=(axis,), why=why)
        rows += [_row(answer.method, f"order by {by}", metric) for metric in metrics]
    return rows


def _volume_only(sticks: Yardsticks) -> list[Row]:
    why = why_unranked("volume", sticks.volumes_ml, volumes_ml=sticks.volumes_ml)
    metrics = order_metrics(sticks.volume_only, sticks, why=why)
    return [_row("volume only", f"order by {by}", metric) for by in ORDER_ALONG.values() for metric in metrics]


def _random_rows(opened: OpenedGame, sticks: Yardsticks, *, seed: int) -> list[Row]:
    """What knows nothing: means over random orders, and over draws of random importances."""
    rows = []
    if sticks.random:
        for axis, by in ORDER_ALONG.items():
            rows += [_row("random", f"order by {by}", metric) for metric in _random_areas(axis, sticks.random, sticks)]
    drawn: dict[str, list[Row]] = {}
    for draw in range(N_RANDOM if opened.is_full else 1):
        answer = random_importances(opened, seed=seed + draw)
        correlation = faithfulness_correlation(opened.memory, answer.amounts, seed=seed)
        for row in (_row("random", SUBSETS, correlation), *_anatomy(opened, answer)):
            drawn.setdefault(row.metric, []).append(row)
    return [*rows, *map(_mean_row, drawn.values())]


def _random_areas(axis: Axis, random: RandomOrders, sticks: Yardsticks) -> Iterator[Metric]:
    """Mean areas over random orders, relative to the drop, and between the bounds."""
    most = sticks.volume_only.most_first
    span = 0.0 if most.relative_values() is None else abs(most.full_value - most.empty_value)
    for area in ("aopc", "abpc"):
        yield _scaled(random.mean(f"{area}-{axis}"), f"{area}-{axis}-relative", span)
    if axis in sticks.bounds:
        bounds = sticks.bounds[axis]
        width = 0.0 if is_negligible(bounds.upper - bounds.lower, *most.values) else bounds.upper - bounds.lower
        yield _scaled(random.mean(f"aopc-{axis}"), f"naopc-{axis}", width, origin=bounds.lower)


def _scaled(metric: Metric, name: str, width: float, *, origin: float = 0.0) -> Metric:
    if metric.value is None or metric.standard_error is None or width == 0.0:
        return undefined(name, metric.why_undefined or SAME_AREA)
    return Metric(name, (metric.value - origin) / width, standard_error=metric.standard_error / width)


def _mean_row(rows: Sequence[Row]) -> Row:
    values = [row.value for row in rows if row.value is not None]
    first = rows[0]
    if not values:
        return first
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return Row("random", first.order, first.metric, float(np.mean(values)), error, first.chance)


def _curve(method: str, axis: Axis, curve: UnitCurve) -> Curve:
    relative = curve.relative_values()
    values = () if relative is None else tuple(relative.tolist())
    return Curve(method, axis, tuple(curve.shares(axis).tolist()), values)


def _random_curve(axis: Axis, band: Band, ends: UnitCurve) -> Curve:
    """The mean over random orders; all curves of a game have the same two ends."""
    span = ends.full_value - ends.empty_value
    values = () if ends.relative_values() is None else tuple((mean - ends.empty_value) / span for mean in band.mean)
    return Curve("random orders", axis, band.shares, values)
