"""The strategy and its study, driven by hand with made-up accuracies: what is decided, and what a cut-off leaves."""

import dataclasses
import random
import sqlite3

import pytest
import sqlalchemy

from nxt.budget import parse_budget
from nxt.errors import RunError
from nxt.feasible import FeasibleSet
from nxt.references import references
from nxt.search.halving import SuccessiveHalving, rungs
from nxt.search.results import pareto
from nxt.search.sampler import FeasibleSampler, distributions
from nxt.search.strategy import Strategy, trial_seed
from nxt.search.study import StudyRecord, read_trials
from nxt.search.trial import Epoch, Outcome
from nxt.space import load_space

EPOCHS = 4
ENDS = [Outcome.DONE, Outcome.STOPPED, Outcome.OOM, Outcome.DIVERGED, Outcome.CRASHED]


@pytest.fixture(autouse=True)
def quick_databases():
    """Do without waiting for the disk: no test here cuts the power."""

    def relax(connection, _record):
        connection.execute("pragma synchronous = off")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", relax)
    yield
    sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", relax)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


def make(path, trials=8, seed=0, eta=3.0, grace=0.5, **texts):
    budget = parse_budget(texts)
    feasible = FeasibleSet(load_space("smoke"), budget)
    roles = {point: family for family, point in references(feasible).items()}
    return Strategy(
        StudyRecord(path, feasible.space, "macs"),
        FeasibleSampler(feasible, list(roles), "random", seed),
        SuccessiveHalving(rungs(EPOCHS, eta, grace), eta),
        roles,
        budget,
        trials,
        EPOCHS,
    )


def accuracy_of(trial, epoch):
    """A learning curve that follows from the architecture; references come out worst of all."""
    final = 0.1 if trial.role else 0.3 + (int(trial.spec.fingerprint, 16) % 1000) / 2000
    return final * epoch / EPOCHS


def row(epoch, accuracy=0.5):
    return Epoch(epoch, accuracy, 1.0, 0.25)


def drive(strategy, workers=3, steps=10**6, seed=1):
    """Run trials side by side in a random order, for so many epochs; return the numbers in order of suggestion."""
    rng, active, suggested = random.Random(seed), [], []
    while steps > 0:
        while len(active) < workers and (trial := strategy.suggest()) is not None:
            active.append(trial)
            suggested.append(trial.number)
        if not active:
            break
        trial = rng.choice(active)
        epoch = len(trial.curve) + 1
        if not strategy.observe(trial.number, row(epoch, accuracy_of(trial, epoch))):
            active.remove(trial)
        steps -= 1
    return suggested


def snapshot(strategy_or_trials):
    trials = getattr(strategy_or_trials, "study", None)
    found = trials.trials.values() if trials else strategy_or_trials
    return {t.number: (t.point, t.spec, t.role, t.outcome, t.message, tuple(t.curve), t.cost) for t in found}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_runs_the_number_of_trials_asked_for(path, workers):
    strategy = make(path, trials=8, flops="5M+-20%")
    assert drive(strategy, workers) == list(range(8))
    trials = list(strategy.study.trials.values())
    assert strategy.complete and not strategy.exhausted
    assert {t.outcome for t in trials} == {Outcome.DONE, Outcome.STOPPED}
    assert len({t.spec.fingerprint for t in trials}) == 8
    assert all(strategy.sampler.feasible.budget.allows(t.cost) for t in trials)


def test_a_trial_that_is_stopped_never_enters_the_front(path):
    strategy = make(path, trials=12, flops="5M+-20%")
    drive(strategy)
    trials = list(strategy.study.trials.values())
    stopped = [t for t in trials if t.outcome is Outcome.STOPPED]
    front = pareto(trials, "macs")
    assert stopped and front
    assert all(len(t.curve) == 2 and t.message == "at the rung of epoch 2" for t in stopped)
    assert all(t.outcome is Outcome.DONE and t.curve[-1].epoch == EPOCHS for t in front)
    for trial in front:
        assert not any(
            t.outcome is Outcome.DONE
            and (t.cost.macs <= trial.cost.macs and t.accuracy >= trial.accuracy)
            and (t.cost.macs, t.accuracy) != (trial.cost.macs, trial.accuracy)
            for t in trials
        )


def test_references_come_first_and_are_never_stopped(path):
    strategy = make(path, trials=10, flops="5M+-25%")
    drive(strategy)
    trials = list(strategy.study.trials.values())
    marked = [t for t in trials if t.role]
    assert [t.number for t in marked] == list(range(len(strategy.roles))) and marked
    assert all(t.outcome is Outcome.DONE for t in marked)  # though they are the worst of all
    assert any(t.outcome is Outcome.STOPPED for t in trials)


def test_outside_a_window_only_trials_of_similar_cost_are_compared(path):
    strategy = make(path, trials=20)
    drive(strategy)
    for trial in strategy.study.trials.values():
        if trial.outcome is Outcome.STOPPED:
            rivals = [t for t in strategy.study.trials.values() if 0.8 <= t.cost.macs / trial.cost.macs <= 1.25]
            assert sum(len(t.curve) >= 2 and t.curve[1].accuracy > trial.accuracy for t in rivals) >= 1
            assert len(rivals) >= 3


