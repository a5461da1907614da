"""Predicts durations from a study's own trials: the time left, and the time limit of a search."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from nxt.search.strategy.agenda import Agenda
from nxt.search.trial import Outcome, Trial


def reserve(seconds: float) -> float:
    """Returns how much of a search's time is kept for confirming at most."""
    return seconds / 2


class Pace:
    """Predicts durations.

    Args:
        trials: The study's trials, by number; the mapping may grow.
        epochs: Length of a trial that is not stopped.
        workers: Number of trials that run at a time.
        hours: Time limit of the search from now; None: no limit.
        slowdown: Ratio of the workers' time to the time that they train, used until it is measured here.
    """

    def __init__(
        self,
        trials: Mapping[int, Trial],
        epochs: int,
        workers: int,
        hours: float | None = None,
        slowdown: float = 1.0,
    ) -> None:
        self.trials, self.epochs, self.workers = trials, epochs, workers
        self._known_slowdown = slowdown
        self.started = time.monotonic()
        self._deadline = math.inf if hours is None else self.started + 3600 * hours
        self._folded: set[int] = set()
        self._seconds_trained, self._epochs = 0.0, 0
        self._explored = (0, 0)  # explored trials that ended without failure, and their epochs
        self._before = self._trained()
        self._first: tuple[float, float] | None = None  # time and seconds trained at this session's first epoch

    def follow(self, workers: int) -> None:
        """Notes that another number of trials runs at a time from now on."""
        if workers != self.workers:
            self._known_slowdown = self._slowdown()
            self.workers, self._first, self._before = workers, None, self._trained()

    @property
    def time_is_up(self) -> bool:
        """Whether the time limit is reached: then all trials stop where they are."""
        return time.monotonic() >= self._deadline

    def leaves_only(self, agenda: Agenda) -> bool:
        """Tells whether one more trial would use time that running and confirming trials need.

        Confirming, with all the rounds that it may take, gets half of the time at most: else a search with few hours
        would compare the references alone.
        """
        if self._deadline == math.inf:
            return False
        one = self._seconds(1, 0) or 0.0
        whole = self._seconds(1, agenda.turns(self.trials.values(), self.workers)) or 0.0
        reserved = min(whole - one, reserve(self._deadline - self.started))
        return time.monotonic() + one + reserved >= self._deadline

    def left(self, agenda: Agenda) -> float | None:
        """Predicts the seconds until the study is complete or its time is up; None: nothing is measured yet.

        A confirmation counts with all its rounds: the answer may be clear earlier.
        """
        trials = self.trials.values()
        predicted = self._seconds(agenda.remaining(trials).to_explore, agenda.turns(trials, self.workers))
        return None if predicted is None else min(predicted, max(0.0, self._deadline - time.monotonic()))

    def _seconds(self, to_explore: int, turns: int) -> float | None:
        """Predicts the seconds that the running trials, these further ones, and so many whole ones in turn take."""
        self._fold()
        live = self._live()
        epochs = self._epochs + sum(len(trial.curve) for trial in live)
        if not epochs:
            return None
        epoch = self._trained() / epochs
        length = self._explored[1] / self._explored[0] if self._explored[0] else self.epochs
        running = [self.epochs - len(t.curve) for t in self.trials.values() if t.outcome is Outcome.RUNNING]
        exploring = max((sum(running) + to_explore * length) / self.workers, *running, length if to_explore else 0)
        confirming = turns * self.epochs  # begins after all others have ended
        return self._slowdown() * epoch * (exploring + confirming)

    def _fold(self) -> None:
        """Adds the trials that have ended since the last call to the sums: there may be thousands."""
        for number, trial in self.trials.items():
            if trial.outcome is not Outcome.RUNNING and number not in self._folded:
                self._folded.add(number)
                if trial.replayed:
                    continue
                self._seconds_trained += trial.seconds
                self._epochs += len(trial.curve)
                if not trial.replicate and not trial.outcome.failed:
                    self._explored = (self._explored[0] + 1, self._explored[1] + len(trial.curve))

    def _live(self) -> list[Trial]:
        return [t for t in self.trials.values() if t.outcome is Outcome.RUNNING and t.curve and not t.replayed]

    def _slowdown(self) -> float:
        """Returns the ratio of the workers' time to the time that they train: they also wait, start and load."""
        now, trained = time.monotonic(), self._trained()
        if self._first is None:
            self._first = (now, trained) if trained > self._before else None
            return self._known_slowdown
        first_time, first_trained = self._first
        if trained <= first_trained:
            return self._known_slowdown
        return max(1.0, (now - first_time) * self.workers / (trained - first_trained))

    def _trained(self) -> float:
        self._fold()
        return self._seconds_trained + sum(trial.seconds for trial in self._live())
