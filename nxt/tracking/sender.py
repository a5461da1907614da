"""Tells a tracker of a run from a thread beside it, so that the run never waits for a server, nor fails with one."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import textwrap
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

from nxt.config import flat
from nxt.errors import RunError, UsageError, first_line
from nxt.files import is_file, write_text

TRACKERS = {
    "mlflow": "nxt.tracking.mlflow_tracker:MlflowTracker",
    "wandb": "nxt.tracking.wandb_tracker:WandbTracker",
    "trackio": "nxt.tracking.trackio_tracker:TrackioTracker",
}  # by the name of the package
PROJECT = "nxt"  # in a tracker, unless its own variables name another one
PATIENCE = 30.0  # seconds that the end of a run waits for what is still to be sent


@dataclass(frozen=True)
class Entry:
    """A run, or a trial of it. `key` stays the same however often it is sent; `params` are flat."""

    key: str
    name: str
    params: Mapping[str, Any]


class Tracker(Protocol):
    """Tells a tracking library of a run. Any method may raise, and is then called again: that must not count twice."""

    def begin(self, run: Entry) -> None:
        """Opens the run, new or again."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Adds the metrics of an epoch to the run; `row["epoch"]` counts from 1."""

    def trial(self, trial: Entry, rows: Sequence[Mapping[str, Any]], done: bool) -> None:
        """Adds a trial that has ended below the run, with its epochs; not `done`: it was stopped or failed."""

    def end(self, summary: Mapping[str, Any], done: bool) -> None:
        """Closes the run; not `done`: it may go on."""


def check_tracker(name: str | None) -> None:
    """Raises UsageError if there is no such tracker, and RunError if its package is not installed. None is none."""
    if name is None:
        return
    if name not in TRACKERS:
        raise UsageError(f"`track` {name!r}: choose mlflow, wandb or trackio")
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:  # a folder wandb/ with offline runs would be found, too
        raise RunError(f"`track` {name}: the package is not installed; pip install {name}")


class Sender:
    """Sends in order what a run reports. What fails is tried again with whatever comes next, and at the end.

    What has been sent is noted in the run directory, so that a run that goes on after a kill is not sent twice.

    Args:
        tracker: A name in `TRACKERS`.
        folder: The run directory.
        name: The run's name.
        params: What was asked for.
    """

    def __init__(self, tracker: str, folder: Path, name: str, params: Mapping[str, Any]) -> None:
        self._name, self._ledger = tracker, folder / f"tracked-{tracker}.json"
        self._noted = {"key": uuid.uuid4().hex[:16], "sent": []} | self._read()
        self._known = set(self._noted["sent"])
        self._run = Entry(self._noted["key"], name, flat(params))
        self._tracker: Tracker | None = None
        self._queue: SimpleQueue[tuple[int, Callable[[Tracker], None]] | None] = SimpleQueue()
        self._told = False
        self._thread = Thread(target=self._work, name=f"tracking with {tracker}", daemon=True)
        self._thread.start()

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Sends the metrics of an epoch, unless they have been sent."""
        self._put(int(row["epoch"]), lambda tracker: tracker.epoch(row))

    def trial(
        self, number: int, name: str, params: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], done: bool
    ) -> None:
        """Sends a trial that has ended, unless it has been sent."""
        entry = Entry(f"{self._run.key}-{number}", name, flat(params))
        self._put(number, lambda tracker: tracker.trial(entry, rows, done))

    def end(self, summary: Mapping[str, Any], done: bool) -> None:
        """Sends what is left and the summary; waits for it, but not for long."""
        self._queue.put((-1, lambda tracker: tracker.end(flat(summary), done)))
        self._queue.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._say("it does not answer")

    def _put(self, number: int, send: Callable[[Tracker], None]) -> None:
        if number not in self._known:
            self._known.add(number)
            self._queue.put((number, send))

    def _work(self) -> None:
        waiting: list[tuple[int, Callable[[Tracker], None]]] = []
        while (task := self._queue.get()) is not None:
            waiting.append(task)
            try:
                while waiting:
                    number, send = waiting[0]
                    send(self._open())
                    self._note(number)
                    waiting.pop(0)
            except Exception as error:  # of any library; the run has to go on
                self._say(first_line(error))

    def _open(self) -> Tracker:
        if self._tracker is None:
            module, _, kind = TRACKERS[self._name].partition(":")
            tracker: Tracker = getattr(importlib.import_module(module), kind)()
            write_text(self._ledger, json.dumps(self._noted))  # the key, before anything carries it
            tracker.begin(self._run)
            self._tracker = tracker
        return self._tracker

    def _note(self, number: int) -> None:
        if number >= 0:
            self._noted["sent"].append(number)
            write_text(self._ledger, json.dumps(self._noted))

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._ledger.read_text("utf-8"))) if is_file(self._ledger) else {}
        except (OSError, ValueError):
            return {}  # as if nothing had been sent

    def _say(self, problem: str) -> None:
        """Tells of the first problem, on a line."""
        if not self._told:
            self._told = True
            problem = textwrap.shorten(problem.rstrip("."), 160, placeholder=" ...")
            later = "what is missing is sent when it answers, or when the run is resumed"
            sys.stderr.write(f"note: {self._name}: {problem}; the run goes on, and {later}\n")
