"""What a study trains next, as a function of what it has: so that one that was cut off goes on as it would have.

A search first explores, then confirms: the best few, and the best reference, are trained again with fresh seeds. A
plain list is gone through as often as asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from optuna.samplers import BaseSampler

from nxt.search.ranking import ranked
from nxt.search.strategy.sampler import FeasibleSampler, PointSampler
from nxt.search.trial import Outcome, Trial
from nxt.space.space import Architectures, Point


class Pause(Enum):
    """Why there is nothing to train."""

    WAIT = "until trials that are running have ended"
    END = "all that was asked for has begun"


@dataclass(frozen=True)
class Wanted:
    """A trial to begin: the sampler that says which architecture, and which of its trainings."""

    sampler: BaseSampler
    repeat: int = 0


class Agenda(Protocol):
    """Decides what is trained, not how long."""

    roles: dict[Point, str]

    def next(self, trials: Collection[Trial]) -> Wanted | Pause:
        """Return what to begin after these trials."""

    def exhausted(self) -> None:
        """Note that the sampler has nothing left."""

    def left(self, trials: Collection[Trial]) -> tuple[int, int]:
        """Return how many trials are yet to begin: those that a lack of time may spare, and those that it may not."""


@dataclass
class SearchAgenda:
    """Explores with a sampler, then confirms what looks best.

    Args:
        sampler: Proposes architectures.
        roles: Reference family by point.
        trials: How many to explore.
        confirm: How many of the most accurate are trained again, besides the best reference.
        seeds: How often each of those is trained.
        enough: Tells whether no more should be explored, because the time is up.
    """

    sampler: FeasibleSampler
    roles: dict[Point, str]
    trials: int
    confirm: int = 0
    seeds: int = 2
    enough: Callable[[Agenda], bool] = lambda _: False
    _ended: bool = field(default=False, init=False)

    def next(self, trials: Collection[Trial]) -> Wanted | Pause:
        """Return what to begin after these trials."""
        explored = [trial for trial in trials if not trial.repeat]
        most = min(self.trials, len(self.sampler.feasible))
        if not self._ended and len(explored) < most and not self.enough(self):
            return Wanted(self.sampler)
        if any(trial.outcome is Outcome.RUNNING for trial in explored):
            return Pause.WAIT
        return self._confirmation(explored, trials)

    def exhausted(self) -> None:
        """Note that all feasible architectures have been tried."""
        self._ended = True

    def left(self, trials: Collection[Trial]) -> tuple[int, int]:
        """Return how many trials are yet to be explored, and how many (at least) to be confirmed."""
        explored = [trial for trial in trials if not trial.repeat]
        again = {(trial.point, trial.repeat) for trial in trials if trial.repeat}
        most = min(self.trials, len(self.sampler.feasible))
        exploring = 0 if self._ended else max(0, most - len(explored))
        if not self.confirm:
            return exploring, 0
        points = max(len(self._points(explored, again)), self.confirm + bool(self.roles) if exploring else 0)
        return exploring, points * self.seeds - len(again)

    def _points(self, explored: Collection[Trial], again: set[tuple[Point, int]]) -> list[Point]:
        """Return what is to be trained again: what was begun, the most accurate, and the best reference."""
        return list(dict.fromkeys([*(point for point, _ in sorted(again)), *self._favourites(explored)]))

    def _favourites(self, explored: Collection[Trial]) -> list[Point]:
        """Return the most accurate and the best reference, as exploring saw them."""
        by_search = ranked(explored)
        chosen = by_search[: self.confirm] + [entry for entry in by_search if entry.role][:1]
        return [entry.trials[0].point for entry in chosen]

    def _confirmation(self, explored: Collection[Trial], trials: Collection[Trial]) -> Wanted | Pause:
        """Have the top few trained again, then whoever stands above the best of those, until nobody does."""
        if not self.confirm:
            return Pause.END
        begun = {(trial.point, trial.repeat) for trial in trials if trial.repeat}
        points = self._points(explored, begun)
        for point in points:
            for repeat in range(1, self.seeds + 1):
                if (point, repeat) not in begun:
                    return self._again(point, repeat)
        running = {trial.point for trial in trials if trial.outcome is Outcome.RUNNING}
        if running & set(self._favourites(explored)):
            return Pause.WAIT
        for entry in ranked(trials):
            if entry.confirmed:
                break
            if entry.trials[0].point not in points:  # else its trainings all failed
                return self._again(entry.trials[0].point, 1)
        return Pause.WAIT if running else Pause.END

    def _again(self, point: Point, repeat: int) -> Wanted:
        return Wanted(PointSampler(self.sampler.feasible.space.axis_names, point), repeat)


@dataclass
class ListAgenda:
    """Trains every architecture of a list so many times, all of them once before any of them twice."""

    space: Architectures
    repeats: int = 1
    enough: Callable[[Agenda], bool] = lambda _: False
    roles: dict[Point, str] = field(default_factory=dict)

    def next(self, trials: Collection[Trial]) -> Wanted | Pause:
        """Return what to begin after these trials."""
        begun = {(trial.point, trial.repeat) for trial in trials}
        if not self.enough(self):
            for repeat in range(1, self.repeats + 1):
                for index in self.space.axis_values[0]:
                    if ((index,), repeat) not in begun:
                        return Wanted(PointSampler(self.space.axis_names, (index,)), repeat)
        return Pause.END

    def exhausted(self) -> None:
        """Do nothing: a list has no sampler."""

    def left(self, trials: Collection[Trial]) -> tuple[int, int]:
        """Return how many trials are yet to begin; hours may end the list before its end."""
        return len(self.space.axis_values[0]) * self.repeats - len(trials), 0
