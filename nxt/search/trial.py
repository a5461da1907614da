"""A trial of a search: one training of one architecture, what happened to it, and what it reached."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from nxt.arch.costs import Cost
from nxt.arch.spec import ArchSpec
from nxt.space.space import Point


class Outcome(StrEnum):
    """How a trial stands. Each way to fail is its own fact; none is turned into an accuracy."""

    RUNNING = "running"
    DONE = "done"  # reached the last epoch
    STOPPED = "stopped"  # by the scheduler, at a rung
    OOM = "oom"  # out of memory, with half the batch as well
    DIVERGED = "diverged"  # the loss was no longer finite
    CRASHED = "crashed"  # the training raised an error
    KILLED = "killed"  # the worker process died, more often than is retried
    TIMEOUT = "timeout"  # an epoch took many times longer than any measured so far

    @property
    def failed(self) -> bool:
        """Whether the trial ended without a verdict on its architecture."""
        return self not in (Outcome.RUNNING, Outcome.DONE, Outcome.STOPPED)


@dataclass(frozen=True)
class Epoch:
    """One epoch of a trial. `accuracy` is proxy top-1 on the validation split, in 0..1."""

    epoch: int
    accuracy: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class EpochResult:
    """What a worker reports of an epoch. Its accuracy is the higher one of raw and averaged weights."""

    epoch: Epoch
    remark: str = ""  # what was out of the ordinary


@dataclass(frozen=True)
class TrialFailure:
    """What a worker reports where a trial ended without a verdict."""

    outcome: Outcome
    message: str


@dataclass
class Trial:
    """One training of an architecture. `family` is the family of references that it stands for, if any.

    `replicate` is 0 for the training that a search decides by. Replicates from 1 on have seeds of their own and are
    trained only to measure: their accuracies have not been selected for.
    """

    number: int
    point: Point
    spec: ArchSpec
    cost: Cost
    family: str = ""
    replicate: int = 0
    curve: list[Epoch] = field(default_factory=list)
    outcome: Outcome = Outcome.RUNNING
    message: str = ""
    control_rung: int = 0  # the rung that would have stopped it, where it runs on to tell what stopping costs
    remark: str = ""  # what was out of the ordinary, but did not end it
    replayed: str = ""  # the run that its epochs were taken from, instead of training

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the last epoch trained, if any."""
        return self.curve[-1].accuracy if self.curve else None

    def seed(self, study_seed: int) -> int:
        """Returns the trial's seed: a function of the study's seed, the architecture and the replicate alone."""
        return trial_seed(study_seed, self.spec.fingerprint, self.replicate)

    @property
    def seconds(self) -> float:
        """Time spent training and evaluating."""
        return sum(row.seconds for row in self.curve)


def trial_seed(study_seed: int, fingerprint: str, replicate: int = 0) -> int:
    """Returns the seed of a trial: a function of the study's seed, the architecture and the replicate alone."""
    text = f"{study_seed}:{fingerprint}:{replicate}" if replicate else f"{study_seed}:{fingerprint}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
