"""Narrows a space to the values among which a search's best architectures lie.

For each axis, the interval that holds the value of the best of a quarter of the architectures, drawn with
replacement, with some confidence: RegNet's empirical bootstrap (Radosavovic et al. 2020, arXiv 2003.13678, sec. 3).
Nothing is drawn here. Of n architectures of which m are drawn, the one of rank r (from 0) is the best with
probability ((n - r) / n)^m - ((n - r - 1) / n)^m, which is what many draws tend to.

Of unequal costs the costliest would always be best, so that the ranges would follow the cost, not the axis. The best
is therefore sought in bands of multiply-adds, of as many architectures each, about one for each doubling; and in a
band, what a straight line over the logarithm of the cost explains is taken from the errors. Some range is always narrow
by chance, so an axis is cut only if its range is narrower than it is when the errors of a band are shuffled.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nxt.analysis.error_distribution import Comparison, Population, Values, compare, first_trainings, sampling_notes
from nxt.errors import RunError
from nxt.space.load import space_from_dict
from nxt.space.space import Space
from nxt.space.stagewise import StagewiseSpace

if TYPE_CHECKING:
    from nxt.search.results.run import Run

LEAST = 20  # architectures that must have been trained to the end
_BAND = 40  # architectures at least in each band, where there are several
_SHARE = 0.25  # of them, that are drawn
_SHUFFLES = 1000

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """What is kept of an axis: the positions of its values from `low` to `high`, both included."""

    name: str
    values: tuple[Any, ...]
    low: int
    high: int
    p: float  # how probable so narrow a range is where the axis does not matter

    @property
    def kept(self) -> tuple[Any, ...]:
        """The values that are kept."""
        return self.values[self.low : self.high + 1]

    @property
    def cut(self) -> bool:
        """Whether some values are not kept."""
        return len(self.kept) < len(self.values)


@dataclass(frozen=True)
class Narrowed:
    """A space and what is kept of it."""

    before: Space
    after: Space  # the same, if no axis is cut
    axes: tuple[Axis, ...]
    trained: int  # architectures that it rests on
    gain: Comparison | None  # those inside against all of them; its p means nothing, since they share members
    notes: tuple[str, ...]

    @property
    def cut(self) -> bool:
        """Whether any axis is cut."""
        return any(axis.cut for axis in self.axes)

    def verdict(self) -> str:
        """Returns a sentence on what is kept of the space, and what that gains."""
        if self.trained < LEAST:
            return f"Left as it is: {self.trained} architectures reached the last epoch; at least {LEAST} are needed."
        if not self.cut:
            return f"Left as it is: no axis matters clearly among {self.trained} architectures."
        share = self.after.size / self.before.size
        return f"Kept {self.after.size:,} of {self.before.size:,} architectures ({share:.2g} of them); {self.gained()}."

    def gained(self) -> str:
        """Returns a clause on how much lower errors are inside."""
        if self.gain is None:
            return "none of those trained lies inside"
        inside, whole = (side.quartiles[1] for side in self.gain.sides)
        return (
            f"median error at equal multiply-adds {inside:.1%} inside, {whole:.1%} in all "
            f"(KS distance {self.gain.distance:.2f}, flattered: by the same trials)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        axes = [
            {"axis": axis.name, "values": list(axis.values), "kept": list(axis.kept), "p": axis.p} for axis in self.axes
        ]
        return {
            "verdict": self.verdict(),
            "trained": self.trained,
            "axes": axes,
            "size": {"before": self.before.size, "after": self.after.size},
            "median_error": None if self.gain is None else [side.quartiles[1] for side in self.gain.sides],
            "ks_distance": None if self.gain is None else self.gain.distance,
            "notes": list(self.notes),
        }


def narrow(run: Run, confidence: float = 0.95, seed: int = 0) -> Narrowed:
    """Narrows the space that a search chose from.

    Each architecture counts by its first training to the last epoch, references too. Values are ordered as the axis
    has them, and only the ends of an axis are cut; values inside its range stay, whatever their accuracies. In a
    stage-wise space a value goes only if no stage needs it.

    Args:
        run: The search.
        confidence: Confidence, in (0, 1), that the best lies inside each range; 1 - confidence is also the p-value
            below which a range counts as narrower than by chance.
        seed: Seed of the shuffles.

    Raises:
        RunError: if the run went through a list, not a space, or the confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise RunError(f"`confidence` {confidence}: it lies between 0 and 1, such as 0.95")
    space = run.request.space
    if not isinstance(space, Space):
        raise RunError(f"{run.path}: trained a list of architectures, not a space that could be narrowed")
    trials = first_trainings(run)
    names, values = space.axis_names, space.axis_values
    axes = tuple(Axis(name, each, 0, len(each) - 1, 1.0) for name, each in zip(names, values, strict=True))
    notes = tuple(sampling_notes(run))
    if len(trials) < LEAST:
        return Narrowed(space, space, axes, len(trials), None, notes)
    errors = np.array([1 - (trial.accuracy or 0.0) for trial in trials])
    macs = np.array([trial.cost.macs for trial in trials], dtype=np.float64)
    points = np.array([trial.point for trial in trials], dtype=np.int64)
    bands = cost_bands(macs)
    axes = _ranges(axes, points, at_equal_cost(errors, macs, bands), bands, 1 - confidence, seed)
    if isinstance(space, StagewiseSpace):
        axes = _for_all_stages(axes)
    inside = np.all([(axis.low <= at) & (at <= axis.high) for axis, at in zip(axes, points.T, strict=True)], axis=0)
    gain = None
    if inside.any():
        parts = Population("inside", errors[inside], macs[inside]), Population("all", errors, macs)
        gain = compare(*parts, "macs", seed)
    narrowed = Narrowed(space, space, axes, len(trials), gain, notes)
    if not narrowed.cut:
        return narrowed
    about = (
        f"Narrowed from {space.name} by the search {run.path.name} (sampler {run.request.settings.sampler}): the "
        f"ranges that hold the best of a quarter of its {len(trials)} trained architectures with "
        f"{100 * confidence:.4g} % confidence, at similar multiply-adds (RegNet's bootstrap; seed {seed}). "
        f"There, {narrowed.gained()}."
    )
    return dataclasses.replace(narrowed, after=_part(space, axes, about))


