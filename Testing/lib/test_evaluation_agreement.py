"""Agreement is what counting pairs, walking down the ranking and trying every threshold give; chance is chance."""

import dataclasses
import json

import numpy as np
import pytest
from builders import block_partition, oblique_grid
from evaluation_cases import SHAPE, VIEWS, on, random_case, viewed
from numpy.testing import assert_allclose

from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.evaluation.agreement import agreement, unit_pointing
from SegExplainLib.evaluation.map_sign import SIGNS, of_sign
from SegExplainLib.evaluation.segment_dice import segment_dice
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.volume import Volume, VoxelGrid

SIDES = {
    "positive": lambda a: a if a > 0 else 0.0,
    "negative": lambda a: -a if a < 0 else 0.0,
    "absolute": lambda a: a if a > 0 else -a,
    "signed": lambda a: a,
}


def pairwise_auc(scores, is_inside):
    """The share of pairs of a voxel inside and one outside that the map orders rightly; ties count as half."""
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[is_inside] for b in scores[~is_inside]]
    return sum(pairs) / len(pairs)


def literal_average_precision(scores, is_inside):
    """Precision of all that is at least as large, weighted by the recall that each distinct value adds."""
    total, before = 0.0, 0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        kept = scores >= threshold
        hits = int((kept & is_inside).sum())
        total += hits / kept.sum() * (hits - before)
        before = hits
    return total / is_inside.sum()


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("levels", [None, 2], ids=["all differ", "many ties"])
def test_the_three_numbers_equal_slow_literal_ones(sign, levels):
    a_map, mask, domain = random_case(3, levels=levels)
    scores = np.array([SIDES[sign](a) for a in a_map.array[domain].tolist()])
    is_inside = mask.array[domain]
    told = agreement(a_map, mask, within=domain, sign=sign)
    assert_allclose(told.roc_auc.value, pairwise_auc(scores, is_inside), rtol=1e-12)
    assert_allclose(told.average_precision.value, literal_average_precision(scores, is_inside), rtol=1e-12)
    largest = [inside for score, inside in zip(scores, is_inside) if score == scores.max()]
    assert told.pointing.value == pytest.approx(sum(largest) / len(largest))
    assert (told.n_voxels, told.n_inside, told.n_ranked) == (len(scores), is_inside.sum(), len(scores))
    assert told.average_precision.chance == told.pointing.chance == is_inside.mean()
    assert told.roc_auc.chance == 0.5


def test_a_map_equal_to_the_mask_is_perfect_and_its_opposite_is_worst():
    _, mask, _ = random_case()
    right, wrong = (agreement(on(mask.grid, array), mask) for array in (mask.array, ~mask.array))
    assert (right.roc_auc.value, right.average_precision.value, right.pointing.value) == (1.0, 1.0, 1.0)
    assert (wrong.roc_auc.value, wrong.pointing.value) == (0.0, 0.0)
    assert wrong.average_precision.value == pytest.approx(wrong.average_precision.chance)


def test_random_maps_come_to_the_chance_levels_within_their_error():
    _, mask, domain = random_case()
    rng = np.random.default_rng(5)
    told = [agreement(on(mask.grid, rng.normal(size=SHAPE)), mask, within=domain, sign="signed") for _ in range(300)]
    for name in ("roc_auc", "pointing"):
        values = [getattr(one, name).value for one in told]
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - getattr(told[0], name).chance) < 4 * error
    # With few voxels a random order's average precision lies a little above the share.
    excess = np.mean([one.average_precision.value for one in told]) - told[0].average_precision.chance
    assert 0.0 < excess < 0.03


def test_ranks_alone_count():
    a_map, mask, domain = random_case(1)
    plain, stretched = (
        agreement(on(a_map.grid, array), mask, within=domain) for array in (a_map.array, 1e-6 * a_map.array**3)
    )
    assert plain == stretched


def test_turning_the_sign_swaps_for_and_against():
    a_map, mask, _ = random_case(2)
    turned = on(a_map.grid, -a_map.array)
    swapped = dataclasses.replace(agreement(turned, mask, sign="negative"), sign="positive")
    assert agreement(a_map, mask) == swapped
    assert agreement(a_map, mask, sign="absolute") == agreement(turned, mask, sign="absolute")
    signed, against = (agreement(one, mask, sign="signed").roc_auc.value for one in (a_map, turned))
    assert signed == pytest.approx(1.0 - against)


@pytest.mark.parametrize("view", VIEWS)
def test_flipped_and_permuted_axes_change_nothing(view):
    a_map, mask, domain = random_case(4, levels=3)
    seen = agreement(viewed(a_map, view), viewed(mask, view), within=VIEWS[view](domain))
    assert seen == agreement(a_map, mask, within=domain)


