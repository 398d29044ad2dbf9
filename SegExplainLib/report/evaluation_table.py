"""An evaluation as tables: every number of every result for programs, the main ones side by side for people."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from SegExplainLib.evaluation.map_scores import ANATOMY, SPREAD_OF_VOXELS, dice_name
from SegExplainLib.evaluation.mass import MassTable
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.scorecard import Evaluation, ResultScores
from SegExplainLib.evaluation.stability import FAMILIES
from SegExplainLib.evaluation.unit_scores import SPREAD_OF_UNITS, SUBSETS, family_of
from SegExplainLib.evaluation.voxel_scores import VOXELS
from SegExplainLib.report.rounding import decimals_for, rounded

LARGEST_FIRST = "largest unit first"
"""What stands in place of a result's name for the order by volume, and for its metrics' family."""
RANDOM_VOXELS = "random voxels"

BY_VALUE, BY_DENSITY = family_of("value"), family_of("value-per-ml")
METRIC_COLUMNS = (
    *("result", "family", "metric", "value", "standard_error", "low_95", "high_95", "chance", "better"),
    "why_undefined",
)
MASS_COLUMNS = (
    *("result", "of", "region", "sign", "n_voxels", "volume_ml", "volume_share", "mass", "density", "enrichment"),
    "why_undefined",
)
MAIN_ROWS = (
    (BY_VALUE, "aopc-units-relative", "Area over the curve, by units"),
    (BY_VALUE, "aopc-units-percentile", "   percentile among random orders"),
    (BY_VALUE, "aopc-units-p-value", "   p-value"),
    (BY_VALUE, "naopc-units", "   share of the way to the best order"),
    (BY_VALUE, "abpc-units-relative", "Area between the curves, by units"),
    (BY_VALUE, "abpc-units-percentile", "   percentile among random orders"),
    (BY_VALUE, "abpc-units-p-value", "   p-value"),
    (BY_DENSITY, "aopc-volume-relative", "Area over the curve, by volume"),
    (BY_DENSITY, "aopc-volume-percentile", "   percentile among random orders"),
    (BY_DENSITY, "aopc-volume-p-value", "   p-value"),
    (BY_DENSITY, "naopc-volume", "   share of the way to the best order"),
    (BY_DENSITY, "abpc-volume-relative", "Area between the curves, by volume"),
    (BY_DENSITY, "abpc-volume-percentile", "   percentile among random orders"),
    (BY_DENSITY, "abpc-volume-p-value", "   p-value"),
    (SUBSETS, "faithfulness-correlation", "Faithfulness correlation"),
    (SUBSETS, "sensitivity-n-mean", "Sensitivity-n, mean"),
    (SUBSETS, "infidelity-relative", "Infidelity, relative"),
    (SUBSETS, "infidelity-scaled", "Infidelity, at the best scale"),
    (VOXELS, "fidelity-value-relative", "Voxel fidelity, largest value first"),
    (VOXELS, "fidelity-absolute-relative", "   largest size first, up or down"),
    (VOXELS, "faithfulness-correlation", "Faithfulness correlation, random voxels"),
    (VOXELS, "infidelity-scaled", "Infidelity at the best scale, random voxels"),
    (ANATOMY, "ROC-AUC", "ROC-AUC against the mask"),
    (ANATOMY, "average precision", "Average precision"),
    (ANATOMY, "pointing accuracy", "Pointing accuracy, voxels"),
    (ANATOMY, "pointing accuracy of units", "Pointing accuracy, units"),
    (ANATOMY, "positive mass in the mask", "Positive mass in the mask"),
    (ANATOMY, "positive enrichment of the mask", "   over its share of the volume"),
    (ANATOMY, dice_name(0.05), "Dice of the best segments, 5 % kept (XRAI-DSC)"),
    (FAMILIES["noise"], "avg-sensitivity", "Change under noise, mean"),
    (FAMILIES["noise"], "rank-correlation-mean", "   rank correlation, mean"),
    (FAMILIES["seeds"], "avg-change", "Change between seeds, mean"),
    (FAMILIES["seeds"], "rank-correlation-mean", "   rank correlation, mean"),
    (FAMILIES["weights"], "rank-correlation-mean", "Rank correlation with random weights, mean"),
    (FAMILIES["removals"], "rank-correlation-mean", "Rank correlation with other removals, mean"),
    (FAMILIES["removals"], "rank-correlation-least", "   least"),
    (SPREAD_OF_UNITS, "effective share", "Units that carry a value, share"),
    (SPREAD_OF_VOXELS, "effective share", "Voxels that carry a value, share"),
)
UNDEFINED = "–"
ARROWS = {"higher": "↑", "lower": "↓", "": ""}


def metric_rows(evaluation: Evaluation) -> Iterator[tuple[str, str, Metric]]:
    """(result, family, metric) of every number; last those of random voxels and of the order by volume."""
    for result in evaluation.results:
        for family, metrics in result.metrics.items():
            yield from ((result.name, family, metric) for metric in metrics)
    if evaluation.voxel_sticks:
        yield RANDOM_VOXELS, VOXELS, evaluation.voxel_sticks.fidelity
    yield from ((LARGEST_FIRST, "order by volume", metric) for metric in evaluation.volume_only)


def write_metrics_csv(path: Path, evaluation: Evaluation) -> None:
    """Writes `metric_rows` as comma-separated UTF-8 with a heading line; what is not known is empty."""
    rows = (
        (
            *(result, family, one.name, one.value, one.standard_error, *(one.interval or (None, None)), one.chance),
            *(one.better, one.why_undefined),
        )
        for result, family, one in metric_rows(evaluation)
    )
    _write(path, METRIC_COLUMNS, rows)


def write_masses_csv(path: Path, evaluation: Evaluation) -> None:
    """Writes mass, density and enrichment of each unit and of the mask's zones, one row for each sign."""
    rows = (row for result in evaluation.results for row in _mass_rows(result))
    _write(path, MASS_COLUMNS, rows)


