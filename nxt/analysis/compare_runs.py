"""Compares the fronts of two searches: the hypervolume of each, and the front of both together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nxt.analysis.error_distribution import check_comparable
from nxt.errors import RunError
from nxt.pareto import front, hypervolume

if TYPE_CHECKING:
    from nxt.search.results.run import Run


@dataclass(frozen=True)
class RunPair:
    """Two searches whose fronts are compared."""

    first: Run
    second: Run

    @property
    def runs(self) -> tuple[Run, Run]:
        """Both searches, in order."""
        return self.first, self.second

    @property
    def cost(self) -> str:
        """The cost of both fronts, a field of `Cost`; multiply-adds if they have different ones."""
        return self.first.objective if self.first.objective == self.second.objective else "macs"

    @property
    def difference(self) -> str:
        """Why their accuracies or fronts cannot be compared; empty if they can."""
        try:
            check_comparable(self.first, self.second)
        except RunError as error:
            return str(error)
        if self.first.objective != self.second.objective:
            return f"the fronts cannot be compared: they are of {self.first.objective} and {self.second.objective}"
        if self.cost == "latency" and self.first.request.latency != self.second.request.latency:
            first, second = (run.request.latency for run in self.runs)
            return f"the fronts cannot be compared: latencies are of {first} and of {second}"
        return ""

    @property
    def ranked(self) -> bool:
        """Whether there are two fronts that can be compared; the methods below need that."""
        return not self.difference and all(run.front for run in self.runs)

    def reference_point(self) -> tuple[float, float]:
        """Returns the common reference point: the highest cost and lowest accuracy of all trained architectures."""
        entries = [entry for run in self.runs for entry in run.entries]
        return max(getattr(entry.cost, self.cost) for entry in entries), min(entry.accuracy for entry in entries)

    def hypervolumes(self) -> tuple[float, float]:
        """Returns the area that each front dominates, in accuracy (0..1) times the natural logarithm of the cost.

        Samplers use the logarithm too: with plain costs the costliest networks would make up nearly all of the area.
        """
        highest, lowest = self.reference_point()

        def area(run: Run) -> float:
            points = [(math.log(getattr(entry.cost, self.cost)), entry.accuracy) for entry in run.front]
            return hypervolume(points, (math.log(highest), lowest))

        return area(self.first), area(self.second)

    def joint_front(self) -> set[tuple[int, str]]:
        """Returns the members of the joint front of both runs as (0 or 1 for the run, fingerprint)."""
        members = [(index, entry) for index, run in enumerate(self.runs) for entry in run.front]
        kept = front([(getattr(entry.cost, self.cost), entry.accuracy) for _, entry in members])
        return {(members[i][0], members[i][1].spec.fingerprint) for i in kept}
