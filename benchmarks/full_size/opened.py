"""A question whose files are open and whose network is warm and watched: what comes before the clocks start."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.full_size.clocks import NetworkClock, bare_rate, now
from benchmarks.full_size.files import question_files
from benchmarks.full_size.sizes import Size
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.progress import Progress
from SegExplainLib.question import Question, prepared_question, tallier_for
from SegExplainLib.question_keys import QuestionKeys
from SegExplainLib.warm import Key, WarmState


@dataclass(frozen=True, eq=False)
class Opened:
    """What every run of one question shares.

    Attributes:
        request: With the class that the network predicts most in the region as its target.
        question: Network, case and units.
        clock: Watches the question's network.
        n_target_voxels: Voxels of the region that the network gives the target's label.
        opening_s: From the files to the question, the network's weights and the CT's resampling included.
        folder: For what runs write; gone once the question is let go.
    """

    request: ExplainRequest
    question: Question
    clock: NetworkClock
    n_target_voxels: int
    opening_s: float
    folder: Path

    def tile(self) -> torch.Tensor:
        """(channels, k, j, i), the region's first tile of the CT."""
        case = self.question.case
        where = case.tiles.slices(int(case.region.numbers[0]))
        return torch.from_numpy(case.network_input.array[:, *where])

    def bare_rates(self, batches: Sequence[int]) -> dict[int, float]:
        """Batch -> tiles a second of the bare network; batches that do not fit into memory are left out."""
        rates = {}
        for batch in batches:
            try:
                rates[batch] = bare_rate(self.question.segmenter, self.tile(), batch=batch)
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
        return rates

    def warm_state(self) -> WarmState:
        """All that was opened, and no coalition: as after another question about the CT."""
        keys, question, warm = QuestionKeys.of(self.request), self.question, WarmState()
        case = question.case
        at_hand: dict[Key, Any] = {
            keys.model: question.segmenter,
            keys.ct: case.ct,
            keys.network_input: case.network_input,
            keys.body: case.body,
            keys.case: case,
            keys.units: question.partition,
        }
        for key, item in at_hand.items():
            warm.take(key, partial(_itself, item), Progress())
        return warm


@contextmanager
def opened(size: Size, *, n_classes: int, volume_scale: float, seed: int, device: str) -> Iterator[Opened]:
    """Writes the files of a question to a temporary folder, opens them, and chooses what is explained."""
    with tempfile.TemporaryDirectory(prefix="segexplain-full-size-") as name:
        folder = Path(name)
        request = question_files(folder, size, n_classes=n_classes, volume_scale=volume_scale, seed=seed, device=device)
        begin = now(torch.device("cpu"))
        question = prepared_question(request, Progress())
        opening_s = now(question.segmenter.device) - begin
        clock = NetworkClock(question.segmenter)
        target, n_voxels = most_predicted(request, question)
        yield Opened(replace(request, target=target), question, clock, n_voxels, opening_s, folder)


def most_predicted(request: ExplainRequest, question: Question) -> tuple[str, int]:
    """The class that most voxels of the region are given, and how many; runs the unperturbed tiles once."""
    case, segmenter = question.case, question.segmenter
    unchanged = case.network_input.array
    tallier = tallier_for(request, case, question.partition, unchanged, segmenter, Progress())
    counts = tallier.own_prediction.sum(dim=1).tolist()
    most = max(segmenter.classes, key=lambda entry: counts[entry.channel])
    return most.name, int(counts[most.channel])


def _itself(item: Any) -> Any:
    return item
