"""Confirmation: the best of a search are trained again in rounds, until it is clear enough which of them is the best.

A round trains each contender once with a fresh seed. What is decided after a round follows from the trials alone. The
numbers below are chosen by simulation (benchmarks/confirmation.py).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

from nxt.search.noise import deviation
from nxt.search.trial import Outcome, Trial
from nxt.space.space import Point

BEATEN = 0.1  # a contender drops out if it is better than the leader with less probability than this
ENOUGH = 0.2  # the leader is named if that is expected to lose no more accuracy than this share of the noise of a seed
_LEAST = 2  # rounds: a single one does not measure the noise of seeds
_NOISE_IN_SEARCH = 0.5  # share of noise in the variance of a search's accuracies; 0.4 in results/populations/cifar-cpu
_PRIOR = 2.0  # weight of the noise estimated from the search, in degrees of freedom
_TINY = 1e-9  # noise of trainings that do not differ at all
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Rounds:
    """How far a confirmation is."""

    contenders: tuple[Point, ...] = ()  # of the round under way, or of the next one
    missing: tuple[Point, ...] = ()  # of these, those whose training in that round has not begun
    finished: int = 0  # rounds that all their contenders have ended
    noise: float | None = None  # standard deviation between seeds; None: not known
    loss: float = math.inf  # accuracy that naming the leader is expected to lose, at most
    stops: bool = False  # whether no further round is needed


def noise_in_search(trials: Iterable[Trial]) -> float | None:
    """Estimates the noise of seeds from the spread of a search's accuracies; None: fewer than two are known.

    References are left out: they are not of the search's choosing, and often far below.
    """
    spread = deviation(
        [t.accuracy or 0.0 for t in trials if not (t.replicate or t.family) and t.outcome is Outcome.DONE]
    )
    return None if spread is None else spread * math.sqrt(_NOISE_IN_SEARCH)


def promising(accuracies: Sequence[float], noise: float | None) -> int:
    """Returns how many of these accuracies of a search, the highest first, may be of the best architecture.

    The search selected them for their accuracies, so their distances are shrunk by the share of noise.
    """
    if noise is None:
        return len(accuracies)
    kept = 1 - _NOISE_IN_SEARCH
    error = noise * math.sqrt(2 * kept)
    return sum(_better(kept * (accuracies[0] - accuracy), error) >= BEATEN for accuracy in accuracies)


def failed_first(trials: Iterable[Trial]) -> set[Point]:
    """Returns the points that failed in their first round: others take part in their place."""
    return {point for point, result in _results(trials).items() if result.ended[:1] == [None]}


def replay(trials: Collection[Trial], favourites: Sequence[Point] = (), most: int | None = None) -> Rounds:
    """Goes through the rounds that the trials have made.

    Whoever fails in the first round never was a contender; whoever fails or is beaten later drops out. The best
    reference stays in, so that the gain over it is known as well as possible.

    Args:
        trials: All trials of a search.
        favourites: Whom to train again, besides those for whom that has begun.
        most: Number of rounds; None: as many as were made.
    """
    results, prior = _results(trials), noise_in_search(trials)
    chosen = dict.fromkeys([*favourites, *sorted(results)])
    contenders = [point for point in chosen if results[point].ended[:1] != [None]]
    reference = _best_reference(trials, contenders)
    state = Rounds(tuple(contenders), noise=prior)
    while contenders and not state.stops:
        number = state.finished
        behind = [point for point in contenders if len(results[point].ended) <= number]
        if behind:
            missing = tuple(point for point in behind if not results[point].running)
            return Rounds(tuple(contenders), missing, number, state.noise, state.loss)
        number += 1
        reached = {point: results[point].ended[:number] for point in contenders}
        means = {point: fmean(own) for point, values in reached.items() if len(own := _numbers(values)) == number}
        if not means:
            return Rounds((), (), state.finished, state.noise, state.loss, stops=True)
        noise = _pooled([_numbers(result.ended[:number]) for result in results.values()], prior)
        loss, beaten = _compared(means, noise, number)
        contenders = [p for p in contenders if p == reference or (p in means and p not in beaten)]
        clear = noise is not None and loss <= ENOUGH * noise and number >= _LEAST
        stops = most is not None and (clear or number >= most)
        state = Rounds(tuple(contenders), (), number, noise, loss, stops)
    return state


def _compared(means: dict[Point, float], noise: float | None, number: int) -> tuple[float, set[Point]]:
    """Returns the expected loss of naming the leader, at most, and who is beaten, after so many rounds.

    True means are normal around those measured. The loss to the best of several rivals is at most the sum of the
    expected losses to each.
    """
    if noise is None:
        return math.inf, set()
    leader = max(means, key=means.__getitem__)
    error = noise * math.sqrt(2 / number)
    gaps = {point: means[leader] - mean for point, mean in means.items() if point != leader}
    loss = sum(error * _NORMAL.pdf(gap / error) - gap * _better(gap, error) for gap in gaps.values())
    return loss, {point for point, gap in gaps.items() if _better(gap, error) < BEATEN}


def _better(gap: float, error: float) -> float:
    """Returns the probability that one that is so much behind is better, given the error of the difference."""
    return _NORMAL.cdf(-gap / max(error, _TINY))


def _pooled(groups: Iterable[Sequence[float]], prior: float | None) -> float | None:
    """Returns the standard deviation within groups, pooled with a prior: few trainings may agree by chance."""
    squares, freedom = (0.0, 0.0) if prior is None else (_PRIOR * prior**2, _PRIOR)
    for group in groups:
        squares += sum((value - fmean(group)) ** 2 for value in group)
        freedom += max(0, len(group) - 1)
    return max(_TINY, math.sqrt(squares / freedom)) if freedom else None


@dataclass
class _Result:
    """The trainings of a point with fresh seeds: the accuracy in each round that it has ended; None: it failed."""

    ended: list[float | None]
    running: bool = False


def _results(trials: Iterable[Trial]) -> defaultdict[Point, _Result]:
    """Assigns the trainings with fresh seeds to rounds.

    One that was lost is made up for by the next one with another seed, which is not made up for in turn.
    """
    results: defaultdict[Point, _Result] = defaultdict(lambda: _Result([]))
    lost: set[Point] = set()
    for trial in sorted((t for t in trials if t.replicate), key=lambda t: t.replicate):
        result = results[trial.point]
        if trial.outcome is Outcome.RUNNING:
            result.running = True
        elif trial.outcome.lost and trial.point not in lost:
            lost.add(trial.point)
        else:
            lost.discard(trial.point)
            result.ended.append(trial.accuracy if trial.outcome is Outcome.DONE else None)
    return results


def _best_reference(trials: Iterable[Trial], points: Collection[Point]) -> Point | None:
    rows = [t for t in trials if t.family and t.outcome is Outcome.DONE and not t.replicate and t.point in points]
    return max(rows, key=lambda trial: trial.accuracy or 0.0).point if rows else None


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
