import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_builders import bars_partition, make_attribution, make_findings, torso_attribution

from SegExplainLib.contract import VALUES, InvalidRequest
from SegExplainLib.report.answer import answer_sentences, cautions, plain_answer
from SegExplainLib.report.certainty import certainty_of
from SegExplainLib.report.trust import trust_points

UNITS = {"tp": "voxels", "fp": "voxels", "fn": "voxels", "mean-logit": "logit", "soft-volume": "ml"}


def told(values, errors=0.0, **changes):
    """The answer as one text, with plain blanks."""
    findings = changes.pop("findings", make_findings())
    names = changes.pop("names", [f"unit {n}" for n in range(1, len(values) + 1)])
    attribution = make_attribution(values, errors, partition=bars_partition(names), **changes)
    return " ".join(plain_answer(attribution, findings)).replace("\u202f", " ").replace("\u00a0", " ")


def named(sentence):
    return re.findall(r"“([^”]*)”", sentence)


def test_the_answer_opens_with_what_the_label_rests_on():
    sentences = answer_sentences(torso_attribution(), make_findings())
    text = [sentence.replace("\u202f", " ").replace("\u00a0", " ") for sentence in sentences]
    assert text[0] == (
        "The label “liver” in this region rests mostly on “liver” itself: it accounts for +0.563 (95 % interval +0.534 "
        "to +0.592), 65 % of the difference of +0.871 that all units make together."
    )
    assert text[1].startswith("Next, in the order of their estimates, come “rest of body” (+0.146 ± 0.037), “stomach”")
    assert text[2] == "Against it speaks “kidney right” (−0.051 ± 0.018)."
    assert text[3] == "2 of 7 units cannot be told from zero, as their 95 % interval includes it."
    assert text[4].endswith("0.913 on the CT as it is, 0.042 with every unit removed.")
    assert "the network’s own prediction on the unchanged CT" in text[4]


def test_a_reference_mask_is_said_to_be_the_yardstick():
    findings = make_findings(request={"reference": "truth.nii.gz"})
    assert "with the reference mask" in told([0.5, 0.1], findings=findings)


def test_the_leader_carries_no_mostly_below_half_of_the_difference():
    assert "rests more than anything else on “unit 1”" in told([0.4, 0.3, 0.2], 0.01)
    assert "rests mostly on “unit 1”" in told([0.6, 0.2, 0.2], 0.01)
    assert "rests more than anything else on “unit 1”" in told([0.52, 0.24, 0.24], 0.02)


def test_units_whose_intervals_meet_are_not_ranked():
    assert "rests most on “unit 1” (+0.500 ± 0.098) and “unit 2” (+0.400 ± 0.098); which of them leads is not" in told(
        [0.5, 0.4, 0.1], [0.05, 0.05, 0.01]
    )
    text = told([0.5, 0.49, 0.48, 0.47, 0.46], 0.05)
    assert "rests on 5 units whose order is not certain" in text
    assert "Next" not in text


def test_a_unit_of_more_than_the_whole_difference_is_explained():
    text = told([0.9, -0.5], 0.01)
    assert "more than the whole difference of +0.400, as other units pull the other way" in text
    assert "Against it speaks “unit 2” (−0.500 ± 0.020)" in text


def test_nothing_against_the_label_is_said_too():
    assert "No unit clearly speaks against it." in told([0.6, 0.3, -0.001], 0.01)


def test_units_of_little_weight_are_counted_not_named():
    text = told([0.9, -0.004, -0.003], 0.0001)
    assert "Against it speak only 2 units of little weight (0.00700 together)." in text
    assert "“unit 2”" not in text


def test_a_label_that_the_units_weaken_is_not_said_to_rest_on_them():
    text = told([-0.6, 0.1], 0.01, empty=0.9)
    assert "The label “liver” in this region is weakened mostly by “unit 1”" in text
    assert "For it speaks “unit 2”" in text
    assert "rests" not in text


def test_all_zeros_say_that_nothing_changes_the_number():
    text = told([0.0, 0.0], 0.0, empty=0.7)
    assert text.startswith("No unit changes the soft Dice in this region.")
    assert "0.700 on the CT as it is, 0.700 with every unit removed" in text


def test_zeros_with_an_error_are_no_proof_of_no_effect():
    text = told([0.0, 0.0], 0.1, empty=0.7)
    assert text.startswith("No unit can be told from zero")
    assert "No unit changes" not in text


def test_rounding_noise_of_exact_values_is_no_effect():
    assert "1 of 2 units has no effect." in told([0.5, 1e-9], 0.0)


def test_no_clear_unit_is_no_ranking():
    text = told([0.05, -0.04, 0.03], 0.1)
    assert "No unit can be told from zero" in text
    assert "rests" not in text


