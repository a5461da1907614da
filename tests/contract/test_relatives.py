"""Basic blocks, squeeze-and-excitation, selective kernels, padded shortcuts, constant groups: closed form and peers.

The closed form is held against fvcore, torch's counter and what is alive; outputs and gradients against torchvision's
and timm's networks with equal weights.
"""

import re

import pytest
import timm
import torch
import torchvision
from near import assert_near
from timm.layers import SEModule
from torch import nn

from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError
from nxt.models.blocks import BasicBlock, Block
from nxt.models.check import residuals
from nxt.models.network import build
from nxt.models.split_attention import SplitAttention
from nxt.models.weights import own_key

pytestmark = pytest.mark.usefixtures("one_thread")


def tiny(**changes):
    values = {"depths": (2, 2), "widths": (32, 64), "base_width": 8, "stem_width": 16, **changes}
    return ArchSpec(**values)


BASIC = {"block": "basic", "widths": (16, 24), "base_width": 16}
KINDS = {
    "basic": BASIC,
    "basic, wider inside": {**BASIC, "base_width": 40, "stem": "cifar"},
    "basic, average pooling": {**BASIC, "avg_down": True},
    "basic, padded": {**BASIC, "padded": True, "stem": "cifar"},
    "basic, padded, pooled": {**BASIC, "padded": True, "avg_down": True},
    "basic, pre-activation": {**BASIC, "preact": True},
    "basic, pre-activation, padded": {**BASIC, "preact": True, "padded": True},
    "basic, no shortcut": {**BASIC, "shortcut": False},
    "basic, squeeze-and-excitation": {**BASIC, "attention": "se"},
    "squeeze-and-excitation": {"attention": "se", "cardinality": 2},
    "squeeze-and-excitation, average pooling": {"attention": "se", "avd": True, "avg_down": True, "stem": "deep"},
    "squeeze-and-excitation, padded": {"attention": "se", "padded": True},
    "selective kernel": {"attention": "sk", "cardinality": 2},
    "selective kernel, average pooling": {"attention": "sk", "avd": True, "avd_first": True},
    "padded": {"padded": True},
    "padded, pre-activation": {"padded": True, "preact": True},
    "constant groups": {"constant": True, "base_width": 2, "cardinality": 4},
    "depthwise": {"constant": True, "base_width": 1, "cardinality": 16, "preact": True},
}


@pytest.mark.parametrize("size", [32, 37])
@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_the_closed_form_equals_what_others_count(changes, size):
    assert set(residuals(tiny(**changes), size, 7).values()) == {0}


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_every_parameter_gets_a_finite_gradient_and_blocks_start_as_their_shortcuts(changes):
    torch.manual_seed(0)
    network = build(tiny(**changes), 5).train()
    network.regularize(drop_block=0.1, stochastic_depth=0.1)
    images = torch.randn(4, 3, 64, 64)
    nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    network.zero_last_gamma()
    for block in network.eval().modules():
        if isinstance(block, Block) and block.shortcut:
            x = torch.randn(2, block.conv1.in_channels, 8, 8).relu()
            start = block.bn1(x).relu() if block.preact else x
            shortcut = x if block.downsample is None else block.downsample(start)
            with torch.no_grad():
                torch.testing.assert_close(block(x), shortcut if block.preact else shortcut.relu())


# Peers


def same_outputs(theirs, ours):
    """Holds outputs and the gradients of images against each other, in both modes."""
    images = torch.randn(4, 3, 65, 65, dtype=torch.float64, requires_grad=True)
    for mode in (False, True):
        expected, found = theirs.train(mode)(images), ours.train(mode)(images)
        assert expected.std() > 0.01 * expected.abs().max()
        assert_near(found, expected)
        gradients = [torch.autograd.grad(y.square().sum(), images)[0] for y in (expected, found)]
        assert_near(gradients[1], gradients[0])


def randomise(network):
    torch.manual_seed(0)
    for value in network.double().state_dict().values():
        if value.is_floating_point():
            value.add_(0.05 * torch.rand_like(value))
    return network


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_basic_networks_are_torchvisions(name):
    theirs = randomise(torchvision.models.get_model(name, weights=None))
    ours = build(name).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    same_outputs(theirs, ours)
    assert cost(parse_name(name)).params == sum(parameter.numel() for parameter in theirs.parameters())


def test_networks_with_squeeze_and_excitation_are_timms():
    for name, layers in {
        "seresnet50": [1, 1, 1, 1],
        "seresnext50_32x4d": [1, 2, 1, 1],
        "seresnet18": [1, 1, 1, 1],
    }.items():
        theirs = randomise(timm.create_model(name, pretrained=False, layers=layers, num_classes=7))
        ours = build(parse_name(name).replace(depths=tuple(layers)), 7).double()
        assert list(ours.state_dict()) == list(theirs.state_dict())
        ours.load_state_dict(theirs.state_dict())
        same_outputs(theirs, ours)
        whole = timm.create_model(name, pretrained=False)
        assert cost(parse_name(name)).params == sum(parameter.numel() for parameter in whole.parameters())


