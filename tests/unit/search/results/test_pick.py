"""Picking: the knee of the front, the most accurate inside limits, and the next costlier architecture."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from nxt.arch.costs import Cost
from nxt.arch.load import parse_name
from nxt.errors import RunError
from nxt.search.ranking import RankedArch, pareto, ranked
from nxt.search.results.pick import pick
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.budget import Budget, parse_budget


@dataclass
class Finished:
    """The part of a run that picking reads."""

    entries: list[RankedArch]
    path: Path = Path("here")
    objective: str = "macs"

    @property
    def front(self):
        return pareto(self.entries, self.objective)

    def error(self, entry):
        return 0.03 if entry.seeds == 1 else 0.01


def finished(*points):
    """Return a run whose architectures have these (millions of multiply-adds, accuracy in 0..1)."""
    trials = [
        Trial(
            number=number, point=(number,), spec=parse_name(f"resnext_{number + 1}-1-1_w8_1x8d_cifar"),
            cost=Cost(macs=round(10**6 * macs), params=10**4 * (number + 1), acts=10**4), outcome=Outcome.DONE,
            curve=[Epoch(epoch=1, accuracy=accuracy, loss=1.0, seconds=1.0)],
        )
        for number, (macs, accuracy) in enumerate(points)
    ]  # fmt: skip
    return Finished(ranked(trials))


def run_trial(run, number):
    """Return a trial of a run by its number."""
    return next(trial for entry in run.entries for trial in entry.trials if trial.number == number)


def test_without_limits_it_is_the_knee_with_its_shares_of_the_front_s_ranges():
    picked = pick(finished((1, 0.5), (2, 0.8), (5, 0.9), (6, 0.7)), Budget())
    assert (picked.entry.cost.macs, picked.cost, picked.candidates) == (2 * 10**6, "macs", 3)
    assert picked.knee == pytest.approx((0.75, 0.25))


def test_the_next_step_is_the_cheapest_of_those_that_are_costlier_and_more_accurate():
    step = pick(finished((1, 0.5), (2, 0.8), (5, 0.9), (9, 0.99)), Budget()).next
    assert step.entry.cost.macs == 5 * 10**6
    assert (step.more_cost, step.gain, step.error) == pytest.approx((1.5, 0.1, 0.03 * 2**0.5))
    assert step.clear  # 10 points are more than twice 4.2
    assert not pick(finished((1, 0.5), (2, 0.8), (5, 0.82)), Budget()).next.clear


def test_inside_limits_the_confirmed_best_comes_before_what_only_the_search_saw_higher():
    run = finished((1, 0.5), (2, 0.8), (5, 0.9))
    again = [dataclasses.replace(run.entries[1].trials[0], number=9 + n, replicate=n) for n in (1, 2)]
    confirmed = Finished(ranked([*(entry.trials[0] for entry in run.entries), *again]))
    assert pick(confirmed, parse_budget({"flops": ":6M"})).entry.cost.macs == 2 * 10**6
    assert pick(confirmed, parse_budget({"flops": "4M:6M"})).entry.cost.macs == 5 * 10**6
    assert pick(run, parse_budget({"flops": ":6M"})).entry.cost.macs == 5 * 10**6


def test_inside_limits_what_was_confirmed_comes_first_and_what_stands_higher_is_named():
    run = finished((1, 0.5), (2, 0.8), (5, 0.9), (5.5, 0.7), (5.6, 0.6))
    again = [dataclasses.replace(run_trial(run, n), number=9 + n, replicate=1) for n in (1, 4)]
    confirmed = Finished(ranked([*(run_trial(run, n) for n in range(5)), *again]))
    picked = pick(confirmed, parse_budget({"flops": "4M:6M"}))
    assert (picked.entry.accuracy, picked.candidates, picked.higher.accuracy) == (0.6, 3, 0.9)
    picked = pick(confirmed, parse_budget({"flops": "4M:5.5M"}))  # nothing was confirmed there
    assert (picked.entry.accuracy, picked.higher) == (0.9, None)
    assert pick(confirmed, parse_budget({"flops": ":3M"})).higher is None


def test_two_points_have_no_knee_and_the_most_accurate_has_no_next_step():
    picked = pick(finished((1, 0.5), (2, 0.8)), Budget())
    assert (picked.entry.accuracy, picked.knee, picked.next, picked.candidates) == (0.8, None, None, 2)


def test_pick_returns_the_most_accurate_architecture_inside_the_limits_and_names_its_cost():
    run = finished((1, 0.5), (2, 0.8), (5, 0.9), (6, 0.7))
    picked = pick(run, parse_budget({"flops": ":4M"}))
    assert (picked.entry.accuracy, picked.candidates, picked.cost, picked.knee) == (0.8, 2, "macs", None)
    assert pick(run, parse_budget({"params": ":20K"})).cost == "params"
    assert pick(run, parse_budget({"params": ":20K", "acts": ":20K"})).cost == "macs"


def test_what_cannot_be_picked_is_said_with_the_nearest():
    with pytest.raises(RunError, match="here: no trial has reached the last epoch, so there is nothing to pick from"):
        pick(finished(), Budget())
    with pytest.raises(RunError, match=r"none of the 2 architectures .* has macs <= .*; the nearest is"):
        pick(finished((1, 0.5), (2, 0.8)), parse_budget({"flops": ":10K"}))
