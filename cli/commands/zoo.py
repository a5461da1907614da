"""`nxt zoo`: lists the named networks, and puts own results beside the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import complete, options
from ..terminal import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nxt.arch.measured import Measured
    from nxt.arch.published import Published
    from nxt.arch.zoo import ZooEntry


def zoo(
    pattern: Annotated[
        str,
        typer.Argument(
            help="Part of a name, or a shell pattern; a whole name also shows all that is published of it.",
            autocompletion=complete.networks,
        ),
    ] = "*",
    against: Annotated[
        Path | None,
        typer.Option(
            help="Own results beside the published: columns network, top1 in percent; also top5, size, protocol, "
            "dataset. nxt eval --csv writes it.",
            metavar="FILE.csv",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the named networks with their cost and published accuracies."""
    from nxt.arch.measured import read_measured
    from nxt.arch.published import records
    from nxt.arch.zoo import ZOO, find, matches
    from nxt.errors import ArchError, suggestion

    if against is not None:
        measured = [row for row in read_measured(against) if matches(row.network, pattern)]
        if not measured:
            raise ArchError(f"{against}: no network in it matches {pattern!r}")
        if as_json:
            tables.print_json([row.to_dict() for row in measured])
        else:
            _print_measured(measured)
        return
    entries = find(pattern)
    cited = {name: rows for name, rows in records().items() if rows[0].cited and matches(name, pattern)}
    if not entries and not cited:
        raise ArchError(f"no network of the zoo matches {pattern!r} (nxt zoo lists all){suggestion(pattern, ZOO)}")
    if as_json:
        tables.print_json([_plain(entry) for entry in entries] or [_cited(*pair) for pair in cited.items()])
    elif entries:
        _print_entries(entries)
        if pattern.lower() in ZOO:
            tables.say("")
            _print_records(records().get(pattern.lower(), ()), f"All that is published of {pattern.lower()}")
    else:
        _print_records([row for rows in cited.values() for row in rows], "Cited only: nxt does not build these")


def _plain(entry: ZooEntry) -> dict[str, object]:
    from nxt.arch.costs import cost
    from nxt.arch.published import of

    others = [record.to_dict() for record in of(entry.name) if record not in entry.published]
    return {
        "name": entry.name,
        **cost(entry.spec).to_dict(),
        "size": entry.spec.size,
        "published": [record.to_dict() for record in entry.published],
        "also_published": others,
    }


def _cited(name: str, rows: Sequence[Published]) -> dict[str, object]:
    return {"name": name, "cited": True, "published": [row.to_dict() for row in rows]}


def _print_entries(entries: Sequence[ZooEntry]) -> None:
    from nxt.arch.costs import cost
    from nxt.units import format_count

    rows = []
    for entry in entries:
        total, first = cost(entry.spec), next(iter(entry.published), None)
        counts = format_count(total.params, 4), format_count(total.macs, 4)
        shown = ["", "", ""] if first is None else [_top1(first, entry.spec.size), _two(first.top5), first.source]
        rows.append([entry.name, *counts, entry.spec.size, *shown])
    columns = ["network", "params", "MACs", "px", "top-1", "top-5", "source"]
    tables.print_table(columns, rows, ["source", "px", "params"], left=["top-1", "source"])
    tables.say(
        "Accuracies in percent as others published them, each under its own recipe: on one centre crop of ImageNet-1k "
        "(CIFAR-10 at 32 px), at px or the side after @; nxt zoo NAME and --json show all figures."
    )


def _print_records(records: Sequence[Published], title: str) -> None:
    from nxt.arch.published import LABELS

    if not records:
        tables.say("Nothing is published of it.")
        return
    several = len({record.network for record in records}) > 1
    rows = []
    for record in records:
        figures = ", ".join(f"{LABELS[name]} {value:g}" for name, value in record.figures.items())
        how = f"{record.protocol} @{record.size}" if record.size else record.protocol
        rows.append([*[record.network] * several, figures, record.task, record.dataset, how, record.source])
    columns = [*["network"] * several, "figures", "task", "data", "protocol @px", "source"]
    tables.print_table(columns, rows, ["task"], title, left=columns)


def _print_measured(measured: Sequence[Measured]) -> None:
    rows = []
    for own in measured:
        first = next(iter(own.published()), None)
        row = [own.network, own.size or "", f"{own.top1:.2f}", _two(own.top5)]
        if first is None:
            rows.append([*row, "", "none", "", ""])
        else:
            there = _top1(first, own.size or first.size), _two(first.top5)
            rows.append([*row, f"{own.top1 - first.top1:+.2f}", *there, first.source])
    columns = ["network", "px", "top-1", "top-5", "difference", "published", "its top-5", "source"]
    tables.print_table(columns, rows, ["its top-5", "top-5", "source", "px"], left=["published", "source"])
    tables.say(
        "In percent; the difference is of top-1. What is published is on the same data and by the same protocol, as "
        "far as the file says them, and at the same size if there is any; under another recipe. --json has all of it."
    )


def _top1(record: Published, size: int | None) -> str:
    return f"{record.top1:.2f}" + ("" if record.size == size else f" @{record.size}")


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
