"""The model of what an architecture's accuracy will be: a Gaussian process over its axes and its known costs.

The kernel is a Matern 5/2 with a length scale for each input, plus the noise of a training. Length scales and noise
maximise the marginal likelihood times priors (arXiv 2402.02229: length scales that grow with the number of inputs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

Array = NDArray[np.float64]
_MOST_FITTED = 150  # trials that length scales are fitted to: the time grows with the cube
_NOISE = (-4.0, 2.0)  # mean and deviation of the logarithm of the noise's variance, in units of the scores' variance
_LENGTHS, _NOISES = (1e-3, 1e6), (1e-7, 1e2)  # bounds, far outside what the priors allow
_STEPS = 50


class Surrogate:
    """Predicts scores of architectures.

    Args:
        inputs: What describes each trained architecture, (trainings, inputs), each input within 0..1.
        scores: The scores, (trainings,); the same inputs may come several times.
    """

    def __init__(self, inputs: Array, scores: Array) -> None:
        self._inputs = inputs
        self._mean, self._scale = float(scores.mean()), float(scores.std()) or 1.0
        self._targets = (scores - self._mean) / self._scale
        chosen = np.linspace(0, len(inputs) - 1, min(len(inputs), _MOST_FITTED)).round().astype(int)
        fitted = _Posterior(_kernel(inputs.shape[1]), optimizer=_optimize).fit(inputs[chosen], self._targets[chosen])
        self._kernel = fitted.kernel_
        self._process = self._conditioned(inputs, self._targets)

    @property
    def noise(self) -> float:
        """Standard deviation of a training's score around its architecture's."""
        return self._scale * math.sqrt(self._kernel.k2.noise_level)

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Returns the means and standard deviations of the architectures' scores, without the noise of a training."""
        mean, deviation = self._process.predict(inputs, return_std=True)
        variance = np.maximum(deviation**2 - self._kernel.k2.noise_level, 1e-12)
        return self._mean + self._scale * mean, self._scale * np.sqrt(variance)

    def suppose(self, inputs: Array) -> Array:
        """Takes trainings at these inputs as done, with the scores predicted, which it returns.

        The predicted means stay as they are; around these inputs the model becomes less uncertain.
        """
        mean = self._process.predict(inputs)
        self._inputs = np.concatenate([self._inputs, inputs])
        self._targets = np.concatenate([self._targets, mean])
        self._process = self._conditioned(self._inputs, self._targets)
        return np.asarray(self._mean + self._scale * mean)

    def _conditioned(self, inputs: Array, targets: Array) -> GaussianProcessRegressor:
        return GaussianProcessRegressor(self._kernel, optimizer=None).fit(inputs, targets)


class _Posterior(GaussianProcessRegressor):  # type: ignore[misc]
    """Adds the logarithm of the priors to the marginal likelihood that is maximised."""

    def log_marginal_likelihood(self, theta: Any = None, eval_gradient: bool = False, clone_kernel: bool = True) -> Any:
        found = super().log_marginal_likelihood(theta, eval_gradient, clone_kernel)
        if theta is None:
            return found
        d = len(theta) - 1
        means = np.array([math.sqrt(2) + 0.5 * math.log(d)] * d + [_NOISE[0]])
        deviations = np.array([math.sqrt(3)] * d + [_NOISE[1]])
        away = (theta - means) / deviations
        prior = -0.5 * float(away @ away)
        if not eval_gradient:
            return found + prior
        return found[0] + prior, found[1] - away / deviations


def _kernel(inputs: int) -> Any:
    return Matern([1.0] * inputs, _LENGTHS, nu=2.5) + WhiteKernel(0.02, _NOISES)


def _optimize(loss: Callable[..., Any], start: Array, bounds: Array) -> tuple[Array, float]:
    found = minimize(loss, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": _STEPS})
    return found.x, found.fun
