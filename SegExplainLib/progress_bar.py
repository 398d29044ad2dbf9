"""Events drawn on a terminal: one line for each stage, a bar with tiles done, time left and the current error."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from SegExplainLib.contract import Event

STEPS = {"evaluate coalitions": "coalitions", "take gradients": "gradients of a tile"}
"""What is counted in a stage that runs the network."""


class ProgressBar:
    """A listener for ``progress.Progress`` that draws with rich; use it in a ``with`` block."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("[bold]{task.description:<22}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
        )
        self._task_of: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish_all()
        self._bars.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Draws one event."""
        match event.event:
            case "stage":
                self._finish_all()
                self._task_of[event.stage] = self._bars.add_task(event.stage, total=None, detail="")
            case "progress" if event.stage in self._task_of:
                task = self._task_of[event.stage]
                self._bars.update(
                    task,  # type: ignore[arg-type]
                    total=event.total or None,
                    completed=event.done,
                    detail=self._detail(event) or self._bars.tasks[task].fields["detail"],
                )
            case "warning":
                self._bars.console.print(f"[yellow]Warning:[/] {escape(event.message)}", soft_wrap=True)

    def _finish_all(self) -> None:
        for task in self._bars.tasks:
            if task.total is None:
                self._bars.update(task.id, total=1, completed=1)
            self._bars.stop_task(task.id)

    @staticmethod
    def _detail(event: Event) -> str:
        parts = []
        if event.tiles:
            steps = STEPS.get(event.stage, "steps")
            parts.append(f"{event.done} {steps}, {event.tiles} tiles")
        if event.left_s is not None:
            parts.append(f"{_clock(event.left_s)} left")
        if event.tiles and event.error is not None:
            parts.append(f"error {100 * event.error:.1f} %")
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
