"""What a budget does to a space: which values it favours, and which it rules out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nxt.space.budget import Budget
from nxt.space.feasible import FeasibleSet
from nxt.space.space import Space

RARE = 1e-3  # share below which a value is nearly never inside


@dataclass(frozen=True)
class Spread:
    """How many architectures have each value of a property."""

    counts: Mapping[int, int]

    @property
    def total(self) -> int:
        """Number of architectures."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """Mean of the values; false counts as 0 and true as 1."""
        return sum(value * n for value, n in self.counts.items()) / self.total

    @property
    def deviation(self) -> float:
        """Standard deviation of the values."""
        mean = self.mean
        return math.sqrt(sum((value - mean) ** 2 * n for value, n in self.counts.items()) / self.total)

    @property
    def range(self) -> tuple[Any, Any]:
        """Least and greatest value that occur."""
        there = [value for value, n in self.counts.items() if n]
        return min(there), max(there)


@dataclass(frozen=True)
class Axis:
    """A property of architectures, over the whole space and inside the budget; both have the same values."""

    before: Spread
    after: Spread

    @property
    def never(self) -> list[Any]:
        """Values that no architecture inside the budget has."""
        return [value for value, n in self.after.counts.items() if not n]

    @property
    def nearly_never(self) -> list[Any]:
        """Values that less than RARE of the architectures inside the budget have, but some."""
        return [value for value, n in self.after.counts.items() if 0 < n < RARE * self.after.total]


@dataclass(frozen=True)
class Lint:
    """What `lint` finds. `axes` begins with "depth", the blocks of all stages together."""

    space: Space
    budget: Budget
    feasible: int
    axes: dict[str, Axis]


def lint(space: Space, budget: Budget) -> Lint:
    """Hold a space against a budget; every number is exact.

    Raises:
        SpaceError: if nothing fits.
    """
    inside = FeasibleSet(space, budget)
    whole = FeasibleSet(space, Budget(), inside.gate)
    before = {"depth": whole.total_depths(), **whole.spread()}
    after = {"depth": inside.total_depths(), **inside.spread()}
    axes = {
        name: Axis(Spread(counts), Spread({value: after[name].get(value, 0) for value in counts}))
        for name, counts in before.items()
    }
    return Lint(space, budget, len(inside), axes)
