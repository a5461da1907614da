"""How fast a study goes, from its own trials: for the time left, the time limit of a search, and hanging trials."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from nxt.search.strategy.agenda import Agenda
from nxt.search.trial import Outcome, Trial

_PATIENCE = 10.0  # an epoch that takes this many times longer than the slowest measured has come to a halt
_LEAST = 60.0  # seconds granted to any epoch


class Pace:
    """Predicts durations.

    Args:
        trials: The study's trials, by number; followed as they grow.
        epochs: Of a trial that is not stopped.
        workers: Trials at a time.
        hours: How long the search may take from now; None: as long as it likes.
        patience: Seconds granted to an epoch as long as none was measured.
        slowdown: How much longer the workers take than they train, as long as it has not been measured here.
    """

    def __init__(
        self,
        trials: Mapping[int, Trial],
        epochs: int,
        workers: int,
        hours: float | None = None,
        patience: float = 3600.0,
        slowdown: float = 1.0,
    ) -> None:
        self.trials, self.epochs, self.workers = trials, epochs, workers
        self.patience, self._known_slowdown = patience, slowdown
        self.started = time.monotonic()
        self._deadline = math.inf if hours is None else self.started + 3600 * hours
        self._folded: set[int] = set()
        self._rate, self._seconds_trained, self._epochs = 0.0, 0.0, 0
        self._explored = (0, 0)  # trials that ended as they should, and their epochs
        self._before = self._trained()
        self._first: tuple[float, float] | None = None  # when the first epochs of this session were seen; trained then

    @property
    def time_is_up(self) -> bool:
        """Whether the hours are over: all trials are to stop where they are."""
        return time.monotonic() >= self._deadline

    def leaves_only(self, agenda: Agenda) -> bool:
        """Tells whether one more trial would take time that is needed for those that run and those that confirm."""
        if self._deadline == math.inf:
            return False
        needed = self._seconds(1, agenda.remaining(self.trials.values()).to_confirm)
        return time.monotonic() + (needed or 0.0) >= self._deadline

    def left(self, agenda: Agenda) -> float | None:
        """Predicts the seconds until the study is complete, or its hours are over; None: nothing is measured yet."""
        predicted = self._seconds(*agenda.remaining(self.trials.values()))
        return None if predicted is None else min(predicted, max(0.0, self._deadline - time.monotonic()))

    def limit(self, macs: int) -> float:
        """Returns the seconds after which one epoch of a network of that cost is taken to hang."""
        self._fold()
        rates = [self._rate, *(_rate(trial) for trial in self._live())]
        return max(_LEAST, _PATIENCE * max(rates) * macs) if max(rates) else self.patience

    def _seconds(self, to_explore: int, to_confirm: int) -> float | None:
        """Predicts how long the running trials, and so many more of both kinds, take on all workers."""
        self._fold()
        live = self._live()
        epochs = self._epochs + sum(len(trial.curve) for trial in live)
        if not epochs:
            return None
        epoch = self._trained() / epochs
        length = self._explored[1] / self._explored[0] if self._explored[0] else self.epochs
        running = [self.epochs - len(t.curve) for t in self.trials.values() if t.outcome is Outcome.RUNNING]
        exploring = max((sum(running) + to_explore * length) / self.workers, *running, length if to_explore else 0)
        confirming = math.ceil(to_confirm / self.workers) * self.epochs  # not before all others have ended
        return self._slowdown() * epoch * (exploring + confirming)

    def _fold(self) -> None:
        """Adds up the trials that have ended since the last time: there may be thousands."""
        for number, trial in self.trials.items():
            if trial.outcome is not Outcome.RUNNING and number not in self._folded:
                self._folded.add(number)
                if trial.replayed:
                    continue
                self._rate = max(self._rate, _rate(trial))
                self._seconds_trained += trial.seconds
                self._epochs += len(trial.curve)
                if not trial.replicate and not trial.outcome.failed:
                    self._explored = (self._explored[0] + 1, self._explored[1] + len(trial.curve))

    def _live(self) -> list[Trial]:
        return [t for t in self.trials.values() if t.outcome is Outcome.RUNNING and t.curve and not t.replayed]

    def _slowdown(self) -> float:
        """Returns how much longer the workers take than they train: between trials they wait, start and load."""
        now, trained = time.monotonic(), self._trained()
        if self._first is None:
            self._first = (now, trained) if trained > self._before else None
            return self._known_slowdown
        since, already = self._first
        if trained <= already:
            return self._known_slowdown
        return max(1.0, (now - since) * self.workers / (trained - already))

    def _trained(self) -> float:
        self._fold()
        return self._seconds_trained + sum(trial.seconds for trial in self._live())


def _rate(trial: Trial) -> float:
    """Returns the seconds of its slowest epoch by the architecture's multiply-adds."""
    return max((row.seconds for row in trial.curve), default=0.0) / trial.cost.macs
