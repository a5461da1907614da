"""Measures how far to trust a proxy: whether it orders architectures as full training does.

There are two questions. Does an early epoch order the trials as their last epoch does (is it safe to stop there)? Does
the proxy order architectures as full training does (is the front worth training)? The measure is Kendall's tau-b, over
all pairs and over pairs of similar cost, since a proxy that only prefers larger networks looks better than it is. The
costs are the baselines; the upper mark is the tau of a second training with another seed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nxt.errors import RunError
from nxt.search.noise import pooled_deviation
from nxt.search.ranking import RankedArch
from nxt.search.results.run import Run
from nxt.search.trial import Outcome, Trial

LEAST = 8  # fewest architectures for a statement
BASELINES = ("params", "macs", "acts")
COLUMNS = ("by", "tau", "95 %", "tau, similar cost", "Spearman", "top fifth")  # of `Trust.table`
_BAND = math.log(1.25)  # networks of similar cost: their MACs differ by at most a factor of 1.25
_MOST = 1000  # most architectures that are evaluated
_DRAWS, _REDRAWS = 1000, 100
_TOP = 0.2  # share of the architectures that counts as the top

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How well one figure predicts the order by another. Intervals are 95 % bootstrap intervals over architectures.

    A value is nan if it is not defined, because all values are equal or there are no such pairs.
    """

    name: str  # of the predicting figure
    count: int  # architectures
    tau: float  # Kendall's tau-b
    interval: tuple[float, float]
    banded: float  # tau over pairs of similar cost
    spearman: float
    recall: float  # share of the true top fifth in the top fifth by this figure

    @property
    def pairs(self) -> tuple[float, float, float]:
        """Share of pairs in the same order, with its interval: (1 + tau) / 2, exact without ties."""
        low, high = self.interval
        return (1 + self.tau) / 2, (1 + low) / 2, (1 + high) / 2


def agreement(
    name: str, predicted: Sequence[float], true: Sequence[float], macs: Sequence[float], weights: Sequence[float] = ()
) -> Agreement:
    """Compares two figures of the same architectures.

    Args:
        name: Name of the first figure.
        predicted: The predicting figure, (n,).
        true: The figure to predict, (n,).
        macs: Multiply-adds, (n,), for the pairs of similar cost.
        weights: The number of architectures that each represents; by default one.
    """
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64) if len(weights) else np.ones(len(x))
    log_macs = np.log(np.asarray(macs, dtype=np.float64))
    similar = np.abs(log_macs[:, None] - log_macs[None]) <= _BAND
    order = _signs(x), _signs(y)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=_DRAWS)
    taus = _taus(*order, counts * w)
    taus = taus[np.isfinite(taus)]
    low, high = np.quantile(taus, [0.025, 0.975]) if len(taus) else (math.nan, math.nan)
    equal_weights = len(np.unique(w)) == 1
    varied = len(np.unique(x)) > 1 and len(np.unique(y)) > 1
    return Agreement(
        name=name,
        count=len(x),
        tau=float(_taus(*order, w[None])[0]),
        interval=(float(low), float(high)),
        banded=float(_taus(*order, w[None], similar)[0]),
        spearman=float(stats.spearmanr(x, y).statistic) if equal_weights and varied else math.nan,
        recall=_recall(x, y) if equal_weights else math.nan,
    )


def ceiling(
    accuracies: Sequence[float], deviation: float, trainings: Sequence[int] = (), weights: Sequence[float] = ()
) -> float | None:
    """Returns the average tau that one more training of each architecture, with another seed, would reach.

    The variance of the true accuracies is estimated as the measured variance minus that of the noise; then both
    trainings are simulated around the true accuracies. A proxy with less noise than a training can reach more.

    Args:
        accuracies: Accuracies of architectures, or their means over several trainings.
        deviation: Standard deviation of one training between seeds.
        trainings: The number of trainings in each mean; by default one.
        weights: As for `agreement`.

    Returns:
        None if it is not defined, because all accuracies are equal.
    """
    measured = np.asarray(accuracies, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64) if len(weights) else np.ones(len(measured))
    errors = deviation / np.sqrt(np.asarray(trainings if len(trainings) else np.ones(len(measured)), dtype=np.float64))
    mean = np.average(measured, weights=w)
    spread = float(np.average((measured - mean) ** 2, weights=w)) * len(measured) / (len(measured) - 1)
    noise = float(np.average(errors**2, weights=w))
    truth = mean + math.sqrt(max(0.0, 1 - noise / spread) if spread > 0 else 0.0) * (measured - mean)
    rng = np.random.default_rng(0)
    taus = [
        _taus(_signs(rng.normal(truth, deviation)), _signs(rng.normal(truth, errors)), w[None])[0]
        for _ in range(_REDRAWS)
    ]
    average = float(np.mean(taus))
    return average if math.isfinite(average) else None


