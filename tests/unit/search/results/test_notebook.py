"""A run in a notebook: its front as HTML, its trials as a frame."""

import csv
import dataclasses
import sys
from html.parser import HTMLParser

import pytest
from runs import in_memory

from nxt.arch.costs import Cost
from nxt.errors import RunError
from nxt.search.results.files import write
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.budget import Budget, Limit
from nxt.space.load import load_space

SPACE = load_space("smoke")
BUDGET = Budget((Limit("macs", 1, 1000, "<1K & more"),))


def trial(number, macs, accuracy, outcome=Outcome.DONE, family="", message=""):
    point = (0, 0, 0, 0, number % 3, number // 3)
    curve = [] if accuracy is None else [Epoch(1, accuracy, 1.0, 0.5)]
    cost = Cost(macs=macs, params=10, acts=5)
    return Trial(number, point, SPACE.spec(point), cost, family, 0, curve, outcome, message)


def run(path, *trials):
    return in_memory(trials, path, SPACE, val_images=100, budget=BUDGET)


TRIALS = (
    trial(0, 500, 0.9, family="ResNet-like"),
    trial(1, 600, 0.8),
    trial(2, 400, 0.7),
    trial(3, 300, None, Outcome.CRASHED, message="a, <b>"),
)


class Cells(HTMLParser):
    """The texts of all elements, by tag; fails where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data))

    def of(self, tag):
        return [text for name, text in self.texts if name == tag]


def test_a_run_shows_its_front_by_rising_cost_and_its_verdict():
    result = run("some/<run>", *TRIALS)
    cells = Cells(result._repr_html_())
    assert cells.of("b") == ["<run>"]
    names = [result.trials[2].spec.name, result.trials[0].spec.name + " *"]
    assert [text for text in cells.of("td") if text.startswith("res")] == names
    assert "400" in cells.of("td") and "600" not in cells.of("td")
    assert len(cells.of("th")) == 9
    assert cells.of("p") == [": 4 trials; macs <= 1.000K", result.verdict()]


def test_a_run_without_results_shows_no_table():
    text = run("r", TRIALS[3])._repr_html_()
    assert "<table>" not in text and "No trial has reached the last epoch yet." in text


def test_the_frame_has_the_rows_of_trials_csv(tmp_path):
    pandas = pytest.importorskip("pandas")
    result = run(tmp_path, *TRIALS)
    write(result)
    with (tmp_path / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    frame = result.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(rows[0])
    assert list(frame.state) == [row["state"] for row in rows] == ["done", "done", "done", "crashed"]
    assert list(frame.macs) == [int(row["macs"]) for row in rows]
    assert frame.accuracy.max() == 0.9 and frame.accuracy.isna().sum() == 1
    assert list(frame[frame.state == "crashed"].message) == ["a, <b>"]


def test_a_frame_of_no_trials_has_the_columns():
    pytest.importorskip("pandas")
    frame = dataclasses.replace(run("r")).frame()
    assert len(frame) == 0 and "accuracy" in frame.columns


def test_without_pandas_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RunError, match=r"needs pandas: pip install pandas, or read trials\.csv"):
        run("r", *TRIALS).frame()
