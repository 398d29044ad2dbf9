"""Evaluated results tell of their evaluation: in their manifest, their report, and tables and curves of their own."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from SegExplainLib.atomic import atomic_folder
from SegExplainLib.contract import InvalidRequest, ResultManifest, SegExplainError
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.scorecard import Evaluation, ResultScores
from SegExplainLib.progress import Progress
from SegExplainLib.report.evaluation import EVALUATION_CSV, EVALUATION_PNG
from SegExplainLib.report.evaluation_curves import write_curves
from SegExplainLib.report.evaluation_section import (
    curves_words,
    evaluation_of,
    evaluation_section,
    verdict,
    with_section,
)
from SegExplainLib.report.evaluation_table import write_metrics_csv
from SegExplainLib.report.evaluation_words import evaluation_sentences
from SegExplainLib.report.maps import Picture
from SegExplainLib.report.page import REPORT_HTML
from SegExplainLib.results_folder import MANIFEST_NAME, sha256_of

CURVES_CSS_WIDTH = 1000
"""Pixels on a page: half of what `write_curves` draws, for sharp screens."""


def tell_results(evaluation: Evaluation, out: Path, *, progress: Progress) -> None:
    """Adds to each results folder what its evaluation says, instead of what an earlier one said.

    Each gets ``evaluation.csv`` and ``evaluation.png`` of its own result, a section in ``report.html``, and in
    ``manifest.json`` an `evaluation_summary` and the new checksums. All else stays byte for byte. The manifest comes
    last; what is killed in between leaves a folder that can still be read, and evaluated again.

    A folder that cannot take it (read-only, deleted, another result by now, a report of an earlier version) is told as
    a warning: the evaluation in ``out`` stands.

    Args:
        evaluation: As written to ``out``.
        out: Folder of the whole evaluation.
        progress: Is told warnings.
    """
    for result in evaluation.results:
        try:
            _tell(result, evaluation, folder_name=out.resolve().name)
        except (OSError, SegExplainError) as error:
            progress.warn(f"{result.folder} could not be told of its evaluation, which {out} holds: {error}")


def evaluation_summary(evaluation: Evaluation, result: ResultScores, *, folder_name: str) -> dict[str, Any]:
    """What a result's manifest keeps: who judged, in sentences and numbers; it is JSON.

    Returns:
        ``folder`` (name, of the whole evaluation), ``name`` (of the result in it), ``removal`` and ``removal_from`` (of
        the game that judged), ``mask`` (in words), ``verdict`` (the shortest sentence), ``sentences``, and ``metrics``:
        family -> metric -> ``value`` (None where ``why_undefined`` says so), ``standard_error``, ``interval`` (95 %),
        ``chance``, ``better``.
    """
    return {
        "folder": folder_name,
        "name": result.name,
        "removal": evaluation.removal,
        "removal_from": evaluation.removal_from,
        "mask": evaluation.mask,
        "verdict": verdict(result, n_orders=evaluation.sticks.plan.n_orders),
        "sentences": evaluation_sentences(evaluation_of(result, evaluation)),
        "metrics": {
            family: {metric.name: _without_name(metric) for metric in metrics}
            for family, metrics in result.metrics.items()
        },
    }


def _tell(result: ResultScores, evaluation: Evaluation, *, folder_name: str) -> None:
    folder, alone = Path(result.folder), evaluation_of(result, evaluation)
    manifest = ResultManifest.read(folder)  # before anything is made: a deleted folder is not to come back
    _require_same_result(manifest, result, evaluation)
    with atomic_folder(folder, last=MANIFEST_NAME) as part:
        write_metrics_csv(part / EVALUATION_CSV, alone)
        write_curves(part / EVALUATION_PNG, alone)
        curves = Picture(part / EVALUATION_PNG, *curves_words(evaluation), CURVES_CSS_WIDTH)
        section = evaluation_section(evaluation, result, curves=curves, folder_name=folder_name)
        (part / REPORT_HTML).write_bytes(with_section((folder / REPORT_HTML).read_bytes(), section))
        told = replace(
            manifest,
            evaluation=evaluation_summary(evaluation, result, folder_name=folder_name),
            files=manifest.files | {file.name: sha256_of(file) for file in sorted(part.iterdir())},
        )
        (part / MANIFEST_NAME).write_text(told.to_json(), encoding="utf-8")


def _require_same_result(manifest: ResultManifest, result: ResultScores, evaluation: Evaluation) -> None:
    """Keeps a run that took the folder over meanwhile from being told another's numbers."""
    asked = manifest.request
    found = (asked["method"], asked["target"], asked["value"], manifest.estimate.get("n_players"))
    if found != (result.method, evaluation.target, evaluation.quantity, len(evaluation.unit_names)):
        raise InvalidRequest(f"{result.folder} holds another result by now.", "Evaluate that one.")


def _without_name(metric: Metric) -> dict[str, Any]:
    return {key: value for key, value in asdict(metric).items() if key != "name"}
