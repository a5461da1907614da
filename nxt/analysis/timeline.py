"""Puts trials on a time axis: when each ran, and how the hypervolume grew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from nxt.pareto import hypervolume
from nxt.search.study.timestamps import Span
from nxt.search.trial import Trial

_WORST = (1.0, 0.0)  # the scaled reference point of hypervolumes: the highest cost, the lowest accuracy
_ORDERS = 100  # random orders of the drawn trials
_POINTS = 60  # most trials after which the hypervolume is computed


@dataclass(frozen=True)
class Bar:
    """A trial's time in a lane, in seconds since the search began."""

    trial: Trial
    lane: int
    begun: float
    ended: float


def lanes(trials: Sequence[Trial], times: Mapping[int, Span]) -> list[Bar]:
    """Returns trials in lanes without overlap: in order of beginning, each trial takes the first free lane.

    The worker of a trial is not recorded. A trial that has not ended has the length of its epochs.
    """
    timed = [trial for trial in trials if trial.number in times]
    timed.sort(key=lambda trial: (times[trial.number].begun, trial.number))
    if not timed:
        return []
    start = times[timed[0].number].begun
    bars: list[Bar] = []
    free: list[float] = []
    for trial in timed:
        begun = (times[trial.number].begun - start).total_seconds()
        ended = _ended(trial, times[trial.number], start)
        lane = next((index for index, since in enumerate(free) if since <= begun), len(free))
        free[lane : lane + 1] = [ended]
        bars.append(Bar(trial, lane, begun, ended))
    return bars


def growth(
    trials: Sequence[Trial], times: Mapping[int, Span], objective: str, among: Sequence[Trial] = ()
) -> list[tuple[float, float]]:
    """Returns (seconds since the first trial began, hypervolume by then) after each trial that ended.

    Accuracy and log cost are scaled to the range of these trials and of those in `among`; the reference point is the
    lowest accuracy at the highest cost. The hypervolume of all of them together is scaled to 1. If it is 0, since no
    trial is both cheaper and better than the worst, the result is empty.
    """
    placed, whole = _placed(trials, times, objective, among)
    if not whole:
        return []
    points = [trial.point for trial in placed]
    return [(trial.at, hypervolume(points[: i + 1], _WORST) / whole) for i, trial in enumerate(placed)]


def growth_by_chance(
    trials: Sequence[Trial], times: Mapping[int, Span], objective: str, among: Sequence[Trial] = ()
) -> list[tuple[float, float, float, float]]:
    """Returns (seconds, mean, 5 %, 95 %) of the hypervolume over random orders of the drawn trials.

    The references, with which every search begins, keep their places. With many trials, only some are listed.
    """
    placed, whole = _placed(trials, times, objective, among)
    if not whole:
        return []
    points = np.array([trial.point for trial in placed])
    drawn = [index for index, trial in enumerate(placed) if not trial.trial.family]
    ends = np.unique(np.linspace(0, len(placed) - 1, min(len(placed), _POINTS)).astype(int)).tolist()
    rng, shares = np.random.default_rng(0), np.zeros((_ORDERS, len(ends)))
    for row in shares:
        mixed = points.copy()
        mixed[drawn] = points[rng.permutation(drawn)]
        row[:] = [hypervolume(mixed[: last + 1].tolist(), _WORST) / whole for last in ends]
    figures = np.vstack([shares.mean(axis=0), np.quantile(shares, [0.05, 0.95], axis=0)]).T.tolist()
    return [(placed[last].at, mean, low, high) for last, (mean, low, high) in zip(ends, figures, strict=True)]


@dataclass(frozen=True)
class _Placed:
    """A trial that ended: seconds since the first one began, and its scaled (cost, accuracy)."""

    trial: Trial
    at: float
    point: tuple[float, float]


def _placed(
    trials: Sequence[Trial], times: Mapping[int, Span], objective: str, among: Sequence[Trial]
) -> tuple[list[_Placed], float]:
    """Returns the trials that ended, in order of their ends, and the hypervolume of them and `among` together."""
    ends = {number: span.ended for number, span in times.items() if span.ended is not None}
    ended = sorted((trial for trial in trials if trial.number in ends), key=lambda trial: ends[trial.number])
    if not ended:
        return [], 0.0
    scaled = [*ended, *among]
    costs = _scaled([math.log(getattr(trial.cost, objective)) for trial in scaled])
    points = list(zip(costs, _scaled([trial.accuracy or 0.0 for trial in scaled]), strict=True))
    start = min(span.begun for span in times.values())
    seconds = [(ends[trial.number] - start).total_seconds() for trial in ended]
    return list(map(_Placed, ended, seconds, points)), hypervolume(points, _WORST)


def _ended(trial: Trial, span: Span, start: datetime) -> float:
    if span.ended is not None:
        return (span.ended - start).total_seconds()
    return (span.begun - start).total_seconds() + trial.seconds


def _scaled(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / ((high - low) or 1.0) for value in values]
