"""`nxt profile`: what networks cost."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import complete, options
from ..terminal import tables as render

if TYPE_CHECKING:
    from nxt.arch.spec import ArchSpec


class By(StrEnum):
    """How finely to divide the cost."""

    STAGE = "stage"
    BLOCK = "block"
    LAYER = "layer"


class Count(StrEnum):
    """What to count as cost."""

    MACS = "macs"
    FLOPS = "flops"
    FVCORE = "fvcore"


def profile(
    networks: Annotated[
        list[str],
        typer.Argument(
            help="Names or architecture files.", metavar="NAME_OR_YAML...", autocompletion=complete.networks
        ),
    ],
    size: Annotated[int | None, typer.Option(help="Image side in pixels; default: the network's own.")] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes; default: the network's own.")] = None,
    by: Annotated[By | None, typer.Option(help="Divide the cost.")] = None,
    count: Annotated[
        Count, typer.Option(help="Show multiply-adds, FLOPs (two each), or what fvcore's total would be.")
    ] = Count.MACS,
    steps: Annotated[
        bool, typer.Option("--steps", help="Show what one more block, group, channel or pixel costs.")
    ] = False,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
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

    MACs are multiply-adds of convolution and linear layers, without bias: the papers' "FLOPs". With a budget
    (--flops ...) the exit code is 1 if a network misses it.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv: give one of both")
    if not measure and (roofline is not None or compiled or batch is not None):
        raise typer.BadParameter("--batch, --roofline and --compile need --measure")
    if as_csv and (measure or steps or check):
        raise typer.BadParameter("--csv has costs alone; --measure, --steps and --check go with --json")
    from nxt.arch.names import resolve

    budget = options.budget_of({"flops": flops, "params": params, "acts": acts, "memory": memory})
    specs = [resolve(network) for network in networks]
    rows = [_row(spec, size, classes, by, steps, check) for spec in specs]
    if measure:
        from .profile_measure import measured

        all_measured = measured(specs, size, classes, device, batch or "1,8,32", compiled, roofline)
        for row, found in zip(rows, all_measured, strict=True):
            row["measured"] = found
    if as_json:
        render.print_json(rows[0] if len(rows) == 1 else rows)
    else:
        from ..terminal import profile_view

        (profile_view.print_csv if as_csv else profile_view.print_tables)(rows, by, count)
    _raise_for(rows, specs, budget)


def _row(
    spec: ArchSpec, size: int | None, classes: int | None, by: By | None, steps: bool, check: bool
) -> dict[str, Any]:
    from nxt.arch.breakdown import portions
    from nxt.arch.costs import resolution
    from nxt.arch.memory import peak

    size, classes = resolution(spec, size, classes)
    whole = portions(spec, size, classes, "network")[0].to_dict()
    row: dict[str, Any] = {
        "name": spec.name,
        **{key: whole[key] for key in ("params", "macs", "acts", "flops", "fvcore", "bytes", "intensity")},
        "peak_bytes": whole["peak_bytes"],
        "peak_at": str(peak(spec, size, classes)),
        "size": size,
        "classes": classes,
        "fingerprint": spec.fingerprint,
    }
    published = _published(spec)
    if published and size == spec.size:
        row["published"] = {"flops": published[0], "source": published[1]}
    row["stages"] = [portion.to_dict() for portion in portions(spec, size, classes, "stage")]
    if by in (By.BLOCK, By.LAYER):
        row[f"{by}s"] = [portion.to_dict() for portion in portions(spec, size, classes, by)]
    if steps:
        import dataclasses

        from nxt.arch.sensitivity import steps as all_steps

        row["steps"] = [dataclasses.asdict(step) for step in all_steps(spec, size, classes)]
    if check:
        from nxt.models.check import residuals

        row["check"] = residuals(spec, size, classes)
    return row


def _published(spec: ArchSpec) -> tuple[str, str] | None:
    from nxt.arch.zoo import ZOO

    entry = ZOO.get(spec.name)
    return entry.flops if entry else None


def _raise_for(rows: list[dict[str, Any]], specs: list[ArchSpec], budget: Any) -> None:
    """Raise for the first network whose figures are wrong, or that misses the budget."""
    from nxt.arch.costs import cost
    from nxt.errors import BudgetError, NxtError

    for row, spec in zip(rows, specs, strict=True):
        if any(row.get("check", {}).values()):
            raise NxtError(f"{row['name']}: the closed form differs from the built network; please report this")
        broken = budget.violations(cost(spec, row["size"], row["classes"]))
        if broken:
            raise BudgetError(f"{row['name']}: {'; '.join(broken)}")
