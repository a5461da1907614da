"""Decides which trials continue at a rung: asynchronous successive halving, stopping variant (arXiv 1810.05934).

A trial that reaches a rung continues if it is among the best 1/eta of the trials that have reached it. The schedulers
differ in what "best" means: accuracy among trials of similar cost, or non-dominated rank in accuracy and cost.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from enum import Enum
from typing import Any

from nxt.arch.costs import Cost
from nxt.pareto import by_dominance
from nxt.space.budget import Budget

_BAND = 2.0  # ratio of the highest to the lowest MACs of a band within which trials are compared


class Decision(Enum):
    """What happens to a trial that has reported an epoch."""

    CONTINUE = "train the next epoch"
    STOP = "end here"


class Scheduler:
    """Compares the accuracies of trials of similar cost.

    Args:
        rungs: Epochs at which trials are compared, rising, without a trial's last epoch. Empty: no trial is stopped.
        eta: One in eta trials continues at a rung.
        band: Trials are compared if their MACs lie between the same two powers of this factor; None: all are.
    """

    def __init__(self, rungs: tuple[int, ...], eta: float, band: float | None = None) -> None:
        self.rungs, self.eta, self.band = rungs, eta, band
        self._reached: dict[tuple[int, int], dict[int, tuple[Cost, float]]] = defaultdict(dict)  # by rung and band
        self._bands: dict[int, int] = {}

    def record(self, number: int, epoch: int, accuracy: float, cost: Cost) -> None:
        """Records the accuracy of a trial at a rung; does nothing at other epochs."""
        if epoch in self.rungs:
            self._bands[number] = 0 if self.band is None else math.floor(math.log(cost.macs, self.band))
            self._reached[epoch, self._bands[number]][number] = cost, accuracy

    def decide(self, number: int, epoch: int) -> Decision:
        """Returns what happens to a trial recorded at this epoch; it continues if the epoch is no rung.

        All trials continue until eta of them have reached the rung: before, there is nothing to compare with.
        """
        reached = self._reached.get((epoch, self._bands.get(number, 0)), {})
        if number not in reached or len(reached) < self.eta:
            return Decision.CONTINUE
        places = dict(zip(reached, self._places(list(reached.values())), strict=True))
        better = sum(place < places[number] for place in places.values())
        return Decision.CONTINUE if better < len(reached) / self.eta else Decision.STOP

    def _places(self, results: list[tuple[Cost, float]]) -> Sequence[Any]:
        """Returns a place for each cost and accuracy; the best has the lowest."""
        return [-accuracy for _, accuracy in results]


class ParetoScheduler(Scheduler):
    """Compares all trials by non-dominated rank in accuracy and cost; within a rank, the least crowded come first.

    At most one in eta continues, even if more of them are non-dominated: otherwise, of many trials, few would be
    stopped.

    Args:
        rungs: As for `Scheduler`.
        eta: As for `Scheduler`.
        objective: The cost (a field of `Cost`) that is minimised.
    """

    def __init__(self, rungs: tuple[int, ...], eta: float, objective: str) -> None:
        super().__init__(rungs, eta)
        self.objective = objective

    def _places(self, results: list[tuple[Cost, float]]) -> Sequence[Any]:
        return by_dominance([(math.log(getattr(cost, self.objective)), accuracy) for cost, accuracy in results])


def make_scheduler(name: str, rungs: tuple[int, ...], eta: float, budget: Budget, objective: str) -> Scheduler:
    """Returns the scheduler of that name, one of `request.SCHEDULERS`.

    `asha` compares all trials if the budget is a window of MACs, because then all cost about the same; otherwise it
    compares them in bands of MACs.
    """
    if name == "pareto-asha":
        return ParetoScheduler(rungs, eta, objective)
    band = None if budget.is_window else _BAND
    return Scheduler(() if name == "none" else rungs, eta, band)


def rungs(epochs: int, eta: float, grace: float) -> tuple[int, ...]:
    """Returns the rungs of trials of that many epochs: the first at the share `grace`, each next one eta times later.

    >>> rungs(27, 3, 1 / 9)
    (3, 9)
    """
    result, epoch = set(), max(1.0, epochs * grace)
    while round(epoch) < epochs:
        result.add(round(epoch))
        epoch *= eta
    return tuple(sorted(result))
