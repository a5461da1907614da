"""The progress of a search as one bar, on terminals and in notebooks: what `nxt.search` shows unless told otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nxt.search.engine.session import SearchSession
from nxt.search.results.status import tally
from nxt.search.trial import Outcome, Trial
from nxt.units import format_seconds

_OFTEN = 0.5  # seconds between two looks at the trials
_RARELY = 10.0  # seconds between two lines while images are decoded


class SearchBar:
    """Follows a search, as an `Observer`: trials that have ended, of all that are to come, and the best so far.

    Args:
        callback: Is called with each trial that has ended.
    """

    def __init__(self, callback: Callable[[Trial], None] | None = None) -> None:
        self._callback = callback
        text = TextColumn("{task.description}")
        self._progress = Progress(text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._task = self._progress.add_task("starting", total=None)
        self._session: SearchSession
        self._looked = time.monotonic()

    def note(self, text: str) -> None:
        """Prints it on stderr, as notes before a search are."""
        sys.stderr.write(f"note: {text}\n")

    def reading(self, done: int, total: int) -> None:
        """Says on stderr how many images are decoded, at the end and every ten seconds."""
        if time.monotonic() - self._looked > _RARELY or done == total:
            self._looked = time.monotonic()
            sys.stderr.write(f"decoded {done:,} of {total:,} images\n")

    def begin(self, session: SearchSession, workers: int) -> None:
        """Notes the search that is about to run."""
        self._session = session
        self._look()

    def ended(self, trial: Trial) -> None:
        """Passes on a trial that has ended."""
        self._look()
        if self._callback is not None:
            self._callback(trial)

    def update(self) -> None:
        """Looks at the trials, now and then."""
        if time.monotonic() - self._looked > _OFTEN:
            self._look()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the bar for the time of the block."""
        with self._progress:
            yield
            self._look()

    def _look(self) -> None:
        self._looked = time.monotonic()
        session, trials = self._session, self._session.trials
        agenda = session.strategy.agenda
        unlimited = session.request.trials is None
        left = session.pace.left(agenda)
        parts = [tally(trials), "" if left is None else f"about {format_seconds(left)} left"]
        self._progress.update(
            self._task,
            description=", ".join(part for part in parts if part),
            completed=sum(trial.outcome is not Outcome.RUNNING for trial in trials),
            total=None if unlimited else len(trials) + sum(agenda.remaining(trials)),
        )
