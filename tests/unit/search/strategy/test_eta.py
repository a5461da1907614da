"""How long a study takes: from made-up trials and a made-up clock."""

import math
from types import SimpleNamespace

import pytest

from nxt.arch.costs import Cost
from nxt.search.strategy.agenda import ListAgenda, NothingToRun, Remaining
from nxt.search.strategy.eta import Pace
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import load_list

EPOCHS = 10
LIST = load_list(["resnet50", "resnet101", "resnet152"])
FAILED = [outcome for outcome in Outcome if outcome.failed]


@pytest.fixture
def clock(monkeypatch):
    """A clock that only goes when told."""
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("nxt.search.strategy.eta.time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def trial(seconds=(), macs=100, outcome=Outcome.DONE, replicate=0, replayed="", point=(0,)):
    curve = [Epoch(n, 0.5, 1.0, each) for n, each in enumerate(seconds, 1)]
    return Trial(0, point, LIST.specs[0], Cost(macs), "", replicate, curve, outcome, replayed=replayed)


def pace(*trials, workers=1, hours=None):
    return Pace(dict(enumerate(trials)), EPOCHS, workers, hours)


def agenda(stoppable=0, whole=0):
    turns = lambda trials, workers: math.ceil(whole / workers)  # noqa: E731
    return SimpleNamespace(remaining=lambda trials: Remaining(stoppable, whole), turns=turns)


def test_trials_that_were_not_trained_here_tell_nothing():
    replayed = trial([100] * EPOCHS, replayed="elsewhere")
    assert pace(replayed).left(agenda(3, 3)) is None
    mixed = pace(replayed, trial([2] * EPOCHS))
    assert mixed.left(agenda(0, 1)) == 20


def test_a_slowdown_that_is_known_counts_until_one_is_measured(clock):
    trials = {0: trial([1] * EPOCHS), 1: trial([1], outcome=Outcome.RUNNING)}
    known = Pace(trials, EPOCHS, 1, slowdown=3.0)
    assert known.left(agenda()) == 27
    trials[1].curve.append(Epoch(2, 0.5, 1.0, 1.0))
    assert known.left(agenda()) == 24  # the clock begins here
    clock.now += 2
    trials[1].curve.append(Epoch(3, 0.5, 1.0, 1.0))
    assert known.left(agenda()) == 14  # an epoch of 1 s took 2 s


def test_nothing_is_predicted_before_an_epoch_was_measured():
    assert pace().left(agenda(3, 3)) is None
    assert pace(trial(outcome=Outcome.RUNNING)).left(agenda(3, 3)) is None


def test_nothing_is_left_of_what_is_complete():
    assert pace(trial([3] * EPOCHS)).left(agenda()) == 0


def test_what_is_left_of_a_running_trial_is_its_epochs_at_the_pace_so_far():
    assert pace(trial([2, 4, 3, 3], outcome=Outcome.RUNNING)).left(agenda()) == pytest.approx(6 * 3)


def test_trials_to_come_that_may_be_stopped_are_as_long_as_those_before_on_average():
    before = trial([2] * EPOCHS), trial([2] * 4, outcome=Outcome.STOPPED)
    assert pace(*before).left(agenda(3, 0)) == pytest.approx(3 * 7 * 2)
    assert pace(*before).left(agenda(3, 2)) == pytest.approx((3 * 7 + 2 * EPOCHS) * 2)


@pytest.mark.parametrize(
    "other",
    [trial([2], replicate=1), trial([2], outcome=Outcome.RUNNING), trial([2], outcome=Outcome.OOM)],
)
def test_only_explorers_that_ended_with_a_verdict_tell_how_long_others_will_be(other):
    rest = EPOCHS - 1 if other.outcome is Outcome.RUNNING else 0
    seconds = pace(trial([2] * 4, outcome=Outcome.STOPPED), other).left(agenda(5, 0))
    assert seconds == pytest.approx((5 * 4 + rest) * 2)


def test_before_an_explorer_has_ended_all_are_taken_to_run_to_the_end():
    assert pace(trial([2], outcome=Outcome.RUNNING)).left(agenda(5, 1)) == pytest.approx((6 * EPOCHS + 9) * 2)


def test_workers_share_the_trials_but_not_one_trial():
    done = trial([2] * EPOCHS)
    assert pace(done, workers=4).left(agenda(8, 0)) == pytest.approx(8 * EPOCHS * 2 / 4)
    running = trial([2], outcome=Outcome.RUNNING)
    assert pace(done, running, workers=4).left(agenda()) == pytest.approx(9 * 2)


def test_more_workers_share_what_is_left_and_keep_the_slowdown_that_was_measured(clock):
    trials = {0: trial([1] * EPOCHS), 1: trial([1], outcome=Outcome.RUNNING)}
    growing = Pace(trials, EPOCHS, 1)
    growing.left(agenda())  # the clock begins with the next epoch
    for seconds in (0, 2):  # an epoch of 1 s takes 2 s
        clock.now += seconds
        trials[1].curve.append(Epoch(len(trials[1].curve) + 1, 0.5, 1.0, 1.0))
        growing.left(agenda())
    assert growing.left(agenda(1)) == pytest.approx((7 + EPOCHS) * 2)
    clock.now += 1000  # nothing is trained here: as workers start
    growing.follow(1)
    assert growing.left(agenda(1)) > 1000
    clock.now -= 1000
    growing.follow(2)
    clock.now += 1000
    assert growing.left(agenda(1)) == pytest.approx(EPOCHS * 2)


def test_without_hours_the_time_is_never_up(clock):
    free = pace(trial([2] * EPOCHS))
    clock.now += 1e12
    assert not free.time_is_up and not free.leaves_only(agenda(5, 10**9))
    assert free.left(agenda(0, 10)) == 200


def test_the_time_is_up_after_the_hours(clock):
    limited = pace(hours=0.5)
    clock.now += 1799
    assert not limited.time_is_up
    clock.now += 1
    assert limited.time_is_up


def test_what_is_left_is_never_more_than_what_is_left_of_the_hours(clock):
    limited = pace(trial([2] * EPOCHS), hours=1)
    clock.now += 3000
    assert limited.left(agenda(10**6, 0)) == pytest.approx(600)
    assert limited.left(agenda(5, 0)) == pytest.approx(100)
    clock.now += 10_000
    assert limited.left(agenda(5, 0)) == 0


def test_exploring_ends_when_what_runs_and_what_confirms_needs_the_rest_of_the_hours(clock):
    limited = pace(trial([60] * EPOCHS), trial([60] * 5, outcome=Outcome.RUNNING), hours=1)
    # 5 epochs of the running trial, 10 of one more, and 10 of each that confirms: 15 + 20 minutes.
    assert not limited.leaves_only(agenda(10**6, 2))
    clock.now += 24 * 60
    assert not limited.leaves_only(agenda(10**6, 2))
    clock.now += 60
    assert limited.leaves_only(agenda(10**6, 2))


def test_confirming_is_left_half_of_the_hours_at_most_so_that_something_is_explored(clock):
    limited = pace(trial([60] * EPOCHS), trial([60] * 5, outcome=Outcome.RUNNING), hours=1)
    assert not limited.leaves_only(agenda(10**6, 12))  # 15 minutes, and two hours of which half an hour is left
    clock.now += 14 * 60
    assert not limited.leaves_only(agenda(10**6, 12))
    clock.now += 60
    assert limited.leaves_only(agenda(10**6, 12))


def test_as_long_as_nothing_was_measured_only_the_deadline_ends_exploring(clock):
    limited = pace(hours=1)
    assert not limited.leaves_only(agenda(10**6, 10**6))
    clock.now += 3600
    assert limited.leaves_only(agenda(10**6, 0))


def test_the_hours_count_from_when_the_study_was_opened(clock):
    clock.now = 5000.0
    limited = pace(hours=1)
    assert limited.started == 5000
    clock.now = 8599.0
    assert not limited.time_is_up


def test_a_list_that_is_longer_than_the_hours_goes_on_while_there_is_time_for_another_of_it(clock):
    limited = pace(trial([60] * EPOCHS, replicate=1), hours=0.5)
    chosen = ListAgenda(LIST, 2, limited.leaves_only)  # 5 more of 10 minutes each; there are 30 minutes
    assert chosen.next(limited.trials.values()) is not NothingToRun.END
    clock.now += 30 * 60
    assert chosen.next(limited.trials.values()) is NothingToRun.END
