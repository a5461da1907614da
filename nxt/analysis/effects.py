"""Computes the effect of each value of an axis at equal cost: the mean residual accuracy with a bootstrap interval.

Residuals are those of `nxt space narrow`: in each band of multiply-adds, a straight line over the logarithm of the cost
is fitted and subtracted. The other axes are not held fixed, so these are marginal effects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nxt.analysis.error_distribution import Values
from nxt.analysis.narrow import LEAST, at_equal_cost, cost_bands
from nxt.search.trial import Trial
from nxt.space.space import Space

LEAST_FOR_INTERVAL = 5  # architectures; with fewer, a bootstrap interval is far too narrow
_RESAMPLES = 2000


@dataclass(frozen=True)
class Residuals:
    """First trainings of n architectures, with the residual accuracy of each at its cost, (n,), in 0..1."""

    trials: tuple[Trial, ...]
    values: Values


@dataclass(frozen=True)
class Effect:
    """The mean residual accuracy of the architectures with a value, in 0..1."""

    value: Any
    count: int
    mean: float
    interval: tuple[float, float] | None  # of 95 % confidence; None: too few architectures


def residuals(trials: Sequence[Trial]) -> Residuals | None:
    """Returns residual accuracies at equal multiply-adds; None for fewer than `narrow.LEAST` architectures."""
    if len(trials) < LEAST:
        return None
    errors = np.array([1 - (trial.accuracy or 0.0) for trial in trials])
    macs = np.array([trial.cost.macs for trial in trials], dtype=np.float64)
    return Residuals(tuple(trials), -at_equal_cost(errors, macs, cost_bands(macs)))


def main_effects(residual: Residuals, space: Space) -> dict[str, list[Effect]]:
    """Returns by axis the effect of each trained value; axes with a single trained value are left out."""
    points = np.array([trial.point for trial in residual.trials], dtype=np.int64)
    effects = {
        name: [effect(values[index], residual.values[points[:, axis] == index]) for index in np.unique(points[:, axis])]
        for axis, (name, values) in enumerate(zip(space.axis_names, space.axis_values, strict=True))
    }
    return {name: by_value for name, by_value in effects.items() if len(by_value) > 1}


def by_cardinality_and_radix(residual: Residuals) -> list[Effect]:
    """Returns the effect of each pair (cardinality, radix); empty if one of them does not vary.

    Networks whose stages differ in cardinality are left out.
    """
    values: dict[tuple[int, int], list[float]] = defaultdict(list)
    for trial, value in zip(residual.trials, residual.values.tolist(), strict=True):
        if len(set(trial.spec.cardinality)) == 1:
            values[trial.spec.cardinality[0], trial.spec.radix].append(value)
    if min((len(set(side)) for side in zip(*values, strict=True)), default=0) < 2:
        return []
    return [effect(pair, np.array(values[pair])) for pair in sorted(values)]


def effect(value: Any, accuracies: Values, seed: int = 0) -> Effect:
    """Returns the mean of some residual accuracies with its percentile bootstrap interval.

    Args:
        value: The common value of the architectures.
        accuracies: Their residual accuracies, (n,).
        seed: Seed of the bootstrap.
    """
    n = len(accuracies)
    interval = None
    if n >= LEAST_FOR_INTERVAL:
        drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
        low, high = np.quantile(drawn @ accuracies / n, [0.025, 0.975])
        interval = float(low), float(high)
    return Effect(value, n, float(accuracies.mean()), interval)
