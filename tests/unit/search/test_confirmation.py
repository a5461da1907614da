"""The rounds of a confirmation, as a function of the trials."""

import math
import random

import pytest

from nxt.arch.costs import cost
from nxt.search.confirmation import ENOUGH, failed_first, noise_in_search, promising, replay
from nxt.search.noise import best_probability
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.load import load_space

SPACE = load_space("smoke")
POINTS = [(a, b, c, 0, 0, 0) for a in (0, 1) for b in (0, 1) for c in (0, 1)]


def trial(index, accuracy, replicate=0, outcome=Outcome.DONE, family=""):
    spec = SPACE.spec(POINTS[index])
    curve = [] if accuracy is None else [Epoch(1, accuracy, 1.0, 0.5)]
    return Trial(0, POINTS[index], spec, cost(spec), family, replicate, curve, outcome)


def search(*accuracies):
    return [trial(index, accuracy) for index, accuracy in enumerate(accuracies)]


def fresh(index, *accuracies):
    return [trial(index, accuracy, replicate) for replicate, accuracy in enumerate(accuracies, 1)]


SEARCH = search(0.49, 0.51, 0.49, 0.51, 0.49, 0.51)  # standard deviation 0.011, half of its square for noise


def test_half_of_the_variance_of_a_search_counts_as_noise_without_references_and_failures():
    others = [trial(6, 0.1, family="ResNet-like"), trial(7, 0.9, outcome=Outcome.STOPPED), *fresh(7, 0.9)]
    assert noise_in_search([*SEARCH, *others]) == pytest.approx(math.sqrt(0.5 * 6 / 5) * 0.01)
    assert noise_in_search(SEARCH[:1]) is None


def test_what_may_be_the_best_is_told_by_shrunk_distances():
    # The error of a shrunk difference equals the noise; one in ten is better from 1.28 errors, half the distance.
    assert promising([0.6, 0.6 - 0.0255, 0.6 - 0.0258], 0.01) == 2
    assert promising([0.6, 0.3], None) == 2 and promising([], 0.01) == 0


def test_a_first_round_alone_decides_nothing_but_who_is_beaten():
    trials = [*SEARCH, *fresh(0, 0.50), *fresh(1, 0.499), *fresh(2, 0.3)]
    rounds = replay(trials, most=3)
    assert (rounds.finished, rounds.stops) == (1, False)
    assert rounds.contenders == rounds.missing == (POINTS[0], POINTS[1])
    assert rounds.noise == pytest.approx(noise_in_search(SEARCH))


def test_the_noise_is_pooled_with_that_of_the_search_since_few_trainings_agree_by_chance():
    rounds = replay([*SEARCH, *fresh(0, 0.50, 0.50), *fresh(1, 0.49, 0.51)], most=3)
    assert rounds.noise == pytest.approx(math.sqrt((2 * noise_in_search(SEARCH) ** 2 + 0.0002) / (2 + 2)))
    assert replay([*SEARCH, *fresh(0, 0.5, 0.5), *fresh(1, 0.5, 0.5)], most=3).noise > 0.005


def test_the_expected_loss_is_that_of_a_normal_difference():
    """Against drawn true means: the leader loses where the other one is better."""
    rounds = replay([*SEARCH, *fresh(0, 0.50, 0.50), *fresh(1, 0.49, 0.50)], most=3)
    rng = random.Random(0)
    drawn = [max(0.0, rng.gauss(-0.005, rounds.noise)) for _ in range(200_000)]
    assert rounds.loss == pytest.approx(sum(drawn) / len(drawn), rel=0.02)
    assert rounds.stops and rounds.loss < ENOUGH * rounds.noise


def test_it_stops_when_the_loss_is_small_or_at_the_last_round():
    clear = [*SEARCH, *fresh(0, 0.52, 0.52), *fresh(1, 0.508, 0.508)]
    assert replay(clear, most=3).stops and replay(clear, most=3).loss <= ENOUGH * replay(clear, most=3).noise
    unclear = [*SEARCH, *fresh(0, 0.52, 0.52), *fresh(1, 0.519, 0.519)]
    assert not replay(unclear, most=3).stops and replay(unclear, most=2).stops
    assert not replay([*SEARCH, *fresh(0, 0.5), *fresh(1, 0.5)], most=3).stops
    assert replay([*SEARCH, *fresh(0, 0.5), *fresh(1, 0.5)], most=1).stops


def test_where_nothing_tells_the_noise_all_rounds_are_made_until_something_does():
    one = [trial(0, 0.5), trial(1, 0.1, family="ResNet-like")]
    assert replay([*one, *fresh(0, 0.5), *fresh(1, 0.1)], most=3).contenders == (POINTS[0], POINTS[1])
    assert replay([*one, *fresh(0, 0.5, 0.51), *fresh(1, 0.1, 0.11)], most=3).stops


def test_trainings_without_any_noise_are_compared_as_they_are():
    same = search(0.5, 0.5, 0.5)
    assert replay([*same, *fresh(0, 0.5, 0.5), *fresh(1, 0.4, 0.4)], most=3).stops
    assert not replay([*same, *fresh(0, 0.5, 0.5), *fresh(1, 0.5, 0.5)], most=3).stops


def test_only_the_best_reference_stays_in_whatever_it_reaches():
    family = "ResNet-like"
    trials = [*SEARCH, trial(6, 0.40, family=family), trial(7, 0.41, family=family)]
    trials += [*fresh(0, 0.50), *fresh(6, 0.1), *fresh(7, 0.1)]
    assert replay(trials, most=3).contenders == (POINTS[0], POINTS[7])


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome.failed])
def test_a_training_that_was_lost_is_made_up_for_once(outcome):
    trials = [*SEARCH, *fresh(0, 0.5), trial(1, None, 1, outcome)]
    again = replay(trials, most=3)
    assert again.missing == ((POINTS[1],) if outcome.lost else (POINTS[0],))
    assert failed_first(trials) == (set() if outcome.lost else {POINTS[1]})
    assert failed_first([*trials, trial(1, None, 2, outcome)]) == {POINTS[1]}


def test_the_reference_that_failed_once_goes_on_and_without_anyone_there_is_no_round():
    family = "ResNet-like"
    trials = [*SEARCH, trial(6, 0.4, family=family), *fresh(0, 0.5, 0.5, 0.5), *fresh(6, 0.4)]
    trials.append(trial(6, None, 2, Outcome.OOM))
    assert replay(trials, most=4).contenders == (POINTS[0], POINTS[6]) and not replay(trials, most=4).finished > 2
    alone = [*SEARCH, *fresh(0, 0.5), trial(0, None, 2, Outcome.OOM)]
    assert replay(alone, most=4).stops and replay(alone, most=4).finished == 1


def test_the_probability_of_the_best():
    assert best_probability(0, [0.5] * 4, [0.01] * 4) == pytest.approx(0.25, abs=1e-3)
    rng = random.Random(1)
    means, errors = [0.52, 0.51, 0.5], [0.01, 0.02, 0.005]
    drawn = [
        max(range(3), key=[rng.gauss(*pair) for pair in zip(means, errors, strict=True)].__getitem__)
        for _ in range(40_000)
    ]
    for index in range(3):
        assert best_probability(index, means, errors) == pytest.approx(drawn.count(index) / len(drawn), abs=0.01)
    assert best_probability(0, [0.9, 0.5], [0.0, 0.0]) == 1 and best_probability(0, [0.9], [0.1]) == 1
