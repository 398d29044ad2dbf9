"""Every class and value function from one game: what asking each alone gives, and the textbook."""

import math

import numpy as np
import pytest
import torch
from oracles_shapley import shapley_over_all_subsets
from report_builders import bars_partition

from SegExplainLib import answers
from SegExplainLib.answers import every_answer, every_question
from SegExplainLib.contract import VALUES, Cancelled, ExplainRequest, InvalidRequest
from SegExplainLib.game import RegionGame, TallyTable
from SegExplainLib.game_record import RECORD_NAME, GameRecord
from SegExplainLib.pipeline import ESTIMATORS, revalue
from SegExplainLib.play import estimated, play
from SegExplainLib.progress import Progress
from SegExplainLib.report.tables import read_answers_csv, read_players_csv, write_answers_csv
from SegExplainLib.results_folder import interval_factor
from SegExplainLib.shapley.coalitions import every_coalition
from SegExplainLib.target import predicted_mask, region_tally

CLASSES = {"liver": 1, "spleen": 2, "nowhere": 3}


def a_played_game(n_players=10, *, n_voxels=50, seed=0, reference_class=""):
    """Every coalition of a network whose logits each unit moves by a random amount; `nowhere` is never the largest."""
    rng = np.random.default_rng(seed)
    coalitions = every_coalition(n_players)
    moves = rng.normal(size=(n_players, 4 * n_voxels)) * 3 / math.sqrt(n_players)
    logits = (coalitions @ moves).reshape(-1, 4, n_voxels) + rng.normal(size=(4, n_voxels))
    logits[:, 3] = -50.0
    at_full = predicted_mask(torch.from_numpy(logits[-1]), is_exclusive=True).numpy()
    reference = at_full.copy()
    if reference_class:
        reference[CLASSES[reference_class]] = rng.random(n_voxels) < 0.5
    table = TallyTable(n_players, 4)
    tallies = region_tally(torch.from_numpy(logits), torch.from_numpy(reference), is_exclusive=True)
    table.append(coalitions, tallies.numpy())
    partition = bars_partition([f"unit {n}" for n in range(n_players)])
    roi = np.zeros(partition.grid.shape_kji, dtype=bool)
    return GameRecord(table, partition, roi, roi, CLASSES, at_full, reference, reference_class, {})


def a_request(**changes):
    asked = {"ct": "ct", "model": "model", "target": "spleen", "roi": "ijk:0,1,0,1,0,1", "value": "dice"}
    return ExplainRequest(**asked | {"method": "kernel-shap", "budget": 200, "tolerance": 0.0} | changes)


def played(request, record, tmp_path, *, tolerance=0.0, progress=None):
    estimator = ESTIMATORS[request.method]
    progress = progress or Progress()
    return play(estimator, request, record, tallier=None, tolerance=tolerance, out=tmp_path, progress=progress)


def by_question(found):
    return {(answer.target, answer.quantity): answer for answer in found}


def test_all_that_is_defined_is_answered_the_asked_first_then_its_class(tmp_path):
    _, found = played(a_request(), a_played_game(), tmp_path)
    quantities = [value for value in VALUES if value not in ("dice", "fp-relative")]
    liver = [("liver", value) for value in VALUES if value != "fp-relative"]
    assert list(by_question(found)) == [("spleen", "dice"), *[("spleen", value) for value in quantities], *liver]
    assert len(found) == len(by_question(found))


@pytest.mark.parametrize("method", ["kernel-shap", "leverage-shap", "permutation", "shap", "captum"])
def test_each_answer_is_what_the_same_run_gives_when_asked_for_it_alone(tmp_path, method):
    record = a_played_game(seed=3)
    estimate, found = played(a_request(method=method, budget=150), record, tmp_path)
    factor = interval_factor(estimate)
    for (name, quantity), answer in by_question(found).items():
        if method == "captum" and quantity not in ("dice", "soft-volume"):  # slow
            continue
        request = a_request(method=method, budget=150, target=name, value=quantity)
        alone, (first, *_) = played(request, record, tmp_path)
        # Sums of many numbers at once are taken in another order than of one.
        close = {"rtol": 1e-9, "atol": 1e-9 * max(abs(first.full_value), abs(first.empty_value))}
        np.testing.assert_allclose(answer.player_values, first.player_values, **close)
        np.testing.assert_allclose(answer.standard_errors, first.standard_errors, **close)
        assert (answer.empty_value, answer.full_value, answer.unit) == (first.empty_value, first.full_value, first.unit)
        assert interval_factor(alone) == factor or math.isnan(factor)


