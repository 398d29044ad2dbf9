"""The answer in plain words: what the label rests on, what speaks against it, and how sure that is.

Here for Shapley values; `gradient_answer` has the sentences of methods that take gradients.

Every sentence says only what the intervals support, of this network, this CT and this way of removing; never of the
patient.
"""

from collections.abc import Sequence

import numpy as np

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.certainty import Certainty, certainty_of
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.gradient_answer import gradient_cautions, gradient_sentences
from SegExplainLib.report.methods import uses_gradients
from SegExplainLib.report.phrases import (
    GAP_SHARE,
    MOST_NAMED,
    efficiency_gap,
    full_and_empty,
    number_meaning,
    undecided_sentences,
    unit_name,
    with_smaller,
)
from SegExplainLib.report.ranking_answer import ranking_sentences
from SegExplainLib.report.rounding import NARROW_SPACE, as_range, percent, plain, rounded, signed, with_error
from SegExplainLib.report.wording import counted, listed, quantity_words, readable, story_words

MATERIAL_SHARE = 0.01
"""Of the largest of the difference and the importances: units below are counted, not named."""


def plain_answer(attribution: Attribution, findings: Findings) -> list[str]:
    """The sentences that open the report: the answer, then what to be careful about."""
    return [*answer_sentences(attribution, findings), *cautions(attribution, findings)]


def answer_sentences(attribution: Attribution, findings: Findings) -> list[str]:
    """Two to five sentences: what the label rests on, what pulls the other way, what is undecided, and the number.

    A unit is named with a sign only where its interval excludes zero, and before another only where both intervals are
    disjoint.
    """
    if uses_gradients(attribution.method):
        return gradient_sentences(attribution, findings)
    certainty = certainty_of(attribution, findings.interval_factor)
    number = _number_sentence(attribution, findings)
    if certainty.is_all_zero:
        return [f"No unit changes the {quantity_words(attribution.quantity).short} in this region.", number]
    if not certainty.has_errors:
        return [_sentence_without_errors(attribution), number]
    if not certainty.signs.any():
        return [_sentence_of_nothing_clear(attribution, certainty), number]
    lead_sign = _lead_sign(certainty)
    leaders = certainty.leaders(lead_sign)
    sentences = [_lead_sentence(attribution, certainty, leaders, lead_sign)]
    followers = [player for player in certainty.of_sign(lead_sign) if player not in leaders]
    sentences += _next_sentence(attribution, certainty, followers)
    sentences += _other_side_sentence(attribution, certainty, -lead_sign)
    sentences += undecided_sentences(certainty)
    return [*sentences, number]


def cautions(attribution: Attribution, findings: Findings) -> list[str]:
    """What weakens this answer: too few samples, no errors, nothing to share out, importances that do not add up."""
    if uses_gradients(attribution.method):
        return gradient_cautions(attribution, findings)
    certainty = certainty_of(attribution, findings.interval_factor)
    found = []
    if certainty.is_difference_small:
        found.append(
            "With and without all units the number is nearly the same, so shares of the difference are not given: "
            "either units for and against cancel out, or the number rests on what was not removed."
        )
    if not certainty.has_errors:
        found.append(f"{why_no_errors(attribution)}: how precise the importances are is not known.")
    if findings.stop_reason == "cancelled":
        found.append(f"The run was stopped early, after {rounded(findings.n_evaluations, 0)} evaluations.")
    found += ranking_sentences(attribution, findings)
    if findings.has_missed_tolerance:
        found.append(
            f"The wished precision was not reached: the relative error is {percent(findings.relative_error)}, asked "
            f"for was {percent(findings.request.tolerance)}. Small units, and the order of near neighbours, are "
            "uncertain; a larger budget would help."
        )
    gap = efficiency_gap(attribution)
    if abs(gap) > GAP_SHARE * max(abs(certainty.difference), MATERIAL_SHARE * certainty.scale):
        found.append(
            f"The importances add up to {signed(certainty.difference + gap, 0, attribution.unit)}, not to the "
            f"difference of {signed(certainty.difference, 0, attribution.unit)}: part of it is not explained."
        )
    return found


def why_no_errors(attribution: Attribution) -> str:
    """Why no interval can be given: the beginning of a sentence."""
    if np.isnan(attribution.standard_errors).all():
        return "This method gives no standard errors"
    return "The sample is too small for standard errors"


def _number_sentence(attribution: Attribution, findings: Findings) -> str:
    full, empty = full_and_empty(attribution)
    meaning = number_meaning(attribution, findings)
    return f"The explained number is {meaning}: {full} on the CT as it is, {empty} with every unit removed."


def _lead_sign(certainty: Certainty) -> int:
    """The direction of the difference; of the largest clear unit where there is no difference or no unit for it."""
    sign = 0 if certainty.is_difference_small else int(np.sign(certainty.difference))
    if sign and certainty.of_sign(sign):
        return sign
    clear = np.flatnonzero(certainty.signs)
    return int(certainty.signs[clear[np.argmax(np.abs(certainty.values[clear]))]])


