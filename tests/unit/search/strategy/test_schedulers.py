"""Successive halving: who goes on at a rung, and where the rungs are."""

import math
import random

import pytest

from nxt.arch.costs import Cost
from nxt.search.request import SCHEDULERS
from nxt.search.strategy.schedulers import Decision, make_scheduler, rungs
from nxt.space.budget import parse_budget


@pytest.mark.parametrize(
    ("epochs", "eta", "grace", "expected"),
    [
        (27, 3, 1 / 9, (3, 9)),
        (27, 3, 1 / 27, (1, 3, 9)),
        (9, 3, 0.5, (4,)),
        (8, 3, 0.5, (4,)),
        (4, 3, 0.5, (2,)),
        (16, 2, 0.125, (2, 4, 8)),
        (100, 4, 0.01, (1, 4, 16, 64)),
        (9, 3, 1.0, ()),
        (1, 3, 0.5, ()),
        (2, 3, 0.001, (1,)),
    ],
)
def test_rungs_begin_at_the_grace_and_grow_by_eta(epochs, eta, grace, expected):
    assert rungs(epochs, eta, grace) == expected


@pytest.mark.parametrize("eta", [2, 3, 4.5, 100])
@pytest.mark.parametrize("epochs", [1, 2, 5, 9, 50])
@pytest.mark.parametrize("grace", [0.01, 0.3, 0.5, 1.0])
def test_rungs_rise_and_end_before_the_last_epoch(epochs, eta, grace):
    result = rungs(epochs, eta, grace)
    assert list(result) == sorted(set(result))
    assert all(1 <= rung < epochs for rung in result)


@pytest.mark.parametrize("eta", [1.05, 1.5])
def test_rungs_that_grow_slowly_still_rise(eta):
    result = rungs(50, eta, 0.01)
    assert list(result) == sorted(set(result))


STOPPING = [name for name in SCHEDULERS if name != "none"]
WINDOW, RANGE = parse_budget({"flops": "1000+-8%"}), parse_budget({"flops": "1:1000000"})


def make(name="asha", at=(2,), eta=3, budget=WINDOW):
    return make_scheduler(name, at, eta, budget, "macs")


def climb(scheduler, accuracies, epoch=2, macs=1000):
    """Let trials of equal or of given costs reach a rung one after the other, and tell which of them went on."""
    verdicts = []
    for number, accuracy in enumerate(accuracies):
        cost = Cost(macs=macs if isinstance(macs, int) else macs[number])
        scheduler.record(number, epoch, accuracy, cost)
        verdicts.append(scheduler.decide(number, epoch) is Decision.CONTINUE)
    return verdicts


# All schedulers: at equal costs they differ in nothing but whether they stop.


@pytest.mark.parametrize("name", STOPPING)
@pytest.mark.parametrize(
    ("accuracies", "eta", "expected"),
    [
        ([0.1, 0.2], 3, [True, True]),
        ([0.3, 0.2, 0.1], 3, [True, True, False]),
        ([0.1, 0.2, 0.3], 3, [True, True, True]),
        ([0.1, 0.2, 0.3, 0.25, 0.15], 3, [True, True, True, True, False]),
        ([0.5, 0.5, 0.5, 0.5], 3, [True] * 4),
        ([0.2, 0.1], 2, [True, False]),
        ([0.2, 0.1], 1.5, [True, True]),
        ([0.3, 0.2, 0.1], 1.5, [True, True, False]),
        ([0.0, 0.0, 0.0], 3, [True, True, True]),
    ],
)
def test_the_best_of_those_that_came_before_go_on(name, accuracies, eta, expected):
    assert climb(make(name, eta=eta), accuracies) == expected


@pytest.mark.parametrize("name", STOPPING)
@pytest.mark.parametrize("eta", [2, 3, 5])
def test_about_one_in_eta_of_many_goes_on(name, eta):
    draw = random.Random(2)
    accuracies = [n / 300 for n in range(300)]
    draw.shuffle(accuracies)
    went_on = sum(climb(make(name, eta=eta), accuracies))
    assert 300 / eta * 0.85 < went_on < 300 / eta * 1.2


