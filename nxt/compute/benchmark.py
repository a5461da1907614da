"""What a network costs on this device: latency, throughput, memory of a training step, share of the ceiling.

A device's ceiling is measured too: how fast it multiplies large matrices, and how fast it copies memory. Of a part of
the network no more can be had than the lower of the first and its arithmetic intensity times the second (the roofline
of Williams et al. 2009, doi 10.1145/1498765.1498785).
"""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nxt.arch.breakdown import Portion, portions
from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator
from nxt.compute.mode import Compute, compiled, compiling_anew
from nxt.models.network import Network, build

_SECONDS = 1.0  # spent on a figure, about
_RUNS = 5, 200  # fewest and most
_SIDE, _COPIED = 2048, 2**26  # of matrices; elements of a copy
# On a GPU, if memory allows: a product of 2048 takes less time than its launch, and a small copy stays in the cache.
_LARGE = 4  # times the side, and the elements
_PRODUCTS = 7, 30  # runs of which the shortest counts: on a CPU, on a GPU


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one run, over several: the median and the quartiles."""

    median: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a network infers in one way of computing. `throughput` is in images a second, by batch."""

    compute: Compute
    latency: Timing  # of the smallest batch
    throughput: dict[int, float]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that a device does: floating-point operations and bytes a second."""

    flops: float
    bandwidth: float

    def attainable(self, intensity: float) -> float:
        """Returns the FLOP/s to be had at an arithmetic intensity (FLOPs per byte)."""
        return min(self.flops, intensity * self.bandwidth)


@dataclass(frozen=True, slots=True)
class StageSpeed:
    """A stage's part of an inference."""

    name: str
    seconds: float
    flops: float  # a second
    intensity: float
    attainable: float  # FLOP/s by the roofline

    @property
    def share(self) -> float:
        """Achieved share of the ceiling."""
        return self.flops / self.attainable


def ways(device: torch.device, compile: bool = False) -> list[Compute]:
    """Returns the ways of computing to compare: both layouts, fp32 and 16 bits, eager and, if asked for, compiled."""
    precisions = ("fp32", accelerator(device).half)
    forms = itertools.product((False, True) if compile else (False,), precisions, (False, True))
    return [Compute(channels_last=last, precision=precision, compile=way) for way, precision, last in forms]


def speeds(
    spec: ArchSpec,
    size: int,
    classes: int,
    batches: Sequence[int],
    device: torch.device,
    compute: Compute,
    form: str = "c",
) -> Speed:
    """Measures inference.

    Args:
        spec: The architecture.
        size: Image side in pixels.
        classes: Outputs of the last layer.
        batches: Numbers of images to infer together.
        device: Where.
        compute: How.
        form: Of the network's blocks, as in `nxt.models.forms`.

    Raises:
        torch.OutOfMemoryError: if a batch does not fit.
    """
    accelerator(device).prepare()
    network = _ready(spec, classes, device, compute, form)
    timings = {}
    for batch in sorted(batches):
        images = _images(batch, size, device, compute)
        with torch.inference_mode(), compute.autocast(device):
            if compute.compile:
                with compiling_anew():
                    timings[batch] = timed(functools.partial(compiled(network), images), device)
            else:
                timings[batch] = timed(functools.partial(network, images), device)
    latency = timings[min(batches)]
    return Speed(compute, latency, {batch: batch / timing.median for batch, timing in timings.items()})


def timed(run: Callable[[], object], device: torch.device) -> Timing:
    """Runs something for about a second, after two runs that do not count, and returns how long one takes.

    A GPU computes the runs one right after the other: the time is the device's, or that of launching a run's work if
    that is longer.
    """
    gpu = accelerator(device)
    gpu.durations(run, 2)
    seconds = gpu.durations(run, _RUNS[0])
    more = min(_RUNS[1], int(_SECONDS / statistics.median(seconds))) - _RUNS[0]
    seconds += gpu.durations(run, max(0, more))
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median, low, high, len(seconds))


def ceiling(device: torch.device, precision: str) -> Ceiling:
    """Measures the device's ceiling: the best of several products of large matrices, and of several copies."""
    accelerator(device).prepare()
    dtype = Compute(precision=precision).dtype
    times = _enlarged(device)
    side, copied = _SIDE * times, _COPIED * times
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = _best(lambda: torch.mm(one, other), device)
    source = torch.ones(copied, device=device)
    target = torch.empty_like(source)
    copy = _best(lambda: target.copy_(source), device)
    return Ceiling(flops=2 * side**3 / product, bandwidth=2 * source.nbytes / copy)


