"""Fronts of two searches: their joint front, their hypervolumes, and why they may not compare."""

import math
from dataclasses import dataclass, field

import pytest

from nxt.analysis import compare_runs
from nxt.analysis.compare_runs import RunPair
from nxt.arch.costs import Cost
from nxt.arch.load import parse_name
from nxt.errors import RunError
from nxt.search.ranking import RankedArch, pareto, ranked
from nxt.search.trial import Epoch, Outcome, Trial


@dataclass
class Finished:
    """The part of a run that comparing reads."""

    entries: list[RankedArch]
    objective: str = "macs"
    front: list[RankedArch] = field(init=False)

    def __post_init__(self):
        self.front = pareto(self.entries, self.objective)


def finished(*points, objective="macs"):
    """Returns a run whose architectures have these (multiply-adds, accuracy in 0..1)."""
    trials = [
        Trial(
            number=number, point=(number,), spec=parse_name(f"resnext_{number + 1}-1-1_w8_1x8d_cifar"),
            cost=Cost(macs=macs, params=1, acts=macs), outcome=Outcome.DONE,
            curve=[Epoch(epoch=1, accuracy=accuracy, loss=1.0, seconds=1.0)],
        )
        for number, (macs, accuracy) in enumerate(points)
    ]  # fmt: skip
    return Finished(ranked(trials), objective)


@pytest.fixture(autouse=True)
def comparable(monkeypatch):
    """Treats all runs as trained alike."""
    monkeypatch.setattr(compare_runs, "check_comparable", lambda first, second: None)


def test_the_joint_front_leaves_out_what_the_other_run_dominates():
    pair = RunPair(finished((100, 0.5), (300, 0.8)), finished((200, 0.6), (400, 0.7)))
    name = [entry.spec.fingerprint for entry in pair.first.front]
    assert pair.ranked and pair.joint_front() == {(0, name[0]), (0, name[1]), (1, name[0])}


def test_hypervolumes_are_above_the_worst_of_both_in_the_logarithm_of_cost():
    pair = RunPair(finished((100, 0.5), (200, 0.8)), finished((400, 0.9)))
    assert pair.reference_point() == (400, 0.5)
    assert pair.hypervolumes() == pytest.approx((0.3 * math.log(2), 0.0))


def test_fronts_of_different_costs_do_not_compare():
    pair = RunPair(finished((100, 0.5)), finished((100, 0.5), objective="acts"))
    assert pair.difference == "the fronts cannot be compared: they are of macs and acts"
    assert not pair.ranked and pair.cost == "macs"
    assert RunPair(pair.second, pair.second).cost == "acts"


def test_what_was_trained_otherwise_is_told(monkeypatch):
    def refuse(first, second):
        raise RunError("they differ in data")

    monkeypatch.setattr(compare_runs, "check_comparable", refuse)
    pair = RunPair(finished((100, 0.5)), finished((100, 0.5)))
    assert pair.difference == "they differ in data" and not pair.ranked


def test_a_run_without_a_front_is_not_ranked():
    assert not RunPair(finished((100, 0.5)), finished()).ranked
