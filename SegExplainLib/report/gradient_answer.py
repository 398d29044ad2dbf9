"""The answer of methods that take gradients, in plain words: parts of a difference, slopes, or a picture.

As for Shapley values a sentence says no more than the errors support. What is no part of a difference is never called
one; what has no sign is never said to speak for or against; and a slope is never said to carry the label.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.certainty import Certainty, certainty_of
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.methods import method_words
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
from SegExplainLib.report.rounding import percent, rounded, signed, with_error
from SegExplainLib.report.shown import PERCENT, as_shown, is_unsampled, mean_per_ml
from SegExplainLib.report.wording import STARTS, counted, listed, quantity_words, readable

MATERIAL_SHARE = 0.01
"""Of the largest value: units below are counted, not named."""

MARKED_DENSITY = 2.0
"""A unit whose value per ml is this many times that of all units together is dense enough to be named for it."""


def gradient_sentences(attribution: Attribution, findings: Findings) -> list[str]:
    """Two to five sentences: where the values are largest, what goes the other way, what is undecided, the number."""
    shown = as_shown(attribution)
    certainty, words = certainty_of(shown, findings.interval_factor), method_words(shown.method)
    number = _number_sentence(shown, findings)
    if certainty.is_all_zero or (is_unsampled(shown) and not certainty.values.any()):
        return [f"No unit has any {words.noun}: the explained number does not react to their intensities.", number]
    order = order_of(shown, findings)
    if not order.signs.any():
        largest = _named(shown, certainty, int(shown.ranking[0]))
        return [f"No unit can be told from zero. The largest estimate is that of {largest}.", number]
    body = _path_sentences if certainty.has_difference else _slope_sentences
    undecided = undecided_sentences(certainty) if certainty.has_intervals else []
    return [*body(shown, certainty, order), *undecided, number]


def order_of(attribution: Attribution, findings: Findings) -> Certainty:
    """Which values can be told from zero, and from each other.

    By their intervals; where nothing was sampled, by how far any value moved in the last refinement, if that is known;
    and where a sample is too small for errors, by the estimates, which the cautions then say.
    """
    certainty = certainty_of(attribution, findings.interval_factor)
    if certainty.has_errors:
        return certainty
    values, moved = certainty.values, findings.relative_error
    reach = moved * float(np.ptp(values)) if is_unsampled(attribution) and math.isfinite(moved) else 0.0
    return replace(certainty, half_widths=np.full(len(values), reach))


def gradient_cautions(attribution: Attribution, findings: Findings) -> list[str]:
    """What the method is known to get wrong, then what weakens this answer of it."""
    certainty, words = certainty_of(attribution, findings.interval_factor), method_words(attribution.method)
    found = [words.weakness]
    if certainty.is_difference_small:
        found.append(
            "Where the path starts the number is nearly the same as on this CT, so shares of the difference are not "
            "given: either units that raise and lower it cancel out, or the number stems from what stays the same."
        )
    if words.is_sampled and not certainty.has_errors:
        found.append("The sample is too small for standard errors: how precise the values are is not known.")
    if findings.stop_reason == "cancelled":
        found.append(f"The run was stopped early, after {counted(findings.n_evaluations, 'gradient')}.")
    found += _missed_precision(attribution, findings)
    gap = efficiency_gap(attribution)
    if certainty.has_difference and abs(gap) > GAP_SHARE * max(abs(certainty.difference), 0.01 * certainty.scale):
        unit = attribution.unit
        found.append(
            f"The values add up to {signed(certainty.difference + gap, 0, unit)}, not to the difference of "
            f"{signed(certainty.difference, 0, unit)}: {_why_a_gap(attribution)}. More gradients (--budget) would help."
        )
    return found


def _why_a_gap(attribution: Attribution) -> str:
    if method_words(attribution.method).is_sampled:
        return "they are means over a sample of points on the way"
    return "the path was followed in steps that are still too long"


def _missed_precision(attribution: Attribution, findings: Findings) -> list[str]:
    moved, wished = findings.relative_error, percent(findings.request.tolerance)
    if is_unsampled(attribution) and certainty_of(attribution, 1.0).has_difference:
        if not math.isfinite(moved):
            return ["The steps along the path were not refined: how precise the values are is not known."]
        if findings.has_missed_tolerance:
            return [
                "The wished precision was not reached: when the steps along the path were last halved, a value still "
                f"moved by {percent(moved)} of their range, asked for was {wished}; a larger budget would help."
            ]
    elif findings.has_missed_tolerance and math.isfinite(moved):
        return [
            f"The wished precision was not reached: the relative error is {percent(moved)}, asked for was {wished}. "
            "Small units, and the order of near neighbours, are uncertain; a larger budget would help."
        ]
    return []


def _path_sentences(attribution: Attribution, certainty: Certainty, order: Certainty) -> list[str]:
    """How the difference between the path's start and the CT falls to the units."""
    number = f"{quantity_words(attribution.quantity).short} of “{readable(attribution.target)}” in this region"
    difference = certainty.difference
    sign = int(np.sign(difference)) if certainty.has_shares else 0
    if not sign or not order.of_sign(sign):
        sign = int(order.signs[np.argmax(np.abs(order.values * order.signs))])
        start = f"Between the baseline and this CT the {number} hardly changes"
        if certainty.has_shares:
            start = f"From the baseline to this CT the {number} changes by {signed(difference, 0, attribution.unit)}"
        verb = "raises" if sign > 0 else "lowers"
        lead, is_sole = _lead(attribution, certainty, order, sign)
        sentence = f"{start}; it is {lead} that {verb if is_sole else verb.removesuffix('s')} it most."
    else:
        leaders = order.leaders(sign)
        sentence = f"From the baseline to this CT the {number} {'rises' if sign > 0 else 'falls'} by "
        sentence += f"{signed(abs(difference), 0, attribution.unit, has_plus=False)}; "
        sentence += _largest_part(attribution, certainty, leaders, order, sign)
    return [
        sentence,
        *_next(attribution, certainty, order, sign),
        *_other_way(attribution, certainty, order, -sign),
    ]


