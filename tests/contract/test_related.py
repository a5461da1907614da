"""Networks that nxt does not build, and only compares with: their costs, against timm's code."""

import pytest
import timm
import torch
from torch import nn

from nxt.arch.costs import Cost
from nxt.arch.zoo import RELATED

AT_TIMM = {"200MF": "regnetx_002", "400MF": "regnetx_004", "600MF": "regnetx_006", "800MF": "regnetx_008"}


def counted(network, size):
    """Count a network's costs while it runs, in nxt's convention."""
    total = {"macs": 0, "acts": 0}

    def count(module, _, output):
        if isinstance(module, nn.Conv2d):
            total["acts"] += output.numel()
            total["macs"] += output.numel() * module.weight[0].numel()
        else:
            total["macs"] += module.weight.numel()

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, size, size))
    return Cost(params=sum(p.numel() for p in network.parameters()), **total)


@pytest.mark.parametrize("related", RELATED, ids=lambda related: related.name)
def test_the_cost_of_a_related_network_is_that_of_timms(related):
    network = timm.create_model(AT_TIMM[related.name.removeprefix("RegNetX-")])
    assert counted(network, related.size) == related.cost
    assert all(figure.size == related.size for figure in related.published)