def test_the_study_says_what_the_strategy_knows(path):
    strategy = make(path, flops="5M+-20%")
    drive(strategy, steps=12)
    assert snapshot(read_trials(path, load_space("smoke"))) == snapshot(strategy)
    assert snapshot(make(path, flops="5M+-20%")) == snapshot(strategy)


@pytest.mark.parametrize("steps", [1, 11])
def test_trials_that_were_cut_off_go_on_first_under_their_numbers(path, steps):
    before = make(path, flops="5M+-20%")
    drive(before, steps=steps)
    known = snapshot(before)
    running = [t.number for t in before.study.trials.values() if t.outcome is Outcome.RUNNING]
    after = make(path, flops="5M+-20%")
    resumed = [after.suggest() for _ in running]
    assert [t.number for t in resumed] == running
    assert snapshot(after) == known
    fresh = after.suggest()
    assert fresh is None or fresh.number == len(known)


@pytest.mark.parametrize("steps", [1, 14])
def test_a_search_that_was_cut_off_ends_with_the_number_asked_for(path, steps):
    before = make(path, flops="5M+-20%")
    drive(before, steps=steps)
    ended = {n: s for n, s in snapshot(before).items() if s[3] is not Outcome.RUNNING}
    after = make(path, flops="5M+-20%")
    assert not after.complete
    drive(after)
    assert after.complete and len(after.study.trials) == 8
    assert len({t.spec.fingerprint for t in after.study.trials.values()}) == 8
    assert {n: s for n, s in snapshot(after).items() if n in ended} == ended


def test_cut_off_after_every_second_epoch_a_search_of_one_worker_ends_as_without(tmp_path):
    whole = make(tmp_path / "whole.db", trials=5, flops="5M+-20%")
    drive(whole, workers=1)
    while True:
        piece = make(tmp_path / "pieces.db", trials=5, flops="5M+-20%")
        if piece.complete and piece.study.trials:
            break
        drive(piece, workers=1, steps=2)
    assert snapshot(piece) == snapshot(whole)


def test_more_trials_can_be_asked_for_later(path):
    drive(make(path, trials=5, flops="5M+-20%"))
    more = make(path, trials=9, flops="5M+-20%")
    assert not more.complete
    assert drive(more) == [5, 6, 7, 8]
    assert more.complete


def test_fewer_trials_than_there_are_is_complete(path):
    drive(make(path, trials=5))
    fewer = make(path, trials=2)
    assert fewer.suggest() is None and fewer.complete and not fewer.exhausted


def test_a_space_with_fewer_architectures_than_asked_for_is_exhausted(path):
    strategy = make(path, trials=50, flops="5M+-3%")
    count = len(strategy.sampler.feasible)
    assert 2 <= count < 20
    assert not strategy.complete
    drive(strategy)
    assert strategy.exhausted and strategy.complete and len(strategy.study.trials) == count
    again = make(path, trials=50, flops="5M+-3%")
    assert again.suggest() is None and again.exhausted and again.complete


def test_a_search_is_complete_only_when_the_last_trial_has_ended(path):
    strategy = make(path, trials=2)
    first, second = strategy.suggest(), strategy.suggest()
    assert strategy.suggest() is None and not strategy.complete
    strategy.fail(first.number, Outcome.CRASHED, "x")
    assert not strategy.complete
    for epoch in range(1, EPOCHS + 1):
        assert strategy.observe(second.number, row(epoch)) == (epoch < EPOCHS)
    assert strategy.complete


@pytest.mark.parametrize("outcome", ENDS[2:])
def test_each_way_to_fail_is_recorded_as_such(path, outcome):
    strategy = make(path, trials=2)
    trial = strategy.suggest()
    strategy.observe(trial.number, row(1))
    strategy.fail(trial.number, outcome, "why")
    [again] = read_trials(path, load_space("smoke"))
    assert (again.outcome, again.message, len(again.curve)) == (outcome, "why", 1)
    assert again.outcome.failed and not pareto([again], "macs")
    assert strategy.suggest().spec.fingerprint != trial.spec.fingerprint


@pytest.mark.parametrize("ended", ENDS)
@pytest.mark.parametrize("late", ENDS[2:])
def test_a_failure_never_overwrites_how_a_trial_ended(path, ended, late):
    strategy = make(path)
    trial = strategy.suggest()
    if ended is Outcome.DONE:
        for epoch in range(1, EPOCHS + 1):
            strategy.observe(trial.number, row(epoch))
    else:
        strategy.study.end(trial, ended, "first")
    before = snapshot(strategy)
    strategy.fail(trial.number, late, "later")
    assert snapshot(strategy) == before
    assert snapshot(read_trials(path, load_space("smoke"))) == before


