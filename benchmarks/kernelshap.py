"""What one KernelSHAP explanation costs under four schemes, on one CT, in one run.

    python -m benchmarks.kernelshap CT --model PATH --target CLASS --roi SPEC [--units organs] [--budget 500]

(a) shap.KernelExplainer over the sliding window of the whole volume, extrapolated from measured coalitions;
(b) only the tiles that meet the ROI; (c) reuse of the tiles that no absent unit touches, as in arXiv 2604.11775;
(d) ours: each distinct (tile, pattern) once. All four evaluate the same number of coalitions; (b) to (d) the same ones.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import shap
import torch

from SegExplainLib.case import PreparedCase
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.game import RegionGame
from SegExplainLib.model.segmenter import Segmenter, class_named
from SegExplainLib.pipeline import ESTIMATORS, absent_for, prepared_question, record_for, tallier_for, with_budget
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.progress import Progress
from SegExplainLib.target import region_tally, target_score


class WholeVolumeGame:
    """The naive game: every tile of the whole volume for every coalition, fused over the whole volume."""

    def __init__(
        self, case: PreparedCase, partition: PlayerPartition, absent: np.ndarray, segmenter: Segmenter
    ) -> None:
        self.case = case
        self.segmenter = segmenter
        self.labels = torch.from_numpy(partition.labels)
        self.present = torch.from_numpy(case.network_input.array)
        self.absent = torch.from_numpy(absent)
        self.n_tiles = 0

    @torch.no_grad()
    def fused(self, coalition: np.ndarray) -> torch.Tensor:
        """float32 (n_channels, k, j, i) of the whole volume."""
        grid = self.case.tiles
        is_kept = torch.from_numpy(np.concatenate([[True], coalition]))
        image = torch.where(is_kept[self.labels], self.present, self.absent)
        total = torch.zeros((self.segmenter.n_channels, *grid.image_shape))
        for tile in range(grid.n_tiles):
            where = grid.slices(tile)
            logits = self.segmenter.tile_logits(image[:, *where][None].to(self.segmenter.device))[0]
            total[:, *where] += logits.float().cpu() * grid.weights
            self.n_tiles += 1
        return total / grid.weight_sum


def seconds_per_tile(segmenter: Segmenter, case: PreparedCase, batch: int, repeats: int = 10) -> float:
    """Of the bare network on real tiles, for (b) and (c), which differ from (d) only in how many tiles run."""
    where = case.tiles.slices(int(case.region.numbers[0]))
    tiles = torch.from_numpy(case.network_input.array[:, *where][None].repeat(batch, axis=0)).to(segmenter.device)
    segmenter.tile_logits(tiles)
    begin = time.perf_counter()
    for _ in range(repeats):
        float(segmenter.tile_logits(tiles).flatten()[0])
    return (time.perf_counter() - begin) / repeats / batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct")
    parser.add_argument("--model", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--roi", required=True)
    parser.add_argument("--organs", default="")
    parser.add_argument("--units", default="organs")
    parser.add_argument("--unit-mm", type=float, default=30.0)
    parser.add_argument("--removal", default="air")
    parser.add_argument("--value", default="soft-dice")
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--naive-coalitions", type=int, default=5, help="coalitions measured for (a)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = vars(parser.parse_args())
    n_naive, json_path = options.pop("naive_coalitions"), options.pop("json")
    request = ExplainRequest(**options, tolerance=0.0)

    progress = Progress()
    question = prepared_question(request, progress)
    segmenter, case, partition = question.segmenter, question.case, question.partition
    request = with_budget(request, partition.n_players)
    absent = absent_for(request, case, partition, segmenter)
    target = class_named(segmenter, request.target)
    tallier = tallier_for(request, case, partition, absent, segmenter, progress)
    record = record_for(request, case, partition, absent, segmenter, tallier)
    n_base = tallier.cache.runner.n_tiles

    begin = time.perf_counter()
    network_before = tallier.cache.runner.network_s
    everyone = np.ones((1, partition.n_players), dtype=bool)
    rows = list(tallier.blocks(everyone))
    record.table.append(everyone, rows[0][1])
    score = target_score(
        request.value,
        record.full_tallies()[target.channel],
        voxel_volume_ml=partition.grid.voxel_volume_ml,
        name=target.name,
    )
    game = RegionGame(record.table, [(target.channel, score)], tallier=tallier)
    *_, estimate = ESTIMATORS[request.method](game, budget=request.budget, tolerance=0.0, seed=request.seed)
    ours_s = time.perf_counter() - begin
    network_s = tallier.cache.runner.network_s - network_before
    counts = tallier.cache.counts

    naive = WholeVolumeGame(case, partition, absent, segmenter)

    def naive_values(masks: np.ndarray) -> np.ndarray:
        values = []
        for mask in masks.astype(bool):
            fused = naive.fused(mask)[:, case.roi]
            tally = region_tally(fused[None], tallier.reference.cpu(), is_exclusive=segmenter.is_exclusive)
            values.append(score.of(tally[0, target.channel].numpy()))
        return np.array(values)

    begin = time.perf_counter()
    explainer = shap.KernelExplainer(naive_values, np.zeros((1, partition.n_players)), silent=True)
    sampled = record.table.coalitions[-n_naive:]
    checked = naive_values(sampled)
    naive_s = (time.perf_counter() - begin) / (len(sampled) + 1)
    del explainer
    gap = float(np.abs(checked - game(sampled)[:, 0]).max())

    tile_s = seconds_per_tile(segmenter, case, tallier.cache.runner.batch)
    n = counts.n_coalitions
    schemes = [
        ("a  shap.KernelExplainer, whole volume", n * case.tiles.n_tiles, n * naive_s),
        ("b  ROI tiles only", counts.n_region_tiles, counts.n_region_tiles * tile_s),
        ("c  reuse of untouched tiles", counts.n_touched_tiles, counts.n_touched_tiles * tile_s),
        ("d  ours, measured", counts.n_network_tiles - n_base, ours_s),
    ]
    n_voxels = int(case.roi.sum())
    print(f"{request.target}, {request.units}: {partition.n_players} units, {n} coalitions, ROI {n_voxels} voxels,")
    print(
        f"{case.region.n_tiles} of {case.tiles.n_tiles} tiles meet it; {segmenter.device}, {1000 * tile_s:.1f} ms each"
    )
    print(f"{'scheme':<40}{'tile evaluations':>18}{'seconds':>10}{'times ours':>12}")
    for name, n_tiles, seconds in schemes:
        print(f"{name:<40}{n_tiles:>18}{seconds:>10.1f}{n_tiles / max(1, schemes[-1][1]):>12.2f}")
    outside = 1 - network_s / ours_s
    print(f"share of our time outside the network: {100 * outside:.1f} %")
    print(f"largest difference of the explained number, ours against the whole volume: {gap:.2e}")
    print(f"relative error of the estimate: {100 * estimate.relative_error:.1f} %")
    if json_path:
        figures = {"schemes": schemes, "outside_share": outside, "gap": gap, "n_players": partition.n_players}
        json_path.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
