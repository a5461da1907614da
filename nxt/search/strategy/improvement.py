"""Expected hypervolume improvement where the costs are known and only the accuracy is uncertain, in closed form.

An architecture's costs are exact before it is trained. So its improvement on a front depends on one random number, its
accuracy: in each cell of the cost space that it would dominate, it adds what its accuracy exceeds the best one known
there. The expectation of that is the expected improvement of one variable (Jones et al. 1998, doi
10.1023/A:1008306431147, eq. 15), and their sum over the cells is exact. Compare arXiv 2006.05078, where both objectives
are uncertain and the sum runs over boxes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
_CHUNK = 1 << 20  # candidates times cells at once


def hypervolume_improvement(
    costs: Array, mean: Array, deviation: Array, known: Array, levels: Array, worst: Array, floor: float
) -> Array:
    """Returns the expected hypervolume that each candidate adds to a front.

    Args:
        costs: The candidates' costs, (candidates, objectives), lower is better.
        mean: The means of their normally distributed scores, (candidates,), higher is better.
        deviation: Their standard deviations.
        known: The costs of the architectures that are known, (known, objectives).
        levels: Their scores, (known,).
        worst: The costs from which on nothing counts, (objectives,).
        floor: The score below which nothing counts.
    """
    edges, heights = cells(known, levels, worst, floor)
    values, position = np.unique(heights, return_inverse=True)
    result = np.empty(len(costs))
    step = max(1, _CHUNK // heights.size)
    for start in range(0, len(costs), step):
        part = slice(start, start + step)
        volumes = np.ones((len(costs[part]), 1))
        for axis, bounds in enumerate(edges):
            lengths = np.clip(bounds[1:] - np.maximum(bounds[:-1], costs[part, axis, None]), 0, None)
            volumes = (volumes[:, :, None] * lengths[:, None, :]).reshape(len(volumes), -1)
        gains = improvement(mean[part, None], deviation[part, None], values)
        result[part] = (volumes * gains[:, position.reshape(-1)]).sum(axis=1)
    return result


def improvement(mean: Array, deviation: Array, level: Array) -> Array:
    """Returns the expectation of max(0, x - level) for a normally distributed x."""
    scaled = (mean - level) / deviation
    density = np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
    return np.asarray(deviation * (scaled * ndtr(scaled) + density))


def cells(known: Array, levels: Array, worst: Array, floor: float) -> tuple[list[Array], Array]:
    """Divides the cost space into cells, in each of which the best score known at no higher cost is the same.

    Returns:
        The edges of the cells along each objective, from minus infinity to the worst cost; and the best score in each
        cell, (cells, ...) with an axis for each objective.
    """
    counts = (known < worst).all(axis=1) & (levels > floor)
    known, levels = known[counts], levels[counts]
    leading = non_dominated(known, levels)
    known, levels = known[leading], levels[leading]
    inner = [np.unique(known[:, axis]) for axis in range(known.shape[1])]
    heights = np.full([len(values) + 1 for values in inner], floor)
    places = tuple(np.searchsorted(values, known[:, axis]) + 1 for axis, values in enumerate(inner))
    np.maximum.at(heights, places, levels)
    for axis in range(heights.ndim):
        heights = np.maximum.accumulate(heights, axis=axis)
    edges = [np.concatenate([[-np.inf], values, [worst[axis]]]) for axis, values in enumerate(inner)]
    return edges, heights


def non_dominated(costs: Array, scores: Array) -> NDArray[np.bool_]:
    """Tells which rows no other row dominates: none costs no more, scores no less, and differs."""
    leading = np.ones(len(costs), dtype=np.bool_)
    for i in range(len(costs)):
        no_worse = (costs <= costs[i]).all(axis=1) & (scores >= scores[i])
        leading[i] = not (no_worse & ((costs < costs[i]).any(axis=1) | (scores > scores[i]))).any()
    return leading
