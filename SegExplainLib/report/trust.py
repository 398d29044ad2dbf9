"""How far to trust the importances: what they mean, what they do not, and on what they depend."""

import math

import numpy as np

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.answer import why_no_errors
from SegExplainLib.report.certainty import NEGLIGIBLE_SHARE, Certainty, certainty_of
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.methods import has_baseline, method_words, uses_gradients
from SegExplainLib.report.phrases import efficiency_gap, full_and_empty
from SegExplainLib.report.rounding import percent, rounded, signed
from SegExplainLib.report.shown import RELATIVE, is_unsampled
from SegExplainLib.report.wording import GRADIENT_STOP_REASONS, REMOVALS, STARTS, STOP_REASONS, counted, truth_words


def trust_points(attribution: Attribution, findings: Findings) -> list[tuple[str, str]]:
    """(heading, text) of each point, in the order in which a reader needs them; what does not apply is left out."""
    certainty = certainty_of(attribution, findings.interval_factor)
    words, is_gradient = method_words(attribution.method), uses_gradients(attribution.method)
    noun = words.a_noun
    points = [(f"What {noun} is", words.meaning), ("What it is not", f"{words.weakness} {_limits()}".strip())]
    if not is_gradient:
        points.append(("Removal", _removal(findings)))
    elif has_baseline(attribution.method):
        points.append(("Where the path starts", _start(findings)))
    points += [
        ("Yardstick", _yardstick(attribution, findings)),
        ("Precision", _gradient_precision(attribution, certainty, findings))
        if is_gradient
        else ("Precision", _precision(attribution, certainty, findings)),
    ]
    if certainty.has_difference:
        points.append(("Adding up", _adding_up(attribution)))
    elif attribution.unit == RELATIVE:
        points.append(("Scale", _scale(words.a_noun)))
    points.append(("Size of units", _size(attribution)))
    if not is_gradient:
        points.append(("Redundancy", _redundancy()))
    return [*points, ("Cost", _gradient_cost(findings) if is_gradient else _cost(findings))]


def _limits() -> str:
    return (
        "It is no statement about the patient: not about disease, not about cause and effect in the body, and not "
        "about whether the label is right. It holds for this CT, this network and this region alone; one case does not "
        "show how the network works in general. It is meant for research, not for diagnosis."
    )


def _removal(findings: Findings) -> str:
    looks = REMOVALS.get(findings.request.removal, f"removed by “{findings.request.removal}”")
    return (
        f"Absent units were {looks}. The network was not trained on such images, and part of an importance can be its "
        "answer to their strangeness. Another way of removing can give other importances: what matters should be seen "
        "with more than one."
    )


def _start(findings: Findings) -> str:
    start = STARTS.get(findings.request.removal, findings.request.removal)
    return (
        f"The baseline is {start}. The network was not trained on such images, nor on those between it and this CT. "
        "Another baseline can give other values: what matters should be seen with more than one."
    )


def _yardstick(attribution: Attribution, findings: Findings) -> str:
    if attribution.quantity == "soft-volume":
        return "The explained number is a volume by itself; it is compared with no truth."
    truth = truth_words(has_reference=findings.has_reference)
    if findings.has_reference:
        return f"The prediction was compared with {truth}; an error of that mask is an error here."
    return f"No reference mask was given: the prediction was compared with {truth}. " + (
        "All values are about that prediction, be it right or wrong."
        if uses_gradients(attribution.method)
        else "The importances say what upholds that prediction, be it right or wrong."
    )


def _precision(attribution: Attribution, certainty: Certainty, findings: Findings) -> str:
    if certainty.is_exact:
        return "Every coalition of units was evaluated: the values are exact up to the rounding of the computation."
    if not certainty.has_errors:
        return f"{why_no_errors(attribution)}, so there are no intervals, and neither signs nor order are certain."
    text = _intervals(certainty, findings)
    return text + "They tell of the sampling only, not of the choice of removal, units or network."


def _intervals(certainty: Certainty, findings: Findings) -> str:
    text = f"Intervals are estimate ± {rounded(findings.interval_factor, 2)} standard errors. "
    if not math.isnan(findings.relative_error):
        asked = f" (asked for: {percent(findings.request.tolerance)})" if findings.request.tolerance > 0 else ""
        text += f"The largest standard error is {percent(findings.relative_error)} of the range of the values{asked}. "
    n_chance = 0.05 * len(certainty.values)
    if n_chance >= 0.95:
        text += (
            f"Each interval misses its true value in about 1 of 20 cases: of {len(certainty.values)} units, expect "
            f"{rounded(n_chance, 0)} to do so. "
        )
    return text


