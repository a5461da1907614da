"""Trials on a time axis: lanes without overlap, and hypervolumes that grow."""

import dataclasses
import itertools
from datetime import timedelta

import numpy as np
import pytest
from reports import START, trial

from nxt.analysis import timeline
from nxt.search.study.timestamps import Span
from nxt.search.trial import Epoch, Outcome


def test_lanes_never_overlap_and_are_as_few_as_can_be():
    rng = np.random.default_rng(3)
    trials = [trial(n, 0.5) for n in range(60)]
    begun = rng.integers(0, 300, 60)
    ended = begun + rng.integers(1, 60, 60)
    spans = [
        (START + timedelta(seconds=int(b)), START + timedelta(seconds=int(e)))
        for b, e in zip(begun, ended, strict=True)
    ]
    bars = timeline.lanes(trials, {n: Span(*span) for n, span in enumerate(spans)})
    for lane in range(1 + max(bar.lane for bar in bars)):
        own = sorted((bar.begun, bar.ended) for bar in bars if bar.lane == lane)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(own))
    together = max(int(((begun <= t) & (t < ended)).sum()) for t in range(400))
    assert 1 + max(bar.lane for bar in bars) == together and len(bars) == 60


def test_a_trial_that_has_not_ended_counts_as_long_as_its_epochs_took():
    running = trial(0, 0.5, Outcome.RUNNING, epochs=2)
    [bar] = timeline.lanes([running], {0: Span(START, None)})
    assert (bar.begun, bar.ended) == (0, 10)
    assert timeline.lanes([running], {}) == []


def test_the_hypervolume_grows_to_what_was_found():
    macs = [4.0, 1.0, 2.0, 2.0]
    trials = [
        dataclasses.replace(trial(n, 0.5), cost=dataclasses.replace(trial(n).cost, macs=int(m)))
        for n, m in enumerate(macs)
    ]
    for t, accuracy in zip(trials, (0.5, 0.5, 0.9, 0.7), strict=True):
        t.curve = [Epoch(1, accuracy, 1.0, 1.0)]
    order = {0: 30, 1: 10, 2: 40, 3: 20}  # seconds at which each ended
    times = {n: Span(START, START + timedelta(seconds=s)) for n, s in order.items()}
    curve = timeline.growth(trials, times, "macs")
    # scaled: (1, 0), (0, 0), (1/2, 1), (1/2, 1/2); the reference is (1, 0)
    assert curve == [(10, 0), (20, pytest.approx(0.5)), (30, pytest.approx(0.5)), (40, 1.0)]
    assert timeline.growth(trials[:2], times, "macs") == [] == timeline.growth([], {}, "macs")


def ended(trials):
    return {t.number: Span(START, START + timedelta(seconds=10 * (t.number + 1))) for t in trials}


def test_beside_another_run_both_hypervolumes_are_shares_of_what_both_found():
    def costing(number, macs, accuracy):
        made = trial(number, accuracy)
        return dataclasses.replace(made, cost=dataclasses.replace(made.cost, macs=macs))

    mine, others = (
        [costing(0, 4, 0.5), costing(1, 2, 0.9)],
        [costing(0, 4, 0.5), costing(1, 1, 0.7), costing(2, 1, 0.5)],
    )
    # scaled: (1, 0), (1/2, 1) and (1, 0), (0, 1/2), (0, 0): together 1/2 + 1/4
    curve = timeline.growth(mine, ended(mine), "macs", others)
    assert curve == [(10, 0), (20, pytest.approx(2 / 3))]
    other = timeline.growth(others, ended(others), "macs", mine)
    assert other == [(10, 0), (20, pytest.approx(2 / 3)), (30, pytest.approx(2 / 3))]


def test_what_chance_finds_is_the_mean_over_the_orders_of_its_trials():
    def costing(number, macs, accuracy, family=""):
        made = trial(number, accuracy, family=family)
        return dataclasses.replace(made, cost=dataclasses.replace(made.cost, macs=macs))

    # scaled: the reference at (1, 0); of the drawn ones, (0, 1) finds everything and the others nothing
    trials = [costing(0, 4, 0.5, "ResNet-like"), *(costing(n, 4, 0.5) for n in range(1, 4)), costing(4, 1, 0.9)]
    rows = timeline.growth_by_chance(trials, ended(trials), "macs")
    assert [row[0] for row in rows] == [10, 20, 30, 40, 50]
    means = [row[1] for row in rows]
    assert means[0] == 0 and means[-1] == 1 and means == sorted(means)
    assert means[1:4] == pytest.approx([1 / 4, 1 / 2, 3 / 4], abs=0.15)  # 100 orders: 3 standard errors
    assert all(low <= mean <= high for _, mean, low, high in rows) and rows[2][2:] == (0, 1)
    many = [costing(n, 1 + n % 7, 0.5 + 0.001 * n) for n in range(300)]
    assert len(timeline.growth_by_chance(many, ended(many), "macs")) == 60
    assert timeline.growth_by_chance([], {}, "macs") == []
