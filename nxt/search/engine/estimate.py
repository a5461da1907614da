"""What a search would cost, before it is run: predicted from a short measurement on this machine."""

from __future__ import annotations

import dataclasses
import gc
import os
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator, gpus
from nxt.compute.cuda_graph import RecordingError
from nxt.compute.devices import choose
from nxt.data.dataset import Dataset, Split
from nxt.errors import DeviceError
from nxt.search.engine.packing import Gpu, look, uses_gpus
from nxt.search.engine.search import Search
from nxt.search.strategy.setup import SearchSetup
from nxt.train.engine.setup import resident_trainer

_SAMPLES = 3  # architectures measured
_BATCHES = 4  # of each


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
    epoch_seconds: float  # mean over the measured architectures
    device_hours: float
    memory: int  # bytes of the largest of the measured architectures: on a GPU of a trial, else of a training step
    memory_measured: bool  # as a GPU's peak; else predicted as for `Cost.memory`
    disk: int  # bytes in the run directory
    workers: int  # trials at a time
    devices: int  # that they compute on; fewer where trials share a GPU, and with it its time


def plan(
    search: Search,
    data: Dataset,
    workers: int | None = None,
    hours: float | None = None,
    gpus_per_trial: float | None = None,
) -> Plan:
    """Predicts what a search costs in all, training a few batches of a few of its architectures.

    Args:
        search: The search.
        data: What it trains on.
        workers: Trials at a time; None: as many as fit on this machine.
        hours: The time there is, if that limits the number of trials.
        gpus_per_trial: Part of a GPU for each trial; 0: the CPU; None: what each needs, if there are GPUs.

    Raises:
        DeviceError: if there are no GPUs, they cannot be used, or a pass cannot be recorded there.
    """
    request = search.request
    device, overhead = choose("cpu"), 0
    if uses_gpus(gpus_per_trial, gpus().count(), gpus().problem()):
        gpu, device = look(), choose("cuda")
        images, overhead = data.train.images.nbytes + data.val.images.nbytes, gpu.overhead
        workers, devices = _places(search, gpu, images, workers, gpus_per_trial)
    else:
        workers = devices = workers or os.cpu_count() or 1
    explored, confirming = search.setup.agenda().remaining(())
    if request.is_list:
        explored, confirming = 0, explored + confirming
    rungs, reaching = search.setup.rungs, _reaching(search.setup)
    length = _expected_length(request.proxy.epochs, rungs, reaching)
    measured = [_measure(search, spec, data, device) for spec in search.samples(_SAMPLES)]
    seconds = float(np.mean([row.epoch_seconds for row in measured]))
    if hours is not None:
        left = 3600 * hours * devices / seconds - confirming * request.proxy.epochs
        explored = min(explored, max(0, int(left / length)))
    total = explored * length + confirming * request.proxy.epochs
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
        epoch_seconds=seconds,
        device_hours=total * seconds / 3600,
        memory=max(row.memory for row in measured) + overhead,
        memory_measured=accelerator(device).is_gpu,
        disk=workers * max(row.checkpoint for row in measured) + 4096 * (explored + confirming),
        workers=workers,
        devices=devices,
    )


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


def _measure(search: Search, spec: ArchSpec, data: Dataset, device: torch.device) -> _Measured:
    """Trains an architecture's proxy network for a few batches."""
    request = search.request
    recipe = dataclasses.replace(request.recipe, calibrate=0)
    few = dataclasses.replace(
        data, train=_first(data.train, _BATCHES * recipe.batch), val=_first(data.val, _BATCHES * recipe.batch)
    )
    proxy, gpu = request.proxy.apply(spec, search.size), accelerator(device)
    if gpu.is_gpu:  # from here on: an epoch of recorded passes allocates nothing
        gc.collect()
        gpu.release_memory()  # of the architecture before
        gpu.reset_peaks()
    trainer = resident_trainer(proxy, few, recipe, search.size, device, request.seed)
    try:
        trainer.run_epoch()  # the first one also prepares the device's libraries
    except RecordingError as error:  # in a search such a trial starts again in another process
        raise DeviceError(f"nothing can be measured in this process any more: {error}; search without `plan`") from None
    start = time.perf_counter()
    trainer.run_epoch()
    rate = (time.perf_counter() - start) / (len(few.train) + len(few.val) / 3)  # evaluation is a third of training
    own = cost(proxy, search.size, len(data.classes))
    left_out = sum(_bytes(all_of) - _bytes(some) for all_of, some in ((data.train, few.train), (data.val, few.val)))
    return _Measured(
        epoch_seconds=rate * (len(data.train) + request.recipe.calibrate / 3 + len(data.val) / 3),
        memory=gpu.peak_reserved() + left_out if gpu.is_gpu else own.step_memory(recipe.batch),
        checkpoint=8 * own.params,
    )


def _bytes(split: Split) -> int:
    """Returns the bytes of a split's images, which are on the device while a trial runs."""
    return int(split.images.nbytes)


def _first(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.labels[:count])
