"""The gate of a space whose networks carry a head: its table equals the closed form, and that the built network."""

import warnings

import numpy as np
import pytest
import torch

from nxt.arch.heads import Head
from nxt.errors import ArchError, ConfigError
from nxt.models.heads import build_with_head
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space


def counted(network, size):
    """Return fvcore's multiply-adds of the convolutions of a segmenter, and its parameters without the second head."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit.script, where fvcore is first imported
        from fvcore.nn import FlopCountAnalysis

    found = FlopCountAnalysis(network.model, torch.randn(1, 3, size, size))
    found.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    params = sum(p.numel() for name, p in network.named_parameters() if "aux_classifier" not in name)
    return found.by_operator()["conv"], params


@pytest.mark.parametrize(("head", "budget"), [("fcn", 60), ("deeplabv3", 230)])
def test_what_fits_with_a_head_is_what_the_built_networks_cost(head, budget):
    space = load_space("cifar").counted_at(40, 12).with_head(Head(head, 4))
    feasible = FeasibleSet(space, parse_budget({"flops": f"{budget}M"}))
    rng = np.random.default_rng(0)
    for _ in range(3):
        point = feasible.draw(rng)
        cost, table = space.cost(point), feasible.cost_table.costs(np.array([point]))[:, 0]
        assert table.tolist() == [cost.macs, cost.params, cost.acts]
        assert abs(cost.macs / (1e6 * budget) - 1) <= 0.08
        network = build_with_head(space.spec(point), head, 12, output_stride=4).eval()
        assert counted(network, 40) == (cost.macs, cost.params)


def test_a_narrower_pyramid_costs_what_it_is_built_as():
    space = load_space("cifar").counted_at(64, 5)
    wide, narrow = (space.with_head(Head("faster-rcnn", pyramid=width)) for width in (256, 32))
    point = tuple(0 for _ in space.axis_names)
    network = build_with_head(space.spec(point), "faster-rcnn", 5, pyramid=32)
    assert narrow.cost(point).params == sum(p.numel() for p in network.parameters()) < wide.cost(point).params


def test_heads_that_no_network_of_a_space_can_carry_are_refused():
    with pytest.raises(ArchError, match="output stride 16"):
        load_space("cifar").with_head(Head("fcn", 16))
    space = load_space("cifar")
    object.__setattr__(space, "latency", object())
    with pytest.raises(ConfigError, match="latencies are of classifiers, without a head fcn"):
        space.with_head(Head("fcn"))
