"""What the command line prints: progress and errors while it works, answers and tables when it has done."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from SegExplainLib.contract import Cancelled, SegExplainError
from SegExplainLib.progress import Progress
from SegExplainLib.progress_bar import ProgressBar

if TYPE_CHECKING:  # they bring numpy, and more: too much for --help
    from SegExplainLib.comparison import Comparison
    from SegExplainLib.evaluation.scorecard import Evaluation

CANCELLED_EXIT = 130
MOST_ROWS = 12
LEAST_LABEL = 16
"""Columns of the terminal."""


@contextmanager
def told() -> Iterator[Progress]:
    """Progress on the terminal, Ctrl-C as a wish to stop, and every expected error as one sentence and exit code 1."""
    errors = Console(stderr=True)
    with ProgressBar(errors) as bar:
        progress = Progress(bar)
        previous = signal.getsignal(signal.SIGINT)

        def stop(_number: int, _frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, previous)  # a second Ctrl-C ends at once
            progress.cancel()

        signal.signal(signal.SIGINT, stop)
        failure: SegExplainError | None = None
        try:
            yield progress
        except SegExplainError as error:
            failure = error
        finally:
            signal.signal(signal.SIGINT, previous)
    if failure is not None:
        label = "Stopped" if isinstance(failure, Cancelled) else "Error"
        while_ = f" [dim](while: {escape(failure.stage)})[/]" if failure.stage else ""
        errors.print(f"[bold red]{label}:[/] {escape(failure.message)}{while_}", soft_wrap=True)
        if failure.hint:
            errors.print(escape(failure.hint), soft_wrap=True)
        sys.exit(CANCELLED_EXIT if isinstance(failure, Cancelled) else 1)


def tell_answer(answer: list[str], out: Path) -> None:
    """The sentences that open a report, and where it lies."""
    console = Console()
    console.print()
    for sentence in answer:
        console.print(escape(sentence))
    console.print(f"\nReport: [bold]{escape(str((out / 'report.html').resolve()))}[/]", soft_wrap=True)


def tell_comparison(comparison: "Comparison", out: Path) -> None:
    """Several answers side by side: the units of largest shares."""
    table = Table("unit", *comparison.columns, title="Share of each answer's sum of absolute values")
    shares = comparison.shares
    for row in abs(shares).max(axis=1).argsort()[::-1][:MOST_ROWS]:
        table.add_row(escape(comparison.units[row]), *(f"{share:+.1%}" for share in shares[row]))
    Console().print(table)
    Console().print(f"All {len(comparison.units)} units: {escape(str(out))}", soft_wrap=True)


def tell_evaluation(evaluation: "Evaluation", out: Path) -> None:
    """The main numbers, why some are missing, and the sentences."""
    from SegExplainLib.report.evaluation_table import main_table, undefined_reasons
    from SegExplainLib.report.evaluation_words import evaluation_sentences

    headings, rows = main_table(evaluation)
    table = Table(*map(escape, headings), title="Main numbers; ↑ higher is better, ↓ lower; all in evaluation.csv")
    for row in rows:
        table.add_row(*map(escape, row))
    table.columns[0].min_width = LEAST_LABEL
    for number, column in enumerate(table.columns[1:], start=1):  # a name may take two lines, no number loses its end
        column.min_width, column.justify = max(len(row[number]) for row in rows), "right"
        column.overflow = "fold"
    console = Console()
    console.print(table)
    for reason in undefined_reasons(evaluation):
        console.print(f"[dim]Without a value: {escape(reason)}[/]")
    for sentence in evaluation_sentences(evaluation):
        console.print(f"- {escape(sentence)}")
    console.print(f"\nWritten: [bold]{escape(str(out))}[/]", soft_wrap=True)