def test_a_network_with_selective_kernels_is_timms():
    name = "skresnext50_32x4d"
    theirs = randomise(timm.create_model(name, pretrained=False, layers=[1, 2, 1, 1], num_classes=7))
    ours = build(parse_name(name).replace(depths=(1, 2, 1, 1)), 7).double()
    state = {own_key(key): value for key, value in theirs.state_dict().items()}
    assert set(ours.state_dict()) == set(state)
    ours.load_state_dict(state)
    same_outputs(theirs, ours)
    whole = timm.create_model(name, pretrained=False)
    assert cost(parse_name(name)).params == sum(parameter.numel() for parameter in whole.parameters())


@pytest.mark.parametrize(
    ("name", "params"),
    [("resnet20", 0.27), ("resnet32", 0.46), ("resnet44", 0.66), ("resnet56", 0.85), ("resnet110", 1.7)],
)
def test_the_networks_for_cifar_have_the_parameters_that_their_paper_prints(name, params):
    """He et al. 2016 (arXiv 1512.03385), table 6, in millions, to the printed digits."""
    printed = len(str(params).split(".")[1])
    assert round(cost(parse_name(name)).params / 1e6, printed) == params
    assert cost(parse_name(name)).params < cost(parse_name(name).replace(padded=False)).params


# What the papers say


def test_paths_of_two_layers_that_are_summed_are_one_wider_dense_block():
    """ResNeXt sec. 3.3: so a basic block has no cardinality."""
    torch.manual_seed(0)
    spec = tiny(**{**BASIC, "base_width": 12})
    stage = next(spec.stages())
    block = BasicBlock(spec, stage, first=False).double().eval()
    for norm in (block.bn1, block.bn2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 1.5)
    x = torch.randn(2, stage.width, 9, 9, dtype=torch.float64)
    summed = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        hidden = block.bn1(block.conv1(x)).relu()
        for path in range(3):  # of four channels each
            own = slice(4 * path, 4 * path + 4)
            weight = nn.functional.conv2d(x, block.conv1.weight[own], padding=1)
            centred = (weight - block.bn1.running_mean[own, None, None]) / (
                block.bn1.running_var[own, None, None] + block.bn1.eps
            ).sqrt()
            assert_near(centred.relu(), hidden[:, own])
            summed = summed + nn.functional.conv2d(centred.relu(), block.conv2.weight[:, own], padding=1)
        assert_near((block.bn2(summed) + x).relu(), block(x))
    with pytest.raises(ArchError, match="one wider dense block"):
        tiny(**BASIC, cardinality=2)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_split_attention_of_radix_1_is_squeeze_and_excitation_of_each_cardinal_group(groups):
    torch.manual_seed(0)
    stage = next(tiny(radix=1, cardinality=groups, base_width=32).stages())
    module = SplitAttention(stage, 1).double().eval()
    x = torch.randn(2, stage.bottleneck, 9, 9, dtype=torch.float64)
    width, hidden = stage.bottleneck // groups, stage.attention // groups
    with torch.no_grad():
        features = module.bn0(module.conv(x)).relu()
        parts = []
        for group in range(groups):
            own, inner = slice(group * width, (group + 1) * width), slice(group * hidden, (group + 1) * hidden)
            excitation = SEModule(width, rd_channels=hidden, norm_layer=nn.BatchNorm2d).double().eval()
            for theirs, ours, rows in ((excitation.fc1, module.fc1, inner), (excitation.fc2, module.fc2, own)):
                theirs.weight.copy_(ours.weight[rows])
                theirs.bias.copy_(ours.bias[rows])
            parts.append(excitation(features[:, own]))
        assert_near(torch.cat(parts, 1), module(x))


def test_constant_groups_stay_as_wide_while_their_number_doubles():
    stages = list(parse_name("resnext50_128x1d_constant").stages())
    assert [stage.group_width for stage in stages] == [1, 1, 1, 1]
    assert [stage.cardinality for stage in stages] == [stage.bottleneck for stage in stages] == [128, 256, 512, 1024]
    with torch.device("meta"):
        network = build("resnext50_128x1d_constant")
    assert all(block.conv2.groups == block.conv2.in_channels for block in network.modules() if isinstance(block, Block))
    usual = list(parse_name("resnext50_128x1d").stages())
    assert [stage.group_width for stage in usual] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**BASIC, "radix": 1}, "block basic and radix"),
        ({**BASIC, "avd": True}, "block basic and avd"),
        ({**BASIC, "attention": "sk"}, "block basic and attention sk"),
        ({"attention": "se", "radix": 2}, "attention se and radix 2"),
        ({"attention": "se", "preact": True}, "preact and attention se"),
        ({"padded": True, "shortcut": False}, "there are no shortcuts to pad"),
        ({"padded": True, "widths": (64, 32)}, "stage 2 narrows from 64 to 32"),
        ({"attention": "cbam"}, "attention 'cbam' is not one of none, se, sk"),
        ({"block": "inverted"}, "block 'inverted' is not one of bottleneck, basic"),
        ({"constant": True, "widths": (64, 32), "cardinality": 3}, "cardinality 3 * 32 / 64 is not an integer"),
        ({"padded": 1}, "padded 1 is neither true nor false"),
    ],
)
def test_what_excludes_each_other_is_refused(changes, message):
    with pytest.raises(ArchError, match=re.escape(message)):
        tiny(**changes)


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_networks_survive_their_files_and_differ_by_fingerprint(changes):
    spec = tiny(**changes)
    assert ArchSpec.from_dict(spec.to_dict()) == spec
    plain = tiny()
    assert spec.fingerprint != plain.fingerprint
    assert plain.fingerprint == "a00217d6c69f"  # as it was before there were such networks
