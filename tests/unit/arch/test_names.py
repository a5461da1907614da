"""Names: parsing and naming are inverse to each other; the papers' and timm's spellings mean the same networks."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nxt.arch.load import parse_name, resolve
from nxt.arch.names import BLOCKS
from nxt.arch.spec import ArchSpec
from nxt.arch.zoo import ZOO
from nxt.errors import ArchError, ConfigError


@pytest.mark.parametrize("name", ZOO)
def test_every_zoo_name_survives_the_round_trip(name):
    assert parse_name(name).name == name


# Names that are their own canonical form.
FREE_FORMS = [
    "resnext_3-5-7-2_w64_2s16x8d",
    "resnext_3-5-7-2_w64_16x8d",
    "resnext_1-1_w16_1x4d",
    "resnext_2_w8_4x8d",
    "resnext_1-2-3_w24_4s2x16d_cifar",
    "resnext_1-2-3_w24_2x16d_cifar",
    "resnest_3-4-6-3_w80_2s1x64d",
    "resnest_1-2_w32_fast_4s2x8d",
    "resnest_1-2_w32_0s1x64d",
    "resnest26_4s1x64d",
    "resnet152_1x100d",
    "resnext26_32x4d",
    "resnext50_2s32x4d",
    "resnext200_1s32x4d",
    "resnext65_8x16d_cifar",
    "resnet20",
    "resnet1202",
    "resnet110_preact",
    "resnet34",
    "seresnet18",
    "resnet_2-2-2_w16_basic_cifar",
    "resnet_2-3-2_w16_basic_1x24d_cifar_padded",
    "resnet_1-2-2-1_w32_basic_1x96d",
    "seresnet50",
    "seresnext50_32x4d",
    "skresnext50_32x4d",
    "skresnext_1-2_w16_2x4d_cifar",
    "resnext50_128x1d_constant",
    "resnext_1-2-3_w16_4x4d_cifar_padded_constant_preact",
]


@pytest.mark.parametrize("name", FREE_FORMS)
def test_a_free_form_survives_the_round_trip(name):
    assert parse_name(name).name == name


@given(
    depths=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    width=st.sampled_from([8, 16, 24, 64, 96]),
    cardinality=st.sampled_from([1, 2, 4, 32]),
    base_width=st.sampled_from([4, 8, 40, 64]),
    radix=st.sampled_from([0, 1, 2, 4]),
    kind=st.sampled_from(["imagenet", "cifar", "deep", "fast"]),
)
def test_whatever_a_space_can_hold_has_a_name_that_parses_back(depths, width, cardinality, base_width, radix, kind):
    deep = kind in ("deep", "fast")
    spec = ArchSpec(
        stem="deep" if deep else kind,
        stem_width=width if kind == "cifar" else 64,
        depths=tuple(depths),
        widths=tuple(4 * width << s for s in range(len(depths))),
        cardinality=cardinality,
        base_width=base_width,
        radix=radix,
        avd=deep,
        avd_first=kind == "fast",
        avg_down=deep,
    )
    assert "~" not in spec.name
    assert parse_name(spec.name) == spec


ALIASES = {
    "ResNet-50": "resnet50",
    "ResNet-18": "resnet18",
    "ResNet-110": "resnet110",
    "resnet110_cifar": "resnet110",
    "resnet_3-3-3_w16_basic_cifar_padded": "resnet20",
    "SE-ResNet-50": "seresnet50",
    "SE-ResNeXt-50 (32x4d)": "seresnext50_32x4d",
    "ResNet50": "resnet50",
    "RESNET50 ": "resnet50",
    "resnet50_1x64d": "resnet50",
    "resnext50_1x64d": "resnet50",
    "resnet50_32x4d": "resnext50_32x4d",
    "ResNeXt-50 (32x4d)": "resnext50_32x4d",
    "ResNeXt-50 (32\u00d74d)": "resnext50_32x4d",
    "ResNeXt-50, 32x4d": "resnext50_32x4d",
    "ResNeXt-50 32x4d": "resnext50_32x4d",
    "ResNeXt-101 (64x4d)": "resnext101_64x4d",
    "resnext_101_32x8d": "resnext101_32x8d",
    "ResNeXt-29, 8x64d": "resnext29_8x64d_cifar",
    "resnext29_8x64d": "resnext29_8x64d_cifar",
    "resnext101_32x4d_cifar": "resnext101_32x4d_cifar",
    "ResNeSt-50": "resnest50",
    "resnest50_2s1x64d": "resnest50",
    "ResNeSt-50-fast": "resnest50_fast_2s1x64d",
    "ResNeSt-50-fast 1s4x24d": "resnest50_fast_1s4x24d",
    "resnest14d": "resnest14",
    "resnest26d": "resnest26",
    "resnest50d": "resnest50",
    "resnest101e": "resnest101",
    "resnest200e": "resnest200",
    "resnest269e": "resnest269",
    "resnest50d_4s2x40d": "resnest50_fast_4s2x40d",
    "resnest50d_1s4x24d": "resnest50_fast_1s4x24d",
    "resnest50_fast_4s2x40d": "resnest50_fast_4s2x40d",
}


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_means_the_network_of_the_canonical_name(alias, name):
    assert parse_name(alias) == parse_name(name)
    assert parse_name(alias).name == name


@pytest.mark.parametrize(("depth", "blocks"), BLOCKS.items())
def test_a_four_stage_network_has_three_layers_per_block_and_two_more(depth, blocks):
    assert 3 * sum(blocks) + 2 == depth
    assert parse_name(f"resnet{depth}").depths == blocks


def test_names_decide_every_field():
    assert parse_name("resnext50_32x4d") == ArchSpec(
        stem="imagenet",
        stem_width=64,
        depths=(3, 4, 6, 3),
        widths=(256, 512, 1024, 2048),
        cardinality=32,
        base_width=4,
    )
    assert parse_name("resnext29_8x64d_cifar") == ArchSpec(
        stem="cifar", stem_width=64, depths=(3, 3, 3), widths=(256, 512, 1024), cardinality=8, base_width=64
    )
    assert parse_name("resnest101") == ArchSpec(
        stem="deep",
        stem_width=128,
        depths=(3, 4, 23, 3),
        widths=(256, 512, 1024, 2048),
        cardinality=1,
        base_width=64,
        radix=2,
        avd=True,
        avg_down=True,
    )
    assert parse_name("resnext_1-2-3_w24_4s2x16d_cifar") == ArchSpec(
        stem="cifar",
        stem_width=24,
        depths=(1, 2, 3),
        widths=(96, 192, 384),
        cardinality=2,
        base_width=16,
        radix=4,
    )


SUGGESTED = {
    "resnext50_32x4": "resnext50_32x4d",
    "resnxt50_32x4d": "resnext50_32x4d",
    "ResNeXt50-32x4d": "resnext50_32x4d",
    "resnet50d": "resnet50",
    "rensest50": "resnest50",
    "resnest50e_fast_4s2x40": "resnest50_fast_4s2x40d",
    "resnext101_64x4d.c1_in1k": "resnext101_64x4d",
    "resnet101_fast": "resnet101",
    "resnext29_8x64d_cifr": "resnext29_8x64d_cifar",
}


@pytest.mark.parametrize(("name", "near"), SUGGESTED.items())
def test_a_misspelt_name_gets_the_nearest_one(name, near):
    with pytest.raises(ArchError, match=re.escape(f"no network is called {name!r}; did you mean {near!r}?")):
        parse_name(name)


REFUSED = {
    "": "see 'nxt zoo'",
    "vgg16": "see 'nxt zoo'",
    "../../etc/passwd": "see 'nxt zoo'",
    "resnext50": "lacks cardinality and base width; write resnext50_32x4d",
    "resnext_1-2_w64": "lacks cardinality and base width",
    "resnet51": "depth 51; known are 14, 18, 26, 34, 50, 101, 152, 200, 269, 20, 32, 44, 56, 110, 1202, and 9n+2",
    "resnest18": "no network of depth 18; known are 14, 26, 50, 101, 152, 200, 269",
    "resnext18_32x4d": "block basic has no cardinality (32): with two layers, paths that are summed are one wider",
    "seresnest50": "no network is called",
    "seresnext50": "lacks cardinality and base width; write seresnext50_32x4d",
    "resnet2": "no network of depth 2",
    "resnest29": "no network of depth 29",
    "resnet50_cifar": "no network of depth 50",
    "resnest50_cifar": "no network of depth 50",
    "resnest_1-2_w64_2s1x64d_cifar": "no network is called",
    "resnext50_0x4d": "cardinality: 0 is not",
    "resnext50_32x0d": "base_width: 0 is not",
    "resnext_0-1_w64_1x4d": "depths: 0 is not",
    "resnext_1-1_w0_1x4d": "widths: 0 is not",
    "resnext_1-1-1-1-1-1-1-1-1_w4_1x4d": "between 1 and 8 stages",
    "resnest50_3s1x64d": "group width 64 is not divisible by radix 3",
    "resnext50_99999x99999d": "cardinality: 99999 is not",
    "resnext9992_1x64d": "depths: 1110 is not",
}


@pytest.mark.parametrize(("name", "problem"), REFUSED.items())
def test_a_name_that_makes_no_network_is_refused_with_the_reason(name, problem):
    with pytest.raises(ArchError, match=re.escape(problem)) as caught:
        parse_name(name)
    assert repr(name) in str(caught.value)


@given(st.text(alphabet="resnxt_-sdcifa0123456789w ()", max_size=30) | st.text(max_size=30))
def test_any_text_names_a_network_or_is_an_arch_error(text):
    try:
        spec = parse_name(text)
    except ArchError:
        return
    assert parse_name(spec.name) == spec


def test_a_network_without_a_name_gets_a_label_with_its_fingerprint():
    spec = parse_name("resnet50").replace(avg_down=True)
    assert spec.name == f"resnext_3-4-6-3_w64_1x64d~{spec.fingerprint}"
    with pytest.raises(ArchError):
        parse_name(spec.name)


@pytest.mark.parametrize(
    "changes",
    [
        {"avd": True},
        {"avg_down": True},
        {"stem_width": 32},
        {"stem": "deep"},
        {"cardinality": (1, 1, 2, 2)},
        {"base_width": (64, 64, 64, 32)},
        {"widths": (256, 512, 1024, 1024)},
        {"depths": (1001 - 1, 1, 1, 1), "avg_down": True},
    ],
)
def test_what_no_name_can_say_is_labelled_and_never_misnamed(changes):
    spec = parse_name("resnet50").replace(**changes)
    assert spec.name.endswith(f"~{spec.fingerprint}")


# resolve


def test_an_argument_is_a_name_or_a_file(tmp_path, monkeypatch):
    spec = parse_name("resnext26_8x16d")
    for name in ("arch.yaml", "arch.yml", "plain"):
        (tmp_path / name).write_text(spec.to_yaml())
        assert resolve(str(tmp_path / name)) == spec
    assert resolve("resnext26_8x16d") == spec
    monkeypatch.chdir(tmp_path)
    assert resolve("plain") == spec


def test_an_architecture_is_read_from_a_pipe():
    spec = parse_name("resnext26_8x16d")
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as file:
        file.write(spec.to_yaml())
        file.close()
        assert resolve(f"/dev/fd/{reading}") == spec


def test_a_missing_architecture_file_is_a_config_error_and_no_unknown_name(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        resolve(str(tmp_path / "resnet50.yaml"))


@pytest.mark.parametrize("name", ["x" * 300, "resnet50\0"])
def test_an_argument_that_no_file_can_have_is_an_unknown_name(name):
    with pytest.raises(ArchError, match="no network is called"):
        resolve(name)
