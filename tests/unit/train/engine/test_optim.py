"""Optimizers as recipes ask for them, and the moving average of weights against loops written by hand."""

import pytest
import torch
from near import assert_near
from torch import nn

from nxt.arch.spec import ArchSpec
from nxt.models.network import build
from nxt.train.engine import optim
from nxt.train.recipe import Recipe

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 4, "depths": [1, 1], "widths": [16, 32], "cardinality": 2, "base_width": 2}
)


def recipe(**changes):
    return Recipe(**{"epochs": 3, "batch": 16, "lr": 0.1, "weight_decay": 0.01, **changes})


def network():
    torch.manual_seed(0)
    return build(SPEC, 5)


def ids(parameters):
    return {id(parameter) for parameter in parameters}


def step(model, optimizer, seed=0):
    torch.manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()


def test_where_not_all_decays_what_has_one_dimension_is_spared():
    model = network()
    decayed, spared = optim.optimizer(model, recipe(decay_all=False)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2, 4} and {p.ndim for p in spared["params"]} == {1}
    assert ids(decayed["params"]) | ids(spared["params"]) == ids(model.parameters())
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def test_where_all_decays_there_is_one_group_of_everything():
    model = network()
    [group] = optim.optimizer(model, recipe(decay_all=True)).param_groups
    assert group["weight_decay"] == 0.01 and ids(group["params"]) == ids(model.parameters())


@pytest.mark.parametrize("decay_all", [False, True])
def test_what_is_frozen_is_left_out_and_stays(decay_all):
    model = network()
    model.freeze("stage1")
    optimizer = optim.optimizer(model, recipe(decay_all=decay_all))
    given = ids(p for group in optimizer.param_groups for p in group["params"])
    assert given == ids(p for p in model.parameters() if p.requires_grad)
    frozen = ids([*model.conv1.parameters(), *model.bn1.parameters(), *model.layer1.parameters()])
    assert frozen and not given & frozen
    before = {key: value.clone() for key, value in model.state_dict().items()}
    step(model.train(), optimizer)
    kept = ("conv1.", "bn1.", "layer1.")
    for key, value in model.state_dict().items():
        if key.startswith(kept):
            assert torch.equal(value, before[key]), key
    assert not torch.equal(model.fc.weight, before["fc.weight"])


def test_the_recipe_decides_which_optimizer_and_with_what():
    sgd = optim.optimizer(network(), recipe(momentum=0.7, nesterov=True, batch=32, lr_batch=16))
    assert isinstance(sgd, torch.optim.SGD)
    assert {(g["lr"], g["momentum"], g["nesterov"]) for g in sgd.param_groups} == {(0.2, 0.7, True)}
    plain = optim.optimizer(network(), recipe(momentum=0.0, nesterov=False))
    assert plain.param_groups[0]["momentum"] == 0 and not plain.param_groups[0]["nesterov"]
    adamw = optim.optimizer(network(), recipe(optimizer="adamw", betas=(0.8, 0.95)))
    assert isinstance(adamw, torch.optim.AdamW)
    assert {(g["lr"], g["betas"]) for g in adamw.param_groups} == {(0.1, (0.8, 0.95))}


def test_sgd_takes_the_step_of_the_papers():
    """Nesterov momentum with weight decay in the gradient, as Sutskever et al. 2013 in the form of Lua Torch."""
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    model = nn.ParameterList([weight])
    optimizer, expected, speed = optim.optimizer(model, recipe(momentum=0.9)), weight.detach().clone(), 0.0
    for number in range(4):
        gradient = torch.tensor([[0.5 * number, 1.0]], dtype=torch.float64)
        weight.grad = gradient.clone()
        optimizer.step()
        full = gradient + 0.01 * expected
        speed = 0.9 * speed + full
        expected = expected - 0.1 * (full + 0.9 * speed)
        assert torch.allclose(weight, expected, atol=1e-15)


# The moving average


