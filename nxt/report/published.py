"""Finds published networks that cost about as much as those of a search. Their accuracies are not comparable."""

from __future__ import annotations

from nxt.arch.costs import Cost, cost
from nxt.arch.zoo import RELATED, ZOO, RelatedNetwork, ZooEntry
from nxt.search.results.run import Run

_NEAR = 1.08  # largest factor between similar costs: the usual window of budgets


def published(run: Run) -> list[tuple[ZooEntry | RelatedNetwork, Cost]]:
    """Returns networks with published accuracies whose multiply-adds lie in the run's range, by rising cost.

    They are made for the same image side as the run's networks; their costs are counted as those of the run.
    """
    if not run.entries:
        return []
    macs = [entry.cost.macs for entry in run.entries]
    low, high = min(macs) / _NEAR, max(macs) * _NEAR
    sizes = {entry.spec.size for entry in run.entries}
    counted = run.request.space.counted
    alike = [entry for entry in ZOO.values() if entry.published and entry.spec.size in sizes]
    known: list[tuple[ZooEntry | RelatedNetwork, Cost]] = [(entry, cost(entry.spec, *counted)) for entry in alike]
    if counted == (None, None):  # these have no specification to count elsewhere
        known += [(network, network.cost) for network in RELATED if network.size in sizes]
    return sorted((pair for pair in known if low <= pair[1].macs <= high), key=lambda pair: pair[1].macs)
