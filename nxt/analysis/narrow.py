"""Narrows a space to the ranges of values in which a search's best architectures lie.

A quarter of the architectures is drawn with replacement; the range of an axis is the interval that holds the value of
the best of them with some confidence. This is RegNet's empirical bootstrap (Radosavovic et al. 2020, arXiv 2003.13678,
sec. 3), computed exactly instead of by drawing: if m of n architectures are drawn, the one of rank r (from 0) is the
best with probability ((n - r) / n)^m - ((n - r - 1) / n)^m.

Costlier architectures are usually better, so ranges over all costs would follow the cost, not the axis. The best is
therefore sought in bands of multiply-adds with equal numbers of architectures, about one band per doubling; in each
band, a straight line over the logarithm of the cost is fitted to the errors and subtracted. Some range is always narrow
by chance, so an axis is cut only if its range is narrower than with the errors of each band shuffled.
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

LEAST = 20  # fewest architectures trained to the end
_BAND = 40  # fewest architectures in a band if there are several bands
_SHARE = 0.25  # share of the architectures that is drawn
_SHUFFLES = 1000

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """The kept range of an axis: the positions of its values from `low` to `high`, both included."""

    name: str
    values: tuple[Any, ...]
    low: int
    high: int
    p: float  # probability of so narrow a range if the axis has no effect

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
    """A space and the part of it that is kept."""

    before: Space
    after: Space  # the same space if no axis is cut
    axes: tuple[Axis, ...]
    trained: int  # architectures that were evaluated
    gain: Comparison | None  # those inside against all; its p-value is meaningless, since both share members
    notes: tuple[str, ...]

    @property
    def cut(self) -> bool:
        """Whether any axis is cut."""
        return any(axis.cut for axis in self.axes)

    def verdict(self) -> str:
        """Returns a sentence on the part of the space that is kept and the gain."""
        if self.trained < LEAST:
            return f"Left as it is: {self.trained} architectures reached the last epoch; at least {LEAST} are needed."
        if not self.cut:
            return f"Left as it is: no axis matters clearly among {self.trained} architectures."
        share = self.after.size / self.before.size
        return f"Kept {self.after.size:,} of {self.before.size:,} architectures ({share:.2g} of them); {self.gained()}."

    def gained(self) -> str:
        """Returns a clause on how much lower the errors are inside."""
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

    The first finished training of each architecture counts, also of references. Values are in the order of the axis,
    and only its ends are cut; values inside the range stay, whatever their accuracies. In a stage-wise space a value is
    removed only if no stage needs it.

    Args:
        run: The search.
        confidence: Confidence, in (0, 1), that the best lies inside each range. An axis is cut if its p-value is at
            most 1 - confidence.
        seed: Seed of the shuffles.

    Raises:
        RunError: if the run trained a list instead of a space, or the confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise RunError(f"`confidence` {confidence}: it lies between 0 and 1, such as 0.95")
    space = run.request.space
    if not isinstance(space, Space):
        raise RunError(f"{run.path}: trained a list of architectures, not a space that could be narrowed")
    trials = first_trainings(run)
    names, values = space.axis_names, space.axis_values
    axes = tuple(Axis(name, options, 0, len(options) - 1, 1.0) for name, options in zip(names, values, strict=True))
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
    inside = np.all(([axis.low for axis in axes] <= points) & (points <= [axis.high for axis in axes]), axis=1)
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
    """Returns the band of each cost, from the lowest up: about one per doubling, each with at least 40 members."""
    doublings = math.ceil(math.log2(macs.max() / macs.min()))
    band_of = np.empty(len(macs), dtype=np.int64)
    for band, members in enumerate(np.array_split(np.argsort(macs), max(1, min(doublings, len(macs) // _BAND)))):
        band_of[members] = band
    return band_of


def at_equal_cost(errors: Values, macs: Values, bands: NDArray[np.int64]) -> Values:
    """Returns errors minus the least-squares line over log MACs in their band."""
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
        errors: Errors of n architectures, (n,); equal ones share their probability.
        bands: The band of each, from 0; the probabilities in a band sum to its share of all architectures.

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
    """Returns the lowest and highest of `count` positions left after each end loses a weight of at most `tail`."""
    reached = np.cumsum(np.bincount(at, weights, count))
    low, high = np.searchsorted(reached, tail + 1e-12, side="right"), np.searchsorted(reached, 1 - tail - 1e-12)
    return int(low), int(high)


def _ranges(
    axes: tuple[Axis, ...], points: NDArray[np.int64], errors: Values, bands: NDArray[np.int64], level: float, seed: int
) -> tuple[Axis, ...]:
    """Returns the axes; those with a range narrower than by chance are cut."""
    weights = best_probabilities(errors, bands)
    rng = np.random.default_rng(seed)
    by_band, shuffled = np.argsort(bands, kind="stable"), np.empty_like(weights)
    columns = list(zip(axes, points.T, strict=True))
    ranges = [central_range(positions, weights, len(axis.values), level / 2) for axis, positions in columns]
    as_narrow = np.zeros(len(axes))
    for _ in range(_SHUFFLES):
        shuffled[by_band] = weights[np.lexsort((rng.random(len(weights)), bands))]
        for index, (axis, positions) in enumerate(columns):
            low, high = central_range(positions, shuffled, len(axis.values), level / 2)
            as_narrow[index] += high - low <= ranges[index][1] - ranges[index][0]
    p_values = (1 + as_narrow) / (1 + _SHUFFLES)
    return tuple(
        Axis(axis.name, axis.values, *(ends if p_value <= level else (axis.low, axis.high)), float(p_value))
        for axis, ends, p_value in zip(axes, ranges, p_values, strict=True)
    )


def _for_all_stages(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Returns the axes of a stage-wise space, whose stages share their values: each keeps the values of all stages."""
    stages: dict[str, list[Axis]] = defaultdict(list)
    for axis in axes:
        stages[_property(axis)].append(axis)
    low = {name: min(axis.low for axis in group) for name, group in stages.items()}
    high = {name: max(axis.high for axis in group) for name, group in stages.items()}
    return tuple(dataclasses.replace(axis, low=low[_property(axis)], high=high[_property(axis)]) for axis in axes)


def _property(axis: Axis) -> str:
    return axis.name.rstrip("0123456789")


def _part(space: Space, axes: tuple[Axis, ...], about: str) -> Space:
    """Returns the space with the kept values."""
    data = space.to_dict() | {"about": about}
    if isinstance(space, StagewiseSpace):
        data["axes"] = {_property(axis): list(axis.kept) for axis in axes}
    else:
        depths, others = axes[: len(space.depths)], axes[len(space.depths) :]
        data["axes"] = {"depths": [list(axis.kept) for axis in depths]} | {a.name: list(a.kept) for a in others}
    return space_from_dict(data, f"{space.name}, narrowed", "the narrowed space")
