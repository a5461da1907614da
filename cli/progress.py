"""A training on stderr: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from nxt.units import format_seconds

from . import render

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from nxt.train.loop import EpochReport
    from nxt.train.training import Position

_QUIET = 600.0  # seconds inside an epoch after which a log file gets a line
_READING = 10.0  # seconds between two lines about images that are read beforehand
_WAITS = 0.05  # share of the time that may go by waiting for images


class TrainProgress:
    """Follows a training; see `nxt.train.training.Watcher`."""

    def __init__(self) -> None:
        self.console = render.err()
        self._bar: Progress | None = None
        self._task: TaskID
        self._began = self._told = time.monotonic()
        self._first: Position  # where it began this time
        self._now: Position

    def __enter__(self) -> TrainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, position: Position) -> None:
        """Note that the training begins."""
        self._began = self._told = time.monotonic()
        self._first = self._now = position
        if not self.console.is_terminal:
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[rest]}"), console=self.console, transient=True)
            self._task = self._bar.add_task("", total=position.total, rest="")
            self._bar.start()
        self.step(position)

    def note(self, text: str) -> None:
        """Say what a person should know."""
        self.console.print(text, soft_wrap=True)

    def reading(self, done: int, total: int) -> None:
        """Tell now and then how many images have been read beforehand."""
        if time.monotonic() - self._told > _READING:
            self._say(f"read {done:,} of {total:,} images")

    def step(self, position: Position) -> None:
        """Bring the bar up to date."""
        self._now = position
        if self._bar is not None:
            rest = f"{self._rate():.0f} images/s, {self._left()} left"
            head = f"epoch {min(position.epoch + 1, position.epochs)}/{position.epochs}"
            self._bar.update(self._task, completed=position.done, description=head, rest=rest)
        elif time.monotonic() - self._told > _QUIET:
            share = position.step / position.steps
            self._say(f"epoch {position.epoch + 1}/{position.epochs}, {share:.0%} of it  about {self._left()} left")

    def epoch(self, report: EpochReport) -> None:
        """Tell about an epoch that has ended."""
        self._now = dataclasses.replace(self._now, epoch=report.epoch, step=0)
        ema = "" if report.ema_accuracy is None else f"  averaged {render.percent(report.ema_accuracy)}"
        waits = f", {report.wait:.0%} of the time waiting for images" if report.wait > _WAITS else ""
        val = f"val {render.percent(report.accuracy)}{ema}"
        self._say(
            f"epoch {report.epoch}/{self._now.epochs}  loss {report.loss:.3f}  {val}"
            f"  {report.images_per_second:.0f} images/s{waits}  about {self._left()} left"
        )

    def _say(self, line: str) -> None:
        self._told = time.monotonic()
        self.console.print(line, soft_wrap=True)

    def _rate(self) -> float:
        """Images a second since the training went on, with everything that goes on between the steps."""
        images = (self._now.done - self._first.done) * self._now.batch
        return images / max(1e-9, time.monotonic() - self._began)

    def _left(self) -> str:
        trained = self._now.done - self._first.done
        if not trained:
            return "?"
        return format_seconds((time.monotonic() - self._began) / trained * (self._now.total - self._now.done))
