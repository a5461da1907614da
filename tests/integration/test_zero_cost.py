"""benchmarks/zero_cost.py: scores of untrained networks are what their definitions say, and are judged as it says."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import nxt
from nxt.data.ref import DataRef
from nxt.data.sources import open_source

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import zero_cost
from zero_cost_parts import networks, scores

NAME = "resnext_1-1-1_w8_2s2x2d_cifar"


def batches(seed=0, count=2, images=6):
    rng = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(images, 3, 8, 8, generator=rng), torch.randint(0, 10, (images,), generator=rng))
        for _ in range(count)
    ]


def all_scores(network, given):
    return {
        **scores.synflow(network, 8),
        **scores.gradient_scores(network, given),
        **scores.batch_scores(network, given[0][0]),
    }


def tiny(seed=0):
    torch.manual_seed(seed)
    return nxt.build(NAME)


def linear(weight):
    layer = nn.Linear(*reversed(weight.shape), bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return nn.Sequential(nn.Flatten(), layer)


def test_scores_are_finite_and_decided_by_the_seed():
    one, again, other = (all_scores(tiny(seed), batches()) for seed in (0, 0, 1))
    assert set(one) == {"zico", "grad_norm", "snip", "naswot", "jacov", "synflow"}
    assert all(math.isfinite(value) for value in one.values())
    assert one == again
    assert all(one[name] != other[name] for name in one)


def test_scores_leave_the_weights_and_do_not_depend_on_what_ran_before():
    network = tiny()
    before = {name: value.clone() for name, value in network.named_parameters()}
    first = all_scores(network, batches())
    assert all_scores(network, batches()) == first  # also synflow, after passes that moved BN's statistics
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_gradient_scores_of_a_linear_layer():
    weight, given = torch.randn(10, 12, generator=torch.Generator().manual_seed(0)), []
    for images, labels in batches(count=3):
        given.append((images[:, :, :2, :2], labels))
    found = scores.gradient_scores(linear(weight), given)
    gradients = []
    for images, labels in given:  # of the cross entropy: (softmax - one-hot) times input
        inputs = images.flatten(1)
        wrong = (inputs @ weight.T).softmax(1) - nn.functional.one_hot(labels, 10)
        gradients.append((wrong.T @ inputs / len(labels)).double().numpy())
    sizes = np.abs(gradients)
    assert found["zico"] == pytest.approx(math.log((sizes.mean(0) / sizes.std(0)).sum()), rel=1e-3)
    assert found["grad_norm"] == pytest.approx(math.log(np.linalg.norm(gradients[0])), rel=1e-3)
    assert found["snip"] == pytest.approx(math.log(np.abs(weight.double().numpy() * gradients[0]).sum()), rel=1e-3)


def test_gradients_that_do_not_vary_add_nothing_to_zico():
    assert scores.gradient_scores(tiny(), batches(count=1) * 2)["zico"] == 0


def test_naswot_counts_the_relus_that_differ():
    network = nn.Sequential(nn.Flatten(), nn.ReLU())
    images = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 2.0, 1.0]]).view(2, 3, 1, 1)
    # Two of three differ: K is 3 on the diagonal and 1 beside it.
    assert scores.batch_scores(network, images)["naswot"] == pytest.approx(math.log(9 - 1))


def test_jacov_of_images_with_the_same_and_with_opposed_gradients():
    given = torch.rand(4, 3, 2, 2)
    k = 1e-5
    same = scores.batch_scores(linear(torch.randn(10, 12)), given)["jacov"]  # correlations of 1: eigenvalues 4, 0, 0, 0
    assert same == pytest.approx(-(math.log(4 + k) + 1 / (4 + k)) - 3 * (math.log(k) + 1 / k), rel=1e-3)
    apart = torch.zeros(2, 12)  # ReLUs let a half of the inputs through, each image another: correlation -1
    apart[0, :6], apart[1, 6:] = 1, 1
    network = nn.Sequential(nn.Flatten(), nn.ReLU())
    opposed = scores.batch_scores(network, apart.view(2, 3, 2, 2))["jacov"]
    assert opposed == pytest.approx(-(math.log(2 + k) + 1 / (2 + k)) - (math.log(k) + 1 / k), rel=1e-3)


def test_synflow_of_a_chain_is_its_flow_once_for_each_layer():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 10, bias=False))
    first, last = network[0].weight.detach().double(), network[3].weight.detach().double()
    flow = float((last.abs() @ first.abs().sum((1, 2, 3))).sum())
    found = scores.synflow(network, 2)["synflow"]
    assert found == pytest.approx(math.log(2 * flow))
    with torch.no_grad():
        network[3].weight.mul_(-2)  # signs do not count, and a layer twice as large doubles the flow
    assert scores.synflow(network, 2)["synflow"] == pytest.approx(found + math.log(2))


def test_synflow_beyond_double_precision_is_the_largest_number():
    network = linear(torch.ones(10, 12))
    flood = nn.Sequential(*[nn.Conv2d(3, 3, 1, bias=False) for _ in range(40)], network)
    for layer in list(flood)[:-1]:
        nn.init.constant_(layer.weight, 1e30)
    assert scores.synflow(flood, 2)["synflow"] == pytest.approx(math.log(sys.float_info.max))


def test_every_seed_scores_other_images_by_another_initialisation():
    source = open_source(DataRef("digits"))
    found = zero_cost.score([NAME], source, size=8, batch=6, seeds=2)
    assert found["values"].keys() == found["seconds"].keys() == {*all_scores(tiny(), batches())}
    assert all(len({value for seed in rows for value in seed}) == 2 for rows in found["values"].values())
    assert zero_cost.score([NAME], source, size=8, batch=6, seeds=2)["values"] == found["values"]


def test_what_the_costs_explain_is_taken_out_of_score_and_accuracy(monkeypatch):
    monkeypatch.setattr(zero_cost, "REDRAWS", 100)
    rng = np.random.default_rng(0)
    costs, own = np.exp(rng.normal(size=(24, 2))), rng.normal(size=24)
    accuracy = np.log(costs) @ [2.0, -1.0] + own
    tau, low, high = zero_cost.beyond(5 * own - np.log(costs) @ [30.0, 7.0], accuracy, costs)
    assert (tau, low, high) == pytest.approx((1, 1, 1))
    tau, low, high = zero_cost.beyond(np.log(costs) @ [2.0, -1.0] + 1e-3 * rng.normal(size=24), accuracy, costs)
    assert low < 0 < high


def test_the_interval_of_a_gain_knows_that_halves_overlap():
    mean, low, high = zero_cost.gain(np.array([1.0, 3.0]))
    assert (mean, mean - low) == pytest.approx((2, 12.7062 * math.sqrt(2) * math.sqrt(0.5 + 1)), rel=1e-4)
    assert high - mean == pytest.approx(mean - low)
    mean, low, _ = zero_cost.gain(np.array([1.0, 3.0]), overlap=0)
    assert mean - low == pytest.approx(12.7062, rel=1e-4)


@pytest.mark.filterwarnings("ignore:The optimal value found")  # noise at its bound
def test_an_input_that_says_the_accuracy_helps_the_model(monkeypatch):
    monkeypatch.setattr(zero_cost, "SPLITS", 10)
    rng = np.random.default_rng(0)
    target, plain = rng.normal(size=24), rng.random((24, 3))
    told = np.column_stack([plain, target + 0.2 * rng.normal(size=24)])
    error, tau = (zero_cost.predicted(told, target) - zero_cost.predicted(plain, target)).T
    assert zero_cost.gain(error)[2] < 0 < tau.mean()
    assert zero_cost.gain(zero_cost.left_out(told, target) - zero_cost.left_out(plain, target), overlap=0)[2] < 0


def test_the_population_is_described_as_the_sampler_would():
    found = networks.population("cifar-cpu")
    assert len(found.names) == len(set(found.names)) == 24
    assert ((found.inputs >= 0) & (found.inputs <= 1)).all()
    first = found.names.index("resnext_3-2-7_w8_2x2d_cifar")  # depths of 1 to 11
    assert found.inputs[first, :3] * 10 == pytest.approx([2, 1, 6])
    assert 1 - found.errors["cifar-cpu"][first] == pytest.approx(0.5335)
    assert found.known["size-16, epoch 8 of 8"][first] == pytest.approx(0.39925)


def test_published_networks_are_those_trained_on_all_three_and_not_too_large(tmp_path):
    lines = ["name,dataset,depth,cardinality,bottleneck_width,top1_err,params,macs_M"]
    for dataset, error in (("cifar10", 4), ("cifar100", 22), ("svhn", 3)):
        lines += [f"ResNeXt-20 (1x64d),{dataset},20,1,64,{error},3446602,538.36"]
        lines += [f"ResNeXt-20 (2x32d),{dataset},20,2,32,{error + 1},2672458,425.15"]
        lines += [f"ResNeXt-29 (16x64d),{dataset},29,16,64,2.41,68155210,10709.34"]
    lines += ["ResNeXt-20 (4x16d),cifar10,20,4,16,4.7,2285386,368.55"]
    lines += ["ResNeXt-14 (32x4d),imagenet1k,14,32,4,29.95,9411880,1603.46", "ResNet-20,cifar10,20,,,5.97,272474,41.29"]
    (tmp_path / "imgclsmob_resnetlike.csv").write_text("\n".join(lines))
    found = networks.published(tmp_path)
    assert found.names == ["resnext20_1x64d_cifar", "resnext20_2x32d_cifar"]
    assert found.errors["cifar100"] == pytest.approx([0.22, 0.23])
    assert found.costs()["params"].tolist() == [3446602, 2672458]
    assert found.inputs.tolist() == [[0, 0, 1, 1, 1, 0], [0, 1, 0, 0, 0, 0]]  # as many activations


@pytest.mark.filterwarnings("ignore:The optimal value found")  # noise at its bound
def test_what_is_judged_is_printed(monkeypatch):
    monkeypatch.setattr(zero_cost, "SPLITS", 2)
    monkeypatch.setattr(zero_cost, "REDRAWS", 10)
    given = networks.population("cifar-cpu")
    accuracy = 1 - given.errors["cifar-cpu"]
    found = {"values": {"exact": [accuracy.tolist(), accuracy.tolist()]}, "seconds": {"exact": 1.5}}
    rows = {row["name"]: row for row in zero_cost.judge(given, found, "cifar-cpu")}
    assert rows["exact"]["tau"][0] == pytest.approx(1)
    assert rows["exact"]["beyond_costs"][0] == pytest.approx(1)
    assert rows["exact"]["halves_error"][0] < 0 and rows["exact"]["left_out_error"][0] < 0
    lines = {row["name"]: zero_cost.line(row) for row in rows.values()}
    assert lines["exact"][:5] == ["exact", "3.0", "1.00 (1.00 to 1.00)", "1.00", "1.00 (1.00 to 1.00)"]
    assert lines["macs"][:3] == ["macs", "0.0", "0.25 (-0.07 to 0.53)"]  # as results/populations/cifar-cpu.json has it
    assert len({len(cells) for cells in lines.values()}) == 1
