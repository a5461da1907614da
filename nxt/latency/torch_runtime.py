"""Runs parts and networks in torch, in evaluation mode, as `nxt.build` makes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nxt.arch.latency import Part
from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator
from nxt.compute.devices import choose
from nxt.compute.mode import Compute, by_rule
from nxt.latency.runtime import Asked, Run, Steps, cpu_name
from nxt.models.blocks import block_of
from nxt.models.network import build


class TorchRuntime:
    """Torch on a device. On a CPU images and weights are in channels last, in 16 bits all numbers are."""

    in_turn = True

    def __init__(self, asked: Asked, threads: int = 0) -> None:
        self._asked, self._device = asked, choose(asked.device)
        self._gpu = accelerator(self._device)
        self._gpu.prepare()
        self._compute = Compute(channels_last=by_rule(self._device).channels_last, precision=asked.precision)
        self._threads = 0 if self._gpu.is_gpu else threads or torch.get_num_threads()

    @property
    def device(self) -> str:
        """The name of the device."""
        return self._gpu.name if self._gpu.is_gpu else cpu_name()

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""
        return self._device.type

    @property
    def threads(self) -> int:
        """CPU threads that compute; 0 on a GPU."""
        return self._threads

    @property
    def versions(self) -> dict[str, str]:
        """The versions that latencies depend on."""
        return {"torch": str(torch.__version__), **({"cuda": torch.version.cuda or ""} if self._gpu.is_gpu else {})}

    def part(self, part: Part) -> Steps:
        """Returns what runs a part on an input that the step before has just written, as in a network."""
        first = part.layers[0]
        x = self._input(first.in_width, (first.norm_side if first.name == "fc" else first.in_side).height)
        module = self._ready(_module(part, self._asked.classes))
        return [(0, torch.inference_mode()(lambda: x.mul_(1))), (1, torch.inference_mode()(lambda: module(x)))]

    def network(self, spec: ArchSpec) -> Steps:
        """Returns what runs a network."""
        images = self._input(3, self._asked.size)
        network = self._ready(build(spec, self._asked.classes))
        return [(1, torch.inference_mode()(lambda: network(images)))]

    def durations(self, run: Run, count: int) -> list[float]:
        """Runs something so many times, and returns the seconds of each run."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads or before)
        try:
            return self._gpu.durations(run, count)
        finally:
            torch.set_num_threads(before)

    def _ready(self, module: nn.Module) -> nn.Module:
        compute = self._compute
        return module.eval().to(self._device, compute.dtype).to(memory_format=compute.memory_format)

    def _input(self, channels: int, side: int) -> Tensor:
        shape, compute = (self._asked.batch, channels, side, side), self._compute
        x = torch.randn(shape, device=self._device, dtype=compute.dtype)
        return x.contiguous(memory_format=compute.memory_format)


def _module(part: Part, classes: int) -> nn.Module:
    spec, stage = part.spec, part.stage
    if stage is not None:
        return block_of(spec)(spec, stage, part.kind == "first")
    if part.kind == "head":
        width = part.layers[0].in_width
        norm = (nn.BatchNorm2d(width), nn.ReLU(inplace=True)) if spec.preact else ()
        return nn.Sequential(*norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(width, classes))
    smallest = ArchSpec(  # has the same stem
        stem=spec.stem, stem_width=spec.stem_width, depths=(1,), widths=(4,), base_width=(1,), preact=spec.preact
    )
    network = build(smallest)
    return nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
