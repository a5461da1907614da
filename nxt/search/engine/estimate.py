"""What a search would cost, before it is run: predicted from a short measurement on this machine."""

from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
import torch

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator, gpus
from nxt.compute.cuda_graph import RecordingError
from nxt.compute.devices import choose
from nxt.data.dataset import Dataset, Split, divided
from nxt.errors import DeviceError, UsageError
from nxt.search.engine.packing import Gpu, look, uses_gpus
from nxt.search.engine.search import Search
from nxt.search.strategy.eta import reserve
from nxt.search.strategy.setup import SearchSetup
from nxt.train.engine.setup import resident_trainer
from nxt.train.recipe import Recipe

_SAMPLES = 3  # architectures measured, as far as the time goes
_BATCHES = 4  # of each at most
_PROBE = 8  # images that tell how many can be measured
_SECONDS = 10.0  # for measuring all of them
_IMPORT = 6.0  # seconds at most to find out how long a process takes to start
_STARTS = 3  # processes that start one after the other before a trial begins: the driver, Ray's, a worker


@dataclass(frozen=True)
class Plan:
    """Predictions. Epochs, seconds and bytes are of the proxy's networks, not of the architectures'."""

    architectures: int  # in the space or list
    feasible: int  # of those inside the budget
    explored: int  # trials to explore
    confirming: int  # trials to confirm, at most; or those of a list
    epochs: int  # of a trial that is not stopped
    rungs: tuple[int, ...]
    reaching: tuple[float, ...]  # share of the explored trials expected to be trained beyond each rung
    total_epochs: float
    device: str
    measured: int  # architectures, of those that a search might train
    epoch_seconds: float  # mean over them
    epoch_range: tuple[float, float]  # seconds of the quickest and the slowest of the measured architectures
    device_hours: float
    starting: float  # seconds until the first trial begins: reading the images, starting Ray and the workers
    seconds: float  # from the start to the end
    memory: int  # bytes of the largest of the measured architectures: on a GPU of a trial, else of a training step
    memory_measured: bool  # as a GPU's peak; else predicted as for `Cost.memory`
    disk: int  # bytes in the run directory
    cache: int  # bytes of decoded images on each machine, kept for later searches
    workers: int  # trials at a time
    devices: int  # that they compute on, on a CPU parts of it; fewer where trials share a GPU, and with it its time


