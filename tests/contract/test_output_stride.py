"""Stages that dilate in place of striding: outputs against torchvision's and timm's, weights, what is refused."""

import re

import pytest
import timm
import torch
import torchvision
from near import assert_near
from torch import nn

from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError
from nxt.models.network import build
from nxt.models.weights import own_key

pytestmark = pytest.mark.usefixtures("one_thread")

ALIKE = {"block": "bottleneck", "depths": (2, 2, 2), "widths": (32, 64, 64), "base_width": 8, "stem_width": 16}
KINDS = {
    "bottleneck": {},
    "basic": {"block": "basic", "widths": (16, 24, 24), "base_width": 16},
    "padded": {"padded": True},
    "pre-activation, deep stem": {"preact": True, "stem": "deep"},
    "CIFAR stem": {"stem": "cifar", "cardinality": 2},
}


def randomise(network):
    torch.manual_seed(0)
    for value in network.double().state_dict().values():
        if value.is_floating_point() and value.ndim == 1:  # BN, and biases
            value.add_(torch.rand_like(value))
    return network.eval()


def assert_same(theirs, ours, side=65):
    image = torch.randn(1, 3, side, side + 8, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(image)
        assert expected.std() > 0.01 * expected.abs().max()
        assert_near(ours.eval()(image), expected)


@pytest.mark.parametrize(("stride", "dilated"), [(8, [False, True, True]), (16, [False, False, True])])
def test_a_dilated_resnet_is_torchvisions(stride, dilated):
    theirs = randomise(torchvision.models.resnet50(replace_stride_with_dilation=dilated))
    ours = build("resnet50", output_stride=stride).double()
    ours.load_state_dict(theirs.state_dict())
    assert_same(theirs, ours)
    assert ours.strides == (4, 8, min(stride, 16), stride)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("name", ["resnet18", "seresnext50_32x4d", "skresnext50_32x4d"])
def test_dilated_basic_blocks_and_attention_are_timms(name, stride):
    theirs = randomise(timm.create_model(name, output_stride=stride, layers=[2, 2, 2, 2], num_classes=7))
    ours = build(parse_name(name).replace(depths=(2, 2, 2, 2)), 7, output_stride=stride).double()
    ours.load_state_dict({own_key(key): value for key, value in theirs.state_dict().items()})
    assert_same(theirs, ours)


@pytest.mark.parametrize("stride", [8, 16])
def test_a_dilated_resnest_is_timms_with_the_pooling_of_its_authors(stride):
    """timm leaves out the pool beside the 3x3, and pools the shortcut of a dilated stage over 2x2 pixels.

    The released code of ResNeSt, by which its segmentation results were made, keeps the one and leaves out the other.
    """
    layers = [1, 2, 2, 2]
    theirs = timm.create_model("resnest50d", output_stride=stride, layers=layers, num_classes=7)
    for stage in (theirs.layer3, theirs.layer4)[0 if stride == 8 else 1 :]:
        assert stage[0].avd_last is None
        stage[0].avd_last = nn.AvgPool2d(3, 1, 1)
        stage[0].downsample[0] = nn.Identity()
    ours = build(parse_name("resnest50").replace(depths=tuple(layers)), 7, output_stride=stride).double()
    ours.load_state_dict(randomise(theirs).state_dict())
    assert_same(theirs, ours)


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_a_dilated_network_has_the_strided_ones_features_at_every_second_pixel(changes):
    """With the same weights, also where a stage is as wide as the one before it and projects only to stride."""
    spec = ArchSpec(**ALIKE | changes)
    strided = randomise(build(spec, 5))
    dilated = build(spec, 5, output_stride=spec.strides[0]).double().eval()
    dilated.load_state_dict(strided.state_dict())
    assert list(dilated.state_dict()) == list(strided.state_dict())
    image = torch.randn(1, 3, 72, 101, dtype=torch.float64)
    with torch.no_grad():
        for index, (few, many) in enumerate(zip(strided.features(image), dilated.features(image), strict=True)):
            assert_near(many[..., :: 2**index, :: 2**index], few)
    assert strided.strides == spec.strides and set(dilated.strides) == {spec.strides[0]}


@pytest.mark.parametrize("name", ["resnet18", "resnet50_preact", "resnest14", "resnet20"])
def test_features_are_the_stages_outputs_from_which_the_logits_follow(name):
    network = build(name, 5).eval()
    image = torch.randn(1, 3, 64, 90)
    with torch.no_grad():
        maps = network.features(image)
        torch.testing.assert_close(network.fc(maps[-1].mean((2, 3))), network(image))
    assert [one.shape[1] for one in maps] == list(network.spec.widths)
    for one, stride in zip(maps, network.strides, strict=True):
        assert tuple(one.shape[2:]) == (-(-64 // stride), -(-90 // stride))


@pytest.mark.parametrize("form", ["a", "b"])
def test_separate_paths_dilate_like_groups(form):
    from nxt.models.forms import converted

    spec = ArchSpec(**ALIKE | {"cardinality": 2, "avd": True})
    grouped = randomise(build(spec, 5, output_stride=4))
    paths = build(spec, 5, form=form, output_stride=4).double()
    paths.load_state_dict(converted(grouped.state_dict(), spec, form))
    assert_same(grouped, paths)


@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        ("resnet50", 12, "output stride 12 of resnet50 is not one of 4, 8, 16, 32"),
        ("resnet20", 8, "output stride 8 of resnet20 is not one of 1, 2, 4"),
    ],
)
def test_strides_that_a_network_does_not_have_are_refused(name, stride, message):
    with pytest.raises(ArchError, match=re.escape(message)):
        build(name, output_stride=stride)
