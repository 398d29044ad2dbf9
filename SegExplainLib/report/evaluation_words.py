"""An evaluation in plain words: what was judged, what came of it, and what it does not say."""

from SegExplainLib.evaluation.map_scores import ANATOMY
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.scorecard import Evaluation, ResultScores
from SegExplainLib.evaluation.stability import FAMILIES
from SegExplainLib.evaluation.voxel_scores import VOXELS
from SegExplainLib.report.evaluation_table import BY_DENSITY, BY_VALUE, main_table, undefined_reasons
from SegExplainLib.report.methods import uses_gradients
from SegExplainLib.report.rounding import decimals_for, percent, rounded
from SegExplainLib.report.wording import counted, listed, quantity_words, readable

CLEAR = 0.05
"""A p-value up to this is called more faithful than chance."""
STEADY = 0.9
"""Below this rank correlation between seeds, chance is told as a reason for what changes."""
TOO_FEW_ORDERS = "too few random orders to tell it from chance"


def evaluation_sentences(evaluation: Evaluation) -> list[str]:
    """The sentences, in the order in which they should be read."""
    return [
        _setting(evaluation),
        *dict.fromkeys(_faithfulness(result, evaluation) for result in evaluation.results),
        *_beside_volume(evaluation),
        *_voxels(evaluation),
        *(_agreement(result, evaluation) for result in evaluation.results),
        *(sentence for result in evaluation.results for sentence in _stability(result, evaluation)),
        *_cautions(evaluation),
    ]


def evaluation_markdown(evaluation: Evaluation) -> str:
    """The sentences, the main numbers and what is missing, as Markdown."""
    headings, rows = main_table(evaluation)
    lines = [f"# Can the explanation of “{readable(evaluation.target)}” be trusted?", ""]
    lines += [f"- {_unbroken(sentence)}" for sentence in evaluation_sentences(evaluation)]
    lines += ["", _row(headings), f"|{'---|' * len(headings)}", *map(_row, rows)]
    reasons = undefined_reasons(evaluation)
    if reasons:
        lines += ["", "Without a value:", "", *(f"- {reason}" for reason in reasons)]
    if evaluation.warnings:
        lines += ["", "Warnings:", "", *(f"- {warning}" for warning in evaluation.warnings)]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    """A line of a Markdown table, whatever the cells hold."""
    return f"| {' | '.join(_unbroken(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _unbroken(text: str) -> str:
    """On one line; spaces that must not break stay."""
    return " ".join(text.strip().splitlines())


def can_tell(n_orders: int) -> bool:
    """Whether so many random orders can give a p-value that is called more faithful than chance."""
    return 1 / (1 + n_orders) <= CLEAR


def p_words(metric: Metric) -> str:
    """``p = 0.05``."""
    return "p unknown" if metric.value is None else f"p = {rounded(metric.value, 3 if metric.value < 0.01 else 2)}"


def _setting(evaluation: Evaluation) -> str:
    n, what = len(evaluation.results), quantity_words(evaluation.quantity).short
    return (
        f"{counted(n, 'explanation')} of the {what} of “{readable(evaluation.target)}”: judged by removing "
        f"{counted(len(evaluation.unit_names), 'unit')} one after the other, each replaced as “{evaluation.removal}” "
        f"({evaluation.removal_from}), and asking the network anew."
    )


def _faithfulness(result: ResultScores, evaluation: Evaluation) -> str:
    """The verdict follows from both ends of the ranking, by units."""
    fall = result.metric(BY_VALUE, "aopc-units-percentile")
    gap, p = result.metric(BY_VALUE, "abpc-units-percentile"), result.metric(BY_VALUE, "abpc-units-p-value")
    if not evaluation.sticks.plan.n_orders:
        return f"Nothing was held against random orders. {evaluation.sticks.plan.why_no_orders}"
    if fall.value is None or gap.value is None or p.value is None:
        return f"{result.name}: not held against random orders. {fall.why_undefined or gap.why_undefined}"
    told = "more faithful than chance" if p.value <= CLEAR else "not told from chance"
    if not can_tell(evaluation.sticks.plan.n_orders):
        told = TOO_FEW_ORDERS
    sentence = (
        f"{result.name}: {told}. With its most important units gone first, the number falls more than in "
        f"{percent(fall.value / 100)} of {evaluation.sticks.plan.n_orders} random orders; the gap to the "
        "least important first is wider than in "
        f"{percent(gap.value / 100)} ({p_words(p)})"
    )
    by_ml, p_by_ml = (result.metric(BY_DENSITY, f"abpc-volume-{what}") for what in ("percentile", "p-value"))
    if by_ml.value is None:
        return f"{sentence}."
    return f"{sentence}, by removed volume in {percent(by_ml.value / 100)} ({p_words(p_by_ml)})."


