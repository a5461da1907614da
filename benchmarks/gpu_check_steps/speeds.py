"""How fast the device is: its ceiling, inference in all ways, the choice of a way to train, other libraries' models."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from gpu_check_steps.check import CLASSES, Check, preprocess, rates, spec
from nxt.compute.benchmark import ceiling, speeds, ways
from nxt.compute.mode import Compute, by_rule
from nxt.models.network import build
from nxt.train.engine.autotune import tuned
from nxt.train.recipe import Recipe

_MOST = 1.1  # of the card's ceiling that products in a row may reach
_STEPS = 10_000_000  # of a training for which measuring, and compiling, pays
_PEERS = {"torchvision": "torchvision.models", "timm": "timm"}


def tuning(check: Check) -> None:
    """Measures the ceiling and inference, lets nxt choose a way to train, and trains other libraries' models."""
    compile = _compiles(check)
    for precision in ("fp32", check.gpu.half):
        top, reached = ceiling(check.device, precision), _reached(check, precision)
        check.figures[f"ceiling, {precision}"] = {**dataclasses.asdict(top), "reached_flops": reached}
        check.expect(min(top.flops, top.bandwidth) > 0, f"the ceiling is {top}")
        if not check.small:
            lower = f"{precision}: the ceiling is {top.flops:.3g} FLOP/s, but products in a row reach {reached:.3g}"
            check.expect(reached <= _MOST * top.flops, lower)
    arch, size, batch = (spec(), 8, 8) if check.small else (spec(wide=4, depths=(2, 2, 2)), 32, 256)
    inferred = {}
    compiled = Compute(channels_last=False, precision=check.gpu.half, compile=True)
    chosen = ways(check.device)[:: 3 if check.small else 1]  # a CPU: the first and the last
    for way in [*chosen, *[compiled] * compile]:
        speed = speeds(arch, size, CLASSES, [batch], check.device, way)
        inferred[str(way)] = {"images_per_second": speed.throughput[batch], **dataclasses.asdict(speed.latency)}
    check.figures["inference"] = inferred
    _tuned(check, compile)
    _peers(check)


def _reached(check: Check, precision: str) -> float:
    """Returns the FLOP/s of many products of matrices in a row."""
    side, count = (256, 4) if check.small else (8192, 20)
    check.gpu.prepare()
    one, other = (torch.randn(side, side, device=check.device).to(Compute(precision=precision).dtype) for _ in range(2))
    for _ in range(3):
        torch.mm(one, other)
    check.gpu.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        torch.mm(one, other)
    check.gpu.synchronize()
    return 2 * side**3 * count / (time.perf_counter() - start)


def _compiles(check: Check) -> bool:
    """Tells whether compiled networks are tried."""
    if check.small:
        check.skip("compiled networks", "a minute of compiling each, on a CPU")
    elif not (shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")):
        check.skip("compiled networks", "this machine has no C compiler")
    else:
        return True
    return False


def _tuned(check: Check, compile: bool) -> None:
    notes: list[str] = []
    size, batch = (8, 16) if check.small else (32, 256)
    network = build(spec(wide=1 if check.small else 4), CLASSES)
    # a training so long that compiling pays; without a compiler, or on a CPU, one that ends before
    steps = _STEPS if compile else 1 if check.small else 1000
    best = tuned(network, Recipe(epochs=1, batch=batch, lr=0.1), preprocess(size), check.device, steps, notes.append)
    check.figures["tuned"] = {"best": str(best), "notes": notes}
    if compile:
        check.expect(any("compiled" in note for note in notes), f"no compiled training was measured: {notes}")


def _peers(check: Check) -> None:
    """Trains ResNeXt-50 of nxt and of what is installed, by the rule of nxt and in both layouts."""
    size, batch, rounds, steps = (32, 2, 1, 1) if check.small else (224, 64, 3, 5)
    name, arms = "resnext50_32x4d", {}
    models: dict[str, Callable[[], nn.Module]] = {"nxt": lambda: build(name, 1000)}
    for library, module in _PEERS.items():
        try:
            peer = importlib.import_module(module)
        except ImportError as error:
            check.skip(f"models of {library}", str(error))
            continue
        maker = peer.create_model if library == "timm" else getattr(peer, name)
        models[library] = (lambda maker=maker: maker(name)) if library == "timm" else maker
    for label, make in models.items():
        for last in (True,) if check.small else (True, False):
            compute = dataclasses.replace(by_rule(check.device), channels_last=last)
            arms[f"{label}, {compute}"] = _step(check, make(), compute, size, batch, steps)
    check.figures[f"{name}, training at {size} px, images_per_second"] = rates(check, arms, rounds)


def _step(check: Check, model: nn.Module, compute: Compute, size: int, batch: int, steps: int) -> Callable[[], int]:
    """Returns some steps of a plain loop."""
    model = model.to(check.device).to(memory_format=compute.memory_format).train()
    images = torch.randn(batch, 3, size, size, device=check.device).contiguous(memory_format=compute.memory_format)
    labels = torch.randint(1000, (batch,), device=check.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)

    def run() -> int:
        for _ in range(steps):
            with compute.autocast(check.device):
                loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return steps * batch

    return run
