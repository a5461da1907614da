"""What is trained next, as a function of the trials there are."""

import itertools
import random

import pytest

from nxt.arch.costs import cost
from nxt.search.ranking import best_of, ranked
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


def test_the_most_accurate_are_trained_again_in_rounds_of_one_seed_each():
    trials = explored(0.5, 0.8, 0.7, 0.6)
    begun = confirm_all(search(seeds=2), trials, lambda point, replicate: 0.9)
    assert begun == [(POINTS[1], 1), (POINTS[2], 1), (POINTS[1], 2), (POINTS[2], 2)]


def test_a_round_is_begun_on_all_workers_and_the_next_one_waits_for_it():
    agenda, trials = search(confirm=2, seeds=2), explored(0.5, 0.8, 0.79, 0.6)
    for replicate in (1, 2):
        for point in (POINTS[1], POINTS[2]):
            step = agenda.next(trials)
            assert (point_of(step), step.replicate) == (point, replicate)
            trials.append(trial(len(trials), point, 0.7, replicate, Outcome.RUNNING))
        assert agenda.next(trials) is NothingToRun.WAIT
        trials[-1].outcome = Outcome.DONE
        assert agenda.next(trials) is NothingToRun.WAIT
        trials[-2].outcome = Outcome.DONE
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


def test_a_clear_answer_ends_the_confirmation_after_two_rounds_and_an_unclear_one_at_the_last():
    means = {POINTS[1]: 0.9, POINTS[2]: 0.8}
    trials = explored(0.5, 0.8, 0.79, 0.78)
    asked = confirm_all(search(seeds=5), trials, lambda point, seed: means[point] + 0.01 * (-1) ** seed)
    assert asked == [(point, seed) for seed in (1, 2) for point in (POINTS[1], POINTS[2])]
    trials = explored(0.5, 0.8, 0.79, 0.78)
    asked = confirm_all(search(seeds=5), trials, lambda point, seed: 0.8 + 0.01 * (-1) ** seed)
    assert asked == [(point, seed) for seed in range(1, 6) for point in (POINTS[1], POINTS[2])]


def test_one_that_is_clearly_beaten_drops_out_but_never_the_best_reference():
    means = {POINTS[0]: 0.1, POINTS[2]: 0.8, POINTS[3]: 0.8, POINTS[4]: 0.4}
    trials = explored(0.70, 0.69, 0.8, 0.79, 0.78, 0.77, families=(0, 1))
    agenda = search(trials=6, confirm=3, seeds=3, families=(0, 1))
    asked = confirm_all(agenda, trials, lambda point, seed: means[point] + 0.005 * (-1) ** seed)
    first = [(POINTS[n], 1) for n in (2, 3, 4, 0)]
    assert asked == [*first, *((POINTS[n], seed) for seed in (2, 3) for n in (2, 3, 0))]
    entries = {entry.trials[0].point: entry for entry in ranked(trials)}
    assert {point for point, entry in entries.items() if entry.dropped} == {POINTS[4]}
    assert {entries[POINTS[n]].seeds for n in (2, 3, 0)} == {3}


def test_what_the_search_found_far_behind_its_best_is_not_trained_again():
    trials = explored(0.5, 0.51, 0.52, 0.53, 0.54, 0.8)
    assert confirm_all(search(trials=6, confirm=3, seeds=2), trials) == [(POINTS[5], 1), (POINTS[5], 2)]


def test_what_was_not_confirmed_is_never_the_best_however_accurate():
    trials = explored(0.6, 0.7, 0.8, 0.79)
    confirm_all(search(confirm=2, seeds=2), trials, lambda point, seed: 0.65 + 0.01 * seed)
    best = best_of(ranked(trials))
    assert best.confirmed and best.accuracy < 0.7 and best == ranked(trials)[0]


def test_all_that_are_compared_have_as_many_fresh_seeds_whatever_happens():
    rng, ends = random.Random(1), [*[Outcome.DONE] * 6, Outcome.CRASHED, Outcome.DIVERGED]
    for _ in range(100):
        trials = explored(*(rng.gauss(0.5, 0.02) for _ in range(8)), families=(0, 1))
        agenda = search(trials=8, confirm=rng.randint(1, 4), seeds=rng.randint(1, 4), families=(0, 1))
        asked = confirm_all(agenda, trials, lambda *_: rng.gauss(0.5, 0.01), lambda *_: rng.choice(ends))
        stayed = [entry for entry in ranked(trials) if entry.confirmed and not entry.dropped]
        assert len({entry.seeds for entry in stayed}) <= 1 and all(entry.seeds <= agenda.seeds for entry in stayed)
        for point in {point for point, _ in asked}:
            assert [seed for other, seed in asked if other == point] == list(
                range(1, 1 + len([p for p, _ in asked if p == point]))
            )
        best = best_of(ranked(trials))
        assert best in stayed or not stayed


