"""How `nxt profile` shows what it found: tables for people, CSV for programs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from nxt.units import format_count

from . import render

Row = Mapping[str, Any]
_HEADS = {"macs": "MACs", "flops": "FLOPs", "fvcore": "fvcore"}
_MEANING = {
    "macs": "MACs: multiply-adds of convolution and linear layers, no bias (the papers' FLOPs).",
    "flops": "FLOPs: two for each multiply-add of convolution and linear layers (the papers say FLOPs for half of it).",
    "fvcore": "fvcore: multiply-adds, 2 for each normalised element, 1 for each pooled one: fvcore's total.",
}
_FIGURES = ("macs", "params", "acts", "flops", "fvcore", "bytes", "intensity", "peak_bytes")


def print_csv(rows: Sequence[Row], by: str | None, _count: str) -> None:
    """Write one line for each network, or for each of its parts."""
    names = ("network", "part", "size", "classes", "blocks", "channels", "side", *_FIGURES)
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        for part in row[f"{by}s"] if by else [row]:
            name = part["name"] if by else ""
            writer.writerow(
                {**part, "network": row["name"], "part": name, "size": row["size"], "classes": row["classes"]}
            )


def print_tables(rows: Sequence[Row], by: str | None, count: str) -> None:
    """Write tables: the networks, their parts, how two of them differ, and what else was asked for."""
    console = render.out()
    figures = [
        [
            row["name"], format_count(row["params"], 4), format_count(row[count], 4), format_count(row["acts"], 4),
            _bytes(row["bytes"]), f"{row['intensity']:.1f}", _bytes(row["peak_bytes"]), row["size"], row["classes"],
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["network", "params", _HEADS[count], "acts", "moved", "FLOP/B", "peak", "px", "classes"]
    console.print(render.table(heads, figures))
    for row in rows:
        if by:
            console.print("", _parts(row, by, count), sep="\n")
        if "steps" in row:
            console.print("", _steps(row), sep="\n")
        if "measured" in row:
            from .profile_measure import tables

            for each in tables(row["name"], row["measured"]):
                console.print("", each, sep="\n")
        if "check" in row:
            differs = {key: value for key, value in row["check"].items() if value}
            console.print(
                f"{row['name']}: closed form minus fvcore's and torch's counts of the built network: "
                f"{differs or 'no difference'}"
            )
    if len(rows) == 2:
        console.print("", _difference(rows[0], rows[1], count), sep="\n")
    console.print("", _MEANING[count], sep="\n")
    console.print("Moved: each input, weight and output element of those layers once. Peak: alive during inference,")
    console.print("without weights; both for one image in float32.")
    for row in rows:
        _reconcile(row)


def _parts(row: Row, by: str, count: str) -> Any:
    lines = [
        [
            part["name"], *([part["blocks"]] if by == "stage" else []),
            f"{part['channels']} x {part['side']}x{part['side']}", format_count(part["params"], 4),
            format_count(part[count], 4), f"{part[count] / row[count]:.1%}", format_count(part["acts"], 4),
            _bytes(part["bytes"]), f"{part['intensity']:.1f}", _bytes(part["peak_bytes"]),
        ]
        for part in row[f"{by}s"]
    ]  # fmt: skip
    blocks = ["blocks"] if by == "stage" else []
    heads = [by, *blocks, "output", "params", _HEADS[count], "share", "acts", "moved", "FLOP/B", "peak"]
    return render.table(heads, lines, title=f"{row['name']}, peak at {row['peak_at']}")


def _steps(row: Row) -> Any:
    lines = []
    for step in row["steps"]:
        cells = [step["change"]]
        for key in ("macs", "params", "acts"):
            cells += [_signed(step[key]), f"{step[key] / row[key]:+.1%}"]
        lines.append(cells)
    return render.table(
        ["one step", "MACs", "", "params", "", "acts", ""], lines, title=f"{row['name']}: what a step adds"
    )


def _difference(one: Row, other: Row, count: str) -> Any:
    """Return the table of the second network minus the first, stage by stage."""
    parts = [{part["name"]: part for part in row["stages"]} for row in (one, other)]
    names = sorted({*parts[0], *parts[1]}, key=lambda name: (name != "stem", name == "head", name))
    lines = []
    for name in [*names, "total"]:
        here, there = (one, other) if name == "total" else (each.get(name, {}) for each in parts)
        cells = [name, " -> ".join(str(each.get("blocks", "")) for each in (here, there)) if name != "total" else ""]
        for key in (count, "params", "acts", "bytes"):
            before, after = here.get(key, 0), there.get(key, 0)
            cells += [_signed(after - before), f"{(after - before) / before:+.1%}" if before else ""]
        lines.append(cells)
    heads = ["", "blocks", _HEADS[count], "", "params", "", "acts", "", "moved (B)", ""]
    return render.table(heads, lines, title=f"{other['name']} minus {one['name']}")


def _reconcile(row: Row) -> None:
    published = row.get("published")
    if published:
        counts = " and ".join(f"{format_count(row[key], 4)} {name}" for key, name in _HEADS.items() if key != "fvcore")
        render.out().print(
            f"{row['name']}: published are {published['flops']} FLOPs ({published['source']}); counted are {counts}, "
            f"by fvcore {format_count(row['fvcore'], 4)}"
        )


def _signed(value: int) -> str:
    return f"{'-' if value < 0 else '+'}{format_count(abs(value))}"


def _bytes(value: int) -> str:
    return f"{format_count(value)}B"
