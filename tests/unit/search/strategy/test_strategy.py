"""The strategy and its study, driven by hand with made-up accuracies: what is decided, and what a cut-off leaves."""

import dataclasses
import random

import pytest
import sqlalchemy

from nxt.search.ranking import best_of, pareto, ranked
from nxt.search.strategy.agenda import SearchAgenda
from nxt.search.strategy.samplers import make_sampler
from nxt.search.strategy.schedulers import Decision, make_scheduler, rungs
from nxt.search.strategy.strategy import Strategy
from nxt.search.study.database import DurableStudy, read_trials
from nxt.search.trial import Epoch, Outcome, trial_seed
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space
from nxt.space.references import references

EPOCHS = 4
ENDS = [
    Outcome.DONE, Outcome.STOPPED, Outcome.OOM, Outcome.DIVERGED, Outcome.CRASHED, Outcome.KILLED, Outcome.TIMEOUT
]  # fmt: skip


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


def make(path, trials=8, seed=0, eta=3.0, grace=0.5, confirm=0, seeds=2, control=0.0, finished=None, **texts):
    budget = parse_budget(texts)
    feasible = FeasibleSet(load_space("smoke"), budget)
    families = {point: family for family, point in references(feasible).items()}
    sampler = make_sampler("random", feasible, list(families), seed)
    return Strategy(
        DurableStudy(path, feasible.space, "macs"),
        SearchAgenda(sampler, families, trials, confirm, seeds),
        make_scheduler("asha", rungs(EPOCHS, eta, grace), eta, budget, "macs"),
        EPOCHS,
        seed,
        control,
        finished,
        "first" if finished else "",
    )


def accuracy_of(trial, epoch):
    """A learning curve that follows from the architecture; references come out worst of all."""
    final = 0.1 if trial.family else 0.3 + (int(trial.spec.fingerprint, 16) % 1000) / 2000
    return final * epoch / EPOCHS


def row(epoch, accuracy=0.5):
    return Epoch(epoch, accuracy, 1.0, 0.25)


def drive(strategy, workers=3, steps=10**6, seed=1, accuracy=accuracy_of):
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
        if strategy.observe(trial.number, row(epoch, accuracy(trial, epoch))) is Decision.STOP:
            active.remove(trial)
        steps -= 1
    return suggested


def run_to_the_end(strategy, trial, accuracy=lambda trial, epoch: 0.5):
    """Give a trial the epochs it lacks until it is stopped, and return whether it got them all."""
    for epoch in range(len(trial.curve) + 1, EPOCHS + 1):
        if strategy.observe(trial.number, row(epoch, accuracy(trial, epoch))) is Decision.STOP:
            break
    return trial.outcome is Outcome.DONE


def trials_of(strategy):
    return list(strategy.study.trials.values())


def reread(path):
    return read_trials(path, load_space("smoke"))


def snapshot(strategy_or_trials):
    trials = trials_of(strategy_or_trials) if isinstance(strategy_or_trials, Strategy) else strategy_or_trials
    return {
        t.number: (t.point, t.spec, t.family, t.outcome, t.message, tuple(t.curve), t.cost, t.replicate, t.control_rung)
        for t in trials
    }


@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_runs_the_number_of_trials_asked_for(path, workers):
    strategy = make(path, trials=8, flops="5M+-20%")
    assert drive(strategy, workers) == list(range(8))
    trials = trials_of(strategy)
    assert strategy.complete
    assert {t.outcome for t in trials} == {Outcome.DONE, Outcome.STOPPED}
    assert len({t.spec.fingerprint for t in trials}) == 8
    assert all(strategy.agenda.sampler.feasible.budget.allows(t.cost) for t in trials)


