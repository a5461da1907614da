"""Networks on a GPU that is not there: torch computes shapes, types and devices as it would there, and no values.

Faults that only a GPU shows are found so: a tensor made on the CPU, an operation that needs a value, a type that
autocast does not carry on.
"""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nxt.arch.load import parse_name
from nxt.compute.mode import Compute
from nxt.models.network import build
from nxt.models.split_attention import _WeightedSum
from nxt.tasks.classification import Classification
from nxt.train.recipe import Recipe

GPU = torch.device("cuda", 0)
CIFAR = parse_name("resnext_1-1-1_w16_2x8d_cifar")
NETWORKS = [
    (CIFAR, 32),  # radix 0, down to maps of several pixels
    (CIFAR.replace(radix=1), 4),  # down to one pixel
    (parse_name("resnext_1-1-1-1_w16_2x8d"), 64),  # the stem of ImageNet
    (parse_name("resnest14"), 64),  # radix 2, deep stem, avd
    (parse_name("resnext_1-1_w16_2x8d_cifar_preact"), 16),
]


class OnGpu(TorchDispatchMode):
    """Fails where an operation gives a tensor that is not on the GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                assert tensor.device == GPU, f"{func} made a tensor on {tensor.device}"
        return result


@pytest.fixture
def gpu(monkeypatch):
    """Let torch take a GPU to be there; of the backward pass it has no engine without one."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(torch.Tensor, "backward", lambda tensor: None)
    monkeypatch.setattr(nn.Module, "to", lambda module, device: module)  # fake parameters cannot be moved
    with FakeTensorMode():
        yield GPU


def outputs(network):
    """Returns a list that each module's name, and the type and device of its output, are written to."""
    found = []
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _, __, out, name=name: found.append((name, out.dtype, out.device)))
    return found


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize(("spec", "size"), NETWORKS, ids=lambda value: getattr(value, "name", ""))
def test_a_pass_in_bf16_stays_on_the_gpu_and_reads_no_value(gpu, spec, size, last):
    compute, recipe = Compute(channels_last=last, precision="bf16"), Recipe(epochs=1, batch=4, lr=0.1)
    with gpu:  # made here, not the pass: what that makes must be put on the GPU by itself
        network = build(spec, 10)
        network.regularize(dropout=0.1, drop_block=0.1, stochastic_depth=0.1)
    for parameter in network.parameters():
        if last and parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    found = outputs(network)
    images = torch.empty(4, 3, size, size, device=gpu).contiguous(memory_format=compute.memory_format)
    with OnGpu(), compute.autocast(gpu):
        logits = network(images)
        loss = Classification(recipe, 10).loss(logits, torch.empty(4, dtype=torch.int64, device=gpu))
        loss.backward()
    inside = [row for row in found if row[0] not in ("fc", "")]  # the logits are in float32: in 16 bits they would tie
    assert len(inside) > 10 and [row for row in inside if row[1:] != (torch.bfloat16, gpu)] == []
    assert logits.shape == (4, 10) and logits.dtype == loss.dtype == torch.float32 and logits.device == gpu
    assert {tensor.device for tensor in (*network.parameters(), *network.buffers())} == {gpu}
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize(("radix", "kind"), [(1, torch.bfloat16), (2, torch.bfloat16), (2, torch.float32)], ids=str)
def test_the_gradient_of_split_attention_keeps_layout_type_and_device(gpu, radix, kind, last):
    layout = torch.channels_last if last else torch.contiguous_format
    x = torch.empty(4, radix * 8, 6, 6, dtype=kind, device=gpu).contiguous(memory_format=layout)
    weights = torch.empty(4, radix * 8, 1, 1, dtype=kind, device=gpu)
    grad = torch.empty(4, 8, 6, 6, dtype=kind, device=gpu)
    context = SimpleNamespace(saved_tensors=(x, weights), radix=radix)
    with OnGpu(), torch.no_grad():
        of_x, of_weights, _ = _WeightedSum.backward(context, grad.contiguous(memory_format=layout))
    assert (of_x.shape, of_x.stride(), of_x.dtype) == (x.shape, x.stride(), kind)
    assert (of_weights.shape, of_weights.dtype) == (weights.shape, kind)


def test_what_it_would_find_it_finds(gpu):
    x = torch.empty(4, 4, device=gpu)
    with pytest.raises(AssertionError, match="on cpu"), OnGpu():
        x + torch.ones(4).to(gpu)
    with pytest.raises(Exception, match=r"item|data-dependent|local_scalar"):
        float(F.relu(x).sum())