def _gradient_precision(attribution: Attribution, certainty: Certainty, findings: Findings) -> str:
    if certainty.is_exact:
        return "Nothing is sampled: the values are exact up to the rounding of the computation."
    if certainty.has_errors:
        return _intervals(certainty, findings) + "They tell of the sampling only, not of the method, units or network."
    if not is_unsampled(attribution):
        return (
            "The sample is too small for standard errors, so there are no intervals, and the order of the units is not "
            "certain."
        )
    text = "Nothing is sampled, so there are no intervals. The path is followed in steps, which are halved to refine it"
    if not math.isfinite(findings.relative_error):
        return text + ". How much the values still change with shorter steps is not known."
    return (
        f"{text}: when they were last halved, no value moved by more than {percent(findings.relative_error)} of the "
        "range of the values, which is more than the error that is left as a rule."
    )


def _adding_up(attribution: Attribution) -> str:
    total = float(np.sum(attribution.player_values, dtype=np.float64))
    difference = attribution.full_value - attribution.empty_value
    unit, (full, empty) = attribution.unit, full_and_empty(attribution)
    gap, scale = efficiency_gap(attribution), certainty_of(attribution, 1.0).scale
    has_gap = abs(gap) > NEGLIGIBLE_SHARE * scale
    gap_words = f"Both differ by {signed(gap, 0, unit)}." if has_gap else "Both agree, up to rounding."
    is_gradient = uses_gradients(attribution.method)
    at_start = "at the baseline" if is_gradient else "with every unit removed"
    if is_gradient and has_gap:
        gap_words += " On the whole path they would agree: what is left is the error of taking it at points."
    return (
        f"The {'values' if is_gradient else 'importances'} add up to {signed(total, 0, unit)}; the explained number "
        f"changes from {empty} {at_start} to {full} on the CT as it is, by {signed(difference, 0, unit)}. {gap_words}"
    )


def _scale(a_noun: str) -> str:
    return (
        f"The values have a scale of their own, that of {a_noun} in this CT alone. They are shown in percent of the "
        "largest; two CTs, two methods, or two explained numbers cannot be compared by them."
    )


def _size(attribution: Attribution) -> str:
    words = method_words(attribution.method)
    if words.is_mean:
        return (
            "A unit’s value is the mean over its voxels, so that its size does not count; a small hot spot in a large "
            "unit is lost in the mean, and shows in the pictures."
        )
    if attribution.voxel_map is not None:
        return (
            "A unit’s value is the sum over its voxels: a large unit can have much because it is large. The table "
            "gives the value per ml beside it; the pictures show each voxel’s own."
        )
    return (
        "A value belongs to the whole unit, and so does its colour. A large unit can matter because it is large; the "
        "table gives the value per ml beside it."
    )


def _redundancy() -> str:
    return (
        "Where two units tell the network the same, they share one importance; where the network needs both together, "
        "they share that gain. A small importance therefore does not mean that the network cannot use a unit."
    )


def _cost(findings: Findings) -> str:
    why = STOP_REASONS.get(findings.stop_reason, findings.stop_reason)
    n = findings.n_evaluations
    text = f"{rounded(n, 0)} {'coalition was' if n == 1 else 'coalitions were'} evaluated: {why}."
    tiles = findings.counts.get("n_roi_tiles")
    if tiles is not None:
        text += (
            f" The region’s labels come from {counted(int(tiles), 'tile')} of the network’s sliding window. For each "
            "coalition all of them were run again, or reused where nothing in them had changed; what lies outside them "
            "cannot change these labels."
        )
    return text


def _gradient_cost(findings: Findings) -> str:
    why = GRADIENT_STOP_REASONS.get(findings.stop_reason, findings.stop_reason)
    n, tiles = findings.n_evaluations, findings.counts.get("n_roi_tiles")
    text = f"{rounded(n, 0)} {'gradient was' if n == 1 else 'gradients were'} taken: {why}."
    if tiles is not None:
        text += (
            f" The region’s labels come from {counted(int(tiles), 'tile')} of the network’s sliding window; every "
            "gradient goes back through all of them, fused as the framework does. What lies outside them cannot change "
            "these labels."
        )
    return text
