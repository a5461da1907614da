"""Compares a space with its part inside a budget: which values the budget favours, and which it rules out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nxt.space.budget import Budget
from nxt.space.feasible import FeasibleSet
from nxt.space.references import references
from nxt.space.space import COUNTED, Space

RARE = 1e-3  # share of architectures below which a value is nearly never inside


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
        values = [value for value, n in self.counts.items() if n]
        return min(values), max(values)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        least, greatest = self.range
        counts = {str(value).lower(): n for value, n in self.counts.items()}
        return {"mean": self.mean, "deviation": self.deviation, "least": least, "greatest": greatest, "counts": counts}


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
        """Values that some, but less than RARE of the architectures inside the budget have."""
        return [value for value, n in self.after.counts.items() if 0 < n < RARE * self.after.total]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return {
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "never": self.never,
            "nearly_never": self.nearly_never,
        }


@dataclass(frozen=True)
class Lint:
    """The result of `lint`. `axes` begins with "depth", the number of blocks in all stages together."""

    space: Space
    budget: Budget
    feasible: int
    axes: dict[str, Axis]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data, as `nxt space lint --json` prints it."""
        return {
            "name": self.space.name,
            "budget": str(self.budget),
            "combinations": self.space.combinations,
            "left_out": self.space.left_out,
            "size": self.space.size,
            "feasible": self.feasible,
            "axes": {name: axis.to_dict() for name, axis in self.axes.items()},
        }


def overview(space: Space, budget: Budget) -> dict[str, Any]:
    """Returns a space's axes and exact size as plain data, and its feasible part if the budget has limits.

    Raises:
        SpaceError: if nothing fits.
    """
    data: dict[str, Any] = {
        "name": space.name,
        "about": space.about,
        "size": space.size,
        "axes": dict(zip(space.axis_names, map(list, space.axis_values), strict=True)),
        "fixed": dict(space.fixed),
    }
    if budget.limits:
        inside = FeasibleSet(space, budget)
        data |= {
            "budget": str(budget),
            "counted": dict(zip(COUNTED, space.resolution, strict=True)),
            "feasible": len(inside),
            "spread": {axis: {str(v): n for v, n in by.items()} for axis, by in inside.spread().items()},
            "references": {family: space.spec(point).name for family, point in references(inside).items()},
        }
    return data


def lint(space: Space, budget: Budget) -> Lint:
    """Compares a space with its part inside a budget; every number is exact.

    Raises:
        SpaceError: if nothing fits.
    """
    inside = FeasibleSet(space, budget)
    whole = FeasibleSet(space, Budget(), inside.cost_table)
    before = {"depth": whole.total_depths(), **whole.spread()}
    after = {"depth": inside.total_depths(), **inside.spread()}
    axes = {
        name: Axis(Spread(counts), Spread({value: after[name].get(value, 0) for value in counts}))
        for name, counts in before.items()
    }
    return Lint(space, budget, len(inside), axes)
