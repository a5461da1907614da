"""What a search decides, without Ray: which trial comes next, and which one goes on.

The same object serves the real search and simulations: `suggest` a trial, `observe` its epochs, `fail` it. The study
it is given is the truth; a strategy made from a study that was cut off begins with the trials that were running.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping

from nxt.search.strategy.agenda import Agenda, NothingToRun
from nxt.search.strategy.schedulers import Decision, Scheduler
from nxt.search.study.memory import ExhaustedError, InMemoryStudy
from nxt.search.trial import Epoch, Outcome, Trial


class Strategy:
    """Suggests, observes and decides.

    Args:
        study: The record; it may have trials already.
        agenda: What is trained.
        scheduler: Compares trials at rungs.
        epochs: Length of a trial that is not stopped.
        seed: The study's seed.
        control: Share of the trials to be stopped that run on to the end, as a control group.
        finished: Trials of another run, by fingerprint and seed, whose epochs are taken instead of training.
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
        self.ended: list[Trial] = []  # since somebody last emptied this list
        self._pause: NothingToRun | None = (
            None  # why the agenda has nothing; it is not asked again before a trial has ended
        )
        for trial in study.trials.values():
            for row in trial.curve:
                self._compare(trial, row)
        running = [trial for trial in study.trials.values() if trial.outcome is Outcome.RUNNING]
        self._resumed = deque(trial for trial in running if self._decide(trial) is Decision.CONTINUE)

    def suggest(self) -> Trial | None:
        """Returns the next trial to run: first those that were cut off, then new ones.

        None: there is nothing to run now; `complete` tells whether there will be anything later.
        """
        while True:
            trial = self._resumed.popleft() if self._resumed else self._begin()
            if trial is None or not self._replay(trial):
                return trial

    def observe(self, number: int, epoch: Epoch) -> Decision:
        """Records an epoch of a trial and returns what becomes of it."""
        trial = self.study.trials[number]
        if trial.outcome is not Outcome.RUNNING:
            return Decision.STOP
        if trial.curve and epoch.epoch <= trial.curve[-1].epoch:
            return Decision.CONTINUE  # trained again after a kill; it was decided then
        self.study.add_epoch(trial, epoch)
        self._compare(trial, epoch)
        return self._decide(trial)

    def fail(self, number: int, outcome: Outcome, message: str) -> None:
        """Records that a trial ended without a verdict. A trial that has ended already stays as it is."""
        trial = self.study.trials[number]
        if trial.outcome is Outcome.RUNNING:
            self._end(trial, outcome, message)

    def remark(self, number: int, text: str) -> None:
        """Records what was out of the ordinary about a trial, once."""
        trial = self.study.trials[number]
        if text and trial.remark != text:
            self.study.note(trial, remark=text)

    @property
    def complete(self) -> bool:
        """Whether all that was asked for, or that is possible in its time, has ended."""
        running = any(trial.outcome is Outcome.RUNNING for trial in self.study.trials.values())
        return self._pause is NothingToRun.END and not running

    def again(self, number: int) -> None:
        """Has a running trial suggested once more, because its worker is gone."""
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
        """Takes the epochs of a trial from the other run, if it has them, and tells whether that ended the trial."""
        other = self._finished.get((trial.spec.fingerprint, trial.seed(self.seed)))
        if other is None or (trial.curve and not trial.replayed):
            return False
        self.study.note(trial, replayed=self._source)
        self.remark(trial.number, other.remark)
        rest = other.curve[len(trial.curve) :]
        return any(self.observe(trial.number, row) is Decision.STOP for row in rest)

    def _decide(self, trial: Trial) -> Decision:
        """Decides on a running trial after its last epoch, and records the end of one that is to stop."""
        epoch = trial.curve[-1].epoch if trial.curve else 0
        if epoch >= self.epochs:
            self._end(trial, Outcome.DONE)
            return Decision.STOP
        # The references are the yardstick, repeats measure, and the control group tells what stopping costs.
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
        """Enters an epoch into the comparison at its rung, unless the trial runs outside the competition by then."""
        if not trial.replicate and (not trial.control_rung or row.epoch <= trial.control_rung):
            self.scheduler.record(trial.number, row.epoch, row.accuracy, trial.cost)

    def _in_control_group(self, trial: Trial) -> bool:
        """Draws by seed and architecture, so that it does not matter when the question comes up."""
        digest = hashlib.sha256(f"control:{self.seed}:{trial.spec.fingerprint}".encode()).digest()
        return int.from_bytes(digest[:4]) < self.control * 2**32
