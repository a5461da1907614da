"""Passes recorded as CUDA graphs: the weights that they train, whether a step waits, one that cannot be recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor

from gpu_check_steps.check import (
    CLASSES,
    MOVED,
    NO_GRAPHS,
    Check,
    counted_replays,
    digits,
    elsewhere,
    folder,
    noise,
    resident,
    spec,
    task,
)
from nxt.compute.accelerator import accelerator
from nxt.compute.cuda_graph import RecordingError, Replayed
from nxt.compute.devices import choose
from nxt.compute.mode import Compute
from nxt.models.network import build
from nxt.search.engine.worker import TrialRun
from nxt.search.trial import EpochResult
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe

_STEPS, _EAGER = 24, 4  # of an epoch; those before all is replayed
_SIZE, _BATCH = 8, 32
_RECIPE = Recipe(epochs=1, batch=32, lr=0.05)
# How far the weights of a replayed training may be from an eager one's, as a share of how far they have come: so many
# times the distance of two eager ones, or in any case so much.
_TIMES, _LEAST = 5, {"fp32": 0.02, "bf16": 0.1}


def replay(check: Check) -> None:
    """Trains 20 steps replayed and eagerly from one state, and once more where waiting for the device is an error."""
    if not check.gpu.is_gpu:
        check.skip("replays", NO_GRAPHS)
    split = noise(_STEPS * _BATCH, _SIZE)
    for precision in ("fp32", "bf16") if check.gpu.half == "bf16" else ("fp32",):
        ends = []
        for graph in (False, False, check.gpu.is_gpu):
            trainer = _trainer(check, precision, graph)
            before = _weights(trainer)
            with counted_replays(check.gpu) as replays, check.gpu.exact():
                trainer.run_epoch()
            check.expect(len(replays) == (_STEPS - _EAGER + 1 if graph else 0), f"{precision}: {len(replays)} replays")
            check.expect(not trainer.remark, f"{precision}: {trainer.remark}")
            ends.append(_weights(trainer))
        way = float((ends[0] - before).norm())
        noisy, far = (float((other - ends[0]).norm()) / way for other in ends[1:])
        allowed = max(_TIMES * noisy, _LEAST[precision])
        check.figures[f"distance, {precision}"] = {"eager": noisy, "replayed": far}
        check.expect(far <= allowed, f"{precision}: replayed weights are {far:.1e} away, allowed are {allowed:.1e}")
    check.figures["images"] = len(split)
    _without_waiting(check)


def _trainer(check: Check, precision: str, graph: bool) -> Trainer:
    recipe = Recipe(
        epochs=2, batch=_BATCH, lr=0.01, ema=0.9, clip=1.0, mixup=0.2, dropout=0.1, drop_block=0.1, augment=MOVED
    )
    torch.manual_seed(0)
    network = build(spec(2), CLASSES)
    network.regularize(dropout=recipe.dropout, drop_block=recipe.drop_block)
    images, few = (resident(noise(count, _SIZE), _SIZE, check.device) for count in (_STEPS * _BATCH, _BATCH))
    compute = Compute(channels_last=False, precision=precision, graph=graph)
    return Trainer(network, images, few, recipe, 0, compute=compute)


def _weights(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().cpu().double().flatten() for p in trainer.network.parameters()])


def _without_waiting(check: Check) -> None:
    """Runs the steps after the recording so that one which waits for the device raises an error."""
    if check.small:
        check.skip("steps that wait", "a CPU has nothing to wait for")
    trainer, done = _trainer(check, "fp32" if check.gpu.half != "bf16" else "bf16", check.gpu.is_gpu), 0
    with ExitStack() as stack:

        def on_step() -> None:
            nonlocal done
            done += 1
            if done == _EAGER:
                stack.enter_context(check.gpu.forbid_waits())
            elif done == _STEPS:
                stack.close()  # what follows an epoch reads the accuracy

        trainer.run_epoch(on_step)
    check.expect(done >= _STEPS, f"only {done} steps were made")


def refusal(check: Check) -> None:
    """Records a pass that reads a value, which fails; a trial in a fresh process, and in this one, must then work."""
    if check.gpu.is_gpu:
        code, found = elsewhere(_refused, check.place)
        check.figures["refused"] = found
        error = (found or {}).get("error", f"its process ended with exit code {code}")
        check.expect(error.startswith("RecordingError"), f"recording a pass that reads a value gave: {error}")
    else:
        check.skip("a recording that fails", NO_GRAPHS)
    with folder() as place:
        arguments = task(check, spec(), _RECIPE, _SIZE, place)
        if check.gpu.is_gpu:
            code, ended = elsewhere(_trial_that_reads, arguments)
            check.figures["trial_that_reads"] = {"exit_code": code, "result": ended}
        code, again = elsewhere(_trial, arguments)
        check.figures["trial_in_a_fresh_process"] = again
        check.expect(code == 0 and again is not None and again["done"], f"a trial in a fresh process: {again or code}")
    check.gpu.release_memory()
    torch.nn.functional.dropout(torch.ones(64, device=check.device), 0.5)
    with folder() as place:
        last = TrialRun(task(check, spec(), _RECIPE, _SIZE, place), digits(0.25)).step()
        check.expect(isinstance(last, EpochResult), f"a trial in this process: {last}")


def _refused(place: str) -> dict[str, str]:
    """Returns the error of recording a pass that reads a value, and whether the process is of use afterwards."""
    device = choose(place)
    gpu, network = accelerator(device), build(spec(), CLASSES).to(device)
    passes = Replayed(network, gpu)
    images, labels = torch.randn(8, 3, 8, 8, device=device), torch.zeros(8, dtype=torch.int64, device=device)

    def run(images: Tensor, labels: Tensor) -> Tensor:
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return torch.full_like(loss.detach(), loss.item())

    found = {"error": "none"}
    try:
        for _ in range(5):
            network.zero_grad()
            passes(run, images, labels)
    except RecordingError as error:
        found["error"] = f"RecordingError: {error}"
    try:  # before torch 2.12 this may fail, so that it is told and not judged
        gpu.release_memory()
        torch.nn.functional.dropout(images, 0.5)
        gpu.synchronize()
        found["afterwards"] = "memory is released, and dropout works"
    except RuntimeError as error:
        found["afterwards"] = str(error).splitlines()[0]
    return found


def _trial_that_reads(arguments: object) -> str:
    """Steps a trial whose passes cannot be recorded; a worker may end its process."""
    gpu = accelerator(choose(arguments.device))  # type: ignore[attr-defined]
    usual = gpu.record

    def record(run: Callable[[], Tensor]) -> object:
        def reading() -> Tensor:
            loss = run()
            loss.item()
            return loss

        return usual(reading)

    gpu.record = record  # type: ignore[method-assign,assignment]
    return str(TrialRun(arguments, digits(0.25)).step())  # type: ignore[arg-type]


def _trial(arguments: object) -> dict[str, object]:
    result = TrialRun(arguments, digits(0.25)).step()  # type: ignore[arg-type]
    return {"done": isinstance(result, EpochResult), "said": str(result)}
