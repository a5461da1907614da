"""The progress of a training as one bar, on terminals and in notebooks: what `nxt.train` shows by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nxt.train.engine.session import Position, Watcher
from nxt.train.engine.trainer import EpochReport
from nxt.train.history import judged_on


@contextmanager
def train_bar(callback: Callable[[EpochReport], None] | None = None) -> Iterator[Watcher]:
    """Shows a bar for the time of a block and gives the watcher that moves it.

    Args:
        callback: Is called with the report of each epoch.
    """
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("preparing", total=None)

        def reading(done: int, total: int) -> None:
            progress.update(task, description="reading images", completed=done, total=total)

        def move(position: Position) -> None:
            epoch = min(position.epoch + 1, position.epochs)
            progress.update(
                task, description=f"epoch {epoch} of {position.epochs}", completed=position.done, total=position.total
            )

        def ended(report: EpochReport) -> None:
            progress.console.print(f"epoch {report.epoch}: {report.best:.1%} on {judged_on({'split': report.split})}")
            if callback is not None:
                callback(report)

        yield Watcher(note=progress.console.print, reading=reading, begin=move, step=move, epoch=ended)
