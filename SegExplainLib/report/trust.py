"""How far to trust the importances: what they mean, what they do not, and on what they depend."""

import math

import numpy as np

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.answer import efficiency_gap, full_and_empty, why_no_errors
from SegExplainLib.report.certainty import NEGLIGIBLE_SHARE, Certainty, certainty_of
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.rounding import percent, rounded, signed
from SegExplainLib.report.wording import REMOVALS, STOP_REASONS, counted, truth_words


def trust_points(attribution: Attribution, findings: Findings) -> list[tuple[str, str]]:
    """(heading, text) of each point, in the order in which a reader needs them."""
    certainty = certainty_of(attribution, findings.interval_factor)
    return [
        ("What an importance is", _meaning()),
        ("What it is not", _limits()),
        ("Removal", _removal(findings)),
        ("Yardstick", _yardstick(attribution, findings)),
        ("Precision", _precision(attribution, certainty, findings)),
        ("Adding up", _adding_up(attribution)),
        ("Size of units", _size()),
        ("Redundancy", _redundancy()),
        ("Cost", _cost(findings)),
    ]


def _meaning() -> str:
    return (
        "The unit’s Shapley value: by how much the explained number changes when the unit is put back into this CT, "
        "averaged over all the orders in which all units could be put back. It describes what this network makes of "
        "this CT."
    )


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


def _yardstick(attribution: Attribution, findings: Findings) -> str:
    if attribution.quantity == "soft-volume":
        return "The explained number is a volume by itself; it is compared with no truth."
    truth = truth_words(has_reference=findings.has_reference)
    if findings.has_reference:
        return f"The prediction was compared with {truth}; an error of that mask is an error here."
    return (
        f"No reference mask was given: the prediction was compared with {truth}. The importances say what upholds that "
        "prediction, be it right or wrong."
    )


def _precision(attribution: Attribution, certainty: Certainty, findings: Findings) -> str:
    if certainty.is_exact:
        return "Every coalition of units was evaluated: the values are exact up to the rounding of the computation."
    if not certainty.has_errors:
        return f"{why_no_errors(attribution)}, so there are no intervals, and neither signs nor order are certain."
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
    return text + "They tell of the sampling only, not of the choice of removal, units or network."


def _adding_up(attribution: Attribution) -> str:
    total = float(np.sum(attribution.player_values, dtype=np.float64))
    difference = attribution.full_value - attribution.empty_value
    unit, (full, empty) = attribution.unit, full_and_empty(attribution)
    gap, scale = efficiency_gap(attribution), certainty_of(attribution, 1.0).scale
    has_gap = abs(gap) > NEGLIGIBLE_SHARE * scale
    gap_words = f"Both differ by {signed(gap, 0, unit)}." if has_gap else "Both agree, up to rounding."
    return (
        f"The importances add up to {signed(total, 0, unit)}; the explained number changes from "
        f"{empty} with every unit removed to {full} on the CT as it is, by {signed(difference, 0, unit)}. {gap_words}"
    )


def _size() -> str:
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
