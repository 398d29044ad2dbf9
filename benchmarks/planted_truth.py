"""Which methods find a planted cause: torsos in which a known insert makes a network label something else.

    python -m benchmarks.planted_truth [--cases 5] [--units organs hybrid] [--methods NAME...] [--out FOLDER]

For every method, removal and kind of unit: the rank of the cause among all units but what is labelled, and its share
of the importance. Answers go to ``answers.jsonl`` as they come, the table to standard output. All methods explain the
same number: soft Dice of the lesion where the marker decides, the soft volume labelled in the spleen where the driver
does.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.planted.answer import Asker
from benchmarks.planted.case import SMOOTH, write_case
from benchmarks.planted.network import TRUTHS
from benchmarks.planted.rank import standing
from SegExplainLib.contract import GRADIENT_METHODS, PATH_METHODS

REMOVALS = ("local-mean", "air", "mean", "blur")
SHAPLEY_METHODS = ("adjusted-shap", "kernel-shap", "leverage-shap", "permutation")
EXACT_ORGANS = ("liver", "spleen", "spine")
"""Beside inserts and rest of body: few enough for every coalition."""
HYBRID_MM = 90.0
"""Lattice edge: pieces of about 180 voxels of 10 mm."""
BUDGETS = {
    "integrated-gradients": 48,
    "xrai": 48,
    "expected-gradients": 100,
    "smoothgrad": 32,
    "smoothgrad-squared": 32,
    "vargrad": 32,
}
"""Gradients; Shapley methods get the library's own number of coalitions, and stop at its tolerance."""
LATE_CAM, LATE_LAYER = "seg-grad-cam, late layer", "both"
"""Seg-Grad-CAM looks at the coarsest features by itself, where metal still has a place; here at those of the label."""
NONE = "–"
HYBRID = (
    *((method, removal) for method in ("adjusted-shap", "kernel-shap") for removal in ("local-mean", "air")),
    *((method, removal) for method in ("integrated-gradients", "xrai") for removal in ("local-mean", "air")),
    *((method, NONE) for method in (*GRADIENT_METHODS, LATE_CAM) if method not in PATH_METHODS),
)


def questions(units: str) -> Iterator[tuple[str, str]]:
    """(method, removal), by removal, so that methods share what is evaluated."""
    if units == "few":
        yield from (("exact", removal) for removal in REMOVALS)
    elif units == "hybrid":
        yield from HYBRID
    else:
        for removal in REMOVALS:
            yield from ((method, removal) for method in (*SHAPLEY_METHODS, *PATH_METHODS))
        yield from ((method, NONE) for method in (*GRADIENT_METHODS, LATE_CAM) if method not in PATH_METHODS)


def answered(truth: str, seed: int, units: str, *, methods: Sequence[str]) -> Iterator[dict]:
    """One row for each answer about one torso; of some methods, or of all where none is named."""
    asked = [(method, removal) for method, removal in questions(units) if not methods or method in methods]
    with tempfile.TemporaryDirectory() as folder:
        case = write_case(Path(folder), truth, seed, kept_organs=EXACT_ORGANS if units == "few" else ())
        asker = Asker(case)
        for method, removal in asked:
            begin = time.perf_counter()
            answer = asker.answer(
                method.partition(",")[0],
                value=SMOOTH[truth],
                removal=REMOVALS[0] if removal == NONE else removal,
                units="organs" if units == "few" else units,
                unit_mm=HYBRID_MM,
                budget=BUDGETS.get(method, 0),
                layer=LATE_LAYER if method == LATE_CAM else "",
            )
            found = standing(answer, cause=case.torso.cause, labelled=case.torso.labelled)
            about = {"truth": truth, "seed": seed, "units": units, "method": method, "removal": removal}
            yield about | asdict(found) | {"seconds": round(time.perf_counter() - begin, 2)}


def table(rows: Sequence[dict]) -> str:
    """Markdown: a line for each method and removal, and four columns for each truth."""
    lines = [
        "| method | removal | " + " | ".join(f"{t}: rank (worst) | first | of others | of all" for t in TRUTHS) + " |",
        "|---|---|" + "---|" * 4 * len(TRUTHS),
    ]
    for method, removal in dict.fromkeys((row["method"], row["removal"]) for row in rows):
        cells = [method, removal]
        for truth in TRUTHS:
            own = [r for r in rows if (r["method"], r["removal"], r["truth"]) == (method, removal, truth)]
            cells += _cells(own) if own else [NONE] * 4
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(rows: Sequence[dict]) -> list[str]:
    ranks = [row["rank"] for row in rows]
    share, credit = (median(row[name] for row in rows) for name in ("share", "credit"))
    n_first = sum(rank == 1 for rank in ranks)
    return [f"{median(ranks):g} ({max(ranks)})", f"{n_first}/{len(ranks)}", f"{share:.1%}", f"{credit:.1%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5, help="torsos for each truth")
    parser.add_argument("--units", nargs="+", choices=("few", "organs", "hybrid"), default=["few", "organs", "hybrid"])
    parser.add_argument("--methods", nargs="*", default=[], help="all where none is named")
    parser.add_argument("--out", type=Path, default=Path("planted_truth"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict]] = {units: [] for units in options.units}
    with (options.out / "answers.jsonl").open("w") as file:
        for units in options.units:
            for seed in range(options.cases):
                for truth in TRUTHS:
                    for row in answered(truth, seed, units, methods=options.methods):
                        rows[units].append(row)
                        file.write(json.dumps(row) + "\n")
                        file.flush()
    for units, answers in rows.items():
        if not answers:
            continue
        n_units = sorted({row["n_units"] for row in answers})
        print(f"\nUnits: {units}, {n_units[0]} to {n_units[-1]} ranked\n\n{table(answers)}")


if __name__ == "__main__":
    main()
