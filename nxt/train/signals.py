"""Signals that stop a training: Ctrl-C, a terminal that closes, a machine that is about to be taken away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nxt.errors import NxtError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StoppedError(NxtError):
    """A training was stopped by a signal, `signal`, and has saved its state."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class Stop:
    """The signal that asks to stop, by its number; None so far."""

    signal: int | None = None


@contextmanager
def stopping() -> Iterator[Stop]:
    """Notes the first of `SIGNALS` during the block instead of ending; a second one ends as usual.

    Outside the main thread, where Python allows no handlers, nothing is noted.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _frame: FrameType | None) -> None:
        stop.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