def test_answers_of_a_method_that_learns_are_within_their_errors_what_it_gives_when_asked_for_one_alone(tmp_path):
    record, request = a_played_game(seed=3), a_request(method="adjusted-shap", budget=100)
    estimate, found = played(request, record, tmp_path)
    np.testing.assert_array_equal(found[0].player_values, estimate.values[:, 0])
    apart = []
    for question, answer in zip(every_question(request, record), found, strict=True):
        game = RegionGame(record.table, [(record.channel_of(question[0]), question[1])])
        (alone,) = ESTIMATORS["adjusted-shap"](game, budget=100, tolerance=0.0, seed=request.seed, interim=False)
        error = np.hypot(answer.standard_errors, alone.standard_errors[:, 0])
        apart.append(np.abs(answer.player_values - alone.values[:, 0]) / (error + 1e-9 * abs(answer.full_value)))
        assert (answer.empty_value, answer.full_value) == (alone.empty_value[0], alone.full_value[0])
    # Both learn from the same coalitions, so they are nearer to each other than two independent estimates.
    assert np.max(apart) < 3.0
    assert np.sqrt(np.mean(np.square(apart))) < 0.5


def test_each_answer_is_the_textbooks_where_all_coalitions_are_known(tmp_path):
    record = a_played_game(4)
    _, found = played(a_request(method="exact", budget=16), record, tmp_path)
    for answer in found:
        channel = CLASSES[answer.target]

        def worth(coalitions, channel=channel, quantity=answer.quantity):
            tp, fp, fn, p, p_y, _, _, logit_y = record.table.tallies_of(coalitions)[:, channel].T
            y = tp + fn
            volume_ml = 0.125 * p  # voxels of 5 mm
            share = fp / np.where(tp + fp == 0, 1, tp + fp)
            return {
                "tp": tp,
                "tp-share": tp / y,
                "dice": 2 * tp / (2 * tp + fp + fn),
                "soft-dice": 2 * p_y / (p + y),
                "fp": fp,
                "fp-share": share,
                "fn": fn,
                "mean-logit": logit_y / y,
                "soft-volume": volume_ml,
            }[quantity]

        np.testing.assert_allclose(answer.player_values, shapley_over_all_subsets(worth, 4), atol=1e-12)
        assert not answer.standard_errors.any()


@pytest.mark.parametrize("method", ["adjusted-shap", "kernel-shap", "leverage-shap", "permutation", "shap"])
def test_the_units_of_every_answer_add_up_to_full_minus_empty(tmp_path, method):
    _, found = played(a_request(method=method), a_played_game(), tmp_path)
    for answer in found:
        gap = answer.player_values.sum() - (answer.full_value - answer.empty_value)
        assert gap == pytest.approx(0, abs=1e-9 * max(1, np.abs(answer.player_values).sum()))


def test_a_run_that_stopped_early_answers_from_the_coalitions_up_to_there(tmp_path):
    record = a_played_game(seed=1)
    estimate, found = played(a_request(budget=900), record, tmp_path, tolerance=0.1)
    assert estimate.stop_reason == "tolerance"
    assert estimate.n_evaluations < 400
    request = a_request(budget=estimate.n_evaluations, target="liver", value="tp")
    _, (alone, *_) = played(request, record, tmp_path)
    answer = by_question(found)["liver", "tp"]
    np.testing.assert_allclose(answer.player_values, alone.player_values, rtol=1e-9)
    np.testing.assert_allclose(answer.standard_errors, alone.standard_errors, rtol=1e-9)


@pytest.mark.parametrize("method", ["adjusted-shap", "kernel-shap", "leverage-shap", "permutation"])
def test_a_run_that_stopped_as_early_as_can_be_answers_everything_all_the_same(tmp_path, method):
    request = a_request(method=method, budget=900, value="soft-volume")
    estimate, found = played(request, a_played_game(12, seed=1), tmp_path, tolerance=0.9)
    assert estimate.stop_reason == "tolerance"
    assert len(found) == 18


def test_a_replay_to_its_end_looks_at_the_game_once(tmp_path):
    looks = []

    def noted(game, **options):
        for estimate in ESTIMATORS["adjusted-shap"](game, **options):
            looks.append(estimate.n_evaluations)
            yield estimate

    estimated(noted, a_request(budget=100), a_played_game(), tallier=None, tolerance=0.0, progress=Progress())
    assert looks == [100]


def test_what_is_asked_alone_decides_where_a_run_stops(tmp_path):
    record = a_played_game(seed=1)
    stops = {
        value: played(a_request(budget=900, value=value), record, tmp_path, tolerance=0.03)[0].n_evaluations
        for value in ("mean-logit", "fp-share")
    }
    assert stops["mean-logit"] < stops["fp-share"]  # an additive game is known at once


def test_a_reference_mask_is_held_against_its_class_alone(tmp_path):
    record = a_played_game(reference_class="spleen")
    with_mask = every_question(a_request(reference="mask.nrrd"), record)
    assert {name for name, _ in with_mask} == {"spleen"}
    assert "fp-relative" in {score.quantity for _, score in with_mask}
    others = every_question(a_request(target="liver"), record)
    assert {name for name, _ in others} == {"liver"}


