"""A whole search, from data to front: in its run directory, on Ray, watched by an observer."""

from __future__ import annotations

import dataclasses
import pickle
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Protocol

from nxt.compute.accelerator import gpus
from nxt.compute.mode import Compute
from nxt.data.cache import NoCacheError
from nxt.data.dataset import Source
from nxt.data.squares import Squares
from nxt.errors import NxtError
from nxt.rundir import RunDirectory, hold_run_directory
from nxt.search.engine.packing import Packing, look, uses_gpus
from nxt.search.engine.search import SAMPLES, Search
from nxt.search.engine.session import SearchSession, open_session
from nxt.search.results import files, measured_front
from nxt.search.results.run import load_run
from nxt.search.strategy.agenda import NothingToRun
from nxt.search.trial import Outcome, Trial
from nxt.train.engine.proxy_compute import measured_here


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Where trials run, and for how long. Nothing of it decides what comes out of a trial."""

    workers: int | None = None  # trials at a time (of a cluster, at most); None: as many as fit
    gpus_per_trial: float | None = None  # 0: the CPU; 1 or a fraction; None: by what a trial needs, if there are GPUs
    address: str | None = None  # of a Ray cluster; None: a Ray instance of our own on this machine
    hours: float | None = None  # None: as long as it takes


class Observer(Protocol):
    """Follows a search. Before it begins it may hear of what is read, and of what a person should know."""

    def note(self, text: str) -> None:
        """Notes what a person should know."""

    def reading(self, done: int, total: int) -> None:
        """Notes how many images are decoded, of all that machines decode before trials run."""

    def begin(self, session: SearchSession, workers: int) -> None:
        """Notes that trials are about to run, so many at a time."""

    def ended(self, trial: Trial) -> None:
        """Notes that a trial has ended."""

    def update(self) -> None:
        """Notes that something has changed; called often, by the one thread that changes trials."""

    def shown(self) -> AbstractContextManager[None]:
        """Follows the trials for the time of a block."""


class Ending(Enum):
    """How a search ended for now."""

    COMPLETE = "all that was asked for is done"
    OUT_OF_TIME = "the hours are over"
    INTERRUPTED = "something asked it to stop"


def execute(search: Search, resources: Resources, observer: Observer, new: bool) -> Ending:
    """Runs a search, or goes on with one.

    Where nothing is left to do the observer hears of nothing.

    Raises:
        NxtError: what `open_session`, `ray_cluster.place` and the study raise.
    """
    with hold_run_directory(search.out, "search", new) as directory:
        if new:
            search = search.with_own_storage()
        elif _is_complete(search, directory):
            _measure_front(search, Ending.COMPLETE)
            return Ending.COMPLETE
        from nxt.compute import ray_cluster
        from nxt.search.engine import ray_runner

        data, began = search.trial_data(), time.monotonic()
        if resources.address is None:
            _decode(data, None, observer)
        with ray_cluster.cluster(_sent_bytes(data), resources.address):
            if resources.address is not None:
                _decode(data, resources.address, observer)
            packing = _packing(search, resources, data.nbytes if isinstance(data, Squares) else 0)
            gpus = packing.usual.gpus if packing is not None else 0.0
            placement = ray_cluster.place(resources.workers, gpus, joined=resources.address is not None)
            if new:
                if packing is not None and isinstance(data, Squares):
                    search = dataclasses.replace(search, ways=_ways(search))
                search.write_record(directory)
            hours = _left(resources.hours, time.monotonic() - began)
            with open_session(search, directory, placement.workers, hours, packing) as session:
                session.growth = placement.growth
                observer.begin(session, placement.workers)

                def on_change() -> None:
                    for trial in session.tend():
                        observer.ended(trial)
                    observer.update()

                with observer.shown():
                    ray_runner.run(session, data, placement, on_change)
            ending = _ending(session)
        _measure_front(search, ending)
        return ending


def _left(hours: float | None, gone: float) -> float | None:
    """Returns the hours that a search has left, after so many seconds of reading and decoding."""
    return None if hours is None else max(0.0, hours - gone / 3600)


def _decode(data: Squares | Source, address: str | None, observer: Observer) -> None:
    """Has this machine, or each of a cluster, decode the images of a search's trials; says where there is no room.

    Raises:
        DataError: if an image is not readable.
    """
    if not isinstance(data, Squares):
        return
    if not data.is_cached:
        data.open()  # each worker does; what is not readable is told before
        return
    answers: Iterator[tuple[str, int | NxtError]] = (("", answer) for answer in _attempt(data))
    if address is not None:
        from nxt.compute import ray_cluster

        answers = ray_cluster.on_each_node(partial(_attempt, data))
    done: dict[str, int] = {}
    for machine, answer in answers:
        if isinstance(answer, NoCacheError):
            where = f"on {machine} " if machine else ""
            observer.note(f"images are decoded {where}whenever they are read ({answer})")
        elif isinstance(answer, NxtError):
            raise answer
        else:
            done[machine] = answer
            observer.reading(sum(done.values()), len(data) * len(done))


def _attempt(data: Squares) -> Iterator[int | NxtError]:
    """Does what `Squares.decode` does; an error is the last answer, as it may come from another machine."""
    try:
        yield from data.decode()
    except NxtError as error:
        yield error


def _sent_bytes(data: Squares | Source) -> int:
    """Returns the bytes that are sent to workers: lists of files, and images that are in memory anyway."""
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    return len(rest) + sum(buffer.raw().nbytes for buffer in buffers)


def _packing(search: Search, resources: Resources, images: int) -> Packing | None:
    """Returns how trials share the running cluster's GPUs, each of which is tried first; None: they run on CPUs.

    Raises:
        DeviceError: if a GPU cannot be used.
    """
    from nxt.compute.ray_cluster import cpu_count, gpu_count, on_each_gpu

    problem = gpus().problem() if resources.address is None else ""  # of this machine, which a cluster may be without
    if not uses_gpus(resources.gpus_per_trial, gpu_count(), problem):
        return None
    cpus = min(cpu_count(), resources.workers or cpu_count())
    return search.packing(on_each_gpu(look), resources.gpus_per_trial, images, cpus)


def _ways(search: Search) -> dict[str, Compute]:
    """Measures, or finds measured, how the search's proxies compute fastest on its GPUs."""
    from nxt.compute.ray_cluster import on_a_gpu

    request = search.request
    proxies = [request.proxy.apply(spec, search.size) for spec in search.samples(SAMPLES)]
    return on_a_gpu(partial(measured_here, proxies, request.recipe, search.size, len(search.source.classes)))


def _measure_front(search: Search, ending: Ending) -> None:
    """Measures the front's latencies when nothing else runs any more, and brings the result files up to date."""
    if measured_front.counts(search.request) and ending is not Ending.INTERRUPTED:
        measured_front.measure_front(load_run(search.out))
        files.write(load_run(search.out))


def _ending(session: SearchSession) -> Ending:
    if session.strategy.complete:
        return Ending.OUT_OF_TIME if session.cut_short else Ending.COMPLETE
    return Ending.OUT_OF_TIME if session.pace.time_is_up else Ending.INTERRUPTED


def _is_complete(search: Search, directory: RunDirectory) -> bool:
    """Tells whether nothing is left to do, and brings the result files up to date."""
    with open_session(search, directory) as session:
        running = any(trial.outcome is Outcome.RUNNING for trial in session.trials)
        return not running and session.strategy.agenda.next(session.trials) is NothingToRun.END
