"""Built networks, against the closed-form cost and against torchvision's and timm's networks.

Cost. `nxt.models.check.counted` counts multiply-adds by fvcore on the CPU, which takes about a second for a network;
it is used for the zoo's networks of up to 50 layers, for odd image sizes, for a few random networks and for kinds of
networks that no space holds. Every network of the zoo at its own size, and 200 random networks of each packaged space,
drawn without a budget, are counted by `counted_on_meta`: the same built modules on the meta device, their convolutions
and linear layers counted by hooks from the weights and outputs that they have. Both counters are held against each
other. The identity holds at any image size, so fvcore counts at a small one.

Reference networks. State dicts have the same keys and shapes (on the meta device where the networks are large), and
equal weights give equal outputs.
"""

import copy
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import timm
import timm.layers.helpers
import torch
import torchvision
from limits import LIMIT
from near import assert_near
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import StochasticDepth

from nxt.arch.costs import Cost, cost
from nxt.arch.load import parse_name
from nxt.arch.spec import STEMS, ArchSpec, Stage
from nxt.arch.zoo import ZOO
from nxt.errors import ArchError, ConfigError
from nxt.models.blocks import Bottleneck
from nxt.models.check import counted
from nxt.models.network import build
from nxt.models.regularize import DropBlock, drop_block
from nxt.models.split_attention import SplitAttention
from nxt.space.budget import Budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import fvcore.nn  # noqa: F401  # warns of torch.jit.script where it is first imported

SPACES = ["smoke", "cifar", "imagenet", "mobile", "resnest", "nds_resnext_a", "nds_resnext_b"]
INITIALISERS = ("kaiming_normal_", "kaiming_uniform_", "uniform_", "zeros_", "ones_")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def no_initialisation(monkeypatch):
    """Leaves weights as they are allocated: their values do not matter where layers are only counted."""
    for name in INITIALISERS:
        monkeypatch.setattr(nn.init, name, lambda tensor, *_args, **_options: tensor)


def counted_on_meta(spec, size, classes):
    """Counts like `counted`, by hooks alone and without computing anything."""
    macs, acts = [], []

    def count_convolution(module, _inputs, output):
        macs.append(module.weight[0].numel() * output.numel())
        acts.append(output.numel())

    def count_linear(module, _inputs, _output):
        macs.append(module.weight.numel())

    with torch.device("meta"):
        network = build(spec, classes).eval()
        image = torch.empty(1, 3, size, size)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count_convolution)
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(count_linear)
        elif isinstance(module, nn.BatchNorm2d):
            module.forward = lambda x: x  # changes no shape, and is slow on meta
    with torch.inference_mode():
        assert network(image).shape == (1, classes)
    return Cost(sum(macs), sum(parameter.numel() for parameter in network.parameters()), sum(acts))


def tiny(**changes):
    values = {"depths": (2, 2), "widths": (32, 64), "cardinality": 2, "base_width": 8, "stem_width": 16, **changes}
    return ArchSpec(**values)


