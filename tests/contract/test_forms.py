"""The three forms of a ResNeXt block: equal outputs, gradients and multiply-adds (ResNeXt sec. 3.3, fig. 3)."""

import pytest
import torch
from torch import nn

from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError
from nxt.models.forms import converted
from nxt.models.network import build

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = {
    "plain": {},
    "cifar": {"stem": "cifar"},
    "one group": {"cardinality": 1},
    "groups by stage": {"cardinality": (4, 2), "base_width": (4, 8)},
    "constant groups": {"constant": True},
    "average pooling": {"avd": True, "avg_down": True},
    "average pooling before": {"avd": True, "avd_first": True},
    "squeeze-and-excitation": {"attention": "se"},
    "padded": {"padded": True},
    "no shortcut": {"shortcut": False},
}


def tiny(**changes):
    values = {"depths": (2, 2), "widths": (32, 64), "cardinality": 4, "base_width": 4, "stem_width": 16, **changes}
    return ArchSpec(**values)


def network_of(spec):
    """A network in form c, in float64, in which no two numbers are alike."""
    torch.manual_seed(0)
    network = build(spec, 5).double()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(0.1 * torch.rand_like(value))
    return network


@pytest.mark.parametrize("form", ["a", "b"])
@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_the_forms_compute_the_same(changes, form):
    spec = tiny(**changes)
    grouped = network_of(spec)
    other = build(spec, 5, form=form).double()
    other.load_state_dict(converted(grouped.state_dict(), spec, form))
    images = torch.randn(6, 3, 33, 33, dtype=torch.float64, requires_grad=True)
    for mode in (False, True):
        answers = []
        for network in (grouped.train(mode), other.train(mode)):
            network.zero_grad()
            images.grad = None
            out = network(images)
            nn.functional.cross_entropy(out, torch.arange(6) % 5).backward()
            gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
            answers.append((out.detach(), images.grad.clone(), gradients))
        torch.testing.assert_close(answers[1][:2], answers[0][:2], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(converted(answers[1][2], spec, "c"), answers[0][2], rtol=1e-9, atol=1e-9)
    back = converted(other.state_dict(), spec, "c")
    for key, value in grouped.state_dict().items():  # the statistics of BN too
        torch.testing.assert_close(back[key], value, rtol=1e-9, atol=1e-9)


def test_converting_there_and_back_changes_no_bit():
    spec = tiny(constant=True)
    state = network_of(spec).state_dict()
    for way in ("a", "b", "ab", "ba"):
        found = state
        for form in (*way, "c"):
            found = converted(found, spec, form)
        assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
    changed = converted(state, spec, "c")
    changed["conv1.weight"].zero_()
    assert state["conv1.weight"].any()


@pytest.mark.parametrize("form", ["a", "b", "c"])
def test_the_forms_multiply_and_weigh_the_same(form):
    spec = parse_name("resnext29_8x64d_cifar")
    macs = []
    with torch.device("meta"):
        network = build(spec, 10, form=form).eval()
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.register_forward_hook(lambda module, _, out: macs.append(module.weight[0].numel() * out.numel()))
        network(torch.empty(1, 3, 32, 32))
    assert sum(macs) == cost(spec).macs
    assert sum(parameter.numel() for parameter in network.parameters()) == cost(spec).params


@pytest.mark.parametrize("changes", [{"radix": 2}, {"preact": True}, {"attention": "sk"}])
def test_what_has_no_paths_is_refused(changes):
    for form in ("a", "b"):
        with pytest.raises(ArchError, match="has form c alone"):
            build(tiny(**changes), form=form)
    assert build(tiny(**changes), form="c").form == "c"
    with pytest.raises(ArchError, match="form 'd' is not one of a, b, c"):
        build(tiny(), form="d")
    with pytest.raises(ArchError, match="form c alone"):
        build("resnet18", form="a")