def test_a_trial_that_is_stopped_never_enters_the_front(path):
    strategy = make(path, trials=12, flops="5M+-20%")
    drive(strategy)
    trials = trials_of(strategy)
    stopped = [t for t in trials if t.outcome is Outcome.STOPPED]
    front = pareto(ranked(trials), "macs")
    assert stopped and front
    assert all(len(t.curve) == 2 and t.message == "at the rung of epoch 2" for t in stopped)
    for entry in front:
        assert all(t.outcome is Outcome.DONE and t.curve[-1].epoch == EPOCHS for t in entry.trials)
        assert not any(
            t.outcome is Outcome.DONE
            and (t.cost.macs <= entry.cost.macs and t.accuracy >= entry.accuracy)
            and (t.cost.macs, t.accuracy) != (entry.cost.macs, entry.accuracy)
            for t in trials
        )


def test_references_come_first_and_are_never_stopped(path):
    strategy = make(path, trials=10, flops="5M+-25%")
    drive(strategy)
    trials = trials_of(strategy)
    marked = [t for t in trials if t.family]
    assert [t.number for t in marked] == list(range(len(strategy.agenda.families))) and marked
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
    assert snapshot(reread(path)) == snapshot(strategy)
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
        drive(piece, workers=1, steps=2)
        if piece.complete:
            break
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
    assert fewer.suggest() is None and fewer.complete and len(fewer.study.trials) == 5


def test_a_space_with_fewer_architectures_than_asked_for_is_exhausted(path):
    strategy = make(path, trials=50, flops="5M+-3%")
    count = len(strategy.agenda.sampler.feasible)
    assert 2 <= count < 20
    assert not strategy.complete
    drive(strategy)
    assert strategy.complete and len(strategy.study.trials) == count
    assert strategy.agenda.remaining(trials_of(strategy)) == (0, 0)
    again = make(path, trials=50, flops="5M+-3%")
    assert again.suggest() is None and again.complete and len(again.study.trials) == count


def test_a_search_is_complete_only_when_the_last_trial_has_ended(path):
    strategy = make(path, trials=2)
    first, second = strategy.suggest(), strategy.suggest()
    assert strategy.suggest() is None and not strategy.complete
    strategy.fail(first.number, Outcome.CRASHED, "x")
    assert strategy.suggest() is None and not strategy.complete
    for epoch in range(1, EPOCHS + 1):
        decision = Decision.CONTINUE if epoch < EPOCHS else Decision.STOP
        assert strategy.observe(second.number, row(epoch)) is decision
    assert strategy.suggest() is None and strategy.complete


@pytest.mark.parametrize("outcome", ENDS[2:])
def test_each_way_to_fail_is_recorded_as_such(path, outcome):
    strategy = make(path, trials=2)
    trial = strategy.suggest()
    strategy.observe(trial.number, row(1))
    strategy.fail(trial.number, outcome, "why")
    [again] = reread(path)
    assert (again.outcome, again.message, len(again.curve)) == (outcome, "why", 1)
    assert again.outcome.failed and not ranked([again])
    assert strategy.suggest().spec.fingerprint != trial.spec.fingerprint


@pytest.mark.parametrize("ended", ENDS)
@pytest.mark.parametrize("late", ENDS[2:])
def test_a_failure_never_overwrites_how_a_trial_ended(path, ended, late):
    strategy = make(path)
    trial = strategy.suggest()
    if ended is Outcome.DONE:
        run_to_the_end(strategy, trial)
    else:
        strategy.study.end(trial, ended, "first")
    before = snapshot(strategy)
    strategy.fail(trial.number, late, "later")
    assert snapshot(strategy) == before
    assert snapshot(reread(path)) == before


@pytest.mark.parametrize("ended", ENDS[2:])
def test_an_epoch_that_comes_late_changes_nothing(path, ended):
    strategy = make(path)
    trial = strategy.suggest()
    strategy.fail(trial.number, ended, "x")
    before = snapshot(strategy)
    assert strategy.observe(trial.number, row(1)) is Decision.STOP
    assert snapshot(strategy) == before


