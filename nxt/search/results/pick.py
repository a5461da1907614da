"""Picks one architecture of a search: the front's knee, or the most accurate one inside given limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nxt.errors import RunError
from nxt.pareto import knee
from nxt.search.noise import CLEAR
from nxt.search.ranking import RankedArch, RankedRun, best_of

if TYPE_CHECKING:
    from nxt.space.budget import Budget


@dataclass(frozen=True)
class NextStep:
    """The next costlier architecture that is more accurate, compared with the picked one."""

    entry: RankedArch
    more_cost: float  # additional cost, as a share of the picked one's cost
    gain: float  # difference in accuracy, in 0..1
    error: float  # standard error of the gain

    @property
    def clear(self) -> bool:
        """Whether the gain is larger than twice its standard error."""
        return self.gain > CLEAR * self.error


@dataclass(frozen=True)
class Picked:
    """An architecture, and why it was picked."""

    entry: RankedArch
    cost: str  # the field or property of `Cost` that was compared with accuracy
    candidates: int  # number of architectures inside the budget, or on the front
    budget: Budget  # without limits, the architecture was picked from the front
    knee: tuple[float, float] | None  # position in the front's ranges of accuracy and cost, in 0..1; None: no knee
    next: NextStep | None  # None: no costlier architecture is more accurate
    higher: RankedArch | None = None  # the highest accuracy inside the budget, if another one was confirmed


def pick(run: RankedRun, budget: Budget) -> Picked:
    """Picks the front's knee; or, if the budget has limits, the most accurate of all architectures inside it.

    Confirmed architectures come before all others.

    Args:
        run: The run of a search.
        budget: The limits on the architecture's costs, or none.

    Raises:
        RunError: if no trial has reached the last epoch, or no architecture is inside the budget.
    """
    if not run.entries:
        raise RunError(f"{run.path}: no trial has reached the last epoch, so there is nothing to pick from")
    if not budget.limits:
        cost = run.objective
        points = [(float(getattr(entry.cost, cost)), entry.accuracy) for entry in run.front]
        index = knee(points)
        shares = _shares(points, index) if len(points) > 2 else None
        entry = run.front[index]
        return Picked(entry, cost, len(points), budget, shares, _next_step(run, entry, cost))
    inside = [entry for entry in run.entries if budget.allows(entry.cost)]
    if not inside:
        nearest = min(run.entries, key=lambda entry: budget.miss(entry.cost))
        broken = " and ".join(budget.violations(nearest.cost))
        raise RunError(
            f"{run.path}: none of the {len(run.entries)} architectures trained to the end has {budget}; "
            f"the nearest is {nearest.spec.name}, whose {broken}"
        )
    cost = budget.limits[0].cost if len(budget.limits) == 1 else run.objective
    # What was trained again with fresh seeds, if there is such: a figure that was selected for its height is luck, too.
    entry = best_of(inside) or inside[0]
    highest = max(inside, key=lambda other: other.accuracy)
    higher = highest if highest.accuracy > entry.accuracy else None
    return Picked(entry, cost, len(inside), budget, None, _next_step(run, entry, cost), higher)


def _shares(points: list[tuple[float, float]], index: int) -> tuple[float, float]:
    """Returns the position of a member in the front's ranges of accuracy and of cost, in 0..1."""
    (low_cost, low_accuracy), (high_cost, high_accuracy) = points[0], points[-1]  # a front rises in both
    cost, accuracy = points[index]
    return (accuracy - low_accuracy) / (high_accuracy - low_accuracy), (cost - low_cost) / (high_cost - low_cost)


def _next_step(run: RankedRun, picked: RankedArch, cost: str) -> NextStep | None:
    def value(entry: RankedArch) -> int:
        return int(getattr(entry.cost, cost))

    costlier = [e for e in run.entries if not e.unproven and e.accuracy > picked.accuracy and value(e) > value(picked)]
    if not costlier:
        return None
    nearest = min(costlier, key=value)
    error = math.hypot(run.error(nearest), run.error(picked))
    return NextStep(nearest, value(nearest) / value(picked) - 1, nearest.accuracy - picked.accuracy, error)
