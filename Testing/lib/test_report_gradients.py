"""What the report says of the methods that take gradients: no word that does not apply, no claim without support."""

import math
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from report_builders import (
    ADDING_UP,
    IN_UNIT,
    NON_NEGATIVE,
    SAMPLED,
    bars_partition,
    gradient_attribution,
    gradient_findings,
    make_attribution,
)

from SegExplainLib.contract import (
    DIFFERENTIABLE_VALUES,
    GRADIENT_METHODS,
    METHODS,
    PATH_METHODS,
    REMOVALS,
    InvalidRequest,
)
from SegExplainLib.report import wording
from SegExplainLib.report.answer import answer_sentences, cautions, plain_answer
from SegExplainLib.report.certainty import certainty_of
from SegExplainLib.report.colours import SEQUENTIAL_HEX
from SegExplainLib.report.maps import Picture
from SegExplainLib.report.methods import METHOD_WORDS
from SegExplainLib.report.page import key_numbers, maps_note, page_html, page_rows
from SegExplainLib.report.phrases import unit_of_number
from SegExplainLib.report.ranking import draw_ranking, ranking_bars, write_ranking
from SegExplainLib.report.shap_export import shap_explanation
from SegExplainLib.report.tables import (
    player_rows,
    read_answers_csv,
    read_players_csv,
    write_answers_csv,
    write_players_csv,
)
from SegExplainLib.report.trust import trust_points
from SegExplainLib.target import UNITS

WITHOUT_BASELINE = tuple(method for method in GRADIENT_METHODS if method not in PATH_METHODS)


@pytest.fixture(scope="module")
def a_picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "p.png"
    path.write_bytes(b"\x89PNG")
    return Picture(path, "alt", "caption", 100)


def plainly(text):
    return text.replace("\u202f", " ").replace("\u00a0", " ")


def told(attribution, findings=None):
    return plainly(" ".join(plain_answer(attribution, findings or gradient_findings(attribution.method))))


def page_text(attribution, findings, picture):
    """All words of the page, alternative texts of pictures too."""
    html = page_html(attribution, findings, maps=[picture], ranking=picture)
    body = html[html.index("<body>") : html.index("<script>")]
    return plainly(unescape(re.sub(r"<[^>]*?(alt|aria-label)=\"([^\"]*)\"[^>]*>|<[^>]+>", r" \2 ", body)))


number = st.floats(-1, 1).map(lambda value: round(value, 3))
outcomes = st.tuples(
    st.lists(number, min_size=1, max_size=6),
    st.sampled_from([0.0, 0.02, 0.4, np.inf]),
    st.sampled_from(["tolerance", "budget", "cancelled"]),
    st.sampled_from([0.0, 0.03, 0.3, np.inf, np.nan]),
)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@settings(deadline=None, max_examples=12, phases=[Phase.generate])
@given(outcomes)
def test_no_page_of_a_gradient_method_speaks_of_what_it_does_not_do(a_picture, method, outcome):
    values, error, stop_reason, moved = outcome
    findings = gradient_findings(method, stop_reason=stop_reason, relative_error=moved)
    text = page_text(gradient_attribution(method, values, error), findings, a_picture)
    forbidden = "coalition|Shapley|rests (on|most)|every unit removed|Absent units|evaluation|put back|nan\\b|unknown"
    if method not in PATH_METHODS:
        forbidden += "|[Rr]emov|[Bb]aseline|[Pp]ath"
    if method not in ADDING_UP:
        forbidden += "|difference|add(s|ing)? up|Share of"
    if method in NON_NEGATIVE:
        forbidden += r"|against|supports|\bsigns?\b|\bred\b|\bblue\b|positive|negative|lower|[+−]\d"
    assert not re.search(forbidden, text), re.search(f".{{60}}({forbidden}).{{40}}", text)
    assert METHOD_WORDS[method].name in text
    assert findings.command in text


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@settings(deadline=None, max_examples=40)
@given(outcomes)
def test_no_lead_is_claimed_that_the_intervals_do_not_support(method, outcome):
    values, error, stop_reason, moved = outcome
    attribution = gradient_attribution(method, values, error)
    findings = gradient_findings(method, stop_reason=stop_reason, relative_error=moved)
    sentences = answer_sentences(attribution, findings)
    assert 2 <= len(sentences) <= 6
    certainty = certainty_of(attribution, findings.interval_factor)
    if not certainty.has_errors or sentences[0].startswith("No unit"):
        return
    for sentence in sentences[:-1]:
        if "For its volume" in sentence:
            continue
        for name in re.findall(r"“(unit \d)”", sentence):
            assert certainty.signs[int(name[-1]) - 1] != 0, sentence
    names = re.findall(r"“unit (\d)”", sentences[0])
    if len(names) == 1:
        lead = int(names[0]) - 1
        others = [p for p in certainty.of_sign(int(certainty.signs[lead])) if p != lead]
        low = abs(certainty.values[lead]) - certainty.half_widths[lead]
        assert all(abs(certainty.values[p]) + certainty.half_widths[p] < low for p in others)


