"""The feasible set, against costing every architecture of small spaces one by one."""

import itertools
import math
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from limits import LIMIT
from scipy.stats import chi2

from nxt.arch.costs import cost
from nxt.errors import SpaceError
from nxt.space.budget import COSTS, Budget, parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space, space_from_dict

REDUCED = space_from_dict(
    {
        "about": "The networks of the papers and their neighbours?",
        "network": {"stem": "deep", "stem_width": 64, "avd": True, "avg_down": True},
        "bottleneck": [0.5, 4],
        "axes": {
            "depths": [[1, 3], [2, 4, 8], [3, 6, 23], [3]],
            "width": [32, 64],
            "cardinality": [1, 2, 32],
            "base_width": [4, 40, 64],
            "radix": [0, 2],
            "avd_first": [False, True],
        },
    },
    "reduced",
    "here",
)
STAGES = space_from_dict(
    {
        "about": "Stages that choose on their own?",
        "stages": 3,
        "network": {"stem": "cifar", "stem_width": 16},
        "axes": {"depth": [1, 2, 16], "width": [16, 64], "ratio": [1, 4], "groups": [1, 8]},
    },
    "stages",
    "here",
)
BUDGETS = [
    ("smoke", {}),
    ("smoke", {"flops": ":4M"}),
    ("smoke", {"flops": "4M:11M"}),
    ("smoke", {"flops": "18M:"}),
    ("smoke", {"flops": "6M+-30%"}),
    ("smoke", {"params": ":25K"}),
    ("smoke", {"acts": "150K:250K"}),
    ("smoke", {"flops": ":6M", "params": "20K:40K"}),
    ("smoke", {"flops": "3M:12M", "params": ":60K", "acts": ":200K"}),
    ("smoke", {"memory": ":50M"}),
    ("smoke", {"flops": ":6M", "memory": "40M:60M"}),
    ("reduced", {}),
    ("reduced", {"flops": "4.1G"}),
    ("reduced", {"flops": "4.1G+-20%"}),
    ("reduced", {"flops": ":2G"}),
    ("reduced", {"params": "25M:30M"}),
    ("reduced", {"acts": "12M:"}),
    ("reduced", {"flops": "3G:6G", "params": ":25M"}),
    ("reduced", {"flops": "2G:9G", "acts": ":12M"}),
    ("reduced", {"memory": ":4G"}),
    ("reduced", {"flops": "4.1G", "memory": ":3.5G"}),
    ("stages", {}),
    ("stages", {"flops": "100M+-5%"}),
    ("stages", {"flops": ":90M", "params": "100K:", "acts": "1M:3M"}),
]


def load(name):
    return {"reduced": REDUCED, "stages": STAGES}.get(name) or load_space(name)


def feasible(name, texts):
    return FeasibleSet(load(name), parse_budget(texts))


def all_points(space):
    depths = itertools.product(*(range(len(values)) for values in space.depths))
    return [(*rows, *choice) for rows in depths for choice in space.configs]


def fitting(name, texts):
    """The points inside the budget, each network costed on its own."""
    space, budget = load(name), parse_budget(texts)
    return {point for point in all_points(space) if budget.allows(cost(space.spec(point)))}


def distance(a, b):
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("name", "texts"), BUDGETS)
def test_count_and_members_are_those_of_an_enumeration(name, texts):
    expected = fitting(name, texts)
    feasible_set = feasible(name, texts)
    assert 0 < len(feasible_set) == len(expected)
    assert len(feasible_set.points()) == len(expected)
    assert set(feasible_set.points()) == expected
    assert all((point in feasible_set) == (point in expected) for point in all_points(load(name)))


def test_the_budgets_under_test_leave_something_out():
    assert all(len(fitting(name, texts)) < load(name).size for name, texts in BUDGETS if texts)


def test_without_a_budget_everything_fits():
    for name in ("smoke", "cifar", "imagenet", "resnest", "nds_resnext_a", "nds_resnext_b"):
        space = load_space(name)
        assert len(FeasibleSet(space, Budget())) == space.size


