"""What is trained next, as a function of the trials there are."""

import itertools
import random

import pytest

from nxt.arch.costs import cost
from nxt.search.ranking import ranked
from nxt.search.strategy.agenda import ListAgenda, NothingToRun, SearchAgenda
from nxt.search.strategy.sampler import PointSampler
from nxt.search.strategy.samplers import make_sampler
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import load_list
from nxt.space.budget import Budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space

SPACE = load_space("smoke")
SAMPLER = make_sampler("random", FeasibleSet(SPACE, Budget(())), [], 0)
POINTS = [(a, b, c, 0, 0, 0) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
LIST = load_list(["resnet50", "resnet101", "resnet152"])
FAILED = [outcome for outcome in Outcome if outcome.failed]
LOST = [Outcome.CRASHED, Outcome.KILLED, Outcome.TIMEOUT]  # what need not be the architecture's fault
OWN = [Outcome.OOM, Outcome.DIVERGED]


def trial(number, point, accuracy=None, replicate=0, outcome=Outcome.DONE, family="", space=SPACE):
    spec = space.spec(point)
    curve = [] if accuracy is None else [Epoch(1, accuracy, 1.0, 0.5)]
    return Trial(number, point, spec, cost(spec), family, replicate, curve, outcome)


def explored(*accuracies, families=()):
    """Finished trials of the first points; those of `families` are references."""
    return [trial(n, POINTS[n], a, family="ResNet-like" if n in families else "") for n, a in enumerate(accuracies)]


def search(trials=4, confirm=2, seeds=2, families=(), **more):
    return SearchAgenda(SAMPLER, {POINTS[n]: "ResNet-like" for n in families}, trials, confirm, seeds, **more)


def point_of(step):
    return tuple(step.sampler.params.values())


def confirm_all(agenda, trials, accuracy=lambda point, replicate: 0.1, outcome=lambda point, replicate: Outcome.DONE):
    """Let everything that is to be trained again end at once; return what was asked for, in order."""
    begun = []
    while not isinstance(step := agenda.next(trials), NothingToRun):
        point = point_of(step)
        assert step.replicate and (point, step.replicate) not in begun
        begun.append((point, step.replicate))
        end = outcome(point, step.replicate)
        reached = accuracy(point, step.replicate) if end is Outcome.DONE else None
        trials.append(trial(len(trials), point, reached, step.replicate, end))
    assert step is NothingToRun.END
    return begun


@pytest.mark.parametrize("outcome", Outcome)
def test_a_search_explores_until_there_are_as_many_trials_as_asked_for_however_they_stand(outcome):
    trials = [trial(n, POINTS[n], 0.5, outcome=outcome) for n in range(3)]
    step = search(trials=4).next(trials)
    assert step.sampler is SAMPLER and step.replicate == 0
    expected = NothingToRun.WAIT if outcome is Outcome.RUNNING else NothingToRun.END
    assert search(trials=3, confirm=0).next(trials) is expected


def test_nothing_is_trained_again_before_the_last_explorer_has_ended():
    trials = [*explored(0.5, 0.6, 0.7), trial(3, POINTS[3], 0.1, outcome=Outcome.RUNNING)]
    assert search().next(trials) is NothingToRun.WAIT
    trials[-1].outcome = Outcome.STOPPED
    assert point_of(search().next(trials)) == POINTS[2]


def test_the_most_accurate_are_trained_again_with_every_seed_one_after_the_other():
    trials = explored(0.5, 0.8, 0.7, 0.6)
    begun = confirm_all(search(seeds=2), trials, lambda point, replicate: 0.9)
    assert begun == [(POINTS[1], 1), (POINTS[1], 2), (POINTS[2], 1), (POINTS[2], 2)]


def test_while_trials_that_confirm_are_running_others_are_begun_and_then_waited_for():
    agenda, trials = search(confirm=1, seeds=2), explored(0.5, 0.8, 0.7, 0.6)
    for replicate in (1, 2):
        step = agenda.next(trials)
        assert (point_of(step), step.replicate) == (POINTS[1], replicate)
        trials.append(trial(len(trials), POINTS[1], 0.9, replicate, Outcome.RUNNING))
    assert agenda.next(trials) is NothingToRun.WAIT
    for row in trials[4:]:
        row.outcome = Outcome.DONE
    assert agenda.next(trials) is NothingToRun.END


def test_the_best_reference_is_trained_again_also_if_it_is_not_among_the_best():
    trials = explored(0.3, 0.4, 0.9, 0.8, 0.7, families=(0, 1))
    begun = confirm_all(search(trials=5, seeds=1, families=(0, 1)), trials, lambda point, replicate: 0.95)
    assert begun == [(POINTS[2], 1), (POINTS[3], 1), (POINTS[1], 1)]


def test_a_reference_among_the_best_is_trained_again_once():
    trials = explored(0.3, 0.95, 0.9, 0.8, families=(0, 1))
    begun = confirm_all(search(seeds=1, families=(0, 1)), trials, lambda point, replicate: 0.95)
    assert begun == [(POINTS[1], 1), (POINTS[2], 1)]


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, *FAILED])
def test_trials_that_did_not_reach_the_end_are_not_trained_again(outcome):
    trials = explored(0.5, 0.6)
    trials += [trial(n, POINTS[n], 0.99, outcome=outcome, family="ResNet-like") for n in (2, 3)]
    begun = confirm_all(search(confirm=4, seeds=1, families=(2, 3)), trials)
    assert begun == [(POINTS[1], 1), (POINTS[0], 1)]


