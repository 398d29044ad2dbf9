"""What an evaluation says of one result, as a section of its report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.scorecard import Evaluation, ResultScores
from SegExplainLib.report.evaluation_table import BY_VALUE, MAIN_ROWS, main_table
from SegExplainLib.report.evaluation_words import CLEAR, TOO_FEW_ORDERS, can_tell, evaluation_sentences
from SegExplainLib.report.maps import Picture
from SegExplainLib.report.page_template import embedded, rendered
from SegExplainLib.report.wording import listed, quantity_words, readable

TEMPLATE = "evaluation.html.j2"

PLACE_BEGINS, PLACE_ENDS = b"<!-- evaluation -->", b"<!-- end of evaluation -->"
"""Around the section in a page; no name can forge them, as the page escapes every ``<``."""

LEFT_TO_THE_TABLES = (
    *("sensitivity-n-mean", "infidelity-relative", "average precision", "pointing accuracy", "effective share"),
    *(f"{area}-{axis}-p-value" for area in ("aopc", "abpc") for axis in ("units", "volume")),
)
"""Main numbers that a page does without: others beside them say nearly the same, or the sentences do."""


@dataclass(frozen=True)
class ScoreRow:
    """A line of the section's table, as shown; empty where there is nothing to tell.

    Attributes:
        label: Of the number.
        is_detail: Whether it explains the number above.
        value: Of the explanation.
        largest_first: Of the order that only knows sizes.
        chance: Of an explanation that knows nothing.
        why_undefined: A sentence, where the explanation has no value.
    """

    label: str
    is_detail: bool
    value: str
    largest_first: str
    chance: str
    why_undefined: str


def evaluation_of(result: ResultScores, evaluation: Evaluation) -> Evaluation:
    """The same evaluation, as if ``result`` had been judged alone."""
    return replace(evaluation, results=(result,))


def evaluation_section(evaluation: Evaluation, result: ResultScores, *, curves: Picture, folder_name: str) -> str:
    """HTML of the section without its heading: sentences, curves, main numbers. Every name is escaped.

    Args:
        evaluation: All of it.
        result: One of its results.
        curves: Of this result alone; they are put into the text.
        folder_name: Where the whole evaluation lies.
    """
    alone = evaluation_of(result, evaluation)
    rows = score_rows(alone)
    others = [other.name for other in evaluation.results if other.name != result.name]
    return rendered(
        TEMPLATE,
        verdict=verdict(result, n_orders=evaluation.sticks.plan.n_orders),
        sentences=evaluation_sentences(alone),
        warnings=evaluation.warnings,
        curves=embedded(curves),
        rows=rows,
        missing=missing_words(rows),
        others=listed(others) if others else "",
        folder=folder_name,
    )


def verdict(result: ResultScores, *, n_orders: int) -> str:
    """The shortest answer; chance is that of ``n_orders`` orders of units drawn at random, by removed count."""
    p = result.metric(BY_VALUE, "abpc-units-p-value").value
    if p is None:
        return "Not held against chance."
    if not can_tell(n_orders):
        return f"{TOO_FEW_ORDERS[0].upper()}{TOO_FEW_ORDERS[1:]}."
    return "More faithful than chance." if p <= CLEAR else "Not told from chance."


def score_rows(alone: Evaluation) -> list[ScoreRow]:
    """The main numbers of an evaluation of one result that stand on a page."""
    (result,), (_, rows) = alone.results, main_table(alone)
    return [
        ScoreRow(label.strip(), label.startswith(" "), value, largest_first, chance, metric.why_undefined)
        for metric, (label, value, largest_first, chance) in zip(_main_metrics(result), rows, strict=True)
        if metric.name not in LEFT_TO_THE_TABLES
    ]


def missing_words(rows: Sequence[ScoreRow]) -> list[str]:
    """Which numbers have no value, and why: a sentence or two for each reason."""
    labels: dict[str, list[str]] = {}
    for row in rows:
        if row.why_undefined:
            labels.setdefault(row.why_undefined, []).append(row.label.rstrip(" ↑↓"))
    return [f"{listed(list(dict.fromkeys(names)))}. {why}" for why, names in labels.items()]


def curves_words(evaluation: Evaluation) -> tuple[str, str]:
    """(what the curves of one result show, for who cannot see them; how to read them)."""
    number, target = quantity_words(evaluation.quantity).short, readable(evaluation.target)
    alt = (
        f"Curves of the {number} of “{target}” while units are removed one after the other, over their number and over "
        "their volume, and the Dice of the mask with the map's best segments; the table below tells the areas."
    )
    caption = (
        "Units are removed one after the other, and the network is asked anew. The sooner the red curve falls and the "
        "longer the blue one holds, the better the values tell what the network needs."
    )
    if evaluation.sticks.random:
        caption += " The grey band holds 95 % of random orders."
    caption += " Dice asks something else: whether the map lies where the mask does."
    return alt, caption


def with_section(page: bytes, section: str) -> bytes:
    """A report's page with the section in its place, instead of any older one; all else stays byte for byte.

    Raises:
        InvalidRequest: the page has no place for it.
    """
    before, begins, rest = page.partition(PLACE_BEGINS)
    _, ends, after = rest.partition(PLACE_ENDS)
    if not ends:
        raise InvalidRequest(
            "The report has no place for an evaluation: an earlier version made it.", "Run the explanation again."
        )
    return b"".join((before, begins, b"\n", section.encode(), b"  ", ends, after))


def _main_metrics(result: ResultScores) -> list[Metric]:
    """The main numbers that were measured, in the order of `main_table`'s rows."""
    found = {(family, metric.name): metric for family, metrics in result.metrics.items() for metric in metrics}
    return [found[family, name] for family, name, _ in MAIN_ROWS if (family, name) in found]