def test_every_method_and_every_removal_has_its_words():
    assert set(METHOD_WORDS) == set(METHODS)
    assert set(wording.REMOVALS) == set(wording.STARTS) == set(REMOVALS)
    for method in GRADIENT_METHODS:
        words = METHOD_WORDS[method]
        assert words.is_signed == (method not in NON_NEGATIVE)
        assert words.is_sampled == (method in SAMPLED)
        assert bool(words.raised and words.lowered) == words.is_signed
        assert (words.weakness[-1], words.meaning[-1]) == (".", ".")


@pytest.mark.parametrize("quantity", DIFFERENTIABLE_VALUES)
def test_the_explained_number_keeps_its_own_unit_beside_values_without_one(quantity):
    attribution = replace(gradient_attribution("saliency"), quantity=quantity)
    assert unit_of_number(attribution) == UNITS[quantity]


def test_saliency_names_the_units_in_percent_of_the_largest_and_the_densest():
    partition = bars_partition(["big", "small", "third"])
    labels = partition.labels.copy()
    labels[0, 1, 1:] = 1
    attribution = gradient_attribution("saliency", [8.0, 4.0, 0.8], partition=replace(partition, labels=labels))
    text = told(attribution)
    assert text.startswith(
        "The soft Dice of “liver” in this region would move most with tiny changes of intensity in “big” (100 %). "
        "Next come “small” (50.0 %) and “third” (10.0 %). Large units gather more. For its volume, “small” has most: "
    )
    assert "0.961 on the CT as it is. Values are in percent of the largest" in text
    assert "not what brings the label about" in text


def test_smoothgrad_says_what_a_sign_is_and_keeps_to_its_intervals():
    text = told(gradient_attribution("smoothgrad", [0.5, -0.3, 0.1, 0.001], 0.01))
    assert "would rise most if “unit 1” (+100.0 ± 3.9 %) became a little brighter" in text
    assert "It would fall most if “unit 2” (−60.0 ± 3.9 %)" in text
    assert "1 of 4 units cannot be told from zero" in text
    assert "not whether a unit supports the label" in text
    tied = told(gradient_attribution("smoothgrad", [0.5, 0.49, 0.1], 0.05))
    assert "which of them leads is not certain" in tied


@pytest.mark.parametrize("method", ADDING_UP)
def test_path_methods_tell_the_parts_of_the_difference_from_their_baseline(method):
    findings = gradient_findings(method, request={"removal": "blur"})
    text = told(gradient_attribution(method, [0.5, 0.2, -0.1], 0.01), findings)
    assert "From the baseline to this CT the soft Dice of “liver” in this region rises by 0.600; most of it" in text
    assert "comes from “unit 1” (+0.500" in text
    assert "83 % of it" in text
    assert "The other way: “unit 3” (−0.100" in text
    assert "0.042 at the baseline. The baseline is this CT with every unit blurred." in text
    shown = [plainly(number) for number, _ in key_numbers(gradient_attribution(method, [0.5, 0.2, -0.1]), findings)]
    assert shown == ["0.642", "0.042", "+0.600", "3", "33"]


@pytest.mark.parametrize("method", ADDING_UP)
def test_a_sum_that_misses_the_difference_is_told_and_why(method):
    attribution = replace(gradient_attribution(method, [0.5, 0.2]), full_value=0.9)
    reason = "sample of points" if method == "expected-gradients" else "steps that are still too long"
    text = told(attribution)
    assert "add up to +0.700, not to the difference of +0.858" in text
    assert reason in text
    assert "Both differ by −0.158" in plainly(dict(trust_points(attribution, gradient_findings(method)))["Adding up"])


def test_integrated_gradients_tells_how_far_its_values_moved_when_steps_were_halved():
    attribution = gradient_attribution("integrated-gradients", [0.5, 0.2, 0.01])
    findings = gradient_findings("integrated-gradients", relative_error=0.08)
    assert "when the steps along the path were last halved, a value still moved by 8 % of their range" in told(
        attribution, findings
    )
    precise = gradient_findings("integrated-gradients", relative_error=0.011)
    assert len(cautions(attribution, precise)) == 1
    precision = dict(trust_points(attribution, precise))["Precision"]
    assert "no value moved by more than 1.1 %" in plainly(precision)
    unrefined = gradient_findings("integrated-gradients", relative_error=math.inf)
    assert "not refined" in told(attribution, unrefined)
    readings = [row.reading for row in page_rows(attribution, findings)]
    assert readings == ["raises the number", "raises the number", "not told from zero"]


