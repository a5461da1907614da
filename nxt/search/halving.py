"""Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934), in its stopping form.

A trial that reaches a rung goes on if it is among the best 1/eta of those that reached it before, of similar cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable


class SuccessiveHalving:
    """Compares trials at rungs.

    Args:
        rungs: Epochs at which trials are compared, rising. The last epoch of a trial is no rung.
        eta: One in eta goes on.
    """

    def __init__(self, rungs: tuple[int, ...], eta: float) -> None:
        self.rungs, self.eta = rungs, eta
        self._reached: dict[tuple[int, Hashable], dict[int, float]] = defaultdict(dict)

    def record(self, number: int, epoch: int, accuracy: float, band: Hashable = None) -> None:
        """Note what a trial reached; outside the rungs nothing happens."""
        if epoch in self.rungs:
            self._reached[epoch, band][number] = accuracy

    def goes_on(self, number: int, epoch: int, band: Hashable = None) -> bool:
        """Tell whether a trial that was recorded at this epoch goes on.

        Until eta trials have reached a rung, all go on: there is nothing to compare with.
        """
        reached = self._reached.get((epoch, band), {})
        if number not in reached or len(reached) < self.eta:
            return True
        better = sum(value > reached[number] for value in reached.values())
        return better < len(reached) / self.eta


def rungs(epochs: int, eta: float, grace: float) -> tuple[int, ...]:
    """Return the rungs of trials of that many epochs: `grace` of them, then each eta times the one before.

    >>> rungs(27, 3, 1 / 9)
    (3, 9)
    """
    found, epoch = [], max(1.0, epochs * grace)
    while round(epoch) < epochs:
        found.append(round(epoch))
        epoch *= eta
    return tuple(sorted(set(found)))
