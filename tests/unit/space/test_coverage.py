"""What a budget does to a space, against counting every architecture one by one."""

import itertools
import statistics
from collections import Counter

import pytest

from nxt.arch.costs import cost
from nxt.errors import SpaceError
from nxt.space.budget import parse_budget
from nxt.space.coverage import lint
from nxt.space.load import load_space, space_from_dict

STAGES = space_from_dict(
    {
        "stages": 2,
        "network": {"stem": "cifar", "stem_width": 16},
        "axes": {"depth": [1, 2, 16], "width": [16, 64, 1024], "ratio": [1, 4], "groups": [1, 8]},
    },
    "stages",
    "here",
)
FLAGS = space_from_dict(
    {
        "network": {"stem": "cifar", "stem_width": "width", "cardinality": 1},
        "axes": {
            "depths": [[1, 4], [2, 3]],
            "width": [8, 16, 64],
            "base_width": [4, 8],
            "radix": [0, 2],
            "avd": [False, True],
        },
    },
    "flags",
    "here",
)
CASES = [
    (load_space("smoke"), {"flops": ":6M", "params": ":30K"}),
    (STAGES, {"flops": ":30M"}),
    (STAGES, {"flops": ":30M", "acts": "200K:"}),
    (FLAGS, {"flops": ":4M"}),
]


def members(space):
    depths = itertools.product(*(range(len(values)) for values in space.depths))
    return [(*rows, *choice) for rows in depths for choice in space.configs]


def values_of(space, points):
    """All values of all properties, architecture by architecture."""
    names = space.axis_names
    rows = [[values[i] for values, i in zip(space.axis_values, point, strict=True)] for point in points]
    found = {name: [row[a] for row in rows] for a, name in enumerate(names)}
    return {"depth": [sum(row[: len(space.depths)]) for row in rows], **found}


@pytest.mark.parametrize(("space", "texts"), CASES)
def test_every_count_mean_and_deviation_is_that_of_an_enumeration(space, texts):
    budget = parse_budget(texts)
    before = members(space)
    after = [point for point in before if budget.allows(cost(space.spec(point)))]
    result = lint(space, budget)
    assert 0 < result.feasible == len(after) < len(before)
    assert list(result.axes) == ["depth", *space.axis_names]
    for name, axis in result.axes.items():
        for spread, points in ((axis.before, before), (axis.after, after)):
            values = values_of(space, points)[name]
            assert {value: n for value, n in spread.counts.items() if n} == Counter(values)
            assert spread.total == len(points)
            assert spread.mean == pytest.approx(statistics.fmean(values))
            assert spread.deviation == pytest.approx(statistics.pstdev(values))
            assert spread.range == (min(values), max(values))
        assert list(axis.before.counts) == list(axis.after.counts)


def test_a_value_that_never_fits_is_named():
    axes = lint(STAGES, parse_budget({"flops": ":30M"})).axes
    assert axes["width1"].never == [1024]
    assert axes["width2"].never == [1024]
    assert axes["width1"].nearly_never == axes["ratio1"].never == axes["groups2"].never == []


def test_a_value_that_hardly_ever_fits_is_named():
    axes = lint(load_space("nds_resnext_a"), parse_budget({"flops": ":20M"})).axes
    assert axes["width1"].never == [256]
    assert axes["width2"].never == axes["width2"].nearly_never == []
    found = lint(load_space("imagenet"), parse_budget({"flops": "4.1G"})).axes
    for name, values in {"cardinality": [64], "base_width": [128], "depth": [5, 6, 68, 69, 70, 71, 72]}.items():
        assert found[name].nearly_never == values
        shares = {value: n / found[name].after.total for value, n in found[name].after.counts.items()}
        assert values == [value for value, share in shares.items() if 0 < share < 0.001]


def test_where_nothing_fits_that_is_a_space_error():
    with pytest.raises(SpaceError, match="the nearest is"):
        lint(STAGES, parse_budget({"flops": ":1K"}))