@pytest.mark.parametrize(
    ("error", "factor", "reason"),
    [
        (np.nan, 1.96, "This method gives no standard errors"),
        (np.inf, 1.96, "The sample is too small"),
        (0.01, np.inf, "The sample is too small"),
    ],
)
def test_unknown_errors_claim_no_sign(error, factor, reason):
    findings = make_findings(interval_factor=factor)
    text = told([0.5, 0.3, -0.2], error, findings=findings)
    assert "The largest importances for the soft Dice of “liver” in this region belong to “unit 1” (+0.500)" in text
    assert "with an error that is not known" in text
    assert reason in text
    assert not re.search("rests|speaks|±", text)
    precision = dict(trust_points(make_attribution([0.5, 0.3, -0.2], error), findings))["Precision"]
    assert precision.startswith(reason)


def test_exact_values_are_called_exact():
    assert "it accounts for +0.600 (exact)" in told([0.6, 0.2], 0.0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("quantity", VALUES)
def test_every_quantity_has_its_own_words(quantity, sign):
    values = sign * np.array([60.0, 20.0, -15.0])
    text = told(values, 1.0, quantity=quantity, unit=UNITS.get(quantity, "share"), empty=100.0 if sign < 0 else 5.0)
    if quantity.startswith("fp"):
        expected = ("False positives of “liver” in this region rise mostly with", "They are held back by")
        opposite = ("False positives of “liver” in this region are held back mostly by", "They rise with")
    elif quantity == "fn":
        expected = ("Misses of “liver” in this region rise mostly with", "They are prevented by")
        opposite = ("Misses of “liver” in this region are prevented mostly by", "They rise with")
    else:
        expected = ("The label “liver” in this region rests mostly on", "Against it speaks")
        opposite = ("The label “liver” in this region is weakened mostly by", "For it speaks")
    lead, other = expected if sign > 0 else opposite
    assert f"{lead} “unit 1”" in text
    assert f"{other} “unit 3”" in text
    assert ("rests" in text) == (lead.startswith("The label") and sign > 0)


def test_a_difference_of_nothing_gives_no_shares_and_says_why():
    text = told([0.5, -0.5, 0.0], 0.01, empty=0.6)
    assert "nearly the same" in text
    assert not re.search(r"\d % of the difference", text)


def test_a_missed_precision_is_told_with_both_numbers():
    late = make_findings(stop_reason="budget", relative_error=0.081)
    assert "relative error is 8.1 %, asked for was 5 %" in told([0.5], 0.01, findings=late)
    in_time = make_findings(stop_reason="budget", relative_error=0.049)
    assert cautions(make_attribution([0.5], 0.01), in_time) == []
    unasked = make_findings(stop_reason="budget", relative_error=0.9, request={"tolerance": 0.0})
    assert cautions(make_attribution([0.5], 0.01), unasked) == []


def test_a_stopped_run_says_so():
    findings = make_findings(stop_reason="cancelled", n_evaluations=40)
    assert "stopped early, after 40 evaluations" in told([0.5], 0.01, findings=findings)


def test_importances_that_do_not_add_up_are_told():
    text = told([0.5, 0.2], 0.01, empty=0.0, full=1.0)
    assert "add up to +0.700, not to the difference of +1.00" in text
    assert "add up" not in told([0.5, 0.2], 0.01)


def test_long_names_are_shortened_and_machine_names_are_readable():
    text = told([0.6, 0.3], 0.001, names=["lung_upper_lobe_left", "x" * 300])
    assert "“lung upper lobe left”" in text
    assert all(len(name) <= 60 for name in named(text))


def test_findings_refuse_what_cannot_be():
    with pytest.raises(InvalidRequest):
        make_findings(n_evaluations=-1)
    with pytest.raises(InvalidRequest):
        make_findings(interval_factor=0.0)


number = st.floats(-1, 1).map(lambda value: round(value, 3))
error = st.floats(0.001, 0.5).map(lambda value: round(value, 3))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(number, error), min_size=1, max_size=9), st.sampled_from(VALUES))
def test_no_sign_and_no_lead_is_claimed_that_the_intervals_do_not_support(pairs, quantity):
    values, errors = np.array(pairs).T
    attribution = make_attribution(values, errors, quantity=quantity)
    sentences = answer_sentences(attribution, make_findings())
    certainty = certainty_of(attribution, 1.96)
    assert 2 <= len(sentences) <= 5
    if not certainty.signs.any():
        assert sentences[0].startswith(("No unit can be told from zero", "No unit changes"))
        return
    units = {f"unit {n}": n - 1 for n in range(1, len(values) + 1)}
    lead = [units[name] for name in named(sentences[0]) if name in units]
    signs = {int(certainty.signs[player]) for player in lead}
    assert len(signs) == 1
    assert 0 not in signs
    for sentence in sentences[1:]:
        assert all(certainty.signs[units[name]] != 0 for name in named(sentence) if name in units)
    if " mostly " in sentences[0] or " more than anything else " in sentences[0]:
        same = (np.sign(values) == signs.pop()) & (np.arange(len(values)) != lead[0])
        low, high = np.abs(values[lead[0]]) - 1.96 * errors[lead[0]], np.abs(values) + 1.96 * errors
        assert (high[same & (certainty.signs != 0)] < low).all()
