"""Parts of a network's cost: by stage, block and layer; what steps add; against hand-made sums and known figures."""

import pytest

from nxt.analysis.sensitivity import steps
from nxt.arch.breakdown import LEVELS, portions
from nxt.arch.costs import Cost, cost
from nxt.arch.layers import Layer, Side, blocks
from nxt.arch.load import parse_name
from nxt.arch.memory import peak
from nxt.arch.spec import ArchSpec
from nxt.arch.zoo import ZOO
from nxt.errors import ArchError

NAMES = ["resnet50", "resnext50_32x4d", "resnest50_fast_4s2x40d", "resnext29_8x64d_cifar", "resnet50_preact"]
# fvcore 0.1.5's totals at 224 px, as measured; tests/contract holds other networks against it.
FVCORE = {
    "resnet50": 4_111_512_576,
    "resnext50_32x4d": 4_259_381_248,
    "resnext101_64x4d": 15_522_789_376,
    "resnest50": 5_399_965_376,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_adds_up_to_the_whole(name, level):
    spec = parse_name(name)
    parts = portions(spec, 97, 7, level)
    whole = portions(spec, 97, 7, "network")[0]
    assert sum((part.cost for part in parts), Cost()) == cost(spec, 97, 7)
    assert sum(part.fvcore for part in parts) == whole.fvcore
    assert sum(part.moved for part in parts) == whole.moved
    assert max(part.peak for part in parts) == whole.peak == peak(spec, 97, 7).bytes


@pytest.mark.parametrize(("name", "total"), FVCORE.items())
def test_fvcore_s_total_is_known_without_fvcore(name, total):
    assert portions(parse_name(name), by="network")[0].fvcore == total


def test_portions_tell_their_blocks_and_output():
    spec = parse_name("resnext50_32x4d")
    stages = {part.name: (part.blocks, part.channels, part.side.plain) for part in portions(spec)}
    assert stages == {
        "stem": (1, 64, 112),
        "stage1": (3, 256, 56),
        "stage2": (4, 512, 28),
        "stage3": (6, 1024, 14),
        "stage4": (3, 2048, 7),
        "head": (1, 1000, 1),
    }
    names = [part.name for part in portions(spec, by="block")]
    assert names[:4] == ["stem", "stage1.1", "stage1.2", "stage1.3"] and len(names) == 18
    assert [part.name for part in portions(spec, by="layer")][:5] == [
        "conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.0.conv3", "layer1.0.downsample.0"
    ]  # fmt: skip


def test_a_grouped_convolution_moves_as_much_as_a_dense_one_for_a_fraction_of_the_work():
    dense = Layer("a", 128, 128, 3, 1, Side.of(56), Side.of(56), 128, Side.of(56), 0)
    grouped = dense._replace(groups=32)
    assert dense.macs == 32 * grouped.macs
    assert dense.moved() - grouped.moved() == 4 * (dense.weights - grouped.weights)
    assert grouped.moved() == 4 * (2 * 128 * 56 * 56 + 128 * 4 * 9)
    assert grouped.moved(batch=8, itemsize=2) == 2 * (8 * 2 * 128 * 56 * 56 + 128 * 4 * 9)


def test_the_intensity_of_resnet50_is_that_of_its_layers():
    whole = portions(parse_name("resnet50"), by="network")[0]
    layers = portions(parse_name("resnet50"), by="layer")
    assert whole.intensity == pytest.approx(2 * sum(x.cost.macs for x in layers) / sum(x.moved for x in layers))
    head = layers[-1]
    assert head.moved == 4 * (2048 + 1000 + 2048 * 1000)


def test_the_peak_does_not_grow_with_the_depth():
    peaks = {peak(parse_name(name), 224, 1000).bytes for name in ("resnet50", "resnet101", "resnext101_32x4d")}
    assert peaks == {11_038_720}
    assert str(peak(parse_name("resnet50"), 224, 1000)) == "layer1.0.downsample.0, norm"


@pytest.mark.parametrize(("size", "classes"), [(0, 10), (224, 0), (10**9, 10)])
def test_sizes_and_classes_out_of_range_are_refused(size, classes):
    with pytest.raises(ArchError, match="not between"):
        portions(parse_name("resnet50"), size, classes)


def test_every_layer_of_the_zoo_has_a_name_of_its_own():
    for entry in ZOO.values():
        names = [layer.name for _, _, layers in blocks(entry.spec, 64, 10) for layer in layers]
        assert len(names) == len(set(names))


# Steps


def test_one_more_block_costs_what_the_deeper_network_does():
    spec = parse_name("resnext50_32x4d")
    by_change = {step.change: step for step in steps(spec)}
    deeper = cost(spec.replace(depths=(3, 4, 7, 3)))
    step = by_change["stage 3: 6 -> 7 blocks"]
    assert (step.macs, step.params, step.acts) == tuple(
        getattr(deeper, key) - getattr(cost(spec), key) for key in ("macs", "params", "acts")
    )


def test_steps_in_every_number_are_told():
    spec = parse_name("resnext50_32x4d")
    assert [step.change for step in steps(spec)][4:] == [
        "cardinality 32 -> 33",
        "base width 4 -> 5",
        "stage base width 64 -> 68",
        "radix 0 -> 1",
        "image 224 -> 256 px",
    ]
    assert all(step.macs > 0 for step in steps(spec))
    larger = cost(spec.replace(widths=(272, 544, 1088, 2176)))
    assert next(s for s in steps(spec) if "stage base" in s.change).macs == larger.macs - cost(spec).macs


def test_a_step_that_makes_no_network_is_enlarged():
    spec = parse_name("resnest50_fast_4s2x40d")  # groups of 40 in 4 splits
    changes = [step.change for step in steps(spec)]
    assert "base width 40 -> 44" in changes and "radix 4 -> 5" in changes


def test_a_step_that_nothing_makes_possible_is_left_out():
    changes = [step.change for step in steps(parse_name("resnet50_preact"))]
    assert not any(change.startswith("radix") for change in changes)


def test_values_by_stage_grow_together():
    spec = ArchSpec(depths=(1, 1), widths=(32, 64), cardinality=(1, 4), base_width=(16, 4))
    assert "cardinality [1, 4] -> [2, 5]" in [step.change for step in steps(spec)]