def test_what_lies_outside_the_domain_does_not_count():
    a_map, mask, domain = random_case(6)
    other = np.where(domain, a_map.array, np.nan)
    assert agreement(on(a_map.grid, other), mask, within=domain) == agreement(a_map, mask, within=domain)


def test_a_draw_is_told_repeats_with_its_seed_and_comes_near_to_all():
    rng = np.random.default_rng(0)
    grid = oblique_grid((20, 30, 40))
    is_inside = rng.random(grid.shape_kji) < 0.1
    mask, a_map = on(grid, is_inside), on(grid, rng.normal(size=grid.shape_kji) + 0.7 * is_inside)
    options = {"sign": "signed", "most_ranked": 8000}
    whole = agreement(a_map, mask, sign="signed")
    drawn, again, other = (agreement(a_map, mask, seed=seed, **options) for seed in (1, 1, 2))
    assert (whole.n_ranked, drawn.n_ranked, drawn.n_voxels) == (24000, 8000, 24000)
    assert drawn == again
    assert drawn.roc_auc != other.roc_auc
    assert drawn.pointing == whole.pointing
    assert abs(drawn.roc_auc.value - whole.roc_auc.value) < 4 * 0.5 * np.sqrt(1 / 2000 + 1 / 4000)
    assert drawn.average_precision.value == pytest.approx(whole.average_precision.value, abs=0.03)
    assert drawn.average_precision.chance == is_inside.mean()


def test_draws_are_right_on_average_whichever_side_is_the_smaller():
    a_map, mask, _ = random_case(8, levels=3)
    for one in (mask, on(mask.grid, ~mask.array)):
        whole = agreement(a_map, one, sign="signed")
        drawn = [agreement(a_map, one, sign="signed", most_ranked=61, seed=seed) for seed in range(80)]
        assert {d.n_ranked for d in drawn} == {61}
        values = [d.roc_auc.value for d in drawn]
        assert abs(np.mean(values) - whole.roc_auc.value) < 4 * np.std(values) / np.sqrt(80)


