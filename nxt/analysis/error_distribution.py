"""Compares design spaces by the errors of architectures drawn from them, not by the best architecture.

The measure is the error distribution function: F(e) is the share of architectures with an error of at most e
(Radosavovic et al. 2019, arXiv 1905.13214, sec. 3; theirs has "below e", which differs at the steps alone). Costlier
architectures err less, so the two populations are first weighted such that their costs have the same distribution.
Errors lie in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nxt.arch.costs import COST_NAMES
from nxt.errors import RunError
from nxt.search.request import first_difference
from nxt.search.trial import Outcome, Trial

if TYPE_CHECKING:
    from nxt.search.results.run import Run

FACTOR = 1.25  # costs that differ by less than this factor may share a bin
_PERMUTATIONS, _RESAMPLES = 2000, 1000
_LEVEL = 0.05  # of a p-value, below which a difference is called one

Values = NDArray[np.float64]


def edf(errors: ArrayLike, weights: ArrayLike, at: ArrayLike) -> Values:
    """Returns the weighted error distribution function at some errors: the share of weight with at most that error.

    Args:
        errors: Errors of n architectures, (n,).
        weights: How much each counts, (n,); not all zero.
        at: Errors at which to evaluate the function, (m,).
    """
    e, w = np.asarray(errors, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(e, kind="stable")
    share: Values = np.append(0.0, np.cumsum(w[order])) / w.sum()
    return share[np.searchsorted(e[order], np.asarray(at, dtype=np.float64), side="right")]


def steps_of(*errors: ArrayLike) -> Values:
    """Returns where the distribution functions of populations rise, and a little beyond both ends, for drawing."""
    at = np.unique(np.concatenate([np.asarray(one, dtype=np.float64) for one in errors]))
    edge = 0.03 * float(at[-1] - at[0]) or 0.01
    return np.concatenate([[at[0] - edge], at, [at[-1] + edge]])


def quantiles(errors: ArrayLike, weights: ArrayLike, shares: ArrayLike) -> Values:
    """Returns for each share the lowest error at which the weighted distribution function reaches it."""
    e = np.unique(np.asarray(errors, dtype=np.float64))
    reached = edf(errors, weights, e)
    return e[np.minimum(np.searchsorted(reached, np.asarray(shares) - 1e-12), len(e) - 1)]


def bands(errors: ArrayLike, weights: ArrayLike, at: ArrayLike, seed: int = 0, confidence: float = 0.95) -> Values:
    """Returns pointwise bootstrap bands of the weighted distribution function: (2, m), lower and upper.

    Architectures are drawn with replacement, each with its weight. Arguments as for `edf`.
    """
    w = np.asarray(weights, dtype=np.float64)
    e, w = np.asarray(errors, dtype=np.float64)[w > 0], w[w > 0]
    order = np.argsort(e, kind="stable")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(e), np.full(len(e), 1 / len(e)), size=_RESAMPLES) * w[order]
    share = np.cumsum(drawn, axis=1) / drawn.sum(axis=1, keepdims=True)
    places = np.searchsorted(e[order], np.asarray(at, dtype=np.float64), side="right")
    resampled = np.hstack([np.zeros((_RESAMPLES, 1)), share])[:, places]
    tail = (1 - confidence) / 2
    result: Values = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return result


def cost_bins(*costs: ArrayLike, factor: float = FACTOR) -> list[NDArray[np.int64]]:
    """Returns for each cost its bin, of populations binned alike: bins rise by a factor, from the lowest cost on."""
    arrays = [np.asarray(one, dtype=np.float64) for one in costs]
    lowest = min(one.min() for one in arrays)
    return [np.floor(np.log(one / lowest) / math.log(factor) + 1e-9).astype(np.int64) for one in arrays]


def equal_cost_weights(bins: NDArray[np.int64], others: NDArray[np.int64]) -> tuple[Values, Values]:
    """Returns weights that make the costs of two populations alike: each bin has the same weight in both.

    Only bins in which both have members count; architectures in other ones have weight 0. Of a populations, a and b
    members of a bin, its weight is a b / (a + b), that of Cochran, Mantel and Haenszel: all bins weigh alike in the
    paper (sec. 3.3), which lets a lone architecture count for as much as many.

    Returns:
        The weights of either, each summing to 1, or all zero if there is no such bin.
    """
    size = int(max(bins.max(), others.max())) + 1
    first, second = np.bincount(bins, minlength=size), np.bincount(others, minlength=size)
    weight = first * second / np.maximum(1, first + second)
    weight /= weight.sum() or 1.0
    return (weight / np.maximum(1, first))[bins], (weight / np.maximum(1, second))[others]


def ks_distance(errors: ArrayLike, weights: ArrayLike, others: ArrayLike, other_weights: ArrayLike) -> float:
    """Returns the largest difference between two weighted distribution functions (Kolmogorov and Smirnov), in 0..1."""
    places = np.concatenate([np.asarray(errors, dtype=np.float64), np.asarray(others, dtype=np.float64)])
    return float(np.abs(edf(errors, weights, places) - edf(others, other_weights, places)).max())


def permutation_p(
    errors: ArrayLike, others: ArrayLike, bins: NDArray[np.int64], other_bins: NDArray[np.int64], seed: int = 0
) -> float:
    """Returns the probability of a distance as large at equal cost, if both populations come from one distribution.

    Which architectures belong to which population is shuffled inside each bin of cost, so that the numbers there,
    and with them the weights, stay. Exact but for the number of shuffles; arguments as above.
    """
    weights = equal_cost_weights(bins, other_bins)
    both = np.concatenate([np.asarray(errors, dtype=np.float64), np.asarray(others, dtype=np.float64)])
    order = np.argsort(both, kind="stable")
    signed, bin_of = np.concatenate([weights[0], -weights[1]])[order], np.concatenate([bins, other_bins])[order]
    last = np.append(np.diff(both[order]) > 0, True)  # of errors that are equal
    rng = np.random.default_rng(seed)
    by_bin, shuffled = np.argsort(bin_of, kind="stable"), np.empty_like(signed)

    def gap(values: Values) -> float:
        return float(np.abs(np.cumsum(values)[last]).max())

    measured, as_large = gap(signed) - 1e-9, 0
    for _ in range(_PERMUTATIONS):
        shuffled[by_bin] = signed[np.lexsort((rng.random(len(signed)), bin_of))]
        as_large += gap(shuffled) >= measured
    return (1 + as_large) / (1 + _PERMUTATIONS)


@dataclass(frozen=True)
class Population:
    """Trained architectures as a sample of a space: their errors (n,) and costs (n,)."""

    name: str
    errors: Values
    costs: Values
    notes: tuple[str, ...] = ()  # what is left out, and why it is no uniform sample


@dataclass(frozen=True)
class Side:
    """The part of a population for which another has architectures of the same cost: errors and weights, (m,) each."""

    name: str
    finished: int  # architectures in all; the others cost what none of the other population does
    errors: Values
    weights: Values
    notes: tuple[str, ...]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile of the error at equal cost."""
        low, middle, high = quantiles(self.errors, self.weights, [0.25, 0.5, 0.75]).tolist()
        return low, middle, high


