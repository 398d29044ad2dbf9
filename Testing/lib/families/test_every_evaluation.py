"""The contract of a metric of faithfulness by units, held against each one.

EVERY computes all of them: name -> metrics of importances in a game. PERFECT says what true importances of units that
do not interact must reach.
"""

import dataclasses
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from games import AdditiveGame, CountingGame, PairwiseGame, RecordedGame, TableGame
from numpy.testing import assert_allclose

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.bounds import aopc_bounds, naopc
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.random_orders import random_orders
from SegExplainLib.evaluation.unit_curves import AXES, aopc, unit_faithfulness
from SegExplainLib.evaluation.unit_subsets import faithfulness_correlation, infidelity, sensitivity_n

N_UNITS = 7
Metrics = dict[str, Metric]


def of_curves(game, importances, *, volumes_ml, seed) -> Metrics:
    found = unit_faithfulness(game, importances, volumes_ml=volumes_ml, seed=seed)
    return {metric.name: metric for metric in found.metrics}


def of_bounds(game, importances, *, volumes_ml, seed) -> Metrics:
    by = {"units": "value", "volume": "value-per-ml"}
    metrics = {}
    for axis in AXES:
        found = unit_faithfulness(game, importances, volumes_ml=volumes_ml, by=by[axis], seed=seed)
        bounds = aopc_bounds(game, volumes_ml=volumes_ml, axis=axis)
        metrics[f"naopc-{axis}"] = naopc(found.most_first, bounds)
    return metrics


def of_random_orders(game, importances, *, volumes_ml, seed) -> Metrics:
    found = unit_faithfulness(game, importances, volumes_ml=volumes_ml, seed=seed)
    last = list(random_orders(game, volumes_ml=volumes_ml, n_orders=60, seed=seed))[-1]
    value = aopc(found.most_first, axis="units")
    metrics = last.percentile("aopc-units", value), last.p_value("aopc-units", value)
    return {metric.name: metric for metric in metrics}


def of_subsets(game, importances, *, volumes_ml, seed) -> Metrics:
    metrics = [faithfulness_correlation(game, importances, seed=seed), *infidelity(game, importances, seed=seed)]
    metrics.append(sensitivity_n(game, importances, seed=seed).mean)
    return {metric.name: metric for metric in metrics}


EVERY = [of_curves, of_bounds, of_random_orders, of_subsets]
PERFECT = {
    "naopc-units": 1.0,
    "naopc-volume": 1.0,
    "aopc-units-percentile": 100.0,
    "faithfulness-correlation": 1.0,
    "infidelity": 0.0,
    "infidelity-relative": 0.0,
    "infidelity-scaled": 0.0,
    "sensitivity-n-mean": 1.0,
}
RANGES = {
    "naopc": (0.0, 1.0),
    "aopc-units-percentile": (0.0, 100.0),
    "aopc-units-p-value": (0.0, 1.0),
    "faithfulness-correlation": (-1.0, 1.0),
    "sensitivity-n-mean": (-1.0, 1.0),
    "infidelity": (0.0, math.inf),
    "infidelity-scaled": (0.0, 1.0),
}
DEPEND_ON_THE_SCALE = {
    "infidelity",
    *(f"{area}-{axis}" for area in ("aopc", "aopc-least-first", "abpc") for axis in AXES),
}
SAMPLED = ("infidelity", "percentile", "p-value")  # the others look at everything here

every_metric = pytest.mark.parametrize("evaluate", EVERY)


def some_volumes(n_units: int = N_UNITS):
    return np.random.default_rng(3).uniform(2.0, 80.0, n_units)


def run(evaluate: Callable[..., Metrics], game, importances, *, volumes_ml=None, seed=0) -> Metrics:
    volumes = some_volumes(game.n_players) if volumes_ml is None else volumes_ml
    return evaluate(game, importances, volumes_ml=volumes, seed=seed)


class RenamedGame(CountingGame):
    """Player i of this one is player ``names[i]`` of the other."""

    def __init__(self, game: CountingGame, names) -> None:
        self._game, self._names = game, np.asarray(names)
        self.n_players = game.n_players

    def worth(self, coalitions):
        theirs = np.empty_like(coalitions)
        theirs[:, self._names] = coalitions
        return self._game.worth(theirs)


