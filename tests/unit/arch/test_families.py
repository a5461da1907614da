"""Families of networks by which the papers argue: their members' costs, and the papers' own as special cases."""

import pytest

from nxt.arch.costs import cost
from nxt.arch.families import family, is_family
from nxt.errors import ArchError


def names(text):
    return [spec.name for spec in family(text)]


def test_cardinality_gives_the_papers_networks_of_equal_cost():
    """ResNeXt table 3; whole networks are compared here, so that one width differs from the blocks' by one."""
    assert names("cardinality:resnet50") == [
        "resnet50", "resnext50_2x40d", "resnext50_4x24d", "resnext50_8x13d", "resnext50_16x7d", "resnext50_32x4d",
    ]  # fmt: skip


def test_capacity_gives_table_4_of_the_paper():
    """ResNeXt table 4: twice the complexity of ResNet-101 and of ResNeXt-101 32x4d, by depth, width and cardinality."""
    deeper, wider, more = family("capacity:resnet101")[1:]
    assert sum(deeper.depths) * 3 + 2 > 200 and deeper.widths == wider.widths
    assert wider.base_width[0] in (100, 101) and wider.cardinality[0] == 1  # the paper's 1x100d
    assert more.name == "resnext101_2x64d" and names("capacity:resnext101_32x4d")[-1] == "resnext101_64x4d"


def test_shortcut_takes_it_away_or_gives_it():
    assert names("shortcut:resnext50_32x4d") == ["resnext50_32x4d", "resnext50_32x4d_plain"]
    assert names("shortcut:resnet50_plain") == ["resnet50_plain", "resnet50"]


def test_radix_differs_in_nothing_but_radix():
    assert names("radix:resnest50_fast_2s1x64d") == [f"resnest50_fast_{radix}s1x64d" for radix in (2, 0, 1, 4)]


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("cardinality:resnext_3-3-3_w8_1x8d_cifar", 1),
        ("radix:resnext_3-3-3_w16_2s1x16d_cifar", 1),
        ("capacity:resnext_3-3-3_w8_1x4d_cifar", 2),
        ("capacity:resnet18", 2),
        ("capacity:resnest50", 2),
    ],
)
def test_members_cost_what_the_family_says(text, times):
    reference, *others = (cost(spec).macs for spec in family(text))
    assert len(others) >= 2 and all(abs(other / (times * reference) - 1) <= 0.15 for other in others)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cardinality:resnet18", "cardinality:resnet18: no other network of that family"),
        ("shortcut:resnet18_padded", "shortcut:resnet18_padded: padded: there are no shortcuts to pad"),
        ("radix:resnet51", "no network of depth 51"),
    ],
)
def test_what_makes_no_family_is_said_in_a_line(text, message):
    with pytest.raises(ArchError, match=message) as error:
        family(text)
    assert "\n" not in str(error.value)


def test_other_text_is_no_family():
    assert not any(map(is_family, ["resnet50", "depth:resnet50", "folder:mine", "radix", "best.yaml"]))


@pytest.mark.parametrize("name", ["resnet50_plain", "resnet20_plain", "resnest50_plain", "resnet18_plain"])
def test_networks_without_shortcuts_have_names(name):
    spec = family(f"shortcut:{name}")[0]
    assert not spec.shortcut and spec.name == name
