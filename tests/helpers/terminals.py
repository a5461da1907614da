"""Terminals that tests make: a pseudo-terminal for a process, and a stream that takes itself for a terminal."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from unittest import mock

from limits import LONG
from nxt.cli.main import main

WIDTHS = (60, 80, 100, 200)
RULE = "\u2500"
LEFT_OUT = re.compile(r"\(no room here for ([^;]*); a wider terminal, a file and --json have (?:it|them)\)")


class _Terminal(io.StringIO):
    """What takes itself for a terminal."""

    def isatty(self):
        """Say so."""
        return True


@contextlib.contextmanager
def on_terminal(width):
    """Let what is printed go to a terminal of a width, without colours."""
    environment = {"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "xterm"}
    out = _Terminal()
    with mock.patch.dict(os.environ, environment), contextlib.redirect_stdout(out):
        yield out


def shown(width, *arguments):
    """Return what a command prints on a terminal of a width."""
    with (
        on_terminal(width) as out,
        mock.patch.object(sys, "argv", ["nxt", *map(str, arguments)]),
        contextlib.suppress(SystemExit),
    ):
        main()
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


def words(text):
    """Return the words of a text, without the notes about what was left out."""
    return set(LEFT_OUT.sub("", " ".join(text.split())).replace(RULE, "").split())


def left_out(text):
    """Return the names of the columns that were left out somewhere."""
    return {name for names in LEFT_OUT.findall(" ".join(text.split())) for name in names.split(", ")}


@contextlib.contextmanager
def terminal(command, width=80, height=24, **environment):
    """Run a command on a pseudo-terminal and give (process, function that reads what came until some text is in it)."""
    ours, theirs = pty.openpty()
    resize(theirs, width, height)
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    env |= {"TERM": "xterm", **environment}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    text = bytearray()

    def read(until=None, seconds=LONG):
        deadline = time.monotonic() + seconds
        os.set_blocking(ours, False)
        while time.monotonic() < deadline and (until is None or until not in text.decode(errors="replace")):
            ended = process.poll() is not None  # before the look: what it wrote last is there by now
            try:
                chunk = os.read(ours, 65536)
                if not chunk:
                    break
                text.extend(chunk)
            except BlockingIOError:
                if ended and until is None:
                    break
                time.sleep(0.02)
            except OSError:  # the other end is closed
                break
        found = text.decode(errors="replace")
        assert until is None or until in found, found
        return found.replace("\r\n", "\n")

    process.resize = lambda columns, rows: resize(theirs, columns, rows)
    try:
        yield process, read
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


def resize(terminal, width, height):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
