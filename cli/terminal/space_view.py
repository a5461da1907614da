"""Prints the results of `nxt space` as tables for people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nxt.units import format_count

from . import tables

if TYPE_CHECKING:
    from nxt.space.coverage import Axis, Lint

_LONG = 12  # values of an axis; with more, their shares are summarised
_CHANGED = 2  # values of an axis whose shares a lint shows


def print_space(answer: Mapping[str, Any]) -> None:
    """Prints the axes of a space, and with a budget the share that fits."""
    tables.say(f"{answer['name']}: {answer['about']}\n")
    spread = answer.get("spread")
    if spread:
        rows = [[axis, len(by), _shares(by, spread[axis])] for axis, by in answer["axes"].items()]
    else:
        rows = [[axis, len(by), _values(by)] for axis, by in _grouped(answer["axes"]).items()]
    last = "values: share of the feasible" if spread else "which"
    tables.print_table(["axis", "values", last], rows, [], left=[last])
    tables.say("fixed: " + ", ".join(f"{key} {word(value)}" for key, value in answer["fixed"].items()))
    tables.say(f"architectures: {answer['size']:,}")
    if spread:
        share = 100 * answer["feasible"] / answer["size"]
        counted = "{size} px, {classes} classes".format(**answer["counted"])
        tables.say(f"inside the budget ({answer['budget']}; {counted}): {answer['feasible']:,} ({share:.3g} %)")
        references = ", ".join(f"{name} ({family})" for family, name in answer["references"].items())
        tables.say(f"references: {references or 'none fits'}")


def _grouped(axes: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Joins axes of neighbouring stages with the same values into one line: "depth1 to depth3"."""
    lines: dict[str, list[Any]] = {}
    for name, same in itertools.groupby(axes, key=lambda axis: (axis.rstrip("12345678"), axes[axis])):
        group = list(same)
        lines[group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}"] = name[1]
    return lines


def print_lint(lint: Lint) -> None:
    """Prints the whole space beside the part inside the budget."""
    space, feasible = lint.space, lint.feasible
    tables.say(f"combinations: {space.combinations:,}")
    for reason, n in space.left_out.items():
        tables.say(f"  {reason}: {n:,}")
    tables.say(f"architectures, all of them distinct networks: {space.size:,}")
    tables.say(f"inside the budget ({lint.budget}): {feasible:,} ({100 * feasible / space.size:.3g} %)\n")
    rows = [
        [name, len(axis.before.counts), f"{axis.before.mean:.4g}", f"{axis.after.mean:.4g}", _changed(axis)]
        for name, axis in lint.axes.items()
    ]
    columns = ["axis", "values", "mean", "inside", "shares that change most"]
    tables.print_table(columns, rows, ["values"], left=columns[-1:])
    for text, values in (
        ("never inside", {name: axis.never for name, axis in lint.axes.items()}),
        ("in less than 0.1 %", {name: axis.nearly_never for name, axis in lint.axes.items()}),
    ):
        listing = "; ".join(f"{name} {_values(some)}" for name, some in values.items() if some)
        tables.say(f"{text}: {listing or 'no value'}")
    tables.say("The shares of the other values change less; --json has them all.")


def print_family(answer: Mapping[str, Any]) -> None:
    """Prints a family of equal complexity, by both measures."""
    reference = answer["reference"]
    tables.say(
        f"reference: {reference['name']}, {format_count(reference['macs'], 4)} MACs, "
        f"{format_count(reference['params'], 4)} params, {format_count(reference['acts'], 4)} acts, "
        f"{reference['block']:,} weights in a block's convolutions\n"
    )
    heads = ["C", "d", "network", "block", "MACs", "params", "acts"]
    for by, title, spare in (
        ("by_block", "nearest in the weights of a block", ["acts", "params", "MACs"]),
        ("by_macs", "nearest in multiply-adds", ["acts", "params", "block"]),
    ):
        rows = [
            [row["cardinality"], row["base_width"], row["name"], *_deviations(row)]
            for row in answer[by]
            if "problem" not in row
        ]
        tables.print_table(heads, rows, spare, title, left=["network"])
        for row in answer[by]:
            if "problem" in row:
                tables.say(f"no network for C = {row['cardinality']}: {row['problem']}")


def _deviations(row: Mapping[str, Any]) -> list[str]:
    """Returns each cost of a network and its deviation from the reference in one cell, so that both stay together."""
    costs = ("block", "macs", "params", "acts")
    return [f"{format_count(row[key], 4)} {row['deviation'][key]:>+6.1%}" for key in costs]


def word(value: object) -> str:
    """Returns a value as YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(values: Iterable[Any]) -> str:
    listed = list(values)
    if len(listed) > 4 and listed == list(range(listed[0], listed[-1] + 1)):
        return f"{listed[0]} to {listed[-1]}"
    return " ".join(map(word, listed))


def _changed(axis: Axis) -> str:
    """Returns the values whose shares a budget changes most, with both shares."""
    shares = {
        value: tuple(spread.counts[value] / spread.total for spread in (axis.before, axis.after))
        for value in axis.before.counts
    }
    most = sorted(shares, key=lambda value: -abs(shares[value][1] - shares[value][0]))[:_CHANGED]
    return " ".join(f"{word(value)}:{'->'.join(map(tables.percent, shares[value]))}" for value in most)


def _shares(values: Iterable[Any], counts: Mapping[str, int]) -> str:
    """Returns the values of an axis, each with its share of the feasible architectures."""
    total = sum(counts.values())
    if len(counts) > _LONG:
        mean = sum(int(v) * n for v, n in counts.items()) / total
        spread = math.sqrt(sum((int(v) - mean) ** 2 * n for v, n in counts.items()) / total)
        return f"{_values(values)}: mean {mean:.1f}, deviation {spread:.1f}"
    return " ".join(f"{word(value)}:{n / total:.0%}" for value, n in zip(values, counts.values(), strict=True))
