"""Choosing how to compute by a short measurement: no rule holds for all networks, sizes and devices.

On CPUs channels last is mostly the faster layout, by little or by a third; bfloat16 helps where the device has it;
compiling pays where the training is long. What was measured is kept in a file for the next time.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from nxt.compute.accelerator import accelerator
from nxt.compute.mode import Compute, by_rule, compiled, compiling_anew
from nxt.config import from_mapping, to_mapping
from nxt.data.preprocess import Preprocess
from nxt.errors import ConfigError, RunError
from nxt.files import expanded, write_text
from nxt.models.network import Network
from nxt.tasks.classification import Classification
from nxt.train.engine import optim
from nxt.train.recipe import Recipe

_WORTH = 120.0  # seconds of training below which nothing is measured
_COMPILE = 1800.0  # seconds of training below which compiling is not tried
CLEARLY = 0.95  # share of the rule's time that another way must stay below
_STEPS, _ENOUGH = 4, 6.0  # steps that are timed at most, and the seconds that they may take together


def tuned(
    network: Network,
    recipe: Recipe,
    preprocess: Preprocess,
    device: torch.device,
    steps: int,
    note: Callable[[str], None],
    workers: int = 1,
) -> Compute:
    """Returns the fastest way to train a network on a device, measured unless it is known.

    Args:
        network: The network; it is left as it is.
        recipe: Says the batch.
        preprocess: Says the images' size in training.
        device: Where to train.
        steps: How many steps the training has: whether measuring pays.
        note: Is called with what was measured.
        workers: How many devices share a batch.
    """
    batch = recipe.batch // recipe.accumulate // workers
    key = _key(network, recipe, preprocess.size, batch, device)
    known = known_ways()
    if key in known:
        return known[key]
    trial = _Trial(network, recipe, preprocess.size, batch, device)
    rule = by_rule(device)
    rest = steps * recipe.accumulate
    first = trial.seconds(rule)
    if first * rest < _WORTH:
        return rule
    times = {rule: first}
    for candidate in _candidates(device):
        if candidate not in times:
            times[candidate] = trial.seconds(candidate)
    best = min(times, key=times.__getitem__)
    if times[best] == float("inf"):
        return rule  # nothing can be measured here now
    if times[best] > CLEARLY * first:
        best = rule  # a difference within the noise decides nothing
    if times[best] * rest > _COMPILE:
        compiled = Compute(channels_last=best.channels_last, precision=best.precision, compile=True)
        start = time.perf_counter()
        seconds = trial.seconds(compiled)
        times[compiled] = seconds
        if (times[best] - seconds) * rest > time.perf_counter() - start:
            best = compiled
    rates = sorted((batch / seconds, str(way)) for way, seconds in times.items() if seconds < float("inf"))
    note("measured: " + "; ".join(f"{way} {rate:.0f} images/s" for rate, way in reversed(rates)))
    remember({**known, key: best})
    return best


def _candidates(device: torch.device) -> Iterator[Compute]:
    gpu = accelerator(device)
    if gpu.is_gpu:
        precisions = [gpu.half, "fp32"]
    else:
        precisions = ["fp32", *(["bf16"] if torch.cpu._is_avx512_bf16_supported() else [])]
    for precision in precisions:
        for channels_last in (True, False):
            yield Compute(channels_last=channels_last, precision=precision)


class _Trial:
    """Training steps on images of noise, of a copy of a network."""

    def __init__(self, network: Network, recipe: Recipe, size: int, batch: int, device: torch.device) -> None:
        self.network, self.recipe, self.device, self.gpu = network, recipe, device, accelerator(device)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(batch, 3, size, size, generator=generator).to(device)
        self.labels = torch.randint(network.num_classes, (batch,), generator=generator).to(device)
        self.objective = Classification(recipe, network.num_classes)

    def seconds(self, compute: Compute) -> float:
        """Returns the median time of a step after the first; infinity where this cannot be computed here."""
        try:
            return self._seconds(compute)
        except Exception:  # out of memory, or a compiler that is not there: what torch raises then has no common class
            return float("inf")
        finally:
            self.gpu.release_memory()

    def _seconds(self, compute: Compute) -> float:
        self.gpu.prepare()
        network = copy.deepcopy(self.network).to(self.device).to(memory_format=compute.memory_format).train()
        images = self.images.contiguous(memory_format=compute.memory_format)
        optimizer = optim.optimizer(network, self.recipe)

        def step(forward: nn.Module) -> None:
            with compute.autocast(self.device):
                loss = self.objective.loss(forward(images), self.labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        if not compute.compile:
            return self._median(functools.partial(step, network))
        with compiling_anew():
            return self._median(functools.partial(step, compiled(network)))

    def _median(self, step: Callable[[], None]) -> float:
        """Returns the median time of a step that follows others; in the first one libraries choose, and torch compiles.

        The device is not waited for between two steps, as in a training.
        """
        self.gpu.durations(step, 1)
        [one] = self.gpu.durations(step, 1)
        more = min(_STEPS, int(_ENOUGH / one)) - 1
        return statistics.median_high([one, *self.gpu.durations(step, max(0, more))])


def _key(network: Network, recipe: Recipe, size: int, batch: int, device: torch.device) -> str:
    gpu = accelerator(device)
    name = gpu.name if gpu.is_gpu else f"{_cpu()} x {torch.get_num_threads()}"
    trained = sum(parameter.requires_grad for parameter in network.parameters())
    parts = (name, torch.__version__, network.spec.fingerprint, trained, size, batch, recipe.optimizer)
    return ", ".join(map(str, parts))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _file() -> Path:
    return expanded(os.environ.get("NXT_CACHE") or "~/.cache/nxt") / "compute.json"


def known_ways() -> dict[str, Compute]:
    """Returns what was measured before; nothing, if the file is missing or of no use."""
    try:
        content = json.loads(_file().read_text(encoding="utf-8"))
        return {key: from_mapping(Compute, value, key) for key, value in content.items()}
    except (OSError, ValueError, AttributeError, ConfigError):
        return {}


def remember(known: dict[str, Compute]) -> None:
    """Writes what was measured, also before, to the file of notes, if that can be."""
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_text(_file(), json.dumps({key: to_mapping(value) for key, value in known.items()}, indent=1) + "\n")
    except (OSError, RunError):
        pass  # a note for the next time only
