"""What a search decides, without Ray: which architecture comes next, and which trial goes on.

The same object serves the real search and simulations: `suggest` a trial, `observe` its epochs, `fail` it. The study
it is given is the truth; a strategy made from a study that was cut off begins with the trials that were running.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque

from nxt.budget import Budget
from nxt.search.halving import SuccessiveHalving
from nxt.search.sampler import ExhaustedError, FeasibleSampler
from nxt.search.study import StudyRecord
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space import Point

_BAND = 1.25  # trials whose MACs differ by no more than this factor are compared with each other


class Strategy:
    """Suggests, observes and decides.

    Args:
        study: The record; it may have trials already.
        sampler: What proposes architectures.
        halving: What compares them at rungs.
        roles: Reference family by point.
        budget: Decides which trials cost alike: all inside a window, those of one band otherwise.
        trials: How many trials to run in all, whatever their outcome.
        epochs: Length of a trial that is not stopped.
    """

    def __init__(
        self,
        study: StudyRecord,
        sampler: FeasibleSampler,
        halving: SuccessiveHalving,
        roles: dict[Point, str],
        budget: Budget,
        trials: int,
        epochs: int,
    ) -> None:
        self.study, self.sampler, self.halving, self.roles = study, sampler, halving, roles
        self.trials, self.epochs = trials, epochs
        limit = budget.limit("macs")
        self._one_band = limit is not None and limit.is_window
        self.exhausted = False
        for trial in study.trials.values():
            for row in trial.curve:
                self.halving.record(trial.number, row.epoch, row.accuracy, self._band(trial))
        running = [trial for trial in study.trials.values() if trial.outcome is Outcome.RUNNING]
        self._resumed = deque(trial for trial in running if self._goes_on(trial))

    def suggest(self) -> Trial | None:
        """Return the next trial to run: first those that were cut off, then new ones. None: there are no more."""
        if self._resumed:
            return self._resumed.popleft()
        if self.exhausted or len(self.study.trials) >= self.trials:
            return None
        try:
            return self.study.begin(self.sampler, self.roles)
        except ExhaustedError:
            self.exhausted = True
            return None

    def observe(self, number: int, epoch: Epoch) -> bool:
        """Record an epoch of a trial and tell whether it goes on."""
        trial = self.study.trials[number]
        if trial.outcome is not Outcome.RUNNING:
            return False
        if trial.curve and epoch.epoch <= trial.curve[-1].epoch:
            return True  # trained again after a kill; it was decided then
        self.study.add_epoch(trial, epoch)
        self.halving.record(number, epoch.epoch, epoch.accuracy, self._band(trial))
        return self._goes_on(trial)

    def _goes_on(self, trial: Trial) -> bool:
        """Decide on a running trial after its last epoch, and record the end of one that does not go on."""
        epoch = trial.curve[-1].epoch if trial.curve else 0
        if epoch >= self.epochs:
            self.study.end(trial, Outcome.DONE)
            return False
        if trial.role:
            return True  # the references are the yardstick: always run to the end
        if not self.halving.goes_on(trial.number, epoch, self._band(trial)):
            self.study.end(trial, Outcome.STOPPED, f"at the rung of epoch {epoch}")
            return False
        return True

    def fail(self, number: int, outcome: Outcome, message: str) -> None:
        """Record that a trial ended without a verdict. A trial that has ended already stays as it is."""
        trial = self.study.trials[number]
        if trial.outcome is Outcome.RUNNING:
            self.study.end(trial, outcome, message)

    @property
    def complete(self) -> bool:
        """Whether all trials that were asked for (or all that are possible) have ended."""
        ended = [trial for trial in self.study.trials.values() if trial.outcome is not Outcome.RUNNING]
        wanted = len(self.study.trials) if self.exhausted else max(self.trials, len(self.study.trials))
        return len(ended) >= wanted

    def _band(self, trial: Trial) -> int:
        return 0 if self._one_band else math.floor(math.log(trial.cost.macs, _BAND))


def trial_seed(study_seed: int, fingerprint: str) -> int:
    """Return the seed of a trial: a function of the study's seed and the architecture alone."""
    return int.from_bytes(hashlib.sha256(f"{study_seed}:{fingerprint}".encode()).digest()[:4])
