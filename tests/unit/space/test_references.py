"""The papers' templates inside a budget, against a search over every feasible architecture."""

import math

import pytest

from nxt.arch.costs import cost
from nxt.arch.names import BLOCKS, EXPANSION
from nxt.space.budget import Budget, parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space, space_from_dict
from nxt.space.references import FAMILIES, references

REDUCED = space_from_dict(
    {
        "about": "A part of the imagenet space.",
        "network": {"stem": "imagenet", "stem_width": 64},
        "axes": {
            "depths": [[1, 2, 3], [1, 4, 5], [2, 6, 9, 23], [2, 3]],
            "width": [32, 64, 80],
            "cardinality": [1, 8, 32],
            "base_width": [2, 4, 5, 16, 20, 32, 64, 80],
            "radix": [0, 2],
        },
    },
    "reduced",
    "here",
)


def family_of(spec):
    """The family of a network, by the papers' definitions."""
    width, cardinality, base = spec.widths[0] // EXPANSION, spec.cardinality[0], spec.base_width[0]
    if cardinality == 1 and base == width and spec.radix in (0, 2):
        return "split-attention" if spec.radix else "ResNet-like"
    return "ResNeXt-like" if spec.radix == 0 and cardinality > 1 and cardinality * base == 2 * width else None


def miss(spec):
    """How far a network is from its template: the depths, the width, and the groups where there are any."""
    papers = [blocks for depth, blocks in BLOCKS.items() if depth not in (14, 26)]
    patterns = papers if len(spec.depths) == 4 else [(3,) * len(spec.depths)]
    depths = min(sum(abs(math.log2(d / b)) for d, b in zip(spec.depths, blocks, strict=True)) for blocks in patterns)
    groups = abs(math.log2(spec.base_width[0] / 4)) / 4 if spec.cardinality[0] > 1 else 0
    return depths + abs(math.log2(spec.widths[0] / EXPANSION / 64)) + groups


def named(space, texts):
    nearest = references(FeasibleSet(space, parse_budget(texts)))
    return {family: space.spec(point).name for family, point in nearest.items()}


def test_around_4_1_g_the_references_are_the_networks_of_the_papers():
    names = named(load_space("imagenet"), {"flops": "4.1G"})
    assert names["ResNet-like"] == "resnet50"
    assert names["ResNeXt-like"] == "resnext50_32x4d"
    assert set(names) == set(FAMILIES)


def test_around_8_g_the_references_are_the_networks_of_the_papers():
    names = named(load_space("imagenet"), {"flops": "7.9G"})
    assert names["ResNet-like"] == "resnet101"
    assert names["ResNeXt-like"] == "resnext101_32x4d"


def test_the_split_attention_reference_of_the_resnest_space_is_resnest50():
    assert named(load_space("resnest"), {"flops": "5.37G+-2%"})["split-attention"] == "resnest50"


@pytest.mark.parametrize("flops", ["50M", "100M", "300M", "600M", "1G", ":50M", ":100M", ":300M", ":600M", ":1G"])
def test_small_budgets_have_narrow_references_about_as_deep_as_resnet50(flops):
    space = load_space("mobile")
    nearest = references(FeasibleSet(space, parse_budget({"flops": flops})))
    assert set(nearest) == set(FAMILIES)
    for point in nearest.values():
        depths = space.spec(point).depths
        assert all(depth >= least for depth, least in zip(depths, (3, 3, 3, 2), strict=True)), depths


def test_below_the_cost_of_resnext50_the_reference_is_not_resnext26():
    """It would cost 2.47 G, little more than half of the budget."""
    space = load_space("imagenet")
    nearest = references(FeasibleSet(space, parse_budget({"flops": ":4.1G"})))
    spec = space.spec(nearest["ResNeXt-like"])
    assert spec.depths == (3, 4, 5, 3) and 4.0e9 < cost(spec).macs < 4.1e9


@pytest.mark.parametrize(
    "texts",
    [{}, {"flops": "4.1G"}, {"flops": ":2G"}, {"flops": "6G:"}, {"params": ":20M"}, {"flops": "3G:5G", "acts": ":12M"}],
)
def test_a_reference_is_the_feasible_member_of_its_family_nearest_to_the_template(texts):
    feasible = FeasibleSet(REDUCED, parse_budget(texts))
    nearest = references(feasible)
    specs = [REDUCED.spec(point) for point in feasible.points()]
    for family in FAMILIES:
        members = [spec for spec in specs if family_of(spec) == family]
        assert (family in nearest) == bool(members)
        if members:
            spec = REDUCED.spec(nearest[family])
            assert family_of(spec) == family
            assert miss(spec) == pytest.approx(min(map(miss, members)))


@pytest.mark.parametrize(
    ("name", "texts"),
    [("smoke", {}), ("cifar", {"flops": ":100M"}), ("imagenet", {"flops": ":2G"}), ("resnest", {"acts": ":9M"})],
)
def test_references_fit_the_budget_and_are_the_same_every_time(name, texts):
    feasible = FeasibleSet(load_space(name), parse_budget(texts))
    nearest = references(feasible)
    assert nearest == references(feasible)
    assert all(point in feasible for point in nearest.values())
    assert set(nearest) <= set(FAMILIES)


def test_three_stages_have_three_blocks_each_as_the_papers_29_layers():
    names = named(load_space("cifar"), {})
    assert names["ResNet-like"] == "resnext29_1x64d_cifar"
    assert names["ResNeXt-like"] == "resnext29_32x4d_cifar"


def test_a_family_that_cannot_fit_is_left_out():
    space = load_space("smoke")
    assert "split-attention" not in references(FeasibleSet(space, Budget()))
    smallest = min(
        (cost(space.spec((0, 0, 0, *choice))).macs for choice, spec in space.configs.items() if spec.cardinality[0] > 1)
    )
    names = references(FeasibleSet(space, parse_budget({"flops": f":{smallest - 1}"})))
    assert set(names) <= {"ResNet-like"}


def test_the_references_of_independent_stages_follow_one_rule_at_all_stages():
    space = load_space("nds_resnext_a")
    nearest = references(FeasibleSet(space, parse_budget({"flops": "100M"})))
    specs = {family: space.spec(point) for family, point in nearest.items()}
    assert set(specs) == {"ResNet-like", "ResNeXt-like"}
    for family, spec in specs.items():
        assert family_of(spec) == family
        assert spec.widths == tuple(spec.widths[0] << s for s in range(3))
        assert len(set(spec.cardinality)) == len(set(spec.base_width)) == 1


def test_a_reference_of_independent_stages_is_the_nearest_of_all_that_follow_one_rule():
    axes = {"depth": [1, 2, 4], "width": [16, 32, 64, 128], "ratio": [2, 4], "groups": [1, 2, 4]}
    data = {"stages": 3, "network": {"stem": "cifar", "stem_width": 16}, "axes": axes}
    space = space_from_dict(data, "stages", "here")
    feasible = FeasibleSet(space, parse_budget({"flops": "20M+-50%"}))
    nearest = references(feasible)
    specs = [space.spec(point) for point in feasible.points()]
    uniform = [
        spec
        for spec in specs
        if spec.widths == tuple(spec.widths[0] << s for s in range(3))
        and len(set(spec.cardinality)) == len(set(spec.base_width)) == 1
    ]
    assert len(nearest) == 2
    for family, point in nearest.items():
        members = [spec for spec in uniform if family_of(spec) == family]
        assert miss(space.spec(point)) == pytest.approx(min(map(miss, members)))
