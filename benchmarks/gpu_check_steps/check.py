"""What the steps have in common: what a step finds, and the networks, images, trials and processes that it uses."""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import Accelerator, Graph, accelerator
from nxt.compute.devices import choose
from nxt.data.augment import Augment
from nxt.data.dataset import Source, Split
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.resident import Batches
from nxt.data.sources import open_source
from nxt.data.squares import Squares
from nxt.search.engine.packing import ON_CPU, Share
from nxt.search.engine.worker import TrialTask
from nxt.train.recipe import Recipe

CLASSES = 10
MOVED = Augment(shift=0.125, mirror=True)
NO_GRAPHS = "a CPU records no graphs"


class Check:
    """A step as it runs.

    Args:
        option: "cuda", "cpu" or "stand-in".
    """

    device: torch.device
    gpu: Accelerator

    def __init__(self, option: str) -> None:
        self.place = "cpu" if option == "cpu" else "cuda"  # the name of the device for `choose`
        self.small = option != "cuda"  # whether a CPU computes
        self.figures: dict[str, Any] = {}
        self.skipped: dict[str, str] = {}
        self.problems: list[str] = []
        self._holds = 0

    def start(self) -> None:
        """Makes the device the current one."""
        self.device = choose(self.place)
        self.gpu = accelerator(self.device)

    def expect(self, holds: bool, problem: str) -> None:
        """Notes a problem where something does not hold."""
        if holds:
            self._holds += 1
        else:
            self.problems.append(problem)

    def skip(self, what: str, why: str) -> None:
        """Notes what cannot be had on this device."""
        self.skipped[what] = why

    def found(self) -> dict[str, Any]:
        """Returns what the step's line says."""
        ok = False if self.problems else True if self._holds else None
        more = {"skipped": self.skipped} if self.skipped else {}
        return {"ok": ok, **self.figures, **more, "problem": "; ".join(self.problems)}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns the median and the quartiles of a figure that was taken several times."""
    low, median, high = statistics.quantiles([*values, *values], n=4, method="inclusive")
    if len(values) > 1:
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": _short(median), "low": _short(low), "high": _short(high), "runs": len(values)}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def rates(check: Check, arms: dict[str, Callable[[], int]], rounds: int) -> dict[str, dict[str, float]]:
    """Runs all arms in turn, round by round after one that does not count; returns images a second of each.

    An arm returns how many images it has computed. One that raises is a problem of its own.
    """
    found: dict[str, list[float]] = {name: [] for name in arms}
    for index in range(1 + rounds):
        for name in list(found):
            check.gpu.synchronize()
            start = time.perf_counter()
            try:
                count = arms[name]()
                check.gpu.synchronize()
            except RuntimeError as error:
                check.problems.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")
                del found[name]
                continue
            if index:
                found[name].append(count / (time.perf_counter() - start))
    return {name: spread(values) for name, values in found.items()}


def spec(radix: int = 0, *, wide: int = 1, depths: tuple[int, ...] = (1, 1, 1)) -> ArchSpec:
    """Returns a network for small images with all that the family has: groups, and from radix 1 on ResNeSt's pooling.

    Its maps have a quarter of the image's side at the end: one pixel of 4 px.
    """
    widths = tuple(32 * wide << stage for stage in range(len(depths)))
    more = {"radix": radix, "avd": True, "avg_down": True} if radix else {}
    return ArchSpec(
        stem="cifar", stem_width=16 * wide, depths=depths, widths=widths, cardinality=4, base_width=4 * wide, **more
    )


def specs(count: int, wide: int) -> list[ArchSpec]:
    """Returns that many different networks."""
    forms = itertools.product((0, 2, 1), itertools.product((1, 2), repeat=3))
    return [spec(radix, wide=wide, depths=depths) for radix, depths in itertools.islice(forms, count)]


def noise(count: int, size: int) -> Split:
    """Returns images of noise with labels."""
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8), rng.integers(0, CLASSES, count))


def noise_set(count: int, size: int, judged: int = 64) -> Squares:
    """Returns a data set of noise."""
    splits = {"train": noise(count, size), "val": noise(judged, size)}
    source = Source(
        "noise", tuple(map(str, range(CLASSES))), (0.5,) * 3, (0.25,) * 3, mirror=True, size=size, has_val=True,
        labels=lambda split: splits[split].labels,
        images=lambda split, rows, _: splits[split].images[rows],
        open=lambda split, row: Image.fromarray(splits[split].images[row].transpose(1, 2, 0)),
        identity=lambda: f"noise {count} {size} {judged}",
    )  # fmt: skip
    return Squares(source, size)


def digits(share: float = 1.0) -> Squares:
    """Returns the handwritten digits that come with nxt, 8x8."""
    return Squares(open_source(DataRef("digits")), 8, share)


def preprocess(size: int) -> Preprocess:
    """Returns how images of noise become a network's input."""
    return Preprocess(size=size, mean=(0.5,) * 3, std=(0.25,) * 3)


def resident(split: Split, size: int, device: torch.device) -> Batches:
    """Returns images on a device."""
    return Batches(split, preprocess(size), device)


def task(
    check: Check, arch: ArchSpec, recipe: Recipe, size: int, storage: str, share: Share | None = None, **more: Any
) -> TrialTask:
    """Returns a trial as a search gives it to a worker; `more` are fields of it. By default it has the whole device."""
    share = share or (Share(1.0) if check.gpu.is_gpu else ON_CPU)
    fields = {"number": 0, "seed": 1, "threads": torch.get_num_threads(), "predicted": 0, "reported": 0, "ways": {}}
    fields |= {"data": DataRef("digits"), "together": 1, "patience": 600.0, "eager": "", "full": False, "images": 1.0}
    return TrialTask(arch=arch, recipe=recipe, size=size, storage=storage, share=share, **{**fields, **more})


@contextmanager
def folder() -> Iterator[str]:
    """Makes a folder for trials' checkpoints that goes with the block."""
    with tempfile.TemporaryDirectory() as path:
        yield path


@contextmanager
def counted_replays(gpu: Accelerator) -> Iterator[list[int]]:
    """Counts the replays of what is recorded during the block: an entry each in the list."""
    replays: list[int] = []
    usual = gpu.record

    class Counted:
        def __init__(self, graph: Graph) -> None:
            self._graph = graph

        def replay(self) -> None:
            replays.append(1)
            self._graph.replay()

    def record(run: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
        graph, loss = usual(run)
        return Counted(graph), loss

    gpu.record = record  # type: ignore[method-assign]
    try:
        yield replays
    finally:
        gpu.record = usual  # type: ignore[method-assign]


def elsewhere(function: Callable[..., Any], *given: Any) -> tuple[int, Any]:
    """Calls a function in a fresh process; returns its exit code, and what the function returned (None if nothing)."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(theirs, function, *given))
    process.start()
    theirs.close()
    try:
        result = mine.recv()
    except EOFError:
        result = None
    process.join()
    return process.exitcode or 0, result


def _call(pipe: Connection, function: Callable[..., Any], *given: Any) -> None:
    pipe.send(function(*given))