def test_a_single_gradient_is_exact_because_nothing_is_sampled():
    points = dict(trust_points(gradient_attribution("saliency"), gradient_findings("saliency")))
    assert points["Precision"].startswith("Nothing is sampled: the values are exact")
    assert points["Cost"].startswith("1 gradient was taken: nothing is sampled")
    assert key_numbers(gradient_attribution("saliency"), gradient_findings("saliency"))[-1] == ("1", "gradient")


@pytest.mark.parametrize("method", NON_NEGATIVE)
def test_values_without_a_sign_have_one_sequential_colour(method):
    attribution = gradient_attribution(method)
    assert {row.colour for row in page_rows(attribution, gradient_findings(method))} == {SEQUENTIAL_HEX}
    figure = draw_ranking(attribution)
    assert len({bar.get_facecolor()[:3] for bar in figure.axes[0].patches}) == 1
    assert "purple to orange" in maps_note(attribution)


def test_bars_are_pale_only_where_a_sample_leaves_a_doubt(tmp_path):
    clear = [bar.is_clear for bar in ranking_bars(gradient_attribution("integrated-gradients"))]
    assert clear == [True] * 4
    assert [bar.is_clear for bar in ranking_bars(gradient_attribution("smoothgrad", errors=0.03))][3] is False
    exact = write_ranking(tmp_path / "exact.png", gradient_attribution("saliency"))
    assert "Nothing was sampled" in exact.caption
    assert "95" not in exact.alt
    assert "95" in write_ranking(tmp_path / "sampled.png", gradient_attribution("smoothgrad")).caption


@pytest.mark.parametrize("method", ["seg-grad-cam", "xrai"])
def test_means_are_neither_added_up_nor_divided_by_volumes(method):
    values = np.linspace(1, 0.1, 20)
    assert len(ranking_bars(gradient_attribution(method, values))) == 15
    assert {row.per_ml for row in page_rows(gradient_attribution(method), gradient_findings(method))} == {""}


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_the_tables_keep_the_values_as_they_are(tmp_path, method):
    attribution = gradient_attribution(method)
    write_players_csv(tmp_path / "players.csv", attribution)
    rows = read_players_csv(tmp_path / "players.csv")
    assert [row.value for row in rows] == attribution.player_values.tolist()
    assert {row.unit for row in rows} == {"share" if method in IN_UNIT else "relative"}
    write_answers_csv(tmp_path / "answers.csv", [attribution])
    answers = read_answers_csv(tmp_path / "answers.csv")
    assert math.isnan(answers[0].empty_value) == (method in WITHOUT_BASELINE)
    assert answers[0].full_value == attribution.full_value
    if method == "integrated-gradients":
        assert all(math.isnan(row.standard_error) and math.isinf(row.high_95) for row in player_rows(attribution))


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_only_values_that_add_up_become_a_shap_explanation(method):
    attribution = gradient_attribution(method)
    if method in ADDING_UP:
        explanation = shap_explanation(attribution)
        assert explanation.base_values + explanation.values.sum() == pytest.approx(attribution.full_value)
    else:
        with pytest.raises(InvalidRequest, match=method):
            shap_explanation(attribution)


def test_facts_of_a_counterfactual_are_told_with_their_units(a_picture):
    counts = {
        "counterfactual_validity_share": 0.953,
        "counterfactual_proximity_hu": 6.25,
        "counterfactual_other_edit_hu": 81.0,
        "counterfactual_edge_mm": 96.0,
    }
    findings = gradient_findings("integrated-gradients", counts=counts, request={"removal": "counterfactual"})
    text = re.sub(r"\s+", " ", page_text(gradient_attribution("integrated-gradients"), findings, a_picture))
    for expected in (
        "target that the counterfactual takes away 95 %",
        "mean edit of the counterfactual 6.2 HU",
        "counterfactual other edit 81.0 HU",
        "counterfactual edge 96.0 mm",
        "a counterfactual: this CT, edited by a generative model",
    ):
        assert expected in text


@pytest.mark.parametrize("removal", REMOVALS)
def test_the_start_of_a_path_is_named(a_picture, removal):
    findings = gradient_findings("expected-gradients", request={"removal": removal})
    text = page_text(gradient_attribution("expected-gradients"), findings, a_picture)
    assert text.count(wording.STARTS[removal]) >= 3
    assert "Where the path starts" in text


def test_absent_units_of_a_game_are_told_by_every_single_removal(a_picture):
    attribution = make_attribution([0.5, 0.2], 0.01)
    for removal in ("zero", "counterfactual"):
        findings = gradient_findings("kernel-shap", request={"removal": removal})
        assert f"Absent units were {wording.REMOVALS[removal]}" in page_text(attribution, findings, a_picture)
