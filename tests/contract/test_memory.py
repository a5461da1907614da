"""The predicted memory of a training step against what autograd really stores for the backward pass."""

import pytest
import torch
import torch.nn.functional as F

from nxt.arch.costs import cost
from nxt.arch.load import resolve
from nxt.models.network import build

SIZE, BATCH = 64, 2


def stored_bytes(network, batch):
    """Returns the bytes of all distinct tensors kept for the backward pass, without the parameters themselves."""
    known = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)  # alive: not reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = F.cross_entropy(network(batch), torch.zeros(len(batch), dtype=torch.long))
    assert loss.requires_grad
    return sum(size for place, (size, _) in kept.items() if place not in known)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        *((name, 1.16) for name in ("resnet50", "resnext50_32x4d", "resnext29_8x64d_cifar", "resnest50")),
        *((name, 1.16) for name in ("resnest50_fast_4s2x40d", "skresnext50_32x4d", "resnext50_128x1d_constant")),
        *((name, 1.16) for name in ("resnet18", "resnet20", "resnet18_preact", "resnet50_padded")),
        *((name, 1.31) for name in ("seresnet18", "seresnet50")),
    ],
)
def test_the_predicted_activations_are_what_autograd_stores(name, most):
    spec = resolve(name)
    network = build(spec, spec.classes).train()
    stored = stored_bytes(network, torch.randn(BATCH, 3, SIZE, SIZE))
    own = cost(spec, SIZE)
    predicted = own.step_memory(BATCH) - own.step_memory(0)
    assert 0.94 < stored / predicted < most


def test_weights_gradients_and_momentum_take_twelve_bytes_a_parameter():
    spec = resolve("resnext29_8x64d_cifar")
    network = build(spec, spec.classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    F.cross_entropy(network(torch.randn(2, 3, 8, 8)), torch.zeros(2, dtype=torch.long)).backward()
    optimizer.step()
    state = [optimizer.state[p]["momentum_buffer"] for p in network.parameters()]
    held = [t for p, momentum in zip(network.parameters(), state, strict=True) for t in (p, p.grad, momentum)]
    assert sum(t.nbytes for t in held) == cost(spec).step_memory(0)