@pytest.mark.parametrize("trials", [[], [trial(0, POINTS[0], outcome=Outcome.CRASHED)]])
def test_where_nothing_reached_the_end_nothing_is_trained_again(trials):
    assert search(trials=len(trials)).next(trials) is NothingToRun.END


def test_without_a_number_to_confirm_the_search_ends_with_exploring():
    assert search(confirm=0).next(explored(0.1, 0.2, 0.3, 0.4)) is NothingToRun.END


def test_whoever_stands_above_the_best_confirmed_is_confirmed_too_until_nobody_does():
    means = {POINTS[3]: 0.5, POINTS[2]: 0.55, POINTS[1]: 0.65, POINTS[0]: 0.4}
    trials = explored(0.6, 0.7, 0.8, 0.9)
    begun = confirm_all(search(confirm=2, seeds=2), trials, lambda point, replicate: means[point])
    # The top two fall below the third, which holds; the fourth stands below it and is left alone.
    assert begun == [(POINTS[n], replicate) for n in (3, 2, 1) for replicate in (1, 2)]


def test_in_the_end_a_confirmed_one_is_on_top_whatever_the_accuracies():
    rng, ends = random.Random(1), [Outcome.DONE, Outcome.DONE, Outcome.CRASHED]
    for _ in range(100):
        trials = explored(*(rng.random() for _ in range(8)), families=(0, 1))
        agenda = search(trials=8, confirm=rng.randint(1, 3), seeds=rng.randint(1, 3), families=(0, 1))
        asked = confirm_all(agenda, trials, lambda *_: rng.random(), lambda *_: rng.choice(ends))
        again = {point: [t for t in trials if t.replicate and t.point == point] for point, _ in asked}
        for rows in again.values():
            lost = sum(t.outcome is Outcome.CRASHED for t in rows[: agenda.seeds])
            assert [t.replicate for t in rows] == list(range(1, agenda.seeds + lost + 1))
        means = [
            sum(t.accuracy for t in done) / len(done)
            for rows in again.values()
            if (done := [t for t in rows if t.outcome is Outcome.DONE])
        ]
        untouched = [t.accuracy for t in trials if not t.replicate and t.point not in again]
        assert not untouched or not means or max(means) >= max(untouched)
        assert means or not untouched


@pytest.mark.parametrize("outcome", FAILED)
def test_one_all_of_whose_trainings_failed_is_not_tried_for_ever_and_the_next_one_gets_its_turn(outcome):
    trials = explored(0.6, 0.7, 0.8, 0.9)
    asked = confirm_all(
        search(confirm=1, seeds=2),
        trials,
        lambda *_: 0.75,
        lambda point, replicate: outcome if point == POINTS[3] else Outcome.DONE,
    )
    tried = [(POINTS[3], replicate) for replicate in ((1, 2, 3, 4) if outcome in LOST else (1, 2))]
    assert asked == [*tried, (POINTS[2], 1), (POINTS[2], 2)]