def _enlarged(device: torch.device) -> int:
    """Returns how many times the sides of the matrices, and the copies, are what a CPU is measured with."""
    gpu, times = accelerator(device), _LARGE
    if not gpu.is_gpu:
        return 1
    free = gpu.memory()[0]
    while times > 1 and free < 2 * torch.float32.itemsize * max(3 * (_SIDE * times) ** 2, 2 * _COPIED * times):
        times //= 2
    return times


def stage_speeds(
    spec: ArchSpec,
    size: int,
    classes: int,
    batch: int,
    device: torch.device,
    compute: Compute,
    most: Ceiling,
    form: str = "c",
) -> list[StageSpeed]:
    """Measures each stage of an inference by itself, and holds it against the device's ceiling.

    The bytes that a stage must move are those of its convolutions in 32 or 16 bits; what batch norms and ReLUs move in
    addition is part of what keeps it from the ceiling.
    """
    network = _ready(spec, classes, device, compute, form)
    itemsize = compute.dtype.itemsize
    speeds = []
    with torch.inference_mode(), compute.autocast(device):
        x = _images(batch, size, device, compute)
        for portion, run in _stages(network, portions(spec, size, classes, "stage")):
            seconds = timed(lambda run=run, x=x: run(x), device).median  # type: ignore[misc]
            moved = portion.moved_by(batch, itemsize)
            flops = batch * portion.flops
            attainable = most.attainable(flops / moved)
            speeds.append(StageSpeed(portion.name, seconds, flops / seconds, flops / moved, attainable))
            x = run(x)
    return speeds


def training(
    spec: ArchSpec, size: int, classes: int, batch: int, device: torch.device, compute: Compute, form: str = "c"
) -> tuple[Timing, int]:
    """Measures a step of training by SGD with momentum: its time, and the bytes allocated at its worst moment.

    The bytes are those of torch's own allocator, weights and the optimizer's state among them.
    """
    accelerator(device).prepare()
    network = _ready(spec, classes, device, compute, form).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    images = _images(batch, size, device, compute)
    labels = torch.randint(classes, (batch,), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with compute.autocast(device):
            loss = F.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    timing = timed(step, device)
    optimizer.zero_grad(set_to_none=True)
    return timing, _most_allocated(step, network, optimizer, images, device)


def _most_allocated(
    step: Callable[[], None], network: Network, optimizer: torch.optim.Optimizer, images: Tensor, device: torch.device
) -> int:
    gpu = accelerator(device)
    if gpu.is_gpu:
        gpu.reset_peaks()
        step()
        return gpu.peak_allocated()
    kept = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
    before = sum(t.nbytes for t in (images, *network.parameters(), *network.buffers(), *kept))
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        step()
    events = profile.profiler.kineto_results.events()  # a CPU's allocator keeps no peak
    sizes = (int(event.nbytes()) for event in events if event.name() == "[memory]")
    return before + max(itertools.accumulate(sizes, initial=0))


def _ready(spec: ArchSpec, classes: int, device: torch.device, compute: Compute, form: str = "c") -> Network:
    network = build(spec, classes, form=form)
    network = network.to(device, memory_format=compute.memory_format)  # type: ignore[call-overload]
    return network.eval()  # type: ignore[no-any-return]


def _images(batch: int, size: int, device: torch.device, compute: Compute) -> Tensor:
    return torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=compute.memory_format)


def _stages(network: Network, parts: Sequence[Portion]) -> Iterator[tuple[Portion, Callable[[Tensor], Tensor]]]:
    """Yields each part with what computes it."""
    layers = list(network.children())
    stem = nn.Sequential(*layers[: layers.index(network.get_submodule("layer1"))])
    last = layers.index(network.avgpool)
    stages = [network.get_submodule(f"layer{s + 1}") for s in range(len(network.spec.depths))]
    rest = nn.Sequential(*layers[layers.index(stages[-1]) + 1 : last + 1], nn.Flatten(1), network.fc)
    yield from zip(parts, [stem, *stages, rest], strict=True)


def _best(run: Callable[[], object], device: torch.device) -> float:
    """Returns the shortest of several runs, without the first."""
    gpu = accelerator(device)
    gpu.durations(run, 1)
    return min(gpu.durations(run, _PRODUCTS[gpu.is_gpu]))
