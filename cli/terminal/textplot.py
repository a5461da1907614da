"""Draws plots of characters for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nxt.units import format_cost

from . import tables

if TYPE_CHECKING:
    from rich.text import Text

LEAST = 6  # lines that a plot needs
_MARGIN = 8  # columns left of the plot
# Mark and style of each kind of point; later kinds cover earlier ones.
_MARKS = {"other": ("\u00b7", "dim"), "front": ("o", "bold green"), "reference": ("R", "bold magenta")}
_LEGEND = "o front  R reference  \u00b7 other"


@dataclass(frozen=True)
class Point:
    """An architecture in a plot: its cost, its accuracy in 0..1, and a kind of `_MARKS`."""

    cost: float
    accuracy: float
    kind: str


def front_plot(points: Sequence[Point], cost: str, width: int, height: int) -> list[Text]:
    """Returns a plot of accuracy against the logarithm of cost, in lines of at most `width` columns.

    Args:
        points: At least one.
        cost: Name of the cost.
        width: Columns.
        height: Lines, with axis and labels; at least LEAST.
    """
    from rich.text import Text

    rows, columns = height - 2, width - _MARGIN
    places = _places([math.log(p.cost) for p in points], columns), _places([p.accuracy for p in points], rows)
    cells: dict[tuple[int, int], str] = {}
    for kind in _MARKS:
        cells |= {(y, x): kind for point, x, y in zip(points, *places, strict=True) if point.kind == kind}
    high, low = max(p.accuracy for p in points), min(p.accuracy for p in points)
    lines = []
    for y in reversed(range(rows)):
        label = tables.percent(high) if y == rows - 1 else tables.percent(low) if y == 0 and high > low else ""
        line = Text(f"{label:>{_MARGIN - 2}} \u2502")
        for x in range(columns):
            mark, style = _MARKS[cells[y, x]] if (y, x) in cells else (" ", "")
            line.append(mark, style)
        line.rstrip()
        lines.append(line)
    lines.append(Text(" " * (_MARGIN - 1) + "\u2514" + "\u2500" * columns))
    lines.append(Text(" " * _MARGIN + _labels([p.cost for p in points], cost, columns), style="dim"))
    return lines


def _places(values: Sequence[float], cells: int) -> list[int]:
    """Returns the cell of each value, 0 for the lowest to `cells` - 1 for the highest; the middle if all are equal."""
    low, span = min(values), max(values) - min(values)
    return [round((value - low) / span * (cells - 1)) if span else (cells - 1) // 2 for value in values]


def _labels(costs: Sequence[float], name: str, columns: int) -> str:
    """Returns the line under the axis: lowest cost, the legend if there is room, highest cost."""
    low, high = format_cost(name, min(costs)), format_cost(name, max(costs))
    if low == high:
        low = ""
    room = columns - len(low) - len(high) - 4
    middle = f"{name}   {_LEGEND}"
    middle = middle if len(middle) <= room else name if len(name) <= room else ""
    return f"{low}{middle:^{columns - len(low) - len(high)}}{high}"