@pytest.mark.parametrize("outcome", LOST)
def test_for_a_training_that_was_lost_there_is_one_with_another_seed(outcome):
    trials, agenda = explored(0.6, 0.7, 0.8, 0.9), search(confirm=2, seeds=2)
    asked = confirm_all(
        agenda, trials, lambda *_: 0.95, lambda *who: outcome if who == (POINTS[3], 1) else Outcome.DONE
    )
    assert asked == [(POINTS[3], 1), (POINTS[3], 2), (POINTS[3], 3), (POINTS[2], 1), (POINTS[2], 2)]
    assert [entry.seeds for entry in ranked(trials)] == [2, 2, 1, 1]


@pytest.mark.parametrize("outcome", LOST)
def test_a_training_that_stands_for_a_lost_one_and_is_lost_as_well_is_not_made_up_for(outcome):
    trials, agenda = explored(0.6, 0.7, 0.8, 0.9), search(confirm=1, seeds=2)
    ends = {(POINTS[3], 1): outcome, (POINTS[3], 3): outcome}
    asked = confirm_all(agenda, trials, lambda *_: 0.95, lambda *who: ends.get(who, Outcome.DONE))
    assert asked == [(POINTS[3], 1), (POINTS[3], 2), (POINTS[3], 3)] and agenda.remaining(trials) == (0, 0)


@pytest.mark.parametrize("outcome", OWN)
def test_a_training_that_failed_by_its_own_architecture_is_not_made_up_for(outcome):
    trials = explored(0.6, 0.7, 0.8, 0.9)
    ends = {(POINTS[3], 1): outcome}
    asked = confirm_all(search(confirm=1, seeds=2), trials, lambda *_: 0.95, lambda *who: ends.get(who, Outcome.DONE))
    assert asked == [(POINTS[3], 1), (POINTS[3], 2)]


def test_what_is_left_to_confirm_grows_by_one_with_each_that_was_lost():
    trials, agenda = explored(0.6, 0.7, 0.8, 0.9), search(confirm=1, seeds=2)
    left = []
    for end in (Outcome.KILLED, Outcome.DONE, Outcome.TIMEOUT):
        left.append(agenda.remaining(trials).to_confirm)
        wanted = agenda.next(trials)
        trials.append(trial(len(trials), point_of(wanted), 0.95, wanted.replicate, end))
    assert [*left, agenda.remaining(trials).to_confirm] == [2, 2, 1, 0] and agenda.next(trials) is NothingToRun.END


@pytest.mark.parametrize("outcome", FAILED)
def test_if_all_that_is_trained_again_fails_the_search_ends(outcome):
    trials = explored(0.6, 0.7, 0.8, 0.9)
    count = 16 if outcome in LOST else 8
    assert len(confirm_all(search(seeds=2), trials, outcome=lambda *_: outcome)) == count


def test_a_sampler_with_nothing_left_ends_exploring():
    agenda, trials = search(trials=100, seeds=1), explored(0.5, 0.6)
    assert agenda.next(trials).sampler is SAMPLER
    agenda.exhausted()
    assert confirm_all(agenda, trials) == [(POINTS[1], 1), (POINTS[0], 1)]
    assert agenda.remaining(trials) == (0, 0)


def test_enough_ends_exploring_but_not_confirming():
    callers = []
    agenda = search(trials=100, seeds=1, enough=lambda caller: bool(callers.append(caller)) or True)
    trials = [*explored(0.5, 0.6), trial(2, POINTS[2], outcome=Outcome.RUNNING)]
    assert agenda.next(trials) is NothingToRun.WAIT
    trials.pop()
    assert confirm_all(agenda, trials) == [(POINTS[1], 1), (POINTS[0], 1)]
    assert all(caller is agenda for caller in callers)


