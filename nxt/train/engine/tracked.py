"""A training whose epochs are told to a tracker as they end."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nxt.config import to_mapping
from nxt.tracking.sender import Sender
from nxt.train.engine.session import Position, Watcher
from nxt.train.engine.trainer import EpochReport
from nxt.train.history import accuracy_of, flat, load_history


@contextmanager
def tracked(watcher: Watcher, out: Path, tracker: str | None) -> Iterator[Watcher]:
    """Gives a watcher that does what the given one does; with the name of a tracker, that hears of the epochs, too."""
    if tracker is None:
        yield watcher
        return
    sender: Sender | None = None

    def catch_up() -> Sender:
        nonlocal sender
        history = load_history(out)
        sender = sender or Sender(tracker, out, out.resolve().name, history.record)
        for row in history.rows:
            sender.epoch({key: value for key, value in flat(row).items() if key != "time"})
        return sender

    def begin(position: Position) -> None:
        watcher.begin(position)
        catch_up()

    def epoch(report: EpochReport) -> None:
        watcher.epoch(report)
        if sender is not None:
            sender.epoch(flat(to_mapping(report)))

    try:
        yield dataclasses.replace(watcher, begin=begin, epoch=epoch)
    finally:
        if sender is not None:
            history = load_history(out)
            best = history.best
            summary = {} if best is None else {"best": {"accuracy": accuracy_of(best), "epoch": best["epoch"]}}
            catch_up().end(summary, history.state == "ended")
