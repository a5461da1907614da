"""How `nxt profile` shows what it found: tables for people, CSV for programs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from nxt.units import format_count

from . import tables as render

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
    figures = [
        [
            row["name"], format_count(row["params"], 4), format_count(row[count], 4), format_count(row["acts"], 4),
            _bytes(row["bytes"]), f"{row['intensity']:.1f}", _bytes(row["peak_bytes"]), row["size"], row["classes"],
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["network", "params", _HEADS[count], "acts", "moved", "FLOP/B", "peak", "px", "classes"]
    render.print_table(heads, figures, ["classes", "px", "FLOP/B", "moved", "peak", "acts"])
    for row in rows:
        if by:
            _print_parts(row, by, count)
        if "steps" in row:
            _print_steps(row)
        if "measured" in row:
            from ..commands.profile_measure import print_measured

            print_measured(row["name"], row["measured"])
        if "check" in row:
            differs = {key: value for key, value in row["check"].items() if value}
            render.say(
                f"{row['name']}: closed form minus fvcore's and torch's counts of the built network: "
                f"{differs or 'no difference'}"
            )
    if len(rows) == 2:
        _print_difference(rows[0], rows[1], count)
    render.say(f"\n{_MEANING[count]}")
    render.say(
        "Moved: each input, weight and output element of those layers once. Peak: alive during inference, "
        "without weights; both for one image in float32."
    )
    for row in rows:
        _reconcile(row)


def _print_parts(row: Row, by: str, count: str) -> None:
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
    spare = ["FLOP/B", "moved", "peak", "acts", "output", "blocks", "params"]
    render.print_table(heads, lines, spare, title=f"\n{row['name']}, peak at {row['peak_at']}")


def _print_steps(row: Row) -> None:
    lines = [
        [step["change"], *(_change(step[key], row[key]) for key in ("macs", "params", "acts"))] for step in row["steps"]
    ]
    title = f"\n{row['name']}: what a step adds"
    render.print_table(["one step", "MACs", "params", "acts"], lines, ["acts", "params"], title=title)


def _print_difference(one: Row, other: Row, count: str) -> None:
    """Write the table of the second network minus the first, stage by stage."""
    parts = [{part["name"]: part for part in row["stages"]} for row in (one, other)]
    names = sorted({*parts[0], *parts[1]}, key=lambda name: (name != "stem", name == "head", name))
    lines = []
    for name in [*names, "total"]:
        here, there = (one, other) if name == "total" else (each.get(name, {}) for each in parts)
        cells = [name, " -> ".join(str(each.get("blocks", "")) for each in (here, there)) if name != "total" else ""]
        for key in (count, "params", "acts", "bytes"):
            before, after = here.get(key, 0), there.get(key, 0)
            cells.append(_change(after - before, before))
        lines.append(cells)
    heads = ["", "blocks", _HEADS[count], "params", "acts", "moved (B)"]
    spare = ["moved (B)", "acts", "blocks", "params"]
    render.print_table(heads, lines, spare, title=f"\n{other['name']} minus {one['name']}")


def _reconcile(row: Row) -> None:
    published = row.get("published")
    if published:
        counts = " and ".join(f"{format_count(row[key], 4)} {name}" for key, name in _HEADS.items() if key != "fvcore")
        render.say(
            f"{row['name']}: published are {published['flops']} FLOPs ({published['source']}); counted are {counts}, "
            f"by fvcore {format_count(row['fvcore'], 4)}"
        )


def _change(value: int, before: int) -> str:
    """Render a difference, and what share that is: in one cell, so that both stay together."""
    share = f"{value / before:+.1%}" if before else ""
    return f"{'-' if value < 0 else '+'}{format_count(abs(value))} {share:>7}"


def _bytes(value: int) -> str:
    return f"{format_count(value)}B"
