"""The tables, as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.equal_error.measured import TARGETS, Cost, Measured
from benchmarks.equal_error.schemes import OURS, SCHEMES


def title(one: Measured) -> str:
    """Of a case."""
    case = one.case.question.case
    n_voxels = int(case.roi.sum())
    return (
        f"{one.case.case.units}: {one.case.n_players} units, {n_voxels} voxels, "
        f"{case.region.n_tiles} of {case.tiles.n_tiles} tiles"
    )


def write_markdown(results: Sequence[Measured], path: Path) -> None:
    """Writes both tables."""
    costs = " | ".join(f"coalitions to {100 * target:.0f} % | tiles | times ours" for target in TARGETS)
    lines = [f"| on the stand-in | {costs} |", "|---|---|---|---|---|---|---|"]
    for one in results:
        lines.append(f"| **{title(one)}** | | | | | | |")
        lines += [_cost_row(one, scheme.name) for scheme in SCHEMES]
        lines.append(_row(f"{OURS}, on the network", [(one.cost_on_network(target), None) for target in TARGETS]))
    lines += ["", "| runs on the network | coalitions | error | its own standard error | error on the stand-in |"]
    lines.append("|---|---|---|---|---|")
    for one in results:
        reference = one.reference
        lines.append(
            f"| **{one.case.case.units}**, reference of {reference.n_evaluations} coalitions: standard error "
            f"{100 * reference.standard_error:.2f} %, Leverage SHAP {100 * reference.other:.2f} % away (its error "
            f"{100 * reference.other_standard_error:.2f} %); stand-in explains {100 * one.explained:.2f} % | | | | |"
        )
        lines += [row for scheme in one.on_network for row in _run_rows(one, scheme)]
        timing = f", {1000 * one.tile_s:.0f} ms each; {100 * one.outside:.1f} % of the time outside the network"
        lines.append(f"| {one.live_tiles} tiles ran live{timing if one.live_tiles else ''} | | | | |")
    path.write_text("\n".join(lines) + "\n")


def _cost_row(one: Measured, scheme: str) -> str:
    costs = [one.cost(scheme, target) for target in TARGETS]
    return _row(scheme, [(cost, cost.n_tiles / one.cost(OURS, target).n_tiles) for cost, target in zip(costs, TARGETS)])


def _row(name: str, costs: Sequence[tuple[Cost, float | None]]) -> str:
    cells = [name]
    for cost, ratio in costs:
        mark = "" if cost.is_measured else "\N{DAGGER}"
        cells += [f"{_rounded(cost.n_evaluations)}{mark}", f"{_rounded(cost.n_tiles)}{mark}"]
        cells.append("" if ratio is None else _times(ratio))
    return f"| {' | '.join(cells)} |"


def _run_rows(one: Measured, scheme: str) -> list[str]:
    shown = one.on_network[scheme]
    rows = []
    for point in shown[:: max(1, len(shown) // 4)] if len(shown) > 1 else shown:
        stand_in = min(one.on_stand_in[scheme], key=lambda other: abs(other.n_evaluations - point.n_evaluations))
        own = "" if point.standard_error != point.standard_error else f"{100 * point.standard_error:.1f} %"
        rows.append(
            f"| {scheme} | {point.n_evaluations:.0f} | {100 * point.error:.1f} % | {own} | "
            f"{100 * stand_in.error:.1f} % at {stand_in.n_evaluations:.0f} |"
        )
    return rows


def _rounded(number: float) -> str:
    """To two digits, counts below 1000 in full."""
    return f"{number:.0f}" if number < 1000 else f"{float(f'{number:.2g}'):,.0f}"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{float(f'{ratio:.2g}'):.0f}"