def randomised(network, seed=0):
    """Gives every parameter and every batch-norm statistic a value of its own, so that no two can be confused."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, math.sqrt(2 / fan_in), generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.2, generator=generator)
    return network


# Closed form


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if sum(entry.spec.depths) <= 16])
def test_the_closed_form_equals_fvcore_on_the_zoo_entries_of_up_to_50_layers(name, no_initialisation):
    spec = ZOO[name].spec
    size = 8 if spec.stem == "cifar" else 32
    assert counted(spec, size, spec.classes) == cost(spec, size, spec.classes)


@pytest.mark.parametrize("name", ZOO)
def test_the_closed_form_equals_the_built_network_of_every_zoo_entry_at_its_own_size(name, no_initialisation):
    spec = ZOO[name].spec
    assert counted_on_meta(spec, spec.size, spec.classes) == cost(spec)


@pytest.mark.parametrize("size", [33, 65, 225])
@pytest.mark.parametrize(
    "name", ["resnext26_32x4d", "resnest14", "resnest26_fast_2s2x40d", "resnext_1-1-1_w16_2s2x8d_cifar"]
)
def test_the_closed_form_equals_the_built_network_at_odd_sizes(name, size, no_initialisation):
    spec = parse_name(name)
    assert counted(spec, size, 7) == cost(spec, size, 7)


@pytest.mark.parametrize("name", ["resnext26_32x4d", "resnest26_fast_2s2x40d"])
@pytest.mark.parametrize("size", [1, 2, 3, 31, 113])
def test_the_two_counters_agree(name, size, no_initialisation):
    spec = parse_name(name)
    assert counted_on_meta(spec, size, 7) == cost(spec, size, 7)
    if size >= 31:
        assert counted(spec, size, 7) == counted_on_meta(spec, size, 7)


def drawn(space, count, seed):
    feasible = FeasibleSet(space, Budget())
    rng = np.random.default_rng(seed)
    return [space.spec(feasible.draw(rng)) for _ in range(count)]


@pytest.mark.parametrize("name", SPACES)
def test_the_closed_form_equals_200_random_networks_of_a_packaged_space(name, no_initialisation):
    specs = drawn(load_space(name), 200, seed=1)
    rng = np.random.default_rng(2)
    for spec in specs:
        size, classes = int(rng.integers(16, 100)), int(rng.integers(1, 200))
        assert counted_on_meta(spec, size, classes) == cost(spec, size, classes), (spec.name, size)


@pytest.mark.parametrize("name", SPACES)
def test_the_closed_form_equals_fvcore_on_some_random_networks_of_a_packaged_space(name, no_initialisation):
    for spec in sorted(drawn(load_space(name), 30, seed=3), key=lambda spec: sum(spec.depths))[:4]:
        assert counted(spec, 17, 10) == cost(spec, 17, 10), spec.name


ODDITIES = {
    "no shortcut": {"shortcut": False, "avg_down": True},
    "a first stage that needs no projection": {"stem_width": 32},
    "one stage": {"depths": (2,), "widths": (32,)},
    "equal widths": {"widths": (32, 32)},
    "falling widths": {"widths": (64, 32)},
    "avd after a plain 3x3": {"avd": True},
    "avd before a plain 3x3": {"avd": True, "avd_first": True},
    "avd after split attention": {"avd": True, "radix": 2},
    "avd before split attention": {"avd": True, "avd_first": True, "radix": 4},
    "avg_down": {"avg_down": True},
    "values by stage": {"cardinality": (1, 4), "base_width": (16, 4)},
    "attention rounded up": {"radix": 2, "cardinality": 1, "base_width": 100},
}


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("changes", ODDITIES.values(), ids=ODDITIES)
def test_the_closed_form_equals_networks_that_no_packaged_space_holds(changes, stem):
    spec = tiny(stem=stem, **changes)
    for size in (32, 37):
        assert counted(spec, size, 3) == cost(spec, size, 3)


COUNT = """
from nxt.models.check import counted
from nxt.arch.load import parse_name
print(counted(parse_name("resnext_1-1_w4_1x4d_cifar"), 8, 2).params)
"""


def test_counting_a_network_warns_of_nothing():
    command = [sys.executable, "-W", "error::FutureWarning", "-c", COUNT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-300:]
    assert done.stderr == ""


# torchvision and timm

TORCHVISION = ["resnet50", "resnext50_32x4d", "resnext101_32x8d"]
TIMM = {
    "resnest14d": "resnest14",
    "resnest26d": "resnest26",
    "resnest50d": "resnest50",
    "resnest50d_4s2x40d": "resnest50_fast_4s2x40d",
    "resnest50d_1s4x24d": "resnest50_fast_1s4x24d",
    "resnest101e": "resnest101",
    "resnest200e": "resnest200",
    "resnest269e": "resnest269",
}
SMALL = ["resnet50", "resnext50_32x4d", *list(TIMM)[:5]]


def reference(name):
    if name in TIMM:
        return timm.create_model(name, pretrained=False)
    return torchvision.models.get_model(name, weights=None)


def shapes(network):
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


@pytest.mark.parametrize("name", [*TORCHVISION, *TIMM])
def test_a_state_dict_has_the_keys_and_shapes_of_the_reference(name, no_initialisation):
    with torch.device("meta"):
        theirs, ours = reference(name), build(name)
    assert shapes(ours) == shapes(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("name", SMALL)
def test_equal_weights_give_the_reference_s_outputs(name, no_initialisation):
    theirs = randomised(reference(name)).double()
    ours = build(TIMM.get(name, name)).double()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(16, 3, 49, 49, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for mode in (False, True):
            expected, found = theirs.train(mode)(images), ours.train(mode)(images)
            assert expected.std() > 0.01 * expected.abs().max()
            assert_near(found, expected)
    statistics = theirs.state_dict()
    for key, value in ours.state_dict().items():
        if value.is_floating_point():
            assert_near(value, statistics[key])
        else:
            assert torch.equal(value, statistics[key]), key


@pytest.mark.parametrize("radix", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("bottleneck", [24, 32, 40, 48, 96, 100, 112, 128, 200, 256, 333, 1000])
def test_attention_channels_are_rounded_as_timm_rounds_them(bottleneck, radix):
    stage = Stage(0, 1, 1, 64, 256, 1, bottleneck, radix)
    assert stage.attention == timm.layers.helpers.make_divisible(bottleneck * radix * 0.25, min_value=32, divisor=8)


# Training

KINDS = {
    **{f"radix {radix}": {"radix": radix} for radix in (0, 1, 2, 4)},
    "no shortcut": {"shortcut": False},
    "no shortcut, radix 2": {"shortcut": False, "radix": 2},
    "avd": {"avd": True, "avg_down": True},
    "avd first": {"avd": True, "avd_first": True, "avg_down": True, "radix": 2},
}


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_every_parameter_gets_a_finite_gradient(changes, stem):
    torch.manual_seed(0)
    network = build(tiny(stem=stem, **changes), 5).train()
    images = torch.randn(4, 3, 33, 33)
    nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        before_a_norm = name.endswith(("fc1.bias",))  # the batch norm that follows takes a bias away again
        assert before_a_norm or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("radix", [0, 2])
def test_outputs_do_not_depend_on_the_rest_of_the_batch_in_eval_mode(stem, radix):
    torch.manual_seed(0)
    network = randomised(build(tiny(stem=stem, radix=radix), 5)).double().eval()
    images = torch.randn(3, 3, 33, 33, dtype=torch.float64)
    with torch.no_grad():
        together, alone = network(images), network(images[1:2])
    assert together.shape == (3, 5)
    assert_near(together[1:2], alone)


def test_the_splits_of_split_attention_are_weighted_by_a_softmax_over_the_radix():
    stage = next(tiny(radix=4, cardinality=2, base_width=8).stages())
    module = SplitAttention(stage, 1)
    weights = module._weights(torch.randn(3, stage.bottleneck * 4, 1, 1)).view(3, 4, stage.bottleneck)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, stage.bottleneck))


# Initialisation


@pytest.mark.parametrize("name", ["resnext26_32x4d", "resnest26", "resnext29_8x14d_cifar"])
def test_convolutions_start_as_he_normal_by_the_fan_out_of_all_groups(name):
    torch.manual_seed(0)
    network = build(name)
    checked = 0
    for key, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() >= 2000:
            expected = math.sqrt(2 / (module.out_channels * module.kernel_size[0] * module.kernel_size[1]))
            tolerance = 5 / math.sqrt(2 * module.weight.numel())
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=tolerance), key
            assert abs(float(module.weight.detach().mean())) < 5 * expected / math.sqrt(module.weight.numel()), key
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("name", ["resnext26_32x4d", "resnest26", "resnext29_8x14d_cifar"])
def test_biases_start_at_zero_and_norms_as_the_identity(name):
    for module in build(name).modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            assert not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert not module.bias.any()


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("radix", [0, 2])
def test_with_the_last_scales_at_zero_every_block_is_its_shortcut(stem, radix):
    network = build(tiny(stem=stem, radix=radix, depths=(2, 3)), 5).eval()
    network.zero_last_gamma()
    blocks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    assert len(blocks) == 5
    for block in blocks:
        x = torch.randn(2, block.conv1.in_channels, 8, 8).relu()
        with torch.no_grad():
            expected = x if block.downsample is None else block.downsample(x).relu()
            torch.testing.assert_close(block(x), expected)


def test_without_shortcuts_the_last_scales_stay():
    network = build(tiny(shortcut=False), 5)
    network.zero_last_gamma()
    assert all(torch.all(m.bn3.weight == 1) for m in network.modules() if isinstance(m, Bottleneck))


# The builder


def test_build_takes_a_name_or_a_specification(no_initialisation):
    with torch.device("meta"):
        by_name, by_spec = build("resnest50_fast_4s2x40d"), build(parse_name("resnest50_fast_4s2x40d"))
    assert shapes(by_name) == shapes(by_spec)
    assert by_name.spec == by_spec.spec == parse_name("resnest50_fast_4s2x40d")


@pytest.mark.parametrize(("name", "classes"), [("resnet26", 1000), ("resnest14", 1000), ("resnext29_1x64d_cifar", 10)])
def test_the_number_of_classes_follows_the_kind_of_network_or_the_caller(name, classes, no_initialisation):
    with torch.device("meta"):
        assert build(name).fc.out_features == build(name).num_classes == classes
        assert build(name, 3).fc.out_features == 3


@pytest.mark.parametrize("classes", [0, -1])
def test_a_network_without_classes_is_refused(classes):
    with pytest.raises(ArchError, match="at least one"):
        build("resnet26", classes)


def test_an_unknown_network_is_refused():
    with pytest.raises(ArchError, match="did you mean 'resnet50'"):
        build("resnet50d")


def test_the_children_come_in_forward_order():
    names = [name for name, _ in build(tiny(depths=(1, 1, 1), widths=(32, 64, 128)), 5).named_children()]
    assert names == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "avgpool", "dropout", "fc"]


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("channels", [1, 4])
def test_a_network_may_have_other_input_channels(stem, channels):
    network = build(tiny(stem=stem), 5, channels)
    assert network.in_channels == channels
    assert network(torch.randn(2, channels, 33, 33)).shape == (2, 5)


def test_a_network_without_input_channels_is_refused():
    with pytest.raises(ArchError, match="0 input channels"):
        build("resnet26", 10, 0)


# Features

BACKBONES = ["resnext26_32x4d", "resnest14", "resnext29_8x14d_cifar"]


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained:UserWarning")  # of dropout, which eval mode leaves out
def test_torchvision_s_feature_extractors_take_each_stage(name, mode):
    network = build(name).train(mode)
    network.regularize(dropout=0.1)
    layers = {f"layer{index + 1}": f"stage {index}" for index in range(len(network.spec.depths))}
    images = torch.randn(2, 3, 64, 64)
    sides = [64 // stride for stride in network.strides]
    expected = [(2, width, side, side) for width, side in zip(network.spec.widths, sides, strict=True)]
    traced = create_feature_extractor(network, layers).train(mode)
    for extractor in (traced, IntermediateLayerGetter(network, layers)):
        found = extractor(images)
        assert list(found) == list(layers.values())
        assert [tuple(value.shape) for value in found.values()] == expected
    if not mode:
        taken = []
        network.get_submodule(list(layers)[-1]).register_forward_hook(lambda *call: taken.append(call[-1]))
        network(images)
        torch.testing.assert_close(found[list(found)[-1]], taken[0])


@pytest.mark.parametrize("name", BACKBONES)
def test_torchvision_s_feature_pyramid_takes_a_network_as_its_backbone(name):
    network = build(name)
    layers = {f"layer{index + 1}": str(index) for index in range(len(network.spec.depths))}
    pyramid = BackboneWithFPN(network, layers, list(network.spec.widths), 16)
    found = pyramid(torch.randn(2, 3, 64, 64))
    assert [found[key].shape[-1] for key in layers.values()] == [64 // stride for stride in network.strides]


def test_the_strides_are_those_of_each_stem():
    assert build(tiny(stem="cifar", depths=(1, 1, 1), widths=(16, 32, 64))).strides == (1, 2, 4)
    assert build(tiny(stem="deep")).strides == build(tiny(stem="imagenet")).strides == (4, 8)


# Regularisation

REGULAR = {
    "dropout": {"dropout": 0.5},
    "drop_block": {"drop_block": 0.3},
    "stochastic_depth": {"stochastic_depth": 0.5},
    "all": {"dropout": 0.2, "drop_block": 0.1, "stochastic_depth": 0.2},
}


def blocks_of(network):
    return [module for module in network.modules() if isinstance(module, Bottleneck)]


@pytest.mark.parametrize("radix", [0, 1, 2])
@pytest.mark.parametrize("options", REGULAR.values(), ids=REGULAR)
def test_regularisation_changes_training_alone_and_follows_torch_s_seed(options, radix):
    torch.manual_seed(0)
    plain = build(tiny(radix=radix), 5)
    network = copy.deepcopy(plain)
    network.regularize(**options)
    assert list(network.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in network.named_children()] == [name for name, _ in plain.named_children()]
    images = torch.randn(6, 3, 48, 48)
    plain.eval(), network.eval()
    assert torch.equal(network(images), plain(images))
    plain.train(), network.train()

    def seeded(seed):
        torch.manual_seed(seed)
        return network(images)

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))
    assert not torch.equal(seeded(1), plain(images))
    seeded(1).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    network.regularize()
    assert torch.equal(network(images), plain(images))


def test_regularisation_keeps_the_mode_that_the_network_is_in():
    network = build(tiny(), 5).eval()
    network.regularize(**REGULAR["all"])
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize(
    "options",
    [{"dropout": 1.0}, {"drop_block": -0.1}, {"stochastic_depth": math.nan}, {"drop_block": 0.1, "block_size": 2}],
)
def test_regularisation_out_of_range_is_refused(options):
    with pytest.raises(ConfigError, match=next(reversed(options))):
        build(tiny(), 5).regularize(**options)


def test_stochastic_depth_rises_linearly_to_the_last_block():
    network = build(tiny(depths=(1, 3)), 5)
    network.regularize(stochastic_depth=0.4)
    assert [block.stochastic_depth.p for block in blocks_of(network)] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_stochastic_depth_leaves_networks_without_shortcuts_as_they_are():
    network = build(tiny(shortcut=False), 5).train()
    images = torch.randn(4, 3, 32, 32)
    expected = network(images)
    network.regularize(stochastic_depth=0.9)
    assert torch.equal(network(images), expected)


def test_a_dropped_block_is_its_shortcut_for_that_image_alone():
    torch.manual_seed(0)
    network = build(tiny(depths=(2, 2)), 5).train()
    network.regularize(stochastic_depth=0.5)
    block = blocks_of(network)[-1]
    x = torch.randn(40, block.conv1.in_channels, 4, 4).relu()
    out = block(x)
    block.stochastic_depth = StochasticDepth(0.0, "row")
    branch = block.bn3(block.conv3(block.relu(block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x))))))))
    dropped = torch.tensor([torch.equal(a, b) for a, b in zip(out, x, strict=True)])
    assert 8 < dropped.sum() < 32
    torch.testing.assert_close(out[~dropped], (x + 2 * branch).relu()[~dropped])


@pytest.mark.parametrize(("depths", "expected"), [((2, 1, 3, 2), 5), ((2, 1), 3), ((2,), 2)])
def test_drop_block_is_in_the_last_two_stages(depths, expected):
    network = build(tiny(depths=depths, widths=(16, 32, 64, 128)[: len(depths)]), 5)
    network.regularize(drop_block=0.1)
    found = [isinstance(block.drop_block, DropBlock) for block in blocks_of(network)]
    assert found == [False] * (sum(depths) - expected) + [True] * expected


@pytest.mark.parametrize("radix", [0, 2])
def test_drop_block_follows_each_norm_or_the_split_attention(radix):
    network = build(tiny(radix=radix), 5).train()
    network.regularize(drop_block=0.1)
    block, called = blocks_of(network)[-1], []
    for name, module in block.named_children():
        module.register_forward_hook(lambda *_call, name=name: called.append(name))
    network(torch.randn(2, 3, 64, 64))
    middle = ["conv2", "drop_block"] if radix else ["conv2", "bn2", "drop_block", "relu"]
    assert called == [
        *("conv1", "bn1", "drop_block", "relu"), *middle, "conv3", "bn3", "drop_block", "stochastic_depth", "relu"
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 3, 5])
def test_drop_block_zeroes_whole_squares_of_about_the_share_asked_for(size):
    torch.manual_seed(0)
    out = drop_block(torch.ones(64, 32, 14, 14), torch.tensor(0.1), size)
    dropped = (out == 0).float()
    half = size // 2
    centres = -nn.functional.max_pool2d(-dropped, size, 1)  # 1 where a whole square is zero
    squares = nn.functional.max_pool2d(nn.functional.pad(centres, [2 * half] * 4), size, 1)
    assert torch.equal(squares, dropped)
    assert float(dropped.mean()) == pytest.approx(0.1, abs=0.015)  # squares overlap
    assert float(out.mean()) == pytest.approx(1, abs=1e-4)
    assert len(out.unique()) == 2


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (4, 4), (2, 5), (6, 1)])
def test_drop_block_takes_maps_smaller_than_the_block(shape):
    torch.manual_seed(0)
    out = drop_block(torch.ones(200, 8, *shape), torch.tensor(0.2), 7)
    assert out.shape == (200, 8, *shape)
    assert float((out == 0).float().mean()) == pytest.approx(0.2, abs=0.05)
    assert float(out.mean()) == pytest.approx(1, abs=1e-4)


def test_drop_block_with_everything_dropped_is_zero():
    assert not drop_block(torch.ones(2, 2, 3, 3), torch.tensor(1.0), 3).any()


def test_drop_block_keeps_precision_and_memory_layout():
    x = torch.randn(2, 8, 5, 5).to(torch.bfloat16, memory_format=torch.channels_last)
    out = drop_block(x, torch.tensor(0.1), 3)
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_the_share_of_drop_block_can_be_set_later():
    network = build(tiny(), 5).train()
    network.regularize(drop_block=0.2)
    images = torch.randn(2, 3, 64, 64)
    network.set_drop_block(0.0)
    expected = copy.deepcopy(network)
    expected.regularize()
    assert torch.equal(network(images), expected(images))
    network.set_drop_block(0.3)
    assert not torch.equal(network(images), expected(images))
    shares = [module.p.item() for module in network.modules() if isinstance(module, DropBlock)]
    assert len(shares) == 4 and shares == pytest.approx([0.3] * 4)


@pytest.mark.parametrize("radix", [0, 2])
def test_a_compiled_network_is_not_compiled_again_when_the_share_changes(radix):
    torch._dynamo.reset()
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    network = build(tiny(depths=(1, 1), radix=radix), 5).train()
    network.regularize(**REGULAR["all"])
    compiled = torch.compile(network, backend=backend, fullgraph=True)
    images = torch.randn(4, 3, 32, 32)
    outputs = []
    for step in range(10):
        network.set_drop_block(step / 20)
        torch.manual_seed(0)
        outputs.append(compiled(images))
        torch.manual_seed(0)
        torch.testing.assert_close(outputs[-1], network(images))
    assert len(graphs) == 1
    assert not torch.equal(outputs[0], outputs[-1])


# Freezing


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize(("upto", "children"), [("stem", 0), ("stage1", 1), ("stage2", 2)])
def test_training_leaves_what_is_frozen_as_it_was(upto, children, stem):
    torch.manual_seed(0)
    network = randomised(build(tiny(depths=(1, 1, 1), widths=(16, 32, 64), stem=stem, radix=2), 5)).train()
    network.freeze(upto)
    network.regularize(drop_block=0.2, stochastic_depth=0.2)
    frozen = ("conv1.", "bn1.", *(f"layer{n}." for n in range(1, children + 1)))
    before = copy.deepcopy(network.state_dict())
    images = torch.randn(4, 3, 32, 32)
    layer = "bn1" if not children else f"layer{children}"
    part = IntermediateLayerGetter(network, {layer: "out"})
    with torch.no_grad():
        first = part(images)["out"]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        network.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    after = network.state_dict()
    for key, value in after.items():
        assert torch.equal(value, before[key]) == key.startswith(frozen), key
    assert torch.equal(part(images)["out"], first)
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen), name


def test_what_is_frozen_stays_in_evaluation_mode_in_copies_and_inside_other_modules():
    network = build(tiny(), 5)
    network.freeze("stage1")
    outer = nn.Sequential(copy.deepcopy(network))
    outer.eval().train()
    found = {name for name, module in outer[0].named_children() if module.training}
    assert found == {"relu", "maxpool", "layer2", "avgpool", "dropout", "fc"}
    assert not any(module.training for module in outer[0].layer1.modules())


@pytest.mark.parametrize("upto", ["stage3", "layer1", "", "fc"])
def test_an_unknown_part_to_freeze_is_refused_with_those_there_are(upto):
    with pytest.raises(ArchError, match=rf"{upto!r} to freeze; it has stem, stage1, stage2$"):
        build(tiny(), 5).freeze(upto)
