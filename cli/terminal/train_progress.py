"""Shows the progress of a training on stderr: a line for each epoch, and on a terminal a progress line below."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from nxt.units import format_seconds

from . import live_region, tables

if TYPE_CHECKING:
    from rich.text import Text

    from nxt.train.engine.session import Position
    from nxt.train.engine.trainer import EpochReport

_QUIET = 600.0  # seconds between two lines in a log file inside an epoch
_READING = 10.0  # seconds between two lines in a log file while images are read beforehand
_WAITS = 0.05  # share of the time; less waiting for images is not mentioned
_BAR = 16  # columns


class TrainProgress:
    """Shows the progress of a training; see `nxt.train.engine.session.Watcher`."""

    def __init__(self) -> None:
        self.console = tables.err()
        self._moves = live_region.moves(self.console)
        self._shown, self._drawing = ExitStack(), False
        self._began = self._printed = time.monotonic()
        self._reads = ""  # progress of reading images before the training begins
        self._first: Position | None = None  # where this session began
        self._now: Position
        self._last: EpochReport | None = None

    def __enter__(self) -> TrainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def begin(self, position: Position) -> None:
        """Stores the position at which the training begins."""
        self._began = self._printed = time.monotonic()
        self._first = self._now = position
        if position.done:
            inside = f"in epoch {position.epoch + 1}, after step {position.step} of {position.steps}"
            if position.step == position.steps:
                inside = f"with the evaluation of epoch {position.epoch + 1}"
            self.note(f"going on {inside if position.step else f'after epoch {position.epoch}'}")
        self._show()

    def note(self, text: str) -> None:
        """Prints a remark."""
        self.console.print(text, soft_wrap=not self._moves)

    def reading(self, done: int, total: int) -> None:
        """Shows how many images have been read before the training begins; in a log file, every ten seconds."""
        self._reads = f"read {done:,} of {total:,} images"
        self._show()
        if not self._moves and time.monotonic() - self._printed > _READING:
            self._say(self._reads)

    def step(self, position: Position) -> None:
        """Stores the position of the training; in a log file, prints it every ten minutes."""
        self._now = position
        if not self._moves and time.monotonic() - self._printed > _QUIET:
            share = position.step / position.steps
            self._say(f"epoch {position.epoch + 1}/{position.epochs}, {share:.0%} of it{self._about()}")

    def epoch(self, report: EpochReport) -> None:
        """Prints the results of an epoch."""
        self._now = dataclasses.replace(self._now, epoch=report.epoch, step=0)
        self._last = report
        left = "" if self._moves else self._about()  # the progress line shows it
        self._say(f"{self._line(report)}{left}")

    def _line(self, report: EpochReport) -> str:
        ema = "" if report.ema_accuracy is None else f"  averaged {tables.percent(report.ema_accuracy)}"
        waits = f", {report.wait:.0%} of the time waiting for images" if report.wait > _WAITS else ""
        measure = next(iter(report.measures), "accuracy")
        of = report.split if measure == "accuracy" else f"{report.split} {measure}"
        val = f"{of} {tables.percent(report.accuracy)}{ema}"
        trained = report.images_per_second > 0  # not so if only the evaluation was left to do
        speed = f"  {report.images_per_second:.0f} images/s{waits}" if trained else ""
        return f"epoch {report.epoch}/{self._now.epochs}  loss {report.loss:.3f}  {val}{speed}"

    def _say(self, line: str) -> None:
        self._printed = time.monotonic()
        self.console.print(line, soft_wrap=not self._moves)

    def _show(self) -> None:
        """Shows the progress line from now on, on a terminal."""
        if self._moves and not self._drawing:
            self._drawing = True
            self._shown.enter_context(live_region.line(self.console, self._draw))

    def _draw(self, width: int, height: int) -> list[Text]:
        from rich.text import Text

        if self._first is None:
            return [Text(self._reads)]
        return [line_of(self._now, self._last, self._rate(), self._left(), width)]

    def _rate(self) -> float:
        """Returns images a second since this session began, including the time between the steps."""
        images = (self._now.done - self._first.done) * self._now.batch if self._first else 0
        return images / max(1e-9, time.monotonic() - self._began)

    def _left(self) -> str:
        """Returns the time left; empty while nothing tells."""
        trained = self._now.done - self._first.done if self._first else 0
        if not trained:
            return ""
        seconds = (time.monotonic() - self._began) / trained * (self._now.total - self._now.done)
        return format_seconds(seconds)

    def _about(self) -> str:
        left = self._left()
        return f"  about {left} left" if left else ""


def line_of(position: Position, report: EpochReport | None, rate: float, left: str, width: int) -> Text:
    """Returns the progress of a training as one line of at most `width` columns; leaves out parts that do not fit.

    Args:
        position: Epoch and step of the training.
        report: Results of the last epoch; None before the first has ended.
        rate: Images a second.
        left: The time left; empty where it is not known.
        width: Columns.
    """
    from rich.text import Text

    share = position.done / max(1, position.total)
    epoch = f"epoch {min(position.epoch + 1, position.epochs)}/{position.epochs}"
    parts = {"epoch": epoch, "bar": " " * _BAR, "share": f"{share:.0%}"}
    if report is not None:
        parts |= {"loss": f"loss {report.loss:.3f}", "val": f"{report.split} {report.best:.1%}"}
    parts |= {"rate": f"{rate:,.0f} images/s", "left": f"{left} left" if left else ""}
    if report is not None and report.wait > _WAITS:
        parts["wait"] = f"waits {report.wait:.0%}"
    for spare in ("bar", "loss", "rate", "wait", "share", "val"):
        if sum(map(len, parts.values())) + 2 * (len(parts) - 1) <= width:
            break
        parts.pop(spare, None)
    texts = [tables.bar(share, _BAR) if name == "bar" else Text(text) for name, text in parts.items()]
    line = Text("  ").join(texts)
    line.truncate(width)
    return line
