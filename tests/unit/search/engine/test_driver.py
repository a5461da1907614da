"""What the driver makes of workers that died, without Ray's help: who is started again, and what is said in the end."""

from types import SimpleNamespace

import pytest

from nxt.search.engine.ray_runner import _Driver
from nxt.search.trial import Epoch, EpochResult, Outcome, Trial, TrialFailure

HANG = "no step was made for 301 s, in x.py:3 (f)"
SAID = "Failure # 1 (occurred at 2026-01-01)\nThe actor died unexpectedly\n"
LEFT = "Failure # 1 (occurred at 2026-01-01)\nThe actor died because its node has died. Node Id: 1\n"


def driver(retries=2, hang=HANG, eager=False, more=False):
    """A driver with one trial; and what it recorded of failures."""
    failures = []
    strategy = SimpleNamespace(
        study=SimpleNamespace(trials={0: Trial(0, (0,), None, None)}),
        fail=lambda number, outcome, message: failures.append((number, outcome, message)),
        observe=lambda number, epoch: None,
        remark=lambda number, text: None,
    )
    request = SimpleNamespace(settings=SimpleNamespace(retries=retries))
    session = SimpleNamespace(
        strategy=strategy, pace=None, request=request, hang_of=lambda number: hang, learn=lambda task, memory: None,
        leaves_eager=lambda number: eager, gives_more=lambda task: more,
    )  # fmt: skip
    made = _Driver(session, None, lambda: None, lambda: 1)
    made._tasks[0] = None
    return made, failures


@pytest.mark.parametrize(
    ("hang", "outcome", "message"),
    [
        (HANG, Outcome.TIMEOUT, f"hung 3 times in a row: {HANG}"),
        ("", Outcome.KILLED, "the worker process died 3 times in a row: The actor died unexpectedly"),
    ],
)
def test_a_trial_that_hung_is_started_again_as_often_as_one_whose_worker_was_killed(hang, outcome, message):
    made, failures = driver(hang=hang)
    for _ in range(2):
        made.died(0, SAID)
        assert made._waiting.pop(0) and failures == []
    made.died(0, SAID)
    assert failures == [(0, outcome, message)] and not made._waiting


def test_an_epoch_in_between_makes_all_retries_available_again():
    made, failures = driver(retries=1)
    for epoch in range(1, 5):
        made.died(0, SAID)
        assert made._waiting.pop(0)
        made.report(0, EpochResult(Epoch(epoch, 0.5, 1.0, 1.0)))
    assert failures == []


def test_without_retries_the_first_hang_ends_a_trial():
    made, failures = driver(retries=0)
    made.died(0, SAID)
    assert failures == [(0, Outcome.TIMEOUT, f"hung: {HANG}")]


def test_a_machine_that_leaves_uses_no_retry_unless_it_is_always_the_same_trial():
    made, failures = driver(retries=0, hang="")
    for _ in range(2):
        for _ in range(10):
            made.died(0, LEFT)
            assert made._waiting.pop(0) and failures == []
        made.report(0, EpochResult(Epoch(1, 0.5, 1.0, 1.0)))
    for _ in range(11):
        made.died(0, LEFT)
    why = "the worker process died 11 times in a row: The actor died because its node has died. Node Id: 1"
    assert failures == [(0, Outcome.KILLED, why)]


def test_a_machine_without_memory_is_told_from_a_hang():
    made, failures = driver(retries=0)
    made.died(0, f"{SAID}ray.exceptions.OutOfMemoryError")
    assert failures == [(0, Outcome.OOM, "the machine ran out of memory")]


def test_a_failed_cuda_graph_recording_uses_no_retry():
    made, failures = driver(retries=0, eager=True)
    made.died(0, SAID)
    assert made._waiting.pop(0) and failures == []


@pytest.mark.parametrize("more", [False, True])
def test_out_of_memory_is_a_failure_unless_the_trial_can_have_more(more):
    made, failures = driver(more=more)
    made.report(0, TrialFailure(Outcome.OOM, "CUDA out of memory"))
    assert (0 in made._waiting) is more
    assert failures == ([] if more else [(0, Outcome.OOM, "CUDA out of memory")])
