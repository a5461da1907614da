"""`ArchSpec`: what makes a network and what does not, and that a specification survives every way out and back."""

import dataclasses
import math
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nxt.arch.load import load_arch
from nxt.arch.spec import STEMS, ArchSpec, Stage
from nxt.arch.zoo import ZOO
from nxt.errors import ArchError, ConfigError

TINY = {"depths": (1, 2), "widths": (64, 128), "cardinality": 2, "base_width": 8}


def spec(**changes):
    return ArchSpec(**{**TINY, **changes})


@st.composite
def specs(draw):
    """Valid specifications of all kinds."""
    stages = draw(st.integers(1, 4))
    width = draw(st.sampled_from([8, 16, 32, 64]))
    radix = draw(st.sampled_from([0, 1, 2, 4]))
    per_stage = draw(st.booleans())

    def values(choices):
        return tuple(draw(st.sampled_from(choices)) for _ in range(stages if per_stage else 1))

    return ArchSpec(
        stem=draw(st.sampled_from(STEMS)),
        stem_width=draw(st.sampled_from([8, 16, 64])),
        depths=tuple(draw(st.integers(1, 5)) for _ in range(stages)),
        widths=tuple(4 * width << s for s in range(stages)),
        cardinality=values([1, 2, 4, 8]),
        base_width=values([4, 8, 16]),
        radix=radix,
        avd=draw(st.booleans()),
        avd_first=draw(st.booleans()),
        avg_down=draw(st.booleans()),
        shortcut=draw(st.booleans()),
    )


# What makes a network

INVALID = {
    "an unknown stem": ({"stem": "resnet"}, "stem 'resnet' is not one of imagenet, cifar, deep"),
    "no stage": ({"depths": (), "widths": ()}, "between 1 and 8 stages"),
    "nine stages": ({"depths": (1,) * 9, "widths": (64,) * 9}, "between 1 and 8 stages"),
    "a width missing": ({"widths": (64,)}, "widths [64] has 1 entries for 2 stages"),
    "a width too many": ({"widths": (64, 64, 64)}, "widths [64, 64, 64] has 3 entries for 2 stages"),
    "cardinalities of three stages": ({"cardinality": (1, 2, 4)}, "cardinality [1, 2, 4] has 3 entries for 2 stages"),
    "no cardinality": ({"cardinality": ()}, "cardinality [] has 0 entries"),
    "base widths of three stages": ({"base_width": (8, 8, 8)}, "base_width [8, 8, 8] has 3 entries for 2 stages"),
    "no block": ({"depths": (0, 1)}, "depths: 0 is not a whole number between 1 and 1000"),
    "too many blocks": ({"depths": (1, 1001)}, "depths: 1001 is not a whole number between 1 and 1000"),
    "a negative depth": ({"depths": (-1, 1)}, "depths: -1 is not"),
    "half a block": ({"depths": (1.5, 1)}, "depths: 1.5 is not a whole number"),
    "a depth that is a float": ({"depths": (1.0, 1)}, "depths: 1.0 is not a whole number"),
    "a depth that is true": ({"depths": (True, 1)}, "depths: True is not a whole number"),
    "a depth that is a word": ({"depths": ("1", 1)}, "depths: '1' is not a whole number"),
    "no width": ({"widths": (0, 0)}, "widths: 0 is not"),
    "a width past the limit": ({"widths": (64, 65540)}, "widths: 65540 is not a whole number between 1 and 65536"),
    "a width not a multiple of 4": ({"widths": (62, 128)}, "stage 1: width 62 is not a multiple of 4"),
    "a later width not a multiple of 4": ({"widths": (64, 130)}, "stage 2: width 130 is not a multiple of 4"),
    "no group": ({"cardinality": 0}, "cardinality: 0 is not"),
    "cardinality past the limit": ({"cardinality": 65537}, "cardinality: 65537 is not"),
    "cardinality true": ({"cardinality": True}, "cardinality: True is not a whole number"),
    "no base width": ({"base_width": 0}, "base_width: 0 is not"),
    "a group width that is no integer": (
        {"widths": (64, 96), "base_width": 5},
        "stage 2: group width 5 * 96 / 64 is not an integer",
    ),
    "a bottleneck too wide": (
        {"cardinality": 1024, "base_width": 64},
        "stage 2: bottleneck of 131072 channels is past",
    ),
    "no stem width": ({"stem_width": 0}, "stem_width: 0 is not"),
    "a stem width that is a list": ({"stem_width": [64]}, "stem_width: [64] is not"),
    "an odd deep stem": ({"stem": "deep", "stem_width": 63}, "stem_width 63 must be even"),
    "a negative radix": ({"radix": -1}, "radix: -1 is not a whole number between 0 and 32"),
    "radix past the limit": ({"radix": 33}, "radix: 33 is not"),
    "radix true": ({"radix": True}, "radix: True is not"),
    "radix that does not divide": ({"radix": 3}, "stage 1: group width 8 is not divisible by radix 3"),
    "attention that does not divide": (
        {"radix": 2, "cardinality": 3, "base_width": 2},
        "stage 1: 32 attention channels are not divisible by the cardinality 3",
    ),
    "avd 1": ({"avd": 1}, "avd 1 is neither true nor false"),
    "avd_first a word": ({"avd_first": "yes"}, "avd_first 'yes' is neither true nor false"),
    "avg_down null": ({"avg_down": None}, "avg_down None is neither true nor false"),
    "shortcut 0": ({"shortcut": 0}, "shortcut 0 is neither true nor false"),
}


