"""The live view of a search on stderr: a calm panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nxt.search.request import UNLIMITED
from nxt.units import format_count, format_seconds

from . import render

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.status import Status

    from nxt.search.entries import Entry
    from nxt.search.run import Search
    from nxt.search.trial import Trial


class Progress:
    """Follows a search."""

    def __init__(self) -> None:
        self.console = render.err()
        self._started = time.monotonic()
        self._search: Search
        self._drawn, self._lines = 0.0, [""]
        self._status: Status | None = None

    def begin(self, search: Search, workers: int) -> None:
        """Say what is about to run."""
        self._search = search
        if self._status is not None:
            self._status.stop()
        request = search.request
        fit = f"{request.space.size:,} architectures"
        if search.feasible is not None:
            fit = f"{len(search.feasible):,} of {fit} fit, {request.budget} (conv + linear MACs)"
        self.console.print(f"space {request.space.name}: {fit}")
        many = "as many trials as the hours allow" if request.trials == UNLIMITED else f"{request.trials} trials"
        epochs = f" of up to {request.proxy.epochs} epochs, {workers} at a time, into {search.out}"
        self.console.print(f"{many}{epochs}", soft_wrap=True)

    def ended(self, trial: Trial) -> None:
        """Tell about a trial that has ended."""
        reached = f" {render.percent(trial.accuracy)}" if trial.curve else ""
        role = f" ({trial.role} reference)" if trial.role else ""
        again = f" with fresh seed {trial.repeat}" if trial.repeat else ""
        notes = [trial.message, trial.remark, trial.replayed and f"taken from {trial.replayed}"]
        message = "".join(f" {note}" for note in notes if note)
        line = f"{self._head()} trial {trial.number} {trial.outcome}{again}{reached}{message}: {trial.spec.name}{role}"
        self.console.print(line, soft_wrap=True)

    def update(self) -> None:
        """Bring the panel up to date, twice a second at most; the terminal's own thread only shows it."""
        if self.console.is_terminal and time.monotonic() - self._drawn > 0.5:
            self._drawn, self._lines = time.monotonic(), self._panel()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Show on a terminal that something is being prepared, until `begin`."""
        if self.console.is_terminal:
            self._status = self.console.status("reading the data and starting Ray")
            self._status.start()
        try:
            yield
        finally:
            if self._status is not None:
                self._status.stop()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the view for the time of the block."""
        self._started = time.monotonic()
        if not self.console.is_terminal:
            yield
            return
        from rich.live import Live

        with Live(get_renderable=self._text, console=self.console, refresh_per_second=2, transient=True):
            yield

    def _text(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        gone = f"{format_seconds(time.monotonic() - self._started)} gone"
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in (*self._lines, gone)))

    def _head(self) -> str:
        trials = self._search.strategy.study.trials.values()
        ended = sum(trial.outcome != "running" for trial in trials)
        left = sum(self._search.strategy.agenda.left(trials))
        count = f"{ended}" if self._search.request.trials == UNLIMITED else f"{ended}/{len(trials) + left}"
        seconds = self._search.pace.left(self._search.strategy.agenda)
        return f"[{count}]" if not seconds else f"[{count}, about {format_seconds(seconds)} left]"

    def _panel(self) -> list[str]:
        from nxt.search.entries import best_of, ranked

        trials = list(self._search.strategy.study.trials.values())
        counts = {state: sum(t.outcome == state for t in trials) for state in ("done", "running", "stopped")}
        counts["failed"] = sum(t.outcome.failed for t in trials)
        lines = [f"{self._head()} " + ", ".join(f"{number} {state}" for state, number in counts.items())]
        entries = ranked(trials)
        best, reference = best_of(entries), best_of([entry for entry in entries if entry.role])
        if best:
            lines.append(f"best       {_summary(best)}")
        if reference:
            lines.append(f"reference  {_summary(reference)}")
        for trial in trials:
            if trial.outcome == "running":
                reached = f", {render.percent(trial.accuracy)}" if trial.curve else ""
                epochs = f"epoch {len(trial.curve)}/{self._search.request.proxy.epochs}{reached}"
                lines.append(f"running    {trial.spec.name}  {epochs}")
        return lines


def _summary(entry: Entry) -> str:
    macs, params = format_count(entry.cost.macs), format_count(entry.cost.params)
    return f"{render.percent(entry.accuracy)}  {entry.spec.name}  {macs} MACs, {params} params"
