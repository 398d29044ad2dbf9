"""Seconds, tiles and memory of one explanation with a full-size nnU-Net on a body-sized CT.

    python -m benchmarks.full_size [--method leverage-shap ...] [--growth] [--json PATH]

On CUDA: nnU-Net's 3D U-Net of six stages, tiles of 128^3, a synthetic torso of 1.5 mm, a region of 32^3 voxels and
about 50 pieces of organs as units. On a CPU, or with --reduced: a small U-Net, tiles of 48^3, 3 mm, 16^3 voxels. CT,
organs and model are written to a temporary folder and opened as any other, so that reading, resampling and tiling are
real; the explanation is the pipeline's, to the results folder.

The weights are random: the segmentation says nothing, and neither does its explanation. So that the explained number is
defined, the target is the class that most voxels of the region are given, measured against that very prediction.

Clocks start when the question is open and the network has run; they wait for the device. The bare network is timed
before the explanations and after them, and the mean taken. The engine's tiles a second are all its tiles over all its
seconds to the answer: removal, unperturbed tiles, coalitions, estimates. ``--growth`` evaluates some random coalitions,
the same for each, with other numbers of classes and a longer CT.
"""

import argparse
import dataclasses
import json
import os
import platform
from pathlib import Path

import torch

from benchmarks.full_size.explained import Explained, explained
from benchmarks.full_size.growth import Growth, growth
from benchmarks.full_size.opened import opened
from benchmarks.full_size.sizes import FULL, REDUCED, Size
from benchmarks.full_size.tables import case_lines, explanation_lines, growth_lines
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.question import chosen_device

DEFAULT_METHOD = ExplainRequest(ct="-", model="-", target="-", roi="-").method
CPU_BATCHES, CUDA_BATCHES = (1, 2, 4), (1, 2, 4, 8, 16, 32)
GROWN = ((5, 1.0), (25, 1.0), (100, 1.0), (25, 2.0))
"""Classes and length of the CT; a length of a whole number keeps the region's tiles where they are."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", action="append", default=[], help="beside the default one; may be given again")
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--budget", type=int, help="most coalitions; 0 is automatic [0; reduced: 200]")
    parser.add_argument("--classes", type=int, default=25, help="of the network, background included")
    parser.add_argument("--volume-scale", type=float, default=1.0, help="length of the CT, times the usual one")
    parser.add_argument("--reduced", action="store_true", help="the size for a CPU, on any device")
    parser.add_argument("--growth", action="store_true", help="how cost grows with classes and with the CT")
    parser.add_argument("--growth-coalitions", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args(given)


def main(given: list[str] | None = None, *, size: Size | None = None) -> None:
    options = arguments(given)
    device = chosen_device(options.device)
    is_reduced = options.reduced or device.type == "cpu"
    size = size or (REDUCED if is_reduced else FULL)
    print(f"{size.name}{_why(device, asked=options.reduced)} on {_machine(device)}", flush=True)
    if options.budget is None:
        options.budget = 200 if is_reduced else 0
    figures = explanations(size, options)
    if options.growth:
        figures["growth"] = [dataclasses.asdict(row) for row in grown(size, options)]
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def explanations(size: Size, options: argparse.Namespace) -> dict:
    """Explains with each method and prints the table; the figures by name."""
    with opened(
        size,
        n_classes=options.classes,
        volume_scale=options.volume_scale,
        seed=options.seed,
        device=options.device,
    ) as there:
        print(*case_lines(there, size), sep="\n", flush=True)
        device = there.question.segmenter.device
        batches = CPU_BATCHES if device.type == "cpu" else CUDA_BATCHES
        before = there.bare_rates(batches)
        methods = dict.fromkeys([DEFAULT_METHOD, *options.method])
        runs = [explained(there, method=m, tolerance=options.tolerance, budget=options.budget) for m in methods]
        after = there.bare_rates(list(before))  # other programs come and go
        bare = {batch: (before[batch] + rate) / 2 for batch, rate in after.items()}
        print(*explanation_lines(runs, bare, tolerance=options.tolerance), sep="\n", flush=True)
    return {
        "size": dataclasses.asdict(size),
        "machine": _machine(device),
        "bare_tiles_per_s": bare,
        "explanations": [_figures(run) for run in runs],
    }


def grown(size: Size, options: argparse.Namespace) -> list[Growth]:
    """Runs and prints the small table, line by line."""
    rows = []
    print(f"\n{options.growth_coalitions} random coalitions, seconds and memory of these alone")
    for n_classes, scale in GROWN:
        rows.append(
            growth(
                size,
                n_classes=n_classes,
                volume_scale=scale,
                n_coalitions=options.growth_coalitions,
                seed=options.seed,
                device=options.device,
            )
        )
        head, line = growth_lines(rows[-1:])
        print(line if len(rows) > 1 else f"{head}\n{line}", flush=True)
    return rows


def _figures(run: Explained) -> dict:
    return dataclasses.asdict(run) | {"tiles_per_s": run.tiles_per_s, "outside_share": run.outside_share}


def _why(device: torch.device, *, asked: bool) -> str:
    if asked:
        return ", as was asked,"
    return " (no CUDA device)" if device.type == "cpu" else ""


def _machine(device: torch.device) -> str:
    """The device and how busy the machine is."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    return f"a CPU ({platform.machine()}), {threads}, torch {torch.__version__}{load}"


if __name__ == "__main__":
    main()