def main_table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of the main numbers: results as columns, chance and the order by volume beside them."""
    headings = ["", *(result.name for result in evaluation.results), LARGEST_FIRST, "chance"]
    by_volume = {metric.name: metric for metric in evaluation.volume_only}
    rows = []
    for family, name, label in MAIN_ROWS:
        found = [result.found(family, name) for result in evaluation.results]
        metrics = [metric for metric in found if metric]
        if not metrics:
            continue  # not measured
        chance = next((metric.chance for metric in metrics if metric.chance is not None), None)
        beside = by_volume.get(name) if family in (BY_VALUE, BY_DENSITY) else None
        rows.append(
            [
                f"{label} {ARROWS[metrics[0].better]}".rstrip(),
                *(told(metric) if metric else UNDEFINED for metric in found),
                told(beside) if beside else "",
                "" if chance is None else rounded(chance, decimals_for(chance)),
            ]
        )
    return headings, rows


def undefined_reasons(evaluation: Evaluation) -> list[str]:
    """Why main numbers have no value, each reason once, with the results it is about."""
    names: dict[str, list[str]] = {}
    for family, name, _ in MAIN_ROWS:
        for result in evaluation.results:
            metric = result.found(family, name)
            if why := metric.why_undefined if metric else "":
                names.setdefault(why, [])
                if result.name not in names[why]:
                    names[why].append(result.name)
    everyone = len(evaluation.results)
    return [why if len(who) == everyone else f"{', '.join(who)}: {why}" for why, who in names.items()]


def told(metric: Metric) -> str:
    """A value with its error, or a dash."""
    if metric.value is None:
        return UNDEFINED
    if not metric.standard_error:
        return rounded(metric.value, min(3, decimals_for(metric.value)))
    decimals = min(3, decimals_for(metric.value, metric.standard_error))
    return f"{rounded(metric.value, decimals)} ± {rounded(metric.standard_error, decimals)}"


def _mass_rows(result: ResultScores) -> Iterator[tuple]:
    tables: Sequence[tuple[str, MassTable | None]] = (
        ("units", result.map.unit_masses),
        ("organs", result.map.organ_masses),
        ("mask", result.map.mask_masses),
    )
    for of, table in tables:
        for row in (*table.rows, *table.unions) if table else ():
            yield (
                *(result.name, of, row.region, row.sign, row.n_voxels, row.volume_ml, row.volume_share, row.mass),
                *(row.density, row.enrichment, row.why_undefined),
            )


def _write(path: Path, columns: Sequence[str], rows: Iterable[tuple]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
