"""Outputs and gradients of the device against the CPU, both held against double precision."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_check_steps.check import CLASSES, Check, spec
from nxt.compute.mode import Compute
from nxt.models.network import Network, build

_COUNT = 32  # images: batch norm over one-pixel maps averages over no more
_SIZES = {8: "maps of 8 to 2 px", 4: "maps of 4 px to one"}
# How many times the CPU's own error a device may have: it adds in another order, and has other algorithms. TF32, of 10
# bits, would be some thousand times the error of fp32.
_TIMES, _LEAST = 30, 1e-5
_TIMES_16 = 4


def numbers(check: Check) -> None:
    """Compares networks of radix 0, 1 and 2 in both layouts, in fp32 without TF32, and in 16 bits."""
    if not check.gpu.is_gpu:
        check.skip("CPU against GPU", "asked for a CPU; its layouts are held against double precision")
    cpu = torch.device("cpu")
    check.gpu.prepare()
    torch.backends.cudnn.benchmark = False  # each shape is computed once
    worst: dict[str, float] = {}
    for radix in (2,) if check.small and check.gpu.is_gpu else (0, 1, 2):  # a stand-in is slow, and computes the same
        for size, name in _SIZES.items():
            pair = _Pair(radix, size)
            usual = pair.errors(cpu, Compute(channels_last=False))
            for last in (False, True):
                compute = Compute(channels_last=last)
                with check.gpu.exact():
                    errors = pair.errors(check.device, compute)
                for kind, error in errors.items():
                    allowed = max(_TIMES * usual[kind], _LEAST)
                    where = f"radix {radix}, {name}, {compute}: error of the {kind} {error:.1e}, allowed {allowed:.1e}"
                    check.expect(error <= allowed, where)
                    worst[kind] = max(worst.get(kind, 0.0), error)
                    if check.gpu.is_gpu and not check.small and not radix and size == max(_SIZES):  # for comparison
                        worst[f"{kind} with TF32"] = pair.errors(check.device, compute)[kind]
            half = Compute(channels_last=False, precision="bf16")
            if check.gpu.half == "bf16":
                coarse, other = pair.errors(cpu, half), pair.errors(check.device, half)
                for kind, error in other.items():
                    where = (
                        f"radix {radix}, {name}, bf16: error of the {kind} {error:.1e}, on the CPU {coarse[kind]:.1e}"
                    )
                    check.expect(error <= _TIMES_16 * coarse[kind] + _LEAST, where)
                    worst[f"{kind} in bf16"] = max(worst.get(f"{kind} in bf16", 0.0), error)
    check.figures["worst_errors"] = {kind: float(f"{error:.2g}") for kind, error in worst.items()}


class _Pair:
    """A network with ReLU, whose outputs are compared, and one with ELU in its place, whose gradients are.

    Where ReLU bends, its gradient jumps: a value that rounding moves across zero would change it by much.
    """

    def __init__(self, radix: int, size: int) -> None:
        torch.manual_seed(radix)
        self._bent = build(spec(radix), CLASSES)
        self._smooth = copy.deepcopy(self._bent)
        for module in list(self._smooth.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, nn.ELU())
        self._images = torch.randn(_COUNT, 3, size, size)
        self._labels = torch.randint(CLASSES, (_COUNT,))
        self._exact = self._computed(torch.device("cpu"), Compute(channels_last=False), torch.float64)

    def errors(self, device: torch.device, compute: Compute) -> dict[str, float]:
        """Returns the norms of the errors, as shares of the norms of the values."""
        found = self._computed(device, compute, torch.float32)
        return {kind: float((found[kind] - exact).norm() / exact.norm()) for kind, exact in self._exact.items()}

    def _computed(self, device: torch.device, compute: Compute, dtype: torch.dtype) -> dict[str, Tensor]:
        labels = self._labels.to(device)
        images = self._images.to(device, dtype).contiguous(memory_format=compute.memory_format)
        bent, smooth = (_moved(network, device, compute, dtype) for network in (self._bent, self._smooth))
        with compute.autocast(device):
            outputs = bent(images)
            loss = F.cross_entropy(smooth(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = torch.cat([p.grad.flatten() for p in smooth.parameters() if p.grad is not None])
        return {"outputs": outputs.detach().cpu().double(), "gradients": gradients.cpu().double()}


def _moved(network: Network, device: torch.device, compute: Compute, dtype: torch.dtype) -> Network:
    moved = copy.deepcopy(network).to(device, dtype).to(memory_format=compute.memory_format)  # type: ignore[call-overload]
    return moved.train()  # type: ignore[no-any-return]