def test_an_epoch_trained_again_after_a_kill_is_not_recorded_twice(path):
    strategy = make(path)
    trial = strategy.suggest()
    for epoch, accuracy in ((1, 0.1), (2, 0.2), (2, 0.25), (3, 0.3)):
        assert strategy.observe(trial.number, row(epoch, accuracy)) is Decision.CONTINUE
    [again] = reread(path)
    assert [(r.epoch, r.accuracy) for r in again.curve] == [(1, 0.1), (2, 0.2), (3, 0.3)]


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
    assert len(study.best_trials) >= len(pareto(ranked(trials_of(strategy)), "macs")) > 0


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


@pytest.mark.parametrize("replicate", [1, 2, 7])
def test_the_seed_of_a_repeat_is_its_own_and_that_of_the_first_training_stays(replicate):
    seeds = [trial_seed(study, "d17cd7a3b4b1", r) for study in (0, 1, 2) for r in (0, replicate)]
    assert len(set(seeds)) == 6
    assert trial_seed(0, "d17cd7a3b4b1", 0) == trial_seed(0, "d17cd7a3b4b1") == 2007537888


# The control group


WINDOW = "8M+-11%"  # narrow, so that all trials inside are compared with each other


def falling(trial, epoch):
    """Accuracies of which each trial's are worse than those of all before it: a rung would stop nearly every one."""
    return epoch / EPOCHS / (trial.number + 1)


def test_a_control_group_of_all_lets_nothing_stop_and_remembers_the_rung(tmp_path):
    plain = make(tmp_path / "plain.db", trials=10, flops=WINDOW)
    drive(plain, workers=1, accuracy=falling)
    stopped = {t.number for t in trials_of(plain) if t.outcome is Outcome.STOPPED}
    every = make(tmp_path / "all.db", trials=10, control=1.0, flops=WINDOW)
    drive(every, workers=1, accuracy=falling)
    assert stopped
    assert {t.outcome for t in trials_of(every)} == {Outcome.DONE}
    assert {t.number: t.control_rung for t in trials_of(every) if t.control_rung} == dict.fromkeys(stopped, 2)
    assert not any(t.control_rung for t in trials_of(plain)) and not any(
        t.control_rung for t in trials_of(every) if t.family
    )


def test_without_a_control_group_nothing_is_in_it(path):
    strategy = make(path, trials=12, flops=WINDOW)
    drive(strategy, accuracy=falling)
    assert any(t.outcome is Outcome.STOPPED for t in trials_of(strategy))
    assert not any(t.control_rung for t in trials_of(strategy))


@pytest.mark.parametrize("again", [False, True])
def test_the_control_group_stays_out_of_later_comparisons_also_after_a_reload(path, again):
    options = {"trials": 8, "control": 1.0, "eta": 2.0, "grace": 0.25, "flops": WINDOW}
    strategy = make(path, **options)
    assert strategy.scheduler.rungs == (1, 2)
    first, low, lower, last = [t for t in (strategy.suggest() for _ in range(6)) if not t.family]
    for trial, accuracy in ((first, 0.5), (low, 0.1), (lower, 0.05), (last, 0.6)):
        assert strategy.observe(trial.number, row(1, accuracy)) is Decision.CONTINUE
    assert [t.control_rung for t in (first, low, lower, last)] == [0, 1, 1, 0]
    for trial, accuracy in ((first, 0.8), (low, 0.99), (lower, 0.99)):
        assert strategy.observe(trial.number, row(2, accuracy)) is Decision.CONTINUE
    assert [t.control_rung for t in (first, low, lower)] == [0, 1, 1]
    if again:
        strategy = make(path, **options)
        assert [strategy.study.trials[t.number].control_rung for t in (first, low, lower, last)] == [0, 1, 1, 0]
    # Below both trials of the control group, above the first one.
    assert strategy.observe(last.number, row(2, 0.85)) is Decision.CONTINUE
    assert strategy.study.trials[last.number].control_rung == 0


