"""Tables of trained networks: read as declared, or refused in one line."""

import csv
from pathlib import Path

import numpy as np
import pytest
from runs import in_memory

from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.errors import ConfigError, RunError
from nxt.search.simulation.table import Row, Table, axes_of, load_table, table_of_run
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import load_list

CSV = """kind,blocks,filters,gmacs,acc_1,acc_2,acc_10,note_3,took
a,1,8,1.0,10,20,30,7,2
a,2,8,2.0,11,21,31,7,2
a,2,16,8.0,12,22,32,7,4
a,2,16,8.0,14,24,34,7,8
a,3,16,12.0,0,0,0,7,4
a,3,8,,13,23,33,7,4
a,3,32,9.0,13,nan,33,7,4
b,3,8,3.0,13,23,33,7,4
"""
DECLARED = """file: t.csv
where: {kind: a}
axes: [blocks, filters]
cost: {gmacs: 1}
accuracy: {columns: acc_*, of: 100}
"""


@pytest.fixture
def declared(tmp_path):
    def write(text=DECLARED, csv=CSV):
        (tmp_path / "t.csv").write_text(csv)
        (tmp_path / "t.yaml").write_text(text)
        return tmp_path / "t.yaml"

    return write


def curves(table):
    return {row.name: [round(float(value), 6) for value in row.curve] for row in table.rows.values()}


def test_rows_are_chosen_averaged_and_dropped_as_declared(declared):
    table = load_table(declared())
    assert curves(table) == {"1-8": [0.1, 0.2, 0.3], "2-8": [0.11, 0.21, 0.31], "2-16": [0.13, 0.23, 0.33]}
    assert (len(table), table.trainings, table.dropped, table.epochs) == (3, 4, 3, 3)
    assert table.axis_values == [(1.0, 2.0), (8.0, 16.0)]
    assert [table.cost(point).macs for point in table.rows] == [1_000_000, 2_000_000, 8_000_000]


def test_a_cost_may_be_a_product_of_powers(declared):
    table = load_table(declared(DECLARED.replace("{gmacs: 1}", "{blocks: 1, filters: 2}")))
    assert [row.macs for row in table.rows.values()] == [64, 128, 512, 192]  # 3-8 lacks its gmacs alone


def test_errors_are_accuracies_the_other_way_round(declared):
    table = load_table(declared(DECLARED.replace("accuracy: {columns: acc_*", "error: {columns: acc_10")))
    assert curves(table)["1-8"] == [0.7]
    assert table.epochs == 1


