"""Proxies as searches train them: replayed or not, in both layouts, compiled; and several at a time on one card."""

from __future__ import annotations

import dataclasses
import multiprocessing
import shutil
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

import torch

from gpu_check_steps.check import CLASSES, MOVED, NO_GRAPHS, Check, noise, rates, resident, spec, spread
from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator
from nxt.compute.devices import choose
from nxt.compute.mode import Compute, for_proxy
from nxt.models.network import build
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe

_TOGETHER = (1, 2, 4, 8)
_BATCHES = (64, 512)


@dataclasses.dataclass(frozen=True)
class _Size:
    """How large things are on a device."""

    wide: int = 4
    depths: tuple[int, ...] = (2, 2, 2)
    side: int = 32
    batch: int = 128
    steps: int = 40  # of an epoch
    judged: int = 2048  # images of an evaluation
    rounds: int = 5
    mixed: int = 3  # rounds of trials together
    together: tuple[int, ...] = _TOGETHER
    window: float = 1.0  # seconds in which trials run together

    @property
    def arch(self) -> ArchSpec:
        return spec(wide=self.wide, depths=self.depths)


_SMALL = _Size(
    wide=1, depths=(1, 1, 1), side=8, batch=16, steps=5, judged=64, rounds=2, mixed=2, together=(1, 2), window=0.5
)


def proxy(check: Check) -> None:
    """Takes the figures that say how proxies should be trained on this device."""
    size = _SMALL if check.small else _Size()
    check.figures["network"] = size.arch.to_dict()
    check.figures["epoch_images_per_second"] = _epochs(check, size)
    check.figures["evaluation_images_per_second"] = _evaluations(check, size)
    check.figures["trials_at_a_time"] = _at_a_time(check, size)


def _trainer(size: _Size, device: torch.device, compute: Compute, judged: int) -> Trainer:
    recipe = Recipe(epochs=10_000, batch=size.batch, lr=0.01, augment=MOVED)
    torch.manual_seed(0)
    train = resident(noise(size.batch * size.steps, size.side), size.side, device)
    val = resident(noise(judged, size.side), size.side, device)
    return Trainer(build(size.arch, CLASSES), train, val, recipe, 0, compute=compute)


def _epochs(check: Check, size: _Size) -> dict[str, dict[str, float]]:
    """Measures epochs with next to no evaluation in all ways of computing."""
    rule = for_proxy(check.device)
    chosen = [
        dataclasses.replace(rule, channels_last=last, graph=graph)
        for last in (False, True)
        for graph in ((True, False) if check.gpu.is_gpu else (False,))
    ]
    if not check.gpu.is_gpu:
        check.skip("replayed passes", NO_GRAPHS)
    if check.small:
        check.skip("compiled passes", "a minute of compiling, on a CPU")
    elif shutil.which("gcc") or shutil.which("cc") or shutil.which("clang"):
        chosen.append(dataclasses.replace(rule, graph=False, compile=True))
    trainers = {str(compute): _trainer(size, check.device, compute, 2) for compute in chosen}

    def arm(trainer: Trainer) -> Callable[[], int]:
        def run() -> int:
            trainer.run_epoch()
            return size.batch * size.steps

        return run

    found = rates(check, {name: arm(trainer) for name, trainer in trainers.items()}, size.rounds)
    for name, trainer in trainers.items():
        check.expect(not trainer.remark, f"{name}: {trainer.remark}")
    return found


def _evaluations(check: Check, size: _Size) -> dict[str, dict[str, float]]:
    compute = for_proxy(check.device)
    network = build(size.arch, CLASSES).to(check.device).to(memory_format=compute.memory_format).eval()
    images = resident(noise(size.judged, size.side), size.side, check.device)

    def arm(batch: int) -> Callable[[], int]:
        @torch.inference_mode()
        def run() -> int:
            correct = torch.zeros((), dtype=torch.int64, device=check.device)
            for inputs, labels in images.plain(batch):
                with compute.autocast(check.device):
                    logits = network(inputs.contiguous(memory_format=compute.memory_format))
                correct += (logits.argmax(dim=1) == labels).sum()
            int(correct)
            return size.judged

        return run

    return rates(check, {f"batches of {batch}": arm(batch) for batch in _BATCHES}, size.rounds)


def _at_a_time(check: Check, size: _Size) -> dict[str, dict[str, float]]:
    """Measures images a second of all trials together, for several numbers of them on the card."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(max(size.together)):
        mine, theirs = context.Pipe()
        process = context.Process(target=_train, args=(theirs, size, check.place, 1 / max(size.together)), daemon=True)
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)
    try:
        for pipe in pipes:
            pipe.recv()  # it has warmed up
        found: dict[int, list[float]] = {count: [] for count in size.together}
        for _ in range(size.mixed):
            for count in size.together:
                found[count].append(_window(pipes[:count], size.window))
    finally:
        for pipe in pipes:
            pipe.close()  # which ends its process
        for process in processes:
            process.join()
    check.expect(all(rate > 0 for rates in found.values() for rate in rates), f"no image was trained on: {found}")
    return {str(count): spread(values) for count, values in found.items()}


def _window(pipes: Sequence[Connection], seconds: float) -> float:
    begin = time.time() + 0.05
    for pipe in pipes:
        pipe.send((begin, begin + seconds))
    return float(sum(pipe.recv() for pipe in pipes))


def _train(pipe: Connection, size: _Size, place: str, share: float) -> None:
    """Trains one of several proxies whenever it is told from when till when; answers with images a second."""
    torch.set_num_threads(1)
    device = choose(place)
    gpu = accelerator(device)
    if gpu.is_gpu:
        gpu.limit_memory(int(share * gpu.memory()[1]))
    trainer = _trainer(size, device, for_proxy(device), size.batch * size.steps // 5)
    trainer.run_epoch()
    pipe.send("ready")
    while True:
        try:
            begin, end = pipe.recv()
        except EOFError:
            return
        time.sleep(max(0.0, begin - time.time()))
        epochs, now = 0, begin
        while now < end:
            trainer.run_epoch()
            epochs, now = epochs + 1, time.time()
        pipe.send(epochs * size.batch * size.steps / (now - begin))
