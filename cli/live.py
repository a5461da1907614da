"""The live view of a search on stderr: a calm panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nxt.units import format_count, format_seconds

from . import render

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.status import Status

    from nxt.search.run import Search
    from nxt.search.strategy import Strategy
    from nxt.search.trial import Trial


class Progress:
    """Follows a search. `update` is called on every change, and is cheap."""

    def __init__(self, job: Search) -> None:
        self.job = job
        self.console = render.err()
        self._started = time.monotonic()
        self._told: set[int] = set()
        self._strategy: Strategy | None = None
        self._status: Status | None = None

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text)

    def begin(self, strategy: Strategy, workers: int) -> None:
        """Note what is about to run; trials that had ended before are not told again."""
        self._strategy = strategy
        self._told = {t.number for t in strategy.study.trials.values() if t.outcome != "running"}
        self._before = len(self._told)
        if self._status is not None:
            self._status.stop()
        request = self.job.request
        fit = f"{len(self.job.feasible):,} of {request.space.size:,} architectures fit"
        self.say(f"space {request.space.name}: {fit}, {request.budget} (conv + linear MACs)")
        epochs = request.proxy.epochs
        self.say(f"{strategy.trials} trials of up to {epochs} epochs, {workers} at a time, into {self.job.out}")

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

        with Live(get_renderable=self._panel, console=self.console, refresh_per_second=2, transient=True):
            yield

    def update(self) -> None:
        """Tell about trials that have ended since the last call, and drop their checkpoints."""
        assert self._strategy is not None
        for trial in list(self._strategy.study.trials.values()):
            if trial.outcome != "running" and trial.number not in self._told:
                self._told.add(trial.number)
                self.say(self._line(trial))
                self.job.clean(trial)

    def _line(self, trial: Trial) -> str:
        reached = render.percent(trial.accuracy) if trial.curve else ""
        role = f" ({trial.role} reference)" if trial.role else ""
        message = f" {trial.message}" if trial.message else ""
        return f"{self._ended()} trial {trial.number} {trial.outcome} {reached}{message}: {trial.spec.name}{role}"

    def _ended(self) -> str:
        assert self._strategy is not None
        return f"[{len(self._told)}/{self._strategy.trials}]"

    def _panel(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from nxt.search.results import ranked

        strategy = self._strategy
        assert strategy is not None
        trials = list(strategy.study.trials.values())
        counts = {state: sum(t.outcome == state for t in trials) for state in ("done", "running", "stopped")}
        counts["failed"] = sum(t.outcome.failed for t in trials)
        head = ", ".join(f"{number} {state}" for state, number in counts.items())
        lines = [f"{self._ended()} {head}; {format_seconds(time.monotonic() - self._started)} gone{self._eta(trials)}"]
        best = ranked(trials)
        reference = next((t for t in best if t.role), None)
        if best:
            lines.append(f"best       {self._summary(best[0])}")
        if reference:
            lines.append(f"reference  {self._summary(reference)}")
        for trial in trials:
            if trial.outcome == "running":
                reached = f", {render.percent(trial.accuracy)}" if trial.curve else ""
                epochs = f"epoch {len(trial.curve)}/{strategy.epochs}{reached}"
                lines.append(f"running    {trial.spec.name}  {epochs}")
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

    def _summary(self, trial: Trial) -> str:
        macs, params = format_count(trial.cost.macs), format_count(trial.cost.params)
        return f"{render.percent(trial.accuracy)}  {trial.spec.name}  {macs} MACs, {params} params"

    def _eta(self, trials: list[Trial]) -> str:
        """Estimate the time left from the mean length of the trials that ended here."""
        assert self._strategy is not None
        fresh = len(self._told) - self._before
        if fresh < 2:
            return ""
        left = self._strategy.trials - len(self._told)
        return f", about {format_seconds((time.monotonic() - self._started) / fresh * left)} left"
