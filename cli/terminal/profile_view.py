"""Prints the results of `nxt profile`: tables for people, CSV for programs."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from nxt.units import format_count, format_time

from . import tables

Row = Mapping[str, Any]
_FIGURES = ("macs", "params", "acts", "flops", "fvcore", "bytes", "intensity", "peak_bytes")


def print_csv(rows: Sequence[Row], by: str | None) -> None:
    """Prints one line for each network, or for each of its parts."""
    names = ("network", "part", "size", "classes", "blocks", "channels", "side", *_FIGURES)
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        for part in row[f"{by}s"] if by else [row]:
            name = part["name"] if by else ""
            writer.writerow(
                {**part, "network": row["name"], "part": name, "size": row["size"], "classes": row["classes"]}
            )


def print_tables(rows: Sequence[Row], by: str | None) -> None:
    """Prints tables: the networks, their parts, steps, measurements and checks, and the difference of two."""
    rows = [{**row, "name": _titled(row)} for row in rows]
    figures = [
        [
            row["name"], format_count(row["params"], 4), format_count(row["macs"], 4), format_count(row["acts"], 4),
            _bytes(row["bytes"]), f"{row['intensity']:.1f}", _bytes(row["peak_bytes"]), row["size"], row["classes"],
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["network", "params", "MACs", "acts", "moved", "FLOP/B", "peak", "px", "classes"]
    tables.print_table(heads, figures, ["classes", "px", "FLOP/B", "moved", "peak", "acts"])
    for row in rows:
        if by:
            _print_parts(row, by)
        if "steps" in row:
            _print_steps(row)
        if "measured" in row:
            print_measured(row["name"], row["measured"])
        if "check" in row:
            differences = {key: value for key, value in row["check"].items() if value}
            tables.say(
                f"{row['name']}: closed form minus fvcore's and torch's counts of the built network: "
                f"{differences or 'no difference'}"
            )
    if len(rows) == 2:
        _print_difference(rows[0], rows[1])
    if any("form" in row for row in rows):
        tables.say("\nForms a and b have as many MACs and params; acts, moved and peak are those of form c.")
    tables.say("\nMACs: multiply-adds of convolution and linear layers, no bias (the papers' FLOPs).")
    tables.say(
        "Moved: each input, weight and output element of those layers once. Peak: alive during inference, "
        "without weights; both for one image in float32."
    )
    if any("head" in row for row in rows):
        tables.say(
            "With a head: one inference, without auxiliary heads; detectors with 1000 proposals and 100 masks, at "
            "sides that 32 divides, to which they pad images. Maps of several levels or cut-outs count together."
        )
    for row in rows:
        _reconcile(row)
    for row in rows:
        if "latency" in row:
            found = row["latency"]
            tables.say(
                f"{row['name']}: predicted latency {format_time(1e6 * found['ms'])}, "
                f"{found['images_per_second']:.4g} images/s; {found['of']}"
            )


def _print_parts(row: Row, by: str) -> None:
    lines = [
        [
            part["name"], *([part["blocks"]] if by == "stage" else []),
            f"{part['channels']} x {_sides(part['side'])}", format_count(part["params"], 4),
            format_count(part["macs"], 4), f"{part['macs'] / row['macs']:.1%}", format_count(part["acts"], 4),
            _bytes(part["bytes"]), f"{part['intensity']:.1f}", _bytes(part["peak_bytes"]),
        ]
        for part in row[f"{by}s"]
    ]  # fmt: skip
    blocks = ["blocks"] if by == "stage" else []
    heads = [by, *blocks, "output", "params", "MACs", "share", "acts", "moved", "FLOP/B", "peak"]
    spare = ["FLOP/B", "moved", "peak", "acts", "output", "blocks", "params"]
    at = f", peak at {row['peak_at']}" if row["peak_at"] else ""
    tables.print_table(heads, lines, spare, title=f"\n{row['name']}{at}")


def _print_steps(row: Row) -> None:
    lines = [
        [step["change"], *(_change(step[key], row[key]) for key in ("macs", "params", "acts"))] for step in row["steps"]
    ]
    title = f"\n{row['name']}: what a step adds"
    tables.print_table(["one step", "MACs", "params", "acts"], lines, ["acts", "params"], title=title)


def _print_difference(first: Row, second: Row) -> None:
    """Prints the second network minus the first, stage by stage."""
    parts = [{part["name"]: part for part in row["stages"]} for row in (first, second)]
    names = sorted({*parts[0], *parts[1]}, key=lambda name: (name != "stem", not name.startswith("stage"), name))
    lines = []
    for name in [*names, "total"]:
        pair = (first, second) if name == "total" else tuple(stages.get(name, {}) for stages in parts)
        cells = [name, " -> ".join(str(part.get("blocks", "")) for part in pair) if name != "total" else ""]
        for key in ("macs", "params", "acts", "bytes"):
            before, after = (part.get(key, 0) for part in pair)
            cells.append(_change(after - before, before))
        lines.append(cells)
    heads = ["", "blocks", "MACs", "params", "acts", "moved (B)"]
    spare = ["moved (B)", "acts", "blocks", "params"]
    tables.print_table(heads, lines, spare, title=f"\n{second['name']} minus {first['name']}")


def _reconcile(row: Row) -> None:
    """Prints the published FLOPs of a network beside all three counts."""
    published = row.get("published")
    if published:
        macs, flops, fvcore = (format_count(row[key], 4) for key in ("macs", "flops", "fvcore"))
        tables.say(
            f"{row['name']}: published are {published['flops']} FLOPs ({published['source']}); counted are {macs} MACs "
            f"and {flops} FLOPs, by fvcore {fvcore}"
        )


def _change(value: int, before: int) -> str:
    """Returns a difference and its share of the value before, in one cell, so that both stay together."""
    share = f"{value / before:+.1%}" if before else ""
    return f"{'-' if value < 0 else '+'}{format_count(abs(value))} {share:>7}"


def _bytes(value: int | None) -> str:
    return "-" if value is None else f"{format_count(value)}B"


def _sides(side: int | str) -> str:
    """Returns the sides of a map: one number if it is square."""
    return f"{side}x{side}" if isinstance(side, int) else side


def _titled(row: Row) -> str:
    """Returns a network's name with what was changed of it."""
    said = {"form": "form {}", "output_stride": "stride {}", "head": "{}"}
    return ", ".join([row["name"], *(text.format(row[key]) for key, text in said.items() if key in row)])