class ScaledGame(CountingGame):
    def __init__(self, game: CountingGame, *, factor: float, constant: float) -> None:
        self._game, self._factor, self._constant = game, factor, constant
        self.n_players = game.n_players

    def worth(self, coalitions):
        return self._factor * self._game.worth(coalitions) + self._constant


@every_metric
@pytest.mark.parametrize("seed", range(3))
def test_true_importances_of_units_that_do_not_interact_are_perfect(evaluate, seed):
    game = AdditiveGame(np.random.default_rng(seed).normal(size=N_UNITS), constant=4.0)
    metrics = run(evaluate, game, game.shapley_values, seed=seed)
    for name, metric in metrics.items():
        if name in PERFECT:
            assert metric.value == pytest.approx(PERFECT[name], abs=1e-9), name


@every_metric
def test_true_importances_are_better_than_their_opposite_in_the_direction_that_is_said(evaluate):
    game = AdditiveGame([5.0, -1.0, 2.0, 0.5, -3.0, 1.0, 0.25])
    right, wrong = (run(evaluate, game, sign * game.shapley_values) for sign in (1.0, -1.0))
    for name, metric in right.items():
        if name == "infidelity-scaled":  # blind to the sign, as to any other factor
            continue
        assert (metric.value - wrong[name].value) * {"higher": 1, "lower": -1}[metric.better] > 0, name


@every_metric
def test_no_metric_depends_on_how_units_are_numbered(evaluate):
    game, importances = TableGame.random(N_UNITS, seed=5), np.random.default_rng(6).normal(size=N_UNITS)
    names = np.random.default_rng(7).permutation(N_UNITS)
    plain = run(evaluate, game, importances)
    renamed = run(evaluate, RenamedGame(game, names), importances[names], volumes_ml=some_volumes()[names])
    for name, metric in plain.items():
        if not any(word in name for word in SAMPLED):
            assert metric.value == pytest.approx(renamed[name].value, abs=1e-9), name


@every_metric
def test_relative_metrics_do_not_depend_on_the_unit_of_the_number(evaluate):
    game, importances = PairwiseGame(N_UNITS, seed=1), np.random.default_rng(2).normal(size=N_UNITS)
    plain = run(evaluate, game, importances)
    scaled = run(evaluate, ScaledGame(game, factor=250.0, constant=-7.0), 250.0 * importances)
    for name, metric in plain.items():
        factor = {True: 250.0, False: 1.0}[name in DEPEND_ON_THE_SCALE] ** (2 if name == "infidelity" else 1)
        assert scaled[name].value == pytest.approx(factor * metric.value, rel=1e-6, abs=1e-9), name


@every_metric
@pytest.mark.parametrize("seed", range(3))
def test_values_stay_in_their_range(evaluate, seed):
    game = TableGame.random(N_UNITS, seed=seed)
    for name, metric in run(evaluate, game, np.random.default_rng(seed).normal(size=N_UNITS)).items():
        for start, (low, high) in RANGES.items():
            if name.startswith(start):
                assert low <= metric.value <= high, name
        if metric.interval is not None:
            assert metric.interval[0] <= metric.interval[1], name


@every_metric
def test_the_seed_decides_alone(evaluate):
    importances = np.random.default_rng(0).normal(size=N_UNITS)
    runs = [run(evaluate, TableGame.random(N_UNITS, seed=8), importances, seed=seed) for seed in (4, 4)]
    assert runs[0] == runs[1]


@every_metric
def test_a_game_that_nothing_moves_has_no_faithfulness(evaluate):
    game = AdditiveGame(np.zeros(N_UNITS), constant=0.3)
    for name, metric in run(evaluate, game, np.arange(N_UNITS) / 7).items():
        if name in DEPEND_ON_THE_SCALE and name != "infidelity":
            assert metric.value == pytest.approx(0.0, abs=1e-12), name
        elif name != "infidelity":
            assert metric.value is None, name
            assert metric.why_undefined, name


