"""Telling trackers: once each, in order, from a thread, and never in the way of the run."""

import json
import sys
from threading import Event

import pytest
from trackers import Diary, Refusing, install, kept

from nxt.errors import RunError, UsageError
from nxt.tracking import sender
from nxt.tracking.sender import Sender, check_tracker


@pytest.fixture
def diary(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, Diary)
    return tmp_path


def epochs(first, last):
    return [{"epoch": epoch, "accuracy": epoch / 10} for epoch in range(first, last + 1)]


def told():
    return [row["epoch"] for _, row in kept("epoch")]


def test_a_run_is_told_in_order_with_what_was_asked_flat(diary):
    run = Sender("mlflow", diary, "mine", {"recipe": {"lr": 0.1, "none": None}, "seed": 0})
    for row in epochs(1, 3):
        run.epoch(row)
    run.end({"best": {"accuracy": 0.3}}, done=True)
    [(_, entry)] = kept("begin")
    assert (entry.name, entry.params) == ("mine", {"recipe.lr": 0.1, "seed": 0})
    assert [kind for kind, *_ in Diary.told] == ["begin", "epoch", "epoch", "epoch", "end"]
    assert told() == [1, 2, 3] and kept("end") == [("end", {"best.accuracy": 0.3}, True)]


def test_what_has_been_sent_is_not_sent_again_and_the_run_keeps_its_key(diary):
    first = Sender("mlflow", diary, "mine", {})
    for row in epochs(1, 3):
        first.epoch(row)
    first.end({}, done=False)
    again = Sender("mlflow", diary, "mine", {})
    for row in epochs(1, 4) + epochs(4, 4):
        again.epoch(row)
    again.end({}, done=True)
    assert told() == [1, 2, 3, 4]
    assert len({entry.key for _, entry in kept("begin")}) == 1
    assert json.loads((diary / "tracked-mlflow.json").read_text())["sent"] == [1, 2, 3, 4]


def test_what_fails_is_told_in_one_line_and_sent_with_what_comes_next(diary, capsys):
    Diary.fails = ["begin", "epoch", "epoch"]
    run = Sender("mlflow", diary, "mine", {})
    for row in epochs(1, 6):
        run.epoch(row)
    run.end({}, done=True)
    assert told() == [1, 2, 3, 4, 5, 6] and len(kept("end")) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("note: mlflow: no begin; the run goes on")


def test_a_server_that_is_not_there_is_told_in_one_line_and_all_is_sent_by_the_next_session(monkeypatch, diary, capsys):
    install(monkeypatch, diary, Refusing)
    refused = Sender("mlflow", diary, "mine", {})
    for row in epochs(1, 3):
        refused.epoch(row)
    refused.end({}, done=True)
    [line] = capsys.readouterr().err.splitlines()
    assert "127.0.0.1:9: connection refused; the run goes on, and what is missing is sent" in line
    key = json.loads((diary / "tracked-mlflow.json").read_text())["key"]
    install(monkeypatch, diary, Diary)
    again = Sender("mlflow", diary, "mine", {})
    for row in epochs(1, 3):
        again.epoch(row)
    again.end({}, done=True)
    assert told() == [1, 2, 3] and kept("begin")[0][1].key == key


def test_a_server_that_hangs_does_not_keep_the_run_from_ending(monkeypatch, diary, capsys):
    answers = Event()
    monkeypatch.setattr(Diary, "begin", lambda self, run: answers.wait())
    monkeypatch.setattr(sender, "PATIENCE", 0.0)
    Sender("mlflow", diary, "mine", {}).end({}, done=True)
    assert "note: mlflow: it does not answer; the run goes on" in capsys.readouterr().err
    answers.set()


def test_a_damaged_note_of_what_was_sent_counts_as_none(diary):
    (diary / "tracked-mlflow.json").write_text("{")
    run = Sender("mlflow", diary, "mine", {})
    run.epoch({"epoch": 1})
    run.end({}, done=True)
    assert told() == [1]


def test_a_tracker_is_known_and_installed(monkeypatch, tmp_path):
    check_tracker(None)
    with pytest.raises(UsageError, match="`track` 'tensorboard': choose mlflow, wandb or trackio"):
        check_tracker("tensorboard")
    (tmp_path / "wandb").mkdir()  # as W&B leaves it where it ran, and no package
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    for name in ("trackio", "wandb"):
        with pytest.raises(RunError, match=f"`track` {name}: the package is not installed; pip install {name}"):
            check_tracker(name)