def changed(model, seed):
    """Give a network other weights and other BN statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in [*model.parameters(), *model.buffers()]:
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator))
            else:
                value += 1
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_the_first_update_copies():
    model = network()
    average = optim.MovingAverage(model, 0.999)
    now = changed(model, 1)
    average.update(model)
    assert all(torch.equal(value, now[key]) for key, value in average.module.state_dict().items())


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_average_is_that_of_a_loop_by_hand_for_weights_and_bn_statistics(decay):
    model = network()
    average = optim.MovingAverage(model, decay)
    expected = {}
    for count in range(30):
        now = changed(model, count)
        average.update(model)
        used = min(decay, (1 + count) / (10 + count))
        for key, value in now.items():
            expected[key] = value if count == 0 else used * expected[key] + (1 - used) * value
    found = average.module.state_dict()
    floats = [key for key, value in found.items() if value.is_floating_point()]
    assert any("running_mean" in key for key in floats) and any("running_var" in key for key in floats)
    for key in floats:
        assert torch.allclose(found[key], expected[key], atol=1e-5), key


def test_the_decay_begins_low_and_rises_to_the_recipes():
    """Of a weight that jumps from 0 to 1, the average tells the decay of the next update."""
    model = nn.Linear(1, 1, bias=False)
    average, decays = optim.MovingAverage(model, 0.9), []
    with torch.no_grad():
        for _ in range(120):
            average.module.weight.zero_()
            model.weight.fill_(1.0)
            average.update(model)
            decays.append(1 - float(average.module.weight))
    assert decays[0] == 0 and decays[1] == pytest.approx(2 / 11) and decays[10] == pytest.approx(11 / 20)
    assert decays == sorted(decays) and decays[-1] == pytest.approx(0.9)


def test_averaging_leaves_the_network_as_it_is():
    model = network()
    now = changed(model, 1)
    average = optim.MovingAverage(model, 0.9)
    changed_again = changed(model, 2)
    average.update(model)
    average.update(model)
    assert all(torch.equal(value, changed_again[key]) for key, value in model.state_dict().items())
    assert not all(torch.equal(value, now[key]) for key, value in model.state_dict().items())


def test_an_average_that_goes_on_knows_how_far_it_was():
    model = network()
    whole, first = optim.MovingAverage(model, 0.99), optim.MovingAverage(model, 0.99)
    for seed in range(5):
        changed(model, seed)
        whole.update(model)
        first.update(model)
    second = optim.MovingAverage(model, 0.99)
    second.module.load_state_dict(first.module.state_dict())
    second.updates = first.updates
    for seed in range(5, 9):
        changed(model, seed)
        whole.update(model)
        second.update(model)
    for a, b in zip(whole.module.state_dict().values(), second.module.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_one_kernel_for_all_parameters_takes_the_steps_of_a_loop_over_them(name, layout):
    wanted = recipe(optimizer=name, lr=0.05, momentum=0.9, nesterov=name == "sgd", clip=1.0)
    # In double precision: AdamW takes whole steps also for gradients that are nothing but rounding.
    models = [network().double().to(memory_format=layout) for _ in range(2)]
    together = optim.optimizer(models[0], wanted)
    groups = []
    of = dict(zip(map(id, models[0].parameters()), models[1].parameters(), strict=True))
    for group in together.param_groups:
        settings = {key: value for key, value in group.items() if key not in ("params", "fused", "foreach")}
        groups.append({**settings, "params": [of[id(p)] for p in group["params"]]})
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[name]
    apart = kind(groups, lr=wanted.peak, foreach=False)
    for number in range(4):
        for model, optimizer in zip(models, (together, apart), strict=True):
            torch.manual_seed(number)
            images = torch.randn(4, 3, 8, 8, dtype=torch.float64).contiguous(memory_format=layout)
            optimizer.zero_grad()
            model(images).square().sum().backward()
            assert all(p.grad.stride() == p.stride() for p in model.parameters())
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    for own, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert_near(own, other)


def test_what_counts_is_copied_and_nothing_is_read_to_update():
    model = network()
    average = optim.MovingAverage(model, 0.5)
    for seed in range(4):
        now = changed(model, seed)
        average.update(model)
    counters = {key: value for key, value in average.module.state_dict().items() if not value.is_floating_point()}
    assert counters and all(torch.equal(value, now[key]) for key, value in counters.items())
    on_meta = network().to("meta")  # reading a value there raises
    average = optim.MovingAverage(on_meta, 0.5)
    for _ in range(2):
        average.update(on_meta)
    assert average.updates == 2
