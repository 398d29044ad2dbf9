"""report.html: one page that opens with the answer, and holds all it needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.answer import answer_sentences, cautions
from SegExplainLib.report.certainty import Certainty, certainty_of
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.gradient_answer import order_of
from SegExplainLib.report.maps import Picture
from SegExplainLib.report.methods import has_baseline, method_words, uses_gradients
from SegExplainLib.report.page_template import embedded, rendered
from SegExplainLib.report.phrases import full_and_empty, number_meaning
from SegExplainLib.report.ranking_answer import top_and_signs
from SegExplainLib.report.rounding import (
    NARROW_SPACE,
    percent,
    plain,
    rounded,
    signed,
    suffix_of,
    superscript,
    with_error,
)
from SegExplainLib.report.shown import PERCENT, as_shown, bar_hex, mean_per_ml, sign_words
from SegExplainLib.report.tables import PlayerRow, player_rows
from SegExplainLib.report.trust import trust_points
from SegExplainLib.report.wording import (
    COUNTS,
    COUNTS_OF_COALITIONS,
    REMOVALS,
    STARTS,
    UNIT_KINDS,
    counted,
    quantity_words,
    readable,
)

REPORT_HTML = "report.html"

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class PageRow:
    """A unit's line of the page's table: what is shown, and the row of ``players.csv`` behind it to sort by.

    Attributes:
        row: The numbers, on the scale that is shown.
        is_clear: Whether the value can be told from zero.
        name: For people.
        value, share, volume, per_ml, reading: As shown; empty where they do not apply.
        colour: ``#rrggbb`` of the bar.
        left, width: Of the small bar, in percent of its cell, whose ends are the least and the largest value, or zero.
    """

    row: PlayerRow
    is_clear: bool
    name: str
    value: str
    share: str
    volume: str
    per_ml: str
    reading: str
    colour: str
    left: float
    width: float


def write_page(
    path: Path, attribution: Attribution, findings: Findings, *, maps: Sequence[Picture], ranking: Picture
) -> None:
    """Writes the page: HTML with pictures, style and script inside it, and nothing loaded from elsewhere.

    Every name is escaped: organ maps and file names come from outside.
    """
    path.write_text(page_html(attribution, findings, maps=maps, ranking=ranking), encoding="utf-8")


def page_html(attribution: Attribution, findings: Findings, *, maps: Sequence[Picture], ranking: Picture) -> str:
    """The page's text."""
    shown, words = as_shown(attribution), method_words(attribution.method)
    low, high = float(shown.player_values.min()), float(shown.player_values.max())
    return rendered(
        TEMPLATE,
        findings=findings,
        method=words,
        quantity=quantity_words(attribution.quantity).short,
        meaning=number_meaning(attribution, findings),
        question=question_of(attribution),
        answer=answer_sentences(attribution, findings),
        cautions=[*cautions(attribution, findings), *findings.warnings],
        key_numbers=key_numbers(attribution, findings),
        maps_note=maps_note(attribution),
        maps=[embedded(picture) for picture in maps],
        ranking=embedded(ranking),
        rows=page_rows(attribution, findings),
        can_be_evaluated=attribution.partition.n_players > 1,
        has_errors=not uses_gradients(attribution.method) or certainty_of(attribution, 1.0).has_intervals,
        has_shares=certainty_of(attribution, findings.interval_factor).has_shares,
        per_ml_scale="× the mean" if shown.unit == PERCENT else _power_of_ten(per_ml_exponent(shown)),
        zero=-100 * min(0.0, low) / ((max(0.0, high) - min(0.0, low)) or 1.0),
        unit={"share": "", "logit": "", PERCENT: "% of largest"}.get(shown.unit, shown.unit),
        asked=asked(attribution, findings),
        trust=trust_points(attribution, findings),
        counts=counts_shown(attribution, findings),
        timings=[(name, f"{rounded(value, 1)} s") for name, value in findings.timings_s.items()],
    )


def question_of(attribution: Attribution) -> str:
    """The page's heading."""
    target, question = readable(attribution.target), method_words(attribution.method).question
    if question:
        return question.format(target=target)
    kind = quantity_words(attribution.quantity).story
    start = "Why" if kind == "label" else f"Why {kind} of"
    return f"{start} “{target}” in this region?"


