"""Searches that a tracker hears of: each trial once, also after a kill."""

import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from limits import wait_until
from runs import begin, opened, resumed
from trackers import Diary, install, kept

from nxt.search.engine.execute import Ending
from nxt.search.engine.tracked import TrackedObserver
from nxt.search.new_request import make_request
from nxt.search.results.run import load_run
from nxt.search.trial import Epoch, Outcome
from nxt.space.budget import parse_budget
from nxt.space.load import load_space


class Quiet:
    """An observer that counts what it hears."""

    def __init__(self):
        self.heard = []

    def note(self, text):
        self.heard.append(text)

    def reading(self, done, total):
        self.heard.append((done, total))

    def begin(self, session, workers):
        self.heard.append("begin")

    def ended(self, trial):
        self.heard.append(trial.number)

    def update(self):
        self.heard.append("update")

    def shown(self):
        return nullcontext()


def explore(session, observer, trials):
    """Train so many trials, with accuracies made up."""
    observer.begin(session, 1)
    for _ in range(trials):
        trial = session.strategy.suggest()
        for epoch in (1, 2):
            session.strategy.observe(trial.number, Epoch(epoch, 0.1 * trial.number + 0.01 * epoch, 1.0, 0.1))
        for ended in session.tend():
            observer.ended(ended)
        observer.update()


@pytest.fixture
def search(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, Diary)
    settings = {"proxy": {"epochs": 2}, "search": {"confirm": 0}}
    request = make_request(load_space("smoke"), parse_budget({"flops": ":1G"}), trials=6, settings=settings)
    return begin(request, tmp_path / "run")


def sent():
    return [trial.params["trial"] for _, trial, _, _ in kept("trial")]


def test_a_search_killed_after_trial_3_and_resumed_is_told_each_trial_once(search):
    killed = TrackedObserver(Quiet(), "mlflow")
    with opened(search) as session:
        explore(session, killed, 3)
    noted = search.out / "tracked-mlflow.json"
    wait_until(lambda: noted.exists() and len(json.loads(noted.read_text())["sent"]) == 3)  # then it is killed
    with opened(resumed(search.out)) as session:
        tracked = TrackedObserver(observer := Quiet(), "mlflow")
        explore(session, tracked, 3)
    run = load_run(search.out)
    tracked.end(run, Ending.COMPLETE)
    assert sent() == [0, 1, 2, 3, 4, 5] == [trial.number for trial in run.trials]
    assert observer.heard == ["begin", 3, "update", 4, "update", 5, "update"]  # all is passed on
    [(_, first), (_, second)] = kept("begin")
    assert first == second and first.name == "run" and first.params["budget_rule"] and "space.axes" not in first.params
    keys = {entry.key for _, entry, _, _ in kept("trial")}
    assert len(keys) == 6 and all(key.startswith(first.key) for key in keys)


def test_a_trial_is_told_with_its_network_costs_epochs_and_outcome_and_the_end_with_the_best(search):
    tracked = TrackedObserver(Quiet(), "mlflow")
    with opened(search) as session:
        explore(session, tracked, 2)
    run = load_run(search.out)
    tracked.end(run, Ending.INTERRUPTED)
    _, entry, rows, done = kept("trial")[1]
    trial = run.trials[1]
    assert entry.name == f"0001_{trial.spec.name}" and entry.params["state"] == "done" and done
    assert (entry.params["macs"], entry.params["params"]) == (trial.cost.macs, trial.cost.params)
    assert entry.params["arch.depths"] == list(trial.spec.to_dict()["depths"])
    assert rows == [dataclasses.asdict(row) for row in trial.curve]
    [(_, summary, complete)] = kept("end")
    assert summary["best.name"] == run.best.spec.name and summary["best.accuracy"] == run.best.accuracy
    assert summary["front_size"] == len(run.front) and not complete


def test_a_trial_that_runs_is_not_told_and_one_that_failed_is_told_as_such(search):
    tracked = TrackedObserver(Quiet(), "mlflow")
    with opened(search) as session:
        tracked.begin(session, 1)
        first, _ = session.strategy.suggest(), session.strategy.suggest()
        session.strategy.fail(first.number, Outcome.OOM, "no memory")
        for ended in session.tend():
            tracked.ended(ended)
    tracked.end(load_run(Path(search.out)), Ending.INTERRUPTED)
    [(_, entry, rows, done)] = kept("trial")
    assert (entry.params["trial"], entry.params["state"], entry.params["message"]) == (0, "oom", "no memory")
    assert rows == [] and not done
