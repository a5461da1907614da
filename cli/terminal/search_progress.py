"""Shows the progress of a search on stderr: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from nxt.files import display_path
from nxt.search.results.status import phase_of, tally
from nxt.units import format_seconds, plural

from . import live_region, search_view, tables
from .status_text import resume_command

if TYPE_CHECKING:
    from rich.text import Text

    from nxt.search.engine.session import SearchSession
    from nxt.search.results.run import Run
    from nxt.search.trial import Trial

_FRESH = 0.4  # seconds between two refreshes of the view
_READING = 10.0  # seconds between two lines in a log file while images are decoded


class Progress:
    """Shows the progress of a search; see `nxt.search.engine.execute.Observer`.

    Args:
        again: The options to give again when the search is resumed.
    """

    def __init__(self, again: Mapping[str, object] | None = None) -> None:
        self._again = again or {}
        self.console = tables.err()
        self._moves = live_region.moves(self.console)
        self._began = time.monotonic()
        self.begun = False  # whether there was something to do
        self._session: SearchSession
        self._run: Run  # after the trial that ended last
        self._before = (0, 0)  # ended trials and trained epochs before this session
        self._refreshed, self._latest = self._began, ""
        self._reads = "reading the data and starting Ray"
        self._view: search_view.View
        self._prepares = ExitStack()
        self._handles_interrupts = self._stopping = False  # Ctrl-C

    def note(self, text: str) -> None:
        """Prints what a person should know."""
        self.console.print(f"note: {text}", soft_wrap=not self._moves)

    def reading(self, done: int, total: int) -> None:
        """Shows how many images are decoded; in a log file, at the end and every ten seconds."""
        self._reads = f"decoding images, {done:,} of {total:,}"
        if not self._moves and (time.monotonic() - self._refreshed > _READING or done == total):
            self._refreshed = time.monotonic()
            self.console.print(f"{self._reads}, {format_seconds(self._refreshed - self._began)} gone", soft_wrap=True)

    def begin(self, session: SearchSession, workers: int) -> None:
        """Prints what is going to run."""
        self._session, self.begun = session, True
        self._prepares.close()
        request, feasible = session.request, session.search.setup.feasible
        fit = f"{request.space.size:,} architectures"
        if feasible is not None:
            fit = f"{len(feasible):,} of {fit} fit, {request.budget} (conv + linear MACs{request.counted_at})"
        self.console.print(f"space {request.space.name}: {fit}")
        trials = "as many trials as the hours allow" if request.trials is None else f"{request.trials} trials"
        epochs, out = plural(request.proxy.epochs, "epoch"), display_path(session.out)
        where = f"{workers} at a time{session.growth}, into {out}"
        aim = "" if request.is_list else f", accuracy against {request.objective}"
        self.console.print(f"{trials} of up to {epochs}{aim}, {where}", soft_wrap=not self._moves)
        if session.packing is not None:
            self.console.print(session.packing.sentence(workers), soft_wrap=not self._moves)
        if session.trials:
            self.console.print(f"going on: {tally(session.trials, 'cut off')}", soft_wrap=not self._moves)
        if self._moves:
            self._run, self._before = session.run(), self._reached()
            self._refresh()

    def ended(self, trial: Trial) -> None:
        """Shows the result of a trial."""
        self._latest = search_view.trial_text(trial)
        if self._moves:
            self._run = self._session.run()
        else:
            self.console.print(f"{self._head()} {self._latest}", soft_wrap=True)

    def update(self) -> None:
        """Refreshes the view if it is old enough; another thread draws it."""
        self._handle_interrupts()
        if self._moves and time.monotonic() - self._refreshed > _FRESH:
            self._refresh()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Shows on a terminal that the search is being prepared, until `begin`."""
        with self._prepares:
            self._prepares.enter_context(live_region.busy(self.console, lambda: self._reads))
            yield

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the view during the block."""
        self._began = time.monotonic()
        if not self._moves:
            yield
            return
        command = resume_command(self._run.path, self._run.full, **self._again)
        with live_region.screen(self._draw, f"nxt: killed. Go on with: {command}"):
            yield

    def _draw(self, width: int, height: int) -> list[Text]:
        now, view = time.monotonic(), self._view
        left = view.left and max(1.0, view.left - (now - self._refreshed))
        if self._stopping:
            view, left = dataclasses.replace(view, phase="stopping; all epochs so far are recorded"), None
        return search_view.lines_of(dataclasses.replace(view, gone=now - self._began, left=left), width, height)

    def _handle_interrupts(self) -> None:
        """Notes when Ctrl-C is pressed; Ray's own handler stops the search, which takes a few seconds."""
        if self._handles_interrupts:
            return
        self._handles_interrupts, previous = True, signal.getsignal(signal.SIGINT)

        def stop(number: int, frame: FrameType | None) -> None:
            self._stopping = True
            if callable(previous):
                previous(number, frame)

        signal.signal(signal.SIGINT, stop)

    def _refresh(self) -> None:
        """Makes a new view of the search."""
        self._refreshed = time.monotonic()
        session, trials = self._session, self._session.trials
        request, agenda = session.request, session.strategy.agenda
        remaining, unlimited = agenda.remaining(trials), request.trials is None
        ended, epochs = self._reached()
        gone = time.monotonic() - self._began
        phase = phase_of(trials, 0 if unlimited else remaining.to_explore, request.is_list)
        self._view = search_view.View(
            run=self._run,
            running=[trial for trial in trials if trial.outcome == "running"],
            phase=phase,
            ended=ended,
            total=None if unlimited else len(trials) + sum(remaining),
            later=remaining.to_confirm if phase == "exploring" else 0,
            gone=gone,
            left=session.pace.left(agenda),
            tally=tally(trials) if trials else "the workers are starting",
            speed=self._speed(ended - self._before[0], epochs - self._before[1], gone),
            latest=self._latest,
        )

    def _reached(self) -> tuple[int, int]:
        """Returns the number of ended trials, and of epochs trained here (not copied from another run)."""
        trials = self._session.trials
        ended = sum(trial.outcome != "running" for trial in trials)
        return ended, sum(len(trial.curve) for trial in trials if not trial.replayed)

    def _speed(self, ended: int, epochs: int, seconds: float) -> str:
        """Returns trials an hour and images a second of this session, including the time beside the training."""
        parts = []
        if ended:
            parts.append(f"{3600 * ended / seconds:,.0f} trials an hour")
        if epochs:
            parts.append(f"{epochs * self._run.record.train_images / seconds:,.0f} training images a second")
        return ", ".join(parts)

    def _head(self) -> str:
        session, trials = self._session, self._session.trials
        ended, _ = self._reached()
        total = len(trials) + sum(session.strategy.agenda.remaining(trials))
        count = f"{ended}" if session.request.trials is None else f"{ended}/{total}"
        seconds = session.pace.left(session.strategy.agenda)
        return f"[{count}]" if not seconds else f"[{count}, about {format_seconds(seconds)} left]"
