"""Computes Pareto fronts of two objectives: a cost to minimise and an accuracy to maximise. numpy only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = Sequence[tuple[float, float]]  # (cost, accuracy)


def front(points: Points) -> list[int]:
    """Returns the indices of the points that no other point dominates, by rising cost.

    A point dominates another one if it costs no more, is no less accurate, and is not equal to it. So equal points
    all belong to the front.

    Raises:
        ValueError: if a coordinate is not finite.
    """
    return next(iter(_fronts(_array(points))), [])


def by_dominance(points: Points) -> list[tuple[int, float]]:
    """Returns a sort key for each point that puts better points first: non-dominated rank, then crowding distance.

    Rank 0 is the front, rank 1 the front of the rest, and so on. Inside a rank the ends come first, then the points
    with the largest crowding distance: the half perimeter between both neighbours, in units of the rank's range. This
    is the order of NSGA-II (Deb et al. 2002, doi 10.1109/4235.996017).

    Raises:
        ValueError: if a coordinate is not finite.
    """
    array = _array(points)
    keys = [(0, -np.inf)] * len(array)
    for rank, members in enumerate(_fronts(array)):
        if len(members) <= 2:  # both are ends
            for member in members:
                keys[member] = (rank, -np.inf)
            continue
        rows, which = np.unique(array[members], axis=0, return_inverse=True)  # by rising cost
        span = np.ptp(rows, axis=0)
        steps = (np.abs(np.diff(rows, axis=0)) / np.where(span > 0, span, 1)).sum(axis=1)
        crowding = np.append(np.inf, steps) + np.append(steps, np.inf)
        for member, distance in zip(members, crowding[which.reshape(-1)], strict=True):
            keys[member] = (rank, -float(distance))
    return keys


def hypervolume(points: Points, reference: tuple[float, float]) -> float:
    """Returns the area that the points dominate below `reference` = (highest cost, lowest accuracy).

    Points that are no better than the reference in both objectives add nothing.
    """
    array = _array(points)
    cost_limit, accuracy_floor = reference
    inside = array[(array[:, 0] < cost_limit) & (array[:, 1] > accuracy_floor)]
    area, floor = 0.0, accuracy_floor
    for cost, accuracy in inside[np.lexsort((-inside[:, 1], inside[:, 0]))]:
        if accuracy > floor:
            area += (cost_limit - cost) * (accuracy - floor)
            floor = accuracy
    return float(area)


def knee(points: Points) -> int:
    """Returns the index of the front's knee: the point farthest above the line between the front's ends.

    Both objectives are scaled to the front's range. A front of fewer than three points has no knee; then this returns
    the most accurate point.

    Raises:
        ValueError: if there are no points, or a coordinate is not finite.
    """
    members = front(points)
    if not members:
        raise ValueError("no points")
    array = _array(points)[members]
    if len(members) < 3:
        return members[int(np.argmax(array[:, 1]))]
    span = array.max(axis=0) - array.min(axis=0)
    scaled = (array - array.min(axis=0)) / np.where(span > 0, span, 1)
    return members[int(np.argmax(scaled[:, 1] - scaled[:, 0]))]


def _fronts(array: NDArray[np.float64]) -> list[list[int]]:
    """Returns the front, the front of the rest, and so on: the indices of each by rising cost, in O(n log n).

    By rising cost, a point belongs to the first front that is everywhere less accurate so far.
    """
    fronts: list[list[int]] = []
    losses: list[float] = []  # of each front the negative accuracy of its last point: they never fall
    for index in np.lexsort((-array[:, 1], array[:, 0])).tolist():
        rank = bisect_right(losses, -array[index, 1])
        if rank and (array[index] == array[fronts[rank - 1][-1]]).all():
            rank -= 1  # equal points do not dominate each other
        if rank == len(fronts):
            fronts.append([])
            losses.append(0.0)
        fronts[rank].append(index)
        losses[rank] = -array[index, 1]
    return fronts


def _array(points: Points) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(array).all():
        raise ValueError("points must be finite")
    return array
