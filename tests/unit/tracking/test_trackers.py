"""The adapters on stand-ins for the libraries, which keep what they are told as the real ones do."""

import itertools
import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from nxt.tracking.mlflow_tracker import MlflowTracker
from nxt.tracking.sender import Entry
from nxt.tracking.trackio_tracker import TrackioTracker
from nxt.tracking.wandb_tracker import WandbTracker

RUN = Entry("0123456789abcdef", "mine", {"recipe.lr": 0.1, "trials": 3})
TRIAL = Entry("0123456789abcdef-0", "0000_net", {"trial": 0, "macs": 5})
ROWS = [{"epoch": 1, "accuracy": 0.1, "ema": None}, {"epoch": 2, "accuracy": 0.2, "ema": None}]


def put(monkeypatch, name, **content):
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)
    return module


class Client:
    """MLflow's client: no parameter changes, and a metric with the same step and time is one."""

    runs: ClassVar[dict] = {}

    def get_experiment_by_name(self, name):
        return None if not Client.runs else SimpleNamespace(experiment_id=name)

    def create_experiment(self, name):
        return name

    def search_runs(self, experiments, filter_string, max_results):
        key = filter_string.split("'")[1]
        return [run for run in Client.runs.values() if run.data.tags["nxt.key"] == key and run.where in experiments]

    def create_run(self, experiment, tags, run_name):
        info = SimpleNamespace(run_id=f"id{len(Client.runs)}", start_time=1000, status="RUNNING", run_name=run_name)
        data = SimpleNamespace(tags=dict(tags), params={}, metrics=set())
        Client.runs[info.run_id] = SimpleNamespace(info=info, data=data, where=experiment)
        return Client.runs[info.run_id]

    def get_run(self, run):
        return Client.runs[run]

    def set_tag(self, run, key, value):
        Client.runs[run].data.tags[key] = str(value)

    def log_batch(self, run, metrics=(), params=()):
        data = Client.runs[run].data
        for key, value in params:
            assert data.params.setdefault(key, value) == value, "MLflow changes no parameter"
        data.metrics |= set(metrics)

    def set_terminated(self, run, status):
        Client.runs[run].info.status = status

    update_run = set_terminated


@pytest.fixture
def mlflow(monkeypatch):
    for name in ("MAX_RETRIES", "TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "1")
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "INFO")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    Client.runs = {}
    put(monkeypatch, "mlflow", MlflowClient=Client)
    put(monkeypatch, "mlflow.entities", Param=lambda *given: given, Metric=lambda *given: given)
    return Client.runs


def test_mlflow_has_trials_as_nested_runs_each_once_though_sent_twice(mlflow):
    for trials in (3, 4):  # killed before it was noted; more were asked for meanwhile
        tracker = MlflowTracker()
        tracker.begin(Entry(RUN.key, RUN.name, {**RUN.params, "trials": trials}))
        tracker.trial(TRIAL, ROWS, True)
    run, trial = mlflow.values()
    assert (run.where, run.info.run_name, run.info.status) == ("nxt", "mine", "RUNNING")
    assert run.data.params == {"recipe.lr": "0.1", "trials": "3"}
    assert (trial.info.status, trial.data.tags["mlflow.parentRunId"]) == ("FINISHED", "id0")
    assert trial.data.params == {"trial": "0", "macs": "5"}
    assert trial.data.metrics == {("accuracy", 0.1, 1001, 1), ("accuracy", 0.2, 1002, 2)}


def test_mlflow_has_the_summary_and_how_a_run_ended(mlflow):
    tracker = MlflowTracker()
    tracker.begin(RUN)
    for row in (*ROWS, ROWS[1]):
        tracker.epoch(row)
    tracker.end({"best.name": "net", "best.accuracy": 0.2}, False)
    [run] = mlflow.values()
    assert run.info.status == "KILLED" and run.data.tags["best.name"] == "net"
    named = [(key, value, step) for key, value, _, step in sorted(run.data.metrics)]
    assert named == [("accuracy", 0.1, 1), ("accuracy", 0.2, 2), ("best.accuracy", 0.2, 0)]


