"""A trial of a search: one training of one architecture, with its epochs and its outcome."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from nxt.arch.costs import Cost
from nxt.arch.spec import ArchSpec
from nxt.space.space import Point


class Outcome(StrEnum):
    """The state of a trial. Failures are recorded by kind; no accuracy is made up for them."""

    RUNNING = "running"
    DONE = "done"  # reached the last epoch
    STOPPED = "stopped"  # by the scheduler, at a rung
    OOM = "oom"  # out of memory, with half the batch as well
    DIVERGED = "diverged"  # the loss was no longer finite
    CRASHED = "crashed"  # the training raised an error
    KILLED = "killed"  # the worker process died more often than `retries` allows
    TIMEOUT = "timeout"  # it hung more often than `retries` allows: it made no step for many times what one takes

    @property
    def failed(self) -> bool:
        """Whether the trial ended without a result for its architecture."""
        return self not in (Outcome.RUNNING, Outcome.DONE, Outcome.STOPPED)

    @property
    def lost(self) -> bool:
        """Whether the trial failed for what need not be its architecture's fault."""
        return self in (Outcome.CRASHED, Outcome.KILLED, Outcome.TIMEOUT)


@dataclass(frozen=True)
class Epoch:
    """One epoch of a trial. `accuracy` is proxy top-1 on the validation split, in 0..1."""

    epoch: int
    accuracy: float
    loss: float
    seconds: float
    train_accuracy: float | None = None  # on all training images; of the last epoch of a full training


@dataclass(frozen=True)
class EpochResult:
    """A worker's report of an epoch. The accuracy is the higher one of raw and averaged weights."""

    epoch: Epoch
    remark: str = ""  # an unusual event
    memory: int = 0  # most bytes that torch held on a GPU until then; 0 on a CPU


@dataclass(frozen=True)
class TrialFailure:
    """A worker's report of a trial that failed."""

    outcome: Outcome
    message: str


@dataclass
class Trial:
    """One training of an architecture. `family` is the architecture's family if it is a reference, else empty.

    `replicate` is 0 for the training that the search uses for its decisions. Replicates from 1 on have their own seeds
    and only measure: the search has not selected them by their accuracies.
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
    control_rung: int = 0  # the rung that would have stopped it, if it continues in the control group
    remark: str = ""  # an unusual event that did not end it
    replayed: str = ""  # the run that its epochs were copied from

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the last epoch, if any."""
        return self.curve[-1].accuracy if self.curve else None

    @property
    def train_accuracy(self) -> float | None:
        """Accuracy on the training images, after the last epoch of a full training."""
        return self.curve[-1].train_accuracy if self.curve else None

    def seed(self, study_seed: int) -> int:
        """Returns the trial's seed, as `trial_seed` does."""
        return trial_seed(study_seed, self.spec.fingerprint, self.replicate)

    @property
    def seconds(self) -> float:
        """Time spent training and evaluating."""
        return sum(row.seconds for row in self.curve)


def trial_seed(study_seed: int, fingerprint: str, replicate: int = 0) -> int:
    """Returns the seed of a trial, which depends only on the study's seed, the architecture and the replicate."""
    return hash32(f"{study_seed}:{fingerprint}:{replicate}" if replicate else f"{study_seed}:{fingerprint}")


def hash32(text: str) -> int:
    """Returns the first 32 bits of the text's SHA-256 hash."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
