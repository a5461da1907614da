"""What runs parts and networks while their latencies are taken: torch, or onnxruntime on networks of its own making.

Both compute whole networks as they do single parts, so that sums of parts predict networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nxt.arch.latency import Part
from nxt.arch.spec import ArchSpec
from nxt.config import require

RUNTIMES = {"torch": ("torch",), "onnxruntime": ("onnx", "onnxruntime")}  # with the packages they need
PRECISIONS = {"torch": ("fp32", "bf16", "fp16"), "onnxruntime": ("fp32",)}
_SECONDS, _LEAST, _MOST = 0.2, 20, 100  # spent on a figure, about; fewest and most runs
Run = Callable[[], object]
# What is run for a figure, in turn, and how often the time of each counts: 0 for what only prepares another run.
Steps = Sequence[tuple[int, Run]]


@dataclass(frozen=True)
class Asked:
    """How latencies are to be taken."""

    device: str = "auto"  # auto, cpu, cuda or cuda:N
    runtime: str = "torch"
    precision: str = "fp32"
    batch: int = 1
    size: int = 224  # image side in pixels
    classes: int = 1000

    def __post_init__(self) -> None:
        require(self.runtime in RUNTIMES, "`runtime`", f"{self.runtime!r} is not one of {', '.join(RUNTIMES)}")
        known = PRECISIONS[self.runtime]
        given = f"{self.precision!r} is not one of {', '.join(known)}, which {self.runtime} is measured in"
        require(self.precision in known, "`precision`", given)
        require(1 <= self.batch <= 65536, "`batch`", f"{self.batch} is not between 1 and 65536")


class Runtime(Protocol):
    """Runs parts and networks on a device."""

    in_turn: bool  # whether different things run in turn, or each some times in a row

    @property
    def device(self) -> str:
        """The name of the device, as its maker gives it."""

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""

    @property
    def threads(self) -> int:
        """CPU threads that compute; 0 on a GPU."""

    @property
    def versions(self) -> dict[str, str]:
        """The versions that latencies depend on."""

    def part(self, part: Part) -> Steps:
        """Returns what runs a part on an input that the step before has just written, as in a network."""

    def network(self, spec: ArchSpec) -> Steps:
        """Returns what runs a network."""

    def durations(self, run: Run, count: int) -> list[float]:
        """Runs something so many times, and returns the seconds of each run."""


def timed(runtime: Runtime, wanted: Sequence[Steps]) -> list[list[Any]]:
    """Returns for each of several things what it takes: nanoseconds, relative spread, and the number of runs.

    In turn, each finds caches as others have left them, as a block does in a network, and other work on the machine
    hits all alike. The tenth percentile counts, since such work only ever adds. The spread is that of the quartiles.
    """
    steps = [step for each in wanted for step in each]
    runs = [run for _, run in steps]
    rows = _in_turn(runtime, runs, len(wanted)) if runtime.in_turn else [_in_a_row(runtime, run) for run in runs]
    quantiles = np.array([np.quantile(row, (0.1, 0.25, 0.5, 0.75)) for row in rows])
    least, low, median, high = quantiles.T
    spreads, weights = (high - low) / median, np.array([weight for weight, _ in steps])
    figures, first = [], 0
    for each in wanted:
        own = slice(first, first + len(each))
        first += len(each)
        nanoseconds = max(1, round(1e9 * float((weights[own] * least[own]).sum())))
        counted = weights[own] > 0
        count = min(len(row) for row, counts in zip(rows[own], counted, strict=True) if counts)
        figures.append([nanoseconds, round(float(spreads[own][counted].max()), 4), count])
    return figures


def _in_turn(runtime: Runtime, runs: Sequence[Run], things: int) -> list[Any]:
    """Returns the seconds of each run, all of them in turn, for so many figures."""
    turns = itertools.cycle(runs)

    def cycles(count: int) -> np.ndarray[Any, Any]:
        return np.array(runtime.durations(lambda: next(turns)(), count * len(runs))).reshape(count, len(runs))

    cycles(2)  # warms up
    seconds = cycles(3)
    more = cycles(_runs(_SECONDS * things, float(np.median(seconds.sum(axis=1)))))
    return list(np.concatenate([seconds, more]).T)


def _in_a_row(runtime: Runtime, run: Run) -> list[float]:
    """Returns the seconds of one run over and over."""
    runtime.durations(run, 2)  # warms up
    seconds = runtime.durations(run, 3)
    return [*seconds, *runtime.durations(run, _runs(_SECONDS, min(seconds)))]


def _runs(seconds: float, each: float) -> int:
    return min(max(round(seconds / max(each, 1e-9)), _LEAST), _MOST)


def cpu_name() -> str:
    """Returns the model of this machine's CPU."""
    return _cpuinfo("model name") or _cpuinfo("Hardware") or "cpu"


def clock() -> float | None:
    """Returns the clock of this machine's first CPU in MHz, if the system tells it."""
    try:
        return float(_cpuinfo("cpu MHz"))
    except ValueError:
        return None


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