def test_what_was_begun_is_finished_after_more_were_explored():
    trials = explored(0.5, 0.6, 0.7, 0.8)
    trials.append(trial(4, POINTS[0], 0.1, replicate=1))  # once among the best
    agenda = search(trials=5, confirm=1, seeds=2)
    assert agenda.next(trials).sampler is SAMPLER
    trials.append(trial(5, POINTS[4], 0.9))
    assert (POINTS[0], 2) in confirm_all(agenda, trials, lambda *_: 0.99)


@pytest.mark.parametrize("families", [(), (0, 1)])
@pytest.mark.parametrize("confirm", [0, 1, 3])
def test_what_is_left_before_the_search_is_all_of_it(families, confirm):
    again = (confirm + bool(families)) * 2 if confirm else 0
    assert search(trials=6, confirm=confirm, families=families).remaining([]) == (6, again)


def test_what_is_left_falls_by_one_with_every_trial_and_ends_at_nothing():
    trials, agenda = [], search(trials=5, confirm=2, seeds=2, families=(0,))
    for row in explored(0.9, 0.8, 0.7, 0.95, 0.6, families=(0,)):
        assert agenda.remaining(trials) == (5 - len(trials), 6)
        trials.append(row)
    # The reference is among the best two, so that one is trained again less than it might have been.
    for count in (4, 3, 2, 1):
        assert agenda.remaining(trials) == (0, count)
        step = agenda.next(trials)
        trials.append(trial(len(trials), point_of(step), 0.99, step.replicate))
    assert agenda.remaining(trials) == (0, 0) and agenda.next(trials) is NothingToRun.END


def test_what_is_left_is_never_less_than_nothing():
    rng = random.Random(2)
    for _ in range(50):
        agenda, trials = search(trials=4, seeds=rng.randint(1, 3)), explored(*(rng.random() for _ in range(6)))
        while not isinstance(step := agenda.next(trials), NothingToRun):
            assert min(agenda.remaining(trials)) >= 0
            trials.append(trial(len(trials), point_of(step), rng.random(), step.replicate))
        assert agenda.remaining(trials) == (0, 0)


def test_asking_changes_nothing():
    agenda, trials = search(), explored(0.5, 0.8, 0.7, 0.6)
    first, second = agenda.next(trials), agenda.next(trials)
    assert (point_of(first), first.replicate) == (point_of(second), second.replicate)


def of_list(number, index, replicate, outcome=Outcome.DONE):
    return trial(number, (index,), 0.5, replicate, outcome, space=LIST)


def test_a_list_is_gone_through_once_before_any_of_it_twice():
    agenda, trials, begun = ListAgenda(LIST, 2), [], []
    while not isinstance(step := agenda.next(trials), NothingToRun):
        assert sum(agenda.remaining(trials)) == 6 - len(trials)
        assert isinstance(step.sampler, PointSampler) and list(step.sampler.params) == LIST.axis_names
        begun.append((*point_of(step), step.replicate))
        trials.append(of_list(len(trials), *begun[-1], random.Random(len(trials)).choice(list(Outcome))))
    assert begun == [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
    assert step is NothingToRun.END and agenda.remaining(trials) == (0, 0) and agenda.families == {}


def test_a_gap_in_a_list_is_filled_first():
    trials = [of_list(0, 0, 1), of_list(1, 2, 1), of_list(2, 0, 2)]
    step = ListAgenda(LIST, 2).next(trials)
    assert (point_of(step), step.replicate) == ((1,), 1)


def test_enough_ends_a_list():
    assert ListAgenda(LIST, 2, lambda _: True).next([of_list(0, 0, 1)]) is NothingToRun.END


def test_a_space_with_fewer_architectures_than_trials_ends_when_all_are_tried():
    every = list(itertools.product(*(range(len(values)) for values in SPACE.axis_values)))
    assert len(every) == len(SAMPLER.feasible) == 96
    agenda, trials = search(trials=200, confirm=0), [trial(n, point, 0.5) for n, point in enumerate(every)]
    assert agenda.next(trials[:-1]).sampler is SAMPLER
    assert agenda.next(trials) is NothingToRun.END and agenda.remaining(trials) == (0, 0)


def test_a_list_is_never_exhausted():
    agenda = ListAgenda(LIST)
    agenda.exhausted()
    assert point_of(agenda.next([])) == (0,)
