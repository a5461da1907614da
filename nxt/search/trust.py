"""How far a proxy may be trusted: whether it orders architectures as what it stands for does.

Two questions have the same answer in kind: does an early epoch order the trials as their last epoch does (is stopping
there safe), and does the proxy order architectures as full training does (is the front worth training)? The measure
is Kendall's tau-b, over all pairs and over pairs of similar cost alone, since a proxy that merely prefers the larger
network looks better than it is. Costs themselves are the baselines; the noise between seeds sets the ceiling.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nxt.search.entries import Entry
from nxt.search.noise import pooled_deviation
from nxt.search.results import Run
from nxt.search.trial import Outcome, Trial

LEAST = 8  # architectures needed to say anything
BASELINES = ("params", "macs", "acts")
_BAND = math.log(1.25)  # networks whose MACs differ by no more than a quarter cost alike
_DRAWS = 1000
_TOP = 0.2  # the share of all architectures that a search is after

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How well one figure orders architectures by another one. Intervals hold 95 %, by bootstrap over architectures.

    nan stands for what is not defined: of values that are all equal, or of pairs that there are none of.
    """

    name: str  # of the figure that predicts
    count: int  # architectures
    tau: float  # Kendall's tau-b
    interval: tuple[float, float]
    banded: float  # tau over pairs of similar cost
    spearman: float
    recall: float  # share of the true top fifth among as many that the figure puts on top

    @property
    def pairs(self) -> tuple[float, float, float]:
        """Share of pairs in the same order, with its interval: (1 + tau) / 2, where nothing is tied."""
        low, high = self.interval
        return (1 + self.tau) / 2, (1 + low) / 2, (1 + high) / 2


def agreement(
    name: str, predicted: Sequence[float], true: Sequence[float], macs: Sequence[float], weights: Sequence[float] = ()
) -> Agreement:
    """Compare two figures of the same architectures.

    Args:
        name: What the first figure is.
        predicted: It.
        true: The figure that it is to predict.
        macs: Costs, for the pairs of similar cost.
        weights: How many architectures each stands for; by default one.
    """
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64) if len(weights) else np.ones(len(x))
    log_macs = np.log(np.asarray(macs, dtype=np.float64))
    alike = np.abs(log_macs[:, None] - log_macs[None]) <= _BAND
    order = _signs(x), _signs(y)
    rng = np.random.default_rng(0)
    drawn = [_tau(*order, _counts(rng, len(x)) * w) for _ in range(_DRAWS)]
    defined = np.array([tau for tau in drawn if math.isfinite(tau)])
    low, high = np.quantile(defined, [0.025, 0.975]) if len(defined) else (math.nan, math.nan)
    same = len(np.unique(w)) == 1
    varied = len(np.unique(x)) > 1 and len(np.unique(y)) > 1
    return Agreement(
        name=name,
        count=len(x),
        tau=_tau(*order, w),
        interval=(float(low), float(high)),
        banded=_tau(*order, w, alike),
        spearman=float(stats.spearmanr(x, y).statistic) if same and varied else math.nan,
        recall=_recall(x, y) if same else math.nan,
    )


def ceiling(accuracies: Sequence[float], deviation: float) -> float:
    """Return the tau that a second training with another seed would reach, on average: no proxy can expect more.

    The spread of the true accuracies is what is left of the measured one when the noise is taken away; then both
    trainings are drawn anew around them.

    Args:
        accuracies: Of architectures trained once each.
        deviation: Standard deviation of one training between seeds.
    """
    measured = np.asarray(accuracies, dtype=np.float64)
    spread = measured.var(ddof=1)
    kept = math.sqrt(max(0.0, 1 - deviation**2 / spread)) if spread > 0 else 0.0
    truth = measured.mean() + kept * (measured - measured.mean())
    rng = np.random.default_rng(0)
    ones = np.ones(len(truth))
    found = [
        _tau(_signs(rng.normal(truth, deviation)), _signs(rng.normal(truth, deviation)), ones) for _ in range(_DRAWS)
    ]
    return float(np.mean(found))


