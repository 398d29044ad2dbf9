"""The sentences about a run that was to settle which units matter most, and in which direction."""

import numpy as np

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.phrases import unit_name
from SegExplainLib.report.rounding import NARROW_SPACE, percent
from SegExplainLib.report.wording import counted, listed
from SegExplainLib.shapley.stopping import RANKING_LEVEL, Ranking

MOST_LISTED = 10

SIGN_WORDS = {1: "+", -1: "\N{MINUS SIGN}", 0: "about 0"}


def top_units(n: int) -> str:
    """``most important unit``, ``3 most important units``."""
    return "most important unit" if n == 1 else f"{n} most important units"


def top_and_signs(n: int) -> str:
    """``most important unit and its sign``, ``3 most important units and their signs``."""
    return f"{top_units(n)} and {'its sign' if n == 1 else 'their signs'}"


def ranking_sentences(attribution: Attribution, findings: Findings) -> list[str]:
    """What is settled and what is not; nothing where no ranking was asked for, or where every value is exact."""
    ranking = findings.ranking
    if ranking is None or findings.stop_reason == "exact":
        return []
    return _settled(ranking, attribution, findings) if ranking.is_settled else _open(ranking, attribution, findings)


def _settled(ranking: Ranking, attribution: Attribution, findings: Findings) -> list[str]:
    if not np.any(attribution.player_values):
        return ["No unit moves the explained number: all importances are 0, and no unit is the most important."]
    n = len(ranking.players)
    named = [
        f"{unit_name(attribution, player)} ({SIGN_WORDS[sign]})"
        for player, sign in zip(ranking.players[:MOST_LISTED], ranking.signs, strict=False)
    ]
    if n > MOST_LISTED:
        named.append(counted(n - MOST_LISTED, "more unit"))
    what, level = top_and_signs(n), f"{RANKING_LEVEL * 100:.0f}{NARROW_SPACE}%"
    if findings.stop_reason == "ranking":
        start = f"The run ended as soon as the {what} were settled"
    else:
        start = f"The {what} are settled"
    slack = findings.request.tolerance
    ties = f", up to ties within {percent(slack)} of the range of the importances" if slack else ""
    is_open = "its exact size" if n == 1 else "the order among them, their exact sizes"
    return [
        f"{start}, with {level} confidence in all of it together{ties}: {listed(named)}.",
        f"Not settled are {is_open}, and all other units: small importances may still move. The relative error is "
        f"{percent(findings.relative_error)}.",
    ]


def _open(ranking: Ranking, attribution: Attribution, findings: Findings) -> list[str]:
    n, doubts = len(ranking.players), []
    if not ranking.is_set_settled:
        doubts.append("another unit may be as important" if n == 1 else "other units may belong to them")
    unsigned = [unit_name(attribution, p) for p, s in zip(ranking.players, ranking.signs, strict=True) if s == 0]
    if unsigned and not ranking.are_signs_settled:
        few = unsigned[:MOST_LISTED]
        doubts.append(f"the sign{'s' if len(few) > 1 else ''} of {listed(few)} {'are' if len(few) > 1 else 'is'} open")
    advice = "A larger budget would help."
    if findings.stop_reason == "tolerance":
        advice = "The wished precision of all values was reached first; a smaller tolerance would go on."
    return [f"The {top_units(n)} {'is' if n == 1 else 'are'} not settled: {' and '.join(doubts)}. {advice}"]