def test_the_control_group_survives_a_reload(path):
    before = make(path, trials=10, control=1.0, flops=WINDOW)
    drive(before, steps=25, accuracy=falling)
    control = {t.number: t.control_rung for t in trials_of(before) if t.control_rung}
    assert control and {t.number: t.control_rung for t in reread(path) if t.control_rung} == control
    after = make(path, trials=10, control=1.0, flops=WINDOW)
    drive(after, accuracy=falling)
    assert after.complete and {t.outcome for t in trials_of(after)} == {Outcome.DONE}
    assert control.items() <= {t.number: t.control_rung for t in trials_of(after)}.items()


def test_seed_and_architecture_alone_decide_who_is_in_the_control_group(tmp_path):
    spared, stopped = set(), set()
    for workers, grace, eta in ((1, 0.5, 3.0), (4, 0.5, 2.0), (2, 0.75, 3.0)):
        strategy = make(tmp_path / f"{workers}.db", trials=34, control=0.5, grace=grace, eta=eta)
        drive(strategy, workers, seed=workers, accuracy=falling)
        spared |= {t.spec.fingerprint for t in trials_of(strategy) if t.control_rung}
        stopped |= {t.spec.fingerprint for t in trials_of(strategy) if t.outcome is Outcome.STOPPED}
    assert len(spared) > 3 and len(stopped) > 3 and not spared & stopped
    other = make(tmp_path / "other.db", trials=60, seed=1, control=0.5, eta=1.5)
    drive(other, accuracy=falling)
    assert stopped & {t.spec.fingerprint for t in trials_of(other) if t.control_rung}


# Replay