def print_measured(name: str, measured: Mapping[str, Any]) -> None:
    """Prints the measurements of each way of computing, of a training step, and of the stages."""
    smallest = min(int(n) for n in measured["ways"][0]["images_per_second"])
    speeds = [f"images/s, {n}" for n in measured["ways"][0]["images_per_second"]]
    latency = f"latency, batch {smallest}"
    heads = ["inference", latency, "quartiles", *speeds]
    lines = [
        [
            _way(way), _ms(way["latency"]["median"]), f"{_ms(way['latency']['low'])}..{_ms(way['latency']['high'])}",
            *(f"{rate:.1f}" for rate in way["images_per_second"].values()),
        ]
        for way in measured["ways"]
    ]  # fmt: skip
    tables.print_table(heads, lines, ["quartiles", *speeds[:-1], latency], title=f"\n{name} on {measured['device']}")
    step = measured["training"]
    tables.say(
        f"\ntraining step, {_way(measured['best'])}, batch {step['batch']}: {_ms(step['seconds']['median'])}, "
        f"{step['batch'] / step['seconds']['median']:.1f} images/s, peak {format_count(step['peak_bytes'])}B "
        f"(predicted for fp32: {format_count(step['predicted_bytes'])}B)"
    )
    total = sum(stage["seconds"] for stage in measured["stages"])
    stages = [
        [
            stage["name"], _ms(stage["seconds"]), f"{stage['seconds'] / total:.1%}", f"{stage['intensity']:.1f}",
            f"{format_count(stage['flops'])}", f"{format_count(stage['attainable'])}", f"{stage['share']:.0%}",
        ]
        for stage in measured["stages"]
    ]  # fmt: skip
    most = measured["ceiling"]
    title = (
        f"\ninference by stage, {_way(measured['best'])}, batch {step['batch']}; ceiling measured here: "
        f"{format_count(most['flops'])}FLOP/s, {format_count(most['bandwidth'])}B/s"
    )
    names = ["stage", "time", "share", "FLOP/B", "FLOP/s", "attainable", "of it"]
    tables.print_table(names, stages, ["FLOP/B", "share"], title=title)


def _way(way: Mapping[str, Any]) -> str:
    """Returns the name of a way of computing."""
    from nxt.compute.mode import Compute

    return str(Compute(**{field.name: way[field.name] for field in dataclasses.fields(Compute)}))


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.9995 else f"{1000 * seconds:.3g} ms"
