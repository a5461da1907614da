"""`nxt profile`: prints the cost of networks."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxt.errors import BudgetError, NxtError, RunError
from nxt.files import is_folder

from .. import complete, options
from ..terminal import tables

if TYPE_CHECKING:
    from nxt.analysis.profile import Profile
    from nxt.space.budget import Budget


class Form(StrEnum):
    """The form of a ResNeXt block (ResNeXt fig. 3)."""

    PATHS = "a"
    CONCATENATED = "b"
    GROUPED = "c"


class Head(StrEnum):
    """What stands in the place of the last layer, as `nxt.arch.heads.COSTED`."""

    FPN = "fpn"
    FASTER_RCNN = "faster-rcnn"
    MASK_RCNN = "mask-rcnn"
    CASCADE_RCNN = "cascade-rcnn"
    CASCADE_MASK_RCNN = "cascade-mask-rcnn"
    RETINANET = "retinanet"
    DEEPLABV3 = "deeplabv3"
    FCN = "fcn"


class By(StrEnum):
    """How finely to divide the cost."""

    STAGE = "stage"
    BLOCK = "block"
    LAYER = "layer"


def profile(
    networks: Annotated[
        list[str],
        typer.Argument(
            help="Names or architecture files.", metavar="NAME_OR_YAML...", autocompletion=complete.networks
        ),
    ],
    size: Annotated[
        str | None,
        typer.Option(
            help="Image size in pixels, a square's side or width x height; default: the file's or the network's own.",
            metavar="N|WxH",
        ),
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes; default: likewise.")] = None,
    head: Annotated[
        Head | None,
        typer.Option(
            help="Count with this head for dense prediction: detectors for --classes 80 unless told otherwise, with "
            "1000 proposals and 100 masks; segmenters for 150, at --output-stride 8."
        ),
    ] = None,
    output_stride: Annotated[
        int | None,
        typer.Option(help="Largest stride: later stages dilate in place of striding.", metavar="8|16|32"),
    ] = None,
    by: Annotated[By | None, typer.Option(help="Divide the cost.")] = None,
    form: Annotated[
        Form, typer.Option(help="Form of the blocks to check and measure: summed paths, early concatenation, groups.")
    ] = Form.GROUPED,
    steps: Annotated[
        bool, typer.Option("--steps", help="Show what one more block, group, channel or pixel costs.")
    ] = False,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    latency: Annotated[
        Path | None, typer.Option(help="Predict the latency by this file of nxt latency measure.", metavar="TABLE")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Build each network; hold all counts against fvcore's and torch's.")
    ] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Measure speed and memory on this device.")] = False,
    device: options.Device = "auto",
    batch: Annotated[
        str | None, typer.Option(help="Batch sizes to measure.", metavar="N,N...", show_default="1,8,32")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Measure compiled networks too.")] = False,
    roofline: Annotated[Path | None, typer.Option(help="Draw what was measured as PNG.", metavar="FILE")] = None,
    as_json: options.Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print rows of comma-separated values.")] = False,
) -> None:
    """Show what networks cost, in closed form; two of them also stage by stage side by side.

    MACs are multiply-adds of convolution and linear layers, without bias: the papers' "FLOPs". --json and --csv have
    FLOPs (two for each) and fvcore's total, too. With a budget (--flops ...) the exit code is 1 if a network misses it.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv: give one of both")
    if not measure and (roofline is not None or compiled or batch is not None):
        raise typer.BadParameter("--batch, --roofline and --compile need --measure")
    if as_csv and (measure or steps or check or latency is not None):
        raise typer.BadParameter("--csv has costs alone; --latency, --measure, --steps and --check go with --json")
    from nxt.arch.load import counted, resolve
    from nxt.space.budget import parse_budget

    budget = parse_budget({"flops": flops, "params": params, "acts": acts, "memory": memory})
    pixels = None if size is None else _size(size)
    counts = [counted(network, pixels, classes) for network in networks]
    specs = [resolve(network) for network in networks]
    measuring = _measuring(device, batch or "1,8,32", compiled, roofline) if measure else {}
    from nxt.analysis.profile import profile as profile_of

    how = {"by": by or By.STAGE, "form": form, "steps": steps, "check": check, "latency": latency, **measuring}
    how |= {"head": head, "output_stride": output_stride}
    asked = [(pixels, outputs if head is None else classes) for pixels, outputs in counts]
    profiles = [profile_of(spec, *each, **how) for spec, each in zip(specs, asked, strict=True)]
    rows = [each.to_dict() for each in profiles]
    if roofline is not None:
        from nxt.report.roofline import plot_roofline

        plot_roofline({row["name"]: row["measured"] for row in rows}, roofline)
    if as_json:
        tables.print_json(rows[0] if len(rows) == 1 else rows)
    else:
        from ..terminal import profile_view

        (profile_view.print_csv if as_csv else profile_view.print_tables)(rows, by)
    _raise_for(profiles, budget)


def _size(text: str) -> int | tuple[int, int]:
    """Returns a square's side, or height and width of what is written as width x height."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    if found is None:
        raise typer.BadParameter(f"--size {text}: write a square's side such as 224, or WIDTHxHEIGHT such as 480x360")
    return int(found[1]) if found[2] is None else (int(found[2]), int(found[1]))


def _measuring(device: str, batch: str, compiled: bool, roofline: Path | None) -> dict[str, Any]:
    """Returns the arguments of `nxt.profile` for measuring. Raises if they are wrong, before anything is measured."""
    sizes = [text.strip() for text in batch.split(",")]
    if not all(text.isdecimal() and 0 < int(text) <= 65536 for text in sizes):
        raise typer.BadParameter(f"--batch {batch}: write numbers of images, such as 1,8,32")
    if roofline is not None and not is_folder(roofline.parent):
        raise RunError(f"--roofline {roofline}: there is no folder {roofline.parent}")
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # silences torch's profiler; read when torch is imported
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    batches = sorted({int(text) for text in sizes})
    return {"measure": True, "device": device, "batches": batches, "compile": compiled, "say": tables.err().print}


def _raise_for(profiles: list[Profile], budget: Budget) -> None:
    """Raises an error for the first network whose figures are wrong, or that misses the budget."""
    for each in profiles:
        if each.check and any(each.check.values()):
            raise NxtError(f"{each.spec.name}: the closed form differs from the built network; please report this")
        broken = budget.violations(each.cost)
        if broken:
            raise BudgetError(f"{each.spec.name}: {'; '.join(broken)}")
