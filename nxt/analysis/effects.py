"""Computes what each value of an axis is worth at equal cost: the mean residual accuracy, with a bootstrap interval.

Accuracies are compared as `nxt space narrow` compares them: in bands of multiply-adds, what a straight line over the
logarithm of the cost explains is subtracted. The other axes are not held fixed, so these are marginal effects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nxt.analysis.error_distribution import Values
from nxt.analysis.narrow import LEAST, at_equal_cost, cost_bands
from nxt.search.trial import Trial
from nxt.space.space import Space

LEAST_FOR_INTERVAL = 5  # architectures; of fewer, a bootstrap interval is far too narrow
_RESAMPLES = 2000


@dataclass(frozen=True)
class Residuals:
    """First trainings of n architectures, and how much more accurate each is than others of its cost, (n,), in 0..1."""

    trials: tuple[Trial, ...]
    values: Values


@dataclass(frozen=True)
class Effect:
    """How much more accurate the architectures with a value are than all of the same cost, in 0..1."""

    value: Any
    count: int
    mean: float
    interval: tuple[float, float] | None  # of 95 % confidence; None: too few architectures


def residuals(trials: Sequence[Trial]) -> Residuals | None:
    """Returns accuracies at equal multiply-adds; None for fewer than `narrow.LEAST` architectures."""
    if len(trials) < LEAST:
        return None
    errors = np.array([1 - (trial.accuracy or 0.0) for trial in trials])
    macs = np.array([trial.cost.macs for trial in trials], dtype=np.float64)
    return Residuals(tuple(trials), -at_equal_cost(errors, macs, cost_bands(macs)))


def main_effects(residual: Residuals, space: Space) -> dict[str, list[Effect]]:
    """Returns, by axis, the effect of each value that was trained; axes with one such value are left out."""
    points = np.array([trial.point for trial in residual.trials], dtype=np.int64)
    effects = {
        name: [effect(values[at], residual.values[points[:, axis] == at]) for at in np.unique(points[:, axis])]
        for axis, (name, values) in enumerate(zip(space.axis_names, space.axis_values, strict=True))
    }
    return {name: of for name, of in effects.items() if len(of) > 1}


def by_cardinality_and_radix(residual: Residuals) -> list[Effect]:
    """Returns the effect of each pair (cardinality, radix); empty where one of them does not vary.

    Networks whose stages differ in cardinality have no such pair.
    """
    pairs = [
        (t.spec.cardinality[0], t.spec.radix) if len(set(t.spec.cardinality)) == 1 else None for t in residual.trials
    ]
    known = sorted({pair for pair in pairs if pair is not None})
    if min((len(set(side)) for side in zip(*known, strict=True)), default=0) < 2:
        return []
    return [effect(pair, residual.values[_where(pairs, pair)]) for pair in known]


def effect(value: Any, accuracies: Values, seed: int = 0) -> Effect:
    """Returns the mean of some accuracies with its percentile bootstrap interval.

    Args:
        value: The value that the architectures have in common.
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


def _where(pairs: Iterable[object], pair: object) -> list[int]:
    return [index for index, one in enumerate(pairs) if one == pair]
