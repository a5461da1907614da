"""The table of a list of networks: all of them, against the first, with honest intervals."""

import csv
import json
import warnings

import pytest
from runs import in_memory
from scipy import stats

from nxt.arch.load import parse_name
from nxt.search.results.ablation import COLUMNS, ablation, ablation_table, markdown
from nxt.search.results.files import write
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import ArchList
from nxt.space.load import load_space

NAMES = ("resnet50", "resnext50_32x4d", "resnet18")
LIST = ArchList(tuple(parse_name(name) for name in NAMES))


def trainings(accuracies, outcome=Outcome.DONE):
    """Trials of the list's networks, by the accuracies of each."""
    made = []
    for place, values in enumerate(accuracies):
        for replicate, accuracy in enumerate(values, 1):
            curve = [Epoch(1, accuracy, 1.0, 0.5, train_accuracy=accuracy + 0.05)]
            spec, cost = LIST.specs[place], LIST.cost((place,))
            made.append(Trial(len(made), (place,), spec, cost, "", replicate, curve, outcome))
    return made


def table(accuracies):
    return ablation(in_memory(trainings(accuracies), space=LIST))


def test_all_networks_are_in_it_in_the_lists_order_also_those_that_others_dominate():
    rows = table([[0.70, 0.72], [0.80, 0.82], [0.60, 0.62]])
    assert [row.entry.spec.name for row in rows] == list(NAMES)
    assert [row.difference for row in rows] == [None, pytest.approx(0.10), pytest.approx(-0.10)]
    assert rows[0].training == pytest.approx(0.76) and [row.verdict for row in rows] == ["", "better", "worse"]


@pytest.mark.parametrize("first", [[0.70, 0.72, 0.71], [0.71, 0.71]])
def test_the_interval_is_that_of_welch_without_a_warning(first):
    values = first, [0.72, 0.75, 0.70, 0.76]
    with warnings.catch_warnings(action="error"):
        (_, row) = table(values)
    with warnings.catch_warnings(action="ignore"):  # scipy warns of equal values
        interval = stats.ttest_ind(values[1], values[0], equal_var=False).confidence_interval(0.95)
    assert row.half == pytest.approx((interval.high - interval.low) / 2) and row.verdict == "no clear difference"


@pytest.mark.parametrize(("accuracies", "half"), [([[0.7], [0.8, 0.9]], None), ([[0.7, 0.7], [0.8, 0.8]], 0.0)])
def test_few_or_equal_trainings_give_no_made_up_interval(accuracies, half):
    assert table(accuracies)[1].half == half


def test_without_a_trained_baseline_nothing_is_compared_and_a_search_has_no_such_table():
    rows = table([[], [0.7, 0.8]])
    assert [(row.entry.spec.name, row.difference) for row in rows] == [("resnext50_32x4d", None)]
    assert ablation(in_memory([], space=load_space("smoke"))) == []


def test_it_is_written_as_csv_and_markdown(tmp_path):
    run = in_memory(trainings([[0.70, 0.72], [0.80, 0.82]]), tmp_path, space=LIST)
    write(run)
    rows = list(csv.DictReader((tmp_path / "ablation.csv").open()))
    assert [row["name"] for row in rows] == list(NAMES[:2]) and float(rows[1]["difference"]) == pytest.approx(0.10)
    text = (tmp_path / "ablation.md").read_text()
    assert text == markdown(ablation(run)) and text.startswith("| network | MACs |")
    cells = ablation_table(ablation(run))
    assert all(len(row) == len(COLUMNS) for row in cells)
    assert "baseline" in cells[0] and "better" in cells[1][-1] and "86.00%" in cells[1]
    assert json.loads(json.dumps([row.to_dict() for row in ablation(run)]))[1]["verdict"] == "better"
