"""How trials share GPUs: by the memory that each will take, which is known in closed form before it is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nxt.compute.accelerator import accelerator
from nxt.compute.devices import choose
from nxt.errors import DeviceError

_MOST = 8  # trials on one GPU: they share its time, too, so that more of them bring little
_UNKNOWN = 1.25  # of the predicted memory, as long as none was measured: workspaces, and blocks that are partly used
_MARGIN = 1.1  # of what was measured
_LEAST_STEP = 64 << 20  # bytes: workspaces of libraries do not shrink with the network


@dataclass(frozen=True)
class Gpu:
    """A GPU as a task on it found it. Sizes are in bytes."""

    name: str
    total: int
    available: int  # what other programs leave
    overhead: int  # what each process takes beside torch's tensors: CUDA's context and libraries


@dataclass(frozen=True)
class Share:
    """A trial's part of a GPU. Sizes are in bytes."""

    gpus: float  # as Ray counts; 0 on a CPU
    memory: int = 0  # that torch may allocate; 0: no limit
    room: int | None = None  # of it for images; those that do not fit stay in main memory. None: for all of them
    halves: bool = True  # whether the batch is halved where memory runs out; else the trial is given a whole GPU


ON_CPU = Share(0.0)


class Packing:
    """Gives each trial a share of a GPU.

    Images that would fill more than half of a GPU, if as many trials as possible kept them there, stay in main memory.

    Args:
        gpus: All of them; the one with the least memory counts.
        fixed: GPUs of each trial, 1 or a fraction; None: a share that holds what the trial will take.
        images: Bytes of the images that every trial trains and is judged on.
        cpus: CPUs for all trials together, at least one for each.
        usual: What some networks of the search are predicted to take, in bytes; see `Search.predicted_memory`.
    """

    def __init__(self, gpus: Sequence[Gpu], fixed: float | None, images: int, cpus: int, usual: Sequence[int]) -> None:
        self.gpu, self.fixed = min(gpus, key=lambda gpu: gpu.available), fixed
        self.most = min(_MOST, max(1, math.ceil(cpus / len(gpus))))
        self.images = images if 2 * self.most * images <= self.gpu.available else 0
        self._middle = sorted(usual)[len(usual) // 2]
        self._ratio = 0.0  # the highest of measured and predicted memory
        self._alone: set[int] = set()

    @property
    def usual(self) -> Share:
        """The share of a network in the middle."""
        return self.share(-1, self._middle)

    def share(self, number: int, predicted: int) -> Share:
        """Returns the share of a trial whose training is predicted to take so many bytes."""
        together = 1 if number in self._alone else self.together(predicted)
        gpus = self.fixed or int(1e4 / together) / 1e4  # Ray counts in ten thousandths
        limit = self._limit(gpus)
        room = max(0, limit - self._for_steps(predicted))
        return Share(gpus, 0 if gpus == 1 else limit, room, halves=self.fixed is not None or gpus == 1)

    def together(self, predicted: int) -> int:
        """Returns how many trials that take so many bytes share one GPU."""
        if self.fixed is not None:
            return max(1, int(1 / self.fixed + 1e-9))
        return max(1, min(self.most, self.gpu.available // self.needed(predicted)))

    def needed(self, predicted: int) -> int:
        """Returns the bytes that such a trial's process takes of a GPU."""
        return self.gpu.overhead + self.images + self._for_steps(predicted)

    def measured(self, predicted: int, reserved: int) -> None:
        """Notes how much memory a trial took that was predicted to take so much."""
        if predicted and reserved:
            self._ratio = max(self._ratio, max(0, reserved - self.images) / predicted)

    def alone(self, number: int) -> None:
        """Gives a trial a whole GPU from now on."""
        self._alone.add(number)

    def sentence(self, workers: int) -> str:
        """Says how many trials run at a time, and why."""
        if self.fixed is not None:
            return f"{workers} at a time on {self.gpu.name}, {self.fixed:g} of a GPU each"
        needed, together = self.needed(self._middle), self.together(self._middle)
        takes = f"a network in the middle takes about {_size(needed)} of {_size(self.gpu.available)}"
        shared = f"up to {together} share a GPU" if together > 1 else "each alone on a GPU"
        return f"{workers} at a time on {self.gpu.name}, {shared}: {takes}, {_size(self.gpu.overhead)} of it for CUDA"

    def _for_steps(self, predicted: int) -> int:
        """Returns the bytes that a training takes beside its images."""
        factor = self._ratio * _MARGIN if self._ratio else _UNKNOWN
        return max(_LEAST_STEP, round(factor * predicted))

    def _limit(self, gpus: float) -> int:
        """Returns the bytes that torch may allocate with a share of a GPU."""
        limit = int(gpus * self.gpu.available) - self.gpu.overhead
        if limit <= 0:
            raise DeviceError(
                f"`gpus_per_trial` {gpus:g}: that is {_size(int(gpus * self.gpu.available))} of {self.gpu.name}, and "
                f"CUDA itself takes {_size(self.gpu.overhead)} in each process; give each trial more"
            )
        return limit


def uses_gpus(asked: float | None, count: int, problem: str) -> bool:
    """Tells whether trials run on GPUs.

    Args:
        asked: The part of a GPU for each trial; 0: the CPU; None: GPUs if there are any.
        count: How many there are that can be used.
        problem: Why none can be used although there are some; empty if there are none, or they can be used.

    Raises:
        DeviceError: if GPUs are there that cannot be used, or are asked for and not there.
    """
    if asked == 0 or count:
        return asked != 0
    if problem:
        raise DeviceError(f"{problem}; use `gpus_per_trial` 0 to train on the CPU")
    if asked:
        raise DeviceError(f"`gpus_per_trial` {asked:g}: there are no GPUs here; use 0 for the CPU")
    return False


def look() -> Gpu:
    """Tries the GPU of this process, and measures what it has to give. Runs on the GPU, in a process of its own.

    Raises:
        RuntimeError: as torch does if the GPU cannot be used.
    """
    gpu = accelerator(choose("cuda"))
    gpu.check()
    gpu.release_memory()
    overhead = gpu.overhead()
    free, total = gpu.memory()
    return Gpu(gpu.name, total, min(total, free + overhead), overhead)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MiB"
