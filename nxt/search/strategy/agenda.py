"""Decides what a study trains next from its trials alone, so that a resumed study continues as if uninterrupted.

A search first explores, then confirms: it trains the best few and the best reference again with fresh seeds, in rounds.
A plain list is trained a given number of times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from optuna.samplers import BaseSampler

from nxt.search.confirmation import Rounds, failed_first, noise_in_search, promising, replay
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
    """How many trials have not begun yet: a time limit may drop those that explore, but not those that confirm.

    `to_confirm` is the most that there may be. It falls when the answer is clear before the last round.
    """

    to_explore: int
    to_confirm: int


class Agenda(Protocol):
    """Decides what is trained, not for how long."""

    families: dict[Point, str]

    def next(self, trials: Collection[Trial]) -> NextTrial | NothingToRun:
        """Returns the trial to begin after these."""

    def remaining(self, trials: Collection[Trial]) -> Remaining:
        """Returns how many trials are still to begin after these."""

    def turns(self, trials: Collection[Trial], workers: int) -> int:
        """Returns how many trainings that confirm follow one after another, at most, on so many workers."""

    def exhausted(self) -> None:
        """Notes that the sampler has no untried architecture left."""


@dataclass
class SearchAgenda(Agenda):
    """Explores with a sampler, then confirms the most accurate architectures in rounds (see `confirmation`).

    Args:
        sampler: Proposes architectures.
        families: Reference family by point.
        trials: How many to explore; None: all that are feasible.
        confirm: How many of the most accurate are trained again, at most, besides the best reference.
        seeds: How often each of those is trained again, at most.
        enough: Tells whether exploring should end because time is short.
    """

    sampler: FeasibleSampler
    families: dict[Point, str]
    trials: int | None
    confirm: int = 0
    seeds: int = 3
    enough: Callable[[Agenda], bool] = lambda _: False
    _ended: bool = field(default=False, init=False)
    _short: bool = field(default=False, init=False)  # whether time was short: what confirming spares is not explored

    def next(self, trials: Collection[Trial]) -> NextTrial | NothingToRun:
        explored = [trial for trial in trials if not trial.replicate]
        if self._explores(explored):
            self._short = self.enough(self)
            if not self._short:
                return NextTrial(self.sampler)
        if any(trial.outcome is Outcome.RUNNING for trial in explored):
            return NothingToRun.WAIT
        rounds = self._rounds(trials)
        if rounds.missing:
            point = rounds.missing[0]
            replicate = 1 + max((trial.replicate for trial in trials if trial.point == point), default=0)
            return NextTrial(PointSampler(self.sampler.feasible.space.axis_names, point), replicate)
        running = any(trial.outcome is Outcome.RUNNING for trial in trials)
        return NothingToRun.WAIT if running else NothingToRun.END

    def exhausted(self) -> None:
        self._ended = True

    def remaining(self, trials: Collection[Trial]) -> Remaining:
        """Returns how many trials are still to explore, and how many, at most, to confirm."""
        explored = sum(not trial.replicate for trial in trials)
        exploring = 0 if self._ended else max(0, self._most - explored)
        return Remaining(exploring, sum(self._to_come(trials)))

    def turns(self, trials: Collection[Trial], workers: int) -> int:
        return sum(math.ceil(size / workers) for size in self._to_come(trials))

    @property
    def _most(self) -> int:
        """Number of trials to explore."""
        feasible = len(self.sampler.feasible)
        return feasible if self.trials is None else min(self.trials, feasible)

    def _explores(self, explored: Collection[Trial]) -> bool:
        return not self._ended and not self._short and len(explored) < self._most

    def _to_come(self, trials: Collection[Trial]) -> list[int]:
        """Returns the number of trainings to begin in each round of the confirmation, if it takes all of them."""
        if not self.confirm:
            return []
        explored = [trial for trial in trials if not trial.replicate]
        if self._explores(explored) or any(trial.outcome is Outcome.RUNNING for trial in explored):
            return [min(self.confirm + bool(self.families), self._most)] * self.seeds
        rounds = self._rounds(trials)
        if rounds.stops or not rounds.contenders:
            return []
        return [len(rounds.missing), *[len(rounds.contenders)] * (self.seeds - rounds.finished - 1)]

    def _rounds(self, trials: Collection[Trial]) -> Rounds:
        if not self.confirm:
            return Rounds(stops=True)
        return replay(trials, self._favourites(trials), self.seeds)

    def _favourites(self, trials: Collection[Trial]) -> list[Point]:
        """Returns the most accurate that may be the best, and the best reference, without those that failed since."""
        failed = failed_first(trials)
        by_search = [e for e in ranked(t for t in trials if not t.replicate) if e.trials[0].point not in failed]
        top = by_search[: self.confirm]
        top = top[: promising([entry.accuracy for entry in top], noise_in_search(trials))]
        chosen = top + [entry for entry in by_search if entry.family][:1]
        return [entry.trials[0].point for entry in chosen]


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

    def turns(self, trials: Collection[Trial], workers: int) -> int:
        """Returns 0: nothing of a list confirms."""
        return 0

    def remaining(self, trials: Collection[Trial]) -> Remaining:
        """Returns how many trials are still to begin; a time limit may drop all of them."""
        return Remaining(len(self.space.axis_values[0]) * self.repeats - len(trials), 0)
