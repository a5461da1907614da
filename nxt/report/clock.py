"""Trials over wall time: when each ran, and how the hypervolume of what was found grew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from nxt.pareto import hypervolume
from nxt.report.subject import Span
from nxt.search.trial import Trial


@dataclass(frozen=True)
class Bar:
    """A trial's time in a lane, from the search's beginning on, in seconds."""

    trial: Trial
    lane: int
    begun: float
    ended: float


def lanes(trials: Sequence[Trial], times: Mapping[int, Span]) -> list[Bar]:
    """Lay trials into as few lanes as hold them without overlap: each, by beginning, into the first that is free.

    Which worker trained a trial is not recorded. One that has not ended counts as long as its epochs took.
    """
    known = sorted(
        (trial for trial in trials if trial.number in times), key=lambda t: (times[t.number].begun, t.number)
    )
    if not known:
        return []
    start = times[known[0].number].begun
    bars: list[Bar] = []
    free: list[float] = []
    for trial in known:
        begun = (times[trial.number].begun - start).total_seconds()
        ended = _ended(trial, times[trial.number], start)
        lane = next((index for index, since in enumerate(free) if since <= begun), len(free))
        free[lane : lane + 1] = [ended]
        bars.append(Bar(trial, lane, begun, ended))
    return bars


def growth(trials: Sequence[Trial], times: Mapping[int, Span], objective: str) -> list[tuple[float, float]]:
    """Return (seconds since the first trial began, hypervolume found by then) after each trial that ended.

    Accuracy and log cost are scaled to the range of these trials; the reference point is the lowest accuracy at the
    highest cost. The last value is 1, except where no trial is both cheaper and better than the worst: then there is
    no hypervolume, and nothing is returned.
    """
    spans = {trial.number: times[trial.number] for trial in trials if trial.number in times}
    ended = {number: span.ended for number, span in spans.items() if span.ended is not None}
    known = sorted((trial for trial in trials if trial.number in ended), key=lambda trial: ended[trial.number])
    if not known:
        return []
    costs = _scaled([math.log(getattr(trial.cost, objective)) for trial in known])
    points = list(zip(costs, _scaled([trial.accuracy or 0.0 for trial in known]), strict=True))
    whole = hypervolume(points, (1.0, 0.0))
    if not whole:
        return []
    start = min(span.begun for span in times.values())
    return [
        ((ended[trial.number] - start).total_seconds(), hypervolume(points[: count + 1], (1.0, 0.0)) / whole)
        for count, trial in enumerate(known)
    ]


def _ended(trial: Trial, span: Span, start: datetime) -> float:
    if span.ended is not None:
        return (span.ended - start).total_seconds()
    return (span.begun - start).total_seconds() + trial.seconds


def _scaled(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / ((high - low) or 1.0) for value in values]