def test_seconds_are_read_where_declared(declared):
    table = load_table(declared(DECLARED + "seconds: took\n"))
    assert [row.seconds for row in table.rows.values()] == [2, 2, 6]
    assert {row.seconds for row in load_table(declared()).rows.values()} == {1}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("file: t.csv", "file: u.csv", "u.csv does not exist"),
        ("file: t.csv", "files: t.csv", "unknown key 'files'"),
        ("axes: [blocks, filters]", "axes: [blocks, filter]", "no column is called 'filter'"),
        ("axes: [blocks, filters]", "axes: blocks", "a list of columns was expected"),
        ("{gmacs: 1}", "{macs: 1}", "no column is called 'macs'"),
        ("{gmacs: 1}", "gmacs", "columns with their powers were expected"),
        ("{gmacs: 1}", "{gmacs: [1]}", "columns with their powers were expected"),
        ("{gmacs: 1}", "{}", "columns with their powers were expected"),
        ("[blocks, filters]", "[[blocks]]", "a list of columns was expected"),
        ("where: {kind: a}", "where: {sort: a}", "no column is called 'sort'"),
        ("where: {kind: a}", "seconds: [took]", "the name of a column was expected"),
        ("of: 100", "of: 10", "add `of: 100`"),
        ("acc_*", "top1_*", "no column is called 'top1_*'"),
        ("accuracy:", "metric:", "unknown key 'metric'"),
        ("kind: a", "kind: c", "0 usable"),
        ("kind: a", "kind: b", "1 usable"),
        ("{columns: acc_*, of: 100}", "acc_*", "accuracy and error are written"),
        ("of: 100", "of: zero", "of is 'zero'"),
        ("where: {kind: a}", "where: a", "where"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused_in_one_line(declared, old, new, message):
    path = declared(DECLARED.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_table(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "more", ["a,3,32\n", "a,3,32,-1,13,23,33,7,4\n", "a,3,32,1,13,23,33,7,4,too,many\n", "a,3,x,1,13,23,33,7,4\n"]
)
def test_a_malformed_line_never_fails_the_whole_table(declared, more):
    table = load_table(declared(csv=CSV + more))
    assert len(table) == 3 + ("too" in more)


@pytest.mark.parametrize("content", [b"", b"kind,blocks\n", b"\xff\xfe\x00k", b"kind,blocks\na," + b"x" * 200_000])
def test_a_file_that_is_no_csv_is_refused_in_one_line(declared, content):
    path = declared()
    path.with_suffix(".csv").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_table(path)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_name(declared):
    assert len(load_table(declared(csv="\ufeff" + CSV))) == 3


def test_curves_of_different_lengths_do_not_make_a_table():
    rows = [Row((1.0,), 1.0, np.ones(3)), Row((2.0,), 1.0, np.ones(4))]
    with pytest.raises(ConfigError, match="curves of 3 to 4 epochs"):
        Table("t", ["a"], rows)


def test_a_table_is_drawn_from_uniformly_and_knows_its_neighbours(declared):
    table = load_table(declared())
    rng = np.random.default_rng(0)
    drawn = [table.draw(rng) for _ in range(3000)]
    assert all(850 < drawn.count(point) < 1150 for point in table.rows)
    assert (0, 1) not in table and (1, 1) in table
    assert table.nearest((0, 1)) in {(0, 0), (1, 1)}
    assert table.nearest((0, 0)) == (0, 0)
    assert table.nearest((0, 0), {(0, 0)}) == (1, 0)
    assert table.nearest((0, 0), set(table.rows)) is None


# Runs of nxt

SPECS = load_list(["resnet26", "resnet50", "resnext50_32x4d"]).specs


def trial(number, spec, replicate=1, outcome=Outcome.DONE, epochs=3):
    curve = [Epoch(epoch, 0.1 * epoch + 0.01 * number, 1.0, 2.0 + epoch) for epoch in range(1, epochs + 1)]
    return Trial(number, (number,), spec, cost(spec), replicate=replicate, curve=curve, outcome=outcome)


def run_of(tmp_path, trials):
    return in_memory(trials, tmp_path / "run")


def test_a_run_becomes_a_table_whose_repeats_are_averaged(tmp_path):
    trials = [trial(0, SPECS[0]), trial(1, SPECS[1]), trial(2, SPECS[2]), trial(4, SPECS[0], 2)]
    table = table_of_run(run_of(tmp_path, trials))
    assert len(table) == 3 and table.trainings == 4
    first = next(row for row in table.rows.values() if row.macs == cost(SPECS[0]).macs)
    assert first.curve == pytest.approx([0.12, 0.22, 0.32])
    assert first.seconds == 3.0
    axes = axes_of(SPECS[0])
    assert dict(zip(table.axis_names, first.values, strict=True)) == {name: axes[name] for name in table.axis_names}
    assert {"depth3", "cardinality"} <= set(table.axis_names)


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.RUNNING, Outcome.DIVERGED])
def test_a_run_that_did_not_train_all_to_the_end_is_no_table(tmp_path, outcome):
    trials = [trial(0, SPECS[0]), trial(1, SPECS[1], outcome=outcome, epochs=2), trial(2, SPECS[2])]
    with pytest.raises(RunError, match=rf"trial 1 is {outcome} after 2 epochs; only where every trial ran to the end"):
        table_of_run(run_of(tmp_path, trials))


def test_networks_that_differ_in_other_ways_are_told_apart(tmp_path):
    odd = SPECS[0].replace(shortcut=False)
    table = table_of_run(run_of(tmp_path, [trial(0, SPECS[0]), trial(1, odd), trial(2, SPECS[1])]))
    assert len(table) == 3 and "shortcut" in table.axis_names and "width" not in table.axis_names


def test_networks_that_no_axis_tells_apart_are_refused(tmp_path):
    other = SPECS[0].replace(stem="deep", stem_width=SPECS[0].stem_width)
    with pytest.raises(ConfigError, match="differ in nothing that could be an axis"):
        table_of_run(run_of(tmp_path, [trial(0, SPECS[0]), trial(1, other), trial(2, SPECS[1])]))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[4] / "results" / "populations").glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_published_population_can_be_replayed_and_states_true_costs(path):
    table = load_table(path)
    assert len(table) >= 8 and table.dropped == 0
    with path.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        spec = parse_name(row["name"])
        assert spec.fingerprint == row["fingerprint"]
        assert {key: int(row[key]) for key in axes_of(spec)} == axes_of(spec)
        assert all(int(row[key]) == getattr(cost(spec), key) for key in ("macs", "params", "acts"))
