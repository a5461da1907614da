"""Asks a machine what nxt depends on: packages, GPUs, processors, memory, folders. `doctor` judges the answers."""

from __future__ import annotations

import importlib
import os
import re
import resource
import shutil
import subprocess
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import Any

from nxt.errors import first_line
from nxt.files import cache_folder, exists
from nxt.provenance import versions

GROUPS = Path("/sys/fs/cgroup")
_ANSWER = 20.0  # seconds that nvidia-smi has
_SMI = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What was found. Sizes are in bytes; None is what this system does not tell, or that there is no limit."""

    versions: dict[str, str]
    missing: tuple[str, ...] = ()  # packages that nxt needs
    broken: dict[str, str] = field(default_factory=dict)  # package -> why it cannot be imported
    extras: dict[str, tuple[str, ...]] = field(default_factory=dict)  # extra -> its packages that are missing
    cuda: str | None = None  # what torch is built for; "": for CPUs alone
    gpus: tuple[str, ...] = ()  # that torch can use
    gpu_problem: str = ""  # why it can use none although there are some
    listed_gpus: tuple[str, ...] = ()  # as the driver tells them
    driver_problem: str = ""
    cpus: int = 1
    usable_cpus: float = 1  # of which this process may use
    memory: int | None = None
    free_memory: int | None = None
    memory_limit: int | None = None  # of the control group
    cache: tuple[str, int | None] = ("", None)  # folder and free bytes; None: it cannot be written
    results: tuple[str, int | None] = ("", None)
    temporary: tuple[str, int | None] = ("", None)  # where Ray has its files and sockets
    shared_memory: int | None = None  # free in /dev/shm
    open_files: int | None = None


def gather() -> Machine:
    """Asks this machine; takes some seconds. torch is imported, Ray is not."""
    broken = _broken("torch", "torchvision")
    missing, extras = _packages(requires("nxt") if _is_installed("nxt") else None)
    listed, driver_problem = _listed_gpus()
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # as Ray looks for it
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Machine(
        versions=versions(),
        missing=missing,
        broken=broken,
        extras=extras,
        **({} if "torch" in broken or not _is_installed("torch") else _seen_by_torch()),
        listed_gpus=listed,
        driver_problem=driver_problem,
        cpus=os.cpu_count() or 1,
        usable_cpus=usable_cpus(),
        memory=_kilobytes("MemTotal:"),
        free_memory=_kilobytes("MemAvailable:"),
        memory_limit=memory_limit(),
        cache=(str(cache_folder()), writable_bytes(cache_folder())),
        results=("results/", writable_bytes(Path("results"))),
        temporary=(temporary, writable_bytes(Path(temporary))),
        shared_memory=shutil.disk_usage("/dev/shm").free if exists(Path("/dev/shm")) else None,
        open_files=None if soft == resource.RLIM_INFINITY else soft,
    )


def usable_cpus(groups: Path = GROUPS) -> float:
    """Returns how many CPUs this process may use, by its affinity and by the quota of its control group."""
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    older = (_read(groups / "cpu" / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    both = _read(groups / "cpu.max") or " ".join(older)
    with suppress(ValueError):  # no such group, or no limit ("max", or -1)
        quota, period = map(int, both.split())
        if quota > 0:
            usable = min(usable, quota / period)
    return usable


def memory_limit(groups: Path = GROUPS) -> int | None:
    """Returns how many bytes the control group of this process may take; None without a limit."""
    text = _read(groups / "memory.max") or _read(groups / "memory/memory.limit_in_bytes")
    return int(text) if text.isdecimal() and int(text) < 1 << 60 else None  # version 1 writes 2^63 for no limit


def writable_bytes(folder: Path) -> int | None:
    """Returns the free bytes where a folder is, or will be; None if nothing can be written there."""
    while not exists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free if os.access(folder, os.W_OK | os.X_OK) else None
    except OSError:
        return None


def _packages(needed: list[str] | None) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Returns of some requirements those not installed, and by each extra those of its own."""
    missing: list[str] = []
    extras: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for requirement in needed or ():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"](\w+)", requirement)
        if extra is None and not _is_installed(name):
            missing.append(name)
        elif extra is not None and extra[1] != "dev":
            extras[extra[1]] += () if _is_installed(name) else (name,)
    return tuple(missing), dict(extras)


def _is_installed(package: str) -> bool:
    try:
        return bool(distribution(package))
    except PackageNotFoundError:
        return False


def _broken(*packages: str) -> dict[str, str]:
    """Returns the first of some packages that cannot be imported, and why; those after it import it, too."""
    return next(({name: problem} for name in packages if (problem := _problem_of(name))), {})


def _problem_of(package: str) -> str:
    """Returns why a package cannot be imported; empty if it can, or is not there."""
    try:
        importlib.import_module(package)
    except Exception as error:  # a library that does not load, operators of another release
        return first_line(error) if _is_installed(package) else ""
    return ""


def _seen_by_torch() -> dict[str, Any]:
    import torch

    from nxt.compute.accelerator import accelerator, gpus

    names = tuple(accelerator(gpus().at(index)).name for index in range(gpus().count()))
    return {"cuda": torch.version.cuda or "", "gpus": names, "gpu_problem": gpus().problem()}


def _listed_gpus() -> tuple[tuple[str, ...], str]:
    """Returns the GPUs as NVIDIA's driver tells them, and what is wrong with it; nothing where its program is not."""
    try:
        done = subprocess.run(["nvidia-smi", *_SMI], capture_output=True, text=True, timeout=_ANSWER, check=False)
    except FileNotFoundError:
        return (), ""
    except (OSError, subprocess.SubprocessError) as error:
        return (), f"nvidia-smi: {first_line(error)}"
    lines = tuple(", driver ".join(line.rsplit(", ", 1)) for line in done.stdout.strip().splitlines())
    return ((), f"nvidia-smi: {(lines or ('no answer',))[0]}") if done.returncode else (lines, "")


def _kilobytes(key: str) -> int | None:
    """Returns the bytes that a line of /proc/meminfo gives in kilobytes."""
    lines = [line.split() for line in _read(Path("/proc/meminfo")).splitlines()]
    return next((1024 * int(words[1]) for words in lines if words[0] == key), None)


def _read(file: Path) -> str:
    """Returns the text of a file; empty if it cannot be read."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""