@every_metric
def test_importances_that_rank_nothing_give_no_area_and_no_correlation(evaluate):
    for name, metric in run(evaluate, PairwiseGame(N_UNITS, seed=0), np.ones(N_UNITS)).items():
        if name.startswith(("aopc-units-p", "naopc", "infidelity")):
            continue  # of one of the orders; of amounts
        assert metric.value is None, name
        assert metric.why_undefined, name


@every_metric
def test_of_one_unit_there_is_nothing_to_rank(evaluate):
    for name, metric in run(evaluate, AdditiveGame([2.0]), [2.0]).items():
        if name.startswith("infidelity"):
            assert metric.value == pytest.approx(0.0)
        else:
            assert metric.value is None, name
            assert metric.why_undefined, name


@every_metric
def test_every_metric_is_json(evaluate):
    metrics = run(evaluate, PairwiseGame(N_UNITS, seed=3), np.arange(N_UNITS))
    for metric in metrics.values():
        told = json.loads(json.dumps(dataclasses.asdict(metric), allow_nan=False))
        assert told["value"] == metric.value


@every_metric
@pytest.mark.parametrize(
    "importances", [[1.0, np.nan] + [0.0] * (N_UNITS - 2), [np.inf] * N_UNITS, [], [[1.0] * N_UNITS]]
)
def test_importances_that_are_no_row_of_finite_numbers_are_refused(evaluate, importances):
    with pytest.raises(InvalidRequest, match="mportances"):
        run(evaluate, PairwiseGame(N_UNITS, seed=0), importances)


@every_metric
def test_importances_of_other_units_are_refused(evaluate):
    with pytest.raises(InvalidRequest, match=str(N_UNITS)):
        run(evaluate, PairwiseGame(N_UNITS, seed=0), np.arange(N_UNITS - 1))


@every_metric
def test_a_game_that_is_not_finite_is_refused(evaluate):
    table = np.random.default_rng(0).normal(size=2**N_UNITS)
    table[-2:] = np.nan
    with pytest.raises(InvalidRequest, match="not finite"):
        run(evaluate, TableGame(table), np.arange(N_UNITS))


@every_metric
def test_what_is_asked_for_was_announced_before(evaluate):
    game = RecordedGame(PairwiseGame(N_UNITS, seed=0))
    run(evaluate, game, np.arange(N_UNITS))
    announced = {row.tobytes() for row in np.concatenate(game.announcements)}
    asked = {row.tobytes() for row in game.asked}
    assert len(asked - announced) <= 2  # the whole and the empty CT


@every_metric
def test_of_several_numbers_the_first_is_judged(evaluate):
    tables = np.random.default_rng(0).normal(size=(2**N_UNITS, 3))
    importances = np.random.default_rng(1).normal(size=N_UNITS)
    several, first = run(evaluate, TableGame(tables), importances), run(evaluate, TableGame(tables[:, 0]), importances)
    assert several == first


@pytest.mark.parametrize("evaluate", [of_curves, of_subsets])
def test_random_importances_are_chance_on_average(evaluate):
    game = PairwiseGame(N_UNITS, seed=4)
    rng = np.random.default_rng(0)
    runs = [run(evaluate, game, rng.normal(size=N_UNITS), seed=seed) for seed in range(100)]
    names = [name for name in runs[0] if name.startswith(("abpc", "faithfulness", "sensitivity"))]
    assert names
    for name in names:
        values = np.array([metrics[name].value for metrics in runs])
        assert abs(values.mean()) < 4 * values.std(ddof=1) / math.sqrt(len(values)), name
        assert values.std() > 0
        assert runs[0][name].chance == 0


def test_volumes_that_do_not_fit_are_refused():
    for volumes in (np.ones(N_UNITS - 1), np.zeros(N_UNITS), np.full(N_UNITS, np.nan)):
        for evaluate in (of_curves, of_bounds, of_random_orders):
            with pytest.raises(InvalidRequest, match="volume"):
                run(evaluate, PairwiseGame(N_UNITS, seed=0), np.arange(N_UNITS), volumes_ml=volumes)


def test_a_metric_is_a_finite_number_or_a_reason():
    for given in ({"value": None}, {"value": 1.0, "why_undefined": "but"}, {"value": math.nan}, {"value": math.inf}):
        with pytest.raises(InvalidRequest):
            Metric("some", **given)
    assert_allclose(Metric("some", 1.0).value, 1.0)
