import math

import numpy as np
import pytest
from report_builders import bars_partition, make_attribution, torso_attribution

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.report.tables import player_rows, read_players_csv, write_players_csv


def test_the_table_gives_back_every_number_to_the_last_bit(tmp_path):
    attribution = torso_attribution()
    write_players_csv(tmp_path / "players.csv", attribution)
    rows = read_players_csv(tmp_path / "players.csv")
    assert [row.value for row in rows] == attribution.player_values.tolist()
    assert [row.standard_error for row in rows] == attribution.standard_errors.tolist()
    assert [row.volume_ml for row in rows] == attribution.partition.volumes_ml.tolist()
    assert [row.value_per_ml for row in rows] == attribution.values_per_ml.tolist()
    assert [row.name for row in rows] == list(attribution.partition.names)
    assert [row.id for row in rows] == list(range(1, 8))
    assert rows == player_rows(attribution)


def test_ranks_go_by_absolute_value():
    rows = player_rows(make_attribution([0.1, -0.5, 0.3]))
    assert [row.rank for row in rows] == [3, 1, 2]


def test_a_sign_is_given_only_where_the_interval_excludes_zero():
    rows = player_rows(make_attribution([0.3, 0.3, -0.3, -0.3], [0.15, 0.16, 0.15, 0.16]), interval_factor=1.96)
    assert [row.sign for row in rows] == [1, 0, -1, 0]
    assert [row.low_95 > 0 for row in rows] == [True, False, False, False]
    assert rows[0].low_95 == pytest.approx(0.3 - 1.96 * 0.15)


def test_few_samples_widen_the_intervals():
    attribution = make_attribution([0.3], [0.15], partition=bars_partition(["one"]))
    assert player_rows(attribution, interval_factor=1.9)[0].sign == 1
    assert player_rows(attribution, interval_factor=2.2)[0].sign == 0


def test_unknown_errors_survive_the_file(tmp_path):
    write_players_csv(tmp_path / "players.csv", make_attribution([0.3, 0.1], [np.nan, np.inf]))
    rows = read_players_csv(tmp_path / "players.csv")
    assert math.isnan(rows[0].standard_error)
    assert math.isinf(rows[1].standard_error)
    assert [(row.sign, row.low_95, row.high_95) for row in rows] == [(0, -math.inf, math.inf)] * 2


def test_names_with_commas_quotes_umlauts_and_line_breaks_stay_one_cell(tmp_path):
    names = ["Leber, rechts", 'a "quoted" one', "Gefäß ä ö ü ß", "two\nlines"]
    attribution = make_attribution([1, 2, 3, 4], partition=bars_partition(names))
    write_players_csv(tmp_path / "players.csv", attribution)
    assert [row.name for row in read_players_csv(tmp_path / "players.csv")] == [*names[:3], "two lines"]
    assert len((tmp_path / "players.csv").read_bytes().splitlines()) == 5


@pytest.mark.parametrize("content", [None, "id,name\n1,liver\n", "id,name,value\n1,liver,high\n"])
def test_a_file_that_is_no_such_table_is_refused_by_name(tmp_path, content):
    path = tmp_path / "other.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidRequest, match=r"other\.csv"):
        read_players_csv(path)
