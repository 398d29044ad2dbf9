"""report.html: one page that opens with the answer, and holds all it needs."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.answer import answer_sentences, cautions, full_and_empty, number_meaning
from SegExplainLib.report.certainty import certainty_of
from SegExplainLib.report.colours import NEGATIVE_HEX, POSITIVE_HEX
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.maps import Picture
from SegExplainLib.report.rounding import NARROW_SPACE, percent, plain, rounded, signed, suffix_of, with_error
from SegExplainLib.report.tables import PlayerRow, player_rows
from SegExplainLib.report.trust import trust_points
from SegExplainLib.report.wording import (
    COUNTS,
    METHODS,
    REMOVALS,
    UNIT_KINDS,
    counted,
    quantity_words,
    readable,
    story_words,
)

REPORT_HTML = "report.html"

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class PageRow:
    """A unit's line of the page's table: what is shown, and the row of ``players.csv`` behind it to sort by.

    Attributes:
        row: The numbers.
        name: For people.
        value, share, volume, per_ml, reading: As shown.
        colour: ``#rrggbb`` of the value's sign.
        left, width: Of the small bar, in percent of its cell, whose ends are the least and the largest value, or zero.
    """

    row: PlayerRow
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
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(files("SegExplainLib.report").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    words, unit = quantity_words(attribution.quantity), attribution.unit
    low, high = float(attribution.player_values.min()), float(attribution.player_values.max())
    return template.render(
        findings=findings,
        quantity=words.short,
        meaning=number_meaning(attribution, findings),
        question=question_of(attribution),
        story=story_words(attribution.quantity),
        answer=answer_sentences(attribution, findings),
        cautions=[*cautions(attribution, findings), *findings.warnings],
        key_numbers=key_numbers(attribution, findings),
        maps=[_embedded(picture) for picture in maps],
        ranking=_embedded(ranking),
        rows=page_rows(attribution, findings),
        has_shares=not certainty_of(attribution, findings.interval_factor).is_difference_small,
        per_ml_scale=_power_of_ten(per_ml_exponent(attribution)),
        zero=-100 * min(0.0, low) / ((max(0.0, high) - min(0.0, low)) or 1.0),
        unit="" if unit in ("share", "logit") else unit,
        asked=asked(attribution, findings),
        trust=trust_points(attribution, findings),
        counts=[(_label_of(name), _count(name, value)) for name, value in findings.counts.items()],
        timings=[(name, f"{rounded(value, 1)} s") for name, value in findings.timings_s.items()],
    )


def question_of(attribution: Attribution) -> str:
    """The page's heading."""
    kind = quantity_words(attribution.quantity).story
    start = "Why" if kind == "label" else f"Why {kind} of"
    return f"{start} “{readable(attribution.target)}” in this region?"


def key_numbers(attribution: Attribution, findings: Findings) -> list[tuple[str, str]]:
    """(number, what it is) for the strip under the answer."""
    full, empty = full_and_empty(attribution)
    difference = attribution.full_value - attribution.empty_value
    return [
        (full, "on the CT as it is"),
        (empty, "with every unit removed"),
        (signed(difference, 0, attribution.unit), "difference that the units share out"),
        (rounded(attribution.partition.n_players, 0), "units"),
        (rounded(findings.n_evaluations, 0), "evaluations"),
    ]


def page_rows(attribution: Attribution, findings: Findings) -> list[PageRow]:
    """The units, strongest first."""
    certainty = certainty_of(attribution, findings.interval_factor)
    low, high = min(0.0, float(certainty.values.min())), max(0.0, float(certainty.values.max()))
    per_cent = 100 / ((high - low) or 1.0)
    exponent = per_ml_exponent(attribution)
    rows = []
    for row in sorted(player_rows(attribution, interval_factor=findings.interval_factor), key=lambda row: row.rank):
        half_width = float(certainty.half_widths[row.id - 1])
        rows.append(
            PageRow(
                row,
                readable(row.name),
                with_error(row.value, half_width, attribution.unit).removesuffix(suffix_of(attribution.unit)),
                ""
                if certainty.is_difference_small
                else f"{rounded(100 * row.value / certainty.difference, 1)}{NARROW_SPACE}%",
                f"{rounded(row.volume_ml, 1 if row.volume_ml < 100 else 0)}",
                signed(row.value_per_ml * 10.0**-exponent, 0, "share"),
                _reading(row, attribution),
                POSITIVE_HEX if row.value > 0 else NEGATIVE_HEX,
                (min(row.value, 0.0) - low) * per_cent,
                abs(row.value) * per_cent,
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
    budget = counted(request.budget, "evaluation") if request.budget else "automatic"
    found = [
        ("CT", findings.ct_name),
        ("Network", findings.model_name),
        ("Class", f"{attribution.target}"),
        ("Region", request.roi),
        ("Explained number", f"{quantity_words(attribution.quantity).short} ({attribution.quantity})"),
        ("Reference", "given" if findings.has_reference else "none; the network’s own prediction stands in"),
        ("Units", f"{kind}{edge} ({request.units}), {rounded(n_players, 0)} in reach of the region"),
        ("Removal", f"{REMOVALS.get(request.removal, request.removal)} ({request.removal})"),
        ("Method", f"{METHODS.get(attribution.method, attribution.method)} ({attribution.method})"),
        ("Budget", budget),
        ("Wished precision", percent(request.tolerance) if request.tolerance else "none: the whole budget"),
        ("Seed", str(request.seed)),
    ]
    return [(what, choice) for what, choice in found if choice]


def _reading(row: PlayerRow, attribution: Attribution) -> str:
    story = story_words(attribution.quantity)
    return {1: story.raised, -1: story.lowered}.get(row.sign, "not told from zero")


def _embedded(picture: Picture) -> dict[str, Any]:
    data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    return {
        "src": f"data:image/png;base64,{data}",
        "alt": picture.alt,
        "caption": picture.caption,
        "width": picture.css_width,
    }


def _power_of_ten(exponent: int) -> str:
    digits = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{digits}" if exponent else ""


def _label_of(name: str) -> str:
    return COUNTS.get(name, readable(name.removeprefix("n_").removesuffix("_bytes").removesuffix("_s")))


def _count(name: str, value: float) -> str:
    if name.endswith("_share"):
        return percent(value)
    if "_bytes" in name:
        return f"{rounded(value / 1e6, 1)} MB"
    if name.endswith("_s"):
        return f"{rounded(value, 1)} s"
    return rounded(value, 0) if float(value).is_integer() else plain(value, "share")