def maps_note(attribution: Attribution) -> str:
    """What the colours of the pictures mean."""
    words, (raised, lowered) = method_words(attribution.method), sign_words(attribution)
    colours = f"red {raised}, blue {lowered}, uncoloured is near zero"
    if not words.is_signed:
        colours = "from purple to orange the more there is, uncoloured is near zero"
    if attribution.voxel_map is None:
        note = f"Each unit is coloured as a whole by its {words.noun}: {colours}."
    else:
        note = (
            f"Each voxel of the units is coloured by its own {words.noun}: {colours}. The colours end at the 99.9th "
            "percentile of the voxels, so that a few extreme ones do not hide all others."
        )
    return f"{note} Contours are drawn inside the region. Patient’s right is on the left of axial and coronal pictures."


def key_numbers(attribution: Attribution, findings: Findings) -> list[tuple[str, str]]:
    """(number, what it is) for the strip under the answer."""
    full, empty = full_and_empty(attribution)
    is_gradient, n = uses_gradients(attribution.method), findings.n_evaluations
    numbers = [(full, "on the CT as it is")]
    if empty:
        difference = attribution.full_value - attribution.empty_value
        numbers += [
            (empty, "at the baseline" if is_gradient else "with every unit removed"),
            (signed(difference, 0, attribution.unit), "difference that the units share out"),
        ]
    steps = "evaluations" if not is_gradient else "gradient" if n == 1 else "gradients"
    return [*numbers, (rounded(attribution.partition.n_players, 0), "units"), (rounded(n, 0), steps)]


def counts_shown(attribution: Attribution, findings: Findings) -> list[tuple[str, str]]:
    """(what, number) of the run, without what counts coalitions where there are none."""
    hidden = COUNTS_OF_COALITIONS if uses_gradients(attribution.method) else ()
    return [(_label_of(name), _count(name, value)) for name, value in findings.counts.items() if name not in hidden]


def page_rows(attribution: Attribution, findings: Findings) -> list[PageRow]:
    """The units, strongest first."""
    attribution = as_shown(attribution)
    words = method_words(attribution.method)
    signs = _signs(attribution, findings)
    certainty = certainty_of(attribution, findings.interval_factor)
    low, high = min(0.0, float(certainty.values.min())), max(0.0, float(certainty.values.max()))
    per_cent = 100 / ((high - low) or 1.0)
    exponent = per_ml_exponent(attribution)
    rows = []
    for row in sorted(player_rows(attribution, interval_factor=findings.interval_factor), key=lambda row: row.rank):
        half_width, sign = float(certainty.half_widths[row.id - 1]), int(signs[row.id - 1])
        value = with_error(row.value, half_width, attribution.unit, has_plus=words.is_signed)
        rows.append(
            PageRow(
                row,
                is_clear=sign != 0,
                name=readable(row.name),
                value=value.removesuffix(suffix_of(attribution.unit)),
                share=_share(row.value, certainty),
                volume=f"{rounded(row.volume_ml, 1 if row.volume_ml < 100 else 0)}",
                per_ml=_per_ml(row, attribution, exponent),
                reading=_reading(sign, attribution),
                colour=bar_hex(attribution, row.value),
                left=(min(row.value, 0.0) - low) * per_cent,
                width=abs(row.value) * per_cent,
            )
        )
    return rows


def per_ml_exponent(attribution: Attribution) -> int:
    """The power of ten in which importances per ml are shown: a multiple of three, that of the middle unit.

    Not of the largest: the tiniest units have by far the largest importances per ml.
    """
    middle = float(np.median(np.abs(attribution.values_per_ml)))
    return 3 * math.floor(math.log10(middle) / 3) if middle else 0


def asked(attribution: Attribution, findings: Findings) -> list[tuple[str, str]]:
    """(what, choice) of the request, in words and with the word of the command line."""
    request, n_players = findings.request, attribution.partition.n_players
    kind = UNIT_KINDS.get(request.units, request.units)
    edge = "" if request.units == "organs" else f", lattice edge {rounded(request.unit_mm, 1)} mm"
    words = method_words(attribution.method)
    found = [
        ("CT", findings.ct_name),
        ("Network", findings.model_name),
        ("Class", f"{attribution.target}"),
        ("Region", request.roi),
        ("Explained number", f"{quantity_words(attribution.quantity).short} ({attribution.quantity})"),
        ("Reference", "given" if findings.has_reference else "none; the network’s own prediction stands in"),
        ("Units", f"{kind}{edge} ({request.units}), {rounded(n_players, 0)} in reach of the region"),
        _asked_baseline(attribution, findings) if has_baseline(attribution.method) else ("", ""),
        ("Method", f"{words.name}: {words.how} ({attribution.method})"),
        *(
            _asked_of_gradients(attribution, findings)
            if uses_gradients(attribution.method)
            else _asked_of_game(findings)
        ),
    ]
    return [(what, choice) for what, choice in found if choice]


