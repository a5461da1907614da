"""Trials as a search's workers run them: on the device, resumed from one kind to the other, and from bf16 to fp16."""

from __future__ import annotations

import dataclasses
import math

from gpu_check_steps.check import (
    CLASSES,
    NO_GRAPHS,
    Check,
    counted_replays,
    digits,
    folder,
    noise,
    resident,
    spec,
    task,
)
from nxt.compute.mode import Compute
from nxt.models.network import build
from nxt.search.engine.packing import ON_CPU, Share
from nxt.search.engine.worker import TrialRun
from nxt.search.trial import EpochResult, TrialFailure
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe

_SIZE, _EPOCHS = 8, 3
_PLAIN = Recipe(epochs=_EPOCHS, batch=64, lr=0.05, warmup=1)
_FULL = dataclasses.replace(_PLAIN, ema=0.9, clip=1.0, mixup=0.2, dropout=0.1, drop_block=0.1)
_NEAR = 0.25  # share by which a loss may differ between bf16 and fp32
_WIDE = 4  # times as wide as on a CPU is a network on a GPU


def trial(check: Check) -> None:
    """Trains a trial with a share of the memory and all that a recipe may ask for; then resumes trials elsewhere."""
    arch, data = spec(2, wide=1 if check.small else _WIDE), digits(0.5 if check.small else 1.0)
    with folder() as place, counted_replays(check.gpu) as replays:
        one = TrialRun(task(check, arch, _FULL, _SIZE, place, _quarter(check)), data)
        results = [_epoch(check, one, epoch) for epoch in range(1, _EPOCHS + 1)]
    losses = [result.epoch.loss for result in results]
    check.figures |= {"losses": losses, "accuracy": results[-1].epoch.accuracy, "replays": len(replays)}
    check.expect(losses[-1] < losses[0], f"its loss does not fall: {losses}")
    remarks = {result.remark for result in results} - {""}
    check.expect(not remarks, f"it remarks: {'; '.join(remarks)}")
    if check.gpu.is_gpu and check.gpu.half == "bf16":
        steps = _EPOCHS * (len(data.open().train) // _FULL.batch)
        # three passes warm up, and the fourth is recorded, replayed once, and compared
        check.expect(len(replays) == steps - 3, f"{len(replays)} of {steps} passes were replayed")
    else:
        check.skip("replays", NO_GRAPHS if not check.gpu.is_gpu else "the device has no bf16: fp16 is scaled, eagerly")
    _resumed(check)


def _quarter(check: Check) -> Share:
    """Returns a quarter of the device's memory."""
    return Share(0.25, memory=check.gpu.memory()[1] // 4) if check.gpu.is_gpu else ON_CPU


def _epoch(check: Check, run: TrialRun, epoch: int) -> EpochResult:
    result = run.step()
    if isinstance(result, TrialFailure):
        raise RuntimeError(f"the trial {result.outcome} in epoch {epoch}: {result.message}")
    check.expect(result.epoch.epoch == epoch, f"epoch {result.epoch.epoch} came in the place of {epoch}")
    return result


def _resumed(check: Check) -> None:
    """Trains a trial's epochs on the CPU, the device, and the CPU again; the losses must be those of the CPU alone."""
    devices = ("cpu", check.place, "cpu")
    if not check.gpu.is_gpu:
        check.skip("resuming from CPU to GPU and back", "asked for a CPU; resumed there")
    arch, data, losses = spec(), digits(), []
    with folder() as there, folder() as here:
        alone = TrialRun(task(check, arch, _PLAIN, _SIZE, there, ON_CPU), data)
        expected = [_epoch(check, alone, epoch).epoch.loss for epoch in range(1, _EPOCHS + 1)]
        for epoch, share in enumerate((ON_CPU, None, ON_CPU), 1):
            again = TrialRun(task(check, arch, _PLAIN, _SIZE, here, share, reported=epoch - 1), data)
            losses.append(_epoch(check, again, epoch).epoch.loss)
    check.figures["resumed_losses"] = {"cpu alone": expected, ", ".join(devices): losses}
    for epoch, (loss, usual) in enumerate(zip(losses, expected, strict=True), 1):
        check.expect(
            abs(loss - usual) <= _NEAR * usual, f"epoch {epoch}, resumed: a loss of {loss:.3f}, not {usual:.3f}"
        )


def fp16(check: Check) -> None:
    """Goes on in fp16, which scales losses, from a state in bf16, which does not; and back."""
    count = 64 if check.small else 4096
    recipe = Recipe(epochs=3, batch=count // 4, lr=0.02)
    images, few = resident(noise(count, 16), 16, check.device), resident(noise(16, 16), 16, check.device)
    state = None
    for precision in ("bf16", "fp16", "bf16"):
        compute = Compute(channels_last=False, precision=precision)
        trainer = Trainer(build(spec(2), CLASSES), images, few, recipe, 0, compute=compute)
        if state is not None:
            trainer.restore(state)
        report = trainer.run_epoch()
        check.expect(math.isfinite(report.loss), f"the loss in {precision} is {report.loss}")
        check.figures[f"loss of epoch {report.epoch} in {precision}"] = report.loss
        state = trainer.state()
        if precision == "fp16":
            scale = state["scaler"].get("scale", 0.0)
            check.expect(scale > 0, f"the scale of losses is {scale}")
