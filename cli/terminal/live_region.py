"""What moves on a terminal: drawn in place, seldom, and gone at the end."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_TIMES = 2  # a second
# Says its first argument on the terminal's main screen unless it reads a line before its input ends.
_LAST_WORDS = r"""read -r line || printf '\033[?1049l\033[?25h%s\n' "$1" >&2"""

Draw = Callable[[int, int], "list[Text]"]  # width, height -> lines that fit


def moves(console: Console) -> bool:
    """Tell whether lines can be drawn anew there: not in a file, whatever FORCE_COLOR says, nor if TERM is dumb."""
    return console.is_interactive and console.file.isatty()


@contextmanager
def line(console: Console, draw: Draw) -> Iterator[None]:
    """Show the first line that `draw` gives, for the time of the block; what others print appears above it.

    The cursor stays visible, so that a terminal whose program is killed is as it should be.
    """
    from rich.live import Live
    from rich.text import Text

    drawn, columns = 0, console.width

    def shown() -> Text:
        nonlocal drawn, columns
        if columns != console.width:  # the terminal has wrapped the line anew: more rows are to go than were drawn
            columns = console.width
            _erase(console, math.ceil(drawn / columns) - 1)
        found = next(iter(draw(columns, 1)), Text())
        found.truncate(columns - 1, overflow="ellipsis")
        drawn = found.cell_len
        return found

    with Live(get_renderable=shown, console=console, refresh_per_second=_TIMES, transient=True):
        console.show_cursor(True)
        yield


def _erase(console: Console, rows: int) -> None:
    """Clear so many rows, from the cursor's own upwards, and leave the cursor above them."""
    from rich.control import Control
    from rich.segment import ControlType

    if rows > 0:
        console.control(Control(*[(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * rows))


@contextmanager
def screen(draw: Draw, if_killed: str) -> Iterator[None]:
    """Show what `draw` gives on the terminal behind stderr, on its other screen, for the time of the block.

    So nothing is left when the window changes its size, and what libraries write past Python lasts half a second. What
    is printed meanwhile is said afterwards.

    Args:
        draw: Gives the lines for a size.
        if_killed: What the terminal is told if this process goes without a word.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    terminal, held = sys.stderr, _Held()
    console = Console(file=terminal, highlight=False, markup=False, emoji=False)

    def shown() -> Text:
        found = draw(console.width, console.height)[: console.height]
        for text in found:
            text.truncate(console.width, overflow="ellipsis")
        return Text("\n", no_wrap=True).join(found)

    view = Live(
        get_renderable=shown, console=console, screen=True, refresh_per_second=_TIMES,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    try:
        with _witness(if_killed), view, redirect_stdout(held), redirect_stderr(held):
            yield
    finally:
        terminal.write(held.getvalue())
        terminal.flush()


class _Held(io.StringIO):
    """Text kept for later in the place of a terminal, whose descriptor some libraries ask for."""

    def fileno(self) -> int:
        return 2


@contextmanager
def _witness(words: str) -> Iterator[None]:
    """Have a small process give the terminal its main screen back, and say something, if this one is killed."""
    command = ["/bin/sh", "-c", _LAST_WORDS, "sh", words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as other:
        try:
            yield
        finally:
            other.communicate(b"\n")