UNDEFINED = {
    "empty mask": (lambda a, m: (a, np.zeros_like(m)), {}, "No voxel of the domain"),
    "full mask": (lambda a, m: (a, np.ones_like(m)), {}, "Every voxel of the domain"),
    "constant": (lambda a, m: (np.full_like(a, 2.0), m), {}, "All values are equal."),
    "zero": (lambda a, m: (np.zeros_like(a), m), {"sign": "absolute"}, "All values are zero."),
    "nothing for it": (lambda a, m: (-np.abs(a), m), {}, "No value is positive."),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_is_undefined_says_why_and_is_json(name):
    make, options, why = UNDEFINED[name]
    a_map, mask, _ = random_case()
    array, is_inside = make(a_map.array, mask.array)
    told = agreement(on(a_map.grid, array), on(mask.grid, is_inside), **options)
    for metric in (told.roc_auc, told.average_precision, told.pointing):
        assert metric.value is None
        assert metric.why_undefined.startswith(why)
    json.dumps(dataclasses.asdict(told), allow_nan=False)
    segments = np.arange(a_map.array.size).reshape(SHAPE) % 9 + 1
    curve = segment_dice(on(a_map.grid, array), on(mask.grid, is_inside), segments, **options)
    assert curve.dice == ()
    assert curve.why_undefined.startswith(why)
    json.dumps(dataclasses.asdict(curve), allow_nan=False)


def test_bad_input_is_told():
    a_map, mask, domain = random_case()
    moved = on(oblique_grid(SHAPE, flip=False), mask.array)
    with pytest.raises(GeometryMismatch, match="different grids"):
        agreement(a_map, moved)
    with pytest.raises(GeometryMismatch, match="domain has shape"):
        agreement(a_map, mask, within=domain[1:])
    with pytest.raises(InvalidRequest, match="no voxel to judge"):
        agreement(a_map, mask, within=np.zeros_like(domain))
    with pytest.raises(InvalidRequest, match="must be boolean; found uint8"):
        agreement(a_map, on(mask.grid, mask.array.astype(np.uint8)))
    with pytest.raises(InvalidRequest, match="NaN"):
        agreement(on(a_map.grid, np.where(domain, np.nan, a_map.array)), mask)
    with pytest.raises(InvalidRequest, match="positive"):
        agreement(a_map, mask, sign="postive")
    with pytest.raises(InvalidRequest, match="two voxels"):
        agreement(a_map, mask, most_ranked=1)


def test_integer_and_boolean_maps_have_a_negative_side_too():
    assert of_sign(np.array([0, 3], dtype=np.uint8), sign="negative").tolist() == [0.0, 0.0]
    assert of_sign(np.array([True, False]), sign="positive").tolist() == [1.0, 0.0]


# Units


def halves():
    """Four units of 12 voxels; the mask holds all of the third, half of the second, a voxel of the first."""
    grid = oblique_grid((3, 4, 4))
    labels = np.broadcast_to(np.arange(1, 5, dtype=np.int32), grid.shape_kji).copy()
    mask = labels == 3
    mask[:, :2, 1] = True
    mask[0, 0, 0] = True
    return PlayerPartition(labels, grid, ("a", "b", "c", "d"), "fcc"), on(grid, mask)


@pytest.mark.parametrize(
    ("values", "sign", "hit"),
    [
        ([1.0, 2.0, 9.0, 3.0], "positive", 1.0),
        ([1.0, 9.0, 2.0, 3.0], "positive", 1.0),
        ([9.0, 1.0, 2.0, 3.0], "positive", 0.0),
        ([9.0, 9.0, 9.0, 3.0], "positive", 2 / 3),
        ([1.0, 2.0, -9.0, 3.0], "positive", 0.0),
        ([1.0, 2.0, -9.0, 3.0], "negative", 1.0),
        ([1.0, 2.0, -9.0, 3.0], "absolute", 1.0),
        ([-9.0, -8.0, -1.0, -2.0], "signed", 1.0),
    ],
)
def test_the_largest_unit_lies_in_the_mask_or_not(values, sign, hit):
    partition, mask = halves()
    told = unit_pointing(np.array(values), partition, mask, sign=sign)
    assert told.value == pytest.approx(hit)
    assert told.chance == 0.5


def test_how_much_of_a_unit_must_lie_in_the_mask_is_a_choice():
    partition, mask = halves()
    values = np.array([1.0, 9.0, 2.0, 3.0])
    assert unit_pointing(values, partition, mask, least_share=0.51).value == 0.0
    assert unit_pointing(values[[1, 0, 2, 3]], partition, mask, least_share=1 / 12).value == 1.0
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(InvalidRequest, match="share of a unit"):
            unit_pointing(values, partition, mask, least_share=share)


def test_dealing_values_out_anew_hits_as_often_as_chance_says():
    partition, mask = halves()
    rng = np.random.default_rng(0)
    told = [unit_pointing(rng.permutation([1.0, 1.0, 0.5, 0.2]), partition, mask) for _ in range(400)]
    hits = [one.value for one in told]
    assert abs(np.mean(hits) - told[0].chance) < 4 * np.std(hits) / np.sqrt(400)


def test_units_that_tell_nothing_say_why():
    partition, mask = halves()
    everything = on(mask.grid, np.ones_like(mask.array))
    alone = PlayerPartition(np.ones((3, 4, 4), np.int32), partition.grid, ("a",), "fcc")
    values = np.arange(4.0)
    assert unit_pointing(np.ones(4), partition, mask).why_undefined == "All values are equal."
    assert unit_pointing(-np.ones(4), partition, mask).why_undefined == "No value is positive."
    assert unit_pointing(values, partition, everything).why_undefined.startswith("Every unit")
    assert unit_pointing(values, partition, on(mask.grid, ~everything.array)).why_undefined.startswith("No unit")
    assert unit_pointing(np.ones(1), alone, mask).why_undefined == "There is one unit only."
    with pytest.raises(InvalidRequest, match="4 units need as many"):
        unit_pointing(values[:3], partition, mask)


# Segments


def literal_dice(a_map, mask, segments, share):
    """Tries every threshold on the segments' means, the largest first, until enough is kept: (kept share, Dice)."""
    numbers = [n for n in np.unique(segments) if n > 0]
    mean = {n: np.float32(np.mean(np.maximum(a_map[segments == n], 0.0), dtype=np.float64)) for n in numbers}
    truth = mask & (segments > 0)
    for threshold in sorted(set(mean.values()), reverse=True):
        kept = np.isin(segments, [n for n in numbers if mean[n] >= threshold])
        if kept.sum() >= share * (segments > 0).sum() - 1e-9:
            return kept.sum() / (segments > 0).sum(), 2 * (kept & truth).sum() / (kept.sum() + truth.sum())
    raise ValueError(share)


@pytest.mark.parametrize("levels", [None, 1], ids=["all differ", "ties"])
def test_the_dice_curve_is_that_of_trying_every_threshold(levels):
    a_map, mask, _ = random_case(9, levels=levels)
    segments = np.random.default_rng(1).integers(0, 60, SHAPE) * 7  # gaps in the numbers, uneven sizes, 0 left out
    shares = (0.003, 0.01, 0.05, 0.2, 0.5, 0.9, 1.0)
    curve = segment_dice(a_map, mask, segments, area_shares=shares)
    oracle = [literal_dice(a_map.array, mask.array, segments, share) for share in shares]
    assert_allclose(curve.kept_shares, [kept for kept, _ in oracle])
    assert_allclose(curve.dice, [dice for _, dice in oracle])
    assert curve.n_segments == len(set(segments[segments > 0].tolist()))
    assert curve.mask_share == pytest.approx(mask.array[segments > 0].mean())
    assert curve.dice[-1] == pytest.approx(curve.chance[-1])


def test_a_map_equal_to_the_mask_has_a_dice_of_one_at_the_masks_share():
    grid = oblique_grid((4, 4, 10))
    segments = np.broadcast_to(np.arange(1, 11), grid.shape_kji)
    mask = on(grid, np.isin(segments, (4, 8)))
    curve = segment_dice(on(grid, mask.array), mask, segments, area_shares=(0.05, 0.2, 1.0))
    assert curve.dice == pytest.approx((1.0, 1.0, 2 * 0.2 / 1.2))  # the two best have equal means, and come together
    assert curve.kept_shares == pytest.approx((0.2, 0.2, 1.0))


def test_a_random_ranking_of_segments_has_the_dice_of_chance():
    _, mask, _ = random_case(10)
    rng = np.random.default_rng(2)
    segments = np.arange(mask.array.size).reshape(SHAPE) // 5 + 1
    told = [segment_dice(on(mask.grid, rng.random(SHAPE)), mask, segments, area_shares=(0.1, 0.5)) for _ in range(300)]
    dice = np.array([one.dice for one in told])
    error = dice.std(axis=0) / np.sqrt(len(dice))
    assert (np.abs(dice.mean(axis=0) - told[0].chance) < 4 * error).all()


@pytest.mark.parametrize("view", VIEWS)
def test_the_dice_curve_knows_no_axes_numbers_or_scale(view):
    a_map, mask, _ = random_case(11)
    segments = np.random.default_rng(3).integers(0, 12, SHAPE)
    curve = segment_dice(a_map, mask, segments)
    assert segment_dice(viewed(a_map, view), viewed(mask, view), VIEWS[view](segments)) == curve
    renumbered = np.where(segments > 0, 100 - segments, 0)
    for scale in (3.0, 1e-60, 1e60):
        assert segment_dice(on(a_map.grid, scale * a_map.array.astype(float)), mask, renumbered) == curve


def test_pieces_of_one_unit_tie_whatever_their_size():
    """A map of units cut into segments: what rounding does to means of equal numbers is no order."""
    partition = block_partition(oblique_grid((6, 9, 12)), edge_voxels=6, context_share=0.0)
    values = np.random.default_rng(4).random(partition.n_players)
    segments = np.random.default_rng(5).integers(1, 200, partition.grid.shape_kji) + 200 * partition.labels
    mask = on(partition.grid, partition.labels == 2)
    a_map = on(partition.grid, np.concatenate([[0.0], values])[partition.labels])
    by_pieces, by_units = (segment_dice(a_map, mask, labels, sign="signed") for labels in (segments, partition.labels))
    assert (by_pieces.dice, by_pieces.kept_shares) == (by_units.dice, by_units.kept_shares)


def test_bad_segments_are_told():
    a_map, mask, _ = random_case()
    segments = np.ones(SHAPE, dtype=np.int32)
    assert segment_dice(a_map, mask, segments).why_undefined == "There is one segment only."
    with pytest.raises(GeometryMismatch, match="segments have shape"):
        segment_dice(a_map, mask, segments[1:])
    with pytest.raises(InvalidRequest, match="no segment"):
        segment_dice(a_map, mask, 0 * segments)
    for shares in ((), (0.0,), (0.1, 1.5), (float("nan"),)):
        with pytest.raises(InvalidRequest, match="Shares of the area"):
            segment_dice(a_map, mask, segments, area_shares=shares)


def test_a_map_that_is_flat_but_for_rounding_ranks_nothing():
    values = np.full((4, 5, 6), 0.3, dtype=np.float32)
    values[::2] = np.nextafter(values[::2], np.float32(1))
    mask = np.zeros(values.shape, dtype=bool)
    mask[:2] = True
    grid = VoxelGrid(values.shape, np.eye(4))
    found = agreement(Volume(values, grid), Volume(mask, grid))
    assert found.roc_auc.why_undefined == found.pointing.why_undefined == "All values are equal."
