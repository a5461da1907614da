"""Runs parts and networks in onnxruntime, without torch.

A runtime joins neighbouring operations and keeps activations in a layout of its own, which is converted only at the
ends of a graph. So a part counts as the difference of two graphs: a convolution, the part and the mean over the pixels;
and the same without the part.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import onnxruntime

from nxt.arch.latency import Part
from nxt.arch.layers import Layer
from nxt.arch.spec import ArchSpec
from nxt.compute.clock import wall_seconds
from nxt.compute.machine import usable_cpus
from nxt.errors import DeviceError
from nxt.latency.onnx_graph import model
from nxt.latency.parts import chain
from nxt.latency.runtime import Asked, Run, Steps, cpu_name

_CHANNELS = 4  # of the input of the convolution before a part
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime:
    """onnxruntime on a CPU, or a GPU that it knows."""

    in_turn = False  # the threads of one session wait for work for a while, and would disturb the next session's

    def __init__(self, asked: Asked, threads: int = 0) -> None:
        self._asked = asked
        kind, _, index = ("cpu" if asked.device == "auto" else asked.device).partition(":")
        self._place = kind, int(index) if index.isdecimal() else 0
        if _PROVIDERS.get(kind) not in onnxruntime.get_available_providers():
            raise DeviceError(f"`device` {asked.device}: this onnxruntime cannot use it; write cpu")
        self._threads = threads or max(1, int(usable_cpus()))

    @property
    def device(self) -> str:
        """The name of the device."""
        return cpu_name() if self.kind == "cpu" else ":".join(map(str, self._place))

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""
        return self._place[0]

    @property
    def threads(self) -> int:
        """CPU threads that compute; 0 on a GPU."""
        return self._threads if self.kind == "cpu" else 0

    @property
    def versions(self) -> dict[str, str]:
        """The versions that latencies depend on."""
        return {"onnxruntime": onnxruntime.__version__}

    def part(self, part: Part) -> Steps:
        """Returns what runs a part behind a convolution, and the convolution alone, whose time does not count."""
        batch, first = self._asked.batch, part.layers[0]
        if part.kind == "stem":
            return [(1, self._run(model([part], batch, pooled=True), first.in_width, first.in_side.height))]
        side = first.norm_side if part.kind == "head" else first.in_side
        prefix = Layer("prefix", _CHANNELS, first.in_width, 1, 1, side, side, 0, side, first.in_width)
        alone = model([], batch, prefix, pooled=True)
        whole = model([part], batch, prefix, pooled=part.kind != "head")
        return [(-1, self._run(alone, _CHANNELS, side.height)), (1, self._run(whole, _CHANNELS, side.height))]

    def network(self, spec: ArchSpec) -> Steps:
        """Returns what runs a network."""
        parts = list(chain(spec, self._asked.size, self._asked.classes))
        return [(1, self._run(model(parts, self._asked.batch), 3, self._asked.size))]

    def durations(self, run: Run, count: int) -> list[float]:
        """Runs something so many times, and returns the seconds of each run."""
        return wall_seconds(run, count)

    def _run(self, content: bytes, channels: int, side: int) -> Run:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self._threads
        session = onnxruntime.InferenceSession(content, options, providers=self._providers())
        shape = (self._asked.batch, channels, side, side)
        images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(images, *self._place))
        binding.bind_output("y", *self._place)
        return functools.partial(session.run_with_iobinding, binding)

    def _providers(self) -> Sequence[tuple[str, dict[str, str]]]:
        kind, index = self._place
        return [(_PROVIDERS[kind], {"device_id": str(index)} if kind == "cuda" else {})]
