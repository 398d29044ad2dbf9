import base64
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from report_builders import (
    bars_partition,
    block_mask,
    make_attribution,
    make_findings,
    organ_partition,
    torso_attribution,
    torso_ct,
    torso_grid,
    torso_organ_ids,
)

from SegExplainLib.report.answer import answer_sentences
from SegExplainLib.report.folder import write_report
from SegExplainLib.report.maps import Picture
from SegExplainLib.report.page import key_numbers, page_html, page_rows
from SegExplainLib.report.tables import read_players_csv

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would find: tags, cells, texts; counts tags that were left open."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.rows, self.text, self.open = [], [], [], []
        self._row = self._is_cell = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self._row = []
        if tag == "td" and self._row is not None:
            self._row.append([dict(attrs).get("data-value"), ""])
            self._is_cell = True

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "tr":
            self.rows.append(self._row)
            self._row = None
        if tag == "td":
            self._is_cell = False

    def handle_data(self, data):
        self.text.append(data)
        if self._is_cell and self._row:
            self._row[-1][1] += data


@pytest.fixture(scope="module")
def a_report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    grid = torso_grid("flipped")
    masks = {"predicted": torso_organ_ids(grid) == 1, "roi": block_mask(grid, (20, -40, -20), (110, 60, 60))}
    findings = make_findings(warnings=("The CT has uneven slices.",))
    files = write_report(folder, torso_attribution(), findings, ct=torso_ct(grid), **masks)
    return folder, files, findings


@pytest.fixture
def a_picture(tmp_path):
    path = tmp_path / "p.png"
    path.write_bytes(b"\x89PNG")
    return Picture(path, "alt", "caption", 100)


def page_of(attribution, findings, picture):
    html = page_html(attribution, findings, maps=[picture], ranking=picture)
    page = Page(html)
    assert not page.open
    return html, page


def unit_rows(page):
    return [row for row in page.rows if row and len(row) >= 7]


def test_a_report_is_these_files(a_report):
    folder, files, _ = a_report
    assert [file.name for file in files] == [
        "players.csv",
        "players.seg.nrrd",
        "map_axial.png",
        "map_coronal.png",
        "map_sagittal.png",
        "ranking.png",
        "report.html",
    ]
    assert sorted(folder.iterdir()) == sorted(files)


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(a_report):
    folder, _, _ = a_report
    html = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert not page.open
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|<iframe", re.sub(r"base64,[^\"]*", "", html))
    sources = [attrs["src"] for tag, attrs in page.tags if "src" in attrs]
    assert len(sources) == 4
    shown = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources]
    names = ("map_axial.png", "map_coronal.png", "map_sagittal.png", "ranking.png")
    assert shown == [(folder / name).read_bytes() for name in names]
    assert all(len(attrs["alt"]) > 60 for tag, attrs in page.tags if tag == "img")


def test_the_page_opens_with_the_answer(a_report):
    folder, _, findings = a_report
    html = unescape((folder / "report.html").read_text(encoding="utf-8"))
    places = [html.index(f"<p>{sentence}</p>") for sentence in answer_sentences(torso_attribution(), findings)]
    assert places == sorted(places)
    order = ["<h1>", places[0], places[-1], "Read with care", "map-or-img", 'id="ranking"', 'id="asked"', 'id="trust"']
    order[4] = html.index("<img")
    at = [place if isinstance(place, int) else html.index(place) for place in order]
    assert at == sorted(at)
    assert html.index("<details>") > at[-1]
    assert "The CT has uneven slices." in html


def test_the_table_of_the_page_holds_the_numbers_of_the_attribution(a_report):
    folder, _, _ = a_report
    attribution = torso_attribution()
    rows = unit_rows(Page((folder / "report.html").read_text(encoding="utf-8")))
    assert [float(row[2][0]) for row in rows] == attribution.player_values[attribution.ranking].tolist()
    by_rank = sorted(read_players_csv(folder / "players.csv"), key=lambda row: row.rank)
    assert [float(row[2][0]) for row in rows] == [row.value for row in by_rank]
    assert [row[1][1] for row in rows] == [row.name.replace("_", " ") for row in by_rank]
    volumes = [float(row[5][0]) for row in rows]
    assert volumes == attribution.partition.volumes_ml[attribution.ranking].tolist()
    assert [row[7][1] for row in rows] == [
        *["supports the label"] * 4,
        "speaks against it",
        *["not told from zero"] * 2,
    ]
    assert rows[0][4][1] == f"{100 * 0.563 / attribution.player_values.sum():.1f}\u202f%"