@dataclass(frozen=True)
class Ceiling:
    """The tau of one more training, with the 95 % interval that the uncertain noise between seeds gives it."""

    tau: float
    interval: tuple[float, float]

    @classmethod
    def of(
        cls,
        accuracies: Sequence[float],
        entries: Sequence[RankedArch],
        trainings: Sequence[int] = (),
        weights: Sequence[float] = (),
    ) -> Self | None:
        """Returns the ceiling by the noise among the confirmed of some entries; other arguments as for `ceiling`.

        With f degrees of freedom, f s^2 / sigma^2 of the pooled deviation s has a chi-square distribution, so that two
        trainings of one architecture tell hardly anything of the noise.

        Returns:
            None if the noise was not measured, or came out as zero, as it does by chance on few images.
        """
        groups = [entry.accuracies for entry in entries if entry.confirmed]
        deviation, freedom = pooled_deviation(groups), sum(max(0, len(group) - 1) for group in groups)
        if not deviation:
            return None
        least, most = deviation * np.sqrt(freedom / stats.chi2.ppf([0.975, 0.025], freedom))
        taus = [ceiling(accuracies, noise, trainings, weights) for noise in (deviation, float(most), float(least))]
        tau, low, high = (math.nan if each is None else each for each in taus)
        return cls(tau, (min(low, tau), max(high, tau))) if math.isfinite(tau) else None


