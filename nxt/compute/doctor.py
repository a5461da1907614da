"""Judges what was found on a machine: is it as nxt needs it, and what is to be done if not?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from nxt.compute.machine import Machine

_SOCKET_LIMIT = 103 if sys.platform == "darwin" else 107  # bytes of a socket's path
_RAY_ADDS = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_SHARED_MEMORY = 256 << 20  # bytes that Ray's object store takes beside the data
_LEAST_DISK, _LEAST_MEMORY = 2 << 30, 2 << 30  # bytes
_LEAST_FILES, _MANY_FILES = 1024, 65536


@dataclass(frozen=True)
class Finding:
    """Something that nxt depends on. With a problem, nxt or a part of it does not work: `advice` says which.

    Arguments are named as in error messages, in backquotes.
    """

    subject: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def judge(machine: Machine) -> list[Finding]:
    """Returns a finding for each thing that nxt depends on."""
    machinery = [_gpus(machine), _cpus(machine), *_memory(machine)]
    return [*_packages(machine), *machinery, *_folders(machine), *_limits(machine)]


def _packages(machine: Machine) -> Iterator[Finding]:
    for name, version in machine.versions.items():
        if problem := machine.broken.get(name):
            advice = "nothing can be trained: install torch and torchvision again, of releases that belong together"
            yield Finding(name, "problem", f"{version}, cannot be imported: {problem}", advice)
        else:
            yield Finding(name, "ok", version)
    for name in machine.missing:
        yield Finding(name, "problem", "not installed", f"nxt needs it: pip install {name}")
    for extra, missing in machine.extras.items():
        found = f"without {', '.join(missing)}; if you need it: pip install {' '.join(missing)}"
        yield Finding(f"extra {extra}", "ok", found if missing else "installed")


def _gpus(machine: Machine) -> Finding:
    listed, used = "; ".join(machine.listed_gpus), len(machine.gpus)
    if machine.gpu_problem:
        advice = (
            "trainings and searches refuse to start; `device` cpu or `gpus_per_trial` 0 does without; see docs/GPU.md"
        )
        return Finding("GPUs", "problem", "; ".join(filter(None, (machine.gpu_problem, listed))), advice)
    if machine.driver_problem and not used:
        return Finding("GPUs", "warning", machine.driver_problem, "nxt computes on the CPU; look at the driver")
    if machine.cuda is not None and used < len(machine.listed_gpus):
        found = f"torch uses {used} of {len(machine.listed_gpus)}: {listed}"
        return Finding("GPUs", "warning", found, "look at CUDA_VISIBLE_DEVICES, which hides GPUs")
    target = f"CUDA {machine.cuda}" if machine.cuda else "CPUs alone"
    built = "" if machine.cuda is None else f" (torch is built for {target})"  # None: torch does not load
    return Finding("GPUs", "ok", f"{listed or '; '.join(machine.gpus) or 'none'}{built}")


def _cpus(machine: Machine) -> Finding:
    found = f"{machine.usable_cpus:g} of {machine.cpus} may be used"
    if machine.usable_cpus >= machine.cpus:
        return Finding("CPUs", "ok", found)
    whole = max(1, int(machine.usable_cpus))
    return Finding("CPUs", "warning", found, f"give searches `workers` {whole}, and set OMP_NUM_THREADS={whole}")


def _memory(machine: Machine) -> Iterator[Finding]:
    if machine.memory is None or machine.free_memory is None:
        return
    limit = min(machine.memory, machine.memory_limit or machine.memory)
    free = min(machine.free_memory, limit)
    of = f"{_size(limit)} (the control group's limit)" if limit < machine.memory else _size(limit)
    yield _room("memory", f"{_size(free)} of {of} free", free < _LEAST_MEMORY, "give searches `workers` 1")


def _folders(machine: Machine) -> Iterator[Finding]:
    yield _folder("results folder", machine.results, "write results elsewhere with `out`")
    yield _folder("cache folder", machine.cache, "set NXT_CACHE to another folder, for decoded images")
    advice = "set RAY_TMPDIR to a short folder that can be written, such as /tmp"
    folder = _folder("temporary folder", machine.temporary, advice)
    if machine.temporary[1] is None:
        folder = replace(folder, state="problem", advice=f"searches cannot start: {advice}")
    yield folder
    length = len(os.fsencode(machine.temporary[0])) + _RAY_ADDS
    found = f"paths of {length} bytes, at most {_SOCKET_LIMIT}"
    if length > _SOCKET_LIMIT:
        yield Finding("sockets of Ray", "problem", found, f"searches cannot start: {advice}")
    else:
        yield Finding("sockets of Ray", "ok", found)


def _limits(machine: Machine) -> Iterator[Finding]:
    if machine.shared_memory is not None:
        low = machine.shared_memory < _SHARED_MEMORY
        advice = "Ray uses slower files instead; start the container with --shm-size=2g"
        yield _room("shared memory", f"/dev/shm: {_size(machine.shared_memory)} free", low, advice)
    if machine.open_files is not None:
        low = machine.open_files < _LEAST_FILES
        yield _room(
            "open files", f"{machine.open_files:,} at most", low, f"searches open many: ulimit -n {_MANY_FILES}"
        )


def _folder(subject: str, where: tuple[str, int | None], advice: str) -> Finding:
    path, free = where
    if free is None:
        return Finding(subject, "warning", f"{path}: cannot be written", advice)
    return _room(subject, f"{path}: {_size(free)} free", free < _LEAST_DISK, advice)


def _room(subject: str, found: str, low: bool, advice: str) -> Finding:
    return Finding(subject, "warning", found, advice) if low else Finding(subject, "ok", found)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
