"""What a graphical client shows of an evaluation: sentences, the main numbers as a table, the picture of the curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluate import evaluate
from SegExplainLib.progress import Progress
from SegExplainLib.report.evaluation import EVALUATION_PNG
from SegExplainLib.report.evaluation_section import verdict
from SegExplainLib.report.evaluation_table import main_table, undefined_reasons
from SegExplainLib.report.evaluation_words import evaluation_sentences
from SegExplainLib.warm import WarmState

MODEL_FIELDS = {"device": str, "trust_model": bool}


def evaluation_answer(
    folders: Sequence[Path],
    out: Path,
    *,
    stability: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    progress: Progress,
    warm: WarmState | None = None,
) -> dict[str, Any]:
    """Evaluates finished results and gives what can be shown without another file read.

    Args:
        folders: Of finished results on one question.
        out: Folder for the evaluation, see ``evaluate.evaluate``.
        stability: What is measured of the explanations' stability.
        given: ``device`` and ``trust_model`` of a request; what is left out is as ``evaluate`` has it.
        progress: Is told stages, steps and warnings.
        warm: Where an earlier question may have left network and CT.

    Returns:
        folder; picture, a PNG file; verdict, a few words on one result, empty of several; sentences; headings and rows
        of the main table, all cells texts; undefined, why main numbers have no value; warnings. JSON-able.

    Raises:
        InvalidRequest: a field is unknown or of the wrong type, or the results cannot be judged together.
        SegExplainError: of the kind that ``evaluate`` raises.
    """
    fields: dict[str, Any] = dict(given or {})
    for name, value in fields.items():
        if not isinstance(value, MODEL_FIELDS.get(name, ())):
            known = ", ".join(f"{known} ({kind.__name__})" for known, kind in MODEL_FIELDS.items())
            raise InvalidRequest(f"An evaluation cannot take {name} = {value!r:.80}.", f"It takes {known}.")
    if stability:
        fields["stability"] = tuple(stability)
    evaluation = evaluate(folders, out, progress=progress, warm=warm, **fields)
    headings, rows = main_table(evaluation)
    n_orders = evaluation.sticks.plan.n_orders
    return {
        "folder": str(out),
        "picture": str(out / EVALUATION_PNG),
        "verdict": verdict(evaluation.results[0], n_orders=n_orders) if len(evaluation.results) == 1 else "",
        "sentences": evaluation_sentences(evaluation),
        "headings": headings,
        "rows": rows,
        "undefined": undefined_reasons(evaluation),
        "warnings": list(evaluation.warnings),
    }
