"""Which device it is, with which versions, and whether it computes at all."""

from __future__ import annotations

import subprocess
from typing import Any

import torch

from gpu_check_steps.check import Check
from nxt.compute.devices import choose


def machine(check: Check) -> None:
    """Computes something small; notes name, memory, versions and what a process takes beside its tensors."""
    gpu = check.gpu
    check.figures["machine"] = about(check)
    gpu.check()
    check.expect(True, "")
    if not gpu.is_gpu:
        check.skip("a GPU's memory, and an index of its own", "asked for a CPU")
        return
    check.expect(check.device.index is not None, f"{check.device} has no index")
    check.expect(choose("auto") == check.device, f"`auto` is {choose('auto')}, not {check.device}")
    free, total = gpu.memory()
    beside = gpu.overhead()
    check.figures |= {"free_bytes": free, "total_bytes": total, "half": gpu.half, "beside_bytes": beside}
    check.expect(0 < free <= total, f"{free} bytes are free of {total}")
    if check.small:
        check.skip("what a process takes beside its tensors", "the stand-in's is made up")
    else:
        check.expect(50 << 20 < beside < 4 << 30, f"a process takes {beside} bytes beside its tensors")


def about(check: Check) -> dict[str, Any]:
    """Returns the device's name, and the versions that are not those of Python's packages."""
    found = {"device": check.gpu.name, "cuda": torch.version.cuda, "driver": None, "cudnn": None}
    if check.small:
        return found
    query = ["nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        driver = f"unknown ({type(error).__name__})"
    return {**found, "driver": driver, "cudnn": torch.backends.cudnn.version()}
