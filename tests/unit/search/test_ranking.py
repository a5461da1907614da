"""Entries: which trainings an architecture is judged by."""

import dataclasses

import pytest

from nxt.arch.costs import cost
from nxt.search.noise import pooled_deviation
from nxt.search.ranking import best_of, noise_of, pareto, ranked
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.load import load_space

SPACE = load_space("smoke")
FAILED = [outcome for outcome in Outcome if outcome.failed]


def trial(number, depth, accuracy, replicate=0, outcome=Outcome.DONE, family=""):
    """A trial of the network at one step of the depth axes: 0 is the cheapest of 8."""
    point = (depth // 4, depth // 2 % 2, depth % 2, 0, 0, 0)
    spec = SPACE.spec(point)
    curve = [] if accuracy is None else [Epoch(1, 0.0, 1.0, 0.5), Epoch(2, accuracy, 1.0, 0.5)]
    return Trial(number, point, spec, cost(spec), family, replicate, curve, outcome)


def numbers(entries):
    return [[t.number for t in entry.trials] for entry in entries]


def test_repeats_replace_the_training_that_the_search_decided_by():
    [entry] = ranked([trial(0, 0, 0.9), trial(1, 0, 0.5, replicate=1), trial(2, 0, 0.7, replicate=2)])
    assert numbers([entry]) == [[1, 2]]
    assert entry.accuracy == pytest.approx(0.6) and entry.accuracies == [0.5, 0.7]
    assert entry.seeds == 2 and entry.confirmed
    assert entry.deviation == pytest.approx(0.02**0.5)


def test_a_network_trained_once_has_that_accuracy_and_no_deviation():
    [entry] = ranked([trial(0, 3, 0.75, family="ResNet-like")])
    assert (entry.accuracy, entry.seeds, entry.confirmed, entry.deviation) == (0.75, 1, False, None)
    assert entry.family == "ResNet-like" and entry.spec == entry.trials[0].spec and entry.cost == cost(entry.spec)


def test_repeats_come_in_order_whatever_the_order_of_the_trials():
    trials = [
        trial(5, 0, 0.5, replicate=2),
        trial(1, 0, 0.9),
        trial(7, 0, 0.6, replicate=1),
        trial(3, 0, 0.4, replicate=3),
    ]
    assert numbers(ranked(trials)) == [[7, 5, 3]]


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.RUNNING, *FAILED])
def test_only_trials_that_reached_the_end_enter(outcome):
    assert ranked([trial(0, 0, 0.9, outcome=outcome)]) == []
    assert numbers(ranked([trial(0, 0, 0.9, outcome=outcome), trial(1, 1, 0.1)])) == [[1]]


@pytest.mark.parametrize("outcome", [Outcome.RUNNING, *FAILED])
def test_a_repeat_that_did_not_end_leaves_the_others(outcome):
    [entry] = ranked([trial(0, 0, 0.9), trial(1, 0, 0.5, 1), trial(2, 0, 0.1, 2, outcome=outcome)])
    assert numbers([entry]) == [[1]] and entry.accuracy == 0.5


@pytest.mark.parametrize("outcome", FAILED)
def test_a_network_all_of_whose_repeats_failed_keeps_its_first_training_and_is_not_confirmed(outcome):
    [entry] = ranked([trial(0, 0, 0.9), trial(1, 0, None, 1, outcome=outcome)])
    assert numbers([entry]) == [[0]] and not entry.confirmed


def test_a_repeat_counts_also_where_the_first_training_failed():
    [entry] = ranked([trial(0, 0, None, outcome=Outcome.KILLED), trial(1, 0, 0.5, 1)])
    assert numbers([entry]) == [[1]] and entry.confirmed


