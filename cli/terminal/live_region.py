"""Draws lines that change in place on a terminal, twice a second, and removes them at the end."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from nxt.units import format_seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_RATE = 2  # redraws a second
# Prints its first argument on the terminal's main screen, unless it reads a line before its input ends.
_LAST_WORDS = r"""read -r line || printf '\033[?1049l\033[?25h%s\n' "$1" >&2"""

Draw = Callable[[int, int], "list[Text]"]  # width, height -> lines that fit


def moves(console: Console) -> bool:
    """Returns whether lines can be redrawn: not in a file (even with FORCE_COLOR), and not if TERM is dumb."""
    return console.is_interactive and console.file.isatty()


@contextmanager
def line(console: Console, draw: Draw) -> Iterator[None]:
    """Shows the first line that `draw` returns, during the block; other output appears above it.

    The cursor stays visible, so that the terminal is in order if the program is killed.
    """
    from rich.live import Live
    from rich.text import Text

    drawn, columns = 0, console.width

    def shown() -> Text:
        nonlocal drawn, columns
        if columns != console.width:  # the terminal has wrapped the line again: it now takes more rows
            columns = console.width
            _erase(console, math.ceil(drawn / columns) - 1)
        text = next(iter(draw(columns, 1)), Text())
        text.truncate(columns - 1, overflow="ellipsis")
        drawn = text.cell_len
        return text

    with Live(get_renderable=shown, console=console, refresh_per_second=_RATE, transient=True):
        console.show_cursor(True)
        yield


@contextmanager
def busy(console: Console, doing: Callable[[], str]) -> Iterator[None]:
    """Shows on a terminal what is being done, and for how long, during the block; in a log file nothing."""
    from rich.text import Text

    began = time.monotonic()

    def draw(width: int, height: int) -> list[Text]:
        return [Text(f"{doing()}, {format_seconds(time.monotonic() - began)} gone")]

    with line(console, draw) if moves(console) else nullcontext():
        yield


def _erase(console: Console, rows: int) -> None:
    """Clears `rows` rows from the cursor upwards, and leaves the cursor above them."""
    from rich.control import Control
    from rich.segment import ControlType

    if rows > 0:
        console.control(Control(*[(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * rows))


@contextmanager
def screen(draw: Draw, if_killed: str) -> Iterator[None]:
    """Shows what `draw` returns on the alternate screen of the terminal behind stderr, during the block.

    On the alternate screen nothing is left over when the window changes its size, and output that libraries write
    outside Python disappears within half a second. Python's output during the block is printed after it.

    Args:
        draw: Returns the lines for a width and a height.
        if_killed: The text that the terminal shows if this process is killed.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    terminal, held = sys.stderr, _Held()
    console = Console(file=terminal, highlight=False, markup=False, emoji=False)

    def shown() -> Text:
        lines = draw(console.width, console.height)[: console.height]
        for text in lines:
            text.truncate(console.width, overflow="ellipsis")
        return Text("\n", no_wrap=True).join(lines)

    view = Live(
        get_renderable=shown, console=console, screen=True, refresh_per_second=_RATE,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    try:
        with _witness(if_killed), view, redirect_stdout(held), redirect_stderr(held):
            yield
    finally:
        terminal.write(held.getvalue())
        terminal.flush()


class _Held(io.StringIO):
    """Stores output for later; has a file descriptor because some libraries need one."""

    def fileno(self) -> int:
        return 2


@contextmanager
def _witness(message: str) -> Iterator[None]:
    """Starts a small process that restores the main screen and prints `message` there if this process is killed."""
    command = ["/bin/sh", "-c", _LAST_WORDS, "sh", message]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield
        finally:
            process.communicate(b"\n")
