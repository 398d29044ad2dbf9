"""What can be said before an explanation: which classes a model labels, and what a run will take."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SegExplainLib.contract import ExplainRequest
from SegExplainLib.progress import Progress
from SegExplainLib.question import opened_segmenter
from SegExplainLib.question_keys import model_key
from SegExplainLib.warm import WarmState


def describe(given: Mapping[str, Any], *, progress: Progress, warm: WarmState) -> dict[str, Any]:
    """Name, classes and device of the model that some fields of a request name; the model stays warm.

    Raises:
        UnusableModel: it cannot be opened.
        InvalidRequest: a field is unknown or of the wrong type, or there is no such device.
    """
    request = ExplainRequest.from_mapping({"ct": "", "target": "", "roi": ""} | dict(given))
    request = request.with_paths_from(Path.cwd())
    with progress.stage("load model"):
        segmenter = opened_segmenter(request, model_key(request), warm, progress)
    classes = [entry.name for entry in segmenter.classes]
    return {"name": segmenter.name, "classes": classes, "device": str(segmenter.device)}
