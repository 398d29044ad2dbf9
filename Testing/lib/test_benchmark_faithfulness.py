"""The benchmark that makes the faithfulness tables, end to end on a tiny network."""

import csv
import shutil

import numpy as np
import pytest
from builders import oblique_grid
from tiny_case import write_tiny_case

from benchmarks.faithfulness.__main__ import main
from benchmarks.faithfulness.cases import Units, given_case
from benchmarks.faithfulness.judged import VOXEL_STEPS, ranked_voxels
from benchmarks.faithfulness.methods import OURS
from SegExplainLib.contract import InvalidRequest
from SegExplainLib.players.partition import PlayerPartition

UNITS, REMOVALS = ("fcc-40mm", "organs"), ("air", "blur")
OPTIONS = ["--quick", "--units", "fcc:40", "organs", "--removals", *REMOVALS]


@pytest.fixture(scope="module")
def a_tiny_case(tmp_path_factory):
    """A request file: noise with a bright ball on one oblique tile, six blocks as organs, a random network."""
    return write_tiny_case(tmp_path_factory.mktemp("tiny"), block_edges=(6, 8))


@pytest.fixture(scope="module")
def the_benchmark(a_tiny_case, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    main(["--out", str(out), "--case", f"tiny={a_tiny_case / 'request.json'}", *OPTIONS])
    return out


@pytest.fixture(scope="module")
def the_rows(the_benchmark):
    with (the_benchmark / "faithfulness.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers_of(rows, **which):
    chosen = [row for row in rows if all(row[name] == value for name, value in which.items())]
    assert chosen
    return [(float(row["value"]), float(row["standard_error"] or "nan")) for row in chosen]


def test_every_method_is_judged_with_every_kind_of_units_and_every_removal(the_rows):
    judged = {
        (row["units"], row["removal"], row["method"]) for row in the_rows if row["metric"] == "abpc-units-relative"
    }
    methods = (*OURS, "random", "volume only")
    assert judged == {(units, removal, method) for units in UNITS for removal in REMOVALS for method in methods}


def test_a_number_is_there_or_a_reason_why_it_is_not(the_rows):
    for row in the_rows:
        assert bool(row["value"]) != bool(row["why_undefined"]), row


def test_random_importances_are_at_chance_within_their_error(the_rows):
    for metric in ("abpc-units-relative", "abpc-volume-relative"):
        for value, error in numbers_of(the_rows, method="random", metric=metric):
            assert abs(value) < 4 * error
    for value, error in numbers_of(the_rows, method="random", metric="faithfulness-correlation"):
        assert abs(value) < 4 * error


def test_voxels_are_removed_by_their_sign_and_by_their_size(the_rows):
    fidelity = {
        order: {row["method"]: row["value"] for row in the_rows if row["order"] == f"voxels, {order}"}
        for order in ("original", "absolute")
    }
    assert set(fidelity["original"]) == {"adjusted-shap", *OURS[5:], "random"} == set(fidelity["absolute"])
    assert fidelity["original"]["saliency"] == fidelity["absolute"]["saliency"]  # is never negative
    assert fidelity["original"]["input-x-gradient"] != fidelity["absolute"]["input-x-gradient"]


def test_exact_shapley_values_of_a_full_game_beat_most_random_orders(the_rows):
    for metric in ("naopc-units", "naopc-volume"):
        assert all(0.5 < value <= 1 for value, _ in numbers_of(the_rows, method="exact", metric=metric))


def test_estimators_of_one_thing_agree_where_the_game_is_small(the_rows):
    which = {"units": "organs", "removal": "air", "order": "order by value", "metric": "aopc-units-relative"}
    ((exact, _),) = numbers_of(the_rows, method="exact", **which)
    for method in ("adjusted-shap", "kernel-shap", "leverage-shap"):
        ((sampled, _),) = numbers_of(the_rows, method=method, **which)
        assert sampled == pytest.approx(exact, abs=0.05)


def test_the_tables_name_every_method_and_the_figure_is_a_picture(the_benchmark):
    text = (the_benchmark / "faithfulness.md").read_text(encoding="utf-8")
    assert all(f"| {method} |" in text for method in OURS)
    assert "nan" not in text
    assert (the_benchmark / "faithfulness.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_run_asks_the_network_nothing_and_says_the_same(the_benchmark, a_tiny_case, capsys):
    before = (the_benchmark / "faithfulness.csv").read_bytes()
    shutil.move(a_tiny_case / "bundle", a_tiny_case / "elsewhere")
    try:
        main(["--out", str(the_benchmark), "--case", f"tiny={a_tiny_case / 'request.json'}", *OPTIONS])
    finally:
        shutil.move(a_tiny_case / "elsewhere", a_tiny_case / "bundle")
    assert capsys.readouterr().out.count("at hand") == len(UNITS) * len(REMOVALS) + 1
    assert (the_benchmark / "faithfulness.csv").read_bytes() == before


def test_voxels_are_removed_in_equal_steps_from_the_largest_value_down():
    grid = oblique_grid((8, 10, 10))
    labels = np.ones(grid.shape_kji, dtype=np.int32)
    labels[:, 0] = 0
    values = np.random.default_rng(0).normal(size=labels.shape)
    steps = ranked_voxels(values, PlayerPartition(labels, grid, ("all",), "fcc"), seed=0).labels
    assert (steps[labels == 0] == 0).all()
    np.testing.assert_array_equal(np.bincount(steps[labels > 0])[1:], [720 // VOXEL_STEPS] * VOXEL_STEPS)
    edges = [(values[steps == step].min(), values[steps == step + 1].max()) for step in range(1, VOXEL_STEPS)]
    assert all(last >= first for last, first in edges)


@pytest.mark.parametrize("text", ["cubes", "fcc", "organs:30", "fcc:wide", "fcc:-3"])
def test_units_of_no_known_form_are_refused(text):
    with pytest.raises(InvalidRequest):
        Units.parsed(text)


def test_a_case_without_a_file_is_refused():
    with pytest.raises(InvalidRequest, match="no case"):
        given_case("liver=nowhere.json")
