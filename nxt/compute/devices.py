"""Which device to compute on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.errors import DeviceError

if TYPE_CHECKING:
    import torch


def choose(name: str = "auto") -> torch.device:
    """Returns the device of that name: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        DeviceError: if there is no such device on this machine.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"`device` {name}: not a device; write auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"`device` {name}: only cpu and cuda are supported")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(f"`device` {name}: this machine has {count} CUDA GPU(s); use `device` cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # calls without a device mean this one
    return device
