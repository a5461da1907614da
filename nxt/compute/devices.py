"""Which device to compute on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.errors import DeviceError

if TYPE_CHECKING:
    import torch


def choose(name: str = "auto") -> torch.device:
    """Returns the device of that name, and makes it the current one of this process.

    Args:
        name: `auto` (the first GPU if there is one, else the CPU), `cpu`, `cuda` (the first GPU) or `cuda:N`.

    Raises:
        DeviceError: if there is no such device, or if this machine has GPUs that torch cannot use.
    """
    import torch

    from nxt.compute.accelerator import accelerator, gpus

    kind, _, number = name.partition(":")
    if name not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdecimal()):
        raise DeviceError(f"`device` {name}: not a device; write auto, cpu, cuda or cuda:N")
    if name == "cpu":
        return torch.device("cpu")
    count, index = gpus().count(), int(number or 0)
    if not count and (problem := gpus().problem()):
        raise DeviceError(f"`device` {name}: {problem}; use `device` cpu to compute without them")
    if name == "auto" and not count:
        return torch.device("cpu")
    if index >= count:
        raise DeviceError(f"`device` {name}: this machine has {count} CUDA GPU(s); use `device` cpu")
    device = gpus().at(index)
    accelerator(device).make_current()
    return device