@pytest.mark.parametrize(("changes", "reason"), INVALID.values(), ids=INVALID)
def test_an_invalid_combination_is_refused_with_its_reason(changes, reason):
    with pytest.raises(ArchError, match=re.escape(reason)):
        spec(**changes)


VALID = {
    "eight stages": {"depths": (1,) * 8, "widths": (64,) * 8},
    "the deepest": {"depths": (1000, 1000)},
    "the widest": {"widths": (65536, 65536)},
    "falling widths": {"widths": (128, 64)},
    "an odd deep stem elsewhere": {"stem_width": 63},
    "the highest radix": {"radix": 32, "base_width": 32},
    "the widest bottleneck": {"cardinality": 512, "base_width": 64},
    "values by stage": {"cardinality": (1, 4), "base_width": (16, 4)},
}


@pytest.mark.parametrize("changes", VALID.values(), ids=VALID)
def test_a_combination_at_the_limits_is_accepted(changes):
    assert isinstance(spec(**changes), ArchSpec)


def test_one_value_stands_for_every_stage():
    assert spec(cardinality=4, base_width=[8]) == spec(cardinality=(4, 4), base_width=(8, 8))
    assert spec(depths=[1, 2], widths=[64, 128]).depths == (1, 2)


def test_the_stages_of_resnext50_are_those_of_table_1_of_its_paper():
    expected = [
        Stage(0, 3, 1, 64, 256, 32, 4, 0),
        Stage(1, 4, 2, 256, 512, 32, 8, 0),
        Stage(2, 6, 2, 512, 1024, 32, 16, 0),
        Stage(3, 3, 2, 1024, 2048, 32, 32, 0),
    ]
    stages = list(ZOO["resnext50_32x4d"].spec.stages())
    assert stages == expected
    assert [stage.bottleneck for stage in stages] == [128, 256, 512, 1024]


def test_size_and_classes_follow_the_stem():
    assert [(spec(stem=stem).size, spec(stem=stem).classes) for stem in STEMS] == [(224, 1000), (32, 10), (224, 1000)]


# A value


def test_a_specification_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec().radix = 2
    assert not hasattr(spec(), "__dict__")


@given(specs())
def test_a_specification_is_hashable_and_picklable(value):
    again = pickle.loads(pickle.dumps(value))
    assert again == value
    assert hash(again) == hash(value)
    assert len({again, value}) == 1


def test_replace_returns_a_checked_copy():
    value = spec()
    assert value.replace(depths=(3, 3)).depths == (3, 3)
    assert value.depths == (1, 2)
    with pytest.raises(ArchError, match="radix"):
        value.replace(radix=5)


# Fingerprints


@given(specs())
def test_a_fingerprint_is_twelve_hex_digits_and_survives_a_copy(value):
    assert re.fullmatch("[0-9a-f]{12}", value.fingerprint)
    assert ArchSpec.from_dict(value.to_dict()).fingerprint == value.fingerprint


def test_a_fingerprint_is_the_same_in_every_version():
    """Run directories keep fingerprints, so they may not change unnoticed."""
    assert ZOO["resnet50"].spec.fingerprint == "b995e4974d59"
    assert ZOO["resnest50"].spec.fingerprint == "9987a40761a7"


