"""How a network is computed on a device: memory layout, precision, compiled or not.

Torch is imported where it is used, so that the record of a training can be read without it.
"""

from __future__ import annotations

import dataclasses
import logging
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


def prepare(device: torch.device) -> None:
    """Sets what torch keeps for the whole process: in training, all batches have one shape."""
    import torch

    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


def compiled(network: nn.Module) -> nn.Module:
    """Returns a network as torch compiles it, at its first call."""
    import torch

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says on CPUs that there is no GPU
    return torch.compile(network)  # type: ignore[return-value]


def by_rule(device: torch.device) -> Compute:
    """Returns what needs no measurement: fp32 in channels last on a CPU; bfloat16, or else float16, on a GPU."""
    if device.type == "cpu":
        return Compute()
    return Compute(channels_last=False, precision=half())


def for_proxy(device: torch.device) -> Compute:
    """Returns the rule for networks so small that on a GPU most of their time is the launching of kernels."""
    return dataclasses.replace(by_rule(device), graph=device.type == "cuda")


def half() -> str:
    """Returns the precision of 16 bits that the GPU computes in, not one that it emulates."""
    import torch

    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
