"""Compares design spaces by the errors of architectures drawn from them, not by the best architecture.

The measure is the error distribution function: F(e) is the share of architectures with an error of at most e
(Radosavovic et al. 2019, arXiv 1905.13214, sec. 3; the paper has "below e", which differs only at the steps). Costlier
architectures have lower errors, so the two populations are first weighted so that their costs have the same
distribution. Errors lie in 0..1.
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
from nxt.units import plural

if TYPE_CHECKING:
    from nxt.search.results.run import Run

FACTOR = 1.25  # ratio of the highest to the lowest cost in a bin
_PERMUTATIONS, _RESAMPLES = 2000, 1000
_LEVEL = 0.05  # p-value below which a difference counts as significant

Values = NDArray[np.float64]


def edf(errors: ArrayLike, weights: ArrayLike, at: ArrayLike) -> Values:
    """Returns the weighted error distribution function at some errors: the share of weight with at most that error.

    Args:
        errors: Errors of n architectures, (n,).
        weights: Weights of the architectures, (n,); not all zero.
        at: Errors at which to evaluate the function, (m,).
    """
    e, w = np.asarray(errors, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(e, kind="stable")
    share: Values = np.append(0.0, np.cumsum(w[order])) / w.sum()
    return share[np.searchsorted(e[order], np.asarray(at, dtype=np.float64), side="right")]


def steps_of(*errors: ArrayLike) -> Values:
    """Returns the errors at which the populations' distribution functions rise, plus a margin at both ends to draw."""
    steps = np.unique(np.concatenate([np.asarray(population, dtype=np.float64) for population in errors]))
    margin = 0.03 * float(steps[-1] - steps[0]) or 0.01
    return np.concatenate([[steps[0] - margin], steps, [steps[-1] + margin]])


def quantiles(errors: ArrayLike, weights: ArrayLike, shares: ArrayLike) -> Values:
    """Returns the lowest error at which the weighted distribution function reaches each share."""
    e = np.unique(np.asarray(errors, dtype=np.float64))
    reached = edf(errors, weights, e)
    return e[np.minimum(np.searchsorted(reached, np.asarray(shares) - 1e-12), len(e) - 1)]