@pytest.mark.parametrize(("option", "field"), COSTS.items())
def test_a_limit_at_the_exact_cost_of_one_network_keeps_it(option, field):
    space = load_space("smoke")
    point = (1, 0, 1, 0, 1, 0)
    value = getattr(cost(space.spec(point)), field)
    assert point in FeasibleSet(space, parse_budget({option: f"{value}:{value}"})).points()
    assert point not in FeasibleSet(space, parse_budget({option: f"{value + 1}:"})).points()
    assert point not in FeasibleSet(space, parse_budget({option: f":{value - 1}"})).points()


def test_a_point_of_no_network_is_not_inside():
    feasible_set = FeasibleSet(REDUCED, Budget())
    outside = set(itertools.product(*(range(len(values)) for values in REDUCED.axis_values))) - set(all_points(REDUCED))
    assert outside
    assert not any(point in feasible_set for point in outside)


@pytest.mark.parametrize("texts", [{"flops": "4M:11M"}, {"params": "20K:40K", "flops": ":6M"}])
def test_the_points_of_each_choice_make_up_the_set(texts):
    feasible_set = feasible("smoke", texts)
    by_choice = [feasible_set.of_choice(choice) for choice in feasible_set.space.configs]
    assert [point for points in by_choice for point in points] == feasible_set.points()
    for choice, points in zip(feasible_set.space.configs, by_choice, strict=True):
        assert all(point[3:] == choice for point in points)


# Drawing


@pytest.mark.parametrize(
    ("name", "texts"), [("smoke", {}), ("smoke", {"flops": "4M:11M"}), ("reduced", {"flops": "4.1G"})]
)
def test_every_architecture_is_drawn_equally_often(name, texts):
    feasible_set = feasible(name, texts)
    rng = np.random.default_rng(7)
    each = 60
    counts = dict.fromkeys(feasible_set.points(), 0)
    for _ in range(each * len(feasible_set)):
        counts[feasible_set.draw(rng)] += 1
    statistic = sum((count - each) ** 2 / each for count in counts.values())
    low, high = chi2.ppf([1e-4, 1 - 1e-4], len(feasible_set) - 1)
    assert low < statistic < high


@pytest.mark.parametrize(("name", "texts"), [("smoke", {}), ("reduced", {"flops": "4.1G"})])
def test_every_architecture_is_sampled_equally_often(name, texts):
    feasible_set = feasible(name, texts)
    rng = np.random.default_rng(8)
    size, rounds = 20, 400
    counts = dict.fromkeys(feasible_set.points(), 0)
    for _ in range(rounds):
        points = feasible_set.sample(rng, size)
        assert len(set(points)) == size
        for point in points:
            counts[point] += 1
    share = size / len(feasible_set)  # each count is binomial; they add up to a constant, as in a chi-square test
    statistic = sum((n - rounds * share) ** 2 for n in counts.values()) / (rounds * share * (1 - share))
    statistic *= (len(feasible_set) - 1) / len(feasible_set)
    low, high = chi2.ppf([1e-4, 1 - 1e-4], len(feasible_set) - 1)
    assert low < statistic < high


def test_a_sample_of_all_is_the_whole_set_in_some_order():
    feasible_set = feasible("stages", {"flops": "100M+-5%"})
    drawn = feasible_set.sample(np.random.default_rng(3), len(feasible_set))
    assert drawn != feasible_set.points()
    assert sorted(drawn) == sorted(feasible_set.points())
    assert drawn == feasible_set.sample(np.random.default_rng(3), len(feasible_set))
    assert all(type(index) is int for point in drawn for index in point)


def test_more_different_architectures_than_there_are_is_a_space_error():
    feasible_set = feasible("smoke", {"flops": ":4M"})
    count = len(feasible_set)
    with pytest.raises(SpaceError, match=f"{count + 1} different .* 'smoke' has {count} with macs <= 4"):
        feasible_set.sample(np.random.default_rng(0), count + 1)


