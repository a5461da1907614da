"""What is computed in another way for speed equals the plain way: outputs, gradients, memory layout, and in traces.

The plain ways are written out here, or are torch's, timm's and torchvision's modules with the same weights.
"""

import copy
import warnings

import pytest
import timm
import torch
import torchvision
from near import assert_near
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nxt.arch.spec import Stage
from nxt.models.convolution import Conv2d
from nxt.models.network import build
from nxt.models.split_attention import SplitAttention, weighted_sum

LAYOUTS = [torch.contiguous_format, torch.channels_last]
KINDS = [(1, 1), (1, 2), (2, 1), (2, 4), (4, 1), (4, 2)]  # radix, cardinality


pytestmark = pytest.mark.usefixtures("one_thread")


def split_attention(radix, cardinality=1):
    torch.manual_seed(0)
    return SplitAttention(Stage(0, 1, 1, 8, 16, cardinality, 8, radix), 1)


def noise(*shape, layout=torch.contiguous_format, dtype=torch.float64):
    x = torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))
    return x.to(memory_format=layout).requires_grad_()


def gradients(output, inputs):
    weights = torch.randn(output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(9))
    return torch.autograd.grad((output * weights).sum(), inputs)


def assert_gradients_near(found, expected):
    """Compares gradients, each at its own scale; those that are zero but for rounding, at 1e-3 of the largest.

    A bias before a batch norm has such a gradient.
    """
    largest = max(float(each.abs().max()) for each in expected)
    for own, other in zip(found, expected, strict=True):
        assert_near(own, other, max(float(other.abs().max()), 1e-3 * largest))


def plain_weighted_sum(x, weights, radix):
    width = x.shape[1] // radix
    return sum(x[:, r * width : (r + 1) * width] * weights[:, r * width : (r + 1) * width] for r in range(radix))


def plain_attention(module, x):
    """ResNeSt eq. 1 and 2, in the channel order of its released code, split by split and cardinal group by group."""
    radix, groups = module.radix, module.cardinality
    convolve = nn.functional.conv2d
    x = module.bn0(convolve(x, module.conv.weight, None, 1, 1, 1, groups * radix)).relu()
    width = x.shape[1] // radix
    pooled = sum(x.split(width, dim=1)).mean((2, 3), keepdim=True)
    hidden = module.bn1(convolve(pooled, module.fc1.weight, module.fc1.bias, groups=groups)).relu()
    logits = convolve(hidden, module.fc2.weight, module.fc2.bias, groups=groups)
    parts = []
    for group in logits.chunk(groups, dim=1):
        values = torch.stack(group.chunk(radix, dim=1))
        parts.append(values.sigmoid() if radix == 1 else values.softmax(dim=0))
    weights = torch.cat([torch.cat([part[r] for part in parts], dim=1) for r in range(radix)], dim=1)
    return plain_weighted_sum(x, weights, radix)


# Split attention


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("radix", [1, 2, 4])
def test_the_gradient_of_the_weighted_sum_is_that_of_finite_differences(radix, layout):
    x, weights = noise(2, 3 * radix, 3, 2, layout=layout), noise(2, 3 * radix, 1, 1)
    assert torch.autograd.gradcheck(lambda a, b: weighted_sum(a, b, radix), (x, weights))
    assert_near(weighted_sum(x, weights, radix), plain_weighted_sum(x, weights, radix))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("radix", "cardinality"), KINDS)
def test_split_attention_has_the_outputs_and_gradients_of_its_formula(radix, cardinality, layout):
    module = split_attention(radix, cardinality).double().to(memory_format=layout)
    inputs = [noise(16, 8 * cardinality, 5, 4, layout=layout), *module.parameters()]
    found, expected = module(inputs[0]), plain_attention(module, inputs[0])
    assert_near(found, expected)
    assert found.is_contiguous(memory_format=layout)
    assert_gradients_near(gradients(found, inputs), gradients(expected, inputs))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_of_the_weighted_sum_has_the_layout_of_its_input(layout):
    x, weights = noise(2, 8, 3, 5, layout=layout), noise(2, 8, 1, 1)
    of_x, of_weights = gradients(weighted_sum(x, weights, 2), (x, weights))
    assert of_x.is_contiguous(memory_format=layout) and of_weights.shape == weights.shape


def test_the_gradient_of_the_weights_alone_can_be_asked_for():
    x, weights = noise(2, 8, 3, 3).detach(), noise(2, 8, 1, 1)
    [found] = gradients(weighted_sum(x, weights, 2), [weights])
    [expected] = gradients(plain_weighted_sum(x, weights, 2), [weights])
    assert_near(found, expected)


def test_split_attention_works_in_bfloat16():
    module, x = split_attention(2), noise(16, 8, 5, 4, dtype=torch.float32)
    expected = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(x)
    assert found.dtype == torch.bfloat16
    assert_near(found, expected.bfloat16())
    for own, plain in zip(gradients(found.float(), list(module.parameters())), module.parameters(), strict=True):
        assert own.dtype == plain.dtype and own.isfinite().all()


