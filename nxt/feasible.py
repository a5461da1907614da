"""The part of a design space that fits a budget: counted exactly, drawn from uniformly, searched for neighbours.

Nothing is drawn and thrown away. For each choice of widths the cost is affine in the depths, so one matrix
product tells which of all depth combinations fit; the counts by choice make an exactly uniform draw possible.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nxt.budget import Budget
from nxt.costs import Cost, coefficients, cost
from nxt.errors import SpaceError
from nxt.space import Point, Space
from nxt.units import format_count

_CHUNK = 2_000_000  # candidates costed at once


class FeasibleSet:
    """All architectures of a space inside a budget, at the image size and classes the space is made for.

    Raises:
        SpaceError: if there are none; the message names the nearest architecture and its cost.
    """

    def __init__(self, space: Space, budget: Budget) -> None:
        self.space, self.budget = space, budget
        self._configs = list(space.configs)
        self._depths = np.array(list(itertools.product(*space.depths)), dtype=np.float64)
        self._steps = np.array(
            list(itertools.product(*(range(len(values)) for values in space.depths))), dtype=np.int64
        )
        self._base, self._slopes = self._coefficients()
        self._counts = np.concatenate([mask.sum(axis=0) for mask in self._masks()])
        self._ends = np.cumsum(self._counts)
        if not len(self):
            raise SpaceError(self._nothing())

    def __len__(self) -> int:
        """Exact number of architectures inside the budget."""
        return int(self._ends[-1])

    def draw(self, rng: np.random.Generator) -> Point:
        """Draw one architecture; each has the same probability."""
        return self._at(int(rng.integers(len(self))))

    def __contains__(self, point: Point) -> bool:
        """Tell whether a point makes a network that fits."""
        choice = self.space.configs.get(point[len(self.space.depths) :])
        return choice is not None and self.budget.allows(cost(self.space.spec(point)))

    def nearest(self, point: Point, taken: Collection[Point] = ()) -> Point | None:
        """Return the feasible point fewest axis steps away that is not taken, or None if all are.

        Steps are counted in value positions, summed over the axes. Among equally near ones those with more of their
        steps in the depths are preferred, then the first in the order of the space.
        """
        stages = len(self.space.depths)
        choices = np.abs(self._choices - np.array(point[stages:])).sum(axis=1)
        depths = np.abs(self._steps - np.array(point[:stages])).sum(axis=1)
        by_distance = np.argsort(depths, kind="stable")
        best: Point | None = None
        best_distance = np.inf
        for k in np.argsort(choices, kind="stable"):
            if choices[k] >= best_distance:
                break
            if not self._counts[k]:
                continue
            fits = by_distance[self._mask(slice(k, k + 1))[by_distance, 0]]
            for row in fits:
                distance = choices[k] + depths[row]
                if distance >= best_distance:
                    break
                candidate = self._point(int(k), int(row))
                if candidate not in taken:
                    best, best_distance = candidate, distance
                    break
        return best

    def points(self) -> list[Point]:
        """Return all feasible points. For small sets."""
        return [self._at(index) for index in range(len(self))]

    def of_choice(self, choice: Point) -> list[Point]:
        """Return the feasible points that make the given choice along the axes other than the depths."""
        k = self._configs.index(choice)
        return [self._point(k, int(row)) for row in np.flatnonzero(self._mask(slice(k, k + 1))[:, 0])]

    def spread(self) -> dict[str, dict[int, int]]:
        """Return, by axis and value, how many feasible architectures have it."""
        total = np.zeros(len(self._depths), dtype=np.int64)
        for mask in self._masks():
            total += mask.sum(axis=1)
        result: dict[str, dict[int, int]] = {}
        for s, values in enumerate(self.space.depths):
            result[f"depth{s + 1}"] = {v: int(total[self._depths[:, s] == v].sum()) for v in values}
        for a, (name, values) in enumerate(self.space.axes.items()):
            result[name] = {v: int(self._counts[self._choices[:, a] == i].sum()) for i, v in enumerate(values)}
        return result

    @cached_property
    def _choices(self) -> NDArray[np.int64]:
        return np.array(self._configs, dtype=np.int64).reshape(len(self._configs), -1)

    def _coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return base (costs, configs) and slopes (costs, stages, configs) of the limited costs.

        float64 holds every value exactly: costs stay far below 2^53.
        """
        names = [limit.cost for limit in self.budget.limits]
        base = np.empty((len(names), len(self._configs)))
        slopes = np.empty((len(names), len(self.space.depths), len(self._configs)))
        for k, spec in enumerate(self.space.configs.values()):
            start, per_block = coefficients(spec, spec.size, spec.classes)
            for c, name in enumerate(names):
                base[c, k] = getattr(start, name)
                slopes[c, :, k] = [getattr(block, name) for block in per_block]
        return base, slopes

    def _mask(self, chosen: slice) -> NDArray[np.bool_]:
        """Tell which depth combinations (rows) fit for the chosen configs (columns)."""
        fits = np.ones((len(self._depths), len(range(*chosen.indices(len(self._configs))))), dtype=np.bool_)
        for c, limit in enumerate(self.budget.limits):
            value = self._base[c, chosen] + (self._depths - 1) @ self._slopes[c][:, chosen]
            fits &= (value >= limit.low) & (value <= limit.high)
        return fits

    def _masks(self) -> Iterator[NDArray[np.bool_]]:
        width = max(1, _CHUNK // len(self._depths))
        for start in range(0, len(self._configs), width):
            yield self._mask(slice(start, start + width))

    def _at(self, index: int) -> Point:
        k = int(np.searchsorted(self._ends, index, side="right"))
        within = index - int(self._ends[k] - self._counts[k])
        row = int(np.flatnonzero(self._mask(slice(k, k + 1))[:, 0])[within])
        return self._point(k, row)

    def _point(self, k: int, row: int) -> Point:
        return (*(int(step) for step in self._steps[row]), *self._configs[k])

    def _nothing(self) -> str:
        """Say that nothing fits, and which architecture comes nearest (in log cost, summed over the limits)."""
        best, best_distance = (0, 0), np.inf
        for k in range(len(self._configs)):
            distance = np.zeros(len(self._depths))
            for c, limit in enumerate(self.budget.limits):
                value = np.log(self._base[c, k] + (self._depths - 1) @ self._slopes[c][:, k])
                distance += np.maximum(0, np.maximum(np.log(limit.low) - value, value - np.log(limit.high)))
            row = int(distance.argmin())
            if distance[row] < best_distance:
                best, best_distance = (k, row), distance[row]
        spec = self.space.spec(self._point(*best))
        nearest: Cost = cost(spec)
        figures = ", ".join(f"{format_count(getattr(nearest, x.cost), 4)} {x.cost}" for x in self.budget.limits)
        return f"nothing in the space {self.space.name!r} has {self.budget}; the nearest is {spec.name} with {figures}"