def test_samples_of_the_largest_space_fit_the_budget():
    space, budget = load_space("nds_resnext_b"), parse_budget({"flops": "1G+-1%", "params": ":5M"})
    feasible_set = FeasibleSet(space, budget)
    points = feasible_set.sample(np.random.default_rng(0), 200)
    assert len(set(points)) == 200
    assert all(point in feasible_set and budget.allows(cost(space.spec(point))) for point in points)
    assert space.spec(feasible_set.nearest((0,) * 12)) is not None


def test_draws_of_a_large_space_fit_the_budget():
    space, budget = load_space("imagenet"), parse_budget({"flops": "4.1G", "params": ":30M"})
    feasible_set = FeasibleSet(space, budget)
    rng = np.random.default_rng(0)
    points = [feasible_set.draw(rng) for _ in range(50)]
    assert len(set(points)) == 50
    assert all(point in feasible_set and budget.allows(cost(space.spec(point))) for point in points)


DRAW = """
import numpy as np
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space
feasible_set = FeasibleSet(load_space("cifar"), parse_budget({"flops": "100M"}))
rng = np.random.default_rng(11)
print([feasible_set.draw(rng) for _ in range(20)])
"""


def test_the_same_seed_draws_the_same_in_another_process():
    feasible_set = FeasibleSet(load_space("cifar"), parse_budget({"flops": "100M"}))
    rng = np.random.default_rng(11)
    here = [feasible_set.draw(rng) for _ in range(20)]
    there = subprocess.run([sys.executable, "-c", DRAW], capture_output=True, text=True, check=True, timeout=LIMIT)
    assert there.stdout.strip() == str(here)
    assert all(type(index) is int for point in here for index in point)
    other = np.random.default_rng(12)
    assert [feasible_set.draw(other) for _ in range(20)] != here


# Neighbours

NEIGHBOURS = [
    ("smoke", {}),
    ("smoke", {"flops": "4M:11M"}),
    ("smoke", {"params": "40K:50K"}),
    ("reduced", {"flops": "4.1G"}),
    ("stages", {"flops": "100M+-1%"}),
]


