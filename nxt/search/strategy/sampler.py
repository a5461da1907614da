"""Optuna samplers inside a budget: each proposal is moved to a feasible architecture that has not been tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nxt.errors import ConfigError, suggestion
from nxt.search.request import SAMPLERS
from nxt.search.study.memory import ExhaustedError, distributions
from nxt.space.space import Architectures, Point

# From a seed to a sampler, by its name in SAMPLERS. "random" has none: every proposal is a uniform feasible draw.
_MAKERS: dict[str, Callable[[int], BaseSampler] | None] = {
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=_STARTUP),
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_STARTUP),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=20),
    "random": None,
}
_STARTUP = 10  # trials drawn uniformly before a model is fitted
_GP_TRIALS = 200  # after so many finished trials a Gaussian process takes a second for a proposal, and TPE replaces it


class Choices(Protocol):
    """The points that a sampler may choose from: the feasible part of a space, or a table of trained networks."""

    @property
    def space(self) -> Architectures:
        """The space of the points."""

    def __len__(self) -> int: ...
    def __contains__(self, point: Point) -> bool: ...

    def draw(self, rng: np.random.Generator) -> Point:
        """Draws a point uniformly."""

    def nearest(self, point: Point, taken: Collection[Point] = ()) -> Point | None:
        """Returns the point fewest axis steps away that is not taken, or None if all are."""


class FeasibleSampler(BaseSampler):
    """Proposes the references first, then those of another sampler, moved to the nearest untried feasible point.

    A point's axes are integer parameters (positions in the axes' value lists), so that samplers see their order.
    The study records the moved point, and the sampler learns from it.

    Args:
        feasible: The architectures to choose from.
        first: Points to propose before anything else.
        name: A key of SAMPLERS.
        seed: Decides each proposal, together with the trial's number, so that a resumed study makes the same ones.

    Raises:
        ConfigError: if there is no such sampler.
    """

    def __init__(self, feasible: Choices, first: Sequence[Point], name: str, seed: int) -> None:
        if name not in SAMPLERS:
            near = suggestion(name, SAMPLERS) or f"; known are {', '.join(SAMPLERS)}"
            raise ConfigError(f"no sampler is called {name!r}{near}")
        self.feasible, self.first, self.seed = feasible, first, seed
        self._name = name
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
        point = self._propose(study, trial, search_space)
        return dict(zip(self.feasible.space.axis_names, point, strict=True))

    def _propose(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Point:
        taken = self._tried(study)
        for point in self.first:
            if point not in taken:
                return point
        if len(taken) >= len(self.feasible):
            raise ExhaustedError
        rng = np.random.default_rng([self.seed, trial.number])
        point = self.feasible.draw(rng)
        if make := _MAKERS[self._model(study)]:
            proposal = make(int(rng.integers(2**31))).sample_relative(study, trial, search_space)
            # Axes without a proposal (mutated by NSGA-II, or all before the model is fitted) keep the drawn position.
            names = self.feasible.space.axis_names
            point = tuple(int(proposal.get(name, drawn)) for name, drawn in zip(names, point, strict=True))
        if point in self.feasible and point not in taken:
            return point
        nearest = self.feasible.nearest(point, taken)
        if nearest is None:
            raise ExhaustedError
        return nearest

    def _model(self, study: Study) -> str:
        """Returns the name of the sampler that proposes after the study's finished trials."""
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return "tpe" if self._name == "gp" and len(finished) > _GP_TRIALS else self._name

    def _tried(self, study: Study) -> set[Point]:
        """Returns the points of all trials of the study, with any outcome. It reads only trials that are new."""
        names = self.feasible.space.axis_names
        for trial in study.get_trials(deepcopy=False)[self._seen :]:
            if len(trial.params) < len(names):
                break  # the trial that is being proposed
            self._points.add(tuple(trial.params[name] for name in names))
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
