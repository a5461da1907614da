"""Whether memory comes back: after each of many trials in one process, and where a trial has too little of it."""

from __future__ import annotations

import gc

import torch

from gpu_check_steps.check import Check, folder, noise_set, spec, specs, task
from nxt.search.engine.packing import Share
from nxt.search.engine.worker import TrialRun
from nxt.search.trial import TrialFailure
from nxt.train.recipe import Recipe

_SLACK = 64 << 20  # bytes that may stay: libraries keep workspaces in torch's allocator
_SIZE = 32
_NO_PEAK = "a CPU's allocator keeps no count"


def memory(check: Check) -> None:
    """Trains 20 architectures in one process, then one with memory for half of its batch alone."""
    count, size, wide = (3, 8, 1) if check.small else (20, _SIZE, 4)
    recipe, data = (
        Recipe(epochs=1, batch=16 if check.small else 128, lr=0.02),
        noise_set(96 if check.small else 1024, size),
    )
    held: list[int] = []
    with folder() as place:
        for number, arch in enumerate(specs(count, wide)):
            run = TrialRun(task(check, arch, recipe, size, place, number=number), data)
            result = run.step()
            check.expect(not isinstance(result, TrialFailure), f"architecture {number}: {result}")
            del run
            if check.gpu.is_gpu:
                held.append(_held(check))
    if not check.gpu.is_gpu:
        check.skip("memory that comes back, and halving", _NO_PEAK)
        return
    check.figures["held_bytes"] = {"after the first": held[0], "most": max(held), "after the last": held[-1]}
    check.expect(held[-1] <= held[0] + _SLACK, f"after {count} trials {held[-1]} bytes are held, after one {held[0]}")
    _halved(check)


def _held(check: Check) -> int:
    """Returns the bytes that torch's allocator holds for what is alive."""
    gc.collect()
    check.gpu.release_memory()
    check.gpu.reset_peaks()
    return check.gpu.peak_reserved()


def _halved(check: Check) -> None:
    """Gives a trial less memory than its batch needs, and more than half of it does."""
    batch, size, wide = (512, 8, 1) if check.small else (2048, _SIZE, 4)
    arch, data, peaks = spec(wide=wide), noise_set(batch, size), []
    base = _held(check)
    for count in (batch // 2, batch):
        for _ in range(2):  # the first time cuDNN tries algorithms that need more
            _held(check)
            with folder() as place:
                recipe = Recipe(epochs=1, batch=count, lr=0.02)
                result = TrialRun(task(check, arch, recipe, size, place), noise_set(count, size)).step()
            check.expect(not isinstance(result, TrialFailure), f"a batch of {count}: {result}")
        peaks.append((check.gpu.peak_allocated(), check.gpu.peak_reserved()))
    enough, short = peaks[0][1], peaks[1][0]  # what half of the batch surely fits in, and all of it does not
    check.expect(enough < short, f"half of the batch needs {enough} bytes, and all of it {short}")
    _held(check)
    room = (enough + short) // 2
    with folder() as place:
        recipe = Recipe(epochs=1, batch=batch, lr=0.02)
        run = TrialRun(task(check, arch, recipe, size, place, Share(1.0, memory=room)), data)
        result = run.step()
    del run
    check.figures["halving"] = {"peaks_bytes": peaks, "room_bytes": room, "result": str(result)}
    check.expect("halved" in str(result) and not isinstance(result, TrialFailure), f"with too little memory: {result}")
    left = _held(check)
    check.expect(left <= base + _SLACK, f"afterwards {left} bytes are held, before {base}")
    torch.ones(1, device=check.device)  # the process goes on
