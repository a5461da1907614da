"""The proxy's transform: whatever a space holds shrinks to a network of its shape; the original stays as it was."""

import itertools

import numpy as np
import pytest

from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.arch.spec import STEMS, ArchSpec
from nxt.data.ref import DataRef
from nxt.errors import ArchError, ConfigError
from nxt.models.network import build
from nxt.search.proxy import FOLDER, Proxy, full_training, load_proxy
from nxt.space.budget import Budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space

SPACES = ("imagenet", "mobile", "resnest", "cifar", "smoke", "nds_resnext_a", "nds_resnext_b")
PAPERS = ("resnet50", "resnext50_32x4d", "resnext101_32x8d", "resnest50d", "resnest101e")


def draws(name, count=300):
    feasible, rng = FeasibleSet(load_space(name), Budget()), np.random.default_rng(17)
    return [feasible.space.spec(feasible.draw(rng)) for _ in range(count)]


@pytest.fixture(scope="module")
def drawn():
    return {name: draws(name) for name in SPACES}


@pytest.mark.parametrize("width", [0.25, 0.5])
@pytest.mark.parametrize("name", SPACES)
def test_every_architecture_shrinks_to_a_cheaper_one_of_the_same_shape(drawn, name, width):
    proxy = Proxy(width=width)
    for spec in drawn[name]:
        small = proxy.apply(spec, 32)  # a proper specification checks itself
        assert small.stem == "cifar"
        assert (small.depths, small.cardinality, small.radix) == (spec.depths, spec.cardinality, spec.radix)
        assert (small.avd, small.avd_first, small.avg_down) == (spec.avd, spec.avd_first, spec.avg_down)
        assert small.shortcut == spec.shortcut
        assert [a * spec.widths[0] for a in small.widths] == [b * small.widths[0] for b in spec.widths]
        before, after = cost(spec.replace(stem="cifar"), 32, 10), cost(small, 32, 10)
        assert after.params < before.params and after.macs < before.macs and after.acts < before.acts


@pytest.mark.parametrize("width", [0.25, 0.5])
@pytest.mark.parametrize("name", SPACES)
def test_widths_shrink_by_the_factor_asked_for(drawn, name, width):
    for spec in drawn[name]:
        small = Proxy(width=width).apply(spec, 32)
        unit = spec.widths[0] // 4
        assert small.widths[0] == 4 * max(1, round(unit * width))
        assert abs(small.stem_width - spec.stem_width * width) <= 2


@pytest.mark.parametrize("name", SPACES)
def test_the_original_and_its_fingerprint_are_untouched(drawn, name):
    for spec in drawn[name][:50]:
        before, fingerprint = spec.to_dict(), spec.fingerprint
        Proxy(width=0.25).apply(spec, 32)
        assert spec.to_dict() == before and spec.fingerprint == fingerprint


@pytest.mark.parametrize("name", SPACES)
def test_at_full_width_only_the_stem_changes(drawn, name):
    for spec in drawn[name][:50]:
        assert Proxy().apply(spec, 32) == spec.replace(stem="cifar")
        assert Proxy().apply(spec, 128) == spec
        assert Proxy(stem=spec.stem).apply(spec, 32) == spec