# Convolutions of one pixel


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(
    ("kernel", "stride", "sides"),
    [(1, 1, (1, 1)), (1, 2, (1, 1)), (1, 2, (2, 2)), (1, 2, (2, 1)), (3, 1, (1, 1)), (3, 2, (1, 1)), (5, 1, (1, 1))],
)
def test_a_convolution_of_one_pixel_equals_torch_s(kernel, stride, sides, groups, layout):
    for bias in (False, True):
        own = Conv2d(8, 12, kernel, stride, kernel // 2, groups=groups, bias=bias).double().to(memory_format=layout)
        plain = nn.Conv2d(8, 12, kernel, stride, kernel // 2, groups=groups, bias=bias).double()
        plain.load_state_dict(own.state_dict())
        x = noise(3, 8, *sides, layout=layout)
        found, expected = own(x), plain(x)
        assert found.shape == (3, 12, 1, 1)
        assert_near(found, expected)
        assert_gradients_near(gradients(found, [x, *own.parameters()]), gradients(expected, [x, *plain.parameters()]))
        with torch.no_grad():
            assert_near(own(x), expected)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_a_convolution_of_more_pixels_is_torch_s_own(kernel, stride):
    own, plain = (kind(4, 4, kernel, stride, kernel // 2) for kind in (Conv2d, nn.Conv2d))
    plain.load_state_dict(own.state_dict())
    for sides in ((3, 3), (1, 3), (3, 1)):
        x = noise(2, 4, *sides, dtype=torch.float32)
        assert torch.equal(own(x), plain(x))


def test_counters_without_gradients_find_the_whole_kernel():
    own, plain = (kind(4, 4, 3, 1, 1) for kind in (Conv2d, nn.Conv2d))
    counts = []
    for module in (own, plain):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.zeros(2, 4, 1, 1))
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * 2 * 4 * 4 * 9


# Whole networks, at a size that ends in maps of one pixel


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("resnest26", lambda: timm.create_model("resnest26d", num_classes=7)),
        ("resnest50_fast_4s2x40d", lambda: timm.create_model("resnest50d_4s2x40d", num_classes=7)),
        ("resnext50_32x4d", lambda: torchvision.models.resnext50_32x4d(num_classes=7)),
    ],
)
def test_a_network_has_the_reference_s_gradients(name, reference, layout):
    torch.manual_seed(0)
    theirs = reference().double().train()
    ours = build(name, 7).double().to(memory_format=layout).train()
    ours.load_state_dict(theirs.state_dict())
    images, labels = noise(16, 3, 32, 32, layout=layout), torch.arange(16) % 7
    for network in (theirs, ours):
        nn.functional.cross_entropy(network(images), labels).backward()
    wanted = dict(theirs.named_parameters())
    keys, found = zip(*((key, parameter.grad) for key, parameter in ours.named_parameters()), strict=True)
    assert_gradients_near(found, [wanted[key].grad for key in keys])


# Traces


@pytest.mark.parametrize("radix", [1, 2])
def test_a_compiled_network_has_plain_operators_alone(radix):
    torch._dynamo.reset()
    operators = set()

    def backend(graph, _inputs):
        operators.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    module = split_attention(radix).double()
    x = noise(16, 8, 5, 4)
    expected = gradients(copy.deepcopy(module)(x), [x])
    found = gradients(torch.compile(module, backend=backend, fullgraph=True)(x), [x])
    assert_gradients_near(found, expected)
    assert operators and not any("autograd" in name or "WeightedSum" in name for name in operators), operators


@pytest.mark.parametrize("cardinality", [1, 2])
def test_an_exported_program_takes_any_batch(cardinality):
    module = split_attention(2, cardinality).eval()
    x = noise(3, 8 * cardinality, 4, 4, dtype=torch.float32).detach()
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    for images in (x, x[:2], torch.cat([x, x])):
        assert_near(program(images), module(images))


def test_a_network_traced_by_torch_fx_computes_and_trains_like_itself():
    network = build("resnest14", 5).double().train()
    traced = torch.fx.symbolic_trace(network)
    for size in (32, 64):
        images = noise(16, 3, size, size)
        assert_near(traced(images), network(images))
        assert_gradients_near(*(gradients(model(images), list(network.parameters())) for model in (traced, network)))


def test_a_network_traced_by_torch_jit_has_plain_operators_and_serves_all_sizes():
    network = build("resnest14", 5).double().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's word on its own tracer
        traced = torch.jit.trace(network, noise(2, 3, 32, 32).detach())
    assert "PythonOp" not in str(traced.inlined_graph) and "_WeightedSum" not in str(traced.inlined_graph)
    for batch, size in ((2, 32), (3, 64)):
        images = noise(batch, 3, size, size)
        assert_near(traced(images), network(images))
