"""`nxt zoo`: the named networks."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from . import complete, options, render


def zoo(
    pattern: Annotated[
        str, typer.Argument(help="Part of a name, or a shell pattern.", autocompletion=complete.networks)
    ] = "*",
    as_json: options.Json = False,
) -> None:
    """List the named networks with their cost and published accuracies."""
    from nxt.costs import cost
    from nxt.errors import ArchError, suggestion
    from nxt.units import format_count
    from nxt.zoo import ZOO, find

    entries = find(pattern)
    if not entries:
        raise ArchError(f"no network of the zoo matches {pattern!r}{suggestion(pattern, ZOO)}")
    if as_json:
        render.print_json(
            [
                {
                    "name": entry.name,
                    **dataclasses.asdict(cost(entry.spec)),
                    "size": entry.spec.size,
                    "published": [dataclasses.asdict(figure) for figure in entry.published],
                }
                for entry in entries
            ]
        )
        return
    rows = []
    for entry in entries:
        total = cost(entry.spec)
        figures = "; ".join(f"{p.top1:.2f} @{p.size} {p.dataset} ({p.source})" for p in entry.published[:2])
        rows.append([entry.name, format_count(total.params, 4), format_count(total.macs, 4), entry.spec.size, figures])
    console = render.out()
    made = render.table(["network", "params", "MACs", "px", "published top-1"], rows)
    made.columns[-1].justify = "left"
    console.print(made)
    console.print("Published figures are others', each under its own recipe; --json lists all of them.")
