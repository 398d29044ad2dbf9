"""What was measured, as tables of text."""

import math
from collections.abc import Sequence

from benchmarks.full_size.explained import Explained
from benchmarks.full_size.growth import Growth
from benchmarks.full_size.opened import Opened
from benchmarks.full_size.sizes import Size


def case_lines(opened: Opened, size: Size) -> list[str]:
    """What is explained, and by which network."""
    question, request = opened.question, opened.request
    case, segmenter = question.case, question.segmenter
    n_weights = sum(weights.numel() for weights in segmenter.network.parameters())
    shape = " x ".join(map(str, case.tiles.image_shape))
    return [
        f"network: PlainConvUNet, features {', '.join(map(str, size.features))}, {n_weights / 1e6:.1f} million random "
        f"weights, {segmenter.n_channels} classes, tiles of {size.tile}^3",
        f"CT: {shape} voxels of {size.network_mm:g} mm (k, j, i), {case.tiles.n_tiles} tiles",
        f"ROI: {int(case.roi.sum())} voxels, {case.region.n_tiles} tiles meet it; {question.partition.n_players} units "
        f"({request.units}, {request.unit_mm:g} mm), removal {request.removal}",
        f"explained: {request.value} of {request.target}, which {opened.n_target_voxels} voxels of the ROI are given",
        f"from the files to the open question: {opened.opening_s:.1f} s, not counted below",
    ]


def explanation_lines(runs: Sequence[Explained], bare: dict[int, float], *, tolerance: float) -> list[str]:
    """One column for each method."""
    best = max(bare.values())
    rows = [
        ("method", [run.method for run in runs]),
        ("stopped by", [run.stop_reason for run in runs]),
        ("standard error, % of the range", [f"{100 * run.relative_error:.1f}" for run in runs]),
        ("seconds to the answer", [f"{run.answer_s:.1f}" for run in runs]),
        (f"  to {100 * tolerance:g} %, if by 1/sqrt(n)", [_forecast(run, tolerance) for run in runs]),
        ("  of these: making the removal", [f"{run.removal_s:.1f}" for run in runs]),
        ("seconds to write the results, after it", [f"{run.writing_s:.1f}" for run in runs]),
        ("coalitions", [str(run.n_coalitions) for run in runs]),
        ("tiles asked", [str(run.n_asked) for run in runs]),
        ("tiles run", [str(run.n_seen) for run in runs]),
        ("tiles a second, the engine's", [f"{run.tiles_per_s:.2f}" for run in runs]),
        ("  of the bare network's best, %", [f"{100 * run.tiles_per_s / best:.1f}" for run in runs]),
        ("  of the bare network's, same batch, %", [_of_same_batch(run, bare) for run in runs]),
        ("largest batch", [str(run.batch) for run in runs]),
        ("time outside the network, %", [f"{100 * run.outside_share:.1f}" for run in runs]),
        ("peak memory, GiB", [f"{run.peak_gib:.2f}" for run in runs]),
    ]
    rates = ", ".join(f"{rate:.2f} ({batch})" for batch, rate in bare.items())
    return [f"{name:<40}" + "".join(f"{text:>18}" for text in texts) for name, texts in rows] + [
        f"bare network, tiles a second (batch): {rates}"
    ]


def growth_lines(rows: Sequence[Growth]) -> list[str]:
    """One line for each network and CT."""
    heads = ("classes", "volume", "voxels", "tiles", "of ROI", "units", "asked", "run", "s", "outside, s", "%", "GiB")
    lines = ["".join(f"{head:>{width}}" for head, width in zip(heads, WIDTHS))]
    for row in rows:
        texts = (
            f"{row.n_classes}",
            f"{row.volume_scale:g}x",
            "x".join(map(str, row.image_shape)),
            f"{row.n_image_tiles}",
            f"{row.n_region_tiles}",
            f"{row.n_units}",
            f"{row.n_asked}",
            f"{row.n_run}",
            f"{row.seconds:.1f}",
            f"{row.outside_s:.2f}",
            f"{100 * row.outside_s / row.seconds:.1f}",
            f"{row.peak_gib:.2f}",
        )
        lines.append("".join(f"{text:>{width}}" for text, width in zip(texts, WIDTHS)))
    return lines


WIDTHS = (8, 8, 14, 7, 8, 7, 8, 8, 8, 12, 7, 7)


def _forecast(run: Explained, tolerance: float) -> str:
    """Seconds at the tolerance for a run that ended above it; a dash for one that met it, or whose error is unknown."""
    if run.relative_error <= tolerance or not math.isfinite(run.relative_error) or not tolerance:
        return "–"
    return f"{run.answer_s * (run.relative_error / tolerance) ** 2:.0f}"


def _of_same_batch(run: Explained, bare: dict[int, float]) -> str:
    return f"{100 * run.tiles_per_s / bare[run.batch]:.1f}" if run.batch in bare else "–"
