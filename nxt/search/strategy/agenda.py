"""Decides what a study trains next from its trials alone, so that a resumed study continues as if uninterrupted.

A search first explores, then confirms: it trains the best few and the best reference again with fresh seeds. A plain
list is trained a given number of times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from optuna.samplers import BaseSampler

from nxt.search.ranking import ranked
from nxt.search.strategy.sampler import FeasibleSampler, PointSampler
from nxt.search.trial import Outcome, Trial
from nxt.space.space import Architectures, Point


class NothingToRun(Enum):
    """Why there is nothing to train."""

    WAIT = "running trials must end first"
    END = "all requested trials have begun"


@dataclass(frozen=True)
class NextTrial:
    """A trial to begin: the sampler that proposes its architecture, and the replicate."""

    sampler: BaseSampler
    replicate: int = 0


class Remaining(NamedTuple):
    """How many trials have not begun yet. A time limit may drop those that explore, but not those that confirm."""

    to_explore: int
    to_confirm: int


class Agenda(Protocol):
    """Decides what is trained, not for how long."""

    families: dict[Point, str]

    def next(self, trials: Collection[Trial]) -> NextTrial | NothingToRun:
        """Returns the trial to begin after these."""

    def remaining(self, trials: Collection[Trial]) -> Remaining:
        """Returns how many trials are still to begin after these."""

    def exhausted(self) -> None:
        """Notes that the sampler has no untried architecture left."""


@dataclass
class SearchAgenda(Agenda):
    """Explores with a sampler, then confirms the most accurate architectures.

    Args:
        sampler: Proposes architectures.
        families: Reference family by point.
        trials: How many to explore; None: all that are feasible.
        confirm: How many of the most accurate are trained again, besides the best reference.
        seeds: How often each of those is trained again.
        enough: Tells whether exploring should end because time is short.
    """

    sampler: FeasibleSampler
    families: dict[Point, str]
    trials: int | None
    confirm: int = 0
    seeds: int = 2
    enough: Callable[[Agenda], bool] = lambda _: False
    _ended: bool = field(default=False, init=False)

    def next(self, trials: Collection[Trial]) -> NextTrial | NothingToRun:
        explored = [trial for trial in trials if not trial.replicate]
        if not self._ended and len(explored) < self._most and not self.enough(self):
            return NextTrial(self.sampler)
        if any(trial.outcome is Outcome.RUNNING for trial in explored):
            return NothingToRun.WAIT
        return self._confirmation(explored, trials)

    def exhausted(self) -> None:
        self._ended = True

    def remaining(self, trials: Collection[Trial]) -> Remaining:
        """Returns how many trials are still to explore, and how many, at least, to confirm."""
        explored = [trial for trial in trials if not trial.replicate]
        begun = {(trial.point, trial.replicate) for trial in trials if trial.replicate}
        instead = self._lost(trials).total()
        exploring = 0 if self._ended else max(0, self._most - len(explored))
        if not self.confirm:
            return Remaining(exploring, 0)
        points = max(len(self._points(explored, begun)), self.confirm + bool(self.families) if exploring else 0)
        return Remaining(exploring, points * self.seeds + instead - len(begun))

    @property
    def _most(self) -> int:
        """Number of trials to explore."""
        feasible = len(self.sampler.feasible)
        return feasible if self.trials is None else min(self.trials, feasible)

    def _points(self, explored: Collection[Trial], begun: set[tuple[Point, int]]) -> list[Point]:
        """Returns the points to train again: those already begun, the most accurate, and the best reference."""
        return list(dict.fromkeys([*(point for point, _ in sorted(begun)), *self._favourites(explored)]))

    def _favourites(self, explored: Collection[Trial]) -> list[Point]:
        """Returns the points of the most accurate architectures and of the best reference, before confirmation."""
        by_search = ranked(explored)
        chosen = by_search[: self.confirm] + [entry for entry in by_search if entry.family][:1]
        return [entry.trials[0].point for entry in chosen]

    def _confirmation(self, explored: Collection[Trial], trials: Collection[Trial]) -> NextTrial | NothingToRun:
        """Confirms the most accurate; then any that ranks above the best confirmed one, until none does."""
        if not self.confirm:
            return NothingToRun.END
        begun = {(trial.point, trial.replicate) for trial in trials if trial.replicate}
        points, lost = self._points(explored, begun), self._lost(trials)
        for point in points:
            for replicate in range(1, self.seeds + lost[point] + 1):
                if (point, replicate) not in begun:
                    return self._again(point, replicate)
        running = {trial.point for trial in trials if trial.outcome is Outcome.RUNNING}
        if running & set(self._favourites(explored)):
            return NothingToRun.WAIT
        for entry in ranked(trials):
            if entry.confirmed:
                break
            if entry.trials[0].point not in points:  # otherwise all its new trainings failed
                return self._again(entry.trials[0].point, 1)
        return NothingToRun.WAIT if running else NothingToRun.END

    def _lost(self, trials: Collection[Trial]) -> Counter[Point]:
        """Counts lost trainings by point: for each there is one with another seed, which is not made up for in turn."""
        return Counter(trial.point for trial in trials if 0 < trial.replicate <= self.seeds and trial.outcome.lost)

    def _again(self, point: Point, replicate: int) -> NextTrial:
        return NextTrial(PointSampler(self.sampler.feasible.space.axis_names, point), replicate)


@dataclass
class ListAgenda(Agenda):
    """Trains every architecture of a list `repeats` times: all of them once before any of them twice."""

    space: Architectures
    repeats: int = 1
    enough: Callable[[Agenda], bool] = lambda _: False
    families: dict[Point, str] = field(default_factory=dict)

    def next(self, trials: Collection[Trial]) -> NextTrial | NothingToRun:
        begun = {(trial.point, trial.replicate) for trial in trials}
        if not self.enough(self):
            for replicate in range(1, self.repeats + 1):
                for index in self.space.axis_values[0]:
                    if ((index,), replicate) not in begun:
                        return NextTrial(PointSampler(self.space.axis_names, (index,)), replicate)
        return NothingToRun.END

    def exhausted(self) -> None:
        """Does nothing: a list has no sampler."""

    def remaining(self, trials: Collection[Trial]) -> Remaining:
        """Returns how many trials are still to begin; a time limit may drop all of them."""
        return Remaining(len(self.space.axis_values[0]) * self.repeats - len(trials), 0)