def _asked_baseline(attribution: Attribution, findings: Findings) -> tuple[str, str]:
    removal = findings.request.removal
    if uses_gradients(attribution.method):
        return "Baseline", f"{STARTS.get(removal, removal)} ({removal})"
    return "Removal", f"{REMOVALS.get(removal, removal)} ({removal})"


def _asked_of_game(findings: Findings) -> list[tuple[str, str]]:
    request = findings.request
    return [
        ("Budget", counted(request.budget, "evaluation") if request.budget else "automatic"),
        ("To be settled", f"the {top_and_signs(request.settle)}" if request.settle else ""),
        ("Wished precision", percent(request.tolerance) if request.tolerance else "none: the whole budget"),
        ("Seed", str(request.seed)),
    ]


def _asked_of_gradients(attribution: Attribution, findings: Findings) -> list[tuple[str, str]]:
    """Only what this method looks at."""
    request, method = findings.request, attribution.method
    words, found = method_words(method), []
    if method in ("smoothgrad", "smoothgrad-squared", "vargrad"):
        found.append(("Noise", f"standard deviation {percent(request.noise)} of the range of intensities"))
    if method == "seg-grad-cam":
        found.append(("Layer", request.layer or "the bottleneck"))
    if method == "xrai" and request.xrai_units:
        found.append(("Segments", "of several sizes, and the units themselves"))
    if words.is_sampled or has_baseline(method):
        found.append(("Budget", counted(request.budget, "gradient") if request.budget else "automatic"))
        found.append(
            ("Wished precision", percent(request.tolerance) if request.tolerance else "none: the whole budget")
        )
    return [*found, ("Seed", str(request.seed))] if words.is_sampled else found


def _signs(attribution: Attribution, findings: Findings) -> NDArray[np.int64]:
    """(n_players,) 1 or -1 where a value can be told from zero, else 0."""
    if uses_gradients(attribution.method):
        return order_of(attribution, findings).signs
    return certainty_of(attribution, findings.interval_factor).signs


def _share(value: float, certainty: Certainty) -> str:
    return f"{rounded(100 * value / certainty.difference, 1)}{NARROW_SPACE}%" if certainty.has_shares else ""


def _per_ml(row: PlayerRow, attribution: Attribution, exponent: int) -> str:
    """Of sums: as a number, or for values on a scale of their own as a multiple of the mean size over all units."""
    words = method_words(attribution.method)
    if words.is_mean:
        return ""
    if attribution.unit != PERCENT:
        return signed(row.value_per_ml * 10.0**-exponent, 0, "share", has_plus=words.is_signed)
    times = row.value_per_ml / (mean_per_ml(attribution) or 1.0)
    return rounded(times, 0 if abs(times) >= 10 else 2, is_signed=words.is_signed)


def _reading(sign: int, attribution: Attribution) -> str:
    raised, lowered = sign_words(attribution)
    return {1: raised, -1: lowered}.get(sign, "not told from zero")


def _power_of_ten(exponent: int) -> str:
    return f"10{superscript(exponent)}" if exponent else ""


def _label_of(name: str) -> str:
    known = name.removeprefix("n_")
    for suffix in ("_bytes", "_s", "_hu", "_mm", "_share"):
        known = known.removesuffix(suffix)
    return COUNTS.get(name, readable(known))


def _count(name: str, value: float) -> str:
    if name.endswith("_share"):
        return percent(value)
    if "_bytes" in name:
        return f"{rounded(value / 1e6, 1)} MB"
    for suffix, unit in (("_s", "s"), ("_hu", "HU"), ("_mm", "mm")):
        if name.endswith(suffix):
            return f"{rounded(value, 1)} {unit}"
    return rounded(value, 0) if float(value).is_integer() else plain(value, "share")
