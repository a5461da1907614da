"""What follows from a search's request alone: what fits, what comes first, and when trials are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from nxt.search.request import SearchRequest
from nxt.search.strategy.agenda import Agenda, ListAgenda, SearchAgenda
from nxt.search.strategy.sampler import FeasibleSampler
from nxt.search.strategy.schedulers import Scheduler, make_scheduler, rungs
from nxt.space.arch_list import ArchList
from nxt.space.feasible import FeasibleSet
from nxt.space.references import references
from nxt.space.space import Point


@dataclass(frozen=True)
class SearchSetup:
    """The parts of a search, made from its request. The search, its plan, its status and its report share them."""

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

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """The epochs at which trials are compared; none where nothing is stopped."""
        request, settings = self.request, self.request.settings
        if request.is_list or settings.scheduler == "none":
            return ()
        return rungs(request.proxy.epochs, settings.eta, settings.grace)

    def scheduler(self) -> Scheduler:
        """Returns what decides which trials go on."""
        request, settings = self.request, self.request.settings
        return make_scheduler(settings.scheduler, self.rungs, settings.eta, request.budget, request.objective)

    def agenda(
        self, enough: Callable[[Agenda], bool] = lambda _: False, families: dict[Point, str] | None = None
    ) -> Agenda:
        """Returns what is to be trained, in order.

        Args:
            enough: Tells whether no more should be explored, because the time is up.
            families: The references, where they are known from a run's trials: to find them may take a second.
        """
        request, settings = self.request, self.request.settings
        if self.feasible is None:
            return ListAgenda(request.space, request.repeats, enough)
        first = self.references if families is None else families
        sampler = FeasibleSampler(self.feasible, list(first), settings.sampler, request.seed)
        return SearchAgenda(sampler, first, request.trials, settings.confirm, settings.confirm_seeds, enough)
