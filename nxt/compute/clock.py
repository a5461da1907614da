"""Times what runs, by the clock on the wall; no torch."""

from __future__ import annotations

import time
from collections.abc import Callable


def wall_seconds(run: Callable[[], object], count: int) -> list[float]:
    """Runs something `count` times in a row, and returns the seconds of each run by the clock."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds
