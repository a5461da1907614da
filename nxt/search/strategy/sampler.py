"""Optuna samplers confined to a budget: whatever they propose is moved to a feasible architecture not tried yet."""

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

# What proposes, by a name of SAMPLERS: seed -> sampler. "random" has none: every proposal is a uniform feasible draw.
_MAKERS: dict[str, Callable[[int], BaseSampler] | None] = {
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=_STARTUP),
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_STARTUP),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=20),
    "random": None,
}
_STARTUP = 10  # trials drawn uniformly before anything is modelled
# A Gaussian process takes about a second for a proposal after so many finished trials, and ever more: then TPE goes on.
_MOST = {"gp": 200}
_SUCCESSOR = "tpe"


class Choices(Protocol):
    """What a sampler may choose from: the feasible part of a space, or a table of trained networks."""

    @property
    def space(self) -> Architectures:
        """What the points mean."""

    def __len__(self) -> int:
        """Returns their number."""

    def __contains__(self, point: Point) -> bool:
        """Tells whether a point is one of them."""

    def draw(self, rng: np.random.Generator) -> Point:
        """Draws one, uniformly."""

    def nearest(self, point: Point, taken: Collection[Point] = ()) -> Point | None:
        """Returns the one fewest axis steps away that is not taken, or None if all are."""


class FeasibleSampler(BaseSampler):
    """Proposes the references first, then what another sampler says, moved to the nearest feasible point not tried.

    A point's axes are integer parameters (positions in the axes' value lists), so that samplers see their order.
    What the study records, and the sampler learns from, is the point after the move.

    Args:
        feasible: The architectures to choose from.
        first: Points to propose before anything else.
        name: A key of SAMPLERS.
        seed: With the trial's number it decides each proposal, so that a continued study goes on as it would have.

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
        self._seen = 0  # trials that they are of

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns all axes: points are proposed whole."""
        return self.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Proposes a point.

        Raises:
            ExhaustedError: if all feasible points have been tried.
        """
        names = self.feasible.space.axis_names
        point = self._propose(study, trial, search_space)
        return dict(zip(names, point, strict=True))

    def _propose(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Point:
        taken = self._tried(study)
        for point in self.first:
            if point not in taken:
                return point
        if len(taken) >= len(self.feasible):
            raise ExhaustedError
        rng = np.random.default_rng([self.seed, trial.number])
        wanted = self.feasible.draw(rng)
        if make := _MAKERS[self._able(study)]:
            proposal = make(int(rng.integers(2**31))).sample_relative(study, trial, search_space)
            if proposal:  # what it leaves open (a mutation of NSGA-II) stays as drawn
                names = self.feasible.space.axis_names
                wanted = tuple(int(proposal.get(name, drawn)) for name, drawn in zip(names, wanted, strict=True))
        if wanted in self.feasible and wanted not in taken:
            return wanted
        nearest = self.feasible.nearest(wanted, taken)
        if nearest is None:
            raise ExhaustedError
        return nearest

    def _able(self, study: Study) -> str:
        """Returns the name of the sampler that copes with so many finished trials."""
        most = _MOST.get(self._name)
        if most is None or len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) <= most:
            return self._name
        return _SUCCESSOR

    def _tried(self, study: Study) -> set[Point]:
        """Returns the points of all trials of the study, however they ended. They only become more."""
        names = self.feasible.space.axis_names
        for trial in study.get_trials(deepcopy=False)[self._seen :]:
            if len(trial.params) < len(names):
                break  # the one that is being proposed
            self._points.add(tuple(trial.params[name] for name in names))
            self._seen += 1
        return self._points

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: every axis is part of the relative space, except those with one value."""
        raise NotImplementedError(param_name)


class PointSampler(BaseSampler):
    """Proposes one given point, whatever the study says."""

    def __init__(self, names: Sequence[str], point: Point) -> None:
        self.params = dict(zip(names, point, strict=True))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns nothing: there is nothing to model."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns nothing: every axis is answered on its own."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns the point's value on that axis."""
        return self.params[param_name]