def test_what_is_asked_and_undefined_is_refused_before_anything_is_played(tmp_path):
    with pytest.raises(InvalidRequest, match="no voxel of 'nowhere'"):
        played(a_request(target="nowhere"), a_played_game(), tmp_path)


def test_an_answer_of_numbers_that_are_not_finite_is_left_out_aloud(tmp_path):
    record = a_played_game()
    record.table._tallies[5][CLASSES["liver"], 3] = np.nan  # sum p, of soft-dice and soft-volume
    progress = Progress()
    _, found = played(a_request(method="exact", budget=1024), record, tmp_path, progress=progress)
    left_out = {("liver", "soft-dice"), ("liver", "soft-volume")}
    assert not left_out & set(by_question(found))
    assert len(found) == 16
    assert all(np.isfinite(answer.player_values).all() for answer in found)
    assert sum("'liver' is left out" in warning for warning in progress.warnings) == 2


def test_many_questions_are_answered_a_few_at_a_time_alike(monkeypatch, tmp_path):
    record, request = a_played_game(), a_request()
    estimate, at_once = played(request, record, tmp_path)
    monkeypatch.setattr(answers, "MOST_REPLAY_BYTES", 8 * 1024 * 5)
    in_parts = every_answer(ESTIMATORS[request.method], request, record, estimate, progress=Progress(pytest.fail))
    assert list(by_question(in_parts)) == list(by_question(at_once))
    for one, other in zip(in_parts, at_once, strict=True):
        np.testing.assert_allclose(one.player_values, other.player_values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["kernel-shap", "captum"])
def test_a_run_can_be_stopped_while_its_other_questions_are_answered(monkeypatch, tmp_path, method):
    record, request, progress = a_played_game(), a_request(method=method, budget=60), Progress()
    estimate, _ = played(request, record, tmp_path)
    if method not in answers.ONE_BY_ONE:
        monkeypatch.setattr(answers, "MOST_AT_ONCE", 1)
    n_asked = []

    def estimator(*args, **kwargs):
        n_asked.append(1)
        progress.cancel()
        return ESTIMATORS[method](*args, **kwargs)

    with pytest.raises(Cancelled):
        every_answer(estimator, request, record, estimate, progress=progress)
    assert n_asked == [1]


def test_the_table_gives_back_every_answer_to_the_last_bit(tmp_path):
    estimate, found = played(a_request(), a_played_game(), tmp_path)
    write_answers_csv(tmp_path / "answers.csv", found, interval_factor=interval_factor(estimate))
    heading = (tmp_path / "answers.csv").read_text().splitlines()[0]
    assert heading == (
        "class,quantity,unit_of_value,id,name,value,standard_error,low_95,high_95,volume_ml,empty_value,full_value"
    )
    rows = iter(read_answers_csv(tmp_path / "answers.csv"))
    for answer in found:
        for player, name in enumerate(answer.partition.names):
            row = next(rows)
            assert (row.class_name, row.quantity, row.unit_of_value) == (answer.target, answer.quantity, answer.unit)
            assert (row.id, row.name, row.value) == (player + 1, name, answer.player_values[player])
            assert (row.empty_value, row.full_value) == (answer.empty_value, answer.full_value)
            half = interval_factor(estimate) * answer.standard_errors[player]
            assert (row.low_95, row.high_95) == pytest.approx((row.value - half, row.value + half))
    assert next(rows, None) is None


def test_a_run_leaves_its_own_numbers_and_those_of_a_revalued_folder(the_answer, tmp_path):
    out, manifest, _ = the_answer
    rows = read_answers_csv(out / "answers.csv")
    units = read_players_csv(out / "players.csv")
    own = rows[: len(units)]
    assert {(row.class_name, row.quantity) for row in own} == {("kidney_right", "soft-volume")}
    shared = ("id", "name", "value", "standard_error", "low_95", "high_95", "volume_ml")
    assert [[getattr(row, name) for name in shared] for row in own] == [
        [getattr(unit, name) for name in shared] for unit in units
    ]
    revalue(out, tmp_path / "other", target="kidney_right", value="mean-logit")
    revalued = {row.name: row for row in read_players_csv(tmp_path / "other" / "players.csv")}
    same = [row for row in rows if row.quantity == "mean-logit"]
    assert len(same) == len(units)
    # The default method learns: what else the table answers is learned together, and right within its errors.
    apart = [
        abs(row.value - revalued[row.name].value) / np.hypot(row.standard_error, revalued[row.name].standard_error)
        for row in same
    ]
    assert max(apart) < 3.0
    revalue(tmp_path / "other", tmp_path / "back", target="kidney_right", value="soft-volume")
    assert read_players_csv(tmp_path / "back" / "players.csv") == units
    assert "answers.csv" in manifest.files
    record = GameRecord.load(out / RECORD_NAME)
    asked = ExplainRequest.from_mapping(manifest.request)
    assert {(row.class_name, row.quantity) for row in rows} == {
        (name, score.quantity) for name, score in every_question(asked, record)
    }