def test_entries_are_ranked_by_mean_accuracy_then_by_cost_then_by_number():
    assert trial(0, 7, 0.0).cost.macs > trial(0, 0, 0.0).cost.macs
    trials = [trial(0, 7, 0.5), trial(1, 0, 0.5), trial(2, 3, 0.9), trial(3, 3, 0.7, 1), trial(4, 5, 0.6)]
    assert numbers(ranked(trials)) == [[3], [4], [1], [0]]
    assert numbers(ranked(reversed(trials))) == [[3], [4], [1], [0]]
    same = [dataclasses.replace(trial(n, n, 0.5), cost=trial(0, 0, 0.0).cost) for n in (2, 1, 0)]
    assert numbers(ranked(same)) == [[0], [1], [2]]


def test_what_was_not_confirmed_stands_below_the_best_however_accurate():
    found = [
        trial(0, 0, 0.3),
        trial(1, 1, 0.71),
        trial(2, 2, 0.9),
        trial(3, 3, 0.8),
        trial(4, 3, 0.7, 1),
        trial(5, 7, 1),
    ]
    entries = ranked(found)
    assert numbers(entries) == [[4], [5], [2], [1], [0]]
    assert [entry.accuracy for entry in entries] == [0.7, 1, 0.9, 0.71, 0.3]
    assert [entry.unproven for entry in entries] == [False, True, True, True, False]
    assert numbers(pareto(entries, "macs")) == [[0], [4]]
    equal = ranked([trial(0, 0, 0.7), trial(1, 3, 0.8), trial(2, 3, 0.7, 1)])
    assert numbers(pareto(equal, "macs")) == [[2]]
    assert numbers(pareto(ranked(found[:4]), "macs")) == [[0], [2]]  # all prove the same


def test_what_fell_behind_stands_below_the_best_however_accurate():
    found = [trial(n, n, 0.9) for n in range(3)] + [trial(3, 0, 0.1, 1), trial(4, 1, 0.6, 1), trial(5, 2, 0.65, 1)]
    again = [*found, trial(6, 1, 0.5, 2), trial(7, 2, 0.7, 2), trial(8, 2, 0.4, 3), trial(9, 1, 0.65, 3)]
    for trials in (found, again):
        entries = ranked(trials)
        assert entries[0] == best_of(entries) and entries[0] in pareto(entries, "macs")


def test_the_best_is_the_best_confirmed_one_where_there_is_any():
    trials = [trial(0, 0, 0.9), trial(1, 1, 0.8), trial(2, 1, 0.4, 1), trial(3, 2, 0.7), trial(4, 2, 0.6, 1)]
    assert best_of(ranked(trials)).trials[0].number == 4
    assert best_of(ranked([t for t in trials if not t.replicate])).trials[0].number == 0
    assert best_of([]) is None


@pytest.mark.parametrize("objective", ["macs", "params", "acts"])
def test_the_front_is_of_means_by_rising_cost(objective):
    trials = [trial(0, 0, 0.5), trial(1, 1, 0.9), trial(2, 1, 0.6, 1), trial(3, 7, 0.7), trial(4, 7, 0.8, 1)]
    members = pareto(ranked(trials), objective)
    assert numbers(members) == [[0], [2], [4]]
    costs = [getattr(entry.cost, objective) for entry in members]
    assert costs == sorted(costs)


def test_nothing_has_no_front():
    assert pareto([], "macs") == [] and ranked([]) == []


def test_the_noise_is_pooled_over_confirmed_entries():
    repeats = {1: [0.5, 0.6], 2: [0.4, 0.7, 0.6]}
    trials = [trial(0, 1, 0.95), trial(1, 2, 0.9), trial(2, 3, 0.1)]
    for depth, accuracies in repeats.items():
        trials += [trial(10 * depth + r, depth, accuracy, r) for r, accuracy in enumerate(accuracies, 1)]
    noise = noise_of(ranked(trials), 360)
    assert noise.images == 360 and noise.seeds == pytest.approx(pooled_deviation(repeats.values()))


def test_where_nothing_was_repeated_the_noise_of_seeds_is_unknown():
    assert noise_of(ranked([trial(0, 0, 0.5), trial(1, 1, 0.6)]), 100).seeds is None
    assert noise_of(ranked([trial(0, 0, 0.5), trial(1, 0, 0.6, 1)]), 100).seeds is None
    assert noise_of([], 100).seeds is None
