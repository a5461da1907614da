"""Puts trials on a time axis: when each ran, and how their hypervolume grew."""

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
_ORDERS = 100  # in which trials drawn by chance might have come
_POINTS = 60  # trials after which the hypervolume is computed, at most


@dataclass(frozen=True)
class Bar:
    """A trial's time in a lane, from the search's beginning on, in seconds."""

    trial: Trial
    lane: int
    begun: float
    ended: float


def lanes(trials: Sequence[Trial], times: Mapping[int, Span]) -> list[Bar]:
    """Returns trials in as few lanes as hold them without overlap: each, by beginning, in the first that is free.

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


def growth(
    trials: Sequence[Trial], times: Mapping[int, Span], objective: str, among: Sequence[Trial] = ()
) -> list[tuple[float, float]]:
    """Returns (seconds since the first trial began, hypervolume by then) after each trial that ended.

    Accuracy and log cost are scaled to the range of these trials and of those in `among`; the
    reference point is the lowest accuracy at the highest cost. 1 is what all of them dominate together; where no trial
    is both cheaper and better than the worst there is no hypervolume, and nothing is returned.
    """
    placed, whole = _placed(trials, times, objective, among)
    if not whole:
        return []
    points = [one.point for one in placed]
    return [(one.at, hypervolume(points[: count + 1], _WORST) / whole) for count, one in enumerate(placed)]


def growth_by_chance(
    trials: Sequence[Trial], times: Mapping[int, Span], objective: str, among: Sequence[Trial] = ()
) -> list[tuple[float, float, float, float]]:
    """Returns (seconds, mean, 5 %, 95 %) of the hypervolume over random orders of the trials that were drawn.

    The references, which every search begins with, keep their places. Of many trials, only some are listed.
    """
    placed, whole = _placed(trials, times, objective, among)
    if not whole:
        return []
    points = np.array([one.point for one in placed])
    drawn = [index for index, one in enumerate(placed) if not one.trial.family]
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
    """A trial that ended: when, in seconds since the first one began, and its scaled (cost, accuracy)."""

    trial: Trial
    at: float
    point: tuple[float, float]


def _placed(
    trials: Sequence[Trial], times: Mapping[int, Span], objective: str, among: Sequence[Trial]
) -> tuple[list[_Placed], float]:
    """Returns the trials that ended, in order, and the hypervolume of them and those in `among` together."""
    spans = {trial.number: times[trial.number] for trial in trials if trial.number in times}
    ended = {number: span.ended for number, span in spans.items() if span.ended is not None}
    known = sorted((trial for trial in trials if trial.number in ended), key=lambda trial: ended[trial.number])
    if not known:
        return [], 0.0
    every = [*known, *among]
    costs = _scaled([math.log(getattr(trial.cost, objective)) for trial in every])
    points = list(zip(costs, _scaled([trial.accuracy or 0.0 for trial in every]), strict=True))
    start = min(span.begun for span in times.values())
    seconds = [(ended[trial.number] - start).total_seconds() for trial in known]
    return list(map(_Placed, known, seconds, points)), hypervolume(points, _WORST)


def _ended(trial: Trial, span: Span, start: datetime) -> float:
    if span.ended is not None:
        return (span.ended - start).total_seconds()
    return (span.begun - start).total_seconds() + trial.seconds


def _scaled(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / ((high - low) or 1.0) for value in values]