@dataclass(frozen=True)
class Trust:
    """How well figures such as early epochs, proxies and costs predict the accuracy of trainings to the end."""

    of: str  # the predicted figure
    decision: str  # the decision that depends on it: "stop trials at epoch 3"
    proxies: tuple[Agreement, ...]
    judged: Agreement  # the proxy on which the decision depends
    baselines: tuple[Agreement, ...]
    ceiling: Ceiling | None  # of one more training; None if the noise between seeds was not measured

    @cached_property
    def best_baseline(self) -> Agreement:
        """The cost that predicts best."""
        return max(self.baselines, key=lambda baseline: baseline.tau if math.isfinite(baseline.tau) else -1.0)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data; undefined values are None."""
        return {
            "verdict": self.verdict(),
            "of": self.of,
            "judged": self.judged.name,
            "ceiling": None if self.ceiling is None else dataclasses.asdict(self.ceiling),
            "proxies": [_plain(proxy) for proxy in self.proxies],
            "baselines": [_plain(baseline) for baseline in self.baselines],
        }

    @property
    def caption(self) -> str:
        """The caption of `table`."""
        ceiling = "not measured"
        if self.ceiling is not None:
            ceiling = f"{self.ceiling.tau:.2f}, {' to '.join(map(_text, self.ceiling.interval))}"
        return f"How well the order by {self.of} is predicted (by another seed's training: tau {ceiling})"

    def table(self) -> list[list[str]]:
        """Returns a row of text for each figure, with the columns COLUMNS."""
        return [
            [row.name, _text(row.tau), " to ".join(map(_text, row.interval))]
            + [_text(value) for value in (row.banded, row.spearman, row.recall)]
            for row in (*self.proxies, *self.baselines)
        ]

    def verdict(self) -> str:
        """Returns a sentence on whether to make the decision."""
        proxy = self.judged
        if not math.isfinite(proxy.tau):
            return f"Do not {self.decision}: all architectures are equal by it, or by {self.of}."
        share, low, high = proxy.pairs
        fact = (
            f"of two architectures, the one ahead by {proxy.name} is ahead by {self.of} in {share:.0%} of cases "
            f"({low:.0%} to {high:.0%}, {proxy.count} architectures)"
        )
        if self.ceiling is not None:
            again, lowest, highest = ((1 + tau) / 2 for tau in (self.ceiling.tau, *self.ceiling.interval))
            fact += f", where one more training would give {again:.0%} ({lowest:.0%} to {highest:.0%})"
        baseline = self.best_baseline
        if low <= 0.5:
            return f"Do not {self.decision}: {fact}; that may be chance."
        if proxy.tau <= baseline.tau:
            return f"Do not {self.decision}: {fact}; the number of {baseline.name} alone tells as much."
        how = "Safe to" if low >= 0.7 else "With care," if share >= 0.65 else "Better not"
        return f"{how} {self.decision}: {fact}."


def between_epochs(run: Run) -> Trust | None:
    """Returns how well earlier epochs predict the last one: the rungs, or else a quarter and half of the epochs.

    Stopped trials have no last epoch. The control group, which was due to stop but continued, represents them: each of
    its members has the weight of several trials. This avoids survivorship bias.

    Returns:
        None if too few architectures reached the last epoch, or trials were stopped at a rung without a control group.
    """
    first = min((trial.replicate for trial in run.trials), default=0)  # 0 in a search, 1 in a list
    trials = [trial for trial in run.trials if trial.outcome is Outcome.DONE and trial.replicate == first]
    last = max((trial.curve[-1].epoch for trial in trials), default=0)
    rungs = _rungs(run)
    epochs = rungs or sorted({last // 4, last // 2} - {0, last})
    stopped = {len(trial.curve) for trial in run.trials if trial.outcome is Outcome.STOPPED}
    if len(trials) < LEAST or not epochs or stopped - {trial.control_rung for trial in trials}:
        return None
    if len(trials) > _MOST:
        chosen = np.sort(np.random.default_rng(0).choice(len(trials), _MOST, replace=False))
        trials = [trials[i] for i in chosen]
    weights = [_weight(run, trial) for trial in trials]
    true = [trial.curve[-1].accuracy for trial in trials]
    macs = [float(trial.cost.macs) for trial in trials]
    proxies = tuple(
        agreement(f"epoch {epoch}", [t.curve[epoch - 1].accuracy for t in trials], true, macs, weights)
        for epoch in epochs
    )
    judged = proxies[0] if rungs else proxies[-1]  # most trials stop at the first rung
    best = Ceiling.of(true, run.entries, weights=weights)
    decision = f"stop trials at {judged.name}"
    return Trust(f"epoch {last}", decision, proxies, judged, _baselines(trials, true, weights), best)


def against(run: Run, full: Run) -> Trust | None:
    """Returns how well a run's accuracies predict those of another run, for the architectures in both.

    Returns:
        None if they have too few in common.

    Raises:
        RunError: if they are the same run.
    """
    if run.path.resolve() == full.path.resolve():
        raise RunError(f"{full.path}: the same run; give one that trained its architectures longer")
    known = {entry.spec.fingerprint: entry for entry in full.entries}
    pairs = [(entry, known[entry.spec.fingerprint]) for entry in run.entries if entry.spec.fingerprint in known]
    pairs = pairs[:_MOST]
    if len(pairs) < LEAST:
        return None
    paths = run.path.resolve(), full.path.resolve()
    names = [path.name if paths[0].name != paths[1].name else str(path) for path in paths]
    true = [entry.accuracy for _, entry in pairs]
    macs = [float(entry.cost.macs) for entry, _ in pairs]
    proxy = agreement(f"{names[0]}'s accuracy", [entry.accuracy for entry, _ in pairs], true, macs)
    trials = [entry.trials[0] for entry, _ in pairs]
    best = Ceiling.of(true, full.entries, [entry.seeds for _, entry in pairs])
    return Trust(f"{names[1]}'s accuracy", f"rely on {proxy.name}", (proxy,), proxy, _baselines(trials, true, ()), best)


def _baselines(trials: Sequence[Trial], true: Sequence[float], weights: Sequence[float]) -> tuple[Agreement, ...]:
    macs = [float(trial.cost.macs) for trial in trials]
    return tuple(
        agreement(name, [float(getattr(trial.cost, name)) for trial in trials], true, macs, weights)
        for name in BASELINES
    )


def _plain(row: Agreement) -> dict[str, Any]:
    values = {**dataclasses.asdict(row), "low": row.interval[0], "high": row.interval[1]}
    del values["interval"]
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _taus(x: Values, y: Values, weights: Values, among: NDArray[np.bool_] | None = None) -> Values:
    """Returns the tau-b of two sign matrices for each row of weights, over all pairs or the pairs in a mask."""
    products = [x * y, x * x, y * y] if among is None else [x * y * among, x * x * among, y * y * among]
    agreeing, untied_x, untied_y = (((weights @ product) * weights).sum(axis=1) for product in products)
    scale = np.sqrt(untied_x * untied_y)
    return np.asarray(np.divide(agreeing, scale, out=np.full(len(weights), math.nan), where=scale > 0))


def _signs(values: Values) -> Values:
    return np.sign(values[:, None] - values[None])


def _recall(x: Values, y: Values) -> float:
    """Returns the expected share of the top fifth by y in the top fifth by x, with random order of ties."""
    top = max(1, round(_TOP * len(x)))

    def chances(values: Values) -> Values:
        cut = np.sort(values)[-top]
        tied = values == cut
        return np.asarray(np.where(tied, (top - (values > cut).sum()) / tied.sum(), values > cut))

    return float((chances(x) * chances(y)).sum()) / top


def _rungs(run: Run) -> list[int]:
    """Returns the epochs at which trials were stopped or due to stop."""
    stopped = {len(trial.curve) for trial in run.trials if trial.outcome is Outcome.STOPPED}
    return sorted(stopped | {trial.control_rung for trial in run.trials if trial.control_rung})


def _weight(run: Run, trial: Trial) -> float:
    """Returns the number of trials that a finished one represents: more than one in the control group."""
    if not trial.control_rung:
        return 1.0
    rung = trial.control_rung
    stopped = sum(trial.outcome is Outcome.STOPPED and len(trial.curve) == rung for trial in run.trials)
    control = sum(trial.outcome is Outcome.DONE and trial.control_rung == rung for trial in run.trials)
    return 1 + stopped / control
