"""Costs of whole spaces as arrays, against the closed form of each network by itself."""

import itertools

import numpy as np
import pytest

from nxt.arch.costs import cost
from nxt.space.budget import Budget
from nxt.space.cost_table import COSTS, CostTable
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space, space_from_dict

PREACT = {
    "stages": 3,
    "network": {"stem": "deep", "stem_width": 24, "avd": True, "preact": True},
    "axes": {"depth": [2, 5], "width": [24, 32, 64], "ratio": [1, 2], "groups": [1, 3]},
}
SPLIT = {
    "stages": 2,
    "network": {"stem": "imagenet", "stem_width": 32, "radix": 2, "avg_down": True, "groups": 2},
    "axes": {"depth": [1, 7], "width": [32, 48, 64], "ratio": [1, 2, 8]},
}
ONE = {
    "stages": 1,
    "network": {"stem": "cifar", "stem_width": 16, "shortcut": False},
    "axes": {"depth": [1, 9], "width": [16, 32], "ratio": [1], "groups": [1, 2]},
}
FLAGS = {
    "network": {"stem": "cifar", "stem_width": "width"},
    "axes": {
        "depths": [[1, 4], [2, 3]],
        "width": [8, 16],
        "cardinality": [1, 2],
        "base_width": [4, 8],
        "radix": [0, 2],
        "avd": [False, True],
        "preact": [False, True],
    },
}
DEPTHS = {
    "network": {"stem": "cifar", "stem_width": 16, "width": 4, "cardinality": 1, "base_width": 4},
    "axes": {"depths": [[1, 2], [3, 5]]},
}
ATTENTION = {
    "network": {"stem": "imagenet", "cardinality": 2},
    "axes": {
        "depths": [[1, 4], [2, 3]],
        "width": [8, 16],
        "base_width": [4, 8],
        "attention": ["none", "se", "sk"],
        "padded": [False, True],
        "constant": [False, True],
    },
}
BASIC = {
    "network": {"stem": "cifar", "block": "basic", "cardinality": 1, "base_width": "width", "stem_width": "width"},
    "axes": {"depths": [[1, 2, 5], [2, 3]], "width": [4, 6, 16], "attention": ["none", "se"]},
}
SMALL = {
    "preact": PREACT, "split": SPLIT, "one": ONE, "flags": FLAGS, "depths": DEPTHS, "attention": ATTENTION,
    "basic": BASIC,
}  # fmt: skip


def costs_of(spec):
    return [getattr(cost(spec), name) for name in COSTS]


@pytest.mark.parametrize("name", SMALL)
def test_every_combination_of_a_space_costs_what_its_network_does(name):
    space = space_from_dict(SMALL[name], name, "here")
    gate = CostTable(space)
    points = list(itertools.product(*(range(len(values)) for values in space.axis_values)))
    found = gate.costs(np.array(points))
    members, left_out = set(space.configs), 0
    for point, costs in zip(points, found.T, strict=True):
        if point[len(space.depths) :] in members:
            assert costs.tolist() == costs_of(space.spec(point))
        else:
            left_out += 1
            assert np.isnan(costs).all()
    assert left_out == space.combinations - space.size
    assert len(points) == space.combinations


@pytest.mark.parametrize("name", ["nds_resnext_a", "nds_resnext_b", "imagenet", "resnest", "cifar"])
def test_random_combinations_of_a_packaged_space_cost_what_their_networks_do(name):
    space = load_space(name)
    rng = np.random.default_rng(5)
    points = np.stack([rng.integers(len(values), size=300) for values in space.axis_values], axis=1)
    found = CostTable(space).costs(points)
    checked = 0
    for point, costs in zip(points.tolist(), found.T, strict=True):
        if not np.isnan(costs).any():
            assert costs.tolist() == costs_of(space.spec(tuple(point)))
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("name", ["nds_resnext_b", "imagenet"])
@pytest.mark.parametrize("counted", [(160, 10), (None, 7), (65, None)])
def test_a_space_is_costed_at_the_image_size_and_classes_it_is_counted_at(name, counted):
    space = load_space(name).counted_at(*counted)
    points = FeasibleSet(space, Budget()).sample(np.random.default_rng(1), 50)
    costs = [cost(space.spec(point), *counted) for point in points]
    assert CostTable(space).costs(np.array(points)).T.tolist() == [
        [each.macs, each.params, each.acts] for each in costs
    ]
    assert [space.cost(point) for point in points] == costs
    assert space_from_dict(space.to_dict(), space.name, "here") == space


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64])
def test_points_may_be_of_any_type_of_whole_numbers(dtype):
    space = load_space("nds_resnext_b")
    gate = CostTable(space)
    point = np.array([[4] * 6 + [2] * 3 + [4] * 3])
    assert gate.costs(point.astype(dtype))[:, 0].tolist() == costs_of(space.spec(tuple(point[0].tolist())))
    assert gate.costs(point[:0].astype(dtype)).shape == (3, 0)


def test_points_costed_in_pieces_cost_the_same(monkeypatch):
    gate = CostTable(load_space("imagenet"))
    rng = np.random.default_rng(1)
    points = np.stack([rng.integers(len(values), size=1000) for values in gate.space.axis_values], axis=1)
    whole = gate.costs(points)
    monkeypatch.setattr("nxt.space.cost_table._CHUNK", 64)
    assert np.array_equal(gate.costs(points), whole, equal_nan=True)


def test_memory_follows_from_the_other_costs():
    space = load_space("smoke")
    coefficients = CostTable(space).coefficients("memory")
    for k, choice in enumerate(space.choices.tolist()):
        expected = cost(space.spec((1, 0, 1, *choice))).memory
        assert coefficients[k] @ [1, 1, 0, 1] == expected


@pytest.mark.parametrize("bad", [(2, 0, 0, 0, 0, 0), (0, 0, 0, 2, 0, 0), (0, 0, 0, 0, 0, -1), (-1, 0, 0, 0, 0, 0)])
def test_a_point_outside_the_axes_is_an_index_error(bad):
    gate = CostTable(load_space("smoke"))
    with pytest.raises(IndexError, match="outside its axis"):
        gate.costs(np.array([(0,) * 6, bad]))


def test_a_choice_is_found_at_its_place():
    space = load_space("imagenet")
    gate = CostTable(space)
    points = np.concatenate([np.zeros((len(space.choices), 4), dtype=np.int64), space.choices], axis=1)
    assert gate.find(points).tolist() == list(range(len(space.choices)))
    missing = (0, 0, 0, 0, 0, 0, 0, 3)  # groups of 4 channels in 32: outside the bottleneck ratio
    assert gate.find(np.array([missing])).tolist() == [-1]
