"""When trials ran, as the study has it, and what that says of the search's pace."""

from datetime import datetime, timedelta

import pytest

from nxt.arch.costs import Cost
from nxt.search.study.timestamps import Span, slowdown, together
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import load_list

START = datetime(2026, 1, 1)
SPEC = load_list(["resnet50"]).specs[0]


def span(begun, ended=None):
    return Span(START + timedelta(seconds=begun), None if ended is None else START + timedelta(seconds=ended))


def trial(number, trained, replayed=""):
    return Trial(
        number, (0,), SPEC, Cost(1), curve=[Epoch(1, 0.5, 1.0, trained)], outcome=Outcome.DONE, replayed=replayed
    )


def test_what_lasts_longer_than_its_epochs_is_slowed_down_by_the_median():
    trials = [trial(n, 10) for n in range(5)]
    times = {0: span(0, 90), 1: span(0, 95)}  # these waited for their workers to start
    times |= {2: span(90, 102), 3: span(95, 110), 4: span(110, 10_000)}  # the last one was resumed the next day
    assert slowdown(trials, times) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("trials", "times"),
    [
        ([], {}),
        ([trial(0, 10)], {}),
        ([trial(0, 10)], {0: span(0)}),
        ([trial(0, 10)], {0: span(0, 90)}),  # with the start of its worker
        ([trial(0, 10), trial(1, 10)], {0: span(0, 90), 1: span(90, 99)}),  # clocks differ by a little
        ([trial(0, 10, replayed="other")], {0: span(0, 100), 1: span(0, 10)}),
        ([Trial(0, (0,), SPEC, Cost(1))], {0: span(0, 100)}),
    ],
)
def test_slowdown_is_one_if_no_trial_gives_evidence(trials, times):
    assert slowdown(trials, times) == 1


def test_together_counts_the_trials_that_run_when_the_latest_one_begins():
    four = {n: span(0, 10) for n in range(4)}
    assert together(four) == 4
    two = {4 + n: span(10 * n + 10, 10 * n + 25) for n in range(12)}  # each begins while the one before still runs
    assert together(four | two) == 2
    assert together({0: span(0), 1: span(5), 2: span(6)}) == 3
    assert together({}) == 1