@dataclass(frozen=True)
class Comparison:
    """Two populations at equal cost."""

    cost: str  # a field of `Cost`
    sides: tuple[Side, Side]
    distance: float  # KS
    p: float

    def verdict(self) -> str:
        """Returns a sentence on which space has the lower errors, and whether that may be chance."""
        (first, second), name = self.sides, COST_NAMES[self.cost]
        figures = f"KS distance {self.distance:.2f}, p = {self.p:.2g}"
        middle = first.quartiles[1], second.quartiles[1]
        if self.p >= _LEVEL:
            return f"No clear difference at equal {name} ({figures})."
        if middle[0] == middle[1]:
            return f"The errors differ at equal {name}, but not their medians ({figures})."
        better = first if middle[0] < middle[1] else second
        medians = f"median {min(middle):.1%} against {max(middle):.1%}"
        return f"{better.name} has the lower errors at equal {name}: {medians} ({figures})."

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return {
            "verdict": self.verdict(),
            "cost": self.cost,
            "ks_distance": self.distance,
            "p": self.p,
            "runs": [
                {
                    "run": side.name,
                    "finished": side.finished,
                    "at_equal_cost": len(side.errors),
                    "error_quartiles": list(side.quartiles),
                    "notes": list(side.notes),
                }
                for side in self.sides
            ],
        }


