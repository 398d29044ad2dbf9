"""The benchmark of schemes at equal error, end to end on a tiny network."""

import numpy as np
import pytest
from games import GloveGame, RecordedGame, TableGame
from numpy.testing import assert_allclose
from oracles_shapley import shapley_over_all_subsets
from tiny_case import write_tiny_case

from benchmarks.equal_error.__main__ import main
from benchmarks.equal_error.measured import cost_of
from benchmarks.equal_error.schemes import OURS, SCHEMES, Point
from benchmarks.equal_error.stand_in import TreeGame
from SegExplainLib.shapley.coalitions import every_coalition

OPTIONS = ["--units", "organs", "--target", "liver", "--roi", "ijk:4,12,4,12,4,12", "--reference", "160"]
OPTIONS += ["--budget", "60", "--peer-budget", "60", "--stand-in-seeds", "2", "--stand-in-budget", "300"]


@pytest.fixture(scope="module")
def a_case(tmp_path_factory):
    return write_tiny_case(tmp_path_factory.mktemp("tiny"), block_edges=(4, 4))


@pytest.fixture(scope="module")
def the_command(a_case, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    files = [str(a_case / "ct.nrrd"), "--model", str(a_case / "bundle"), "--organs", str(a_case / "organs.nrrd")]
    return out, [*files, *OPTIONS, "--out", str(out)]


@pytest.fixture(scope="module")
def the_table(the_command):
    out, command = the_command
    main(command)
    return (out / "equal_error.md").read_text()


def test_every_scheme_has_a_cost_and_a_run(the_table, the_command):
    for scheme in SCHEMES:
        assert f"| {scheme.name} |" in the_table
    assert (the_command[0] / "equal_error.png").stat().st_size > 10_000


def test_ours_is_once_itself(the_table):
    (row,) = [line for line in the_table.splitlines() if line.startswith(f"| {OURS} |")][:1]
    assert [cell.strip() for cell in row.split("|")][4::3] == ["1.0", "1.0"]


def test_the_same_command_again_asks_the_network_for_nothing(the_table, the_command):
    out, command = the_command
    assert "| 0 tiles ran live" not in the_table
    main(command)
    assert "| 0 tiles ran live" in (out / "equal_error.md").read_text()


@pytest.mark.parametrize("game", [GloveGame(3, 4), TableGame.random(7, seed=0)], ids=["gloves", "random"])
def test_the_values_of_the_trees_are_those_of_brute_force(game):
    rows = every_coalition(7)
    asked = rows[np.random.default_rng(0).permutation(len(rows))[:90]]
    trees = TreeGame(asked, game.worth(asked))
    assert_allclose(trees.shapley_values, shapley_over_all_subsets(RecordedGame(trees), 7), atol=1e-9)


def test_trees_fitted_to_every_coalition_are_the_game():
    game = GloveGame(3, 4)
    trees = TreeGame(every_coalition(7), game.worth(every_coalition(7)))
    assert_allclose(trees.shapley_values, shapley_over_all_subsets(game, 7), atol=0.05)
    assert 0.5 < trees.explained < 1.0


def spent(*args) -> tuple[float, float]:
    cost = cost_of(*args)
    return cost.n_evaluations, cost.n_tiles


def points(*errors: float) -> list[Point]:
    return [Point(100.0 * 2**place, 1000.0 * 2**place, error, float("nan")) for place, error in enumerate(errors)]


def test_costs_lie_between_points_on_a_line_of_logarithms():
    assert_allclose(spent(points(0.2, 0.05, 0.0125), 0.1), (100 * 2**0.5, 1000 * 2**0.5))


def test_a_cost_is_that_after_which_the_error_stays_below():
    n_evaluations, _ = spent(points(0.2, 0.04, 0.08, 0.01), 0.05)
    assert 400 < n_evaluations < 800


def test_beyond_the_last_point_errors_fall_as_one_over_the_square_root():
    assert_allclose(spent(points(0.4, 0.2), 0.05), (200 * 16, 2000 * 16))
    assert not cost_of(points(0.4, 0.2), 0.05).is_measured


def test_a_first_point_that_is_good_enough_is_the_cost():
    assert spent(points(0.02, 0.01), 0.05) == (100.0, 1000.0)
