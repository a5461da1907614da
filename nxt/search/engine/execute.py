"""A whole search, from data to front: in its run directory, on Ray, watched by an observer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from nxt.search.engine.search import Search
from nxt.search.strategy.agenda import Pause
from nxt.search.trial import Outcome, Trial


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where trials run, and for how long. Nothing of it decides what comes out of a trial."""

    workers: int | None = None  # trials at a time; None: as many as fit
    gpus_per_trial: float | None = None  # None: one where there are any
    address: str | None = None  # of a Ray cluster; None: a Ray instance of our own on this machine
    hours: float | None = None  # None: as long as it takes


class Observer(Protocol):
    """Follows a search."""

    def begin(self, search: Search, workers: int) -> None:
        """Note that trials are about to run, so many at a time; `search` has its strategy now."""

    def ended(self, trial: Trial) -> None:
        """Note that a trial has ended."""

    def update(self) -> None:
        """Note that something has changed; called often, by the one thread that changes trials."""

    def shown(self) -> AbstractContextManager[None]:
        """Follow the trials for the time of a block."""


def execute(search: Search, where: Where, observer: Observer, new: bool) -> bool:
    """Run a search, or go on with one, and return whether all that was asked for has been done.

    Where nothing is left to do the observer hears of nothing.

    Raises:
        NxtError: what `Search`, `ray_cluster.place` and the study raise.
    """
    with search.directory(new):
        if not new and _is_complete(search):
            return True
        data = search.shared_data()
        from nxt.compute import ray_cluster
        from nxt.search.engine import ray_runner

        size = 0 if data is None else data.train.images.nbytes + data.val.images.nbytes
        with ray_cluster.cluster(size, where.address):
            placement = ray_cluster.place(where.workers, where.gpus_per_trial)
            if new:
                search.write_record()
            with search.opened(placement.workers, where.hours) as strategy:
                observer.begin(search, placement.workers)

                def on_change() -> None:
                    for trial in search.tend():
                        observer.ended(trial)
                    observer.update()

                with observer.shown():
                    ray_runner.run(
                        strategy,
                        search.task(placement.device, placement.cpus, placement.gpus, placement.workers),
                        data,
                        placement,
                        on_change,
                        lambda: search.pace.time_is_up,
                        search.request.settings.retries,
                        search.scratch,
                    )
    return strategy.complete


def _is_complete(search: Search) -> bool:
    """Tell whether nothing is left to do, and bring the result files up to date."""
    with search.opened() as strategy:
        trials = strategy.study.trials.values()
        running = any(trial.outcome is Outcome.RUNNING for trial in trials)
        return not running and strategy.agenda.next(trials) is Pause.END
