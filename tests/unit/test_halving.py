"""Successive halving: who goes on at a rung, and where the rungs are."""

import random

import pytest

from nxt.search.halving import SuccessiveHalving, rungs


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
    found = rungs(epochs, eta, grace)
    assert list(found) == sorted(set(found))
    assert all(1 <= rung < epochs for rung in found)


@pytest.mark.parametrize("eta", [1.05, 1.5])
def test_rungs_that_grow_slowly_still_rise(eta):
    found = rungs(50, eta, 0.01)
    assert list(found) == sorted(set(found))


def climb(halving, accuracies, epoch=2, band=None):
    """Let trials reach a rung one after the other and tell which of them went on."""
    verdicts = []
    for number, accuracy in enumerate(accuracies):
        halving.record(number, epoch, accuracy, band)
        verdicts.append(halving.goes_on(number, epoch, band))
    return verdicts


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
def test_the_best_of_those_that_came_before_go_on(accuracies, eta, expected):
    assert climb(SuccessiveHalving((2,), eta), accuracies) == expected


@pytest.mark.parametrize("eta", [2, 3, 5])
def test_about_one_in_eta_of_many_goes_on(eta):
    accuracies = [n / 1000 for n in range(1000)]
    random.Random(2).shuffle(accuracies)
    went_on = sum(climb(SuccessiveHalving((2,), eta), accuracies))
    assert 1000 / eta * 0.9 < went_on < 1000 / eta * 1.15


def test_a_trial_is_judged_by_all_that_reached_the_rung_by_then():
    halving = SuccessiveHalving((2,), 3)
    assert climb(halving, [0.1, 0.2, 0.3]) == [True, True, True]
    assert not halving.goes_on(0, 2)
    assert halving.goes_on(2, 2)


def test_epochs_that_are_no_rungs_decide_nothing():
    halving = SuccessiveHalving((2, 6), 3)
    assert climb(halving, [0.9, 0.8, 0.7, 0.1], epoch=3) == [True] * 4
    assert climb(halving, [0.9, 0.8, 0.1], epoch=6) == [True, True, False]


def test_each_rung_has_its_own_comparison():
    halving = SuccessiveHalving((2, 6), 3)
    climb(halving, [0.9] * 5, epoch=2)
    assert climb(halving, [0.1, 0.1], epoch=6) == [True, True]


def test_trials_of_other_cost_are_not_compared():
    halving = SuccessiveHalving((2,), 3)
    climb(halving, [0.9, 0.8, 0.7], band=1)
    halving.record(7, 2, 0.1, 2)
    assert halving.goes_on(7, 2, 2)
    halving.record(8, 2, 0.1, 1)
    assert not halving.goes_on(8, 2, 1)


def test_a_trial_recorded_twice_counts_once_with_its_last_accuracy():
    halving = SuccessiveHalving((2,), 3)
    for accuracy in (0.9, 0.1, 0.5):
        halving.record(0, 2, accuracy)
    halving.record(1, 2, 0.6)
    assert halving.goes_on(0, 2) and halving.goes_on(1, 2)
    halving.record(2, 2, 0.55)
    assert not halving.goes_on(0, 2)


def test_a_trial_that_was_never_recorded_goes_on():
    halving = SuccessiveHalving((2,), 3)
    climb(halving, [0.9] * 5)
    assert halving.goes_on(99, 2)
