"""What one KernelSHAP explanation costs under four schemes, on one CT, in one run.

    python -m benchmarks.kernelshap CT --model PATH --target CLASS --roi SPEC [--units organs] [--budget 500]

(a) shap.KernelExplainer over the sliding window of the whole volume, extrapolated from measured coalitions;
(b) only the tiles that meet the ROI; (c) reuse of the tiles that no absent unit touches, as in arXiv 2604.11775;
(d) ours: each distinct (tile, pattern) once. All four evaluate the same number of coalitions; (b) to (d) the same ones.
The seconds of (b) and (c) are their tiles times the bare network's time for a tile.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shap
import torch

from SegExplainLib.baselines import baselines_for
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.game import RegionGame, RegionTallier
from SegExplainLib.game_record import GameRecord
from SegExplainLib.model.segmenter import class_named
from SegExplainLib.pipeline import ESTIMATORS, with_budget
from SegExplainLib.progress import Progress
from SegExplainLib.question import Question, prepared_question, record_for, tallier_for
from SegExplainLib.target import TargetScore, region_tally, target_score


@dataclass
class Played:
    """Our run, measured."""

    tallier: RegionTallier
    record: GameRecord
    game: RegionGame
    score: TargetScore
    channel: int
    relative_error: float
    wall_s: float
    network_s: float
    n_tiles: int


def ours(request: ExplainRequest, question: Question, absent: np.ndarray) -> Played:
    """Scheme (d): our engine and estimator, without the tiles of the unperturbed CT, which every scheme needs."""
    segmenter, case, partition = question.segmenter, question.case, question.partition
    tallier = tallier_for(request, case, partition, absent, segmenter, Progress())
    record = record_for(request, case, partition, absent, segmenter, tallier)
    runner = tallier.cache.runner
    n_before, network_before, begin = runner.n_tiles, runner.network_s, time.perf_counter()
    everyone = np.ones((1, partition.n_players), dtype=bool)
    ((_, tallies),) = tallier.blocks(everyone)
    record.table.append(everyone, tallies)
    target = class_named(segmenter, request.target)
    full = record.full_tallies()[target.channel]
    score = target_score(request.value, full, voxel_volume_ml=partition.grid.voxel_volume_ml, name=target.name)
    game = RegionGame(record.table, [(target.channel, score)], tallier=tallier)
    *_, estimate = ESTIMATORS[request.method](game, budget=request.budget, tolerance=0.0, seed=request.seed)
    return Played(
        tallier,
        record,
        game,
        score,
        target.channel,
        estimate.relative_error,
        time.perf_counter() - begin,
        runner.network_s - network_before,
        runner.n_tiles - n_before,
    )


class WholeVolume:
    """Scheme (a): every tile of the whole volume for every coalition, fused over the whole volume."""

    def __init__(self, question: Question, absent: np.ndarray, played: Played) -> None:
        self._question = question
        self._played = played
        self._labels = torch.from_numpy(question.partition.labels)
        self._present = torch.from_numpy(question.case.network_input.array)
        self._absent = torch.from_numpy(absent)

    @torch.no_grad()
    def __call__(self, masks: np.ndarray) -> np.ndarray:
        """Values of masks (n, n_players), as shap asks for them."""
        return np.array([self._value(mask) for mask in masks.astype(bool)])

    def _value(self, coalition: np.ndarray) -> float:
        segmenter, case = self._question.segmenter, self._question.case
        is_kept = torch.from_numpy(np.concatenate([[True], coalition]))
        image = torch.where(is_kept[self._labels], self._present, self._absent)
        total = torch.zeros((segmenter.n_channels, *case.tiles.image_shape))
        for tile in range(case.tiles.n_tiles):
            where = case.tiles.slices(tile)
            logits = segmenter.tile_logits(image[:, *where][None].to(segmenter.device))[0]
            total[:, *where] += logits.float().cpu() * case.tiles.weights
        fused = (total / case.tiles.weight_sum)[:, case.roi]
        reference = self._played.tallier.reference.cpu()
        tally = region_tally(fused[None], reference, is_exclusive=segmenter.is_exclusive)
        return float(self._played.score.of(tally[0, self._played.channel].numpy()))


def seconds_per_tile(question: Question, batch: int, repeats: int = 10) -> float:
    """Of the bare network on real tiles, on one thread on a CPU as in the engine's workers."""
    segmenter, case = question.segmenter, question.case
    where = case.tiles.slices(int(case.region.numbers[0]))
    tiles = torch.from_numpy(case.network_input.array[:, *where][None].repeat(batch, axis=0)).to(segmenter.device)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    segmenter.tile_logits(tiles)
    begin = time.perf_counter()
    for _ in range(repeats):
        float(segmenter.tile_logits(tiles).flatten()[0])
    seconds = time.perf_counter() - begin
    torch.set_num_threads(n_threads)
    n_side_by_side = n_threads if segmenter.device.type == "cpu" else 1
    return seconds / repeats / batch / n_side_by_side


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct")
    for name in ("model", "target", "roi"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--organs", default="")
    parser.add_argument("--units", default="organs")
    parser.add_argument("--unit-mm", type=float, default=30.0)
    parser.add_argument("--removal", default="air")
    parser.add_argument("--value", default="soft-dice")
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--naive-coalitions", type=int, default=5, help="coalitions measured for (a)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


def main() -> None:
    options = vars(arguments())
    n_naive, json_path = options.pop("naive_coalitions"), options.pop("json")
    request = ExplainRequest(**options, method="kernel-shap", tolerance=0.0)
    question = prepared_question(request, Progress())
    case, n_players = question.case, question.partition.n_players
    request = with_budget(request, n_players)
    (absent,) = baselines_for(request, question, Progress()).images
    played = ours(request, question, absent)

    naive = WholeVolume(question, absent, played)
    asked = played.record.table.coalitions[-n_naive:]
    begin = time.perf_counter()
    shap.KernelExplainer(naive, np.zeros((1, n_players)), silent=True)  # asks for the empty coalition
    checked = naive(asked)
    naive_s = (time.perf_counter() - begin) / (len(asked) + 1)
    gap = float(np.abs(checked - played.game(asked)[:, 0]).max())

    tile_s = seconds_per_tile(question, played.tallier.cache.runner.batch)
    counts, n = played.tallier.cache.counts, played.tallier.cache.counts.n_coalitions
    schemes = [
        ("a  shap.KernelExplainer, whole volume", n * case.tiles.n_tiles, n * naive_s),
        ("b  ROI tiles only", counts.n_region_tiles, counts.n_region_tiles * tile_s),
        ("c  reuse of untouched tiles", counts.n_touched_tiles, counts.n_touched_tiles * tile_s),
        ("d  ours, measured", played.n_tiles, played.wall_s),
    ]
    outside = 1 - played.network_s / played.wall_s
    print(f"{request.target}, {request.units}: {n_players} units, {n} coalitions, ROI {int(case.roi.sum())} voxels,")
    print(f"{case.region.n_tiles} of {case.tiles.n_tiles} tiles meet it; {question.segmenter.device}")
    print(f"bare network: {1000 * tile_s:.1f} ms a tile")
    print(f"{'scheme':<40}{'tile evaluations':>18}{'seconds':>10}{'tiles, times ours':>19}")
    for name, n_tiles, seconds in schemes:
        print(f"{name:<40}{n_tiles:>18}{seconds:>10.1f}{n_tiles / max(1, played.n_tiles):>19.2f}")
    print(f"share of our time outside the network: {100 * outside:.1f} %")
    print(f"largest difference of the explained number, ours against the whole volume: {gap:.2e}")
    print(f"relative error of the estimate: {100 * played.relative_error:.1f} %")
    if json_path:
        json_path.write_text(json.dumps({"schemes": schemes, "outside_share": outside, "gap": gap}, indent=2))


if __name__ == "__main__":
    main()