@dataclass(frozen=True)
class Trust:
    """What predicts the accuracy of trainings to the end, and how well."""

    of: str  # what is predicted
    proxies: tuple[Agreement, ...]
    baselines: tuple[Agreement, ...]
    ceiling: float | None  # None: the noise between seeds was not measured

    @cached_property
    def best_baseline(self) -> Agreement:
        """The cost that predicts best."""
        return max(self.baselines, key=lambda one: one.tau if math.isfinite(one.tau) else -1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data; what is not defined is None."""
        return {
            "verdict": self.verdict(),
            "of": self.of,
            "ceiling": self.ceiling,
            "proxies": [_plain(one) for one in self.proxies],
            "baselines": [_plain(one) for one in self.baselines],
        }

    def verdict(self) -> str:
        """Say in one sentence what that means for who relies on it."""
        proxy = self.proxies[-1]
        if not math.isfinite(proxy.tau):
            return f"Trust: all accuracies are equal, so nothing can be told of {self.of}."
        share, low, high = proxy.pairs
        fact = (
            f"of two architectures, the one ahead by {proxy.name} is ahead by {self.of} in {share:.0%} of cases "
            f"({low:.0%} to {high:.0%}, {proxy.count} architectures)"
        )
        if self.ceiling is not None:
            fact += f", where another seed alone would give {(1 + self.ceiling) / 2:.0%}"
        baseline = self.best_baseline
        if low <= 0.5:
            return f"Do not rely on {proxy.name}: {fact}; that may be chance."
        if proxy.tau <= baseline.tau:
            return f"Do not rely on {proxy.name}: {fact}; the number of {baseline.name} alone tells as much."
        how = "Rely on" if low >= 0.7 else "Rely with care on" if share >= 0.65 else "Rely little on"
        return f"{how} {proxy.name}: {fact}."


def between_epochs(run: Run) -> Trust | None:
    """Tell how well earlier epochs predict the last one: the rungs, or a quarter and half of the way.

    Trials that were stopped have no last epoch. Those that ran on as a control group stand for them, each for as many
    as were stopped for one that ran on; so the figures are not of survivors alone.

    Returns:
        None if too few architectures reached the last epoch.
    """
    first = min((trial.repeat for trial in run.trials), default=0)  # 0 in a search, 1 in a list
    trials = [trial for trial in run.trials if trial.outcome is Outcome.DONE and trial.repeat == first]
    last = max((trial.curve[-1].epoch for trial in trials), default=0)
    epochs = _rungs(run) or sorted({last // 4, last // 2} - {0, last})
    if len(trials) < LEAST or not epochs:
        return None
    weights = [_weight(run, trial) for trial in trials]
    true = [trial.curve[-1].accuracy for trial in trials]
    macs = [float(trial.cost.macs) for trial in trials]
    proxies = [
        agreement(f"epoch {epoch}", [t.curve[epoch - 1].accuracy for t in trials], true, macs, weights)
        for epoch in epochs
    ]
    return Trust(f"epoch {last}", tuple(proxies), _baselines(trials, true, weights), _ceiling(run.entries, true))


def against(run: Run, full: Run) -> Trust | None:
    """Tell how well a run's accuracies predict those of another run, for the architectures that both have.

    Returns:
        None if they have too few in common.
    """
    known = {entry.spec.fingerprint: entry for entry in full.entries}
    pairs = [(entry, known[entry.spec.fingerprint]) for entry in run.entries if entry.spec.fingerprint in known]
    if len(pairs) < LEAST:
        return None
    true = [entry.accuracy for _, entry in pairs]
    macs = [float(entry.cost.macs) for entry, _ in pairs]
    proxy = agreement(f"{run.path.name}'s accuracy", [entry.accuracy for entry, _ in pairs], true, macs)
    trials = [entry.trials[0] for entry, _ in pairs]
    return Trust(f"{full.path.name}'s accuracy", (proxy,), _baselines(trials, true, ()), _ceiling(full.entries, true))


def _baselines(trials: Sequence[Trial], true: Sequence[float], weights: Sequence[float]) -> tuple[Agreement, ...]:
    macs = [float(trial.cost.macs) for trial in trials]
    return tuple(
        agreement(name, [float(getattr(trial.cost, name)) for trial in trials], true, macs, weights)
        for name in BASELINES
    )


def _ceiling(entries: Sequence[Entry], true: Sequence[float]) -> float | None:
    deviation = pooled_deviation([entry.accuracies for entry in entries if entry.confirmed])
    return None if deviation is None else ceiling(true, deviation)


def _plain(one: Agreement) -> dict[str, Any]:
    values = {**dataclasses.asdict(one), "low": one.interval[0], "high": one.interval[1]}
    del values["interval"]
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def _tau(x: Values, y: Values, weights: Values, among: NDArray[np.bool_] | None = None) -> float:
    """Return the weighted tau-b of two sign matrices, over all pairs or those among a mask."""
    pairs = weights[:, None] * weights[None]
    if among is not None:
        pairs = pairs * among
    scale = math.sqrt(float((pairs * x * x).sum()) * float((pairs * y * y).sum()))
    return float((pairs * x * y).sum()) / scale if scale > 0 else math.nan


def _signs(values: Values) -> Values:
    return np.sign(values[:, None] - values[None])


def _counts(rng: np.random.Generator, size: int) -> Values:
    """Return how often each of so many comes up in a bootstrap sample of them."""
    return np.bincount(rng.integers(size, size=size), minlength=size).astype(np.float64)


def _recall(x: Values, y: Values) -> float:
    top = max(1, round(_TOP * len(x)))
    return len(set(np.argsort(-x, kind="stable")[:top]) & set(np.argsort(-y, kind="stable")[:top])) / top


def _rungs(run: Run) -> list[int]:
    """Return the epochs at which trials were stopped, or due to stop."""
    stopped = {len(trial.curve) for trial in run.trials if trial.outcome is Outcome.STOPPED}
    return sorted(stopped | {trial.control for trial in run.trials if trial.control})


def _weight(run: Run, trial: Trial) -> float:
    """Return how many trials a finished one stands for: those of the control group, for the stopped ones as well."""
    if not trial.control:
        return 1.0
    stopped = sum(other.outcome is Outcome.STOPPED and len(other.curve) == trial.control for other in run.trials)
    control = sum(other.outcome is Outcome.DONE and other.control == trial.control for other in run.trials)
    return 1 + stopped / control
