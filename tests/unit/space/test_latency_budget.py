"""Latency as a cost of a space: in the gate, against adding up the parts of each network by itself."""

import dataclasses
import itertools
import json

import latencies
import numpy as np
import pytest
from latencies import made_up_ns

from nxt.arch.costs import Cost
from nxt.arch.latency import read_table
from nxt.errors import BudgetError, ConfigError, SpaceError
from nxt.latency.parts import chain
from nxt.space.budget import Budget, Limit, parse_budget
from nxt.space.cost_table import CostTable
from nxt.space.coverage import overview
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space, space_from_dict

STAGES = space_from_dict(
    {
        "stages": 3,
        "network": {"stem": "deep", "stem_width": 24, "avd": True, "preact": True},
        "axes": {"depth": [1, 2, 5], "width": [24, 32, 64], "ratio": [1, 2], "groups": [1, 3]},
    },
    "stages",
    "here",
)
SPLIT = space_from_dict(
    {
        "stages": 2,
        "network": {"stem": "imagenet", "stem_width": 32, "radix": 2, "avg_down": True, "groups": 2},
        "axes": {"depth": [1, 3], "width": [32, 64], "ratio": [1, 2]},
    },
    "split",
    "here",
)
SPACES = {"smoke": load_space("smoke"), "stages": STAGES, "split": SPLIT}


@pytest.fixture(params=SPACES)
def counted(request, tmp_path):
    """A space with a made-up table, and its one network after the other: by point its nanoseconds."""
    space = SPACES[request.param]
    table = latencies.table(tmp_path / "t.json", space)
    members = {tuple(choice) for choice in space.choices.tolist()}
    alone = {
        point: sum(made_up_ns(part) for part in chain(space.spec(point), *space.resolution))
        for point in itertools.product(*map(range, map(len, space.axis_values)))
        if point[len(space.depths) :] in members
    }
    return space.with_latency(table), alone, table