@pytest.mark.parametrize("name", SPACES)
def test_shrunk_networks_can_be_built_and_run(drawn, name):
    import torch

    for spec in drawn[name][:5]:
        small = Proxy(width=0.25).apply(spec.replace(depths=(1,) * len(spec.depths)), 8)
        with torch.inference_mode():
            assert build(small, 10).eval()(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(("network", "width"), list(itertools.product(PAPERS, [0.1, 0.25, 0.3, 0.5, 0.75, 0.99])))
def test_the_networks_of_the_papers_shrink_too(network, width):
    spec = parse_name(network)
    small = Proxy(width=width).apply(spec, 224)
    assert small.stem == spec.stem
    assert cost(small).macs < cost(spec).macs


def test_a_wider_proxy_is_never_cheaper():
    spec = parse_name("resnext50_32x4d")
    costs = [cost(Proxy(width=w / 20).apply(spec, 224)).macs for w in range(1, 21)]
    assert costs == sorted(costs)


@pytest.mark.parametrize(
    ("stem", "size", "own", "expected"),
    [
        ("auto", 8, "imagenet", "cifar"),
        ("auto", 32, "deep", "cifar"),
        ("auto", 33, "imagenet", "imagenet"),
        ("auto", 224, "deep", "deep"),
        ("auto", 224, "cifar", "cifar"),
        ("own", 8, "imagenet", "imagenet"),
        ("own", 224, "cifar", "cifar"),
        *((stem, size, "imagenet", stem) for stem in STEMS for size in (8, 224)),
    ],
)
def test_the_stem_follows_the_image_side_unless_it_is_given(stem, size, own, expected):
    spec = parse_name("resnet50").replace(stem=own)
    assert Proxy(stem=stem).apply(spec, size).stem == expected
    assert Proxy(stem=stem, width=0.5).apply(spec, size).stem == expected


@pytest.mark.parametrize("network", ["resnet50", "resnest50d"])
def test_smaller_images_than_those_of_folders_never_make_a_dearer_proxy(network):
    spec, most = parse_name(network), load_proxy(DataRef("folder"), {}).size
    costs = {size: cost(Proxy(size=size).apply(spec, size), size).macs for size in range(8, most + 1)}
    assert max(costs.values()) == costs[most]


@pytest.mark.parametrize("name", SPACES)
def test_a_full_training_is_of_the_architecture_and_the_data_as_they_are(drawn, name):
    proxy = full_training("quick", 16)
    assert proxy.full and (proxy.recipe, proxy.epochs) == ("quick", 16)
    for spec in drawn[name][:50]:
        assert proxy.apply(spec, 8) == spec == proxy.apply(spec, 224)
        assert proxy.image_size(28, spec) == 28 and proxy.image_size(None, spec) == spec.size


@pytest.mark.parametrize(
    "changes", [{"size": 224}, {"scale": 0.5}, {"width": 0.5}, {"share": 0.5}, {"stem": "auto"}, {"stem": "cifar"}]
)
def test_whatever_is_shrunk_is_no_full_training(changes):
    assert Proxy(stem="own").full
    assert not Proxy(**{"stem": "own", **changes}).full


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_the_proxy_of_no_data_set_is_a_full_training(name):
    assert not load_proxy(DataRef(name), {}).full


@pytest.mark.parametrize(
    ("largest", "scale", "natural", "stem", "expected"),
    [
        (None, 1, None, "imagenet", 224),
        (None, 1, None, "cifar", 32),
        (None, 1, 32, "imagenet", 32),
        (8, 1, 32, "imagenet", 8),
        (64, 1, 32, "imagenet", 32),
        (128, 1, None, "imagenet", 128),
        (None, 0.5, 32, "imagenet", 16),
        (128, 0.5, 28, "imagenet", 14),
        (12, 0.5, 32, "imagenet", 12),
        (128, 0.5, None, "imagenet", 128),
        (None, 0.5, None, "imagenet", 224),
        (None, 0.01, 32, "imagenet", 4),
    ],
)
def test_images_are_as_large_as_the_smallest_limit(largest, scale, natural, stem, expected):
    spec = parse_name("resnet50").replace(stem=stem)
    assert Proxy(size=largest, scale=scale).image_size(natural, spec) == expected


AWKWARD = ArchSpec.from_dict(
    {
        "stem": "cifar", "stem_width": 64, "depths": [1, 1], "widths": [256, 512], "cardinality": 64,
        "base_width": 4, "radix": 1,
    }
)  # fmt: skip


def test_a_base_width_is_raised_to_the_next_that_makes_a_network():
    small = Proxy(width=0.25).apply(AWKWARD, 32)  # a base width of 1 leaves 32 attention channels to 64 groups
    assert small.cardinality == AWKWARD.cardinality and 1 < small.base_width[0] <= 4


def test_an_architecture_that_cannot_shrink_is_an_error_with_its_name(monkeypatch):
    monkeypatch.setattr("nxt.search.proxy._TRIES", 1)
    with pytest.raises(ArchError, match=rf"{AWKWARD.name} cannot be shrunk to 0.25 of its width: .*attention"):
        Proxy(width=0.25).apply(AWKWARD, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 3}, "size is 3"),
        ({"size": 5000}, "size is 5000"),
        ({"stem": "wide"}, "stem is 'wide', not one of auto, own, imagenet, cifar, deep"),
        ({"width": 0.0}, "width is"),
        ({"width": 1.5}, "width is"),
        ({"width": float("nan")}, "width is nan"),
        ({"share": 0.0}, "share is"),
        ({"share": 1.01}, "share is"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 10_001}, "epochs is 10001"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=f"proxy: {message}"):
        Proxy(**changes)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_every_kind_of_data_has_its_default(name):
    proxy = load_proxy(DataRef(name, "" if name == "digits" else "/somewhere"), {})
    assert proxy.about and proxy == load_proxy(DataRef(name), {})


def test_single_values_of_the_default_are_replaced():
    default, changed = load_proxy(DataRef("digits"), {}), load_proxy(DataRef("digits"), {"epochs": 3})
    assert changed.epochs == 3 and changed.width == default.width == 0.25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "proxy: unknown key 'epoch'; did you mean 'epochs'"),
        ({"epochs": 2.5}, "proxy: epochs: a whole number"),
        ({"width": 2}, "proxy: width is 2"),
        ({"share": "much"}, "proxy: share: a number"),
    ],
)
def test_replaced_values_are_checked(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_proxy(DataRef("digits"), changes)


def test_a_mistyped_data_set_is_told_as_such():
    """The proxy is read before the data is opened, so this is where a search notices."""
    from nxt.errors import NxtError
    from nxt.search.new_request import make_request

    with pytest.raises(NxtError, match=r"no data set is called 'digit'; did you mean 'digits'"):
        make_request(load_space("smoke"), Budget(), "digit", 3, 0, [])


@pytest.mark.parametrize(
    ("changes", "size", "own", "said"),
    [
        ({}, 72, "imagenet", "own stem"),
        ({}, 32, "imagenet", "3x3 stem"),
        ({}, 8, "cifar", "own stem"),
        ({"stem": "deep"}, 72, "imagenet", "deep stem"),
        ({"width": 0.25, "share": 0.5}, 8, "imagenet", "3x3 stem, 0.25 of the width, 0.5 of the training images"),
        ({}, None, "imagenet", "own or 3x3 stem"),
    ],
)
def test_it_is_described_as_it_is(changes, size, own, said):
    assert Proxy(**changes).described(size, own) == said
