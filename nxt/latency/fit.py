"""Fits latencies of blocks that were not measured: a Gaussian process on the logarithms, with a linear trend.

It has few hyper-parameters, chosen by the error of leaving one block out, which has a closed form (Rasmussen and
Williams 2006, eq. 5.12). numpy suffices, as devices that only infer have it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_LENGTHS, _SIZES, _NOISES = (1.5, 3.0, 6.0), (0.1, 0.3), (0.01, 0.03, 0.1)  # of standardised inputs; of logarithms
_TREND = 1.0  # variance of the trend's slopes


@dataclass(frozen=True)
class Fit:
    """Fitted values, and how good they are."""

    values: Array  # as `inputs` of the others
    error: float  # median of the relative errors when each measured block is left out
    error_90: float  # their 90th percentile


def fit(inputs: Array, times: Array, others: Array) -> Fit:
    """Fits times.

    Args:
        inputs: What describes the measured blocks, (n, features), n at least 2.
        times: Their times, (n,), positive.
        others: What describes the blocks to predict, (m, features).

    Returns:
        The predicted times, (m,), and the errors.
    """
    mean, scale = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-9)
    x, y = (inputs - mean) / scale, np.log(times)
    centre, best, least = float(y.mean()), None, np.inf
    distance = _distances(x, x)
    for length, size, noise in itertools.product(_LENGTHS, _SIZES, _NOISES):
        inverse = np.linalg.inv(_kernel(x, x, distance, length, size) + noise**2 * np.eye(len(x)))
        weights = inverse @ (y - centre)
        left_out = np.abs(np.expm1(weights / np.diag(inverse)))
        if left_out.mean() < least:
            least, best = float(left_out.mean()), (length, size, weights, left_out)
    assert best is not None
    length, size, weights, left_out = best
    z = (others - mean) / scale
    values = np.exp(centre + _kernel(z, x, _distances(z, x), length, size) @ weights)
    return Fit(values, float(np.median(left_out)), float(np.quantile(left_out, 0.9)))


def _kernel(one: Array, other: Array, distance: Array, length: float, size: float) -> Array:
    """Returns a Matern 5/2 kernel beside a linear one."""
    r = np.sqrt(5.0) * distance / length
    kernel: Array = size**2 * (1 + r + r**2 / 3) * np.exp(-r) + _TREND * (one @ other.T)
    return kernel


def _distances(one: Array, other: Array) -> Array:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * one @ other.T
    roots: Array = np.sqrt(np.maximum(squares, 0.0))
    return roots
