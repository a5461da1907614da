"""What is asked of a device: which one is current, its memory, streams, graphs, copies, random numbers.

All calls of `torch.cuda` are in this module. The environment variable NXT_ACCELERATOR, a "module:class", puts another
class in the place of `Cuda`: the tests use it to run everything that a GPU would be asked on a machine without one.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from nxt.compute.clock import wall_seconds
from nxt.errors import DeviceError, first_line

PLUGGED = "NXT_ACCELERATOR"
# Of plans that cuDNN keeps per thread; its own limit of 10,000 lets a process that trains many networks grow by 2 GiB.
os.environ.setdefault("TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT", "1000")
_CHECK_LIMIT = 300.0  # seconds that a process which only starts CUDA may take


class Graph(Protocol):
    """A recorded function that runs again on the same memory."""

    def replay(self) -> None:
        """Runs it."""


class Accelerator:
    """A device, and what is asked of it. This class is the CPU, of which little has to be asked.

    Args:
        device: The device; a GPU always with its index.
    """

    is_gpu: ClassVar[bool] = False
    collectives: ClassVar[str] = "gloo"  # torch.distributed's backend

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def name(self) -> str:
        """What kind of device it is."""
        return "cpu"

    def make_current(self) -> None:
        """Makes calls without a device mean this one."""

    def prepare(self) -> None:
        """Sets what torch keeps for a process that trains: here batches of one shape, multiplied in TF32 where fp32."""

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Computes fp32 in full precision during the block."""
        yield

    @property
    def half(self) -> str:
        """The precision of 16 bits that the device computes in itself: "bf16" or "fp16"."""
        return "bf16"

    def upload(self, tensor: Tensor) -> Tensor:
        """Returns a CPU tensor on the device; the caller does not wait for the copy."""
        return tensor.to(self.device)

    def durations(self, run: Callable[[], object], count: int) -> list[float]:
        """Runs something `count` times in a row, and returns the seconds that the device took for each.

        A GPU is waited for once, after the last run: where its work takes longer than the launching of it, the work
        alone is measured.
        """
        return wall_seconds(run, count)

    def synchronize(self) -> None:
        """Waits until the device has finished its work."""

    @contextmanager
    def forbid_waits(self) -> Iterator[None]:
        """Raises RuntimeError where the block makes this process wait for the device; for tests, on a CPU nothing."""
        yield

    def memory(self) -> tuple[int, int]:
        """Returns the bytes of memory that are free on the device, and all of them."""
        raise NotImplementedError("main memory is shared by everything; see nxt.data.placement")

    def limit_memory(self, limit: int) -> None:
        """Limits the bytes that torch may allocate on the device; 0: all of them."""

    def release_memory(self) -> None:
        """Gives back what torch's allocator holds but does not use."""

    def reset_peaks(self) -> None:
        """Begins to measure peaks anew."""

    def peak_allocated(self) -> int:
        """Returns the most bytes in tensors since `reset_peaks`."""
        raise NotImplementedError("a CPU's allocator keeps no peak")

    def peak_reserved(self) -> int:
        """Returns the most bytes that torch's allocator held since `reset_peaks`; recorded graphs count."""
        raise NotImplementedError("a CPU's allocator keeps no peak")

    def overhead(self) -> int:
        """Returns the bytes that a process takes beside what torch allocates: context and libraries."""
        return 0

    def random_state(self) -> Tensor:
        """Returns the state of the device's random numbers."""
        return torch.get_rng_state()

    def set_random_state(self, state: Tensor) -> None:
        """Puts the device's random numbers into a state."""
        torch.set_rng_state(state)

    @contextmanager
    def side_stream(self) -> Iterator[None]:
        """Runs the block on the stream that graphs are recorded on; afterwards the usual stream waits for it."""
        yield

    def record(self, run: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
        """Records what a function launches.

        Returns:
            The graph, and the tensor that the function returned, which each replay writes anew.

        Raises:
            RuntimeError: if the function does what cannot be recorded. The process should not go on then: before
                torch 2.12 its allocator stays in the state of a recording.
        """
        raise RuntimeError("a CPU records no graphs")

    def check(self) -> None:
        """Computes something small; raises RuntimeError as torch does if the device cannot be used."""
        weight = torch.randn(8, 8, 3, 3, device=self.device, requires_grad=True)
        images = torch.randn(2, 8, 8, 8, device=self.device)
        torch.nn.functional.conv2d(images, weight).square().sum().backward()  # type: ignore[no-untyped-call]
        self.synchronize()


class Cuda(Accelerator):
    """An NVIDIA GPU."""

    is_gpu = True
    collectives = "nccl"

    @classmethod
    def count(cls) -> int:
        """Returns how many of them this process can use."""
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    @classmethod
    def problem(cls) -> str:
        """Says why none can be used although the machine has some; empty if it has none, or they can be used."""
        listed = max(0, torch.cuda._device_count_nvml())
        if not listed or cls.count():
            return ""
        gpus = "1 NVIDIA GPU" if listed == 1 else f"{listed} NVIDIA GPUs"
        if torch.version.cuda is None:
            return f"this machine has {gpus}, but torch {torch.__version__} is built for CPUs alone"
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as error:
            return f"this machine has {gpus}, but torch {torch.__version__} cannot use them: {first_line(error)}"
        return f"this machine has {gpus}, but torch {torch.__version__} finds none"

    @classmethod
    def owns(cls, device: torch.device) -> bool:
        """Tells whether a device is one of these."""
        return device.type == "cuda"

    @classmethod
    def at(cls, index: int) -> torch.device:
        """Returns the device of that index."""
        return torch.device("cuda", index)

    @functools.cached_property
    def _stream(self) -> torch.cuda.Stream:
        """One for warming up and recording: each stream has a pool of memory of its own."""
        return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.device)

    def make_current(self) -> None:
        torch.cuda.set_device(self.device)

    def prepare(self) -> None:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")

    @contextmanager
    def exact(self) -> Iterator[None]:
        before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = before[0]
            torch.set_float32_matmul_precision(before[1])

    @property
    def half(self) -> str:
        with torch.cuda.device(self.device):
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"

    def upload(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def durations(self, run: Callable[[], object], count: int) -> list[float]:
        stream = torch.cuda.current_stream(self.device)
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]  # type: ignore[no-untyped-call]
        events[0].record(stream)
        for event in events[1:]:
            run()
            event.record(stream)
        events[-1].synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in itertools.pairwise(events)]

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.device)

    @contextmanager
    def forbid_waits(self) -> Iterator[None]:
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def memory(self) -> tuple[int, int]:
        return torch.cuda.mem_get_info(self.device)

    def limit_memory(self, limit: int) -> None:
        share = limit / self.memory()[1] if limit else 1.0
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), self.device)

    def release_memory(self) -> None:
        torch.cuda.empty_cache()

    def reset_peaks(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak_allocated(self) -> int:
        return torch.cuda.max_memory_allocated(self.device)

    def peak_reserved(self) -> int:
        return torch.cuda.max_memory_reserved(self.device)

    def overhead(self) -> int:
        """Measured by a second process on the same GPU: what is free less while it is there.

        Raises:
            DeviceError: if that process fails.
        """
        code = (
            "import sys, torch; from nxt.compute.accelerator import accelerator;"
            "gpu = accelerator(torch.device('cuda', int(sys.argv[1]))); gpu.make_current(); gpu.check();"
            "gpu.release_memory(); print(gpu.memory()[0] + torch.cuda.memory_reserved(gpu.device))"
        )
        self.synchronize()
        before = self.memory()[0]
        command = [sys.executable, "-c", code, str(self.device.index)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_LIMIT, check=True)
            return max(0, before - int(done.stdout))
        except (subprocess.SubprocessError, ValueError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise DeviceError(
                f"{self.name}: a second process cannot use it ({said.strip().splitlines()[-1]})"
            ) from None

    def random_state(self) -> Tensor:
        return torch.cuda.get_rng_state(self.device)

    def set_random_state(self, state: Tensor) -> None:
        torch.cuda.set_rng_state(state, self.device)

    @contextmanager
    def side_stream(self) -> Iterator[None]:
        usual = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            yield
        usual.wait_stream(self._stream)

    def record(self, run: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
        graph, usual = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                loss = run()
        finally:
            torch.cuda.set_stream(usual)  # a recording that fails leaves its own stream current
        return graph, loss


@functools.cache
def gpus() -> type[Cuda]:
    """Returns the class of this machine's GPUs."""
    name = os.environ.get(PLUGGED)
    if not name:
        return Cuda
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]


@functools.cache
def accelerator(device: torch.device) -> Accelerator:
    """Returns what a device is asked by: one object for each device of a process."""
    return gpus()(device) if gpus().owns(device) else Accelerator(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that memory ran out, on a GPU or on the CPU.

    Beside the allocator, the driver and its libraries run out of memory, and have errors of their own.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


_NO_MEMORY = (
    "can't allocate memory",  # torch's allocator for CPUs
    "out of memory",  # "CUDA error: out of memory", "cuda runtime error (2) : out of memory"
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cusolver_status_alloc_failed",
    "cudnn_status_internal_error_device_allocation_failed",
    "cudnn_status_internal_error_host_allocation_failed",
    "unable to find an engine",  # cuDNN, where no algorithm's workspace fits
)
