"""The options of a search: the arguments of `nxt.search` and of the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nxt.arch.latency import LatencyTable, read_table
from nxt.arch.spec import ArchSpec
from nxt.config import merged, refuse_given
from nxt.data.ref import DataRef
from nxt.errors import UsageError
from nxt.files import inside, is_file
from nxt.rundir import RECORD, check_same, free_run_directory
from nxt.search.new_request import make_request
from nxt.search.request import SearchRequest, load_record
from nxt.space.arch_list import load_list
from nxt.space.budget import MEASURED, Budget, parse_budget
from nxt.space.load import DEFAULT, load_space
from nxt.space.space import Space
from nxt.tracking.sender import check_tracker

TRIALS = 20  # explored by default
COSTS = ("flops", "params", "acts", "memory", *MEASURED)
_BUDGET = ("space", "like", "size", "classes", "latency_table", "objectives", *COSTS)
_RECORDED = (*_BUDGET, "archs", "head", "out", "seed", "settings", "storage", "repeats", "skip_bad")


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The arguments of `nxt.search`, which documents them; None if not given.

    Raises:
        UsageError: if arguments exclude each other or are out of range.
        RunError: if the package of the tracker is not installed.
    """

    space: str | Path | Space | None = None
    flops: str | None = None
    params: str | None = None
    acts: str | None = None
    memory: str | None = None
    latency: str | None = None
    throughput: str | None = None
    latency_table: Path | None = None
    objectives: str | None = None
    like: str | None = None
    size: int | None = None
    classes: int | None = None
    archs: tuple[str | Path | ArchSpec, ...] = ()
    repeats: int | None = None
    data: DataRef | None = None
    head: str | None = None
    trials: int | None = None
    hours: float | None = None
    confirm: int | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    out: Path | None = None
    resume: Path | None = None
    resume_or_new: bool = False
    replay: Path | None = None
    storage: str | None = None
    download: bool = False
    skip_bad: bool = False
    workers: int | None = None
    gpus_per_trial: float | None = None
    address: str | None = None
    track: str | None = None

    def __post_init__(self) -> None:
        check_tracker(self.track)
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"`workers` {self.workers}: at least one is needed")
        if self.gpus_per_trial is not None and not 0 <= self.gpus_per_trial <= 1:
            raise UsageError(
                f"`gpus_per_trial` {self.gpus_per_trial:g}: give a part of a GPU, at most 1, or 0 to train on the CPU"
            )
        if self.hours is not None and not 0 < self.hours <= 24 * 366:
            raise UsageError(f"`hours` {self.hours:g}: give a time from seconds (0.01) to a year")
        if self.resume_or_new and (self.out is None or self.resume is not None):
            raise UsageError("`resume_or_new` goes on with the run in `out`, or begins it: give that, and no `resume`")
        if self.resume is not None:
            refuse_given(
                self,
                _RECORDED,
                "cannot be given with `resume`: run.yaml has what was asked",
            )
        elif self.archs:
            search_only = (*_BUDGET, "trials", "confirm")
            refuse_given(self, search_only, "cannot be given with `archs`: nothing is searched")
        elif self.repeats is not None:
            raise UsageError("`repeats` needs `archs`: the trainings of a search differ in their architectures")
        elif not any(self.costs.values()) and self.like is None:
            raise UsageError("give a budget, such as `flops` 4.1G or `like` resnext50_32x4d")

    def settled(self) -> SearchOptions:
        """Returns the options of a new run or of one to resume; which of them, `resume_or_new` leaves to what is there.

        Raises:
            RunError: if the run that is there was asked something else, but for `trials` and `confirm`.
            NxtError: if it cannot be read, or as `request` does.
        """
        if not self.resume_or_new or self.out is None or not is_file(self.out / RECORD):
            return self
        before = load_record(self.out).request
        asked = self.request()
        settings = dataclasses.replace(asked.settings, confirm=before.settings.confirm)
        place = before.storage.partition("?")[0] if "://" in before.storage else before.storage
        own = inside(asked.storage, place.rpartition("/")[2])  # each run has a folder of its own there
        storage = before.storage if own == before.storage else asked.storage
        asked = dataclasses.replace(asked, trials=before.trials, settings=settings, storage=storage)
        check_same(asked.to_dict(), before.to_dict(), self.out)
        kept = {item.name for item in dataclasses.fields(self)} - {*_RECORDED, "resume", "resume_or_new"}
        return SearchOptions(resume=self.out, **{name: getattr(self, name) for name in kept})

    @property
    def costs(self) -> dict[str, str | None]:
        """The limits as the user wrote them, by cost."""
        return {name: getattr(self, name) for name in COSTS}

    @cached_property
    def _table(self) -> LatencyTable | None:
        return None if self.latency_table is None else read_table(self.latency_table)

    def budget(self) -> Budget:
        """Returns the limits on costs. Raises BudgetError, ArchError or ConfigError if they cannot be read."""
        if self.like is not None and self.data is not None and self.data.task != "classification":
            raise UsageError("`like` counts a classifier, and here heads count, too: give `flops` or `params`")
        return parse_budget(self.costs, self.like, self.size, self.classes, self._table)

    def request(self) -> SearchRequest:
        """Returns the request of a new search, or that of the search to resume with the changes of these options.

        Raises:
            NxtError: if a named file, space or architecture does not exist or cannot be used.
            UsageError: if the search to resume does not allow a change.
        """
        if self.resume is not None:
            return self._resumed(self.resume)
        own: dict[str, Any] = {} if self.confirm is None else {"search": {"confirm": self.confirm}}
        own |= {} if self.head is None else {"recipe": {"head": self.head}}
        request = make_request(
            load_list(self.archs) if self.archs else self._space(),
            self.budget(),
            data=self.data or DataRef("digits"),
            trials=TRIALS if self.trials is None and self.hours is None else self.trials,
            seed=self.seed or 0,
            settings=merged(self.settings, own),
            repeats=1 if self.repeats is None else self.repeats,
            storage=_absolute(self.storage),
            objectives=self.objectives,
        )
        return dataclasses.replace(request, skip_bad=self.skip_bad)

    def directory(self, request: SearchRequest) -> Path:
        """Returns the run directory: that of `resume`, that of `out`, or a free one under results/."""
        limits = [limit.label for limit in request.budget.limits]
        return self.resume or self.out or free_run_directory(request.space.name, *limits, request.data.name)

    def _space(self) -> Space:
        space = self.space if isinstance(self.space, Space) else load_space(str(self.space or DEFAULT))
        return space.counted_at(self.size, self.classes).with_latency(self._table)

    def _resumed(self, run: Path) -> SearchRequest:
        request = load_record(run).request
        if request.is_list and (self.trials is not None or self.confirm is not None):
            raise UsageError("`trials` and `confirm` cannot be given for a list: nothing is searched")
        trials = request.trials if self.trials is None else self.trials
        if trials is None and self.hours is None and self.confirm is None:
            raise UsageError("hours limited this search: give `hours` again, or the number of `trials`")
        if self.confirm is not None:
            settings = dataclasses.replace(request.settings, confirm=self.confirm)
            request = dataclasses.replace(request, settings=settings)
        return dataclasses.replace(request, trials=trials, data=self.data or request.data)


def _absolute(storage: str | None) -> str:
    """Returns a path as an absolute one, so that it is valid for every worker; URIs do not change."""
    if storage is None or "://" in storage:
        return storage or ""
    return str(Path(storage).resolve())