@pytest.mark.parametrize("outcome", FAILED)
def test_one_that_fails_in_the_first_round_is_not_tried_again_and_the_next_one_takes_its_place(outcome):
    trials = explored(0.6, 0.7, 0.8, 0.9)
    asked = confirm_all(
        search(confirm=1, seeds=2),
        trials,
        lambda *_: 0.75,
        lambda point, replicate: outcome if point == POINTS[3] else Outcome.DONE,
    )
    tried = [(POINTS[3], replicate) for replicate in ((1, 2) if outcome in LOST else (1,))]
    assert asked == [*tried, (POINTS[2], 1), (POINTS[2], 2)]


@pytest.mark.parametrize("outcome", LOST)
@pytest.mark.parametrize("replicate", [1, 2])
def test_for_a_training_that_was_lost_there_is_one_with_another_seed_in_the_same_round(outcome, replicate):
    trials, agenda = explored(0.6, 0.7, 0.8, 0.79), search(confirm=2, seeds=2)
    ends = {(POINTS[2], replicate): outcome}
    asked = confirm_all(agenda, trials, lambda *_: 0.78, lambda *who: ends.get(who, Outcome.DONE))
    expected = {
        1: [(POINTS[2], 1), (POINTS[2], 2), (POINTS[3], 1), (POINTS[2], 3), (POINTS[3], 2)],
        2: [(POINTS[2], 1), (POINTS[3], 1), (POINTS[2], 2), (POINTS[2], 3), (POINTS[3], 2)],
    }
    assert asked == expected[replicate]
    assert [entry.seeds for entry in ranked(trials) if entry.confirmed] == [2, 2]


@pytest.mark.parametrize("second", [*OWN, "lost"])
@pytest.mark.parametrize("lost", LOST)
def test_one_that_fails_in_a_later_round_drops_out(second, lost):
    trials, agenda = explored(0.6, 0.7, 0.8, 0.79), search(confirm=2, seeds=3)
    ends = {(POINTS[2], 2): lost, (POINTS[2], 3): lost} if second == "lost" else {(POINTS[2], 2): second}
    asked = confirm_all(agenda, trials, lambda *_: 0.78, lambda *who: ends.get(who, Outcome.DONE))
    assert [who for who in asked if who[0] == POINTS[2]] == [(POINTS[2], n) for n in range(1, len(ends) + 2)]
    entries = {entry.trials[0].point: entry for entry in ranked(trials)}
    assert entries[POINTS[2]].dropped and not entries[POINTS[3]].dropped and entries[POINTS[3]].seeds == 2
    assert best_of(ranked(trials)) is not None and best_of(ranked(trials)).trials[0].point == POINTS[3]


@pytest.mark.parametrize("outcome", FAILED)
def test_if_all_that_is_trained_again_fails_the_search_ends(outcome):
    trials = explored(0.76, 0.77, 0.8, 0.79)
    count = 8 if outcome in LOST else 4
    assert len(confirm_all(search(seeds=2), trials, outcome=lambda *_: outcome)) == count


def test_a_sampler_with_nothing_left_ends_exploring():
    agenda, trials = search(trials=100, seeds=1), explored(0.5, 0.6)
    assert agenda.next(trials).sampler is SAMPLER
    agenda.exhausted()
    assert confirm_all(agenda, trials) == [(POINTS[1], 1), (POINTS[0], 1)]
    assert agenda.remaining(trials) == (0, 0)


def test_what_the_confirmation_spares_of_a_time_limit_is_not_explored():
    short = iter([False, True, False])
    agenda, trials = search(trials=100, seeds=1, enough=lambda _: next(short)), explored(0.5, 0.6)
    assert agenda.next(trials).sampler is SAMPLER
    assert [point for point, _ in confirm_all(agenda, trials)] == [POINTS[1], POINTS[0]]
    assert agenda.remaining(trials) == (len(SAMPLER.feasible) - 2, 0)