@pytest.mark.parametrize("ended", ENDS[2:])
def test_an_epoch_that_comes_late_changes_nothing(path, ended):
    strategy = make(path)
    trial = strategy.suggest()
    strategy.fail(trial.number, ended, "x")
    before = snapshot(strategy)
    assert strategy.observe(trial.number, row(1)) is False
    assert snapshot(strategy) == before


def test_an_epoch_trained_again_after_a_kill_is_not_recorded_twice(path):
    strategy = make(path)
    trial = strategy.suggest()
    for epoch, accuracy in ((1, 0.1), (2, 0.2), (2, 0.25), (3, 0.3)):
        assert strategy.observe(trial.number, row(epoch, accuracy))
    [again] = read_trials(path, load_space("smoke"))
    assert [(r.epoch, r.accuracy) for r in again.curve] == [(1, 0.1), (2, 0.2), (3, 0.3)]


def half_born(strategy, upto):
    """Do what `begin` does and stop, as a kill would, after so many of its attributes."""
    record = strategy.study
    record._study.sampler = strategy.sampler
    asked = record._study.ask(distributions(record.space))
    for key in ("name", "fingerprint", "role", "params", "macs", "acts", "outcome")[:upto]:
        asked.set_user_attr(key, "running")
    return asked


@pytest.mark.parametrize("upto", [0, 3, 7])
def test_a_trial_cut_off_before_it_was_described_does_not_count(path, upto):
    before = make(path, trials=6)
    drive(before, steps=6)
    half_born(before, upto)
    after = make(path, trials=6)
    drive(after)
    assert after.complete and len(after.study.trials) == 6
    assert len({t.spec.fingerprint for t in after.study.trials.values()}) == 6
    assert len(read_trials(path, load_space("smoke"))) == 6


@pytest.mark.parametrize("upto", [0, 7])
def test_the_architecture_of_a_trial_cut_off_before_it_was_described_is_not_lost(path, upto):
    before = make(path, trials=6)
    asked = half_born(before, upto)  # the first reference
    after = make(path, trials=6)
    first = after.suggest()
    assert first.point == tuple(asked.params[name] for name in after.study.space.axis_names)
    assert first.role == next(iter(after.roles.values()))


def test_optuna_sees_objectives_of_finished_trials_only(path):
    strategy = make(path, trials=8, flops="5M+-20%")
    drive(strategy)
    import optuna

    study = optuna.load_study(study_name="nxt", storage=f"sqlite:///{path}")
    for row_ in study.get_trials():
        trial = strategy.study.trials[row_.number]
        if trial.outcome is Outcome.DONE:
            assert row_.values == [trial.accuracy, trial.cost.macs]
        else:
            assert row_.values is None and row_.state is optuna.trial.TrialState.PRUNED
    assert len(study.best_trials) >= len(pareto(list(strategy.study.trials.values()), "macs")) > 0


@pytest.mark.parametrize(
    ("seed", "fingerprint", "expected"),
    [(0, "d17cd7a3b4b1", 2007537888), (1, "d17cd7a3b4b1", 3038641123), (0, "1f1e3d3b311d", 1710412978)],
)
def test_the_seed_of_a_trial_never_changes(seed, fingerprint, expected):
    assert trial_seed(seed, fingerprint) == expected


def test_the_seed_of_a_trial_fits_a_generator_after_the_training_loop_has_scaled_it():
    seeds = [trial_seed(0, f"{n:012x}") for n in range(2000)]
    assert len(set(seeds)) == 2000
    assert all(0 <= seed < 2**32 and seed * 1_000_003 + 10_000 < 2**63 for seed in seeds)


@pytest.mark.parametrize("content", [b"not a database at all" * 60, b"SQLite format 3\x00" + b"\x07" * 4000])
def test_a_damaged_study_is_a_run_error(path, content):
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"study\.db: the study (cannot be opened|is damaged)"):
        make(path)
    with pytest.raises(RunError, match=r"study\.db: the study (cannot be read|is damaged)"):
        read_trials(path, load_space("smoke"))


def test_a_study_that_is_missing_or_of_something_else_is_a_run_error(path):
    with pytest.raises(RunError, match="no such study; has the search begun"):
        read_trials(path, load_space("smoke"))
    with sqlite3.connect(path) as connection:
        connection.execute("create table x (y)")
    connection.close()
    with pytest.raises(RunError, match="cannot be read"):
        read_trials(path, load_space("smoke"))


def test_a_study_in_a_missing_folder_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match="cannot be opened"):
        make(tmp_path / "no" / "study.db")


def test_a_trial_reads_its_own_figures():
    strategy_trial = dataclasses.replace(_trial(), curve=[row(1, 0.1), row(2, 0.4)], outcome=Outcome.DONE)
    assert strategy_trial.accuracy == 0.4 and strategy_trial.seconds == 0.5
    assert _trial().accuracy is None and _trial().seconds == 0
    assert [o.failed for o in Outcome] == [False, False, False, True, True, True]


def _trial():
    from nxt.costs import cost
    from nxt.search.trial import Trial

    spec = load_space("smoke").spec((0,) * 6)
    return Trial(number=0, point=(0,) * 6, spec=spec, cost=cost(spec))
