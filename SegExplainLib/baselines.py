"""What the network sees with every unit absent: one image for a game of units, one or several where a path begins."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import ExplainRequest
from SegExplainLib.progress import Progress
from SegExplainLib.question import Question
from SegExplainLib.removal.blur import blur_fill
from SegExplainLib.removal.constant import air_fill, mean_fill, white_fill, zero_fill
from SegExplainLib.removal.inpaint import inpaint_fill
from SegExplainLib.removal.local_mean import local_mean_fill

Fill = Callable[..., NDArray[np.float32]]

REMOVALS: dict[str, tuple[Fill, ...]] = {
    "air": (air_fill,),
    "mean": (mean_fill,),
    "local-mean": (local_mean_fill,),
    "blur": (blur_fill,),
    "inpaint": (inpaint_fill,),
    "zero": (zero_fill,),
    "black-white": (air_fill, white_fill),
}


@dataclass(frozen=True, eq=False)
class Baselines:
    """Network inputs with every unit absent.

    Attributes:
        images: Each float32 (channels, k, j, i); one, but for the removals that are several images.
        facts: What is known of how they came about, by name, for the report's counts.
    """

    images: tuple[NDArray[np.float32], ...]
    facts: dict[str, float] = field(default_factory=dict)


def baselines_for(request: ExplainRequest, question: Question, progress: Progress) -> Baselines:
    """The request's removal of every unit.

    Raises:
        SegExplainError: it cannot be made for this CT.
    """
    progress.check_cancelled()
    return Baselines(tuple(_filled(fill, question) for fill in REMOVALS[request.removal]))


def _filled(fill: Fill, question: Question) -> NDArray[np.float32]:
    case, segmenter = question.case, question.segmenter
    return fill(
        case.network_input.array,
        question.partition,
        body=case.body,
        air=segmenter.input_value(-1024.0, case.network_input),
        mean=segmenter.mean_value(case.network_input),
    )
