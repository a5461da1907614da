"""Searches on a virtual clock: the real strategy, with a table of trained networks in the place of training.

What a search would have found after so many epochs is known in seconds, so that samplers and schedulers can be compared
over many seeds before a GPU is asked.
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
from nxt.search.strategy.sampler import FeasibleSampler
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
    epochs: int  # spent by then, by all trials
    clock: float  # seconds on the virtual clock


@dataclass
class Simulation:
    """What a simulated search did."""

    found: list[Found] = field(default_factory=list)
    epochs: int = 0  # spent in all
    clock: float = 0.0
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
    """Searches a table until so many epochs are spent, or so much time, or nothing is left to train.

    The control group, references and confirmation of a real search are left out: they measure, and find nothing.

    Args:
        table: The networks.
        sampler: A key of `SAMPLERS`.
        scheduler: One of `SCHEDULERS`.
        epochs: Of all trials together.
        seed: Of the search.
        seconds: On the virtual clock.
        workers: Trials at a time, each taking the table's seconds for an epoch.
        eta: One in eta trials goes on at a rung.
        grace: Share of a trial's epochs before the first rung.
    """
    stops = rungs(table.epochs, eta, grace)
    strategy = Strategy(
        InMemoryStudy(table, "macs"),
        SearchAgenda(FeasibleSampler(table, [], sampler, seed), {}, None),
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
    """Measures what was found of a table: shares of its true front's hypervolume, and regret by cost.

    Accuracy (after the last epoch) and log MACs are both scaled to the table's range; the reference point is the worst
    accuracy at the highest MACs.

    Raises:
        ConfigError: if the table has no such hypervolume: no network is both cheaper and better than its worst.
    """

    def __init__(self, table: Table) -> None:
        rows = list(table.rows.values())
        accuracy = np.array([row.curve[-1] for row in rows])
        log_macs = np.log([row.macs for row in rows])
        scaled = np.stack([_to_range(log_macs), _to_range(accuracy)], axis=1)
        self._scaled = {point: (float(x), float(y)) for point, (x, y) in zip(table.rows, scaled, strict=True)}
        self._accuracy = dict(zip(table.rows, accuracy, strict=True))
        self._whole = hypervolume(list(self._scaled.values()), (1.0, 0.0))
        require(self._whole > 0, table.name, "nothing in it is cheaper than its costliest and better than its worst")

    def hypervolume(self, found: Sequence[Found]) -> float:
        """Returns the hypervolume of what was found, as a share of the table's."""
        return hypervolume([self._scaled[one.point] for one in found], (1.0, 0.0)) / self._whole

    def curve(self, found: Sequence[Found], at: Sequence[float], by: str = "epochs") -> NDArray[np.float64]:
        """Returns the share of the hypervolume after so many epochs each; or, by "clock", so many seconds."""
        return np.array([self.hypervolume([one for one in found if getattr(one, by) <= limit]) for limit in at])

    def regret(self, found: Sequence[Found], bands: int = 3) -> NDArray[np.float64]:
        """Returns, for each band of log MACs, how far the best found is below the best of the table, in accuracy.

        The bands are equally wide; of one in which nothing was found, the regret is that of its worst network.
        """
        band_of = {point: min(int(x * bands), bands - 1) for point, (x, _) in self._scaled.items()}
        result = []
        for band in range(bands):
            members = [self._accuracy[point] for point, own in band_of.items() if own == band]
            reached = [self._accuracy[one.point] for one in found if band_of[one.point] == band]
            result.append(max(members) - max([*reached, min(members)]) if members else 0.0)
        return np.array(result)


def _to_range(values: NDArray[np.float64]) -> NDArray[np.float64]:
    span = float(np.ptp(values)) or 1.0
    return np.asarray((values - values.min()) / span)
