"""The part of a design space that fits a budget: counts it exactly, draws from it uniformly, finds neighbours.

There is no rejection sampling. For each choice of widths the cost is affine in the depths, so one matrix product
tells which of all combinations of depths fit. The set keeps one bit for each architecture of the space; the counts by
choice make an exactly uniform draw possible.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nxt.errors import SpaceError
from nxt.space.budget import Budget
from nxt.space.cost_table import CostTable
from nxt.space.space import Point, Space
from nxt.units import format_cost

_CHUNK = 1 << 15  # candidates costed at once: their costs stay in the cache
_SMALL = 64  # pixels: up to here the space cifar has the stem for it
FOR_SMALL = f"for {_SMALL} px and less the space cifar is made"
_ONES = np.array([byte.bit_count() for byte in range(256)], dtype=np.uint8)


class FeasibleSet:
    """All architectures of a space inside a budget, at the image size and classes the space is made for.

    Args:
        space: The space.
        budget: The budget.
        cost_table: The space's costs, if they are computed already.

    Raises:
        SpaceError: if there are none; the message names the nearest architecture and its cost.
    """

    def __init__(self, space: Space, budget: Budget, cost_table: CostTable | None = None) -> None:
        self.space, self.budget = space, budget
        self.cost_table = cost_table or CostTable(space)
        sizes = [len(values) for values in space.depths]
        self._steps = np.indices(sizes, dtype=np.int16).reshape(len(sizes), -1).T  # (depth combinations, stages)
        depths = [np.array(values)[self._steps[:, s]] for s, values in enumerate(space.depths)]
        self._depths = np.stack(depths, axis=1)
        self._blocks = np.stack([np.ones(len(self._depths)), *(np.array(depths) - 1.0)])  # 1, then further blocks
        self._limits = [(limit, self.cost_table.coefficients(limit.cost)) for limit in budget.limits]
        self._bits = np.concatenate([np.packbits(self._inside(chunk), axis=1) for chunk in self._chunks()])
        self._counts = _ONES[self._bits].sum(axis=1, dtype=np.int64)
        self._ends = np.cumsum(self._counts)
        if not len(self):
            raise SpaceError(self._nearest_outside())

    def __len__(self) -> int:
        """Exact number of architectures inside the budget."""
        return int(self._ends[-1])

    def draw(self, rng: np.random.Generator) -> Point:
        """Draws one architecture; each has the same probability."""
        return self._at(np.array([rng.integers(len(self))]))[0]

    def sample(self, rng: np.random.Generator, n: int) -> list[Point]:
        """Draws n different architectures; each set of n, in each order, has the same probability.

        Raises:
            SpaceError: if there are fewer.
        """
        if n > len(self):
            feasible = f"{self.space.name!r} has {len(self)} with {self.budget}"
            raise SpaceError(f"{n} different architectures were asked for, but the space {feasible}; ask for fewer")
        return self._at(rng.choice(len(self), n, replace=False))

    def __contains__(self, point: Point) -> bool:
        """Tells whether a point makes a network that fits."""
        return bool(self.fits(np.array([point]))[0])

    def fits(self, points: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Tells which of some points, (N, axes), make a network that fits."""
        sizes = np.array([len(values) for values in self.space.axis_values])
        fits = np.asarray(((points >= 0) & (points < sizes)).all(axis=1))
        inside = points[fits]
        k = self.cost_table.find(inside)
        stages = len(self.space.depths)
        row = np.ravel_multi_index(tuple(inside[:, :stages].T), tuple(sizes[:stages].tolist()))
        bits = self._bits[k, row >> 3] >> (7 - (row & 7)).astype(np.uint8) & 1  # np.packbits begins at the highest bit
        fits[fits] = (k >= 0) & bits.astype(np.bool_)
        return fits

    def costs(self, points: NDArray[np.integer[Any]]) -> dict[str, NDArray[np.float64]]:
        """Returns the costs of points of the space, (N, axes), each by its name, (N,)."""
        return dict(zip(self.cost_table.names, self.cost_table.costs(points), strict=True))

    def nearest(self, point: Point, taken: Collection[Point] = ()) -> Point | None:
        """Returns the nearest feasible point that is not taken, or None if all are taken.

        The distance is the sum over the axes of the steps between value positions. Of equally near points, those with
        more of their steps in the depths are preferred, then the first in the order of the space.
        """
        stages = len(self.space.depths)
        choices = _distances(self.space.choices, point[stages:])
        depths = _distances(self._steps, point[:stages])
        nonempty = np.flatnonzero(self._counts)
        by_distance = [(d, np.flatnonzero(depths == d)) for d in np.unique(depths)]
        best: Point | None = None
        best_distance = np.inf
        for c in np.unique(choices[nonempty]):
            if c >= best_distance:
                break
            shell = nonempty[choices[nonempty] == c]
            members = self._members(shell)
            for d, rows in by_distance:
                if c + d >= best_distance:
                    break
                candidates = (self._point(int(shell[k]), int(rows[row])) for k, row in np.argwhere(members[:, rows]))
                free = next((candidate for candidate in candidates if candidate not in taken), None)
                if free is not None:
                    best, best_distance = free, c + d
        return best

    def points(self) -> list[Point]:
        """Returns all feasible points. For small sets."""
        return self._at(np.arange(len(self)))

    def of_choice(self, choice: Point) -> list[Point]:
        """Returns the feasible points that make the given choice along the axes other than the depths."""
        k = int(self.cost_table.find(np.array([(0,) * len(self.space.depths) + choice]))[0])
        return [] if k < 0 else [self._point(k, int(row)) for row in np.flatnonzero(self._members(np.array([k])))]

    def spread(self) -> dict[str, dict[int, int]]:
        """Returns the number of feasible architectures by axis and value."""
        result: dict[str, dict[int, int]] = {}
        for s, values in enumerate(self.space.depths):
            result[f"depth{s + 1}"] = {v: int(self._by_depths[self._depths[:, s] == v].sum()) for v in values}
        for a, (name, values) in enumerate(self.space.axes.items()):
            counts = np.bincount(self.space.choices[:, a], weights=self._counts, minlength=len(values))
            result[name] = dict(zip(values, map(int, counts), strict=True))
        return result

    def total_depths(self) -> dict[int, int]:
        """Returns the number of feasible architectures by the number of blocks in all stages together."""
        counts = np.bincount(self._depths.sum(axis=1), weights=self._by_depths)
        return {total: int(count) for total, count in enumerate(counts) if count}

    @cached_property
    def _by_depths(self) -> NDArray[np.int64]:
        """The number of feasible architectures with each combination of depths."""
        counts = np.zeros(len(self._depths), dtype=np.int64)
        for chunk in self._chunks():
            counts += self._members(chunk).sum(axis=0, dtype=np.int64)
        return counts

    def _chunks(self) -> Iterator[slice]:
        """Yields slices of choices, few enough to cost with all depths at once."""
        width = max(1, _CHUNK // len(self._depths))
        for start in range(0, len(self.space.choices), width):
            yield slice(start, start + width)

    def _inside(self, chunk: slice) -> NDArray[np.bool_]:
        """Tells which combinations of depths (columns) of some choices (rows) fit."""
        fits = np.ones((len(self.space.choices[chunk]), len(self._depths)), dtype=np.bool_)
        for limit, coefficients in self._limits:
            value = coefficients[chunk] @ self._blocks
            fits &= value >= limit.low
            fits &= value <= limit.high
        return fits

    def _members(self, choices: slice | NDArray[np.intp]) -> NDArray[np.uint8]:
        """Returns the result of `_inside` for some choices, as zeros and ones."""
        return np.unpackbits(self._bits[choices], axis=1, count=len(self._depths))

    def _at(self, indices: NDArray[np.integer[Any]]) -> list[Point]:
        """Returns the feasible points with these positions in the order of the space."""
        k = np.searchsorted(self._ends, indices, side="right")
        chosen, position = np.unique(k, return_inverse=True)
        rows = np.nonzero(self._members(chosen))[1]  # of all chosen choices, one after the other
        starts = np.cumsum(self._counts[chosen]) - self._counts[chosen]
        within = indices - (self._ends[k] - self._counts[k])
        steps = self._steps[rows[starts[position] + within]]
        return list(map(tuple, np.concatenate([steps, self.space.choices[k]], axis=1).tolist()))

    def _point(self, k: int, row: int) -> Point:
        return (*self._steps[row].tolist(), *self.space.choices[k].tolist())

    def _nearest_outside(self) -> str:
        """Returns a message that nothing fits, with the nearest architecture (by log cost, summed over the limits)."""
        best, best_distance = (0, 0), np.inf
        for chunk in self._chunks():
            distance = np.zeros((len(self.space.choices[chunk]), len(self._depths)))
            for limit, coefficients in self._limits:
                value = np.log(coefficients[chunk] @ self._blocks)
                distance += np.maximum(0, np.maximum(np.log(limit.low) - value, value - np.log(limit.high)))
            k, row = np.unravel_index(distance.argmin(), distance.shape)
            if distance[k, row] < best_distance:
                best, best_distance = (chunk.start + int(k), int(row)), distance[k, row]
        point = self._point(*best)
        nearest = self.space.cost(point)
        figures = ", ".join(f"{format_cost(x.cost, getattr(nearest, x.cost), 4)} {x.cost}" for x in self.budget.limits)
        name = self.space.spec(point).name
        size, classes = self.space.resolution
        dear = any(getattr(nearest, limit.cost) > limit.high for limit in self.budget.limits)
        hint = f"; `size` counts smaller images, and {FOR_SMALL}"
        hint = hint if dear and size > _SMALL and self.space.head is None else ""
        return (
            f"nothing in the space {self.space.name!r} has {self.budget}; the nearest is {name} with {figures}, "
            f"at {size} px and {classes:,} classes{hint}"
        )


def _distances(rows: NDArray[np.int16], point: Point) -> NDArray[np.int64]:
    """Returns the number of steps from each row (N, axes) to a point."""
    distances = np.zeros(len(rows), dtype=np.int64)
    for axis, index in enumerate(point):
        distances += np.abs(rows[:, axis] - index)
    return distances