def compare(first: Population, second: Population, cost: str, seed: int = 0) -> Comparison:
    """Compares two populations at equal cost.

    Args:
        first: A population.
        second: Another one.
        cost: Which cost their costs are, a field of `Cost`.
        seed: Seed of the shuffles behind the p-value.

    Raises:
        RunError: if no architecture of one costs about as much as one of the other.
    """
    bins = cost_bins(first.costs, second.costs)
    weights = equal_cost_weights(bins[0], bins[1])
    if not weights[0].any():
        raise RunError(
            f"{first.name} and {second.name} have no architectures of similar {COST_NAMES[cost]}; "
            "compare runs whose budgets overlap"
        )
    used = weights[0] > 0, weights[1] > 0
    errors = first.errors[used[0]], second.errors[used[1]]
    sides = tuple(
        Side(whole.name, len(whole.errors), errors[i], weights[i][used[i]], whole.notes)
        for i, whole in enumerate((first, second))
    )
    return Comparison(
        cost,
        (sides[0], sides[1]),
        ks_distance(errors[0], sides[0].weights, errors[1], sides[1].weights),
        permutation_p(errors[0], errors[1], bins[0][used[0]], bins[1][used[1]], seed),
    )


def population(run: Run, cost: str) -> Population:
    """Returns the architectures that a run drew as a sample of its space; `cost` is a field of `Cost`.

    Each architecture counts by its first training alone, so that all carry the same noise, also those chosen to be
    trained again. References are left out: they were not drawn.

    Raises:
        RunError: if no architecture reached the last epoch.
    """
    trained = first_trainings(run)
    finished = [trial for trial in trained if not trial.family]
    if not finished:
        raise RunError(f"{run.path}: no architecture that was drawn has reached the last epoch; nothing to compare")
    references = len(trained) - len(finished)
    left = f"{references} reference{'s' * (references > 1)} left out, not drawn from the space"
    return Population(
        str(run.path),
        np.array([1 - (trial.accuracy or 0.0) for trial in finished]),
        np.array([getattr(trial.cost, cost) for trial in finished], dtype=np.float64),
        (*sampling_notes(run), *([left] if references else [])),
    )


def first_trainings(run: Run) -> list[Trial]:
    """Returns for each architecture that reached the last epoch its first training to do so."""
    first: dict[str, Trial] = {}
    for trial in sorted(run.trials, key=lambda trial: trial.replicate):
        if trial.outcome is Outcome.DONE:
            first.setdefault(trial.spec.fingerprint, trial)
    return list(first.values())


def sampling_notes(run: Run) -> list[str]:
    """Returns sentences on what keeps a run's trained architectures from being a uniform sample of its space."""
    stopped, failed = run.count(Outcome.STOPPED), sum(trial.outcome.failed for trial in run.trials)
    sampler = run.request.settings.sampler
    notes = []
    if run.request.is_list:
        notes.append("a list: how its architectures were chosen is not known")
    elif sampler != "random":
        notes.append(
            f"proposed by {sampler}, no uniform sample: its errors are lower than the space's "
            "(search.sampler=random draws one)"
        )
    if stopped:
        notes.append(f"{stopped} stopped early and left out: the errors of those that finished are lower than all's")
    if failed:
        notes.append(f"{failed} failed and left out")
    if run.active:
        notes.append("the search still runs")
    return notes


def check_comparable(first: Run, second: Run) -> None:
    """Raises RunError unless the trials of both runs were trained alike: the same data, proxy, epochs and recipe."""
    here, there = first.record.conditions, second.record.conditions
    if key := first_difference(here, there):
        what = _difference(key, here[key], there[key])
        raise RunError(f"{first.path} and {second.path} cannot be compared: they differ in {what}")


def _difference(key: str, first: Any, second: Any) -> str:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        inside = next(name for name in {**first, **second} if first.get(name) != second.get(name))
        return _difference(f"{key}.{inside}", first.get(inside), second.get(inside))
    return f"{key} ({first} and {second})"
