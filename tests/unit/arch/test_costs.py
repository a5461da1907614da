"""The closed form, against published exact integers, hand-made sums and its own affine form.

(tests/contract/test_networks.py holds it against built networks.)
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nxt.arch.breakdown import portions
from nxt.arch.costs import MAX_CLASSES, MAX_SIZE, Cost, coefficients, cost
from nxt.arch.layers import Side, halved
from nxt.arch.load import parse_name
from nxt.arch.spec import STEMS, ArchSpec
from nxt.errors import ArchError

EXACT_MACS = {
    "resnet50": 4_089_184_256,
    "resnext50_32x4d": 4_230_479_872,
    "resnext101_32x4d": 7_969_996_800,
    "resnest50": 5_371_160_576,
}
# Activations as fvcore prints them, in units of 10^6; it counts the outputs of the last linear layer too.
ACTIVATIONS = {
    "resnet50": 11.11,
    "resnext50_32x4d": 14.40,
    "resnext101_32x4d": 21.23,
    "resnext101_32x8d": 31.21,
    "resnext101_64x4d": 31.21,
}


@st.composite
def specs(draw):
    """Valid specifications of all kinds."""
    stages = draw(st.integers(1, 4))
    width = draw(st.sampled_from([8, 16, 24, 64]))
    return ArchSpec(
        stem=draw(st.sampled_from(STEMS)),
        stem_width=draw(st.sampled_from([8, 32, 64, 4 * width])),
        depths=tuple(draw(st.integers(1, 30)) for _ in range(stages)),
        widths=tuple(4 * width << s for s in range(stages)),
        cardinality=tuple(draw(st.sampled_from([1, 2, 4, 8])) for _ in range(stages)),
        base_width=tuple(draw(st.sampled_from([4, 8, 24])) for _ in range(stages)),
        radix=(radix := draw(st.sampled_from([0, 1, 2, 4]))),
        avd=draw(st.booleans()),
        avd_first=draw(st.booleans()),
        avg_down=draw(st.booleans()),
        shortcut=draw(st.booleans()),
        preact=not radix and draw(st.booleans()),
    )


sizes = st.integers(1, 300)
classes = st.integers(1, 2000)


@pytest.mark.parametrize(("name", "macs"), EXACT_MACS.items())
def test_multiply_adds_equal_the_known_integer(name, macs):
    assert cost(parse_name(name)).macs == macs


@pytest.mark.parametrize(("name", "millions"), ACTIVATIONS.items())
def test_activations_equal_the_known_figure(name, millions):
    assert round((cost(parse_name(name)).acts + 1000) / 1e6, 2) == millions


def test_a_tiny_network_equals_the_sum_written_out_by_hand():
    spec = ArchSpec(stem="cifar", stem_width=8, depths=(2, 1), widths=(16, 32), cardinality=2, base_width=4)
    # (inputs per group, outputs, kernel, side) of every convolution at 5 px; the second stage has side 3.
    convolutions = [
        (3, 8, 3, 5),
        *[(8, 8, 1, 5), (4, 8, 3, 5), (8, 16, 1, 5), (8, 16, 1, 5)],
        *[(16, 8, 1, 5), (4, 8, 3, 5), (8, 16, 1, 5)],
        *[(16, 16, 1, 5), (8, 16, 3, 3), (16, 32, 1, 3), (16, 32, 1, 3)],
    ]
    assert cost(spec, 5, 7) == Cost(
        macs=sum(i * o * k * k * side * side for i, o, k, side in convolutions) + 32 * 7,
        params=sum(i * o * k * k + 2 * o for i, o, k, _ in convolutions) + 32 * 7 + 7,
        acts=sum(o * side * side for _, o, _, side in convolutions),
    )


def test_split_attention_equals_the_sum_written_out_by_hand():
    spec = ArchSpec(stem="deep", stem_width=8, depths=(1,), widths=(32,), cardinality=2, base_width=8, radix=2)
    hidden = 32  # at least
    plain = [(3, 4, 3, 5), (4, 4, 3, 5), (4, 8, 3, 5), (8, 16, 1, 3), (16, 32, 1, 3), (8, 32, 1, 3)]
    split = (16 // 4, 32, 3, 3)
    small = [(16 // 2, hidden), (hidden // 2, 32)]
    convolutions = [*plain, split]
    assert cost(spec, 9, 10) == Cost(
        macs=sum(i * o * k * k * side * side for i, o, k, side in convolutions)
        + sum(i * o for i, o in small)
        + 32 * 10,
        params=sum(i * o * k * k + 2 * o for i, o, k, _ in convolutions)
        + sum(i * o + o for i, o in small)
        + 2 * hidden
        + 32 * 10
        + 10,
        acts=sum(o * side * side for _, o, _, side in convolutions) + hidden + 32,
    )


@given(specs(), sizes, classes)
@settings(max_examples=60)
def test_cost_is_affine_in_the_depths(spec, size, count):
    base, slopes = coefficients(spec, size, count)
    total = sum((slope * (depth - 1) for slope, depth in zip(slopes, spec.depths, strict=True)), base)
    assert total == portions(spec, size, count, "network")[0].cost == cost(spec, size, count)
    assert coefficients(spec.replace(depths=(1,) * len(spec.depths)), size, count) == (base, slopes)


@given(specs(), sizes, classes)
@settings(max_examples=60)
def test_the_parts_add_up_to_the_cost(spec, size, count):
    parts = portions(spec, size, count)
    stages = [f"stage{s + 1}" for s in range(len(spec.depths))]
    assert [part.name for part in parts] == ["stem", *stages, "head"]
    assert [part.blocks for part in parts] == [1, *spec.depths, 1]
    assert [part.channels for part in parts] == [spec.stem_width, *spec.widths, count]
    assert sum((part.cost for part in parts), Cost()) == cost(spec, size, count)


@given(specs(), sizes)
@settings(max_examples=60)
def test_the_image_size_leaves_the_parameters_alone(spec, size):
    assert cost(spec, size).params == cost(spec, size + 1).params
    assert cost(spec, size).macs <= cost(spec, size + 1).macs
    assert cost(spec, size).acts <= cost(spec, size + 1).acts


@given(specs())
@settings(max_examples=60)
def test_one_more_block_costs_more_of_everything(spec):
    deeper = spec.replace(depths=(spec.depths[0] + 1, *spec.depths[1:]))
    assert cost(deeper).macs > cost(spec).macs
    assert cost(deeper).params > cost(spec).params
    assert cost(deeper).acts > cost(spec).acts


def test_the_sides_of_resnet50_halve_from_112_to_7():
    assert [part.side.plain for part in portions(parse_name("resnet50"))] == [112, 56, 28, 14, 7, 1]
    assert [part.side.plain for part in portions(parse_name("resnext29_8x64d_cifar"))] == [32, 32, 16, 8, 1]
    assert [part.side.plain for part in portions(parse_name("resnest50"), 225)] == [113, 57, 29, 15, 8, 1]


@pytest.mark.parametrize(("side", "half"), [(1, 1), (2, 1), (3, 2), (4, 2), (7, 4), (224, 112), (225, 113)])
def test_halving_rounds_up(side, half):
    assert halved(Side.of((side, 10))) == Side.of((half, 5))


def test_size_and_classes_have_the_defaults_of_the_kind_of_network():
    for name, size, count in (("resnet50", 224, 1000), ("resnest50", 224, 1000), ("resnext29_8x64d_cifar", 32, 10)):
        assert cost(parse_name(name)) == cost(parse_name(name), size, count)


@pytest.mark.parametrize("size", [0, -1, MAX_SIZE + 1])
def test_an_image_size_out_of_range_is_refused(size):
    with pytest.raises(ArchError, match=f"image size {size} is not between 1 and {MAX_SIZE}"):
        cost(parse_name("resnet50"), size)


@pytest.mark.parametrize("count", [0, -1, MAX_CLASSES + 1])
def test_a_number_of_classes_out_of_range_is_refused(count):
    with pytest.raises(ArchError, match=f"{count} classes are not between 1 and {MAX_CLASSES}"):
        cost(parse_name("resnet50"), classes=count)


@pytest.mark.parametrize(("size", "count"), [(1, 1), (MAX_SIZE, MAX_CLASSES)])
def test_the_limits_themselves_are_accepted(size, count):
    assert cost(parse_name("resnet50"), size, count).macs > 0


def test_costs_add_and_multiply_field_by_field():
    assert Cost(1, 2, 3) + Cost(10, 20, 30) == Cost(11, 22, 33)
    assert Cost(1, 2, 3) * 4 == Cost(4, 8, 12)
    assert Cost() == Cost(0, 0, 0)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**12))
def test_memory_is_twelve_bytes_a_parameter_and_eight_an_activation_of_each_of_32_images(params, acts, macs):
    assert Cost(macs, params, acts).memory == 12 * params + 8 * 32 * acts


@pytest.mark.parametrize(
    ("name", "params", "acts"), [("resnet50", 25_557_032, 11_113_984), ("resnext50_32x4d", 25_028_904, 14_400_512)]
)
def test_memory_follows_from_the_known_integers(name, params, acts):
    total = cost(parse_name(name))
    assert (total.params, total.acts, total.memory) == (params, acts, 12 * params + 256 * acts)


def test_a_size_may_be_a_side_or_height_and_width():
    spec = parse_name("resnest50")
    assert cost(spec, (224, 224)) == cost(spec, 224)
    assert cost(spec, (225, 161)) == cost(spec, (161, 225))
    assert [part.side.plain for part in portions(spec, (225, 161))] == ["81x113", "41x57", "21x29", "11x15", "6x8", 1]
    with pytest.raises(ArchError, match="image size 0 is not between 1 and 16384 pixels"):
        cost(spec, (224, 0))


def test_an_output_stride_keeps_the_parameters_and_enlarges_the_last_maps():
    spec = parse_name("resnest50")
    dilated = portions(spec, 224, output_stride=8)
    assert [part.side.plain for part in dilated] == [112, 56, 28, 28, 28, 1]
    assert sum((part.cost for part in dilated), Cost()) == cost(spec, output_stride=8)
    assert cost(spec, output_stride=8).params == cost(spec).params
    assert cost(spec, output_stride=8).macs > cost(spec, output_stride=16).macs > cost(spec).macs
    assert cost(spec, output_stride=32) == cost(spec)
