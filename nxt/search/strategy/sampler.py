"""What all samplers share: the references come first, nothing is proposed twice, and nothing outside the budget."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nxt.search.study.memory import ExhaustedError, distributions
from nxt.space.space import Architectures, Point


class Choices(Protocol):
    """The points that a sampler may choose from: the feasible part of a space, or a table of trained networks."""

    @property
    def space(self) -> Architectures:
        """The space of the points."""

    def __len__(self) -> int: ...
    def __contains__(self, point: Point) -> bool: ...

    def draw(self, rng: np.random.Generator) -> Point:
        """Draws a point uniformly."""

    def sample(self, rng: np.random.Generator, n: int) -> list[Point]:
        """Draws n different points; each set of n has the same probability."""

    def nearest(self, point: Point, taken: Collection[Point] = ()) -> Point | None:
        """Returns the point fewest axis steps away that is not taken, or None if all are."""

    def fits(self, points: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tells which of some combinations of axis positions, (N, axes), may be chosen."""

    def costs(self, points: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Returns the costs of points (N, axes), each by its name, (N,)."""


class FeasibleSampler(BaseSampler):
    """Proposes the references first, then feasible points that have not been tried: here, drawn uniformly.

    A point's axes are integer parameters (positions in the axes' value lists), so that models see their order.

    Args:
        feasible: The architectures to choose from.
        first: Points to propose before anything else.
        seed: Decides each proposal, together with the trial's number, so that a resumed study makes the same ones.
    """

    def __init__(self, feasible: Choices, first: Sequence[Point], seed: int) -> None:
        self.feasible, self.first, self.seed = feasible, first, seed
        self.distributions = distributions(feasible.space)
        self._points: set[Point] = set()
        self._seen = 0  # number of trials that `_points` covers

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns all axes: `sample_relative` proposes whole points."""
        return self.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Proposes a point.

        Raises:
            ExhaustedError: if all feasible points have been tried.
        """
        taken = self._tried(study)
        point = next((point for point in self.first if point not in taken), None)
        if point is None:
            if len(taken) >= len(self.feasible):
                raise ExhaustedError
            point = self.choose(study, trial, taken, np.random.default_rng([self.seed, trial.number]))
        return dict(zip(self.feasible.space.axis_names, point, strict=True))

    def choose(self, study: Study, trial: FrozenTrial, taken: Collection[Point], rng: np.random.Generator) -> Point:
        """Chooses a feasible point that is not taken; there is one.

        Args:
            study: The trials so far.
            trial: The trial to propose for.
            taken: The points of all of them.
            rng: The source of chance, made for this trial.
        """
        return self.free(self.feasible.draw(rng), taken)

    def free(self, point: Point, taken: Collection[Point]) -> Point:
        """Returns the point itself if it may be proposed, else the nearest that may.

        Raises:
            ExhaustedError: if there is none.
        """
        if point in self.feasible and point not in taken:
            return point
        nearest = self.feasible.nearest(point, taken)
        if nearest is None:
            raise ExhaustedError
        return nearest

    def point(self, trial: FrozenTrial) -> Point:
        """Returns the point of a trial of the study."""
        return tuple(trial.params[name] for name in self.feasible.space.axis_names)

    def _tried(self, study: Study) -> set[Point]:
        """Returns the points of all trials of the study, with any outcome. It reads only trials that are new."""
        for trial in study.get_trials(deepcopy=False)[self._seen :]:
            if len(trial.params) < len(self.distributions):
                break  # the trial that is being proposed
            self._points.add(self.point(trial))
            self._seen += 1
        return self._points

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Is never called: the relative space has every axis, and Optuna sets those with one value itself."""
        raise NotImplementedError(param_name)


class PointSampler(BaseSampler):
    """Proposes always the same point."""

    def __init__(self, names: Sequence[str], point: Point) -> None:
        self.params = dict(zip(names, point, strict=True))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns no axes: nothing is modelled."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns no values: `sample_independent` gives each."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns the point's value on that axis."""
        return self.params[param_name]