def test_the_gate_has_the_sum_of_each_networks_parts(counted):
    space, alone, _ = counted
    gate = CostTable(space)
    found = dict(zip(gate.names, gate.costs(np.array(list(alone))), strict=True))["latency"]
    assert found.tolist() == list(alone.values())
    for point in list(alone)[:: max(1, len(alone) // 50)]:
        assert space.cost(point).latency == alone[point]


def test_a_cap_counts_draws_and_finds_neighbours_exactly(counted):
    space, alone, table = counted
    cap = sorted(alone.values())[len(alone) // 3]
    inside = {point for point, ns in alone.items() if ns <= cap}
    feasible = FeasibleSet(space, parse_budget({"latency": f":{cap}ns"}, table=table))
    assert len(feasible) == len(inside)
    assert set(feasible.points()) == inside == set(feasible.sample(np.random.default_rng(0), len(inside)))
    outside = next(point for point in alone if point not in inside)
    assert feasible.nearest(outside) in inside and outside not in feasible
    assert feasible.costs(np.array([outside]))["latency"].tolist() == [alone[outside]]


def test_a_limit_at_the_exact_latency_of_one_network_keeps_it(counted):
    space, alone, _ = counted
    point, ns = sorted(alone.items(), key=lambda item: item[1])[7]
    feasible = FeasibleSet(space, Budget((Limit("latency", ns, ns, ""),)))
    assert set(feasible.points()) == {other for other, same in alone.items() if same == ns} and point in feasible


def test_a_cap_that_nothing_meets_is_told_with_the_nearest(counted):
    space, alone, table = counted
    with pytest.raises(SpaceError, match=r"has latency <= 10ns; the nearest is .* with [\d.]+[um]s latency") as error:
        FeasibleSet(space, parse_budget({"latency": ":10ns"}, table=table))
    fastest = min(alone, key=lambda point: alone[point])
    assert f"the nearest is {space.spec(fastest).name} with" in str(error.value)


def test_a_correction_scales_all_and_moves_blocks(tmp_path):
    space = SPACES["smoke"]
    plain = latencies.table(tmp_path / "a.json", space)
    moved = latencies.table(tmp_path / "b.json", space, correction={"scale": 1.5, "block": -500})
    below = latencies.table(tmp_path / "c.json", space, correction={"scale": 1.0, "block": -(10**12)})
    for key, ns in plain.entries.items():
        assert moved.entries[key] == round(1.5 * ns) - 500 * key.startswith("block")
        assert below.entries[key] == (round(ns / 10) if key.startswith("block") else ns)
    depths = (0, 0, 0), (1, 1, 1)
    costs = [space.with_latency(table).cost((*d, 0, 0, 0)).latency for table in (plain, moved) for d in depths]
    assert abs((costs[3] - costs[2]) - (1.5 * (costs[1] - costs[0]) - 3 * 500)) <= 2  # three more blocks, rounded


def test_fitted_parts_count_like_measured_ones(tmp_path):
    space = SPACES["smoke"]
    file = latencies.table_file(tmp_path / "t.json", space)
    before = read_table(file)
    data = json.loads(file.read_text())
    for key in list(data["measured"])[::2]:
        data["fitted"][key] = data["measured"].pop(key)[0]
    file.write_text(json.dumps(data))
    assert read_table(file).entries == before.entries


@pytest.mark.parametrize(
    ("texts", "low", "high"),
    [
        ({"latency": ":5ms"}, 1, 5_000_000),
        ({"latency": "300us:2ms"}, 300_000, 2_000_000),
        ({"latency": "1.5s:"}, 1_500_000_000, 10**18),
        ({"latency": "5ms+-10%"}, 4_500_000, 5_500_000),
        ({"latency": "5 ms"}, 4_600_000, 5_400_000),
        ({"throughput": "2000:"}, 1, 4_000_000),
        ({"throughput": ":4K"}, 2_000_000, 10**18),
        ({"throughput": "2000:4000"}, 2_000_000, 4_000_000),
        ({"throughput": "3:"}, 1, 2_666_666_666),
        ({"throughput": ":3"}, 2_666_666_667, 10**18),
    ],
)
def test_latency_and_throughput_in_the_grammar_of_budgets(texts, low, high, tmp_path):
    table = latencies.table(tmp_path / "t.json", SPACES["smoke"], batch=8)
    (limit,) = parse_budget(texts, table=table).limits
    assert (limit.cost, limit.low, limit.high) == ("latency", low, high)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5", "is not a time; write a positive number with us, ms or s, such as 5ms"),
        ("5m", "is not a time"),
        (":0ms", "is out of range"),
        ("5ms:2ms", "is empty"),
        (":", "sets no limit"),
        ("-5ms", "is not a time"),
    ],
)
def test_what_is_no_latency_is_refused(text, problem, tmp_path):
    table = latencies.table(tmp_path / "t.json", SPACES["smoke"])
    with pytest.raises(BudgetError, match=problem) as error:
        parse_budget({"latency": text}, table=table)
    assert str(error.value).startswith("`latency`: ")


@pytest.mark.parametrize("option", ["latency", "throughput"])
def test_a_limit_without_a_table_says_how_to_make_one(option):
    with pytest.raises(
        BudgetError, match=f"`{option}`: it needs a table of latencies: `latency_table` FILE; nxt latency"
    ):
        parse_budget({option: ":5ms"})


def test_limits_are_told_in_units_of_time():
    budget = Budget((Limit("latency", 1, 5_000_000, ":5ms"),))
    assert str(budget) == "latency <= 5.000ms" and budget.limits[0].label == "le5ms"
    assert budget.violations(Cost(latency=5_120_000)) == ["latency 5.120ms is outside latency <= 5.000ms"]
    assert not budget.violations(Cost(latency=5_000_000))
    assert str(Limit("latency", 2_000, 10**18, "2us:")) == "latency >= 2.000us"


@pytest.mark.parametrize(("changes", "key"), [({"size": 64}, "64 px"), ({"classes": 100}, "100 classes")])
def test_a_table_for_other_images_or_classes_is_refused(changes, key, tmp_path):
    table = latencies.table(tmp_path / "t.json", SPACES["smoke"], **changes)
    with pytest.raises(ConfigError, match=rf"t\.json: measured at {key}, while costs are counted at"):
        SPACES["smoke"].with_latency(table)


def test_a_table_of_another_space_names_what_it_lacks(tmp_path):
    table = latencies.table(tmp_path / "t.json", SPACES["smoke"])
    other = load_space("cifar").with_latency(table)
    with pytest.raises(ConfigError, match=r"t\.json: does not have the .*: the table was made for 'smoke'"):
        FeasibleSet(other, Budget())


def test_a_limit_on_what_the_space_does_not_count_is_refused(tmp_path):
    table = latencies.table(tmp_path / "t.json", SPACES["smoke"])
    with pytest.raises(SpaceError, match="latency is limited, but 'smoke' has no table of it"):
        FeasibleSet(SPACES["smoke"], parse_budget({"latency": ":5ms"}, table=table))


def test_without_a_table_no_cost_is_added():
    space = SPACES["smoke"]
    assert CostTable(space).names == ("macs", "params", "acts")
    assert "latency_ms" not in space.cost((0,) * 6).to_dict()


def test_what_a_space_holds_can_be_told_within_a_latency(tmp_path):
    space = SPACES["smoke"].with_latency(latencies.table(tmp_path / "t.json", SPACES["smoke"]))
    middle = sorted(space.cost(point).latency for point in FeasibleSet(space, Budget()).points())[30]
    answer = overview(space, Budget((Limit("latency", 1, middle, ""),)))
    assert answer["feasible"] == 31 and answer["budget"].startswith("latency <= ")


DAMAGES = {
    "no_json": lambda text: text[:-40],
    "a list": lambda text: "[1]",
    "other file": lambda text: '{"a": 1}',
    "no device": lambda text: text.replace('"device"', '"devise"'),
    "schema": lambda text: text.replace('"schema": 1', '"schema": 9'),
    "a word": lambda text: text.replace("[", '["x", ', 1),
    "negative": lambda text: text.replace("[", "[-", 1),
    "no correction": lambda text: text.replace('"scale": 1.0', '"scale": "x"'),
    "not all": lambda text: text.replace('"wanted": 76', '"wanted": 80'),
    "not corrected": lambda text: text.replace('{"scale": 1.0, "block": 0}', "{}"),
}
SAID = {
    "schema": "schema 9 is not known",
    "not all": "not complete \\(76 of 80 parts\\)",
    "not corrected": "not complete",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_told_in_one_line(damage, tmp_path):
    file = latencies.table_file(tmp_path / "t.json", SPACES["smoke"])
    text = DAMAGES[damage](file.read_text())
    assert text != file.read_text()
    file.write_text(text)
    with pytest.raises(ConfigError, match=SAID.get(damage, "not a latency table|damaged")) as error:
        read_table(file)
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


def test_a_missing_table_says_how_to_make_it(tmp_path):
    with pytest.raises(
        ConfigError, match=r"there is no such latency table; nxt latency measure SPACE -o .*x\.json makes"
    ):
        read_table(tmp_path / "x.json")


def test_costs_with_latency_add_up_and_multiply():
    assert dataclasses.asdict(Cost(1, 2, 3, 4) + Cost(latency=5) * 2) == {
        "macs": 1, "params": 2, "acts": 3, "latency": 14,
    }  # fmt: skip
