"""Prints tables and sentences to stdout, messages to stderr, and JSON without decoration."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_GAP = 3  # characters between two columns of a table
_ROOM = 16  # least width of a last column that is wrapped


def print_json(value: Any) -> None:
    """Writes one JSON document to stdout."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def out() -> Console:
    """Returns the console for results. Piped output is 200 columns wide, so that scripts read whole tables."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)


def err() -> Console:
    """Returns the console for progress and messages."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, width=None if sys.stderr.isatty() else 200)


def note(text: str) -> None:
    """Prints a sentence of the library's to stderr, on one line."""
    err().print(text, soft_wrap=True)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], left: Collection[str]) -> Text:
    """Returns a plain table; the first column and those in `left` are aligned to the left, all others to the right.

    This is text and not a table of rich, which would break cells that do not fit.
    """
    from rich.cells import cell_len
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    sizes = _sizes(columns, cells)
    to_left = [index == 0 or name in left for index, name in enumerate(columns)]

    def line(row: Sequence[str]) -> str:
        blanks = (" " * (size - cell_len(cell)) for cell, size in zip(row, sizes, strict=True))
        padded = (c + b if lefts else b + c for c, b, lefts in zip(row, blanks, to_left, strict=True))
        return (" " * _GAP).join(padded).rstrip()

    rule = "-" if out().options.ascii_only else "\u2500"
    body = [rule * (sum(sizes) + _GAP * (len(sizes) - 1)), *map(line, cells)]
    return Text.assemble((line(columns), "bold"), "\n", "\n".join(body))


def say(text: str) -> None:
    """Prints a sentence to stdout: wrapped between words on a terminal, else on one line."""
    console = out()
    console.print(text, soft_wrap=not console.is_terminal)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    spare: Sequence[str],
    title: str | None = None,
    left: Collection[str] = (),
) -> None:
    """Prints a table to stdout; on a narrow terminal, columns of `spare` are left out, the first one first.

    If that is not enough and the last column is in `left`, it is wrapped between words. Other cells are never broken:
    their rows are longer than the terminal is wide.
    """
    from rich.text import Text

    console = out()
    header, fitted = fitting(columns, rows, console.width if console.is_terminal else sys.maxsize, spare)
    if console.is_terminal and header[-1] in left:
        fitted = _wrapped(header, fitted, console.width)
    if title:
        console.print(Text(title, "bold"), soft_wrap=not console.is_terminal)
    console.print(_table(header, fitted, left), soft_wrap=True)
    if len(header) < len(columns):
        left_out = ", ".join(name for name in columns if name not in header)
        console.print(f"(no room here for {left_out}; a wider terminal, a file and --json have them)")


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[object]], width: int, spare: Sequence[str], gap: int = _GAP
) -> tuple[list[str], list[list[str]]]:
    """Returns the table that fits a width: columns of `spare` are left out in order as far as necessary."""
    cells = [[str(cell) for cell in row] for row in rows]
    sizes = dict(zip(columns, _sizes(columns, cells), strict=True))
    for name in spare:
        if sum(sizes.values()) + gap * (len(sizes) - 1) <= width:
            break
        sizes.pop(name, None)
    kept = [i for i, name in enumerate(columns) if name in sizes]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in cells]


def _sizes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Returns the width of each column on a terminal, in characters."""
    from rich.cells import cell_len

    return [max(cell_len(row[index]) for row in (columns, *rows)) for index in range(len(columns))]


def _wrapped(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """Wraps the last column between words to fit a width; its further lines become rows below."""
    room = max(_ROOM, width - sum(size + _GAP for size in _sizes(columns, rows)[:-1]))
    wrapped = []
    for *cells, text in rows:
        lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        wrapped += [[*cells, lines[0]], *([""] * len(cells) + [line] for line in lines[1:])]
    return wrapped


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns rows as lines with aligned columns; cells that begin with a digit are aligned to the right."""
    lines = []
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{c:>{n}}" if c[:1].isdigit() else f"{c:<{n}}" for c, n in zip(row, sizes, strict=True))
        lines.append("  ".join(cells).rstrip())
    return lines


@contextmanager
def counted(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Gives what shows on stderr how many of something are done: a bar on a terminal, else a line now and then."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=None)
        shown: dict[str, int] = {}

        def show(kind: str, done: int, total: int) -> None:
            progress.update(task, description=f"{what} {kind}", completed=done, total=total)
            if not console.is_terminal and 10 * done // max(1, total) > shown.get(kind, -1):
                shown[kind] = 10 * done // max(1, total)
                console.print(f"{what} {kind}: {done} of {total}")

        yield show


def bar(share: float, width: int) -> Text:
    """Returns a progress bar, full up to a share in 0..1."""
    from rich.text import Text

    full = round(min(1.0, max(0.0, share)) * width)
    return Text.assemble(("\u2501" * full, "bold green"), ("\u2500" * (width - full), "dim"))


def percent(value: float | None) -> str:
    """Returns a share as text such as `93.4%`; a dash for None."""
    return "-" if value is None else f"{value:.1%}"
