"""Which trials go on at a rung: asynchronous successive halving (Li et al. 2020, arXiv 1810.05934), its stopping form.

A trial that reaches a rung goes on if it is among the best 1/eta of those that reached it before. What "best" means is
where the schedulers differ: by accuracy among trials of similar cost, or by non-dominated rank in accuracy and cost.
"""

from __future__ import annotations

import math
from collections import defaultdict
from enum import Enum
from typing import Protocol

from nxt.arch.costs import Cost
from nxt.pareto import by_dominance
from nxt.space.budget import Budget

_BAND = 2.0  # the bands of MACs within which trials are compared rise by this factor


class Decision(Enum):
    """What becomes of a trial that has reported an epoch."""

    CONTINUE = "train the next epoch"
    STOP = "end here"


class Scheduler(Protocol):
    """Compares trials at rungs."""

    rungs: tuple[int, ...]

    def record(self, number: int, epoch: int, accuracy: float, cost: Cost) -> None:
        """Notes what a trial reached; outside the rungs nothing happens."""

    def decide(self, number: int, epoch: int) -> Decision:
        """Returns what becomes of a trial recorded at this epoch; where that is no rung, it continues."""


class SuccessiveHalving:
    """Compares accuracies, among trials of similar cost.

    Args:
        rungs: Epochs at which trials are compared, rising. The last epoch of a trial is no rung. Empty: nothing stops.
        eta: One in eta goes on.
        band: Trials are compared where their MACs fall between the same two powers of this factor; None: all are.
    """

    def __init__(self, rungs: tuple[int, ...], eta: float, band: float | None = None) -> None:
        self.rungs, self.eta, self.band = rungs, eta, band
        self._reached: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        self._bands: dict[int, int] = {}

    def record(self, number: int, epoch: int, accuracy: float, cost: Cost) -> None:
        """Notes what a trial reached; outside the rungs nothing happens."""
        if epoch in self.rungs:
            self._bands[number] = 0 if self.band is None else math.floor(math.log(cost.macs, self.band))
            self._reached[epoch, self._bands[number]][number] = accuracy

    def decide(self, number: int, epoch: int) -> Decision:
        """Returns what becomes of a trial recorded at this epoch.

        Until eta trials have reached a rung, all continue: there is nothing to compare with.
        """
        reached = self._reached.get((epoch, self._bands.get(number, 0)), {})
        if number not in reached or len(reached) < self.eta:
            return Decision.CONTINUE
        better = sum(value > reached[number] for value in reached.values())
        return Decision.CONTINUE if better < len(reached) / self.eta else Decision.STOP


class ParetoHalving:
    """Compares accuracies and costs together, by non-dominated rank; within a rank, the least crowded come first.

    At most one in eta goes on, also where more of them are non-dominated: else, of many trials, few would be stopped.

    Args:
        rungs: As for `SuccessiveHalving`.
        eta: One in eta goes on.
        objective: The cost (a field of `Cost`) that is to be low.
    """

    def __init__(self, rungs: tuple[int, ...], eta: float, objective: str) -> None:
        self.rungs, self.eta, self.objective = rungs, eta, objective
        self._reached: dict[int, dict[int, tuple[float, float]]] = defaultdict(dict)

    def record(self, number: int, epoch: int, accuracy: float, cost: Cost) -> None:
        """Notes what a trial reached; outside the rungs nothing happens."""
        if epoch in self.rungs:
            self._reached[epoch][number] = (math.log(getattr(cost, self.objective)), accuracy)

    def decide(self, number: int, epoch: int) -> Decision:
        """Returns what becomes of a trial recorded at this epoch, as `SuccessiveHalving` does."""
        reached = self._reached.get(epoch, {})
        if number not in reached or len(reached) < self.eta:
            return Decision.CONTINUE
        places = by_dominance(list(reached.values()))
        own = places[list(reached).index(number)]
        better = sum(place < own for place in places)
        return Decision.CONTINUE if better < len(reached) / self.eta else Decision.STOP


def make_scheduler(name: str, rungs: tuple[int, ...], eta: float, budget: Budget, objective: str) -> Scheduler:
    """Returns a scheduler by its name, one of `request.SCHEDULERS`.

    Inside a window of MACs all trials cost alike, and `asha` compares all of them; otherwise it does so in bands.
    """
    if name == "pareto-asha":
        return ParetoHalving(rungs, eta, objective)
    limit = budget.limit("macs")
    alike = limit is not None and limit.is_window
    return SuccessiveHalving(() if name == "none" else rungs, eta, None if alike else _BAND)


def rungs(epochs: int, eta: float, grace: float) -> tuple[int, ...]:
    """Returns the rungs of trials of that many epochs: `grace` of them, then each eta times the one before.

    >>> rungs(27, 3, 1 / 9)
    (3, 9)
    """
    found, epoch = [], max(1.0, epochs * grace)
    while round(epoch) < epochs:
        found.append(round(epoch))
        epoch *= eta
    return tuple(sorted(set(found)))