def _largest_part(
    attribution: Attribution, certainty: Certainty, leaders: list[int], order: Certainty, sign: int
) -> str:
    lead, is_sole = _lead(attribution, certainty, order, sign)
    if not is_sole:
        return f"the largest parts come from {lead}."
    leader = leaders[0]
    share = float(certainty.values[leader]) / certainty.difference
    error = certainty.half_widths[leader] / abs(certainty.difference) if certainty.has_errors else 0.0
    part = "most of it comes" if share - error > 0.5 else "the largest part comes"
    if share > 1:
        return f"more than all of it comes from {lead}, as other units pull the other way."
    return f"{part} from {lead}, {percent(share)} of it."


def _other_way(attribution: Attribution, certainty: Certainty, order: Certainty, sign: int) -> list[str]:
    players = order.of_sign(sign)
    verb = "raise" if sign > 0 else "lower"
    if not players:
        return [f"No unit clearly {verb}s it."]
    large, n_rest = _material(certainty, players)
    if not large:
        return [f"Only {counted(n_rest, 'unit')} of little weight {verb if n_rest > 1 else verb + 's'} it."]
    named = listed([_named(attribution, certainty, player) for player in large])
    rest = f", and {counted(n_rest, 'more unit')} {with_smaller(n_rest)}" if n_rest else ""
    return [f"The other way: {named} {verb if len(players) > 1 else verb + 's'} it{rest}."]


def _slope_sentences(attribution: Attribution, certainty: Certainty, order: Certainty) -> list[str]:
    """Where slopes, or the picture, are strongest; where they are most negative; and where they are densest."""
    words = method_words(attribution.method)
    number = f"{quantity_words(attribution.quantity).short} of “{readable(attribution.target)}” in this region"
    found = []
    for sign, template in ((1, words.most), (-1, words.least)):
        if template and order.of_sign(sign):
            lead, _ = _lead(attribution, certainty, order, sign)
            found.append(template.format(number=number, lead=lead))
            if sign > 0:
                found += _next(attribution, certainty, order, sign)
    if not words.is_signed and not words.is_mean:
        found += _densest_sentence(attribution)
    return found


def _densest_sentence(attribution: Attribution) -> list[str]:
    """A sum over voxels grows with the unit: which unit has most for its volume."""
    per_ml = attribution.values_per_ml
    densest = int(np.argmax(per_ml))
    times = per_ml[densest] / mean_per_ml(attribution)
    if len(per_ml) < 2 or times < MARKED_DENSITY:
        return []
    return [
        f"Large units gather more. For its volume, {unit_name(attribution, densest)} has most: "
        f"{rounded(times, 0 if times >= 10 else 1)} times the mean of all units."
    ]


def _lead(attribution: Attribution, certainty: Certainty, order: Certainty, sign: int) -> tuple[str, bool]:
    """The unit or units that may be the largest of a sign, as words; and whether it is one."""
    leaders = order.leaders(sign)
    named = [_named(attribution, certainty, player) for player in leaders[:MOST_NAMED]]
    if len(leaders) == 1:
        return named[0], True
    if len(leaders) <= MOST_NAMED:
        return f"{listed(named)} (which of them leads is not certain)", False
    return f"{len(leaders)} units whose order is not certain, by their estimates {listed(named)}", False


def _next(attribution: Attribution, certainty: Certainty, order: Certainty, sign: int) -> list[str]:
    leaders = order.leaders(sign)
    large, n_rest = _material(certainty, [p for p in order.of_sign(sign) if p not in leaders])
    if not large:
        return []
    named = listed([_named(attribution, certainty, player) for player in large])
    rest = f", then {counted(n_rest, 'unit')} {with_smaller(n_rest)}" if n_rest else ""
    is_ordered = len(large) > 1 and certainty.has_intervals
    in_order = ", in the order of their estimates," if is_ordered else ""
    return [f"Next{in_order} {'comes' if len(large) == 1 else 'come'} {named}{rest}."]


def _material(certainty: Certainty, players: Sequence[int]) -> tuple[list[int], int]:
    """The players to be named, and how many others there are."""
    least = MATERIAL_SHARE * float(np.abs(certainty.values).max())
    large = [player for player in players if abs(certainty.values[player]) >= least][:MOST_NAMED]
    return large, len(players) - len(large)


def _named(attribution: Attribution, certainty: Certainty, player: int) -> str:
    value, half_width = float(certainty.values[player]), float(certainty.half_widths[player])
    has_plus = method_words(attribution.method).is_signed
    return f"{unit_name(attribution, player)} ({with_error(value, half_width, attribution.unit, has_plus=has_plus)})"


def _number_sentence(attribution: Attribution, findings: Findings) -> str:
    full, empty = full_and_empty(attribution)
    text = f"The explained number is {number_meaning(attribution, findings)}: {full} on the CT as it is"
    if empty:
        baseline = STARTS.get(findings.request.removal, findings.request.removal)
        return f"{text}, {empty} at the baseline. The baseline is {baseline}."
    scale = " Values are in percent of the largest: only their ratios mean something."
    return f"{text}.{scale if attribution.unit == PERCENT else ''}"