SAME = {
    "avd_first without avd": ({"avd_first": True}, {}),
    "avg_down without shortcuts": ({"avg_down": True, "shortcut": False}, {"shortcut": False}),
    "pooling without striding": (
        {"depths": (2,), "widths": (64,), "avd": True, "avd_first": True, "avg_down": True},
        {"depths": (2,), "widths": (64,)},
    ),
    "one value or one per stage": ({"cardinality": 2}, {"cardinality": (2, 2)}),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_equal_networks_have_equal_fingerprints(one, other):
    assert spec(**one).fingerprint == spec(**other).fingerprint


DIFFERENT = [
    {},
    {"depths": (2, 1)},
    {"widths": (64, 64)},
    {"widths": (128, 256)},
    {"cardinality": 4},
    {"cardinality": (2, 4)},
    {"base_width": 4},
    {"radix": 1},
    {"radix": 2},
    {"avd": True},
    {"avd": True, "avd_first": True},
    {"avg_down": True},
    {"shortcut": False},
    {"shortcut": False, "avd": True},
    {"stem": "cifar"},
    {"stem": "deep"},
    {"stem_width": 32},
]


def test_different_networks_have_different_fingerprints():
    assert len({spec(**changes).fingerprint for changes in DIFFERENT}) == len(DIFFERENT)
    assert len({entry.spec.fingerprint for entry in ZOO.values()}) == len(ZOO)


def test_equal_networks_have_equal_names():
    """A pooling flag without effect must not cost a network its name."""
    value = ZOO["resnet50"].spec.replace(avd_first=True)
    assert value.fingerprint == ZOO["resnet50"].spec.fingerprint
    assert value.name == "resnet50"


# Data and files


@given(specs())
def test_plain_data_makes_an_equal_specification(value):
    data = value.to_dict()
    assert ArchSpec.from_dict(data) == value
    assert all(type(item) in (int, bool, str, list) for item in data.values())


def test_values_equal_at_every_stage_are_given_once():
    assert spec().to_dict()["cardinality"] == 2
    assert spec(cardinality=(2, 4)).to_dict()["cardinality"] == [2, 4]


@given(value=specs())
def test_an_architecture_file_reads_back_equal(value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "arch.yaml"
    path.write_text(value.to_yaml(provenance={"seed": 1, "budget": "4.1G"}))
    assert load_arch(path) == value


def test_a_file_of_a_zoo_network_starts_with_schema_and_name():
    assert ZOO["resnext50_32x4d"].spec.to_yaml().startswith("schema: 1\nname: resnext50_32x4d\n")


@pytest.mark.parametrize("label", ["name: vgg16", "provenance: {command: rm, anything: [1, {a: b}]}", "schema: 1", ""])
def test_labels_in_a_file_have_no_effect(tmp_path, label):
    path = tmp_path / "arch.yaml"
    path.write_text(f"depths: [1, 2]\nwidths: [64, 128]\ncardinality: 2\nbase_width: 8\n{label}\n")
    assert load_arch(path) == spec()


BAD_FILES = {
    "a misspelt key": ("depth: [1]\nwidths: [64]", ConfigError, "unknown key 'depth'; did you mean 'depths'?"),
    "a missing key": ("depths: [1]", ConfigError, "key 'widths' is missing"),
    "another schema": ("schema: 2\ndepths: [1]\nwidths: [64]", ConfigError, "schema 2 is not known"),
    "no schema": ("schema: null\ndepths: [1]\nwidths: [64]", ConfigError, "schema None is not known"),
    "a depth that is no list": ("depths: 1\nwidths: [64]", ConfigError, "depths: a list was expected, not 1"),
    "a float": ("depths: [1.0]\nwidths: [64]", ConfigError, "depths: a whole number was expected, not 1.0"),
    "true for a number": ("depths: [true]\nwidths: [64]", ConfigError, "a whole number was expected, not True"),
    "true for a cardinality": ("depths: [1]\nwidths: [64]\ncardinality: true", ConfigError, "cardinality: "),
    "a number for a flag": ("depths: [1]\nwidths: [64]\navd: 1", ConfigError, "avd: true or false was expected"),
    "a number for a stem": ("depths: [1]\nwidths: [64]\nstem: 3", ConfigError, "stem: a word was expected"),
    "no network": ("depths: [1]\nwidths: [62]", ArchError, "width 62 is not a multiple of 4"),
    "nothing": ("", ConfigError, "empty"),
}


@pytest.mark.parametrize(("text", "error", "problem"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_architecture_file_is_refused_by_name(tmp_path, text, error, problem):
    path = tmp_path / "arch.yaml"
    path.write_text(text)
    with pytest.raises(error, match=re.escape(problem)) as caught:
        load_arch(path)
    assert str(caught.value).startswith(str(path))


def test_the_widths_of_groups_grow_with_the_stages():
    value = spec(depths=(1, 1, 1), widths=(64, 96, 128), base_width=8)
    assert [stage.group_width for stage in value.stages()] == [8, 12, 16]
    assert all(math.gcd(stage.bottleneck, stage.cardinality) == stage.cardinality for stage in value.stages())
