"""Pre-activation networks: the closed form against fvcore, and outputs against timm's ResNetV2."""

import warnings
from functools import partial

import pytest
import torch
from near import assert_near
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn

from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError
from nxt.models.blocks import Bottleneck
from nxt.models.check import counted
from nxt.models.network import build

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import fvcore.nn  # noqa: F401  # warns of torch.jit.script where it is first imported


def tiny(**changes):
    values = {"depths": (2, 2), "widths": (32, 64), "cardinality": 2, "base_width": 4, "stem_width": 16, **changes}
    return ArchSpec(preact=True, **values)


FORMS = {
    "plain": {},
    "cifar": {"stem": "cifar"},
    "deep stem": {"stem": "deep"},
    "no shortcut": {"shortcut": False},
    "average pooling": {"avd": True, "avg_down": True},
    "average pooling before": {"avd": True, "avd_first": True},
    "no projection in the first stage": {"stem_width": 32},
}


@pytest.mark.parametrize("size", [32, 37])
@pytest.mark.parametrize("changes", FORMS.values(), ids=FORMS)
def test_the_closed_form_equals_the_built_network(changes, size):
    spec = tiny(**changes)
    assert counted(spec, size, 7) == cost(spec, size, 7)


def timm_keys(spec):
    """Yields (our prefix, timm's) for each module that has weights."""
    yield from [("conv1", "stem.conv"), ("norm.0", "norm"), ("fc", "head.fc")]
    for s, depth in enumerate(spec.depths):
        for b in range(depth):
            ours, theirs = f"layer{s + 1}.{b}", f"stages.{s}.blocks.{b}"
            for n in "123":
                yield f"{ours}.conv{n}", f"{theirs}.conv{n}"
                yield f"{ours}.bn{n}", f"{theirs}.norm{n}"
            yield f"{ours}.downsample.0", f"{theirs}.downsample.conv"


def test_equal_weights_give_the_outputs_and_gradients_of_timm_s_resnetv2():
    torch.manual_seed(0)
    norm = partial(BatchNormAct2d, eps=1e-5)
    theirs = ResNetV2([2, 2, 1, 1], (32, 64, 128, 256), 7, stem_chs=16, norm_layer=norm, conv_layer=create_conv2d)
    spec = ArchSpec(depths=(2, 2, 1, 1), widths=(32, 64, 128, 256), base_width=8, stem_width=16, preact=True)
    ours = build(spec, 7)
    weights, found = theirs.double().state_dict(), ours.double().state_dict()
    for key, value in weights.items():  # no two alike
        if value.is_floating_point():
            weights[key] = value + 0.1 * torch.rand_like(value)
    theirs.load_state_dict(weights)
    names = dict(timm_keys(spec))
    mapped = {key: names[key.rpartition(".")[0]] + "." + key.rpartition(".")[2] for key in found}
    for key, place in mapped.items():
        same = weights[place]
        found[key] = same.reshape(found[key].shape)  # timm's last layer is a convolution
    assert len(set(mapped.values())) == len(weights)
    ours.load_state_dict(found)
    images = torch.randn(8, 3, 65, 65, dtype=torch.float64, requires_grad=True)
    for mode in (False, True):
        expected, out = theirs.train(mode)(images), ours.train(mode)(images)
        assert_near(out, expected)
        gradients = [torch.autograd.grad(y.square().sum(), images)[0] for y in (expected, out)]
        assert_near(gradients[1], gradients[0])


def test_blocks_start_as_their_shortcuts_and_still_learn():
    network = build(tiny(), 5)
    network.zero_last_gamma()
    blocks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    for block in blocks:
        x = torch.randn(2, block.conv1.in_channels, 8, 8)
        expected = x if block.downsample is None else block.downsample(block.bn1(x).relu())
        torch.testing.assert_close(block(x), expected)
    network(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(block.conv3.weight.grad.abs().sum() > 0 for block in blocks)


def test_networks_differ_by_pre_activation_alone():
    one, other = parse_name("resnext29_8x64d_cifar"), parse_name("resnext29_8x64d_cifar_preact")
    assert other == one.replace(preact=True)
    assert one.fingerprint != other.fingerprint
    assert other.name == "resnext29_8x64d_cifar_preact"
    assert "preact" not in one.to_dict() and other.to_dict()["preact"] is True
    assert ArchSpec.from_dict(other.to_dict()) == other
    assert cost(one).macs == cost(other).macs and cost(one).acts == cost(other).acts


@pytest.mark.parametrize("name", ["resnet50_preact", "resnext_1-2-3_w16_2x8d_cifar_preact"])
def test_names_lead_back_to_the_network(name):
    assert parse_name(name).name == name


def test_split_attention_refuses_pre_activation():
    with pytest.raises(ArchError, match="preact and radix"):
        tiny(radix=2)


def test_a_pre_activated_network_trains_and_can_be_regularised():
    network = build(tiny(), 3).train()
    network.regularize(dropout=0.1, drop_block=0.1, stochastic_depth=0.2)
    network.freeze("stage1")
    network(torch.randn(4, 3, 64, 64)).sum().backward()
    assert network.layer2[0].conv2.weight.grad is not None and network.layer1[0].conv1.weight.grad is None
    assert isinstance(network.bn1, nn.Identity)
