"""Trackers that keep what they are told, or refuse it."""

from typing import ClassVar

from nxt.tracking.sender import TRACKERS


class Diary:
    """Keeps what all of its kind were told, in order."""

    told: ClassVar[list] = []
    fails: ClassVar[list] = []  # the methods that fail next, each once

    def _note(self, kind, *values):
        if kind in Diary.fails:
            Diary.fails.remove(kind)
            raise ConnectionError(f"no {kind}\nmore")
        Diary.told.append((kind, *values))

    def begin(self, run):
        self._note("begin", run)

    def epoch(self, row):
        self._note("epoch", row)

    def trial(self, trial, rows, done):
        self._note("trial", trial, rows, done)

    def end(self, summary, done):
        self._note("end", summary, done)


class Refusing:
    """A server that is not there."""

    def begin(self, run):
        raise ConnectionRefusedError("http://127.0.0.1:9: connection refused")


def install(monkeypatch, folder, kind):
    """Puts a class of these in the place of MLflow, whose package is then found."""
    Diary.told, Diary.fails = [], []
    (folder / "mlflow.py").write_text("")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(TRACKERS, "mlflow", f"trackers:{kind.__name__}")


def kept(*kinds):
    """Returns what diaries were told, of these kinds."""
    return [told for told in Diary.told if told[0] in kinds]
