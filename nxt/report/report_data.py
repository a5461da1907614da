"""What a report is about: a run, what it chose from, and when its trials ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nxt.analysis.effects import Residuals, residuals
from nxt.analysis.error_distribution import first_trainings
from nxt.analysis.trust import Trust, between_epochs
from nxt.config import from_mapping
from nxt.errors import RunError
from nxt.search.request import Settings, same_conditions
from nxt.search.results.run import Run, architectures, load_run
from nxt.search.strategy.schedulers import rungs
from nxt.search.study.timestamps import Span, read_times
from nxt.search.trial import Trial
from nxt.space.arch_list import ArchList
from nxt.space.budget import Budget, Limit
from nxt.space.coverage import Lint, lint
from nxt.space.space import Space


@dataclass(frozen=True)
class Subject:
    """A run with what several sections tell of; each figure is computed once."""

    run: Run
    times: Mapping[int, Span] = field(default_factory=dict)  # by trial number
    other: Subject | None = None  # a run under the same conditions, to hold this one against

    @property
    def where(self) -> str:
        """The record's place, for errors."""
        return str(self.run.path / "run.yaml")

    @property
    def measure(self) -> str:
        """What accuracies are called: those of full trainings, or of a proxy."""
        return "accuracy" if self.run.full else "proxy accuracy"

    @cached_property
    def space(self) -> Space | ArchList:
        """What was chosen from."""
        return architectures(self.run.record, self.where)

    @cached_property
    def budget(self) -> Budget:
        """What architectures may cost."""
        return Budget(tuple(from_mapping(Limit, limit, self.where) for limit in self.run.record["budget"]))

    @cached_property
    def settings(self) -> Settings:
        """How was searched."""
        return from_mapping(Settings, self.run.record["search"], self.where)

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """The epochs at which trials are compared; none where nothing is stopped."""
        if isinstance(self.space, ArchList) or self.settings.scheduler == "none":
            return ()
        return rungs(self.run.record["proxy"]["epochs"], self.settings.eta, self.settings.grace)

    @cached_property
    def first(self) -> list[Trial]:
        """Of each architecture that reached the last epoch, the first training to do so."""
        return first_trainings(self.run)

    @cached_property
    def lint(self) -> Lint | None:
        """What the budget does to the space; None of a list, and without a budget."""
        return lint(self.space, self.budget) if isinstance(self.space, Space) and self.budget.limits else None

    @cached_property
    def residuals(self) -> Residuals | None:
        """Accuracies at equal cost; None of a list, and of too few architectures."""
        return residuals(self.first) if isinstance(self.space, Space) else None

    @cached_property
    def trust(self) -> Trust | None:
        """How well early epochs predict the last one, where that can be told."""
        return between_epochs(self.run)


def load_subject(path: Path, against: Path | None = None) -> Subject:
    """Read a run directory and the times of its trials, and another one to hold it against.

    Raises:
        RunError: if one is no search's or damaged, or their accuracies or costs do not compare.
        ConfigError: if a record is damaged.
    """
    run = load_run(path)
    other = None if against is None else load_subject(against)
    if other is not None:
        differs = same_conditions(run.record, other.run.record)
        differs = differs or ("objective" if run.objective != other.run.objective else "")
        if differs:
            raise RunError(f"--against {against}: its {differs} differs, so it does not compare")
    return Subject(run, read_times(path / "study.db"), other)
