"""The progress of a search on stderr: a calm view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from nxt.files import place
from nxt.search.request import UNLIMITED
from nxt.units import format_seconds

from ..commands import standing
from . import live_region as calm
from . import search_view as view
from . import tables as render

if TYPE_CHECKING:
    from rich.text import Text

    from nxt.search.engine.search import Search
    from nxt.search.results.run import Run
    from nxt.search.trial import Trial

_FRESH = 0.4  # seconds between two looks at the trials


class Progress:
    """Follows a search; see `nxt.search.engine.execute.Observer`."""

    def __init__(self) -> None:
        self.console = render.err()
        self._moves = calm.moves(self.console)
        self._began = time.monotonic()
        self.begun = False  # whether there was anything to do
        self._search: Search
        self._record: dict[str, Any]
        self._run: Run  # as of the trial that ended last
        self._before = (0, 0)  # trials that had ended before this session, and epochs trained
        self._looked, self._latest = 0.0, ""
        self._view: view.View
        self._prepares = ExitStack()
        self._heeds = self._stopping = False  # Ctrl-C

    def begin(self, search: Search, workers: int) -> None:
        """Say what is about to run."""
        self._search, self.begun = search, True
        self._prepares.close()
        request = search.request
        fit = f"{request.space.size:,} architectures"
        if search.feasible is not None:
            fit = f"{len(search.feasible):,} of {fit} fit, {request.budget} (conv + linear MACs)"
        self.console.print(f"space {request.space.name}: {fit}")
        many = "as many trials as the hours allow" if request.trials == UNLIMITED else f"{request.trials} trials"
        epochs = f" of up to {request.proxy.epochs} epochs, {workers} at a time, into {place(search.out)}"
        self.console.print(f"{many}{epochs}", soft_wrap=not self._moves)
        known = search.strategy.study.trials.values()
        if known:
            self.console.print(f"going on: {standing.tally(known, 'cut off')}", soft_wrap=not self._moves)
        if self._moves:
            from nxt.search.results.run import read_record

            self._record, self._before = read_record(search.out), self._reached()
            self._run = self._snapshot()
            self._look()

    def ended(self, trial: Trial) -> None:
        """Tell about a trial that has ended."""
        self._latest = view.told(trial)
        if self._moves:
            self._run = self._snapshot()
        else:
            self.console.print(f"{self._head()} {self._latest}", soft_wrap=True)

    def update(self) -> None:
        """Look at the trials, now and then; the terminal's own thread draws what was seen."""
        self._heed_interrupts()
        if self._moves and time.monotonic() - self._looked > _FRESH:
            self._look()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Show on a terminal that something is being prepared, until `begin`."""
        with self._prepares:
            if self._moves:
                self._prepares.enter_context(calm.line(self.console, self._preparing))
            yield

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the view for the time of the block."""
        self._began = time.monotonic()
        if not self._moves:
            yield
            return
        resume = standing.resume_command(self._run)
        with calm.screen(self._draw, f"nxt: killed. Go on with: {resume}"):
            yield

    def _preparing(self, width: int, height: int) -> list[Text]:
        from rich.text import Text

        return [Text(f"reading the data and starting Ray, {format_seconds(time.monotonic() - self._began)} gone")]

    def _draw(self, width: int, height: int) -> list[Text]:
        now, seen = time.monotonic(), self._view
        left = seen.left and max(1.0, seen.left - (now - self._looked))
        if self._stopping:
            seen, left = dataclasses.replace(seen, phase="stopping; all epochs so far are recorded"), None
        return view.lines_of(dataclasses.replace(seen, gone=now - self._began, left=left), width, height)

    def _heed_interrupts(self) -> None:
        """Note when Ctrl-C is pressed, before Ray does what it does then: that takes a few seconds."""
        if self._heeds:
            return
        self._heeds, others = True, signal.getsignal(signal.SIGINT)

        def stop(number: int, frame: FrameType | None) -> None:
            self._stopping = True
            if callable(others):
                others(number, frame)

        signal.signal(signal.SIGINT, stop)

    def _snapshot(self) -> Run:
        from nxt.search.results.run import Run

        return Run(self._search.out, self._record, list(self._search.strategy.study.trials.values()))

    def _look(self) -> None:
        """Note how the search stands."""
        self._looked = time.monotonic()
        search, trials = self._search, list(self._search.strategy.study.trials.values())
        ended, epochs = self._reached()
        left, unlimited = search.strategy.agenda.left(trials), search.request.trials == UNLIMITED
        gone = time.monotonic() - self._began
        phase = standing.phase_of(trials, 0 if unlimited else left[0], standing.is_list(self._run))
        self._view = view.View(
            run=self._run,
            running=[trial for trial in trials if trial.outcome == "running"],
            phase=phase,
            ended=ended,
            total=None if unlimited else len(trials) + sum(left),
            later=left[1] if phase == "exploring" else 0,
            gone=gone,
            left=search.pace.left(search.strategy.agenda),
            tally=standing.tally(trials) if trials else "the workers are starting",
            speed=self._speed(ended - self._before[0], epochs - self._before[1], gone),
            latest=self._latest,
        )

    def _reached(self) -> tuple[int, int]:
        """Return how many trials have ended, and how many epochs have been trained, not taken from another run."""
        trials = self._search.strategy.study.trials.values()
        ended = sum(trial.outcome != "running" for trial in trials)
        return ended, sum(len(trial.curve) for trial in trials if not trial.replayed)

    def _speed(self, ended: int, epochs: int, seconds: float) -> str:
        """Say how fast this session goes, with everything that goes on beside the training."""
        parts = []
        if ended:
            parts.append(f"{3600 * ended / seconds:,.0f} trials an hour")
        if epochs:
            parts.append(f"{epochs * self._run.record['train_images'] / seconds:,.0f} training images a second")
        return ", ".join(parts)

    def _head(self) -> str:
        trials = self._search.strategy.study.trials.values()
        ended = sum(trial.outcome != "running" for trial in trials)
        left = sum(self._search.strategy.agenda.left(trials))
        count = f"{ended}" if self._search.request.trials == UNLIMITED else f"{ended}/{len(trials) + left}"
        seconds = self._search.pace.left(self._search.strategy.agenda)
        return f"[{count}]" if not seconds else f"[{count}, about {format_seconds(seconds)} left]"
