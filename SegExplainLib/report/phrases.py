"""Parts of sentences that every method's answer needs: the explained number, its sizes, a unit's name."""

import numpy as np

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.certainty import Certainty
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.rounding import NARROW_SPACE, plain
from SegExplainLib.report.shown import PERCENT, RELATIVE, shares_out_difference
from SegExplainLib.report.wording import quantity_words, readable, shortened, truth_words

MOST_NAMED = 3
"""Units named in one sentence."""

MOST_NAME_CHARACTERS = 60

GAP_SHARE = 0.01
"""Of the difference: by more than this the values fail to add up, and the page says so."""


def number_meaning(attribution: Attribution, findings: Findings) -> str:
    """What the explained number is, as a noun phrase."""
    words = quantity_words(attribution.quantity)
    truth = truth_words(has_reference=findings.has_reference)
    return words.meaning.format(target=readable(attribution.target), truth=truth)


def full_and_empty(attribution: Attribution) -> tuple[str, str]:
    """The explained number on the CT as it is, and with every unit absent, as shown: to the same decimal.

    The second is empty where the values are no parts of the difference between the two.
    """
    full, unit = attribution.full_value, unit_of_number(attribution)
    if not shares_out_difference(attribution):
        return plain(full, unit), ""
    empty = attribution.empty_value
    return plain(full, unit, beside=empty), plain(empty, unit, beside=full)


def unit_of_number(attribution: Attribution) -> str:
    """Of the explained number: that of the values, unless these have a scale of their own."""
    if attribution.unit not in (RELATIVE, PERCENT):
        return attribution.unit
    return {"mean-logit": "logit", "soft-volume": "ml"}.get(attribution.quantity, "share")


def unit_name(attribution: Attribution, player: int) -> str:
    """A unit's name in quotation marks, and whether it is the target itself."""
    name = shortened(readable(attribution.partition.names[player]), MOST_NAME_CHARACTERS)
    is_itself = name.casefold() == readable(attribution.target).casefold()
    return f"“{name}”{' itself' if is_itself else ''}"


def efficiency_gap(attribution: Attribution) -> float:
    """Sum of the importances minus (full - empty): 0 up to rounding for Shapley values."""
    total = float(np.sum(attribution.player_values, dtype=np.float64))
    return total - (attribution.full_value - attribution.empty_value)


def undecided_sentences(certainty: Certainty) -> list[str]:
    """How many units have no clear sign, where there are any."""
    n, n_all = certainty.n_undecided, len(certainty.values)
    if n == 0:
        return []
    if certainty.is_exact:
        return [f"{n} of {n_all} units {'has' if n == 1 else 'have'} no effect."]
    return [
        f"{n} of {n_all} units cannot be told from zero, as {'its' if n == 1 else 'their'} 95{NARROW_SPACE}% interval "
        "includes it."
    ]


def with_smaller(n: int) -> str:
    """What stands after a count of units that are not named."""
    return "with a smaller value" if n == 1 else "with smaller values"