def _lead_sentence(attribution: Attribution, certainty: Certainty, leaders: list[int], sign: int) -> str:
    story = story_words(attribution.quantity)
    start = (story.rises if sign > 0 else story.falls).format(target=readable(attribution.target))
    link = _link(attribution.quantity, sign)
    if len(leaders) == 1:
        leader = leaders[0]
        lower = abs(certainty.values[leader]) - certainty.half_widths[leader]
        agrees = sign * certainty.difference > 0 and not certainty.is_difference_small
        degree = "mostly" if agrees and lower > 0.5 * abs(certainty.difference) else "more than anything else"
        return f"{start} {degree} {link} {unit_name(attribution, leader)}: {_carries(attribution, certainty, leader)}."
    named = [_named(attribution, certainty, player) for player in leaders[:MOST_NAMED]]
    if len(leaders) <= MOST_NAMED:
        return f"{start} most {link} {listed(named)}; which of them leads is not certain."
    largest = f"the largest estimates are those of {listed(named)}"
    return f"{start} {link} {len(leaders)} units whose order is not certain; {largest}."


def _link(quantity: str, sign: int) -> str:
    """The preposition that the beginning of the lead sentence asks for."""
    if quantity_words(quantity).story == "label":
        return "on" if sign > 0 else "by"
    return "with" if sign > 0 else "by"


def _carries(attribution: Attribution, certainty: Certainty, player: int) -> str:
    value, half_width = certainty.values[player], certainty.half_widths[player]
    text = f"it accounts for {signed(value, half_width, attribution.unit)}"
    text += (
        f" (95{NARROW_SPACE}% interval {as_range(value, half_width, attribution.unit)})" if half_width else " (exact)"
    )
    if certainty.is_difference_small or value * certainty.difference <= 0:
        return text
    difference = signed(certainty.difference, 0, attribution.unit)
    share = value / certainty.difference
    if share > 1:
        return f"{text}, more than the whole difference of {difference}, as other units pull the other way"
    return f"{text}, {percent(share)} of the difference of {difference} that all units make together"


def _next_sentence(attribution: Attribution, certainty: Certainty, players: list[int]) -> list[str]:
    large, n_small = _material(certainty, players)
    if not large:
        return []
    named = listed([_named(attribution, certainty, player) for player in large[:MOST_NAMED]])
    n_rest = n_small + max(0, len(large) - MOST_NAMED)
    rest = f", then {counted(n_rest, 'unit')} {with_smaller(n_rest)}" if n_rest else ""
    order = ", in the order of their estimates," if len(large) > 1 else ""
    return [f"Next{order} {'comes' if len(large) == 1 else 'come'} {named}{rest}."]


def _other_side_sentence(attribution: Attribution, certainty: Certainty, sign: int) -> list[str]:
    players = certainty.of_sign(sign)
    large, n_small = _material(certainty, players)
    story = story_words(attribution.quantity)
    start = story.also_rises if sign > 0 else story.also_falls
    is_label = quantity_words(attribution.quantity).story == "label"
    if not players:
        if not is_label:
            return []
        return ["No unit clearly speaks against it." if sign < 0 else "No unit clearly speaks for it."]
    if not large:
        total = plain(float(np.abs(certainty.values[players]).sum()), attribution.unit)
        verb = ("speaks" if n_small == 1 else "speak") + " only"
        small = f"{counted(n_small, 'unit')} of little weight ({total} together)"
        return [f"{start} {verb} {small}." if is_label else f"{start} {small}."]
    named = listed([_named(attribution, certainty, player) for player in large[:MOST_NAMED]])
    n_rest = n_small + max(0, len(large) - MOST_NAMED)
    rest = f", and {counted(n_rest, 'more unit')} {with_smaller(n_rest)}" if n_rest else ""
    verb = f" {'speaks' if len(players) == 1 else 'speak'}" if is_label else ""
    return [f"{start}{verb} {named}{rest}."]


def _sentence_without_errors(attribution: Attribution) -> str:
    named = [
        f"{unit_name(attribution, int(p))} ({signed(attribution.player_values[p], 0, attribution.unit)})"
        for p in attribution.ranking[:MOST_NAMED]
    ]
    plural = len(named) > 1
    return (
        f"The largest importance{'s' if plural else ''} for the {quantity_words(attribution.quantity).short} of "
        f"“{readable(attribution.target)}” in this region belong{'' if plural else 's'} to {listed(named)}, "
        "with an error that is not known."
    )


def _sentence_of_nothing_clear(attribution: Attribution, certainty: Certainty) -> str:
    largest = int(attribution.ranking[0])
    return (
        f"No unit can be told from zero: every 95{NARROW_SPACE}% interval includes it. The largest estimate is that of "
        f"{_named(attribution, certainty, largest)}."
    )


def _material(certainty: Certainty, players: Sequence[int]) -> tuple[list[int], int]:
    """The players large enough to be named, in their order, and how many are not."""
    yardstick = max(abs(certainty.difference), float(np.abs(certainty.values).max()))
    large = [player for player in players if abs(certainty.values[player]) >= MATERIAL_SHARE * yardstick]
    return large, len(players) - len(large)


def _named(attribution: Attribution, certainty: Certainty, player: int) -> str:
    value, half_width = certainty.values[player], certainty.half_widths[player]
    return f"{unit_name(attribution, player)} ({with_error(value, half_width, attribution.unit)})"
