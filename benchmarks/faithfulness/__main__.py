"""Which method, which units and which removal explain a label most faithfully: all of them, on the same games.

    python -m benchmarks.faithfulness --out FOLDER [--torso SEED ...] [--case NAME=request.json ...]
        [--units hybrid:160 organs fcc:140] [--fine-units fcc:80] [--removals local-mean air ...]

Each case, kind of units and removal is one game: every method's ranking is judged by it, beside random importances and
the order by volume. A game of few units is played in full, so that its numbers are exact. Fine units are judged under
the first removal only, and for one Shapley method only. What is done is kept in FOLDER, and the same command goes on
with it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.faithfulness.cases import Case, Units, given_case, torso_case, torso_case_without_target
from benchmarks.faithfulness.figure import write_figure
from benchmarks.faithfulness.methods import OURS
from benchmarks.faithfulness.run import Games, Settings, run
from benchmarks.faithfulness.tables import write_csv, write_markdown
from SegExplainLib.contract import METHODS, SINGLE_REMOVALS, SegExplainError

TORSOS = (0, 5, 7)
UNITS = ("hybrid:160", "organs", "fcc:140")
"""Six to ten units each, so that kinds differ in what a unit is and little in how many there are."""
FINE_UNITS = ("fcc:80",)
REMOVALS = ("local-mean", "air")
GRADIENTS = {"integrated-gradients": 17, "expected-gradients": 12, "xrai": 17}
GRADIENTS |= dict.fromkeys(("smoothgrad", "smoothgrad-squared", "vargrad"), 12)
QUICK_GRADIENTS = dict.fromkeys(GRADIENTS, 5)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for table, figure and what is done")
    parser.add_argument("--torso", type=int, nargs="*", help=f"seeds of synthetic torsos; default {TORSOS}")
    parser.add_argument("--hide-target", action="store_true", help="torsos whose organ map does not know the lesion")
    parser.add_argument("--case", nargs="*", default=[], help="NAME=request.json, instead of torsos or beside them")
    parser.add_argument("--units", nargs="*", default=list(UNITS), help="the first is the default one")
    parser.add_argument("--fine-units", nargs="*", default=list(FINE_UNITS))
    parser.add_argument("--removals", nargs="*", default=list(REMOVALS), choices=SINGLE_REMOVALS)
    parser.add_argument("--methods", nargs="*", default=list(OURS), choices=METHODS)
    parser.add_argument("--budget", type=int, default=1500, help="most coalitions: games of no more are played in full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few gradients, and no fine units")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    options, console = arguments(given), Console()
    games = Games(
        tuple(map(Units.parsed, options.units)),
        () if options.quick else tuple(map(Units.parsed, options.fine_units)),
        tuple(options.removals),
    )
    gradients = QUICK_GRADIENTS if options.quick else GRADIENTS
    settings = Settings(tuple(options.methods), options.budget, gradients, options.seed)
    judged = run(_cases(options), games, settings, options.out, tell=lambda line: console.print(line, highlight=False))
    write_csv(judged, options.out / "faithfulness.csv")
    write_markdown(judged, games, options.out / "faithfulness.md")
    write_figure(judged, games, options.out / "faithfulness.png")
    console.print(f"Wrote {options.out / 'faithfulness.md'}")


def _cases(options: argparse.Namespace) -> list[Case]:
    seeds = options.torso if options.torso is not None else () if options.case else TORSOS
    torso = torso_case_without_target if options.hide_target else torso_case
    return [torso(seed, options.out / "cases") for seed in seeds] + [given_case(text) for text in options.case]


if __name__ == "__main__":
    try:
        main()
    except SegExplainError as error:
        raise SystemExit(str(error)) from error
