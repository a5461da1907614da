"""Simulated searches: a virtual clock and honest accounts, and a yardstick checked by hand."""

import itertools

import numpy as np
import pytest

from nxt.errors import ConfigError
from nxt.search.request import SAMPLERS, SCHEDULERS
from nxt.search.simulation.simulate import Found, Yardstick, simulate
from nxt.search.simulation.table import Row, Table
from nxt.search.strategy.schedulers import rungs

EPOCHS = 6


def made(side=6, seconds=lambda a, b: 1.0):
    """A table of two axes: one buys accuracy for cost, the other has a best value in the middle."""
    rows = []
    for a, b in itertools.product(range(side), range(side)):
        final = 0.3 + 0.08 * a - 0.03 * abs(b - side // 2)
        curve = final * np.arange(1, EPOCHS + 1) / EPOCHS
        rows.append(Row((float(a), float(b)), 2.0**a * (1 + 0.1 * b), curve, seconds(a, b)))
    return Table("made", ["a", "b"], rows)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_simulation_spends_what_it_is_given_and_says_on_what(sampler, scheduler):
    table = made()
    result = simulate(table, sampler, scheduler, 80, seed=1)
    assert result.epochs == 80
    points = [network.point for network in result.found]
    assert len(set(points)) == len(points) and all(point in table for point in points)
    running = result.trials - result.stopped - len(result.found)
    assert running == (1 if result.found[-1].epochs < 80 else 0)
    assert len(result.found) * EPOCHS <= 80
    assert [network.epochs for network in result.found] == sorted(network.epochs for network in result.found)
    if scheduler == "none":
        assert result.stopped == 0 and [network.epochs for network in result.found] == list(range(6, 79, 6))
    else:
        assert result.stopped > 0 and result.trials > 80 / EPOCHS
    assert simulate(table, sampler, scheduler, 80, seed=1) == result


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_given_enough_everything_is_trained_and_nothing_is_left_to_find(sampler):
    table = made(side=4)
    result = simulate(table, sampler, "none", 10**6)
    assert sorted(network.point for network in result.found) == sorted(table.rows)
    assert result.epochs == 16 * EPOCHS
    assert Yardstick(table).hypervolume(result.found) == pytest.approx(1)
    assert Yardstick(table).regret(result.found) == pytest.approx([0, 0, 0])


def test_the_clock_runs_on_every_worker_at_once():
    table = made(side=4)
    assert [simulate(table, "random", "none", 10**6, workers=n).clock for n in (1, 2, 4, 16)] == [96, 48, 24, 6]


def test_the_clock_ends_with_the_slowest_trial():
    table = made(side=2, seconds=lambda a, b: 10.0 if (a, b) == (1, 1) else 1.0)
    result = simulate(table, "random", "none", 10**6, workers=4)
    assert result.clock == 60 and result.epochs == 24
    slow = next(network for network in result.found if network.clock == 60)
    assert table.rows[slow.point].values == (1, 1) and slow.epochs == 24


def test_time_is_a_budget_as_well():
    table = made(side=4, seconds=lambda a, b: 1.0 + a)
    result = simulate(table, "random", "none", 10**6, seconds=50.0, workers=2)
    whole = simulate(table, "random", "none", 10**6, workers=2)
    assert result.clock == 50 and result.found == [network for network in whole.found if network.clock <= 50]
    shares = Yardstick(table).curve(whole.found, [0, 50, whole.clock], by="clock")
    assert list(shares) == pytest.approx([0, Yardstick(table).hypervolume(result.found), 1])
    assert table.training_seconds == 6 * 2.5


def test_what_is_stopped_costs_the_epochs_up_to_its_rung():
    result = simulate(made(), "random", "asha", 10**6, eta=2, grace=1 / 6)
    assert rungs(EPOCHS, 2, 1 / 6) == (1, 2, 4)
    spent_on_stopped = result.epochs - EPOCHS * len(result.found)
    assert result.stopped <= spent_on_stopped <= 4 * result.stopped
    assert result.trials == 36


def test_a_sampler_that_learns_finds_more_than_chance():
    table = made(side=12)
    yardstick = Yardstick(table)
    share = {
        name: np.mean([yardstick.hypervolume(simulate(table, name, "none", 150, seed=s).found) for s in range(8)])
        for name in ("random", "tpe")
    }
    assert share["tpe"] > share["random"] + 0.02


def test_the_yardstick_by_hand():
    """Costs 1, 10, 100 (0, .5, 1 in log), accuracies .2, .4, .6 (0, .5, 1), and a bad one at 10."""
    values = [(1, 0.2), (10, 0.4), (100, 0.6), (10, 0.3)]
    table = Table("t", ["n"], [Row((float(i),), macs, np.array([0.0, y])) for i, (macs, y) in enumerate(values)])
    yardstick = Yardstick(table)
    first, middle, last, bad = (Found((i,), i + 1, 0.0) for i in range(4))
    whole = 0.5 * 0.5  # between log costs .5 and 1 at accuracy .5; the ends lie on the reference's lines
    assert yardstick.hypervolume([first, last]) == 0
    assert yardstick.hypervolume([middle]) == 1
    assert yardstick.hypervolume([bad]) == pytest.approx(0.5 * 0.25 / whole)
    assert list(yardstick.curve([bad, middle], [0, 1, 2, 3, 4])) == pytest.approx([0, 0, 1, 1, 1])
    assert yardstick.regret([bad]) == pytest.approx([0, 0.1, 0])
    assert yardstick.regret([]) == pytest.approx([0, 0.1, 0])


@pytest.mark.parametrize("values", [[(1, 0.2), (10, 0.4)], [(1, 0.3), (10, 0.3), (100, 0.3)]])
def test_a_table_in_which_there_is_nothing_to_find_is_refused(values):
    table = Table("t", ["n"], [Row((float(i),), macs, np.array([y])) for i, (macs, y) in enumerate(values)])
    with pytest.raises(ConfigError, match="nothing in it is cheaper"):
        Yardstick(table)
