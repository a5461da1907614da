"""The sampler `ehvi`: proposes the feasible architecture with the largest expected hypervolume improvement.

All costs are known before a training. So only the accuracy is modelled, and the improvement has a closed form. It is
maximised over architectures themselves: over all feasible ones if they are few, else over a uniform sample and the
neighbours of the front, and from the best of these uphill.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr
from threadpoolctl import threadpool_limits

from nxt.search.strategy.features import Array, Features, Points, untried
from nxt.search.strategy.improvement import hypervolume_improvement, non_dominated
from nxt.search.strategy.sampler import Choices, FeasibleSampler
from nxt.space.space import Point

if TYPE_CHECKING:
    from nxt.search.strategy.surrogate import Surrogate

STARTUP = 5  # architectures that are spread over the costs before there is a model; the references count
_POOL = 10_000  # feasible architectures that are compared with each other
_PAIRS = 1_500_000  # candidates times trainings at most, so that a proposal stays a matter of milliseconds
_CLIMBS = 10  # steps uphill at most
_MARGIN, _WINDOW_MARGIN = 0.1, 1.0  # weight of the highest accuracy alone, relative to the whole range of costs
# Errors fall with this power of the cost at most: in torchvision's ResNets 0.29 (18 to 50) and 0.08 (50 to 101).
_ELASTICITY = 0.25
_LEAST_ERROR = 1e-3  # an error below counts as this: its logarithm must be finite


class ImprovementSampler(FeasibleSampler):
    """Proposes the untried feasible architecture with the largest expected hypervolume improvement.

    The model's scores are logarithms of errors, with the sign changed. Running trials count as trained, with the
    scores that are predicted for them, so that many workers get different proposals.

    Args:
        feasible: The architectures to choose from.
        first: The references: points to propose before anything else.
        seed: The seed of the search.
        objectives: The costs to minimise. The first trials are spread over the first of them.
        window: Whether the budget asks for networks of one size. Then the best one matters as much as the front.
    """

    def __init__(
        self, feasible: Choices, first: Sequence[Point], seed: int, objectives: Sequence[str], window: bool
    ) -> None:
        super().__init__(feasible, first, seed)
        self._objectives = list(objectives)
        self._worst = np.full(len(objectives), 1 + (_WINDOW_MARGIN if window else _MARGIN))

    def choose(self, study: Study, trial: FrozenTrial, taken: Collection[Point], rng: np.random.Generator) -> Point:
        """Chooses by the model; while there are too few results for one, spreads trials over the costs."""
        with threadpool_limits(1):  # matrices are so small that threads only wait for each other, and for the trials
            return self._choose(study, trial, taken, rng)

    def _choose(self, study: Study, trial: FrozenTrial, taken: Collection[Point], rng: np.random.Generator) -> Point:
        from nxt.search.strategy.surrogate import Surrogate  # loads scikit-learn, which takes a second

        rows = [row for row in study.get_trials(deepcopy=False) if row.number != trial.number]
        done = [row for row in rows if row.state is TrialState.COMPLETE]
        points = [self.point(row) for row in done]
        if len(set(points)) < min(STARTUP, len(self.feasible)):
            return self._spread(taken, rng)
        scores = -np.log(np.maximum(1 - np.array([row.values[0] for row in done]), _LEAST_ERROR))
        model = Surrogate(self._features.inputs(np.array(points)), scores)
        results = _means(points, scores)
        running = [self.point(row) for row in rows if row.state is TrialState.RUNNING]
        if running:
            predicted = model.suppose(self._features.inputs(np.array(running)))
            results = {**_means(running, predicted), **results}
        return self._maximise(results, self._value(results, model), taken, rng)

    def _value(self, results: dict[Point, float], model: Surrogate) -> Callable[[Points], Array]:
        """Returns a function of points: expected hypervolume improvement, times the chance to match the references.

        Nobody asks for a network that is worse than a paper's template of the same cost. So an improvement counts as
        far as the network is likely to be no worse than the poorest reference: than its score, moved along the trend
        over the cost to the network's, and lowered by the noise of a training. (Where cheap networks are poor beyond
        what their cost explains, the trend measured is too steep. So it has a limit.)
        """
        levels = np.array(list(results.values()))
        known = self._costs(np.array(list(results)))
        trend = float(np.polyfit(known[:, 0], levels, 1)[0]) if np.ptp(known[:, 0]) else 0.0
        slope = max(0.0, min(trend, _ELASTICITY * self._features.span(self._objectives[0])))
        residuals = dict(zip(results, levels - slope * known[:, 0], strict=True))
        bar = min((residuals[point] for point in self.first if point in residuals), default=-np.inf) - model.noise

        def value(points: Points) -> Array:
            costs = self._costs(points)
            mean, deviation = model.predict(self._features.inputs(points))
            gain = hypervolume_improvement(costs, mean, deviation, known, levels, self._worst, float(levels.min()))
            return np.asarray(gain * ndtr((mean - slope * costs[:, 0] - bar) / deviation))

        return value

    def _maximise(
        self,
        results: dict[Point, float],
        value: Callable[[Points], Array],
        taken: Collection[Point],
        rng: np.random.Generator,
    ) -> Point:
        """Returns the untried point of the highest value among many, or one uphill from it."""
        pool, most = self._features.pool, max(100, _PAIRS // len(results))
        if len(pool) > most:
            pool = pool[rng.choice(len(pool), most, replace=False)]
        known, levels = np.array(list(results)), np.array(list(results.values()))
        front = known[non_dominated(self._costs(known), levels)]
        candidates = untried(np.concatenate([pool, self._around(front)]), taken)
        best, highest = None, -np.inf
        for _ in range(1 + _CLIMBS):
            values = value(candidates) if len(candidates) else np.array([-np.inf])
            if values.max() <= highest:
                break
            best, highest = candidates[values.argmax()], float(values.max())
            candidates = untried(self._around(best[None]), taken)
        return self.free(self.feasible.draw(rng), taken) if best is None else tuple(best.tolist())

    def _spread(self, taken: Collection[Point], rng: np.random.Generator) -> Point:
        """Draws from that part of the range of costs, in logarithms, that has the fewest trials so far."""
        free = untried(self._features.pool, taken)
        parts, counts = self._parts(free), np.zeros(STARTUP, dtype=np.int64)
        if taken:
            counts = np.bincount(self._parts(np.array(list(taken))), minlength=STARTUP)
        for part in sorted(rng.permutation(STARTUP), key=lambda part: counts[part]):
            if (parts == part).any():
                return tuple(rng.choice(free[parts == part]).tolist())
        return self.free(self.feasible.draw(rng), taken)

    def _parts(self, points: Points) -> Points:
        return np.clip((self._costs(points)[:, 0] * STARTUP).astype(np.int64), 0, STARTUP - 1)

    def _costs(self, points: Points) -> Array:
        """Returns the logarithms of the costs to minimise, (points, objectives), within 0..1 for the feasible ones."""
        return self._features.costs(points, self._objectives)

    def _around(self, points: Points) -> Points:
        """Returns the feasible points one step away from these along one axis or two."""
        neighbours = (points[:, None, :] + self._steps).reshape(-1, self._steps.shape[1])
        return neighbours[self.feasible.fits(neighbours)]

    @cached_property
    def _features(self) -> Features:
        return Features(self.feasible, _POOL, self.seed)

    @cached_property
    def _steps(self) -> Points:
        axes = len(self.feasible.space.axis_names)
        single = [sign * row for row in np.eye(axes, dtype=np.int64) for sign in (1, -1)]
        double = [a + b for a, b in itertools.combinations(single, 2) if (a + b).any()]
        return np.array(single + double)


def _means(points: Sequence[Point], scores: Array) -> dict[Point, float]:
    """Returns the mean score of each point: some are trained several times."""
    groups = defaultdict(list)
    for point, score in zip(points, scores.tolist(), strict=True):
        groups[point].append(score)
    return {point: sum(group) / len(group) for point, group in groups.items()}