@pytest.mark.parametrize("name", STOPPING)
@pytest.mark.parametrize("eta", [2, 3, 5])
def test_about_one_in_eta_goes_on_where_costs_differ_widely(name, eta):
    """Costs over a decade, accuracies that rise with them: hardly any trial dominates another.

    (For asha, the first few of each band go on because there is nothing yet to compare with.)
    """
    draw = random.Random(3)
    macs = [round(10 ** draw.uniform(4, 5)) for _ in range(300)]
    accuracies = [math.log10(n) / 5 + draw.gauss(0, 0.01) for n in macs]
    went_on = sum(climb(make(name, eta=eta, budget=RANGE), accuracies, macs=macs))
    assert 300 / eta * 0.85 < went_on < 300 / eta * 2


@pytest.mark.parametrize("name", STOPPING)
def test_a_trial_is_judged_by_all_that_reached_the_rung_by_then(name):
    scheduler = make(name)
    assert climb(scheduler, [0.1, 0.2, 0.3]) == [True, True, True]
    assert scheduler.decide(0, 2) is Decision.STOP
    assert scheduler.decide(2, 2) is Decision.CONTINUE


@pytest.mark.parametrize("name", STOPPING)
def test_epochs_that_are_no_rungs_decide_nothing(name):
    scheduler = make(name, at=(2, 6))
    assert climb(scheduler, [0.9, 0.8, 0.7, 0.1], epoch=3) == [True] * 4
    assert climb(scheduler, [0.9, 0.8, 0.1], epoch=6) == [True, True, False]


@pytest.mark.parametrize("name", STOPPING)
def test_each_rung_has_its_own_comparison(name):
    scheduler = make(name, at=(2, 6))
    climb(scheduler, [0.9] * 5, epoch=2)
    assert climb(scheduler, [0.1, 0.1], epoch=6) == [True, True]


@pytest.mark.parametrize("name", STOPPING)
def test_a_trial_recorded_twice_counts_once_with_its_last_accuracy(name):
    scheduler = make(name)
    for accuracy in (0.9, 0.1, 0.5):
        scheduler.record(0, 2, accuracy, Cost(macs=1000))
    scheduler.record(1, 2, 0.6, Cost(macs=1000))
    assert scheduler.decide(0, 2) is Decision.CONTINUE and scheduler.decide(1, 2) is Decision.CONTINUE
    scheduler.record(2, 2, 0.55, Cost(macs=1000))
    assert scheduler.decide(0, 2) is Decision.STOP


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_trial_that_was_never_recorded_goes_on(name):
    scheduler = make(name)
    climb(scheduler, [0.9] * 5)
    assert scheduler.decide(99, 2) is Decision.CONTINUE


# Each for itself.


def test_none_stops_nothing():
    scheduler = make("none", at=(2, 6))
    assert scheduler.rungs == ()
    assert climb(scheduler, [0.9, 0.8, 0.7, 0.1, 0.0]) == [True] * 5


def test_asha_compares_in_bands_unless_all_cost_alike():
    cheap, dear = [0.1, 0.2, 0.3], [0.7, 0.8, 0.9]
    macs = [1000, 100_000] * 3
    mixed = [accuracy for pair in zip(cheap, dear, strict=True) for accuracy in pair]
    assert climb(make("asha", budget=RANGE), mixed, macs=macs)[4:] == [True, True]
    assert climb(make("asha", budget=WINDOW), mixed, macs=macs)[4:] == [False, True]


def test_a_band_spans_twice_the_cost():
    scheduler = make("asha", eta=2, budget=RANGE)
    assert climb(scheduler, [0.9, 0.1, 0.1], macs=[2**14, 2**15 - 1, 2**15]) == [True, False, True]


def test_pareto_keeps_a_cheap_network_that_nobody_dominates():
    macs, accuracies = [5000, 4000, 3000, 1000], [0.9, 0.8, 0.7, 0.2]
    assert climb(make("pareto-asha"), accuracies, macs=macs) == [True, True, True, True]
    assert climb(make("asha"), accuracies, macs=macs) == [True, True, False, False]


def test_pareto_stops_what_is_dominated():
    macs, accuracies = [1000, 2000, 3000, 2500], [0.9, 0.8, 0.7, 0.85]
    assert climb(make("pareto-asha"), accuracies, macs=macs)[2:] == [False, True]


def test_of_a_crowded_front_the_ends_and_the_gaps_go_on():
    scheduler = make("pareto-asha", eta=2)
    macs, accuracies = [1000, 2000, 2100, 2200, 5000, 8000], [0.1, 0.5, 0.51, 0.52, 0.7, 0.9]
    climb(scheduler, accuracies, macs=macs)
    goes_on = [scheduler.decide(number, 2) is Decision.CONTINUE for number in range(6)]
    assert goes_on == [True, False, False, False, True, True]
