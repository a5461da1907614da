"""How `nxt space` shows what it found: tables for people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nxt.units import format_count

from . import render

if TYPE_CHECKING:
    from nxt.lint import Lint, Spread

_LONG = 12  # values of an axis, from which on shares are not listed one by one


def print_space(answer: Mapping[str, Any]) -> None:
    """Show the axes of a space, and with a budget what of it fits."""
    console = render.out()
    console.print(f"{answer['name']}: {answer['about']}\n")
    spread = answer.get("spread")
    if spread:
        rows = [[axis, len(by), _values(by), _shares(spread[axis])] for axis, by in answer["axes"].items()]
    else:
        rows = [[axis, len(by), _values(by)] for axis, by in _grouped(answer["axes"]).items()]
    made = render.table(["axis", "values", "", "share of the feasible (%)"][: 4 if spread else 3], rows)
    for column in made.columns[2:]:
        column.justify = "left"
    console.print(made)
    console.print("fixed: " + ", ".join(f"{key} {word(value)}" for key, value in answer["fixed"].items()))
    console.print(f"architectures: {answer['size']:,}")
    if spread:
        share = 100 * answer["feasible"] / answer["size"]
        console.print(f"inside the budget ({answer['budget']}): {answer['feasible']:,} ({share:.3g} %)")
        found = ", ".join(f"{name} ({family})" for family, name in answer["references"].items())
        console.print(f"references: {found or 'none fits'}")


def _grouped(axes: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Put the axes of several stages that have the same values into one line: "depth1 to depth3"."""
    lines: dict[str, list[Any]] = {}
    for name, same in itertools.groupby(axes, key=lambda axis: (axis.rstrip("12345678"), axes[axis])):
        group = list(same)
        lines[group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}"] = name[1]
    return lines


def print_lint(found: Lint) -> None:
    """Show a space over all and inside the budget side by side."""
    console = render.out()
    space, feasible = found.space, found.feasible
    console.print(f"combinations: {space.combinations:,}")
    for reason, n in space.left_out.items():
        console.print(f"  {reason}: {n:,}")
    console.print(f"architectures, all of them distinct networks: {space.size:,}")
    console.print(f"inside the budget ({found.budget}): {feasible:,} ({100 * feasible / space.size:.3g} %)\n")
    both = [(name, (axis.before, axis.after)) for name, axis in found.axes.items()]
    rows = [
        [name, *(f"{s.mean:.4g}" for s in pair), *(f"{s.deviation:.3g}" for s in pair), *map(_range, pair)]
        for name, pair in both
    ]
    console.print(render.table(["", "mean", "inside", "deviation", "inside", "range", "inside"], rows))
    rows = [
        [f"{name} {word(value)}", *(f"{100 * s.counts[value] / s.total:.2f}" for s in pair)]
        for name, pair in both
        if len(pair[0].counts) <= _LONG
        for value in pair[0].counts
    ]
    console.print(render.table(["share (%)", "all", "inside"], rows))
    for text, values in (
        ("never inside", {name: axis.never for name, axis in found.axes.items()}),
        ("in less than 0.1 %", {name: axis.nearly_never for name, axis in found.axes.items()}),
    ):
        said = "; ".join(f"{name} {_values(some)}" for name, some in values.items() if some)
        console.print(f"{text}: {said or 'no value'}")


def print_family(answer: Mapping[str, Any]) -> None:
    """Show a family of equal complexity, by both measures."""
    console = render.out()
    of = answer["reference"]
    console.print(
        f"reference: {of['name']}, {format_count(of['macs'], 4)} MACs, {format_count(of['params'], 4)} params, "
        f"{format_count(of['acts'], 4)} acts, {of['block']:,} weights in a block's convolutions\n"
    )
    heads = ["C", "d", "network", "block", "", "MACs", "", "params", "", "acts", ""]
    for by, title in (("by_block", "nearest in the weights of a block"), ("by_macs", "nearest in multiply-adds")):
        rows = []
        for row in answer[by]:
            if "problem" in row:
                rows.append([row["cardinality"], "", row["problem"]] + [""] * 8)
                continue
            figures = [
                cell
                for key in ("block", "macs", "params", "acts")
                for cell in (format_count(row[key], 4), f"{row['deviation'][key]:+.1%}")
            ]
            rows.append([row["cardinality"], row["base_width"], row["name"], *figures])
        made = render.table(heads, rows, title=title)
        made.columns[2].justify = "left"
        console.print(made)


def word(value: object) -> str:
    """Return a value as YAML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(values: Iterable[Any]) -> str:
    found = list(values)
    if len(found) > 4 and found == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return " ".join(map(word, found))


def _range(spread: Spread) -> str:
    least, greatest = spread.range
    return f"{word(least)}..{word(greatest)}"


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if len(counts) > _LONG:
        mean = sum(int(v) * n for v, n in counts.items()) / total
        spread = math.sqrt(sum((int(v) - mean) ** 2 * n for v, n in counts.items()) / total)
        return f"mean {mean:.1f}, deviation {spread:.1f}"
    return " ".join(f"{100 * n / total:.0f}" for n in counts.values())
