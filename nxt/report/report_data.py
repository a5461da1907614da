"""Collects the data of a report: a run, its space, and the times of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nxt.analysis.effects import Residuals, residuals
from nxt.analysis.error_distribution import first_trainings
from nxt.analysis.trust import Trust, between_epochs
from nxt.errors import RunError
from nxt.search.request import first_difference
from nxt.search.results.run import Run, load_run
from nxt.search.strategy.setup import SearchSetup
from nxt.search.study.timestamps import Span, read_times
from nxt.search.trial import Outcome, Trial
from nxt.space.arch_list import ArchList
from nxt.space.coverage import Lint, lint
from nxt.space.space import Space


@dataclass(frozen=True)
class ReportData:
    """A run, and figures that several sections show; each is computed once."""

    run: Run
    times: Mapping[int, Span] = field(default_factory=dict)  # by trial number
    other: ReportData | None = None  # a run under the same conditions, to compare with

    @property
    def measure(self) -> str:
        """The name of the accuracies: of full trainings, or of a proxy."""
        return self.run.measure

    @cached_property
    def setup(self) -> SearchSetup:
        """The parts made from the request: the feasible set, and the rungs at which trials are compared."""
        return SearchSetup(self.run.request)

    @property
    def space(self) -> Space | ArchList:
        """The space or the list that the architectures come from."""
        return self.run.request.space

    @cached_property
    def first(self) -> list[Trial]:
        """For each architecture that reached the last epoch, its first training that did."""
        return first_trainings(self.run)

    @cached_property
    def drawn(self) -> int | None:
        """How many architectures, references aside, were drawn before the sampler had a model; None: unknown."""
        begins = self.setup.model_begins
        if begins is None or any(trial.number not in self.times for trial in self.run.trials):
            return None
        ends = [(self.times[t.number].ended, t.point) for t in self.run.trials if t.outcome is Outcome.DONE]
        begun = [self.times[t.number].begun for t in self.run.trials if not t.replicate and not t.family]
        results = [len({point for ended, point in ends if ended and ended <= moment}) for moment in begun]
        return sum(known < begins for known in results)

    @cached_property
    def lint(self) -> Lint | None:
        """The part of the space inside the budget; None for a list, or without a budget."""
        budget = self.run.request.budget
        return lint(self.space, budget) if isinstance(self.space, Space) and budget.limits else None

    @cached_property
    def residuals(self) -> Residuals | None:
        """Accuracies at equal cost; None for a list, or with too few architectures."""
        return residuals(self.first) if isinstance(self.space, Space) else None

    @cached_property
    def trust(self) -> Trust | None:
        """How well early epochs predict the last one; None with too few trials."""
        return between_epochs(self.run)


def load_report_data(path: Path, against: Path | None = None) -> ReportData:
    """Reads a run directory and the times of its trials, and those of another run to compare with.

    Raises:
        RunError: if one is no search or is damaged, or they are not comparable.
        ConfigError: if a record is damaged.
    """
    run = load_run(path)
    other = None if against is None else load_report_data(against)
    if other is not None:
        difference = first_difference(run.record.conditions, other.run.record.conditions)
        difference = difference or ("objective" if run.objective != other.run.objective else "")
        if difference:
            raise RunError(f"`against` {against}: its {difference} differs, so it does not compare")
    return ReportData(run, read_times(path / "study.db"), other)
