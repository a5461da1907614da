"""Ranks architectures, each with all its finished trainings.

If an architecture was trained again with fresh seeds, only those trainings count: the search selected the first one
for its high accuracy, so that one is biased upwards. Those that dropped out of the confirmation have fewer fresh seeds
than the others and are never the best of them. Both prove less than the best's accuracy, so that they count as less.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nxt.arch.costs import Cost
from nxt.arch.spec import ArchSpec
from nxt.pareto import front
from nxt.search.confirmation import Rounds, replay
from nxt.search.noise import Noise, deviation, pooled_deviation
from nxt.search.trial import Outcome, Trial

UNPROVEN = "not confirmed"  # in legends: as accurate as the best, or more, by trainings that prove less
_JUST = 1e-9  # by how much an accuracy counts as less than the best's


@dataclass(frozen=True)
class RankedArch:
    """An architecture with at least one finished training; its accuracy is the mean over them."""

    trials: tuple[Trial, ...]
    dropped: bool = False  # out of the confirmation, with fewer fresh seeds than those that stayed in
    bound: float | None = None  # the best's accuracy, where this one's proves less

    @property
    def spec(self) -> ArchSpec:
        """The architecture."""
        return self.trials[0].spec

    @property
    def cost(self) -> Cost:
        """The architecture's own cost, not the proxy's."""
        return self.trials[0].cost

    @property
    def family(self) -> str:
        """The reference family, if the architecture is a reference; else empty."""
        return self.trials[0].family

    @property
    def seeds(self) -> int:
        """Number of trainings that count."""
        return len(self.trials)

    @property
    def confirmed(self) -> bool:
        """Whether the trainings were made to measure, not to select."""
        return self.trials[0].replicate > 0

    @property
    def accuracies(self) -> list[float]:
        """Accuracy of each training, in 0..1."""
        return [trial.accuracy or 0.0 for trial in self.trials]

    @property
    def accuracy(self) -> float:
        """Mean accuracy, in 0..1."""
        return sum(self.accuracies) / len(self.trials)

    @property
    def unproven(self) -> bool:
        """Whether it is as accurate as the best, or more, but by trainings that prove less."""
        return self.bound is not None and self.accuracy >= self.bound

    @property
    def standing(self) -> float:
        """The accuracy that counts in comparisons: just below the best's at most, where it proves less."""
        if self.bound is None or not self.unproven:
            return self.accuracy
        return self.bound - _JUST * (2 - self.accuracy)  # of two such, the higher one stays the higher one

    @property
    def deviation(self) -> float | None:
        """Standard deviation between the trainings, if there are several."""
        return deviation(self.accuracies)


class RankedRun(Protocol):
    """The part of `nxt.search.results.run.Run` that tables, pictures and `pick` use."""

    @property
    def path(self) -> Path: ...
    @property
    def objective(self) -> str: ...
    @property
    def entries(self) -> list[RankedArch]: ...
    @property
    def front(self) -> list[RankedArch]: ...
    @property
    def best(self) -> RankedArch | None: ...
    def error(self, entry: RankedArch) -> float: ...
    def row(self, entry: RankedArch) -> dict[str, Any]: ...


def ranked(trials: Iterable[Trial], objective: str = "macs") -> list[RankedArch]:
    """Returns the architectures with finished trainings by `standing`, the best first; of equals, the cheaper first."""
    trials, groups = list(trials), defaultdict[str, list[Trial]](list)
    for trial in sorted(trials, key=lambda trial: trial.replicate):
        if trial.outcome is Outcome.DONE:
            groups[trial.spec.fingerprint].append(trial)
    rounds = rounds_of(trials).finished
    entries = []
    for group in groups.values():
        again = tuple(trial for trial in group if trial.replicate)
        entries.append(RankedArch(again or tuple(group), 0 < len(again) < rounds))

    def place(entry: RankedArch) -> tuple[float, int, int]:
        return -entry.standing, getattr(entry.cost, objective), entry.trials[0].number

    best = best_of(sorted(entries, key=place))
    if best is not None and best.confirmed:
        entries = [
            dataclasses.replace(e, bound=best.accuracy) if e is not best and (e.dropped or not e.confirmed) else e
            for e in entries
        ]
    return sorted(entries, key=place)


def best_of(entries: Sequence[RankedArch]) -> RankedArch | None:
    """Returns the first entry of those that stayed in the confirmation, else of the confirmed, else of all."""
    confirmed = [entry for entry in entries if entry.confirmed]
    stayed = [entry for entry in confirmed if not entry.dropped]
    return next(iter([*stayed, *confirmed, *entries]), None)


def rounds_of(trials: Collection[Trial]) -> Rounds:
    """Returns how far the confirmation of a search is; a plain list has none."""
    return replay(trials) if any(not trial.replicate for trial in trials) else Rounds()


def pareto(entries: Sequence[RankedArch], objective: str) -> list[RankedArch]:
    """Returns the non-dominated entries, by rising cost; without those whose accuracy is unproven."""
    proven = [entry for entry in entries if not entry.unproven]
    return [proven[i] for i in front([(getattr(e.cost, objective), e.accuracy) for e in proven])]


def noise_of(entries: Iterable[RankedArch], images: int) -> Noise:
    """Returns the noise of accuracies on a validation split of so many images."""
    return Noise(pooled_deviation([entry.accuracies for entry in entries if entry.confirmed]), images)