def test_request_and_run_are_told(a_report):
    folder, _, findings = a_report
    text = "".join(Page((folder / "report.html").read_text(encoding="utf-8")).text)
    for expected in (
        "torso.nii.gz", "abdomen, 3d_fullres", "ijk:50,90,20,60,18,38", "filled with the mean intensity of their",
        "512 evaluations", "386 coalitions were evaluated", "18 tiles", "3.1\u202f% of the range", "0.1.0", "184.2 s",
        "312.0 MB", findings.command, "Seed: 7", "Both agree, up to rounding", "no statement about the patient",
        "The network was not trained on such images",
    ):  # fmt: skip
        assert expected in text, expected
    assert "cases/torso" not in text.replace(findings.command, "")


def test_names_from_outside_cannot_become_markup(a_picture):
    evil = '<script>alert("1")</script>'
    names = (evil, '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}", "a & b", "e", "f", "g")
    attribution = make_attribution(
        [0.7, -0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 0.01, partition=organ_partition(names=names), target=f"liver{evil}"
    )
    findings = make_findings(
        ct_name=evil,
        model_name=evil,
        device=evil,
        warnings=(evil,),
        command=evil,
        versions={evil: evil},
        counts={evil: 1.0},
        timings_s={evil: 1.0},
        stop_reason=evil,
        request={"roi": f"mask:{evil}", "removal": "air"},
    )
    html, page = page_of(attribution, findings, Picture(a_picture.path, f'"{evil}', evil, 100))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert "<script>alert" not in html
    assert any("{{ 7 * 7 }}" in row[1][1] for row in unit_rows(page))


@pytest.mark.parametrize(
    ("quantity", "heading", "up", "down"),
    [
        ("dice", "Why “liver” in this region?", "supports the label", "speaks against it"),
        ("fp", "Why false positives of “liver” in this region?", "raises false positives", "holds them back"),
        ("fn", "Why misses of “liver” in this region?", "raises misses", "prevents misses"),
    ],
)
def test_the_page_speaks_of_what_was_asked(a_picture, quantity, heading, up, down):
    unit = "share" if quantity == "dice" else "voxels"
    _, page = page_of(make_attribution([9.0, -5.0], 0.1, quantity=quantity, unit=unit), make_findings(), a_picture)
    assert heading in page.text
    assert [row[7][1] for row in unit_rows(page)] == [up, down]


@pytest.mark.parametrize(
    ("values", "errors", "full"),
    [([0.0, 0.0], 0.0, 0.0), ([0.3, -0.3], 0.01, 0.0), ([0.3, 0.1], np.nan, None), ([0.3, 0.1], np.inf, None)],
)
def test_odd_results_have_a_page_too(a_picture, values, errors, full):
    _, page = page_of(
        make_attribution(values, errors, full=full), make_findings(relative_error=np.nan, command=""), a_picture
    )
    assert len(unit_rows(page)) == 2
    assert ("Share of" in "".join(page.text)) == (full is None)


def test_the_bars_of_the_table_start_at_zero_and_end_at_the_value():
    rows = page_rows(make_attribution([0.6, -0.2, 0.1], 0.01), make_findings())
    zero = 25.0
    ends = [(row.left, row.left + row.width) for row in rows]
    np.testing.assert_allclose(ends, [(zero, 100.0), (0.0, zero), (zero, 37.5)])


def test_hundreds_of_units_are_all_there(a_picture):
    names = [f"organ {n}" for n in range(300)]
    values = np.random.default_rng(1).normal(0, 1, 300)
    _, page = page_of(make_attribution(values, 0.1, partition=bars_partition(names)), make_findings(), a_picture)
    assert {row[1][1] for row in unit_rows(page)} == set(names)


def test_the_key_numbers_are_those_of_the_attribution():
    shown = [number for number, _ in key_numbers(torso_attribution(), make_findings())]
    assert shown == ["0.913", "0.042", "+0.871", "7", "386"]
