"""--track of `nxt search` and `nxt train`: what is said, and that nothing depends on a tracker."""

import json
import shutil

import pytest
from trackers import Diary, Refusing, install, kept

from nxt.search.engine.execute import Ending
from nxt.search.results.run import load_run
from nxt.train.signals import StoppedError


def test_a_finished_search_is_sent_when_it_is_resumed_with_a_tracker(nxt, searched, monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, Diary)
    shutil.copytree(searched, tmp_path / "run")
    for _ in range(2):
        result = nxt("search", "--resume", "run", "--track", "mlflow", "--json")
        assert result.code == 0, result.err
        assert json.loads(result.out)["run"] == "run"
    run = load_run("run")
    assert [entry.params["trial"] for _, entry, _, _ in kept("trial")] == [trial.number for trial in run.trials]
    assert {summary["best.name"] for _, summary, _ in kept("end")} == {run.best.spec.name}


def test_a_search_ends_well_though_its_tracker_refuses_and_says_so_in_one_line(nxt, searched, monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, Refusing)
    shutil.copytree(searched, tmp_path / "run")
    result = nxt("search", "--resume", "run", "--track", "mlflow")
    assert result.code == 0
    [line] = [line for line in result.err.splitlines() if "mlflow" in line]
    assert line == (
        "note: mlflow: http://127.0.0.1:9: connection refused; the run goes on, and what is missing is sent when it "
        "answers, or when the run is resumed"
    )


@pytest.mark.parametrize("command", [("search", "--flops", "1G"), ("train", "resnet50")])
def test_a_tracker_that_is_unknown_or_not_installed_is_told_before_anything_begins(nxt, monkeypatch, tmp_path, command):
    wrong = nxt(*command, "--track", "tensorbord")
    assert (wrong.code, wrong.out) == (2, "")
    assert "'tensorbord': choose mlflow, wandb or trackio" in wrong.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = nxt(*command, "--track", "trackio")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err.strip() == "nxt: --track trackio: the package is not installed; pip install trackio"
    assert not list(tmp_path.iterdir())


def test_the_command_to_go_on_names_the_tracker_again(nxt, searched, monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, Diary)
    shutil.copytree(searched, tmp_path / "run")
    monkeypatch.setattr("nxt.search.engine.calls.run_search", lambda *_: Ending.OUT_OF_TIME)
    result = nxt("search", "--resume", "run", "--track", "mlflow")
    assert "The hours are over. Go on with: nxt search --resume run --track mlflow\n" in result.err

    def stopped(*_):
        raise StoppedError("stopped in epoch 1", 15)

    monkeypatch.setattr("nxt.train.engine.train.carry_out", stopped)
    result = nxt("train", "resnext_1-1-1_w8_1x8d_cifar", "--out", "new", "--track", "mlflow")
    assert result.err == "Stopped in epoch 1. Go on with: nxt train --resume new --track mlflow\n"
