"""What a model knows of an architecture before its training: positions on the axes, and logarithms of all costs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from nxt.search.strategy.sampler import Choices
from nxt.space.space import Point

Array = NDArray[np.float64]
Points = NDArray[np.int64]  # axis positions, (points, axes)


class Features:
    """Describes points by numbers, each within 0..1 for the feasible points.

    Args:
        feasible: The feasible points.
        most: How many of them to sample, to know the ranges of the costs.
        seed: Decides the sample.

    Attributes:
        pool: The sample, uniform; or all feasible points, if they are no more.
    """

    def __init__(self, feasible: Choices, most: int, seed: int) -> None:
        self._feasible = feasible
        rng = np.random.default_rng([seed, most])
        self.pool: Points = np.array(feasible.sample(rng, min(most, len(feasible))))
        logs = {name: np.log(values) for name, values in feasible.costs(self.pool).items()}
        self._ranges = {name: (float(values.min()), float(np.ptp(values)) or 1.0) for name, values in logs.items()}
        self._steps = np.array([max(1, len(values) - 1) for values in feasible.space.axis_values])

    def inputs(self, points: Points) -> Array:
        """Returns the positions on the axes and all costs of points, (points, axes and costs)."""
        return np.concatenate([points / self._steps, self.costs(points, list(self._ranges))], axis=1)

    def span(self, name: str) -> float:
        """Returns the difference of the highest and the lowest logarithm of a cost."""
        return self._ranges[name][1]

    def costs(self, points: Points, names: Sequence[str]) -> Array:
        """Returns the logarithms of some costs of points, (points, names)."""
        costs = self._feasible.costs(points)
        scaled = [(np.log(costs[name]) - self._ranges[name][0]) / self._ranges[name][1] for name in names]
        return np.stack(scaled, axis=1)


def untried(points: Points, taken: Collection[Point]) -> Points:
    """Returns those of the points that are not taken."""
    free = [point for point in map(tuple, points.tolist()) if point not in taken]
    return np.array(free, dtype=np.int64).reshape(len(free), points.shape[1])
