"""What a search would cost, before it is run: predicted from a short measurement on this machine."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator
from nxt.compute.devices import choose
from nxt.data.dataset import Dataset, Split
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
    confirming: int  # trials to confirm, or those of a list
    epochs: int  # of a trial that is not stopped
    rungs: tuple[int, ...]
    reaching: tuple[float, ...]  # share of the explored trials expected to be trained beyond each rung
    total_epochs: float
    device: str
    epoch_seconds: float  # mean over the measured architectures
    device_hours: float
    memory: int  # bytes of one training step, the largest of the measured architectures
    memory_measured: bool  # as a GPU's peak; else predicted as for `Cost.memory`
    disk: int  # bytes in the run directory


def plan(search: Search, data: Dataset, workers: int, hours: float | None = None) -> Plan:
    """Predicts what a search costs in all, training a few batches of a few of its architectures.

    Args:
        search: The search.
        data: What it trains on.
        workers: Trials at a time: how many checkpoints there are at once.
        hours: The time there is, if that limits the number of trials.
    """
    request = search.request
    explored, confirming = search.setup.agenda().remaining(())
    if request.is_list:
        explored, confirming = 0, explored + confirming
    rungs, reaching = search.setup.rungs, _reaching(search.setup)
    length = _expected_length(request.proxy.epochs, rungs, reaching)
    device = choose()
    measured = [_measure(search, spec, data, device) for spec in _samples(search)]
    seconds = float(np.mean([row.epoch_seconds for row in measured]))
    if hours is not None:
        left = 3600 * hours * workers / seconds - confirming * request.proxy.epochs
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
        memory=max(row.memory for row in measured),
        memory_measured=accelerator(device).is_gpu,
        disk=workers * max(row.checkpoint for row in measured) + 4096 * (explored + confirming),
    )


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


def _samples(search: Search) -> list[ArchSpec]:
    space, feasible = search.request.space, search.setup.feasible
    if feasible is None:
        return [space.spec((index,)) for index in range(min(_SAMPLES, space.size))]
    rng = np.random.default_rng(search.request.seed)
    return [space.spec(feasible.draw(rng)) for _ in range(_SAMPLES)]


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
    proxy = request.proxy.apply(spec, search.size)
    trainer = resident_trainer(proxy, few, recipe, search.size, device, request.seed)
    trainer.run_epoch()  # the first one also prepares the device's libraries
    gpu = accelerator(device)
    if gpu.is_gpu:
        gpu.reset_peaks()
    start = time.perf_counter()
    trainer.run_epoch()
    rate = (time.perf_counter() - start) / (len(few.train) + len(few.val) / 3)  # evaluation is a third of training
    own = cost(proxy, search.size, len(data.classes))
    return _Measured(
        epoch_seconds=rate * (len(data.train) + request.recipe.calibrate / 3 + len(data.val) / 3),
        memory=gpu.peak_reserved() if gpu.is_gpu else own.step_memory(recipe.batch),
        checkpoint=8 * own.params,
    )


def _first(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.labels[:count])
