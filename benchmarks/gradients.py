"""What each gradient method costs on one CT, against the least that it can cost, and the memory beside a naive graph.

    python -m benchmarks.gradients CT --model PATH --target CLASS --roi SPEC [--value soft-dice] [--naive]

The floor of a method is its gradients times the region's tiles times one tile forward and backward. A number that is
not linear in the logits needs every tile forward once more before its first gradient, except at the CT itself.
Memory is the most that torch's allocator held: by the profiler's record on a CPU, by CUDA's own count there.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad

from SegExplainLib.baselines import baselines_for
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.gradient_run import GRADIENTS
from SegExplainLib.gradients.backward import StitchedNetwork
from SegExplainLib.gradients.stitched_score import StitchedScore, stitched_score
from SegExplainLib.model.segmenter import class_named
from SegExplainLib.progress import Progress
from SegExplainLib.question import Question, prepared_question

MIB = 2**20


class OneTile:
    """The region's first tile through the bare network."""

    def __init__(self, score: StitchedScore, segmenter_precision: Callable) -> None:
        self._job = score.network.jobs[0]
        self._tile = score.network.tile_of(self._job, score.image)[None]
        self._precision = segmenter_precision

    def forward(self) -> None:
        with torch.no_grad(), self._precision():
            self._job.tile_pass(self._tile)

    def forward_and_backward(self) -> None:
        leaf = self._tile.clone().requires_grad_()
        with self._precision():
            logits = self._job.tile_pass(leaf)
        torch.autograd.grad(logits.sum(), leaf)


def naive(score: StitchedScore) -> None:
    """One graph through every tile that meets the region."""
    network, images = score.network, score.image[None].to(score.network.device).requires_grad_()
    total = torch.zeros_like(score.full_logits)
    for job in network.jobs:
        part = job.tile_pass(images[:, :, *job.where])[0][:, *job.in_tile] * job.share
        sizes = total.shape[1:]
        amounts = [n for box, size in zip(job.in_box[::-1], sizes[::-1]) for n in (box.start, size - box.stop)]
        total = total + pad(part, amounts)
    torch.autograd.grad(score.number.of(total), images)


def seconds(work: Callable[[], object], *, device: torch.device, repeats: int = 3) -> float:
    """The least of some runs, after one that does not count."""
    taken = []
    for _ in range(repeats + 1):
        begin = _clock(device)
        work()
        taken.append(_clock(device) - begin)
    return min(taken[1:])


def peak_mib(work: Callable[[], object], *, device: torch.device) -> float:
    """Most MiB that torch's allocator held for what ``work`` made."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return float(np.cumsum([event.nbytes() for event in events]).max() / MIB)


def _clock(device: torch.device) -> float:
    """Seconds: of the process on a CPU, which other programs do not lengthen; of the wall once CUDA has caught up."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _rounded(number: float) -> float | None:
    """None where the method does not tell the number: JSON has no nan."""
    return round(number, 5) if math.isfinite(number) else None


def measured(
    name: str, score: StitchedScore, question: Question, absent: np.ndarray, tile_s: float, budget: int
) -> dict:
    """One method, run once to its end."""
    network = score.network
    forward, backward = network.n_forward, network.n_backward
    begin = _clock(network.device)
    *_, last = GRADIENTS[name].stream(
        score, question.partition, baselines=[absent], budget=budget, tolerance=0.05, seed=0
    )
    taken_s = _clock(network.device) - begin
    floor_s = last.n_gradients * len(network.jobs) * tile_s
    return {
        "method": name,
        "seconds": round(taken_s, 2),
        "gradients": last.n_gradients,
        "of_the_floor": round(taken_s / floor_s, 2),
        "tiles_forward": network.n_forward - forward,
        "tiles_backward": network.n_backward - backward,
        "stopped_by": last.stop_reason,
        "relative_error": _rounded(last.relative_error),
        "completeness_gap": _rounded(last.completeness_gap),
        "range": [_rounded(last.empty_value), _rounded(last.full_value)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct")
    parser.add_argument("--model", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--roi", required=True)
    parser.add_argument("--organs", default="")
    parser.add_argument("--units", default="fcc")
    parser.add_argument("--value", default="soft-dice")
    parser.add_argument("--removal", default="local-mean")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--kept-graphs", type=int, default=1)
    parser.add_argument("--methods", nargs="*", default=list(GRADIENTS))
    parser.add_argument("--naive", action="store_true", help="measure the naive graph too; it may not fit")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    request = ExplainRequest(
        ct=options.ct,
        model=options.model,
        target=options.target,
        roi=options.roi,
        organs=options.organs,
        units=options.units,
        removal=options.removal,
        value=options.value,
        device=options.device,
    )
    question = prepared_question(request, Progress())
    segmenter, case = question.segmenter, question.case
    network = StitchedNetwork(segmenter, case.region, kept_graphs=options.kept_graphs)
    target = class_named(segmenter, request.target)
    score = stitched_score(network, case, segmenter, target=target, quantity=request.value)
    (absent,), device = baselines_for(request, question, Progress()).images, segmenter.device
    tile = OneTile(score, segmenter.precision)
    forward_s, tile_s = (seconds(work, device=device) for work in (tile.forward, tile.forward_and_backward))
    elsewhere = score.image + 0.01
    ours_mib = peak_mib(lambda: score.gradient(elsewhere), device=device)
    tile_mib = peak_mib(tile.forward_and_backward, device=device)
    report = {
        "tiles": case.region.n_tiles,
        "passes": len(network.jobs),
        "tile_forward_s": round(forward_s, 4),
        "tile_forward_backward_s": round(tile_s, 4),
        "one_tile_mib": round(tile_mib, 1),
        "ours_mib": round(ours_mib, 1),
        "ours_of_one_tile": round(ours_mib / tile_mib, 3),
    }
    if options.naive:
        report["naive_mib"] = round(peak_mib(lambda: naive(score), device=device), 1)
        report["naive_s"] = round(seconds(lambda: naive(score), device=device, repeats=1), 2)
    print(json.dumps(report, indent=2))
    rows = []
    for name in options.methods:
        rows.append(measured(name, score, question, absent, tile_s, options.budget))
        print(json.dumps(rows[-1]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(report | {"methods": rows}, indent=2))


if __name__ == "__main__":
    main()
