"""Design spaces: what is packaged, what is counted (against enumeration), and what is refused."""

import copy
import itertools
import math
import re

import pytest

from nxt.arch.load import parse_name
from nxt.arch.names import EXPANSION
from nxt.arch.spec import ArchSpec
from nxt.arch.zoo import ZOO
from nxt.config import dump_yaml
from nxt.errors import ArchError, ConfigError, NxtError, SpaceError
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import DEFAULT, load_space, space_from_dict, spaces_folder

PACKAGED = ["cifar", "imagenet", "mobile", "nds_resnext_a", "nds_resnext_b", "resnest", "smoke"]
BASE = {
    "about": "A space for tests?",
    "network": {"stem": "cifar", "stem_width": "width"},
    "axes": {
        "depths": [[1, 2, 3], [1, 3]],
        "width": [4, 8],
        "cardinality": [1, 2, 3],
        "base_width": [2, 3, 4, 8],
        "radix": [0, 1, 2],
    },
    "bottleneck": [0.5, 4],
}


def data(**changes):
    """The base space with some parts replaced: `axes__width=[4]` sets axes.width; None takes a part away."""
    result = copy.deepcopy(BASE)
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = result
        for section in sections:
            place = place[section]
        if value is None:
            del place[key]
        else:
            place[key] = value
    return result


def space(**changes):
    return space_from_dict(data(**changes), "test", "here")


def enumerate_specs(axes, low, high):
    """Every network of the base space's kind, made one by one without `Space`."""
    names = ("width", "cardinality", "base_width", "radix")
    for choice in itertools.product(*(axes[name] for name in names)):
        width, cardinality, base_width, radix = choice
        for depths in itertools.product(*axes["depths"]):
            widths = tuple(EXPANSION * width << s for s in range(len(depths)))
            try:
                spec = ArchSpec(
                    stem="cifar",
                    stem_width=width,
                    depths=depths,
                    widths=widths,
                    cardinality=cardinality,
                    base_width=base_width,
                    radix=radix,
                )
            except ArchError:
                continue
            if low <= cardinality * base_width / width <= high:
                yield spec


# Packaged spaces


def test_these_spaces_are_packaged():
    assert sorted(path.stem for path in spaces_folder().glob("*.yaml")) == PACKAGED
    assert DEFAULT in PACKAGED


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_space_loads_and_says_what_it_asks(name):
    loaded = load_space(name)
    assert loaded.name == name
    assert "?" in loaded.about and len(loaded.about) > 40
    assert loaded.size > 0


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_space_survives_the_way_through_plain_data_and_yaml(name, tmp_path):
    loaded = load_space(name)
    assert space_from_dict(loaded.to_dict(), name, "here") == loaded
    path = tmp_path / f"{name}.yaml"
    path.write_text(dump_yaml(loaded.to_dict()))
    assert load_space(str(path)) == loaded


@pytest.mark.parametrize("name", PACKAGED)
def test_every_value_of_a_packaged_space_is_part_of_some_network(name):
    loaded = load_space(name)
    for axis, values in enumerate(loaded.axes.values()):
        assert set(loaded.choices[:, axis].tolist()) == set(range(len(values)))


TABLES_3_AND_4 = ["resnet50", "resnet101", "resnet200", "resnet101_1x100d", "resnext101_2x64d", "resnext101_64x4d"] + [
    f"resnext{depth}_{label}" for depth in (50, 101) for label in ("2x40d", "4x24d", "8x14d", "32x4d")
]
FIGURE_7 = ["1x64d", "2x64d", "4x64d", "8x64d", "16x64d", "32x64d", "1x128d", "1x256d", "1x512d"]
MEMBERS = {  # what the texts of the spaces claim
    "imagenet": TABLES_3_AND_4,
    "cifar": [f"resnext29_{label}_cifar" for label in FIGURE_7] + ["resnext101_32x4d_cifar"],
    "resnest": [name for name in ZOO if name.startswith("resnest")],
}


