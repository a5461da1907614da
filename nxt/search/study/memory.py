"""The trials of a search in memory, with the Optuna study that samplers learn from.

`DurableStudy` adds the database; a simulation needs none. Samplers get the logarithm of the cost: with plain
multiply-adds, the costliest networks would dominate the hypervolume that samplers maximise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.space import Architectures, Point

DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)  # of accuracy and cost
STATES = {Outcome.DONE: TrialState.COMPLETE, Outcome.STOPPED: TrialState.PRUNED}  # all others: FAIL


class ExhaustedError(Exception):
    """Every feasible architecture has been tried."""


class InMemoryStudy:
    """The trials of one search, and the changes to them.

    Args:
        space: The space of the trials' points.
        objective: The cost (a field of `Cost`) that is minimised while accuracy is maximised.
    """

    def __init__(self, space: Architectures, objective: str) -> None:
        self.space, self.objective = space, objective
        self.trials: dict[int, Trial] = {}
        self._view = _in_memory(())  # Optuna's study of the same trials

    def begin(self, sampler: BaseSampler, families: dict[Point, str], replicate: int = 0) -> Trial:
        """Asks a sampler for a point and adds the trial of it.

        Raises:
            ExhaustedError: if the sampler has no untried architecture left.
        """
        self._view.sampler = sampler
        try:
            proposal = self._view.ask(distributions(self.space))
        except ExhaustedError:
            self._view = _in_memory(self._view.get_trials(deepcopy=False)[: len(self.trials)])
            raise
        point = tuple(proposal.params[name] for name in self.space.axis_names)
        spec = self.space.spec(point)
        trial = Trial(proposal.number, point, spec, self.space.cost(point), families.get(point, ""), replicate)
        self.trials[trial.number] = trial
        return trial

    def note(self, trial: Trial, **facts: Any) -> None:
        """Sets attributes of a trial: `control_rung`, `remark`, `replayed`."""
        for key, value in facts.items():
            setattr(trial, key, value)

    def add_epoch(self, trial: Trial, epoch: Epoch) -> None:
        """Adds an epoch to a trial's curve."""
        trial.curve.append(epoch)

    def end(self, trial: Trial, outcome: Outcome, message: str = "") -> None:
        """Sets the outcome of a trial. Only a trial that is done gets objective values."""
        trial.outcome, trial.message = outcome, message
        values = None if outcome is not Outcome.DONE else _learned(self.objectives(trial))
        self._view.tell(trial.number, values, state=STATES.get(outcome, TrialState.FAIL))

    def objectives(self, trial: Trial) -> list[float]:
        """Returns the accuracy and the cost of a trial that is done."""
        return [trial.curve[-1].accuracy, float(getattr(trial.cost, self.objective))]

    def _show(self, rows: Iterable[FrozenTrial]) -> None:
        """Replaces the trials that samplers see by the recorded ones."""
        shown = [copy.copy(row) for row in rows]
        for row in shown:
            if row.state is TrialState.COMPLETE:
                row.values = _learned(row.values)
        self._view = _in_memory(shown)


def distributions(space: Architectures) -> dict[str, BaseDistribution]:
    """Returns one integer distribution per axis: the position in its list of values."""
    return {
        name: IntDistribution(0, len(values) - 1)
        for name, values in zip(space.axis_names, space.axis_values, strict=True)
    }


def _learned(objectives: Sequence[float]) -> list[float]:
    """Returns the objectives as samplers see them."""
    accuracy, cost = objectives
    return [accuracy, math.log(cost)]


def _in_memory(rows: Iterable[FrozenTrial]) -> optuna.Study:
    study = optuna.create_study(directions=DIRECTIONS)
    study.add_trials(rows)
    return study


optuna.logging.set_verbosity(optuna.logging.ERROR)
