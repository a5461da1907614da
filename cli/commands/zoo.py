"""`nxt zoo`: lists the named networks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from .. import complete, options
from ..terminal import tables

if TYPE_CHECKING:
    from nxt.arch.zoo import ZooEntry


def zoo(
    pattern: Annotated[
        str, typer.Argument(help="Part of a name, or a shell pattern.", autocompletion=complete.networks)
    ] = "*",
    as_json: options.Json = False,
) -> None:
    """List the named networks with their cost and published accuracies."""
    from nxt.arch.costs import cost
    from nxt.arch.zoo import ZOO, find
    from nxt.errors import ArchError, suggestion
    from nxt.units import format_count

    entries = find(pattern)
    if not entries:
        raise ArchError(f"no network of the zoo matches {pattern!r} (nxt zoo lists all){suggestion(pattern, ZOO)}")
    if as_json:
        tables.print_json(
            [
                {
                    "name": entry.name,
                    **cost(entry.spec).to_dict(),
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
        accuracy, source = _published(entry)
        counts = format_count(total.params, 4), format_count(total.macs, 4)
        rows.append([entry.name, *counts, entry.spec.size, accuracy, source])
    columns = ["network", "params", "MACs", "px", "top-1", "source"]
    tables.print_table(columns, rows, ["source", "px", "params"], left=["top-1", "source"])
    tables.say(
        "Top-1 is as others published it, each under its own recipe: on ImageNet-1k (CIFAR-10 at 32 px), at px or "
        "the side after @; --json lists all figures."
    )


def _published(entry: ZooEntry) -> tuple[str, str]:
    """Returns the first published accuracy and its source: the paper's own if there is one."""
    if not entry.published:
        return "", ""
    first = entry.published[0]
    size = "" if first.size == entry.spec.size else f" @{first.size}"
    return f"{first.top1:.2f}{size}", first.source
