"""Makes the parts of a search from its request: the feasible set, the references, the rungs, scheduler and agenda."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from nxt.search.request import SearchRequest
from nxt.search.strategy.agenda import Agenda, ListAgenda, SearchAgenda
from nxt.search.strategy.samplers import begins, make_sampler
from nxt.search.strategy.schedulers import Scheduler, make_scheduler, rungs
from nxt.space.arch_list import ArchList
from nxt.space.feasible import FeasibleSet
from nxt.space.references import references
from nxt.space.space import Point


@dataclass(frozen=True)
class SearchSetup:
    """The parts of a search, made from its request; used by the search, its estimate, its status and its report."""

    request: SearchRequest

    @cached_property
    def feasible(self) -> FeasibleSet | None:
        """The architectures inside the budget; None for a list.

        Raises:
            SpaceError: if nothing fits.
        """
        space = self.request.space
        return None if isinstance(space, ArchList) else FeasibleSet(space, self.request.budget)

    @cached_property
    def references(self) -> dict[Point, str]:
        """The papers' templates inside the budget: reference family by point."""
        return {} if self.feasible is None else {point: family for family, point in references(self.feasible).items()}

    @property
    def model_begins(self) -> int | None:
        """The number of architectures after which the sampler proposes by a model; None if it has none."""
        return begins(self.request.settings.sampler)

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """The epochs at which trials are compared; empty if no trial is stopped."""
        request, settings = self.request, self.request.settings
        if request.is_list or settings.scheduler == "none":
            return ()
        return rungs(request.proxy.epochs, settings.eta, settings.grace)

    def scheduler(self) -> Scheduler:
        """Returns the scheduler, which decides which trials continue."""
        request, settings = self.request, self.request.settings
        return make_scheduler(settings.scheduler, self.rungs, settings.eta, request.budget, request.objective)

    def agenda(
        self, enough: Callable[[Agenda], bool] = lambda _: False, families: dict[Point, str] | None = None
    ) -> Agenda:
        """Returns the agenda, which decides what is trained next.

        Args:
            enough: Tells whether exploring should end because time is short.
            families: The references, if known from a run's trials: computing them may take a second.
        """
        request, settings = self.request, self.request.settings
        if self.feasible is None:
            return ListAgenda(request.space, request.repeats, enough)
        first = self.references if families is None else families
        objectives, window = (request.objective,), request.budget.is_window
        sampler = make_sampler(settings.sampler, self.feasible, list(first), request.seed, objectives, window)
        return SearchAgenda(sampler, first, request.trials, settings.confirm, settings.confirm_seeds, enough)