def cost_bands(macs: Values) -> NDArray[np.int64]:
    """Returns a band for each cost, from the lowest on: about one for each doubling, none with fewer than 40."""
    doublings = math.ceil(math.log2(macs.max() / macs.min()))
    band_of = np.empty(len(macs), dtype=np.int64)
    for band, members in enumerate(np.array_split(np.argsort(macs), max(1, min(doublings, len(macs) // _BAND)))):
        band_of[members] = band
    return band_of


def at_equal_cost(errors: Values, macs: Values, bands: NDArray[np.int64]) -> Values:
    """Returns errors minus the line that fits them best over log MACs in their band."""
    residuals = np.empty(len(errors))
    for band in np.unique(bands):
        members = bands == band
        x, y = np.log(macs[members]), errors[members]
        x, y = x - x.mean(), y - y.mean()
        residuals[members] = y - x * (x @ y) / ((x @ x) or 1.0)
    return residuals


def best_probabilities(errors: Values, bands: NDArray[np.int64]) -> Values:
    """Returns each architecture's probability to be the best of a quarter of its band, drawn with replacement.

    Args:
        errors: Errors of n architectures, (n,); equally good ones share their probability.
        bands: The band of each, from 0 on; a band's total is its share of all architectures.

    Returns:
        Probabilities (n,) that sum to 1.
    """
    probabilities = np.zeros(len(errors))
    for band in np.unique(bands):
        members = np.flatnonzero(bands == band)
        n = len(members)
        left = np.arange(n, -1, -1) / n
        by_rank = -np.diff(left ** max(1, int(_SHARE * n)))
        levels, level = np.unique(errors[members], return_inverse=True)
        in_order = np.sort(level)
        shared = np.bincount(in_order, by_rank, len(levels)) / np.bincount(level)
        probabilities[members] = shared[level] * n / len(errors)
    return probabilities


def central_range(at: Positions, weights: Values, count: int, tail: float) -> tuple[int, int]:
    """Returns the lowest and the highest of `count` positions that remain when each end loses at most `tail`."""
    reached = np.cumsum(np.bincount(at, weights, count))
    low, high = np.searchsorted(reached, tail + 1e-12, side="right"), np.searchsorted(reached, 1 - tail - 1e-12)
    return int(low), int(high)


def _ranges(
    axes: tuple[Axis, ...], points: NDArray[np.int64], errors: Values, bands: NDArray[np.int64], left: float, seed: int
) -> tuple[Axis, ...]:
    """Returns the axes, cut where their range is narrower than chance makes it."""
    weights = best_probabilities(errors, bands)
    rng = np.random.default_rng(seed)
    by_band, shuffled = np.argsort(bands, kind="stable"), np.empty_like(weights)
    ranges = [central_range(at, weights, len(axis.values), left / 2) for axis, at in zip(axes, points.T, strict=True)]
    as_narrow = np.zeros(len(axes))
    for _ in range(_SHUFFLES):
        shuffled[by_band] = weights[np.lexsort((rng.random(len(weights)), bands))]
        for index, (axis, at) in enumerate(zip(axes, points.T, strict=True)):
            low, high = central_range(at, shuffled, len(axis.values), left / 2)
            as_narrow[index] += high - low <= ranges[index][1] - ranges[index][0]
    p = (1 + as_narrow) / (1 + _SHUFFLES)
    return tuple(
        Axis(axis.name, axis.values, *(ends if chance <= left else (axis.low, axis.high)), float(chance))
        for axis, ends, chance in zip(axes, ranges, p, strict=True)
    )


def _for_all_stages(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Returns the axes of a stage-wise space, whose stages share their values: all keep what one needs."""
    stages: dict[str, list[Axis]] = defaultdict(list)
    for axis in axes:
        stages[_property(axis)].append(axis)
    ends = {name: (min(axis.low for axis in of), max(axis.high for axis in of)) for name, of in stages.items()}
    return tuple(
        dataclasses.replace(axis, low=ends[_property(axis)][0], high=ends[_property(axis)][1]) for axis in axes
    )


def _property(axis: Axis) -> str:
    return axis.name.rstrip("0123456789")


def _part(space: Space, axes: tuple[Axis, ...], about: str) -> Space:
    """Returns the space with the values that are kept, as its file has them."""
    data = space.to_dict() | {"about": about}
    if isinstance(space, StagewiseSpace):
        data["axes"] = {_property(axis): list(axis.kept) for axis in axes}
    else:
        depths, others = axes[: len(space.depths)], axes[len(space.depths) :]
        data["axes"] = {"depths": [list(axis.kept) for axis in depths]} | {a.name: list(a.kept) for a in others}
    return space_from_dict(data, f"{space.name}, narrowed", "the narrowed space")
