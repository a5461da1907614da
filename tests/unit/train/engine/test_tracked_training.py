"""Trainings that a tracker hears of: each epoch once, also after a kill."""

import json

import pytest
from limits import wait_until
from trackers import Diary, Refusing, install, kept

from nxt.errors import RunError
from nxt.train.engine.session import Watcher
from nxt.train.engine.train import train
from nxt.train.history import flat, load_history

GIVEN = {"epochs": 3, "size": 8, "settings": {"warmup": 0}, "device": "cpu", "tune": False, "track": "mlflow"}
TINY = "resnext_1-1-1_w8_1x8d_cifar"


class KilledError(Exception):
    """Stands for the end of the process."""


def test_a_training_killed_after_epoch_2_and_resumed_is_told_each_epoch_once(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, Diary)
    out, heard = tmp_path / "run", []
    noted = out / "tracked-mlflow.json"

    def killed(report):
        if report.epoch == 2:
            wait_until(lambda: noted.exists() and json.loads(noted.read_text())["sent"] == [1])
            raise KilledError

    with pytest.raises(KilledError):
        train(TINY, out=out, watcher=Watcher(epoch=killed), **GIVEN)
    train(resume=out, device="cpu", track="mlflow", watcher=Watcher(epoch=lambda report: heard.append(report.epoch)))
    rows = [flat(row) for row in load_history(out).rows]
    assert [{**row, "time": full["time"]} for (_, row), full in zip(kept("epoch"), rows, strict=True)] == rows
    assert heard == [3]
    [(_, first), (_, second)] = kept("begin")
    assert first == second and first.params["recipe.epochs"] == 3 and first.params["arch.depths"] == [1, 1, 1]
    assert [done for _, _, done in kept("end")] == [False, True]
    best = max(rows, key=lambda row: row["accuracy"])
    assert kept("end")[1][1] == {"best.accuracy": best["accuracy"], "best.epoch": best["epoch"]}


def test_a_training_ends_without_its_tracker_and_says_so_in_one_line(monkeypatch, tmp_path, capsys):
    install(monkeypatch, tmp_path, Refusing)
    result = train(TINY, out=tmp_path / "run", watcher=Watcher(), **{**GIVEN, "epochs": 1})
    assert result.last.epoch == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("note: mlflow: http://127.0.0.1:9: connection refused; the run goes on")


def test_a_training_that_does_not_begin_tells_nothing_of_the_run_in_its_place(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, Diary)
    out = tmp_path / "run"
    train(TINY, out=out, watcher=Watcher(), **{**GIVEN, "epochs": 1, "track": None})
    with pytest.raises(RunError, match="exists already"):
        train(TINY, out=out, watcher=Watcher(), **GIVEN)
    assert Diary.told == []
