"""Uncertainty of accuracies: the noise of seeds and of a finite validation split, and its effect on a front.

Accuracies lie in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from string import ascii_letters

import numpy as np
from numpy.typing import NDArray

_DRAWS = 2000
_TINY = 1e-9  # error of what varies not at all
_LETTERS = ascii_letters + "".join(chr(code) for code in range(0x100, 0x180))  # Latin Extended-A after ASCII
CLEAR = 2.0  # a difference of this many standard errors counts as more than noise


@dataclass(frozen=True)
class Noise:
    """The noise of a single accuracy.

    `seeds` is the standard deviation between trainings of one architecture with different seeds, pooled over all
    architectures trained several times; None if there are none. `images` is the size of the validation split, whose
    sampling noise is binomial: sqrt(p (1 - p) / images).
    """

    seeds: float | None
    images: int

    def error(self, accuracy: float, trainings: int) -> float:
        """Returns the standard error of a mean accuracy over so many trainings, all evaluated on the same images.

        Between two networks evaluated on the same images the binomial part partly cancels, so this overestimates the
        error of their difference a little.
        """
        return math.sqrt((self.seeds or 0.0) ** 2 / trainings + accuracy * (1 - accuracy) / self.images)


def pooled_deviation(groups: Iterable[Sequence[float]]) -> float | None:
    """Returns the standard deviation within groups, pooled; None if no group has two values."""
    squares, freedom = 0.0, 0
    for group in groups:
        mean = sum(group) / len(group) if group else 0.0
        squares += sum((value - mean) ** 2 for value in group)
        freedom += max(0, len(group) - 1)
    return math.sqrt(squares / freedom) if freedom else None


def deviation(values: Sequence[float]) -> float | None:
    """Returns the sample standard deviation, or None for fewer than two values."""
    return pooled_deviation([values])


def front_probability(
    costs: Sequence[float], accuracies: Sequence[float], errors: Sequence[float], seed: int = 0
) -> NDArray[np.float64]:
    """Returns the probability of each point to be on the front, by parametric bootstrap.

    It draws accuracies from normal distributions with the given standard errors, and counts how often no other point
    dominates a point.
    """
    if not len(costs):
        return np.zeros(0)
    cost = np.asarray(costs, dtype=np.float64)
    order = np.argsort(cost, kind="stable")
    cheaper = np.searchsorted(cost[order], cost[order])  # number of points that cost less
    not_costlier = np.searchsorted(cost[order], cost[order], side="right")  # number of points that cost at most as much
    rng = np.random.default_rng(seed)
    on_front = np.zeros(len(cost))
    for _ in range(_DRAWS):
        drawn = rng.normal(np.asarray(accuracies), np.asarray(errors))[order]
        best = np.maximum.accumulate(np.append(-np.inf, drawn))  # best[n]: of the n cheapest points
        on_front += (drawn >= best[not_costlier]) & (drawn > best[cheaper])
    result = np.empty(len(cost))
    result[order] = on_front / _DRAWS
    return result


def best_probability(index: int, accuracies: Sequence[float], errors: Sequence[float]) -> float:
    """Returns the probability that one of several is the best, where true values are normal around those measured."""
    true = [NormalDist(accuracy, max(error, _TINY)) for accuracy, error in zip(accuracies, errors, strict=True)]
    others = true[:index] + true[index + 1 :]
    values = [true[index].inv_cdf((draw + 0.5) / _DRAWS) for draw in range(_DRAWS)]
    return math.fsum(math.prod(other.cdf(value) for other in others) for value in values) / _DRAWS


def ties(accuracies: Sequence[float], errors: Sequence[float]) -> list[str]:
    """Returns letters for each value, as in a compact letter display of multiple comparisons.

    A value does not differ clearly from the highest value that has the same letter. A value that differs clearly from
    all others has no letter.
    """
    order = sorted(range(len(accuracies)), key=lambda i: -accuracies[i])
    groups: list[tuple[int, int]] = []
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and not clear(order[start], order[end + 1], accuracies, errors):
            end += 1
        if end > start and (not groups or end > groups[-1][1]):
            groups.append((start, end))
    letters = [""] * len(order)
    for k, (start, end) in enumerate(groups):
        for position in range(start, end + 1):
            letters[order[position]] += _LETTERS[k % len(_LETTERS)]
    return letters


def clear(i: int, j: int, accuracies: Sequence[float], errors: Sequence[float]) -> bool:
    """Tells whether two values differ by more than CLEAR standard errors of their difference."""
    return abs(accuracies[i] - accuracies[j]) > CLEAR * math.hypot(errors[i], errors[j])
