"""Optuna's samplers inside a budget: each proposal is moved to a feasible architecture that has not been tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nxt.search.strategy.sampler import Choices, FeasibleSampler
from nxt.space.space import Point

MODEL_STARTUP = 10  # trials drawn uniformly before a model is fitted
_GP_TRIALS = 200  # after so many finished trials Optuna's Gaussian process takes a second, and TPE replaces it

# From a seed to a sampler of Optuna's.
MAKERS: dict[str, Callable[[int], BaseSampler]] = {
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=MODEL_STARTUP),
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=MODEL_STARTUP),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=20),
}


class MovedSampler(FeasibleSampler):
    """Moves the proposals of another sampler to the nearest untried feasible point.

    The study records the moved point, and the sampler learns from it.

    Args:
        feasible: The architectures to choose from.
        first: Points to propose before anything else.
        seed: The seed of the search.
        name: A key of MAKERS.
    """

    def __init__(self, feasible: Choices, first: Sequence[Point], seed: int, name: str) -> None:
        super().__init__(feasible, first, seed)
        self._name = name

    def choose(self, study: Study, trial: FrozenTrial, taken: Collection[Point], rng: np.random.Generator) -> Point:
        """Asks the sampler. Axes without a proposal (mutated by NSGA-II, or before there is a model) are drawn."""
        drawn = self.feasible.draw(rng)
        make = MAKERS[self._model(study)]
        proposal = make(int(rng.integers(2**31))).sample_relative(study, trial, self.distributions)
        names = self.feasible.space.axis_names
        point = tuple(int(proposal.get(name, position)) for name, position in zip(names, drawn, strict=True))
        return self.free(point, taken)

    def _model(self, study: Study) -> str:
        """Returns the name of the sampler that proposes after the study's finished trials."""
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return "tpe" if self._name == "gp" and len(finished) > _GP_TRIALS else self._name