def bands(errors: ArrayLike, weights: ArrayLike, at: ArrayLike, seed: int = 0, confidence: float = 0.95) -> Values:
    """Returns pointwise bootstrap bands of the weighted distribution function: (2, m), lower and upper.

    Architectures are drawn with replacement and keep their weights. Arguments as for `edf`.
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
    """Returns the bin of each cost, with the same bins for all populations: geometric ones from the lowest cost up."""
    arrays = [np.asarray(population, dtype=np.float64) for population in costs]
    lowest = min(array.min() for array in arrays)
    return [np.floor(np.log(array / lowest) / math.log(factor) + 1e-9).astype(np.int64) for array in arrays]


def equal_cost_weights(bins: NDArray[np.int64], others: NDArray[np.int64]) -> tuple[Values, Values]:
    """Returns weights with which the costs of two populations have the same distribution over the bins.

    Architectures in bins without members of the other population have weight 0. A bin with a and b members has the
    weight a b / (a + b) of Cochran, Mantel and Haenszel. In the paper (sec. 3.3) all bins have the same weight, so
    that a single architecture may count as much as many.

    Returns:
        The weights of both populations. Each sums to 1; they are all zero if no bin is shared.
    """
    size = int(max(bins.max(), others.max())) + 1
    first, second = np.bincount(bins, minlength=size), np.bincount(others, minlength=size)
    weight = first * second / np.maximum(1, first + second)
    weight /= weight.sum() or 1.0
    return (weight / np.maximum(1, first))[bins], (weight / np.maximum(1, second))[others]


def ks_distance(errors: ArrayLike, weights: ArrayLike, others: ArrayLike, other_weights: ArrayLike) -> float:
    """Returns the Kolmogorov-Smirnov distance of two weighted distribution functions, in 0..1."""
    places = np.concatenate([np.asarray(errors, dtype=np.float64), np.asarray(others, dtype=np.float64)])
    return float(np.abs(edf(errors, weights, places) - edf(others, other_weights, places)).max())


def permutation_p(
    errors: ArrayLike, others: ArrayLike, bins: NDArray[np.int64], other_bins: NDArray[np.int64], seed: int = 0
) -> float:
    """Returns the probability of at least this distance at equal cost if both populations have one distribution.

    Shuffles the membership of architectures inside each bin of cost, so that the numbers there and the weights stay.
    Exact except for the finite number of shuffles; arguments as above.
    """
    weights = equal_cost_weights(bins, other_bins)
    both = np.concatenate([np.asarray(errors, dtype=np.float64), np.asarray(others, dtype=np.float64)])
    order = np.argsort(both, kind="stable")
    signed, bin_of = np.concatenate([weights[0], -weights[1]])[order], np.concatenate([bins, other_bins])[order]
    last = np.append(np.diff(both[order]) > 0, True)  # the last of each run of equal errors
    rng = np.random.default_rng(seed)
    by_bin, shuffled = np.argsort(bin_of, kind="stable"), np.empty_like(signed)

    def gap(values: Values) -> float:
        return float(np.abs(np.cumsum(values)[last]).max())

    measured, count = gap(signed) - 1e-9, 0
    for _ in range(_PERMUTATIONS):
        shuffled[by_bin] = signed[np.lexsort((rng.random(len(signed)), bin_of))]
        count += gap(shuffled) >= measured
    return (1 + count) / (1 + _PERMUTATIONS)


@dataclass(frozen=True)
class Population:
    """Trained architectures as a sample of a space: their errors (n,) and costs (n,)."""

    name: str
    errors: Values
    costs: Values
    notes: tuple[str, ...] = ()  # on what is left out, and on why the sample is not uniform


@dataclass(frozen=True)
class Side:
    """The part of a population with architectures of the same cost in the other: errors and weights, (m,) each."""

    name: str
    finished: int  # architectures of the whole population
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
        """Returns a sentence on which space has the lower errors, and whether the difference may be chance."""
        (first, second), name = self.sides, COST_NAMES[self.cost]
        figures = f"KS distance {self.distance:.2f}, p = {self.p:.2g}"
        medians = first.quartiles[1], second.quartiles[1]
        if self.p >= _LEVEL:
            return f"No clear difference at equal {name} ({figures})."
        if medians[0] == medians[1]:
            return f"The errors differ at equal {name}, but not their medians ({figures})."
        better = first if medians[0] < medians[1] else second
        comparison = f"median {min(medians):.1%} against {max(medians):.1%}"
        return f"{better.name} has the lower errors at equal {name}: {comparison} ({figures})."

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
        cost: Name of their costs, a field of `Cost`.
        seed: Seed of the shuffles for the p-value.

    Raises:
        RunError: if the populations share no bin of cost.
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
        Side(population.name, len(population.errors), errors[i], weights[i][used[i]], population.notes)
        for i, population in enumerate((first, second))
    )
    return Comparison(
        cost,
        (sides[0], sides[1]),
        ks_distance(errors[0], sides[0].weights, errors[1], sides[1].weights),
        permutation_p(errors[0], errors[1], bins[0][used[0]], bins[1][used[1]], seed),
    )


def population(run: Run, cost: str) -> Population:
    """Returns the architectures that a run drew as a sample of its space; `cost` is a field of `Cost`.

    Only the first training of each architecture counts, so that all have the same noise, also those that were chosen
    for another training. References are left out: they were not drawn.

    Raises:
        RunError: if no architecture reached the last epoch.
    """
    trained = first_trainings(run)
    drawn = [trial for trial in trained if not trial.family]
    if not drawn:
        raise RunError(f"{run.path}: no architecture that was drawn has reached the last epoch; nothing to compare")
    references = len(trained) - len(drawn)
    note = f"{plural(references, 'reference')} left out, not drawn from the space"
    return Population(
        str(run.path),
        np.array([1 - (trial.accuracy or 0.0) for trial in drawn]),
        np.array([getattr(trial.cost, cost) for trial in drawn], dtype=np.float64),
        (*sampling_notes(run), *([note] if references else [])),
    )


def first_trainings(run: Run) -> list[Trial]:
    """Returns the first finished training of each architecture that reached the last epoch."""
    first: dict[str, Trial] = {}
    for trial in sorted(run.trials, key=lambda trial: trial.replicate):
        if trial.outcome is Outcome.DONE:
            first.setdefault(trial.spec.fingerprint, trial)
    return list(first.values())


def sampling_notes(run: Run) -> list[str]:
    """Returns notes on why a run's trained architectures are not a uniform sample of its space."""
    stopped, failed = run.count(Outcome.STOPPED), sum(trial.outcome.failed for trial in run.trials)
    sampler = run.request.settings.sampler
    notes = []
    if run.request.is_list:
        notes.append("a list: how its architectures were chosen is not known")
    elif sampler != "random":
        notes.append(
            f"chosen by {sampler}, no uniform sample: its errors are lower than the space's "
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
    conditions = first.record.conditions, second.record.conditions
    if key := first_difference(*conditions):
        difference = _difference(key, conditions[0][key], conditions[1][key])
        raise RunError(f"{first.path} and {second.path} cannot be compared: they differ in {difference}")


def _difference(key: str, first: Any, second: Any) -> str:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        name = next(name for name in {**first, **second} if first.get(name) != second.get(name))
        return _difference(f"{key}.{name}", first.get(name), second.get(name))
    return f"{key} ({first} and {second})"
