"""Simulated searches on a virtual clock: the real strategy, with a table of trained networks instead of training.

A simulated search takes seconds, so that samplers and schedulers can be compared over many seeds without a GPU.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nxt.config import require
from nxt.pareto import hypervolume
from nxt.search.simulation.table import Table
from nxt.search.strategy.agenda import SearchAgenda
from nxt.search.strategy.samplers import make_sampler
from nxt.search.strategy.schedulers import Decision, make_scheduler, rungs
from nxt.search.strategy.strategy import Strategy
from nxt.search.study.memory import InMemoryStudy
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.budget import Budget
from nxt.space.space import Point


@dataclass(frozen=True)
class Found:
    """A network that a simulated search has trained to the end."""

    point: Point
    epochs: int  # of all trials by then
    clock: float  # seconds on the virtual clock


@dataclass
class Simulation:
    """The result of a simulated search."""

    found: list[Found] = field(default_factory=list)
    epochs: int = 0  # of all trials
    clock: float = 0.0  # seconds on the virtual clock
    trials: int = 0  # begun
    stopped: int = 0


def simulate(
    table: Table,
    sampler: str,
    scheduler: str,
    epochs: float,
    seed: int = 0,
    *,
    seconds: float = math.inf,
    workers: int = 1,
    eta: float = 3.0,
    grace: float = 0.5,
) -> Simulation:
    """Searches a table until the epochs or seconds are spent, or nothing is left to train.

    It leaves out the control group, references and confirmation of a real search, because these find nothing.

    Args:
        table: The networks.
        sampler: One of `SAMPLERS`.
        scheduler: One of `SCHEDULERS`.
        epochs: Limit on the epochs of all trials together.
        seed: The seed of the search.
        seconds: Limit on the virtual clock.
        workers: Number of trials at a time; an epoch takes the table's seconds.
        eta: One in eta trials continues at a rung.
        grace: Share of a trial's epochs before the first rung.
    """
    stops = rungs(table.epochs, eta, grace)
    strategy = Strategy(
        InMemoryStudy(table, "macs"),
        SearchAgenda(make_sampler(sampler, table, [], seed), {}, None),
        make_scheduler(scheduler, stops, eta, Budget(), "macs"),
        table.epochs,
        seed,
    )
    result = Simulation()
    running: list[tuple[float, int]] = []  # when the next epoch of a trial ends, and its number
    while result.epochs < epochs and result.clock < seconds:
        while len(running) < workers and (trial := strategy.suggest()) is not None:
            result.trials += 1
            heapq.heappush(running, (result.clock + table.rows[trial.point].seconds, trial.number))
        if not running:
            break
        result.clock, number = heapq.heappop(running)
        trial = strategy.study.trials[number]
        result.epochs += 1
        if _next_epoch(strategy, table, trial) is Decision.CONTINUE:
            heapq.heappush(running, (result.clock + table.rows[trial.point].seconds, number))
        elif trial.outcome is Outcome.DONE:
            result.found.append(Found(trial.point, result.epochs, result.clock))
        else:
            result.stopped += 1
    return result


def _next_epoch(strategy: Strategy, table: Table, trial: Trial) -> Decision:
    row, epoch = table.rows[trial.point], len(trial.curve) + 1
    return strategy.observe(trial.number, Epoch(epoch, float(row.curve[epoch - 1]), 0.0, row.seconds))


class Yardstick:
    """Measures the networks found: their share of the hypervolume of the table's front, and their regret by cost.

    Accuracy (after the last epoch) and log MACs are both scaled to the table's range; the reference point is the worst
    accuracy at the highest MACs.

    Raises:
        ConfigError: if that hypervolume is zero: none is both cheaper than the costliest and better than the worst.
    """

    def __init__(self, table: Table) -> None:
        rows = list(table.rows.values())
        accuracy = np.array([row.curve[-1] for row in rows])
        log_macs = np.log([row.macs for row in rows])
        scaled = np.stack([_to_range(log_macs), _to_range(accuracy)], axis=1)
        self._scaled = {point: (float(x), float(y)) for point, (x, y) in zip(table.rows, scaled, strict=True)}
        self._accuracy = dict(zip(table.rows, accuracy, strict=True))
        self._total = hypervolume(list(self._scaled.values()), (1.0, 0.0))
        require(self._total > 0, table.name, "nothing in it is cheaper than its costliest and better than its worst")

    def hypervolume(self, found: Sequence[Found]) -> float:
        """Returns the hypervolume of the networks found, as a share of the table's."""
        return hypervolume([self._scaled[network.point] for network in found], (1.0, 0.0)) / self._total

    def curve(self, found: Sequence[Found], at: Sequence[float], by: str = "epochs") -> NDArray[np.float64]:
        """Returns the share of the hypervolume at each of these epochs; or, by "clock", at each of these seconds."""
        return np.array([self.hypervolume([n for n in found if getattr(n, by) <= limit]) for limit in at])

    def regret(self, found: Sequence[Found], bands: int = 3) -> NDArray[np.float64]:
        """Returns, for each band of log MACs, the accuracy of the table's best minus that of the best found.

        The bands are equally wide. If nothing was found in a band, its worst network counts as found.
        """
        band_of = {point: min(int(x * bands), bands - 1) for point, (x, _) in self._scaled.items()}
        result = []
        for band in range(bands):
            members = [self._accuracy[point] for point in band_of if band_of[point] == band]
            reached = [self._accuracy[network.point] for network in found if band_of[network.point] == band]
            result.append(max(members) - max([*reached, min(members)]) if members else 0.0)
        return np.array(result)


def _to_range(values: NDArray[np.float64]) -> NDArray[np.float64]:
    span = float(np.ptp(values)) or 1.0
    return np.asarray((values - values.min()) / span)