def finished_of(strategy):
    return {
        (t.spec.fingerprint, trial_seed(strategy.seed, t.spec.fingerprint, t.replicate)): t
        for t in trials_of(strategy)
        if t.outcome is Outcome.DONE
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A search of which every trial was trained to the end."""
    strategy = make(tmp_path_factory.mktemp("source") / "study.db", trials=10, control=1.0, flops=WINDOW)
    drive(strategy, workers=1)
    assert all(t.outcome is Outcome.DONE for t in trials_of(strategy))
    return strategy


def test_finished_trials_are_taken_over_and_stop_where_they_would_have_stopped(source, tmp_path):
    trained = make(tmp_path / "trained.db", trials=10, flops=WINDOW)
    drive(trained, workers=1)
    replayed = make(tmp_path / "replayed.db", trials=10, finished=finished_of(source), flops=WINDOW)
    assert replayed.suggest() is None and replayed.complete  # nothing is left to train
    assert snapshot(replayed) == snapshot(trained) == snapshot(reread(tmp_path / "replayed.db"))
    assert any(t.outcome is Outcome.STOPPED for t in trials_of(replayed))
    assert {t.replayed for t in reread(tmp_path / "replayed.db")} == {"first"}
    assert {t.replayed for t in trials_of(trained)} == {""}


def test_only_what_the_other_run_has_is_taken_over(source, path):
    finished = finished_of(source)
    some = {key: trial for key, trial in finished.items() if trial.number % 2}
    strategy = make(path, trials=10, finished=some, flops=WINDOW)
    suggested = drive(strategy, workers=1)
    assert strategy.complete and len(strategy.study.trials) == 10
    taken = {t.number for t in trials_of(strategy) if t.replayed}
    assert taken == {1, 3, 5, 7, 9} and suggested == [0, 2, 4, 6, 8]


def test_a_training_with_another_seed_is_not_taken_over(source, path):
    strategy = make(path, trials=3, seed=1, finished=finished_of(source), flops=WINDOW)
    assert strategy.suggest() is not None
    drive(strategy)
    assert not any(t.replayed for t in trials_of(strategy))


def test_repeats_are_taken_over_too(tmp_path):
    whole = make(tmp_path / "whole.db", trials=6, confirm=2, flops=WINDOW)
    drive(whole, workers=1)
    again = make(tmp_path / "again.db", trials=6, confirm=2, finished=finished_of(whole), flops=WINDOW)
    suggested = drive(again, workers=1)
    assert again.complete and snapshot(again) == snapshot(whole)
    assert suggested == [t.number for t in trials_of(whole) if t.outcome is Outcome.STOPPED]
    assert {t.replicate for t in trials_of(again) if t.replayed} == {0, 1, 2}


def cut_off_in_replay(source, path, epochs):
    """Leave a study whose first trial was cut off after so many epochs had been taken over."""
    strategy = make(path, trials=3, flops=WINDOW)
    trial = strategy.study.begin(strategy.agenda.sampler, strategy.agenda.families)
    strategy.study.note(trial, replayed="first")
    for row_ in source.study.trials[trial.number].curve[:epochs]:
        strategy.study.add_epoch(trial, row_)


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_a_replay_that_was_cut_off_goes_on(source, path, epochs):
    cut_off_in_replay(source, path, epochs)
    strategy = make(path, trials=3, finished=finished_of(source), flops=WINDOW)
    assert strategy.suggest() is None and strategy.complete
    assert snapshot(strategy)[0] == snapshot(source)[0]
    assert [row.epoch for row in strategy.study.trials[0].curve] == [1, 2, 3, 4]


def test_without_the_other_run_a_replay_that_was_cut_off_is_trained_on(source, path):
    cut_off_in_replay(source, path, 2)
    strategy = make(path, trials=3, flops=WINDOW)
    trial = strategy.suggest()
    assert (trial.number, len(trial.curve)) == (0, 2)
    decisions = [strategy.observe(0, row(epoch)) for epoch in (1, 2)]
    assert decisions == [Decision.CONTINUE] * 2 and len(trial.curve) == 2  # from the beginning
    assert [strategy.observe(0, row(epoch)) for epoch in (3, 4)] == [Decision.CONTINUE, Decision.STOP]
    assert trial.outcome is Outcome.DONE


def test_a_trial_whose_training_has_begun_is_trained_on_and_not_replayed(source, path):
    before = make(path, trials=2, flops=WINDOW)
    before.observe(before.suggest().number, row(1, 0.25))
    after = make(path, trials=2, finished=finished_of(source), flops=WINDOW)
    trial = after.suggest()
    assert (trial.number, trial.replayed, [r.accuracy for r in trial.curve]) == (0, "", [0.25])


# Trials whose worker is gone


def test_a_trial_that_is_to_run_again_comes_before_new_ones(path):
    strategy = make(path, trials=3)
    first, second = strategy.suggest(), strategy.suggest()
    strategy.observe(first.number, row(1))
    strategy.again(first.number)
    assert strategy.suggest() is first and [r.epoch for r in first.curve] == [1]
    third = strategy.suggest()
    assert third.number == 2 and strategy.suggest() is None
    strategy.again(second.number)  # also when there is nothing new
    assert strategy.suggest() is second and not strategy.complete


# Remarks


def test_a_remark_is_recorded_and_ends_nothing(path):
    strategy = make(path)
    trial = strategy.suggest()
    strategy.remark(trial.number, "batch halved")
    strategy.remark(trial.number, "")  # later epochs have nothing to add
    assert trial.remark == "batch halved" and trial.outcome is Outcome.RUNNING
    [again] = reread(path)
    assert (again.remark, again.message, again.outcome) == ("batch halved", "", Outcome.RUNNING)
    strategy.remark(trial.number, "batch halved again")
    run_to_the_end(strategy, trial)
    [again] = reread(path)
    assert (again.remark, again.outcome) == ("batch halved again", Outcome.DONE)


# Confirmation


def lucky(trial, epoch):
    """A curve of which the first training flatters the architecture, the more so the better it looks."""
    if trial.replicate == 0:
        return accuracy_of(trial, epoch)
    return (0.3 + 0.001 * trial.replicate + 0.0001 * (int(trial.spec.fingerprint, 16) % 7)) * epoch / EPOCHS


def confirmed_of(strategy):
    replicates = {}
    for trial in trials_of(strategy):
        if trial.replicate:
            replicates.setdefault(trial.spec.fingerprint, []).append(trial.replicate)
    return replicates


@pytest.mark.parametrize(("confirm", "seeds"), [(1, 1), (3, 2), (2, 3)])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_best_few_and_the_best_reference_are_trained_again(path, workers, confirm, seeds):
    strategy = make(path, trials=12, confirm=confirm, seeds=seeds, flops=WINDOW)
    drive(strategy, workers)
    trials = trials_of(strategy)
    explored = [t for t in trials if not t.replicate]
    assert strategy.complete and [t.number for t in explored] == list(range(12))
    by_search = ranked(explored)
    chosen = by_search[:confirm] + [entry for entry in by_search if entry.family][:1]
    expected = {entry.spec.fingerprint: list(range(1, seeds + 1)) for entry in chosen}
    assert len(expected) == confirm + 1  # the references come out worst
    assert confirmed_of(strategy) == expected
    again = [t for t in trials if t.replicate]
    assert {(t.outcome, len(t.curve)) for t in again} == {(Outcome.DONE, EPOCHS)}
    assert snapshot(reread(path)) == snapshot(strategy)
    entries = ranked(trials)
    assert {entry.spec.fingerprint for entry in entries if entry.confirmed} == set(expected)
    assert {entry.seeds for entry in entries if entry.confirmed} == {seeds}
    assert best_of(entries).spec == by_search[0].spec


def test_those_that_the_search_flattered_do_not_call_in_others(path):
    strategy = make(path, trials=12, confirm=2, seeds=2, flops=WINDOW)
    drive(strategy, accuracy=lucky)
    entries = ranked(trials_of(strategy))
    assert strategy.complete and entries[0].confirmed
    assert any(entry.unproven and not entry.confirmed for entry in entries)
    assert all(repeats == [1, 2] for repeats in confirmed_of(strategy).values()) and len(confirmed_of(strategy)) == 3


def test_repeats_are_never_stopped_and_no_yardstick_at_the_rungs(path):
    strategy = make(path, trials=6, confirm=3, flops=WINDOW)
    drive(strategy, accuracy=lambda t, e: accuracy_of(t, e) if not t.replicate else 0.99 - 0.9 * (t.number % 2))
    assert {t.outcome for t in trials_of(strategy) if t.replicate} == {Outcome.DONE}
    more = make(path, trials=9, flops=WINDOW)
    fresh = [more.suggest() for _ in range(3)]
    best = max(t.curve[1].accuracy for t in trials_of(more) if t.curve and not t.replicate)
    more.observe(fresh[0].number, row(1))
    # Above all explored trials, below half of the replicates.
    assert more.observe(fresh[0].number, row(2, best + 0.01)) is Decision.CONTINUE


def test_confirmation_waits_until_exploration_has_ended(path):
    strategy = make(path, trials=4, confirm=1, seeds=1, flops=WINDOW)
    running = [strategy.suggest() for _ in range(4)]
    assert all(trial.replicate == 0 for trial in running)
    while running:
        assert strategy.suggest() is None and not strategy.complete
        run_to_the_end(strategy, running.pop(), lambda trial, _: 0.9 if trial.family else 0.2)
    first = strategy.suggest()
    assert first.replicate == 1 and first.family  # the best is the best reference as well
    assert strategy.suggest() is None and not strategy.complete
    assert run_to_the_end(strategy, first, lambda *_: 0.95)
    assert strategy.suggest() is None and strategy.complete


def test_a_confirmation_that_failed_is_not_tried_for_ever(path):
    strategy = make(path, trials=4, confirm=1, seeds=2, flops=WINDOW)
    while (trial := strategy.suggest()) is not None and not trial.replicate:
        run_to_the_end(strategy, trial, accuracy_of)
    best = ranked(trials_of(strategy))[0].spec
    while trial is not None:
        if trial.spec == best:
            strategy.fail(trial.number, Outcome.CRASHED, "x")
        else:
            run_to_the_end(strategy, trial, lambda *_: 0.25)
        trial = strategy.suggest()
    assert strategy.complete
    again = confirmed_of(strategy)
    assert again.pop(best.fingerprint) == [1, 2]  # another seed for the one that was lost, once
    assert again and all(repeats == [1, 2] for repeats in again.values())
    assert best_of(ranked(trials_of(strategy))).spec != best


@pytest.mark.parametrize("accuracy", [accuracy_of, lucky])
@pytest.mark.parametrize("steps", [3, 7])
def test_a_confirmation_that_is_cut_off_again_and_again_ends_as_without(tmp_path, accuracy, steps):
    options = {"trials": 5, "confirm": 2, "control": 0.5, "flops": WINDOW}
    whole = make(tmp_path / "whole.db", **options)
    drive(whole, workers=1, accuracy=accuracy)
    assert len(confirmed_of(whole)) >= 3
    while True:
        piece = make(tmp_path / "pieces.db", **options)
        drive(piece, workers=1, steps=steps, accuracy=accuracy)
        if piece.complete:
            break
    assert snapshot(piece) == snapshot(whole)


def test_repeats_that_were_cut_off_go_on_first_under_their_numbers(path):
    before = make(path, trials=5, confirm=2, flops=WINDOW)
    while True:
        drive(before, steps=1)
        if sum(t.replicate > 0 and t.outcome is Outcome.RUNNING for t in trials_of(before)) >= 2:
            break
        before = make(path, trials=5, confirm=2, flops=WINDOW)
    known, running = snapshot(before), [t.number for t in trials_of(before) if t.outcome is Outcome.RUNNING]
    after = make(path, trials=5, confirm=2, flops=WINDOW)
    assert [after.suggest().number for _ in running] == running
    assert {n: s for n, s in snapshot(after).items() if n in known} == known
    drive(make(path, trials=5, confirm=2, flops=WINDOW))
    repeats = confirmed_of(make(path, flops=WINDOW))
    assert len(repeats) == 3 and sorted(repeats.values()) == [[1], [1, 2], [1, 2]]  # one fell behind


def test_confirmation_can_be_asked_for_later_and_exploration_go_on_after_it(path):
    drive(make(path, trials=5, flops=WINDOW))
    later = make(path, trials=5, confirm=2, flops=WINDOW)
    drive(later)
    assert later.complete and len(confirmed_of(later)) == 3 and min(later.study.trials) == 0
    more = make(path, trials=8, confirm=2, flops=WINDOW)
    drive(more)
    explored = [t for t in trials_of(more) if not t.replicate]
    assert more.complete and len(explored) == 8 == len({t.spec.fingerprint for t in explored})
    assert ranked(trials_of(more))[0].confirmed


def test_the_agenda_says_how_much_is_left(path):
    strategy = make(path, trials=6, confirm=2, seeds=2, flops=WINDOW)
    left = strategy.agenda.remaining
    assert left([]) == (6, 6)
    drive(strategy, workers=1, steps=1)
    assert left(trials_of(strategy)) == (5, 6)
    drive(make(path, trials=6, flops=WINDOW))
    after = make(path, trials=6, confirm=2, seeds=2, flops=WINDOW)
    assert after.agenda.remaining(trials_of(after)) == (0, 6)
    trial = after.suggest()
    assert trial.replicate == 1 and after.agenda.remaining(trials_of(after)) == (0, 5)
    drive(make(path, trials=6, confirm=2, seeds=2, flops=WINDOW))
    end = make(path, trials=6, confirm=2, seeds=2, flops=WINDOW)
    assert end.agenda.remaining(trials_of(end)) == (0, 0)


def test_a_trial_reads_its_own_figures():
    strategy_trial = dataclasses.replace(_trial(), curve=[row(1, 0.1), row(2, 0.4)], outcome=Outcome.DONE)
    assert strategy_trial.accuracy == 0.4 and strategy_trial.seconds == 0.5
    assert _trial().accuracy is None and _trial().seconds == 0
    assert [o.failed for o in Outcome] == [False, False, False, True, True, True, True, True]


def _trial():
    from nxt.arch.costs import cost
    from nxt.search.trial import Trial

    spec = load_space("smoke").spec((0,) * 6)
    return Trial(number=0, point=(0,) * 6, spec=spec, cost=cost(spec))
