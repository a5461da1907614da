"""`nxt profile --measure`: networks by the clock, on this device."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nxt.errors import RunError
from nxt.files import is_folder
from nxt.units import format_count

from ..terminal import tables as render

if TYPE_CHECKING:
    import torch

    from nxt.arch.spec import ArchSpec

_ROOM = 2, 64  # fewest and most images in a training step that is measured; batch norm refuses one


def measured(
    specs: Sequence[ArchSpec],
    size: int | None,
    classes: int | None,
    device: str,
    batch: str,
    compiled: bool,
    roofline: Path | None,
) -> list[dict[str, Any]]:
    """Measure every network in every way of computing; the fastest way also in training and stage by stage.

    Raises:
        DeviceError: if there is no such device.
        ArchError: for sizes out of range, and if a network does not fit into memory.
        RunError: if the drawing cannot be written; where there is no such folder, at once.
    """
    batches = _batches(batch)
    if roofline is not None and not is_folder(roofline.parent):
        raise RunError(f"--roofline {roofline}: there is no folder {roofline.parent}")
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # torch's profiler, read when torch is imported, is a chatterbox
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from nxt.compute.benchmark import Ceiling, ceiling
    from nxt.compute.devices import choose
    from nxt.report.roofline import plot_roofline

    chosen = choose(device)
    ceilings: dict[str, Ceiling] = {}
    found = []
    for spec in specs:
        result = _network(spec, size, classes, batches, chosen, compiled)
        precision = result["best"]["precision"]
        if precision not in ceilings:
            ceilings[precision] = ceiling(chosen, precision)
        found.append({**result, **_stages(spec, size, classes, result, chosen, ceilings[precision])})
    if roofline is not None:
        plot_roofline(dict(zip([spec.name for spec in specs], found, strict=True)), roofline)
    return found


def _batches(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= 65536 for part in parts):
        raise typer.BadParameter(f"--batch {text}: write numbers of images, such as 1,8,32")
    return sorted({int(part) for part in parts})


def _network(
    spec: ArchSpec, size: int | None, classes: int | None, batches: list[int], device: torch.device, compiled: bool
) -> dict[str, Any]:
    import torch

    from nxt.arch.costs import cost, resolution
    from nxt.compute.benchmark import speeds, training, ways
    from nxt.errors import ArchError, first_line

    size, classes = resolution(spec, size, classes)
    console = render.err()
    rows, best = [], None
    try:
        for compute in ways(device, compiled):
            console.print(f"{spec.name}: measuring {compute}")
            speed = speeds(spec, size, classes, batches, device, compute)
            if best is None or max(speed.throughput.values()) > max(best.throughput.values()):
                best = speed
            rows.append(
                {
                    **dataclasses.asdict(compute),
                    "latency": dataclasses.asdict(speed.latency),
                    "images_per_second": {str(n): rate for n, rate in speed.throughput.items()},
                }
            )
        assert best is not None
        eager = dataclasses.replace(best.compute, compile=False)
        steps = min(max(*batches, _ROOM[0]), _ROOM[1])
        console.print(f"{spec.name}: measuring a training step, {eager}")
        timing, memory = training(spec, size, classes, steps, device, eager)
    except (RuntimeError, MemoryError) as error:  # of memory, torch's own error is a RuntimeError too
        raise ArchError(f"{spec.name} cannot be measured here ({first_line(error)}); try a smaller --batch") from None
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "ways": rows,
        "best": dataclasses.asdict(eager),
        "training": {
            "batch": steps,
            "seconds": dataclasses.asdict(timing),
            "peak_bytes": memory,
            "predicted_bytes": cost(spec, size, classes).step_memory(steps),
        },
    }


def _stages(
    spec: ArchSpec,
    size: int | None,
    classes: int | None,
    result: Mapping[str, Any],
    device: torch.device,
    most: Any,
) -> dict[str, Any]:
    from nxt.arch.costs import resolution
    from nxt.compute.benchmark import stage_speeds
    from nxt.compute.mode import Compute

    size, classes = resolution(spec, size, classes)
    batch = result["training"]["batch"]
    found = stage_speeds(spec, size, classes, batch, device, Compute(**result["best"]), most)
    return {
        "ceiling": dataclasses.asdict(most),
        "stages": [{**dataclasses.asdict(stage), "share": stage.share} for stage in found],
    }


def print_measured(name: str, found: Mapping[str, Any]) -> None:
    """Write what was measured: each way of computing, a training step, and the stages."""
    smallest = min(int(n) for n in found["ways"][0]["images_per_second"])
    speeds = [f"images/s, {n}" for n in found["ways"][0]["images_per_second"]]
    latency = f"latency, batch {smallest}"
    heads = ["inference", latency, "quartiles", *speeds]
    lines = [
        [
            _way(way), _ms(way["latency"]["median"]), f"{_ms(way['latency']['low'])}..{_ms(way['latency']['high'])}",
            *(f"{rate:.1f}" for rate in way["images_per_second"].values()),
        ]
        for way in found["ways"]
    ]  # fmt: skip
    render.print_table(heads, lines, ["quartiles", *speeds[:-1], latency], title=f"\n{name} on {found['device']}")
    step = found["training"]
    render.say(
        f"\ntraining step, {_way(found['best'])}, batch {step['batch']}: {_ms(step['seconds']['median'])}, "
        f"{step['batch'] / step['seconds']['median']:.1f} images/s, peak {format_count(step['peak_bytes'])}B "
        f"(predicted for fp32: {format_count(step['predicted_bytes'])}B)"
    )
    total = sum(stage["seconds"] for stage in found["stages"])
    stages = [
        [
            stage["name"], _ms(stage["seconds"]), f"{stage['seconds'] / total:.1%}", f"{stage['intensity']:.1f}",
            f"{format_count(stage['flops'])}", f"{format_count(stage['attainable'])}", f"{stage['share']:.0%}",
        ]
        for stage in found["stages"]
    ]  # fmt: skip
    most = found["ceiling"]
    title = (
        f"\ninference by stage, {_way(found['best'])}, batch {step['batch']}; ceiling measured here: "
        f"{format_count(most['flops'])}FLOP/s, {format_count(most['bandwidth'])}B/s"
    )
    names = ["stage", "time", "share", "FLOP/B", "FLOP/s", "attainable", "of it"]
    render.print_table(names, stages, ["FLOP/B", "share"], title=title)


def _way(way: Mapping[str, Any]) -> str:
    """Name a way of computing as the progress does."""
    from nxt.compute.mode import Compute

    return str(Compute(**{field.name: way[field.name] for field in dataclasses.fields(Compute)}))


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.9995 else f"{1000 * seconds:.3g} ms"
