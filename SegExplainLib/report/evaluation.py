"""An evaluation as files: tables, curves, sentences, and everything as JSON."""

from pathlib import Path

from SegExplainLib.evaluation.scorecard import Evaluation
from SegExplainLib.report.evaluation_curves import write_curves
from SegExplainLib.report.evaluation_table import write_masses_csv, write_metrics_csv
from SegExplainLib.report.evaluation_words import evaluation_markdown, evaluation_sentences

EVALUATION_CSV = "evaluation.csv"
MASSES_CSV = "evaluation_masses.csv"
EVALUATION_PNG = "evaluation.png"
EVALUATION_MD = "evaluation.md"
EVALUATION_JSON = "evaluation.json"
"""Written last, so that its presence means success."""


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Writes all files into an existing folder."""
    write_metrics_csv(folder / EVALUATION_CSV, evaluation)
    write_masses_csv(folder / MASSES_CSV, evaluation)
    write_curves(folder / EVALUATION_PNG, evaluation)
    (folder / EVALUATION_MD).write_text(evaluation_markdown(evaluation), encoding="utf-8")
    sentences = evaluation_sentences(evaluation)
    (folder / EVALUATION_JSON).write_text(evaluation.to_json(sentences=sentences), encoding="utf-8")