class Wandb:
    """W&B: runs by their id, whose steps only grow."""

    def __init__(self, mode, key):
        self.mode, self.key, self.runs = mode, key, {}

    def setup(self):
        return SimpleNamespace(settings=SimpleNamespace(mode=self.mode))

    def login(self, prompt):
        assert not prompt, "it would wait for a person"
        return self.key

    def Settings(self, **settings):  # noqa: N802
        return settings

    def init(self, id, resume, reinit, allow_val_change, settings, **facts):
        assert (resume, reinit, allow_val_change, settings["console"]) == ("allow", "create_new", True, "off")
        rows, summary = self.runs[id][1:3] if id in self.runs else ({}, {})
        self.runs[id] = [facts, rows, summary, None]

        def finish(exit_code):
            self.runs[id][3] = exit_code

        def log(row, step):
            rows.setdefault(step, row)

        return SimpleNamespace(log=log, summary=summary, finish=finish)


def test_wandb_has_a_group_of_runs_each_once_though_sent_twice(monkeypatch):
    wandb = Wandb("online", True)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    for _ in range(2):
        tracker = WandbTracker()
        tracker.begin(RUN)
        tracker.epoch(ROWS[0])
        tracker.trial(TRIAL, ROWS, False)
    tracker.end({"best.name": "net"}, True)
    (run, trial), (first, second) = wandb.runs.values(), (RUN.key, TRIAL.key)
    assert list(wandb.runs) == [first, second]
    assert run[0] == {"project": "nxt", "group": "mine-0123", "job_type": "run", "name": "mine", "config": RUN.params}
    assert run[1:] == [{1: ROWS[0]}, {"best.name": "net"}, 0]
    assert trial[0]["group"] == "mine-0123" and trial[1] == {1: ROWS[0], 2: ROWS[1]} and trial[3] == 1


def test_wandb_without_a_login_says_so_and_asks_nobody(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", Wandb("online", False))
    with pytest.raises(RuntimeError, match="not logged in; `wandb login`, or WANDB_MODE=offline"):
        WandbTracker()
    monkeypatch.setitem(sys.modules, "wandb", Wandb("offline", False))
    WandbTracker()


def test_trackio_has_a_group_of_runs_each_once_though_sent_twice(monkeypatch, capsys):
    runs, steps = {}, itertools.count()

    def last(project, name):
        return max((step for step, _ in runs.get(name, ([], {}))[0]), default=None)

    def init(project, name, group, config, resume, **off):
        assert (project, group, resume, set(off.values())) == ("nxt", "mine", "allow", {False})
        module.print("* Created new run")
        rows, _ = runs.setdefault(name, ([], config))
        log = lambda row, step: rows.append((100 + next(steps) if step is None else step, row))  # noqa: E731
        return SimpleNamespace(log=log, finish=lambda: None)

    storage = SimpleNamespace(get_max_step_for_run=last)
    module = put(monkeypatch, "trackio", init=init, SQLiteStorage=storage, print=print)
    for name in ("run", "utils"):
        vars(module)[name] = put(monkeypatch, f"trackio.{name}")
    monkeypatch.delenv("TRACKIO_PROJECT", raising=False)
    for _ in range(2):
        tracker = TrackioTracker()
        tracker.begin(RUN)
        tracker.epoch(ROWS[0])
        tracker.trial(TRIAL, ROWS, True)
    tracker.end({"best.name": "net"}, True)
    assert runs["mine-0123"] == ([(1, {"epoch": 1, "accuracy": 0.1}), (100, {"best.name": "net"})], RUN.params)
    assert [step for step, _ in runs["0000_net-0123-0"][0]] == [1, 2] and runs["0000_net-0123-0"][1] == TRIAL.params
    assert capsys.readouterr().out == ""
