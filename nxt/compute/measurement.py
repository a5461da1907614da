"""Measures one network on one device in every way of computing, and the fastest way in training and stage by stage."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator, is_out_of_memory
from nxt.compute.benchmark import Ceiling, Speed, StageSpeed, Timing, ceiling, speeds, stage_speeds, training, ways
from nxt.compute.mode import Compute
from nxt.errors import ArchError, first_line

_LEAST, _MOST = 2, 64  # images in a training step that is measured; batch norm refuses one
_ceiling = functools.cache(ceiling)  # a device's ceiling serves all networks


@dataclass(frozen=True)
class Measurement:
    """What a network costs on a device."""

    device: str  # its name
    threads: int
    torch: str  # the version
    speeds: tuple[Speed, ...]  # of inference, by way of computing
    best: Compute  # the way with the highest throughput, without compilation
    batch: int  # images in a training step, and in what is measured stage by stage
    step: Timing  # of a training step
    step_bytes: int  # allocated at the worst moment of the step
    predicted_bytes: int  # the same in closed form, for float32
    ceiling: Ceiling
    stages: tuple[StageSpeed, ...]  # of inference in the best way

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return {
            "device": self.device,
            "threads": self.threads,
            "torch": self.torch,
            "ways": [
                {
                    **dataclasses.asdict(speed.compute),
                    "latency": dataclasses.asdict(speed.latency),
                    "images_per_second": {str(batch): rate for batch, rate in speed.throughput.items()},
                }
                for speed in self.speeds
            ],
            "best": dataclasses.asdict(self.best),
            "training": {
                "batch": self.batch,
                "seconds": dataclasses.asdict(self.step),
                "peak_bytes": self.step_bytes,
                "predicted_bytes": self.predicted_bytes,
            },
            "ceiling": dataclasses.asdict(self.ceiling),
            "stages": [{**dataclasses.asdict(stage), "share": stage.share} for stage in self.stages],
        }


def measure(
    spec: ArchSpec,
    size: int,
    classes: int,
    batches: Sequence[int],
    device: torch.device,
    compile: bool = False,
    say: Callable[[str], None] | None = None,
    form: str = "c",
) -> Measurement:
    """Measures a network.

    Args:
        spec: The architecture.
        size: Image side in pixels.
        classes: Outputs of the last layer.
        batches: Numbers of images to infer together.
        device: Where to compute.
        compile: Whether to measure compiled inference too.
        say: Called with a line of text before each step that takes seconds.
        form: Of its blocks, as in `nxt.models.forms`.

    Raises:
        ArchError: if the network does not fit into memory, or torch cannot compile it here.
    """
    tell = say or (lambda text: None)
    by_way: list[Speed] = []
    planned = ways(device, compile)
    try:
        for compute in planned:
            tell(f"{spec.name}: measuring {compute}")
            by_way.append(speeds(spec, size, classes, batches, device, compute, form))
        fastest = max(by_way, key=lambda speed: max(speed.throughput.values()))
        best = dataclasses.replace(fastest.compute, compile=False)
        batch = min(max(*batches, _LEAST), _MOST)
        if say is not None and batch > max(batches):
            say(f"a training step is measured with {batch} images: batch norm cannot train on one")
        tell(f"{spec.name}: measuring a training step, {best}")
        step, step_bytes = training(spec, size, classes, batch, device, best, form)
    except (RuntimeError, MemoryError) as error:  # of memory, torch's own error is a RuntimeError too
        why = f"{spec.name} cannot be measured here ({first_line(error)})"
        if compute.compile and len(by_way) < len(planned) and not is_out_of_memory(error):
            raise ArchError(f"{why}, {compute}; leave out `compile`") from None
        raise ArchError(f"{why}; try a smaller batch") from None
    most = _ceiling(device, best.precision)
    return Measurement(
        device=accelerator(device).name,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        speeds=tuple(by_way),
        best=best,
        batch=batch,
        step=step,
        step_bytes=step_bytes,
        predicted_bytes=cost(spec, size, classes).step_memory(batch),
        ceiling=most,
        stages=tuple(stage_speeds(spec, size, classes, batch, device, best, most, form)),
    )