def _beside_volume(evaluation: Evaluation) -> list[str]:
    """Which explanations beat the order that only knows sizes."""
    known = next(metric for metric in evaluation.volume_only if metric.name == "aopc-units")
    if known.value is None:
        return []
    areas = {one.name: one.metric(BY_VALUE, "aopc-units").value for one in evaluation.results}
    better = [name for name, area in areas.items() if area is not None and area > known.value]
    others = [name for name, area in areas.items() if area is not None and area <= known.value]
    sentence = "An order that only knows sizes, the largest unit first, "
    if not others:
        return [f"{sentence}does less than {listed(better)}." if better else f"{sentence}was drawn beside them."]
    beside = f", and less than {listed(better)}" if better else ""
    return [f"{sentence}does as much as {listed(others)} or more{beside}."]


def _voxels(evaluation: Evaluation) -> list[str]:
    """How the maps rank voxels, best first."""
    if evaluation.voxel_sticks is None:
        return []
    found = {one.name: one.metric(VOXELS, "fidelity-value-relative").value for one in evaluation.results}
    ranked = sorted(((value, name) for name, value in found.items() if value is not None), reverse=True)
    if not ranked:
        return ["Voxel by voxel: no map ranks voxels."]
    told = listed([f"{name} {rounded(value, 2)}" for value, name in ranked])
    return [
        f"Voxel by voxel, the area between removing the least and the most important first is {told} (0 for chance, in "
        "shares of what removing everything does)."
    ]


def _agreement(result: ResultScores, evaluation: Evaluation) -> str:
    auc, mass = result.metric(ANATOMY, "ROC-AUC"), result.metric(ANATOMY, "positive mass in the mask")
    if auc.value is None:
        return f"{result.name}: agreement with {evaluation.mask} is undefined. {auc.why_undefined}"
    sentence = f"{result.name}: against {evaluation.mask}, ROC-AUC {rounded(auc.value, 3)} (chance 0.5)"
    if mass.value is None or mass.chance is None:
        return f"{sentence}."
    share = rounded(100 * mass.chance, decimals_for(100 * mass.chance, unit="percent"))
    return f"{sentence}; {percent(mass.value)} of what speaks for the label lies in it, on {share} % of the volume."


def _stability(result: ResultScores, evaluation: Evaluation) -> list[str]:
    """What changes when the method runs again, of each kind that was measured and means something."""

    def known(kind: str, name: str) -> str:
        metric = result.found(FAMILIES[kind], name)
        if metric is None or metric.value is None:
            return ""
        return percent(metric.value) if name == "avg-sensitivity" else rounded(metric.value, 2)

    parts = []
    if change := known("noise", "avg-sensitivity"):
        rank = known("noise", "rank-correlation-mean")
        ranked = f" (rank correlation {rank})" if rank else ""
        noise = f"noise of up to {evaluation.noise_hu:g} HU"
        parts.append(f"{noise} changes it by {change} of its size{ranked}")
    if rank := known("seeds", "rank-correlation-mean"):
        parts.append(f"between seeds the rank correlation is {rank}")
    if rank := known("removals", "rank-correlation-mean"):
        least = known("removals", "rank-correlation-least")
        parts.append(f"with other removals the rank correlation is {rank} (least {least})")
    if rank := known("weights", "rank-correlation-mean"):
        parts.append(
            f"with random weights the rank correlation is {rank}, where a low one is right: an explanation must hang "
            "on what the network has learnt"
        )
    found = result.found(FAMILIES["seeds"], "rank-correlation-mean")
    if found is not None and found.value is not None and found.value < STEADY and len(parts) > 1:
        parts.append("as seeds agree no better than that, a part of the other changes is chance")
    return [f"{result.name}, run again: {'; '.join(parts)}."] if parts else []


def _cautions(evaluation: Evaluation) -> list[str]:
    cautions = [
        "A faithful explanation need not agree with anatomy: the network may really look elsewhere. Nor is a map "
        "faithful because it agrees.",
        f"Faithfulness is told under one removal, “{evaluation.removal}”; a CT with units removed is not one the "
        "network was trained on. Another removal may tell otherwise.",
    ]
    if not any(result.stability for result in evaluation.results):
        cautions.append("Stability was not measured here: not under noise, between seeds, nor with random weights.")
    elif any("rank correlation" in sentence for one in evaluation.results for sentence in _stability(one, evaluation)):
        cautions.append(
            "A rank correlation is 1 where the units keep their order of importance, 0 where the two orders have "
            "nothing in common, and −1 where one is the other reversed."
        )
    others = [one for one in evaluation.results if one.removal not in ("", evaluation.removal)]
    if others:
        made = listed([f"{one.name} with “{one.removal}”" for one in others])
        cautions.append(f"Made with another removal than the one that judges: {made}.")
    is_of_this_game = any(_is_of_this_game(one, evaluation) for one in evaluation.results)
    if is_of_this_game and any(uses_gradients(one.method) for one in evaluation.results):
        cautions.append(
            "Shapley values are made from this very game, gradients are not: the comparison asks which explains the "
            "removal of units best, no more."
        )
    return cautions


def _is_of_this_game(result: ResultScores, evaluation: Evaluation) -> bool:
    """Whether the values were made from the game that judges."""
    return not uses_gradients(result.method) and result.removal == evaluation.removal
