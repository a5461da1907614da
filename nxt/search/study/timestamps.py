"""When trials ran, by the clock of the searching machine: another process estimates a search's pace from it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from nxt.errors import RunError
from nxt.search.trial import Trial

_LATEST = 3  # number of latest trials that show how many run at a time; the number of workers may have changed before


@dataclass(frozen=True)
class Span:
    """When a trial began and ended (None: not yet)."""

    begun: datetime
    ended: datetime | None


def read_times(study: Path) -> dict[int, Span]:
    """Returns when each trial began and ended, by number, from Optuna's table of trials.

    Raises:
        RunError: if the study cannot be read.
    """
    query = "select number, datetime_start, datetime_complete from trials where datetime_start is not null"
    try:
        with contextlib.closing(sqlite3.connect(f"{study.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(query).fetchall()
        parse = datetime.fromisoformat
        return {number: Span(parse(begun), parse(ended) if ended else None) for number, begun, ended in rows}
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise RunError(f"{study}: the times of its trials cannot be read ({error})") from None


def slowdown(trials: Iterable[Trial], times: Mapping[int, Span]) -> float:
    """Returns the median ratio of a trial's duration to its training time; a median, because of interrupted trials.

    The first trials, which wait for their workers to start, do not count: those that began before any had ended.
    """
    first = min((span.ended for span in times.values() if span.ended), default=None)
    spans = [(times.get(trial.number), trial.seconds) for trial in trials if trial.curve and not trial.replayed]
    later = [(span, trained) for span, trained in spans if span and first and span.begun >= first]
    ratios = [(span.ended - span.begun).total_seconds() / trained for span, trained in later if span.ended and trained]
    return max(1.0, median(ratios)) if ratios else 1.0


def together(times: Mapping[int, Span]) -> int:
    """Returns how many trials run at a time: the most that were running when one of the latest began."""
    spans = sorted(times.values(), key=lambda span: span.begun)
    counts = [
        sum(span.begun <= latest.begun and (span.ended is None or span.ended > latest.begun) for span in spans)
        for latest in spans[-_LATEST:]
    ]
    return max(counts, default=1)
