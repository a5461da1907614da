"""Parts of networks: all that a space can have, each once, and what distinguishes them."""

import itertools

import pytest

from nxt.arch.spec import ArchSpec
from nxt.latency.parts import chain, parts_of_networks, parts_of_space
from nxt.models.network import build
from nxt.space.load import load_space, space_from_dict

SMALL = {"depths": (1, 2), "widths": (16, 32), "stem": "deep", "stem_width": 8}


@pytest.mark.parametrize("name", ["smoke", "resnest", "nds_resnext_a"])
def test_a_space_has_the_parts_of_its_networks(name):
    space = load_space(name)
    known = parts_of_space(space)
    depths = list(itertools.product(*[(0, len(values) - 1) for values in space.depths]))
    seen = set()
    for number, choice in enumerate(space.choices.tolist()):
        if number % max(1, len(space.choices) // 300) == 0:
            spec = space.spec((*depths[number % len(depths)], *choice))
            seen |= {part.key for part in chain(spec, *space.resolution)}
    assert seen <= set(known)
    kinds = {kind: sum(part.kind == kind for part in known.values()) for kind in ("stem", "first", "later", "head")}
    assert all(kinds.values()) and sum(kinds.values()) == len(known)


def test_all_parts_are_found_in_networks_of_a_small_space():
    space = space_from_dict(
        {"stages": 2, "network": {"stem": "cifar", "stem_width": 16, "ratio": 1, "groups": 1},
         "axes": {"depth": [2], "width": [16, 32, 64]}}, "small", "here",
    )  # fmt: skip
    specs = [space.spec((0, 0, *choice)) for choice in space.choices.tolist()]
    seen = {part.key for spec in specs for part in chain(spec, 32, 10)}
    assert seen == set(parts_of_space(space)) == set(parts_of_networks(specs, 32, 10))


def keys(size=64, **fields):
    return {part.key for part in chain(ArchSpec(**{**SMALL, **fields}), size, 10) if part.stage is not None}


@pytest.mark.parametrize(
    "fields",
    [
        {"radix": 1}, {"radix": 2}, {"avd": True}, {"avd": True, "avd_first": True}, {"avg_down": True},
        {"shortcut": False}, {"preact": True}, {"cardinality": 2}, {"base_width": 32}, {"widths": (16, 64)},
    ],
    ids=str,
)  # fmt: skip
def test_blocks_that_do_other_work_have_other_keys(fields):
    assert keys(**fields) != keys() and keys(size=96) != keys()


def test_a_later_block_with_a_shortcut_has_another_key_than_one_without():
    """Both have the same convolutions; the sum is what differs."""
    with_sum, without = (
        {part.key for part in chain(ArchSpec(**{**SMALL, "shortcut": there}), 64, 10) if part.kind == "later"}
        for there in (True, False)
    )
    assert len(with_sum) == len(without) == 1 and with_sum != without


def test_an_equal_block_has_an_equal_key_wherever_it_stands():
    a, b = (list(chain(ArchSpec(**{**SMALL, "depths": depths}), 64, 10)) for depths in ((3, 1), (2, 4)))
    assert a[2].key == a[3].key == b[2].key and a[1].key == b[1].key != a[2].key


def test_a_chain_has_the_parts_in_order():
    spec = ArchSpec(**SMALL)
    parts = list(chain(spec, 64, 10))
    assert [part.kind for part in parts] == ["stem", "first", "first", "later", "head"]
    assert sum(layer.params for part in parts for layer in part.layers) == sum(
        p.numel() for p in build(spec, 10).parameters()
    )
