"""`nxt profile`: what networks cost."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options, render

if TYPE_CHECKING:
    from nxt.arch import ArchSpec


class By(StrEnum):
    """How finely to divide the cost."""

    STAGE = "stage"


def profile(
    networks: Annotated[list[str], typer.Argument(help="Names or architecture files.", metavar="NAME_OR_YAML...")],
    size: Annotated[int | None, typer.Option(help="Image side in pixels; default: the network's own.")] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes; default: the network's own.")] = None,
    by: Annotated[By | None, typer.Option(help="Divide the cost.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Build each network and hold the figures against fvcore's count.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show params, multiply-adds and activations of networks, in closed form.

    MACs are those of convolution and linear layers, without bias: the papers' "FLOPs".
    """
    from nxt.names import resolve

    rows = [_row(resolve(network), size, classes, by, check) for network in networks]
    if as_json:
        render.print_json(rows[0] if len(rows) == 1 else rows)
    else:
        _print(rows)
    failed = [row["name"] for row in rows if check and any(row["check"].values())]
    if failed:
        from nxt.errors import NxtError

        raise NxtError(f"{failed[0]}: the closed form differs from the built network; please report this")


def _row(spec: ArchSpec, size: int | None, classes: int | None, by: By | None, check: bool) -> dict[str, Any]:
    import dataclasses

    from nxt.costs import cost, parts

    total = cost(spec, size, classes)
    row: dict[str, Any] = {
        "name": spec.name,
        "params": total.params,
        "macs": total.macs,
        "acts": total.acts,
        "size": spec.size if size is None else size,
        "classes": spec.classes if classes is None else classes,
        "fingerprint": spec.fingerprint,
    }
    if by:
        row["stages"] = [
            {"name": p.name, "blocks": p.blocks, "side": p.side, "channels": p.channels, **dataclasses.asdict(p.cost)}
            for p in parts(spec, size, classes)
        ]
    if check:
        from nxt.models.check import counted

        found = counted(spec, row["size"], row["classes"])
        row["check"] = {key: getattr(found, key) - row[key] for key in ("params", "macs", "acts")}
    return row


def _print(rows: list[dict[str, Any]]) -> None:
    from nxt.units import format_count

    console = render.out()
    figures = [
        [r["name"], *(format_count(r[k], 4) for k in ("params", "macs", "acts")), r["size"], r["classes"]] for r in rows
    ]
    console.print(render.table(["network", "params", "MACs", "acts", "px", "classes"], figures))
    for row in rows:
        if "stages" in row:
            lines = [
                [
                    part["name"], part["blocks"], f"{part['channels']} x {part['side']}x{part['side']}",
                    *(format_count(part[key], 4) for key in ("params", "macs", "acts")),
                    f"{part['macs'] / row['macs']:.1%}",
                ]
                for part in row["stages"]
            ]  # fmt: skip
            heads = ["part", "blocks", "output", "params", "MACs", "acts", "MACs share"]
            console.print(render.table(heads, lines, title=row["name"]))
        if "check" in row:
            differs = {key: value for key, value in row["check"].items() if value}
            console.print(f"{row['name']}: closed form minus built network: {differs or 'no difference'}")
    console.print("MACs: multiply-adds of convolution and linear layers, no bias (the papers' FLOPs).")
