"""The decisions of a search, without Ray: which trial comes next, and which trials continue.

Real searches and simulations use the same object: it suggests trials, observes their epochs and records failures. All
state is in the study; a strategy made from an interrupted study begins with the trials that were running.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from nxt.search.strategy.agenda import Agenda, NothingToRun
from nxt.search.strategy.schedulers import Decision, Scheduler
from nxt.search.study.memory import ExhaustedError, InMemoryStudy
from nxt.search.trial import Epoch, Outcome, Trial, hash32


class Strategy:
    """Suggests, observes and decides.

    Args:
        study: The record of the trials; it may have some already.
        agenda: Decides what is trained.
        scheduler: Compares trials at rungs.
        epochs: Length of a trial that is not stopped.
        seed: The study's seed.
        control: Share of the trials due to stop that continue to the end, as a control group.
        finished: Trials of another run, by fingerprint and seed, whose epochs are copied instead of trained.
        source: Name of that run.
    """

    def __init__(
        self,
        study: InMemoryStudy,
        agenda: Agenda,
        scheduler: Scheduler,
        epochs: int,
        seed: int = 0,
        control: float = 0.0,
        finished: Mapping[tuple[str, int], Trial] | None = None,
        source: str = "",
    ) -> None:
        self.study, self.agenda, self.scheduler = study, agenda, scheduler
        self.epochs, self.seed, self.control = epochs, seed, control
        self._finished, self._source = finished or {}, source
        self.ended: list[Trial] = []  # the trials that ended; the caller empties the list
        self._pause: NothingToRun | None = None  # the agenda's last answer, valid until a trial ends
        for trial in study.trials.values():
            for row in trial.curve:
                self._compare(trial, row)
        running = [trial for trial in study.trials.values() if trial.outcome is Outcome.RUNNING]
        self._resumed = deque(trial for trial in running if self._decide(trial) is Decision.CONTINUE)

    def suggest(self) -> Trial | None:
        """Returns the next trial to run: first interrupted ones, then new ones.

        Returns None if there is nothing to run now; `complete` tells whether there will be later.
        """
        while True:
            trial = self._resumed.popleft() if self._resumed else self._begin()
            if trial is None or not self._replay(trial):
                return trial

    def observe(self, number: int, epoch: Epoch) -> Decision:
        """Records an epoch of a trial and returns what happens to the trial."""
        trial = self.study.trials[number]
        if trial.outcome is not Outcome.RUNNING:
            return Decision.STOP
        if trial.curve and epoch.epoch <= trial.curve[-1].epoch:
            return Decision.CONTINUE  # trained again after a kill; the decision was made the first time
        self.study.add_epoch(trial, epoch)
        self._compare(trial, epoch)
        return self._decide(trial)

    def fail(self, number: int, outcome: Outcome, message: str) -> None:
        """Records that a trial failed, unless it has ended already."""
        trial = self.study.trials[number]
        if trial.outcome is Outcome.RUNNING:
            self._end(trial, outcome, message)

    def remark(self, number: int, text: str) -> None:
        """Records an unusual event of a trial, once."""
        trial = self.study.trials[number]
        if text and trial.remark != text:
            self.study.note(trial, remark=text)

    @property
    def complete(self) -> bool:
        """Whether all requested trials, or all that the time limit allowed, have ended."""
        running = any(trial.outcome is Outcome.RUNNING for trial in self.study.trials.values())
        return self._pause is NothingToRun.END and not running

    def again(self, number: int) -> None:
        """Makes `suggest` return a running trial once more, because its worker is gone."""
        self._resumed.append(self.study.trials[number])

    def _begin(self) -> Trial | None:
        while self._pause is None:
            next_trial = self.agenda.next(self.study.trials.values())
            if isinstance(next_trial, NothingToRun):
                self._pause = next_trial
                break
            try:
                return self.study.begin(next_trial.sampler, self.agenda.families, next_trial.replicate)
            except ExhaustedError:
                self.agenda.exhausted()
        return None

    def _replay(self, trial: Trial) -> bool:
        """Copies the epochs of a trial from the other run, if it has them, and tells whether that ended the trial."""
        source = self._finished.get((trial.spec.fingerprint, trial.seed(self.seed)))
        if source is None or (trial.curve and not trial.replayed):
            return False
        self.study.note(trial, replayed=self._source)
        self.remark(trial.number, source.remark)
        rest = source.curve[len(trial.curve) :]
        return any(self.observe(trial.number, row) is Decision.STOP for row in rest)

    def _decide(self, trial: Trial) -> Decision:
        """Decides whether a running trial continues after its last epoch, and records its end if it does not."""
        epoch = trial.curve[-1].epoch if trial.curve else 0
        if epoch >= self.epochs:
            self._end(trial, Outcome.DONE)
            return Decision.STOP
        # References are the baseline, replicates measure, and the control group shows what stopping costs.
        if trial.family or trial.replicate or trial.control_rung:
            return Decision.CONTINUE
        if self.scheduler.decide(trial.number, epoch) is Decision.CONTINUE:
            return Decision.CONTINUE
        if self._in_control_group(trial):
            self.study.note(trial, control_rung=epoch)
            return Decision.CONTINUE
        self._end(trial, Outcome.STOPPED, f"at the rung of epoch {epoch}")
        return Decision.STOP

    def _end(self, trial: Trial, outcome: Outcome, message: str = "") -> None:
        self.study.end(trial, outcome, message)
        self.ended.append(trial)
        self._pause = None

    def _compare(self, trial: Trial, row: Epoch) -> None:
        """Records an epoch with the scheduler, unless it is of a replicate, or of a control trial after its rung."""
        if not trial.replicate and (not trial.control_rung or row.epoch <= trial.control_rung):
            self.scheduler.record(trial.number, row.epoch, row.accuracy, trial.cost)

    def _in_control_group(self, trial: Trial) -> bool:
        """Draws by seed and architecture alone, so that the answer does not depend on when it is asked."""
        return hash32(f"control:{self.seed}:{trial.spec.fingerprint}") < self.control * 2**32