@pytest.mark.parametrize(("name", "member"), [(name, member) for name in MEMBERS for member in MEMBERS[name]])
def test_a_packaged_space_holds_the_papers_networks(name, member):
    loaded, spec = load_space(name), parse_name(member)
    values = {"width": spec.widths[0] // EXPANSION, "cardinality": spec.cardinality[0], "stem_width": spec.stem_width}
    values |= {"base_width": spec.base_width[0], "radix": spec.radix, "avd_first": spec.avd_first}
    try:
        choice = tuple(axis.index(values[key]) for key, axis in loaded.axes.items())
        depths = tuple(axis.index(depth) for axis, depth in zip(loaded.depths, spec.depths, strict=True))
    except ValueError:
        pytest.fail(f"{member} has a value that is on no axis of {name}")
    assert choice in loaded.configs
    assert loaded.spec((*depths, *choice)) == spec


@pytest.mark.parametrize(
    ("name", "budget", "axis", "usual"),
    [("imagenet", "4.1G", "depth2", 8), ("resnest", "5.4G", "depth2", 8), ("cifar", "30M", "base_width", 128)],
)
def test_at_a_usual_budget_few_networks_are_as_extreme_as_the_largest_published(name, budget, axis, usual):
    feasible = FeasibleSet(load_space(name), parse_budget({"flops": budget}))
    counts = feasible.spread()[axis]
    assert sum(counts.values()) == len(feasible)
    assert sum(count for value, count in counts.items() if value > usual) <= 0.2 * len(feasible)


# Counting


@pytest.mark.parametrize(
    ("changes", "bounds"),
    [
        ({}, (0.5, 4)),
        ({"bottleneck": [1, 1]}, (1, 1)),
        ({"bottleneck": None}, (0, math.inf)),
        ({"axes__depths": [[2]]}, (0.5, 4)),
        ({"axes__depths": [{"from": 1, "to": 5, "step": 2}] * 3}, (0.5, 4)),
        ({"axes__base_width": [1, 5, 7], "axes__radix": [0, 1, 4]}, (0.5, 4)),
    ],
)
def test_the_size_and_the_members_are_those_of_an_enumeration(changes, bounds):
    axes = data(**changes)["axes"]
    axes["depths"] = [[1, 3, 5] if isinstance(values, dict) else values for values in axes["depths"]]
    expected = list(enumerate_specs(axes, *bounds))
    made = space(**changes)
    assert made.size == len(expected)
    depths = itertools.product(*(range(len(values)) for values in made.depths))
    specs = [made.spec((*rows, *choice)) for rows in depths for choice in made.configs]
    assert len(set(specs)) == len(specs)
    assert set(specs) == set(expected)


@pytest.mark.parametrize("changes", [{}, {"axes__avd": [False, True], "axes__avd_first": [False, True]}])
def test_what_is_left_out_is_counted_by_reason(changes):
    made, depths = space(**changes), 6
    reasons = {"no network": 0, "outside the bottleneck ratio": 0, "duplicate": 0}
    known = set()
    for choice in itertools.product(*(range(len(values)) for values in made.axes.values())):
        try:
            spec = made.spec((0, 0, *choice))
        except ArchError:
            reasons["no network"] += depths
            continue
        if not 0.5 <= spec.cardinality[0] * spec.base_width[0] * EXPANSION / spec.widths[0] <= 4:
            reasons["outside the bottleneck ratio"] += depths
        elif spec.fingerprint in known:
            reasons["duplicate"] += depths
        known.add(spec.fingerprint)
    assert made.left_out == reasons
    assert all(reasons[reason] for reason in list(reasons)[: 3 if changes else 2])
    assert made.combinations == made.size + sum(reasons.values())
    assert [tuple(choice) for choice in made.choices.tolist()] == list(made.configs)


def test_preact_is_an_axis_or_fixed_and_never_meets_split_attention():
    both = space(axes__preact=[False, True])
    assert {(spec.preact, spec.radix) for spec in both.configs.values()} == {
        (False, 0), (False, 1), (False, 2), (True, 0)
    }  # fmt: skip
    plain = sum(spec.radix == 0 for spec in space().configs.values())
    assert both.size == space().size + plain * 6
    assert {spec.preact for spec in space(axes__radix=[0], network__preact=True).configs.values()} == {True}
    with pytest.raises(SpaceError, match="preact and radix"):
        space(axes__radix=[1, 2], network__preact=True)


def test_attention_is_an_axis_or_fixed_and_never_meets_split_attention():
    both = space(axes__attention=["sk", "none"])
    assert {(spec.attention, spec.radix) for spec in both.configs.values()} == {
        ("none", 0), ("none", 1), ("none", 2), ("sk", 0)
    }  # fmt: skip
    assert {spec.attention for spec in space(axes__radix=[0], network__attention="se").configs.values()} == {"se"}
    for wrong in (["cbam"], [1], [["se"]], "se", []):
        with pytest.raises(ConfigError, match="attention"):
            space(axes__attention=wrong)
    with pytest.raises(ConfigError, match="attention"):
        space(network__attention="cbam")


def test_a_space_of_basic_blocks_has_their_widths():
    shared = {"stem": "cifar", "block": "basic", "stem_width": "width", "base_width": "width", "cardinality": 1}
    axes = {"depths": [[1, 2], [1]], "width": [16, 24]}
    made = space_from_dict({"network": shared, "axes": axes}, "basic", "here")
    assert {spec.widths for spec in made.configs.values()} == {(16, 32), (24, 48)}
    assert {spec.name for spec in made.configs.values()} == {f"resnet_1-1_w{w}_basic_cifar" for w in (16, 24)}
    assert space_from_dict(made.to_dict(), "basic", "here") == made
    for key, value in {"block": "inverted", "cardinality": 2}.items():
        with pytest.raises((SpaceError, ConfigError), match="block"):
            space_from_dict({"network": {**shared, key: value}, "axes": axes}, "basic", "here")


def test_the_bounds_of_the_bottleneck_ratio_are_inside():
    ratios = {
        spec.cardinality[0] * spec.base_width[0] * EXPANSION / spec.widths[0] for spec in space().configs.values()
    }
    assert min(ratios) == 0.5
    assert max(ratios) == 4


def test_axes_come_in_one_order_with_the_depths_first():
    shuffled = data()
    shuffled["axes"] = dict(reversed(shuffled["axes"].items()))
    made = space_from_dict(shuffled, "test", "here")
    assert made == space()
    assert made.axis_names == ["depth1", "depth2", "width", "cardinality", "base_width", "radix"]
    assert made.axis_values == [(1, 2, 3), (1, 3), (4, 8), (1, 2, 3), (2, 3, 4, 8), (0, 1, 2)]


def test_values_are_sorted_and_ranges_hold_both_ends():
    made = space(axes__width=[8, 4], axes__depths=[{"from": 2, "to": 8, "step": 3}, {"from": 1, "to": 2}])
    assert made.axes["width"] == (4, 8)
    assert made.depths == ((2, 5, 8), (1, 2))


def test_a_property_is_fixed_or_an_axis():
    made = space(axes__radix=None, network__radix=2, axes__avd=[False, True])
    assert {spec.radix for spec in made.configs.values()} == {2}
    assert {spec.avd for spec in made.configs.values()} == {False, True}


def test_a_space_of_depths_alone_has_one_choice():
    network = {"stem": "cifar", "stem_width": 16, "width": 4, "cardinality": 1, "base_width": 4}
    made = space_from_dict({"network": network, "axes": {"depths": [[1, 2], [1, 2]]}}, "test", "here")
    assert (made.size, list(made.configs)) == (4, [()])
    assert made.spec((1, 0)).depths == (2, 1)


def test_a_point_that_makes_no_network_is_an_arch_error():
    bad = space(axes__base_width=[3, 4])
    with pytest.raises(ArchError, match="not divisible by radix 2"):
        bad.spec((0, 0, 0, 0, 0, 2))


@pytest.mark.parametrize(
    "changes", [{}, {"bottleneck": None}, {"network__avg_down": True}, {"axes__avd": [True, False]}]
)
def test_a_space_survives_the_way_through_plain_data(changes):
    made = space(**changes)
    assert space_from_dict(made.to_dict(), "test", "here") == made


# Stage by stage

STAGES = {
    "about": "Independent stages?",
    "stages": 2,
    "network": {"stem": "cifar", "stem_width": 8},
    "axes": {"depth": [1, 3], "width": [8, 12, 16], "ratio": [1, 2], "groups": [1, 2, 3, 4]},
}


def stagewise(**changes):
    result = copy.deepcopy(STAGES)
    for key, value in changes.items():
        place, name = (result, key) if "__" not in key else (result[key.partition("__")[0]], key.partition("__")[2])
        if value is None:
            del place[name]
        else:
            place[name] = value
    return space_from_dict(result, "test", "here")


def stage_networks(data):
    """Every network of two independent stages, made one by one without `Space`."""
    axes, stem_width = data["axes"], data["network"]["stem_width"]
    blocks = list(itertools.product(*(axes[name] for name in ("depth", "width", "ratio", "groups"))))
    for stages in itertools.product(blocks, repeat=data["stages"]):
        depths, widths, ratios, groups = zip(*stages, strict=True)
        whole = all(w % (r * g) == 0 == widths[0] % (r * g) for w, r, g in zip(widths, ratios, groups, strict=True))
        if whole:
            base = tuple(widths[0] // (r * g) for r, g in zip(ratios, groups, strict=True))
            spec = ArchSpec(
                stem="cifar", stem_width=stem_width, depths=depths, widths=widths, cardinality=groups, base_width=base
            )
            mids = [stage.bottleneck for stage in spec.stages()]
            assert mids == [w // r for w, r in zip(widths, ratios, strict=True)]
            yield spec


@pytest.mark.parametrize("changes", [{}, {"stages": 1}, {"stages": 3, "axes__width": [8, 12], "axes__depth": [2]}])
def test_the_members_of_independent_stages_are_those_of_an_enumeration(changes):
    made = stagewise(**changes)
    expected = list(stage_networks({**STAGES, **made.to_dict()}))
    stages = len(made.depths)
    depths = list(itertools.product(*(range(len(values)) for values in made.depths)))
    specs = [made.spec((*rows, *choice)) for choice in map(tuple, made.choices.tolist()) for rows in depths]
    assert made.size == len(specs) == len(set(specs)) == len(expected)
    assert set(specs) == set(expected)
    assert (
        made.size
        < made.combinations
        == len(made.depths[0]) ** stages * math.prod(len(values) for values in made.axes.values())
    )
    assert made.left_out == {
        "no network": made.combinations - made.size, "outside the bottleneck ratio": 0, "duplicate": 0
    }  # fmt: skip
    assert [tuple(choice) for choice in made.choices.tolist()] == list(made.configs)  # made one by one


@pytest.mark.parametrize(("name", "size"), [("nds_resnext_a", 11_390_625), ("nds_resnext_b", 52_734_375)])
def test_the_spaces_of_radosavovic_et_al_have_their_size(name, size):
    made = load_space(name)
    assert made.size == made.combinations == size
    assert made.axis_names[:4] == ["depth1", "depth2", "depth3", "width1"]
    assert made.axis_names[-1] == "groups3"
    last = made.spec(tuple(len(values) - 1 for values in made.axis_values))
    top, groups = made.axis_values[3][-1], made.axis_values[-1][-1]
    assert (last.depths, last.widths) == ((16,) * 3, (top,) * 3)
    assert [stage.bottleneck for stage in last.stages()] == [top // 4] * 3
    assert last.cardinality == (groups,) * 3


def test_what_all_stages_share_is_fixed():
    made = stagewise(axes__ratio=None, network__ratio=2, network__radix=2, axes__groups=[1, 2])
    assert made.axis_names == ["depth1", "depth2", "width1", "width2", "groups1", "groups2"]
    for choice in made.choices.tolist():
        spec = made.spec((0, 0, *choice))
        assert spec.radix == 2
        assert [stage.bottleneck * 2 for stage in spec.stages()] == list(spec.widths)


def test_uniform_choices_double_the_widths_and_keep_the_rest():
    def is_uniform(spec):
        ratios = {width / stage.bottleneck for width, stage in zip(spec.widths, spec.stages(), strict=True)}
        return spec.widths[1] == 2 * spec.widths[0] and len(ratios) == len(set(spec.cardinality)) == 1

    made = stagewise()
    expected = {choice: spec for choice, spec in made.configs.items() if is_uniform(spec)}
    assert made.uniform == expected
    assert expected
    assert space().uniform == space().configs


def test_independent_stages_survive_the_way_through_plain_data():
    for changes in ({}, {"axes__groups": None, "network__groups": 2}, {"network__preact": True}):
        made = stagewise(**changes)
        assert space_from_dict(made.to_dict(), "test", "here") == made


# Errors


@pytest.mark.parametrize(
    ("name", "near"), [("imagnet", "imagenet"), ("cifar10", "cifar"), ("Smoke", "smoke"), ("resnet", "resnest")]
)
def test_an_unknown_space_gets_the_nearest_name(name, near):
    with pytest.raises(SpaceError, match=re.escape(f"no space is called {name!r}; did you mean {near!r}?")):
        load_space(name)


def test_an_unknown_space_that_is_near_to_none_lists_all():
    with pytest.raises(
        SpaceError,
        match="known are cifar, imagenet, mobile, nds_resnext_a, nds_resnext_b, resnest, smoke, or give a YAML file",
    ):
        load_space("qqq")


def test_a_missing_space_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_space(str(tmp_path / "mine.yaml"))


def test_a_space_name_that_no_file_can_have_is_an_unknown_space():
    with pytest.raises(SpaceError, match="no space is called"):
        load_space("x" * 300)


REFUSED = {
    "an unknown key": ({"axis": {}}, ConfigError, "here: unknown key 'axis'; did you mean 'axes'?"),
    "an unknown axis": ({"axes__cardinalty": [1]}, ConfigError, "here: axes: unknown key 'cardinalty'; did you mean"),
    "a stem as axis": ({"axes__stem": [1]}, ConfigError, "here: axes: unknown key 'stem'"),
    "an unknown property": (
        {"network__avgdown": True},
        ConfigError,
        "network: unknown key 'avgdown'; did you mean 'avg",
    ),
    "another schema": ({"schema": 2}, ConfigError, "schema 2 is not known"),
    "axes that are a list": ({"axes": [1]}, ConfigError, "here: axes: a mapping"),
    "no axes": ({"axes": None}, ConfigError, "here: axes: a mapping"),
    "a network that is a list": ({"network": [1]}, ConfigError, "here: network: a mapping"),
    "no depths": ({"axes__depths": None}, ConfigError, "here: depths: one list of depths per stage"),
    "no stages": ({"axes__depths": []}, ConfigError, "here: depths: one list of depths per stage"),
    "one list of depths": ({"axes__depths": [1, 2]}, ConfigError, "depths, stage 1: a list of values was expected"),
    "a stage without depths": ({"axes__depths": [[1], []]}, ConfigError, "depths, stage 2: a list of values"),
    "no width": ({"axes__width": None}, ConfigError, "axis 'width' is missing"),
    "no cardinality": ({"axes__cardinality": None}, ConfigError, "axis 'cardinality' is missing"),
    "an empty axis": ({"axes__width": []}, ConfigError, "here: width: a list of values was expected"),
    "a single value": ({"axes__width": 8}, ConfigError, "here: width: a list of values was expected"),
    "a word on an axis": ({"axes__width": ["wide"]}, ConfigError, "here: width: only whole numbers"),
    "a float on an axis": ({"axes__width": [8.0]}, ConfigError, "here: width: only whole numbers"),
    "a list on an axis": ({"axes__cardinality": [[1, 2]]}, ConfigError, "here: cardinality: only whole numbers"),
    "a value twice": ({"axes__width": [4, 8, 4]}, ConfigError, "here: width: values must be distinct"),
    "a range upside down": ({"axes__width": {"from": 8, "to": 4}}, ConfigError, "from must not exceed to"),
    "a range without steps": ({"axes__width": {"from": 4, "to": 8, "step": 0}}, ConfigError, "step must be positive"),
    "a range without end": ({"axes__width": {"from": 4}}, ConfigError, "from, to and step must be whole numbers"),
    "a range of floats": ({"axes__width": {"from": 1, "to": 2.5}}, ConfigError, "must be whole numbers"),
    "a range from below zero": ({"axes__width": {"from": -4, "to": 4}}, ConfigError, "must be whole numbers"),
    "a misspelt range": ({"axes__width": {"from": 4, "too": 8}}, ConfigError, "unknown key 'too'; did you mean 'to'?"),
    "a bottleneck upside down": ({"bottleneck": [4, 1]}, ConfigError, "bottleneck: two rising numbers"),
    "a bottleneck of one number": ({"bottleneck": [4]}, ConfigError, "bottleneck: two rising numbers"),
    "an endless bottleneck": ({"bottleneck": [1, math.inf]}, ConfigError, "bottleneck: two rising numbers"),
    "a bottleneck of nan": ({"bottleneck": [math.nan, 4]}, ConfigError, "bottleneck: two rising numbers"),
    "a bottleneck of words": ({"bottleneck": ["1", "4"]}, ConfigError, "bottleneck: two rising numbers"),
    "a count that is a number": ({"counted": 224}, ConfigError, "here: counted: a mapping was expected"),
    "a count at nothing known": ({"counted": {"px": 224}}, ConfigError, "here: counted: unknown key 'px'"),
    "a count at half a pixel": ({"counted": {"size": 0.5}}, ConfigError, "here: counted: whole numbers were"),
    "a count without classes": ({"counted": {"classes": 0}}, ConfigError, "here: counted: 0 classes are not between"),
    "a width that is a word": (
        {"axes__width": None, "network__width": "wide"},
        ConfigError,
        "here: network: width: only whole",
    ),
    "an unknown stem": (
        {"network__stem": "cifr"},
        SpaceError,
        "no combination of the axes makes a network (stem 'cifr'",
    ),
    "no valid combination": ({"axes__radix": [7]}, SpaceError, "no combination of the axes makes a network (stage 1:"),
    "an avd that is a number": ({"network__avd": 1}, ConfigError, "here: network: avd: only true"),
    "nothing in the ratio": ({"bottleneck": [90, 99]}, SpaceError, "all are outside the bottleneck ratio"),
    "nine stages": ({"axes__depths": [[1]] * 9}, ConfigError, "9 stages; at most 8"),
    "stages too deep": ({"axes__depths": [[1, 1001]]}, ConfigError, "depths: 1001 is not a whole number"),
    "a billion combinations": (
        {"axes__depths": [{"from": 1, "to": 1000}] * 3},
        SpaceError,
        "at most 1e8 can be counted",
    ),
}


@pytest.mark.parametrize(("changes", "error", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_bad_space_is_refused_with_the_reason(changes, error, problem):
    with pytest.raises(error, match=re.escape(problem)) as caught:
        space(**changes)
    assert str(caught.value).startswith("here")


@pytest.mark.parametrize("depths", [[0, 2], [-1, 2], [0]])
def test_a_stage_that_may_have_no_block_is_refused(depths):
    with pytest.raises(NxtError, match="depths"):
        space(axes__depths=[[1], depths])


@pytest.mark.parametrize(
    "changes", [{"axes__width": [True]}, {"axes__width": None, "network__width": True}, {"axes__cardinality": [True]}]
)
def test_true_is_no_number_of_channels(changes):
    with pytest.raises(NxtError):
        space(network__stem_width=16, bottleneck=None, **changes)


def test_a_property_that_is_fixed_and_an_axis_is_refused():
    with pytest.raises(ConfigError, match="width"):
        space(network__width=64)


def test_an_axis_whose_name_is_a_number_is_a_config_error():
    bad = data()
    bad["axes"][1] = [2]
    with pytest.raises(ConfigError, match="unknown key 1"):
        space_from_dict(bad, "test", "here")


def test_a_number_of_combinations_past_any_float_is_a_space_error():
    with pytest.raises(SpaceError, match="at most 1e8 can be counted"):
        space(axes__depths=[{"from": 1, "to": 1000}] * 8)


def test_a_long_range_is_refused_for_its_length():
    with pytest.raises(ConfigError, match=r"cardinality: (?!values must be distinct)"):
        space(axes__cardinality={"from": 1, "to": 20_000})


STAGES_REFUSED = {
    "no stages": ({"stages": 0}, ConfigError, "here: stages: a whole number from 1 to 8"),
    "nine stages": ({"stages": 9}, ConfigError, "here: stages: a whole number from 1 to 8"),
    "stages that are true": ({"stages": True}, ConfigError, "here: stages: a whole number"),
    "a bottleneck": ({"bottleneck": [1, 2]}, ConfigError, "here: unknown key 'bottleneck'"),
    "depths": ({"axes__depths": [[1]]}, ConfigError, "here: axes: unknown key 'depths'; did you mean 'depth'?"),
    "a cardinality": ({"axes__cardinality": [1]}, ConfigError, "here: axes: unknown key 'cardinality'"),
    "a base width for all": ({"network__base_width": 4}, ConfigError, "here: network: unknown key 'base_width'"),
    "no depth": ({"axes__depth": None}, ConfigError, "here: axis 'depth' is missing"),
    "no ratio": ({"axes__ratio": None}, ConfigError, "here: axis 'ratio' is missing"),
    "groups twice": ({"network__groups": 2}, ConfigError, "here: 'groups' is given both as an axis and for all"),
    "a ratio below one": ({"axes__ratio": [0.5, 1]}, ConfigError, "here: ratio: only whole numbers from 1 up"),
    "a stem as wide as the stage": ({"network__stem_width": "width"}, ConfigError, "here: network: stem_width: only"),
    "radix as an axis": ({"axes__radix": [0, 2]}, ConfigError, "here: axes: unknown key 'radix'"),
    "groups of half a channel": (
        {"axes__groups": [7]},
        SpaceError,
        "no combination of the axes makes a network (stage",
    ),
    "no width of four": ({"axes__width": [6]}, SpaceError, "width 6 is not a multiple of 4"),
    "stages too deep": ({"axes__depth": [1, 1001]}, ConfigError, "depths: 1001 is not a whole number"),
    "a billion": ({"axes__depth": {"from": 1, "to": 999}, "stages": 3}, SpaceError, "at most 1e8 can be counted"),
    "many choices": ({"stages": 5, "axes__depth": [1]}, SpaceError, "at most 1000000"),
}


@pytest.mark.parametrize(("changes", "error", "problem"), STAGES_REFUSED.values(), ids=STAGES_REFUSED)
def test_a_bad_space_of_independent_stages_is_refused_with_the_reason(changes, error, problem):
    with pytest.raises(error, match=re.escape(problem)) as caught:
        stagewise(**changes)
    assert str(caught.value).startswith("here")


def test_a_point_of_independent_stages_that_makes_no_network_is_an_arch_error():
    made = stagewise()
    with pytest.raises(ArchError, match=re.escape("stage 2: group width 8 / (1 * 3) at the first stage's width")):
        made.spec((0, 0, 0, 1, 0, 0, 0, 2))