@pytest.mark.parametrize(("name", "texts"), NEIGHBOURS)
def test_the_nearest_point_is_at_the_smallest_distance_of_all(name, texts):
    feasible_set = feasible(name, texts)
    inside = feasible_set.points()
    queries = list(itertools.product(*(range(len(values)) for values in feasible_set.space.axis_values)))
    for query in queries[:: max(1, len(queries) // 300)]:
        nearest = feasible_set.nearest(query)
        assert nearest in inside
        assert distance(query, nearest) == min(distance(query, point) for point in inside)
        assert query not in inside or nearest == query


@pytest.mark.parametrize(("name", "texts"), NEIGHBOURS)
def test_taking_the_nearest_again_and_again_walks_outwards_through_the_whole_set(name, texts):
    feasible_set = feasible(name, texts)
    query = tuple(len(values) // 2 for values in feasible_set.space.axis_values)
    taken, distances = set(), []
    while (nearest := feasible_set.nearest(query, taken)) is not None:
        assert nearest not in taken
        taken.add(nearest)
        distances.append(distance(query, nearest))
    assert taken == set(feasible_set.points())
    assert distances == sorted(distances)


def test_there_is_no_nearest_point_where_all_are_taken():
    feasible_set = feasible("smoke", {"flops": "4M:11M"})
    assert feasible_set.nearest((0,) * 6, feasible_set.points()) is None
    last = feasible_set.points()[-1]
    assert feasible_set.nearest((0,) * 6, feasible_set.points()[:-1]) == last


def test_among_equally_near_points_the_one_with_most_steps_in_the_depths_is_taken():
    feasible_set = feasible("smoke", {"flops": "4M:11M"})
    for query in itertools.product(*(range(len(values)) for values in feasible_set.space.axis_values)):
        best = min(distance(query, point) for point in feasible_set.points())
        equals = [p for p in feasible_set.points() if distance(query, p) == best]
        stages = len(feasible_set.space.depths)
        assert feasible_set.nearest(query) == min(equals, key=lambda p: distance(query[stages:], p[stages:]))


# Spread


@pytest.mark.parametrize(("name", "texts"), BUDGETS)
def test_the_spread_counts_each_value_as_an_enumeration_does(name, texts):
    space = load(name)
    points = fitting(name, texts)
    expected = {
        axis: {value: sum(point[a] == i for point in points) for i, value in enumerate(values)}
        for a, (axis, values) in enumerate(zip(space.axis_names, space.axis_values, strict=True))
    }
    assert feasible(name, texts).spread() == expected


@pytest.mark.parametrize(("name", "texts"), BUDGETS)
def test_the_total_depths_are_counted_as_an_enumeration_does(name, texts):
    space = load(name)
    totals = Counter(sum(space.spec(point).depths) for point in fitting(name, texts))
    assert feasible(name, texts).total_depths() == dict(sorted(totals.items()))


def test_the_spread_of_every_axis_adds_up_to_the_count():
    feasible_set = FeasibleSet(load_space("imagenet"), parse_budget({"flops": "4.1G"}))
    assert {sum(counts.values()) for counts in feasible_set.spread().values()} == {len(feasible_set)}


# Nothing


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("smoke", {"flops": ":1K"}),
        ("smoke", {"flops": "1T:"}),
        ("smoke", {"params": "9M"}),
        ("smoke", {"flops": ":400K", "params": "1M:"}),
        ("reduced", {"flops": "900G"}),
        ("reduced", {"acts": ":1K"}),
        ("smoke", {"memory": ":1K"}),
        ("stages", {"flops": "50G:", "params": ":100K"}),
    ],
)
def test_where_nothing_fits_the_message_names_the_nearest_architecture(name, texts):
    space, budget = load(name), parse_budget(texts)

    def miss(point):
        spent = cost(space.spec(point))
        logs = [
            (math.log(limit.low), math.log(getattr(spent, limit.cost)), math.log(limit.high)) for limit in budget.limits
        ]
        return sum(max(0, low - value, value - high) for low, value, high in logs)

    with pytest.raises(SpaceError, match=f"nothing in the space '{name}' has {re.escape(str(budget))}") as caught:
        FeasibleSet(space, budget)
    named = re.search(r"the nearest is (\S+) with ", str(caught.value)).group(1)
    best = min(map(miss, all_points(space)))
    near = {space.spec(point).name for point in all_points(space) if miss(point) <= best + 1e-9}
    assert named in near
    assert all(limit.cost in str(caught.value).partition(" with ")[2] for limit in budget.limits)


# Spaces of unusual shape


def test_a_space_of_depths_alone_works():
    network = {"stem": "cifar", "stem_width": 16, "width": 4, "cardinality": 1, "base_width": 4}
    space = space_from_dict({"network": network, "axes": {"depths": [[1, 2], [1, 2]]}}, "test", "here")
    feasible_set = FeasibleSet(space, Budget())
    assert sorted(feasible_set.points()) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert feasible_set.nearest((1, 1), [(1, 1)]) in [(0, 1), (1, 0)]
    assert feasible_set.spread() == {"depth1": {1: 2, 2: 2}, "depth2": {1: 2, 2: 2}}


def test_a_point_outside_the_axes_is_not_inside():
    feasible_set = feasible("smoke", {})
    assert (0,) * 6 in feasible_set
    assert all(point not in feasible_set for point in [(2, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 2), (0, 0, 0, 0, 0, -1)])


def test_counting_in_pieces_gives_the_same(monkeypatch):
    whole = feasible("reduced", {"flops": "4.1G"})
    monkeypatch.setattr("nxt.space.feasible._CHUNK", 40)
    pieces = feasible("reduced", {"flops": "4.1G"})
    assert pieces.points() == whole.points()
    assert pieces.spread() == whole.spread()
