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
from torch import nn

from nxt.arch import STEMS, ArchSpec, Stage
from nxt.budget import Budget
from nxt.costs import Cost, cost
from nxt.errors import ArchError
from nxt.feasible import FeasibleSet
from nxt.models.check import counted
from nxt.models.network import Bottleneck, build
from nxt.models.split_attention import SplitAttention
from nxt.names import parse_name
from nxt.space import load_space
from nxt.zoo import ZOO

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import fvcore.nn  # noqa: F401  # warns of torch.jit.script where it is first imported

SPACES = ["smoke", "cifar", "imagenet", "resnest"]
INITIALISERS = ("kaiming_normal_", "kaiming_uniform_", "uniform_", "zeros_", "ones_")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Small networks gain nothing from threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_initialisation(monkeypatch):
    """Leave weights as they are allocated: their values do not matter where layers are only counted."""
    for name in INITIALISERS:
        monkeypatch.setattr(nn.init, name, lambda tensor, *_args, **_options: tensor)


def counted_on_meta(spec, size, classes):
    """Count like `counted`, by hooks alone and without computing anything."""
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
    """Give every parameter and every batch-norm statistic a value of its own, so that no two can be confused."""
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
from nxt.names import parse_name
print(counted(parse_name("resnext_1-1_w4_1x4d_cifar"), 8, 2).params)
"""


def test_counting_a_network_warns_of_nothing():
    command = [sys.executable, "-W", "error::FutureWarning", "-c", COUNT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
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
    # In double precision, because batch norms over two pooled images magnify rounding errors.
    theirs = randomised(reference(name)).double()
    ours = build(TIMM.get(name, name)).double()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 49, 49, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        for mode in (False, True):
            expected, found = theirs.train(mode)(images), ours.train(mode)(images)
            assert expected.std() > 1e-3
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    statistics = theirs.state_dict()
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, statistics[key], rtol=1e-6, atol=1e-6, msg=key)


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
    network = randomised(build(tiny(stem=stem, radix=radix), 5)).eval()
    images = torch.randn(3, 3, 33, 33)
    with torch.no_grad():
        together, alone = network(images), network(images[1:2])
    assert together.shape == (3, 5)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


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
    assert names == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "avgpool", "fc"]
