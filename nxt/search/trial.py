"""A trial of a search: one architecture, what happened to it, and what it reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nxt.arch import ArchSpec
from nxt.costs import Cost
from nxt.space import Point


class Outcome(StrEnum):
    """How a trial stands. Each way to fail is its own fact; none is turned into an accuracy."""

    RUNNING = "running"
    DONE = "done"  # reached the last epoch
    STOPPED = "stopped"  # by the scheduler, at a rung
    OOM = "oom"
    DIVERGED = "diverged"
    CRASHED = "crashed"

    @property
    def failed(self) -> bool:
        """Whether the trial ended without a verdict on its architecture."""
        return self in (Outcome.OOM, Outcome.DIVERGED, Outcome.CRASHED)


@dataclass(frozen=True)
class Epoch:
    """One epoch of a trial. `accuracy` is proxy top-1 on the validation split, in 0..1."""

    epoch: int
    accuracy: float
    loss: float
    seconds: float


@dataclass
class Trial:
    """One architecture under evaluation. `role` names the reference family it stands for, if any."""

    number: int
    point: Point
    spec: ArchSpec
    cost: Cost
    role: str = ""
    curve: list[Epoch] = field(default_factory=list)
    outcome: Outcome = Outcome.RUNNING
    message: str = ""

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the last epoch trained, if any."""
        return self.curve[-1].accuracy if self.curve else None

    @property
    def seconds(self) -> float:
        """Time spent training and evaluating."""
        return sum(row.seconds for row in self.curve)
