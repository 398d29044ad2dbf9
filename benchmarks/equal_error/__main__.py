"""How many network tiles each scheme takes for the same error, on one CT, in one run.

    python -m benchmarks.equal_error CT --model PATH --target CLASS --roi SPEC [SPEC ...] --organs PATH --out FOLDER
        [--units organs fcc:75] [--reference 300] [--budget 130] [--peer-budget 256 0] [--seeds 1]

Every region and kind of units is one game. Its reference comes from ``--reference`` coalitions, or all that are known
of its design. Each scheme then runs on the real network: ours to ``--budget`` coalitions for each of ``--seeds`` seeds,
shap and captum to ``--peer-budget``. How all of them go on is measured on a stand-in: trees fitted to all coalitions of
the game that the network has answered, whose Shapley values are known exactly, and which can be asked as often as one
likes. Tiles are counted from the coalitions asked: of the whole volume for shap and captum as they come; those of the
region that an absent unit touches for the scheme of arXiv 2604.11775; each distinct pattern once for ours.

Coalitions are kept in FOLDER; the same command goes on with them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.equal_error.figure import write_figure
from benchmarks.equal_error.measured import Settings, measured
from benchmarks.equal_error.opened import Case, opened
from benchmarks.equal_error.tables import write_markdown
from SegExplainLib.contract import ExplainRequest, SegExplainError
from SegExplainLib.warm import WarmState


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct")
    for name in ("model", "target", "organs"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--roi", nargs="+", required=True, help="one or several regions")
    parser.add_argument("--units", nargs="+", default=["organs", "fcc:75"], help="organs, hybrid:MM or fcc:MM")
    parser.add_argument("--out", type=Path, required=True, help="folder for coalitions, table and figure")
    parser.add_argument("--reference", type=int, default=300, help="coalitions behind the reference, at least")
    parser.add_argument("--budget", type=int, default=130, help="coalitions of each of our runs")
    parser.add_argument(
        "--peer-budget",
        type=int,
        nargs="+",
        default=[256],
        help="coalitions of each run of shap and captum, one number or one for each region; 0 for none",
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of ours on the network")
    parser.add_argument("--stand-in-seeds", type=int, default=4, help="runs of each scheme on the stand-in")
    parser.add_argument("--stand-in-budget", type=int, default=4096, help="largest of them")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    options, console = arguments(given), Console(width=150)
    options.out.mkdir(parents=True, exist_ok=True)
    warm, results = WarmState(), []
    for number, roi in enumerate(options.roi):
        settings = Settings(
            options.reference,
            options.budget,
            options.peer_budget[min(number, len(options.peer_budget) - 1)],
            options.seeds,
            options.stand_in_seeds,
            options.stand_in_budget,
        )
        for units in options.units:
            kind, _, edge = units.partition(":")
            request = ExplainRequest(
                ct=options.ct,
                model=options.model,
                target=options.target,
                roi=roi,
                organs=options.organs,
                units=kind,
                unit_mm=float(edge or 30.0),
                tolerance=0.0,
            )
            case = opened(Case(units, request), options.out, warm)
            results.append(measured(case, settings, tell=lambda line: console.print(line, highlight=False)))
            write_markdown(results, options.out / "equal_error.md")
            write_figure(results, options.out / "equal_error.png")
    console.print(f"Wrote {options.out / 'equal_error.md'}")


if __name__ == "__main__":
    try:
        main()
    except SegExplainError as error:
        raise SystemExit(str(error)) from error
