"""Ends a process whose training hangs, as told by its progress and not by the clock.

A thread ticks about once a second and counts its ticks since the last sign of life. A process that is stopped, in a
paused container or on a suspended laptop, does not tick; on a busy machine steps become slower, but they are made.
"""

from __future__ import annotations

import faulthandler
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_TICK = 1.0  # seconds
_LEAST = 300.0  # ticks always granted to a step, unless less patience is asked for
_MULTIPLE = 20.0  # a step that takes so many times longer than the slowest so far has come to a halt
_NET = 4 * 3600.0  # seconds, at least, without a tick: then Python itself hangs


class Watchdog:
    """Watches one trial. The thread that trains calls `beat` and `step`; both only set an attribute.

    Args:
        patience: Seconds granted without a sign of life while a trial starts: opening its data, starting CUDA,
            compiling and tuning, up to the end of its first step. Later steps have less.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._alive = self._stepping = False
        self._silent = self._longest = 0.0  # ticks since the last sign of life; and at most between two steps

    def starting(self) -> None:
        """Notes that the trial starts (anew): until its first step it has all patience."""
        self._stepping, self._alive = False, True

    def beat(self, *_: object) -> None:
        """Notes a sign of life, such as images that were decoded."""
        self._alive = True

    def step(self) -> None:
        """Notes that a step was made, or a batch of a measurement."""
        self._stepping = self._alive = True

    @property
    def allowed(self) -> float:
        """Ticks granted without a sign of life, as things are."""
        least = min(self._patience, _LEAST) if self._stepping else self._patience
        return max(least, _MULTIPLE * self._longest)

    def tick(self) -> bool:
        """Counts a tick, and tells whether the trial hangs."""
        if self._alive:
            self._alive = False
            if self._stepping:
                self._longest = max(self._longest, self._silent)
            self._silent = 0.0
        else:
            self._silent += 1
        return self._silent > self.allowed

    @contextmanager
    def watching(self, hung: Path) -> Iterator[None]:
        """Ends this process, leaving the stacks of its threads in a file, if it hangs in the block.

        What never gives control back to Python does not let the thread tick either. A second watch, a thread in C, ends
        that; it only has the clock, and much more patience.
        """
        self._alive = True
        over = threading.Event()
        with _opened(hung) as file:
            thread = threading.Thread(target=self._watch, args=(file, over), name="watchdog", daemon=True)
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()
                hung.unlink(missing_ok=True)

    def _watch(self, file: IO[str], over: threading.Event) -> None:
        try:
            while True:
                faulthandler.dump_traceback_later(max(_NET, 4 * self.allowed), exit=True, file=file)
                if over.wait(_TICK):
                    return
                if self.tick():
                    minutes, seconds = divmod(round(self._silent * _TICK), 60)
                    file.write(f"Timeout ({minutes // 60}:{minutes % 60:02}:{seconds:02})!\n")  # as the thread in C
                    file.flush()
                    faulthandler.dump_traceback(file=file)
                    os._exit(1)
        finally:
            faulthandler.cancel_dump_traceback_later()


def _opened(path: Path) -> IO[str]:
    """Opens a file for writing; on a full disk, or where this machine has no such folder, one that nobody reads."""
    try:
        return path.open("w")
    except OSError:
        return tempfile.TemporaryFile("w")


def hang_of(path: Path) -> str:
    """Says for how long a watched process made no step, and where it was, by what it left; empty if it did not hang."""
    try:
        stacks = path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
    if not stacks:
        return ""
    limit = re.match(r"Timeout \((\d+):(\d+):([\d.]+)\)!", stacks)
    seconds = sum(60**k * float(part) for k, part in enumerate(reversed(limit.groups()))) if limit else 0
    threads = [re.findall(r'File "(.+)", line (\d+) in (\S+)', thread) for thread in stacks.split("\n\n")]
    others = [frames for frames in threads if not any(_is(file, "watchdog.py") for file, *_ in frames)]
    own = [frames for frames in others if any(_is(file, "worker.py") for file, *_ in frames)]
    inner = next(iter((own or others or threads)[0]), None)
    place = f"in {Path(inner[0]).name}:{inner[1]} ({inner[2]})" if inner else "in no Python code"
    return f"no step was made for {seconds:.0f} s, {place}"


def _is(file: str, name: str) -> bool:
    """Tells whether a file, of this or another machine, is the module of that name beside this one."""
    return Path(file).parts[-2:] == (Path(__file__).parent.name, name)
