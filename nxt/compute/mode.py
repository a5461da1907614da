"""How a network is computed on a device: memory layout, precision, compiled or not.

Torch is imported where it is used, so that the record of a training can be read without it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nxt.config import require

if TYPE_CHECKING:
    import torch
    from torch import nn

PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """The way to compute. On a GPU, what stays in fp32 is multiplied in TF32.

    Raises:
        ConfigError: for a precision that is not known.
    """

    channels_last: bool = True
    precision: str = "fp32"
    compile: bool = False
    graph: bool = False  # passes are recorded as CUDA graphs; see nxt.compute.cuda_graph

    def __post_init__(self) -> None:
        known = ", ".join(PRECISIONS)
        require(self.precision in PRECISIONS, "compute", f"precision is {self.precision!r}, not one of {known}")

    def __str__(self) -> str:
        words = ["channels last" if self.channels_last else "channels first", self.precision]
        return ", ".join(words + ["compiled"] * self.compile + ["CUDA graph"] * self.graph)

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and of the network's weights."""
        import torch

        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def dtype(self) -> torch.dtype:
        """The type of numbers that convolutions and linear layers compute in."""
        import torch

        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def autocast(self, device: torch.device) -> torch.autocast:
        """Returns the context in which the network runs."""
        import torch

        return torch.autocast(device.type, self.dtype, enabled=self.precision != "fp32")


def compiled(network: nn.Module) -> nn.Module:
    """Returns a network as torch compiles it, at its first call."""
    import torch

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says on CPUs that there is no GPU
    return torch.compile(network)  # type: ignore[return-value]


@contextmanager
def compiling_anew() -> Iterator[None]:
    """Forgets what was compiled before, so that the block compiles what it calls for the shapes that it has.

    Else torch counts the networks compiled so far as one function: from the second shape on it compiles for shapes in
    general, and after eight times it computes uncompiled without an error.

    Raises:
        RuntimeError: if it would compute uncompiled in the block.
    """
    import torch._dynamo
    from torch._dynamo.exc import FailOnRecompileLimitHit

    torch._dynamo.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        try:
            yield
        except FailOnRecompileLimitHit as error:
            limit = torch._dynamo.config.recompile_limit
            raise RuntimeError(f"it was compiled {limit} times, and torch compiles it no more") from error


def by_rule(device: torch.device) -> Compute:
    """Returns what needs no measurement: fp32 in channels last on a CPU; bfloat16, or else float16, on a GPU."""
    from nxt.compute.accelerator import accelerator

    gpu = accelerator(device)
    return Compute(channels_last=False, precision=gpu.half) if gpu.is_gpu else Compute()


def for_proxy(device: torch.device) -> Compute:
    """Returns the rule for networks so small that on a GPU most of their time is the launching of kernels."""
    from nxt.compute.accelerator import accelerator

    return dataclasses.replace(by_rule(device), graph=accelerator(device).is_gpu)
