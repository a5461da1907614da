"""How far a training is, from its run directory."""

import json
import os
from types import SimpleNamespace

import pytest

from nxt.errors import ConfigError, RunError
from nxt.files import locked
from nxt.rundir import LOCK
from nxt.train.history import is_training, judged_on, load_history

NOW = 1.8e9


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr("nxt.train.history.time", SimpleNamespace(time=lambda: NOW))


def row(epoch, accuracy, ema=None, ago=0.0):
    values = {"epoch": epoch, "loss": 1.0, "accuracy": accuracy, "ema_accuracy": ema, "lr": 0.1, "wait": 0.0}
    return {**values, "seconds": 10.0, "images_per_second": 50.0, "time": NOW - ago}


def training(folder, rows, epochs=4):
    (folder / "run.yaml").write_text(f"command: train\nname: resnet50\ndata: digits\nrecipe: {{epochs: {epochs}}}\n")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return folder


def test_one_that_nobody_writes_is_interrupted_until_all_epochs_are_there(tmp_path):
    found = load_history(training(tmp_path, [row(1, 0.5), row(2, 0.4)]))
    assert (found.state, found.epochs, found.best["epoch"], found.seconds_left()) == ("interrupted", 4, 1, None)
    done = load_history(training(tmp_path, [row(n, 0.1 * n) for n in range(1, 5)]))
    assert done.state == "ended" and done.best["epoch"] == 4


def test_one_that_runs_takes_as_long_as_its_epochs_did(tmp_path):
    training(tmp_path, [row(1, 0.5, ago=14), row(2, 0.5, ago=4)])
    with locked(tmp_path / LOCK):
        os.utime(tmp_path / LOCK, (NOW, NOW))
        assert load_history(tmp_path).seconds_left() == 20  # went on just now
        os.utime(tmp_path / LOCK, (0, 0))
        found = load_history(tmp_path)
        assert found.state == "running" and found.seconds_left() == 16
        assert load_history(training(tmp_path, [row(1, 0.5, ago=500)])).seconds_left() == 20  # never less than is whole
        assert load_history(training(tmp_path, [])).seconds_left() is None


def test_the_best_epoch_counts_averaged_weights_and_is_the_first_of_equals(tmp_path):
    found = load_history(training(tmp_path, [row(1, 0.5), row(2, 0.4, ema=0.7), row(3, 0.7)]))
    assert found.best["epoch"] == 2


def test_without_held_out_images_the_last_epoch_is_the_best_there_is(tmp_path):
    found = load_history(training(tmp_path, [{**row(n, 0.9 - 0.1 * n), "split": "train"} for n in (1, 2, 3)]))
    assert found.best["epoch"] == 3 and "none are held out" in judged_on(found.best)
    assert judged_on(row(1, 0.5)) == "the validation split"


def test_before_the_first_epoch_there_is_no_best(tmp_path):
    training(tmp_path, [])
    (tmp_path / "metrics.jsonl").unlink()
    found = load_history(tmp_path)
    assert found.rows == [] and found.best is None and found.state == "interrupted"


@pytest.mark.parametrize("text", ["{", "[]\n", '{"epoch": 1}\n', "\xff"])
def test_damaged_metrics_are_refused(tmp_path, text):
    training(tmp_path, [])
    (tmp_path / "metrics.jsonl").write_bytes(text.encode("latin1"))
    with pytest.raises(RunError, match=r"metrics\.jsonl: "):
        load_history(tmp_path)


def test_a_damaged_record_is_refused_and_other_folders_are_no_trainings(tmp_path):
    assert not is_training(tmp_path)
    (tmp_path / "run.yaml").write_text("command: search\n")
    assert not is_training(tmp_path)
    (tmp_path / "run.yaml").write_text("command: train\nname: x\ndata: digits\nrecipe: {epochs: many}\n")
    assert is_training(tmp_path)
    with pytest.raises(ConfigError, match="'epochs' is of a wrong kind"):
        load_history(tmp_path)
