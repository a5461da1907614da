"""A GPU's stand-in: it computes on the CPU, and keeps what a GPU would have been asked.

With NXT_ACCELERATOR=stand_in:StandIn (and this folder on the path of worker processes) nxt takes `cpu:N` for GPU N of
`Settings.gpus`. What such a GPU does not do is not done here either:

- Memory: tensors that are alive are counted (a GPU's allocator counts blocks). More than the process may have raises
  torch.OutOfMemoryError where the tensor is made.
- Graphs: a recording keeps the operations, and a replay runs them on the same memory. Reading a value back to Python
  while recording raises the RuntimeError that CUDA raises, and leaves the recording's stream current.
- An index is needed: `make_current` of a device without one raises ValueError.

Each question is appended to a log, a line of JSON each, so that a test sees what all processes asked.
"""

from __future__ import annotations

import json
import os
import weakref
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from nxt.compute.accelerator import PLUGGED, Accelerator, Cuda

VARIABLE = "NXT_STAND_IN"
ITEM = torch.ops.aten._local_scalar_dense.default


@dataclass(frozen=True)
class Settings:
    """What the stand-ins of a test are like."""

    gpus: int = 1
    memory: int = 1 << 30  # bytes of each
    context: int = 16 << 20  # bytes that a process takes beside its tensors
    broken: tuple[int, ...] = ()  # what they compute fails, which the process sees when it waits for them
    records: bool = True  # else recording raises
    log: str = ""


def plug_in(monkeypatch, **settings):
    """Puts stand-ins in the place of GPUs, in this process and in those that it starts."""
    from nxt.compute import accelerator

    helpers = str(Path(__file__).parent)
    monkeypatch.setenv(PLUGGED, "stand_in:StandIn")
    monkeypatch.setenv(VARIABLE, json.dumps(asdict(Settings(**settings))))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (helpers, os.environ.get("PYTHONPATH")))))
    for cached in (accelerator.gpus, accelerator.accelerator):
        cached.cache_clear()


def unplug():
    """Forgets the stand-ins; for after a test."""
    from nxt.compute import accelerator

    Memory.stop()
    for cached in (accelerator.gpus, accelerator.accelerator):
        cached.cache_clear()


def settings():
    return Settings(**{**json.loads(os.environ.get(VARIABLE, "{}"))})


def asked(log):
    """Returns what was asked, in order: dicts with "what", "device" (its number on the machine), "pid" and values."""
    path = Path(log)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Memory(TorchDispatchMode):
    """Counts the bytes of tensors that are alive in this process."""

    active = None

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.limit = settings().memory - settings().context
        self.known = set()

    @classmethod
    def start(cls):
        if cls.active is None:
            cls.active = cls()
            cls.active.__enter__()
        return cls.active

    @classmethod
    def stop(cls):
        if cls.active is not None:
            cls.active.__exit__(None, None, None)
            cls.active = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._can_decompose():  # in inference mode: what is made of other operations, which autocast has not seen
            excluded = torch._C._dispatch_tls_local_exclude_set().remove(torch._C.DispatchKey.AutocastCPU)
            with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded), self:
                return func.decompose(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, torch.Tensor):
                self.count(tensor.untyped_storage())
        return result

    def count(self, storage):
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes()
        if self.live + size > self.limit:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size} bytes; {self.live} are in use of {self.limit}"
            )
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.forget, key, size)

    def forget(self, key, size):
        self.known.discard(key)
        self.live -= size


class Tape(TorchDispatchMode):
    """A recording: operations with the tensors that they were given and gave."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is ITEM or func is torch.ops.aten.nonzero.default:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, result in self.operations:
            for kept, fresh in zip(tree_flatten(result)[0], tree_flatten(func(*args, **kwargs))[0], strict=True):
                if isinstance(kept, torch.Tensor) and kept.data_ptr() != fresh.data_ptr():
                    kept.copy_(fresh)


class StandIn(Cuda):
    """A GPU's stand-in; see this module."""

    collectives = "gloo"
    current = None  # its number among those that this process sees
    waiting = True  # whether a process may wait for it
    capturing = False  # whether a recording's stream is the current one

    @classmethod
    def visible(cls):
        listed = os.environ.get("CUDA_VISIBLE_DEVICES")
        numbers = range(settings().gpus) if listed is None else [int(part) for part in listed.split(",") if part]
        return [number for number in numbers if number < settings().gpus]

    @classmethod
    def count(cls):
        return len(cls.visible())

    @classmethod
    def problem(cls):
        return ""

    @classmethod
    def owns(cls, device):
        return device.type == "cpu" and device.index is not None

    @classmethod
    def at(cls, index):
        return torch.device("cpu", index)

    def ask(self, what, **values):
        number = self.visible()[self.device.index]
        log = settings().log
        if log:
            with Path(log).open("a") as file:
                file.write(json.dumps({"what": what, "device": number, "pid": os.getpid(), **values}) + "\n")
        return number

    @property
    def name(self):
        return "stand-in for a GPU"

    def make_current(self):
        if self.device.index is None:
            raise ValueError(f"Expected a torch.device with a specified index or an integer, but got: {self.device}")
        self.ask("current")
        StandIn.current = self.device.index
        Memory.start()

    def prepare(self):
        self.ask("prepare")

    @contextmanager
    def exact(self):
        self.ask("exact")
        yield

    @property
    def half(self):
        return "bf16"

    def upload(self, tensor):
        assert tensor.device.type == "cpu"
        self.ask("upload", bytes=tensor.nbytes)
        return tensor.clone()

    def durations(self, run, count):
        self.ask("durations", count=count)
        return Accelerator.durations(self, run, count)

    def synchronize(self):
        if not StandIn.waiting:
            raise RuntimeError("called a synchronizing CUDA operation")
        if self.ask("synchronize") in settings().broken:
            raise RuntimeError("CUDA error: device-side trouble")

    @contextmanager
    def forbid_waits(self):
        self.ask("forbid waits")
        StandIn.waiting = False
        try:
            yield
        finally:
            StandIn.waiting = True

    def memory(self):
        live = Memory.active.live if Memory.active else 0
        return settings().memory - settings().context - live, settings().memory

    def limit_memory(self, limit):
        self.ask("limit", bytes=limit)
        Memory.start().limit = limit or settings().memory - settings().context

    def release_memory(self):
        self.ask("release", live=Memory.active.live if Memory.active else 0)

    def reset_peaks(self):
        memory = Memory.start()
        memory.peak = memory.live

    def peak_allocated(self):
        return Memory.start().peak

    def peak_reserved(self):
        return Memory.start().peak

    def overhead(self):
        self.ask("overhead")
        return settings().context

    def random_state(self):
        return torch.get_rng_state()

    def set_random_state(self, state):
        torch.set_rng_state(state)

    @contextmanager
    def side_stream(self):
        self.ask("side stream")
        yield

    def record(self, run):
        assert not StandIn.capturing, "the stream of a recording that failed is still the current one"
        tape = Tape()
        if not settings().records:
            self.ask("record", failed=True)
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        try:
            with tape:
                loss = run()
        except RuntimeError:
            self.ask("record", failed=True)
            raise
        self.ask("record", operations=len(tape.operations))
        return tape, loss
