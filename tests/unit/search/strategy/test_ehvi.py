"""The sampler `ehvi`: spread at first, then where improvement is, with different points for many workers."""

import numpy as np
import optuna
import pytest

from nxt.search.strategy.samplers import make_sampler
from nxt.search.study.memory import distributions
from nxt.space.budget import Budget, parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space

CIFAR = FeasibleSet(load_space("cifar"), parse_budget({"flops": ":30M"}))
AXES = CIFAR.space.axis_names
LOGS = np.log(CIFAR.costs(np.array(CIFAR.sample(np.random.default_rng(0), 10_000)))["macs"])


def search(feasible=CIFAR, first=(), seed=0, objectives=("macs",), window=False):
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.sampler = make_sampler("ehvi", feasible, list(first), seed, objectives, window)
    return study


def asked(study, feasible=CIFAR):
    trial = study.ask(distributions(feasible.space))
    return trial, tuple(trial.params[axis] for axis in feasible.space.axis_names)


def run(study, count, accuracy, feasible=CIFAR):
    """Run trials one after the other and return their points."""
    points = []
    for _ in range(count):
        trial, point = asked(study, feasible)
        study.tell(trial, [accuracy(point), float(np.log(feasible.space.cost(point).macs))])
        points.append(point)
    return points


def fifth(point):
    return min(4, max(0, int(5 * (np.log(CIFAR.space.cost(point).macs) - LOGS.min()) / np.ptp(LOGS))))


@pytest.mark.parametrize("seed", range(4))
def test_the_first_five_spread_over_the_costs(seed):
    points = run(search(seed=seed), 5, lambda point: 0.5)
    counts = np.bincount([fifth(point) for point in points], minlength=5)
    assert counts.max() - counts.min() <= 1 or sorted(counts) == [0, 1, 1, 1, 2]  # the ranges of two samples differ


def test_references_count_among_the_first_five():
    first = [point for point in CIFAR.sample(np.random.default_rng(1), 300) if fifth(point) == 2][:2]
    points = run(search(first=first), 5, lambda point: 0.5)
    assert points[:2] == first and 2 not in [fifth(point) for point in points[2:]]


def test_it_finds_the_front_with_few_trainings():
    """With an accuracy that rises with depth and falls with cardinality, 30 trainings get nearer than 300 drawn."""

    def accuracy(point):
        return 0.9 - 0.5 * np.exp(-0.1 * sum(point[:3])) - 0.02 * point[AXES.index("cardinality")]

    learnt = run(search(), 30, accuracy)
    drawn = CIFAR.sample(np.random.default_rng(0), 300)
    assert max(map(accuracy, learnt)) >= max(map(accuracy, drawn))


def test_sixty_four_workers_get_sixty_four_different_points():
    study = search()
    run(study, 10, lambda point: 0.5 + 0.01 * point[0])
    points = [asked(study)[1] for _ in range(64)]
    assert len(set(points)) == 64 and all(point in CIFAR for point in points)


def test_running_trials_send_the_next_ones_elsewhere():
    """Where doubt was largest, a running trial has taken it away: the next proposals are not its neighbours."""
    study = search()
    run(study, 12, lambda point: 0.5 + 0.01 * sum(point[:3]))
    points = np.array([asked(study)[1] for _ in range(6)])
    steps = np.abs(points[:, None] - points[None]).sum(axis=-1)
    assert steps[np.triu_indices(6, 1)].mean() > 4


def test_a_corner_of_cheap_and_poor_networks_is_left_alone():
    """Below the references' trend nothing counts: with a reference fewer proposals go there than without."""

    def accuracy(point):  # cheap networks are poor beyond what their cost explains
        value = np.log10(CIFAR.space.cost(point).macs)
        return 0.05 + (0.8 + 0.01 * point[0] if value > 7 else 0.02 * point[1])

    good = [point for point in CIFAR.sample(np.random.default_rng(2), 500) if accuracy(point) > 0.88][:1]
    cheap = [sum(accuracy(point) < 0.5 for point in run(search(first=first), 25, accuracy)[5:]) for first in (good, [])]
    assert cheap[0] < 0.8 * cheap[1]


def test_inside_a_window_the_best_network_counts_more():
    """With accuracy that rises with the cost to minimise, a window's search looks at dearer networks."""
    feasible = FeasibleSet(load_space("cifar"), parse_budget({"flops": "10M"}))

    def mean_acts(window):
        study = search(feasible, objectives=("acts",), window=window)
        points = run(study, 25, lambda p: min(0.95, feasible.space.cost(p).acts / 4e6), feasible)[5:]
        return np.mean(np.log([feasible.space.cost(point).acts for point in points]))

    assert mean_acts(True) > mean_acts(False)


def test_two_costs_can_be_minimised_at_once():
    points = run(search(objectives=("macs", "acts")), 20, lambda point: 0.5 + 0.01 * sum(point[:3]))
    assert len(set(points)) == 20


def test_a_space_without_limits_is_searched_in_all_of_its_parts():
    everything = FeasibleSet(load_space("resnest"), Budget())
    points = run(search(everything), 8, lambda point: 0.5, everything)
    assert len(set(points)) == 8 and all(point in everything for point in points)


def test_stopped_and_failed_trials_teach_nothing_and_are_not_proposed_again():
    study = search()
    run(study, 8, lambda point: 0.5 + 0.01 * point[0])
    for state in (optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL):
        trial, _ = asked(study)
        study.tell(trial, state=state)
    assert len(set(run(study, 10, lambda point: 0.5 + 0.01 * point[0]))) == 10
    points = [tuple(row.params[axis] for axis in AXES) for row in study.trials]
    assert len(set(points)) == len(points)


def test_if_all_first_trials_fail_it_goes_on_spreading():
    study, points = search(), []
    for _ in range(12):
        trial, point = asked(study)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        points.append(point)
    counts = np.bincount([fifth(point) for point in points], minlength=5)
    assert len(set(points)) == 12 and counts.max() - counts.min() <= 2