def plan(
    search: Search,
    workers: int | None = None,
    hours: float | None = None,
    gpus_per_trial: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Predicts what a search costs in all, training a few images of a few of its architectures, for 20 s at most.

    Args:
        search: The search.
        workers: Trials at a time; None: as many as fit on this machine.
        hours: The time there is, if that limits the number of trials.
        gpus_per_trial: Part of a GPU for each trial; 0: the CPU; None: what each needs, if there are GPUs.
        say: Is called with a line of text before each measurement.

    Raises:
        DeviceError: if there are no GPUs, they cannot be used, or a pass cannot be recorded there.
        DataError: if images cannot be read.
        UsageError: for a search with heads.
    """
    request = search.request
    if request.task != "classification":
        raise UsageError(f"`plan` predicts searches of classifiers alone, not of {request.task}; try a few `trials`")
    device, overhead, cpus = choose("cpu"), 0, os.cpu_count() or 1
    say("reading some images")
    few = _read(search)
    if uses_gpus(gpus_per_trial, gpus().count(), gpus().problem()):
        gpu, device = look(), choose("cuda")
        overhead = gpu.overhead
        workers, devices = _places(search, gpu, few.bytes, workers, gpus_per_trial)
    else:
        workers = devices = workers or cpus
    explored, confirming = search.setup.agenda().remaining(())
    if request.is_list:
        explored, confirming = 0, explored + confirming
    rungs, reaching = search.setup.rungs, _reaching(search.setup)
    length = _expected_length(request.proxy.epochs, rungs, reaching)
    say("starting a process, as each worker is one")
    starting = _STARTS * _start_of_a_process() + few.reading
    with _threads(max(1, cpus // workers)):
        measured = _measure_some(search, few, device, say)
    seconds = float(np.mean([row.epoch_seconds for row in measured]))
    if hours is not None:
        kept = min(confirming * request.proxy.epochs, reserve(3600 * hours) * devices / seconds)
        left = (3600 * hours - starting) * devices / seconds - kept
        explored = min(explored, max(0, int(left / length)))
    total = explored * length + confirming * request.proxy.epochs
    rounds = max(explored / workers, min(1, explored)) * length + ceil(confirming / workers) * request.proxy.epochs
    return Plan(
        architectures=request.space.size,
        feasible=request.space.size if search.setup.feasible is None else len(search.setup.feasible),
        explored=explored,
        confirming=confirming,
        epochs=request.proxy.epochs,
        rungs=rungs,
        reaching=reaching,
        total_epochs=total,
        device=accelerator(device).name,
        measured=len(measured),
        epoch_seconds=seconds,
        epoch_range=(min(row.epoch_seconds for row in measured), max(row.epoch_seconds for row in measured)),
        device_hours=total * seconds / 3600,
        starting=starting,
        seconds=starting + rounds * seconds * workers / devices,
        memory=max(row.memory for row in measured) + overhead,
        memory_measured=accelerator(device).is_gpu,
        cache=few.cache,
        disk=workers * max(row.checkpoint for row in measured) + 4096 * (explored + confirming),
        workers=workers,
        devices=devices,
    )


@dataclass(frozen=True)
class _Few:
    """Some of a search's images, and what is known of all."""

    data: Dataset
    train: int  # images in all
    val: int
    bytes: int  # of all
    cache: int  # of those that are kept on disk
    reading: float  # seconds for those that are not decoded yet


def _read(search: Search) -> _Few:
    """Reads as many images as are measured."""
    source, recipe, squares = search.source, search.request.recipe, search.squares()
    train, held_in, val = divided(source, search.request.proxy.share)
    side, most = recipe.preprocess(search.size, source.mean, source.std).resized, _BATCHES * recipe.batch
    began = time.perf_counter()
    splits = [
        Split(source.images(name, rows[:most], side), source.labels(name)[rows[:most]])
        for name, rows in (("train", train), (held_in, val))
    ]
    each = (time.perf_counter() - began) / sum(map(len, splits))
    reading = each * squares.missing if search.request.data.is_own else 0.0  # others read all
    data = Dataset(source.name, source.classes, source.mean, source.std, source.mirror, *splits)
    cache = squares.nbytes if squares.is_cached else 0
    return _Few(data, len(train), len(val), squares.nbytes, cache, reading)


def _start_of_a_process() -> float:
    """Returns the seconds that a process takes to start and to import what a worker needs."""
    began = time.perf_counter()
    with suppress(subprocess.TimeoutExpired):
        command = [sys.executable, "-c", "import ray.tune, nxt.search.engine.worker"]
        subprocess.run(command, capture_output=True, timeout=_IMPORT, check=False)
    return time.perf_counter() - began


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Computes in so many threads, as a worker does."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure_some(search: Search, few: _Few, device: torch.device, say: Callable[[str], None]) -> list[_Measured]:
    """Measures architectures one after the other while there is time; one at least."""
    began, measured = time.perf_counter(), list[_Measured]()
    specs = search.samples(_SAMPLES)
    for index, spec in enumerate(specs):
        left = _SECONDS - (time.perf_counter() - began)
        if measured and left < (time.perf_counter() - began) / index:
            break
        say(f"measuring {spec.name}, {index + 1} of {len(specs)}")
        measured.append(_measure(search, spec, few, device, left / (len(specs) - index)))
    return measured


def _places(search: Search, gpu: Gpu, images: int, workers: int | None, part: float | None) -> tuple[int, int]:
    """Returns how many trials run at a time on this machine's GPUs, all like this one, and on how many of them."""
    count, cpus = gpus().count(), os.cpu_count() or 1
    packing = search.packing([gpu] * count, part, images, min(cpus, workers or cpus))
    workers = workers or min(cpus, count * int(1 / packing.usual.gpus + 1e-3))
    return workers, min(workers, count)


def _reaching(setup: SearchSetup) -> tuple[float, ...]:
    """Returns the share of trials that goes on after each rung: one in eta of those that compete, and the control."""
    settings = setup.request.settings
    competing, control, found = 1.0, 0.0, []
    for _ in setup.rungs:
        control += competing * (1 - 1 / settings.eta) * settings.control
        competing /= settings.eta
        found.append(competing + control)
    return tuple(found)


def _expected_length(epochs: int, rungs: tuple[int, ...], reaching: tuple[float, ...]) -> float:
    """Returns the mean number of epochs of an explored trial."""
    ends = (0, *rungs, epochs)
    return sum((end - start) * share for (start, end), share in zip(pairwise(ends), (1.0, *reaching), strict=True))


@dataclass(frozen=True)
class _Measured:
    epoch_seconds: float
    memory: int
    checkpoint: int


def _measure(search: Search, spec: ArchSpec, few: _Few, device: torch.device, seconds: float) -> _Measured:
    """Trains an architecture's proxy network on a few batches; on a CPU on so few images that it takes that time."""
    request = search.request
    recipe = dataclasses.replace(request.recipe, calibrate=0)
    proxy, gpu = request.proxy.apply(spec, search.size), accelerator(device)
    count, rate = _BATCHES * recipe.batch, None
    if gpu.is_gpu:  # from here on: an epoch of recorded passes allocates nothing
        gc.collect()
        gpu.release_memory()  # of the architecture before
        gpu.reset_peaks()
    else:  # the probe trains twice
        rate = _rate(search, proxy, few, recipe, device, _PROBE)
        count = min(count, int(max(0.0, seconds - 3 * _PROBE * rate) / (2 * rate)))
    if rate is None or count > _PROBE:
        rate = _rate(search, proxy, few, recipe, device, count)
    own = cost(proxy, search.size, len(few.data.classes))
    left_out = few.bytes - sum(split.images.nbytes for split in (few.data.train, few.data.val))
    return _Measured(
        epoch_seconds=rate * (few.train + request.recipe.calibrate / 3 + few.val / 3),
        memory=gpu.peak_reserved() + left_out if gpu.is_gpu else own.step_memory(recipe.batch),
        checkpoint=8 * own.params,
    )


def _rate(search: Search, proxy: ArchSpec, few: _Few, recipe: Recipe, device: torch.device, count: int) -> float:
    """Returns the seconds to train on an image; evaluating one takes a third of that."""
    batch = min(recipe.batch, count)
    train, val = (_first(split, max(1, count // batch) * batch) for split in (few.data.train, few.data.val))
    batch = min(batch, len(train))
    smaller = dataclasses.replace(recipe, batch=batch, accumulate=min(recipe.accumulate, batch))
    data = dataclasses.replace(few.data, train=train, val=val)
    trainer = resident_trainer(proxy, data, smaller, search.size, device, search.request.seed)
    try:
        trainer.run_epoch()  # the first one also prepares the device's libraries
    except RecordingError as error:  # in a search such a trial starts again in another process
        raise DeviceError(f"nothing can be measured in this process any more: {error}; search without `plan`") from None
    start = time.perf_counter()
    trainer.run_epoch()
    return (time.perf_counter() - start) / (len(train) + len(val) / 3)


def _first(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.labels[:count])
