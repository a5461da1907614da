"""What goes to a terminal: tables on stdout, messages on stderr, JSON without decoration."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

COST_LABELS = {"macs": "MACs", "params": "params", "acts": "acts", "memory": "bytes"}  # fields of `Cost`
_GAP = 3  # columns between two of a table, as rich draws them


def print_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def out() -> Console:
    """Return the console for results. Not cut off when piped: wide tables are for scripts to read."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)


def err() -> Console:
    """Return the console for progress and messages."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, width=None if sys.stderr.isatty() else 200)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """Return a plain table; every column but the first is aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False, show_edge=False
    )
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made


def say(text: str) -> None:
    """Print a sentence to stdout: broken between words on a terminal, on one line elsewhere."""
    console = out()
    console.print(text, soft_wrap=not console.is_terminal)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], spare: Sequence[str], title: str | None = None
) -> None:
    """Print a table to stdout; on a terminal that is too narrow, without columns of `spare`, its first one first."""
    console = out()
    header, fitted = fitting(columns, rows, console.width, spare) if console.is_terminal else (columns, rows)
    console.print(table(header, fitted, title=title))
    if len(header) < len(columns):
        left_out = ", ".join(name for name in columns if name not in header)
        console.print(f"(no room here for {left_out}; a wider terminal, a file and --json have them)")


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[object]], width: int, spare: Sequence[str], gap: int = _GAP
) -> tuple[list[str], list[list[str]]]:
    """Leave out columns until a table fits a width: those of `spare`, its first one first."""
    cells = [[str(cell) for cell in row] for row in rows]
    wide = {name: max(map(len, (name, *(row[i] for row in cells)))) for i, name in enumerate(columns)}
    for name in spare:
        if sum(wide.values()) + gap * (len(wide) - 1) <= width:
            break
        wide.pop(name, None)
    kept = [i for i, name in enumerate(columns) if name in wide]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in cells]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns are aligned, figures to the right."""
    lines = []
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{c:>{n}}" if c[:1].isdigit() else f"{c:<{n}}" for c, n in zip(row, sizes, strict=True))
        lines.append("  ".join(cells).rstrip())
    return lines


def bar(share: float, width: int) -> Text:
    """Return a bar of which a share, in 0..1, is full."""
    from rich.text import Text

    full = round(min(1.0, max(0.0, share)) * width)
    return Text.assemble(("\u2501" * full, "bold green"), ("\u2500" * (width - full), "dim"))


def percent(value: float | None) -> str:
    """Render a share: `93.4%`, or a dash where there is none."""
    return "-" if value is None else f"{value:.1%}"