def test_enough_ends_exploring_but_not_confirming():
    callers = []
    agenda = search(trials=100, seeds=1, enough=lambda caller: bool(callers.append(caller)) or True)
    trials = [*explored(0.5, 0.6), trial(2, POINTS[2], outcome=Outcome.RUNNING)]
    assert agenda.next(trials) is NothingToRun.WAIT
    trials.pop()
    assert confirm_all(agenda, trials) == [(POINTS[1], 1), (POINTS[0], 1)]
    assert all(caller is agenda for caller in callers)


def test_one_that_leads_after_more_were_explored_is_trained_as_often_as_those_before():
    trials = explored(0.5, 0.6, 0.7, 0.8)
    confirm_all(search(trials=4, confirm=1, seeds=2), trials, lambda *_: 0.75)
    agenda = search(trials=5, confirm=1, seeds=2)
    assert agenda.next(trials).sampler is SAMPLER
    trials.append(trial(len(trials), POINTS[4], 0.9))
    assert confirm_all(agenda, trials, lambda *_: 0.75) == [(POINTS[4], 1), (POINTS[4], 2)]
    assert {entry.seeds for entry in ranked(trials) if entry.confirmed} == {2}


def test_a_confirmation_of_the_old_rule_goes_on():
    """It trained one after the other, each twice, in parallel, and what was lost under higher numbers."""
    trials = explored(0.6, 0.7, 0.8, 0.79)
    trials += [trial(4, POINTS[2], None, 1, Outcome.KILLED), trial(5, POINTS[2], 0.78, 2)]
    agenda = search(confirm=2, seeds=2)
    running = trial(6, POINTS[2], 0.78, 3, Outcome.RUNNING)
    assert agenda.next([*trials, running]).replicate == 1
    asked = confirm_all(agenda, trials, lambda *_: 0.78)
    assert asked == [(POINTS[3], 1), (POINTS[2], 3), (POINTS[3], 2)]


@pytest.mark.parametrize("families", [(), (0, 1)])
@pytest.mark.parametrize("confirm", [0, 1, 3])
def test_what_is_left_before_the_search_is_all_of_it(families, confirm):
    again = (confirm + bool(families)) * 2 if confirm else 0
    agenda = search(trials=6, confirm=confirm, families=families)
    assert agenda.remaining([]) == (6, again)
    assert agenda.turns([], 1) == again and agenda.turns([], 100) == (2 if confirm else 0)


def test_rounds_follow_one_after_another_also_on_many_workers():
    agenda, trials = search(confirm=2, seeds=3, families=(0,)), explored(0.7, 0.71, 0.72, 0.73, families=(0,))
    assert [agenda.turns(trials, workers) for workers in (1, 2, 3, 8)] == [9, 6, 3, 3]
    trials.append(trial(4, POINTS[3], 0.7, 1, Outcome.RUNNING))
    assert agenda.remaining(trials) == (0, 8)
    assert [agenda.turns(trials, workers) for workers in (1, 2, 3, 8)] == [8, 5, 3, 3]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_the_count_includes_what_will_come(workers, lost):
    """Simulated searches: the total is known from the beginning, shrinks, and is reached at the end alone."""
    ended_early = 0
    for seed in range(40):
        rng = random.Random(seed)
        true = [rng.gauss(0.5, 0.012) for _ in POINTS]
        agenda, trials = search(trials=8, confirm=3, seeds=3, families=(0, 1)), []
        counts = []
        while True:
            running = [t for t in trials if t.outcome is Outcome.RUNNING]
            counts.append((len(trials) - len(running), len(trials) + sum(agenda.remaining(trials)), len(trials)))
            step = agenda.next(trials) if len(running) < workers else NothingToRun.WAIT
            if step is NothingToRun.END and not running:
                break
            if isinstance(step, NothingToRun):
                row = rng.choice(running)
                row.curve.append(Epoch(1, rng.gauss(true[POINTS.index(row.point)], 0.009), 1.0, 0.5))
                row.outcome = Outcome.KILLED if row.replicate and rng.random() < lost else Outcome.DONE
            else:
                number = len(trials)
                point = point_of(step) if step.replicate else POINTS[number]
                family = "ResNet-like" if number in (0, 1) and not step.replicate else ""
                trials.append(trial(number, point, None, step.replicate, Outcome.RUNNING, family))
        totals = [total for _, total, _ in counts]
        assert all(done < total for done, total, _ in counts[:-1]) and counts[-1][:2] == (len(trials), len(trials))
        assert totals[0] == 8 + 4 * 3
        if not lost:
            assert totals == sorted(totals, reverse=True)
        ended_early += len(trials) < totals[0]
    assert ended_early > 20


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
