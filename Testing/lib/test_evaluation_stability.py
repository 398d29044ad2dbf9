"""Explanations held against each other: closed forms, scipy as the oracle, and reasons where there is no number."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.similarity import (
    mean_ranks,
    number_change,
    rank_correlation,
    relative_change,
    voxel_change,
)
from SegExplainLib.evaluation.stability import ANCHOR, FAMILIES, Rerun, stability_scores

AMOUNTS = np.array([3.0, -1.0, 0.5, 2.0, -0.2])
VOLUMES = np.array([10.0, 4.0, 1.0, 2.0, 8.0])


def rerun(kind, name, amounts, *, number=1.0, voxels=None):
    return Rerun(kind, name, np.asarray(amounts, dtype=np.float64), number, voxels)


def scores_of(*reruns, anchor=AMOUNTS, number=1.0, why_undefined=None, volumes=VOLUMES):
    own = rerun(ANCHOR, "same seed", anchor, number=number)
    return stability_scores(own, own, reruns, volumes_ml=volumes, why_undefined=why_undefined)


def values(scores, kind):
    return {metric.name: metric.value for metric in scores.metrics[FAMILIES[kind]]}


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_scipys_with_ties_too(seed):
    rng = np.random.default_rng(seed)
    for a, b in ((rng.normal(size=30), rng.normal(size=30)), rng.integers(0, 5, (2, 40)).astype(float)):
        assert rank_correlation(a, b).value == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
        np.testing.assert_array_equal(mean_ranks(a), rankdata(a))


def test_the_same_the_reverse_and_the_scaled():
    assert rank_correlation(AMOUNTS, AMOUNTS).value == pytest.approx(1.0)
    assert rank_correlation(AMOUNTS, -AMOUNTS).value == pytest.approx(-1.0)
    assert rank_correlation(AMOUNTS, 7 * AMOUNTS + 2).value == pytest.approx(1.0)
    assert relative_change(AMOUNTS, AMOUNTS).value == 0.0
    assert relative_change(AMOUNTS, -AMOUNTS).value == pytest.approx(2.0)
    assert relative_change(AMOUNTS, 4 * AMOUNTS).value == pytest.approx(3.0)
    assert relative_change([3.0, 4.0], [3.0, 9.0]).value == pytest.approx(1.0)
    assert number_change(4.0, 3.0).value == pytest.approx(0.25)
    assert number_change(-4.0, 4.0).value == pytest.approx(2.0)


def test_what_cannot_be_told_has_a_reason_and_is_never_nan():
    assert "one value" in rank_correlation([1.0], [2.0]).why_undefined
    assert "equal" in rank_correlation(AMOUNTS, np.ones(5)).why_undefined
    assert "equal" in rank_correlation(np.zeros(5), AMOUNTS).why_undefined
    assert "0 everywhere" in relative_change(np.zeros(3), np.ones(3)).why_undefined
    assert "is 0" in number_change(0.0, 1.0).why_undefined
    for spoilt in (np.nan, np.inf):
        with pytest.raises(InvalidRequest, match="not finite"):
            rank_correlation([1.0, spoilt], [1.0, 2.0])
    with pytest.raises(InvalidRequest, match="3 and 2"):
        relative_change(np.ones(3), np.ones(2))


def test_equal_but_for_rounding_is_no_ranking():
    nearly = 0.1 + np.arange(5) * 1e-16
    assert "nothing to rank" in rank_correlation(nearly, [1.0, 2.0, 3.0, 4.0, 5.0]).why_undefined


def test_voxel_maps_are_compared_with_or_without_their_signs():
    before = np.linspace(-1, 2, 60).reshape(3, 4, 5).astype(np.float32)
    signed, unsigned = (voxel_change(before, -before, is_unsigned=choice) for choice in (False, True))
    assert signed.rank_correlation.value == pytest.approx(-1.0)
    assert signed.relative_change.value == pytest.approx(2.0)
    assert unsigned.rank_correlation.value == pytest.approx(1.0)
    assert unsigned.relative_change.value == 0.0


def test_sensitivity_is_the_mean_and_the_largest_relative_change():
    found = scores_of(rerun("noise", "draw 1", 1.1 * AMOUNTS), rerun("noise", "draw 2", 1.3 * AMOUNTS, number=1.5))
    of = values(found, "noise")
    assert of["avg-sensitivity"] == pytest.approx(0.2)
    assert of["max-sensitivity"] == pytest.approx(0.3)
    assert of["rank-correlation-mean"] == of["rank-correlation-least"] == pytest.approx(1.0)
    assert of["explained-number-change"] == pytest.approx(0.25)
    metrics = {metric.name: metric for metric in found.metrics["under noise"]}
    assert metrics["avg-sensitivity"].standard_error == pytest.approx(0.1)
    assert metrics["avg-sensitivity"].better == metrics["max-sensitivity"].better == "lower"
    assert [score.name for score in found.reruns] == ["same seed", "draw 1", "draw 2"]


def test_seeds_are_compared_in_all_pairs():
    draws = [AMOUNTS, *np.random.default_rng(1).normal(size=(3, 5))]
    of = values(scores_of(*(rerun("seeds", f"seed {n}", one) for n, one in enumerate(draws[1:]))), "seeds")
    pairs = [spearmanr(draws[a], draws[b]).statistic for a in range(4) for b in range(a)]
    changes = [np.linalg.norm(one - AMOUNTS) / np.linalg.norm(AMOUNTS) for one in draws[1:]]
    assert of["rank-correlation-mean"] == pytest.approx(np.mean(pairs))
    assert of["rank-correlation-least"] == pytest.approx(min(pairs))
    assert of["avg-change"] == pytest.approx(np.mean(changes))
    assert of["max-change"] == pytest.approx(max(changes))


def test_random_weights_are_judged_by_sizes_and_beside_what_volume_alone_gives():
    reruns = rerun("weights", "last layer", -AMOUNTS), rerun("weights", "all layers", VOLUMES, number=3.0)
    found = scores_of(*reruns)
    of = values(found, "weights")
    sizes = np.abs(AMOUNTS)
    by_volume = spearmanr(sizes, VOLUMES).statistic
    assert of["rank-correlation, last layer"] == pytest.approx(1.0)
    assert of["rank-correlation, all layers"] == of["rank-correlation-with-volume"] == pytest.approx(by_volume)
    assert of["rank-correlation-mean"] == pytest.approx((1 + by_volume) / 2)
    # per ml what follows volume alone is flat, and has no rank
    assert of["rank-correlation-per-ml-mean"] == pytest.approx(1.0)
    assert "equal" in found.reruns[-1].rank_correlation_per_ml.why_undefined
    assert {m.better for m in found.metrics["under random weights"]} == {"lower", ""}


def test_removals_are_told_one_by_one():
    other = np.array([3.0, 2.0, 0.5, -1.0, -0.2])
    of = values(scores_of(rerun("removals", "air", AMOUNTS), rerun("removals", "mean", other)), "removals")
    low = spearmanr(AMOUNTS, other).statistic
    assert of["rank-correlation, air"] == pytest.approx(1.0)
    assert of["rank-correlation, mean"] == of["rank-correlation-least"] == pytest.approx(low)
    assert of["rank-correlation-mean"] == pytest.approx((1 + low) / 2)
    assert of["explained-number-change"] == 0.0


def test_a_variant_without_an_answer_says_why_and_leaves_the_others():
    failed = Rerun("removals", "zero", why_undefined="It is the same image as “mean”.")
    found = scores_of(rerun("removals", "air", AMOUNTS), failed)
    assert values(found, "removals")["rank-correlation-mean"] == pytest.approx(1.0)
    assert found.reruns[-1].rank_correlation.why_undefined == failed.why_undefined
    alone = scores_of(failed)
    assert all(m.why_undefined == failed.why_undefined for m in alone.metrics["under other removals"])
    seeds = scores_of(Rerun("seeds", "seed 1", why_undefined="No."))
    assert all(metric.value is None for metric in seeds.metrics["between seeds"])


def test_kinds_that_mean_nothing_are_undefined_and_kinds_not_asked_for_are_absent():
    found = scores_of(rerun("noise", "draw 1", AMOUNTS), why_undefined={"seeds": "Nothing is drawn."})
    assert list(found.metrics) == ["under noise", "between seeds"]
    assert {metric.why_undefined for metric in found.metrics["between seeds"]} == {"Nothing is drawn."}


def test_one_unit_has_no_rank_but_a_change():
    found = scores_of(rerun("noise", "draw 1", [2.0]), anchor=np.array([1.0]), volumes=[3.0])
    assert values(found, "noise")["avg-sensitivity"] == pytest.approx(1.0)
    assert values(found, "noise")["rank-correlation-mean"] is None


def test_an_explanation_of_zeros_is_undefined_throughout_and_its_json_is_whole():
    kinds = [rerun(kind, "one", AMOUNTS, number=2.0) for kind in FAMILIES]
    found = scores_of(*kinds, anchor=np.zeros(5), number=0.0)
    assert values(found, "noise")["avg-sensitivity"] is None
    assert values(found, "weights")["rank-correlation-mean"] is None
    json.dumps(asdict(found), allow_nan=False)


def test_scores_do_not_depend_on_scale_or_on_when_they_are_asked():
    reruns = [rerun("noise", "draw 1", AMOUNTS[::-1]), rerun("seeds", "seed 1", AMOUNTS**2)]
    larger = [Rerun(one.kind, one.name, 1e6 * one.amounts, 1.0) for one in reruns]
    first, again = scores_of(*reruns), scores_of(*reruns)
    assert first == again
    for kind in ("noise", "seeds"):
        assert values(scores_of(*larger, anchor=1e6 * AMOUNTS), kind) == pytest.approx(values(first, kind))
