"""Recorded passes: the numbers are those of eager ones, and eager ones are used wherever recording does not work.

There is no CUDA device here: a tape stands in for its graphs. Like them it works on the memory that it was recorded on.
"""

import dataclasses

import numpy as np
import pytest
import torch

from nxt.arch.spec import ArchSpec
from nxt.compute import cuda_graph as graph
from nxt.compute.cuda_graph import Replayed
from nxt.compute.mode import Compute, for_proxy
from nxt.data.dataset import Split
from nxt.data.preprocess import Preprocess
from nxt.data.resident import Batches
from nxt.models.network import build
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe

SPEC = ArchSpec(stem="cifar", stem_width=4, depths=(1, 2), widths=(16, 32), cardinality=2, base_width=2)
CPU = torch.device("cpu")


class Tape:
    """Records by running once; replays by running again, into the tensors of the first time."""

    def __init__(self, network, spoil=0.0):
        self.network, self.spoil, self.replays = network, spoil, 0

    def __call__(self, run):
        self.run, self.loss = run, run()
        self.gradients = [p.grad for p in self.network.parameters()]
        return self, self.loss

    def replay(self):
        self.replays += 1
        for parameter in self.network.parameters():
            parameter.grad = None
        self.loss.copy_(self.run())
        for own, parameter in zip(self.gradients, self.network.parameters(), strict=True):
            own.copy_(parameter.grad * (1 + self.spoil))
            parameter.grad = None


def trained(record=None, epochs=2, mixup=0.0, dropout=0.1, count=192, **changes):
    torch.manual_seed(0)
    network = build(SPEC, 3)
    network.regularize(dropout=dropout, drop_block=0.1, stochastic_depth=0.1)
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), rng.integers(0, 3, count))
    data = Batches(split, Preprocess(size=8, mean=(0.5,) * 3, std=(0.25,) * 3), CPU)
    recipe = Recipe(epochs=epochs, batch=32, lr=0.05, momentum=0.9, mixup=mixup, drop_block=0.1, **changes)
    tape = record and record(network)
    with pytest.MonkeyPatch.context() as patch:
        if tape is not None:
            patch.setattr(graph, "record_cuda", tape)
        compute = Compute(channels_last=False, graph=record is not None)
        made = Trainer(network, data, data, recipe, seed=1, compute=compute)
    reports = [dataclasses.replace(made.run_epoch(), seconds=0, images_per_second=0, wait=0) for _ in range(epochs)]
    return made, reports, network.state_dict(), tape


@pytest.mark.parametrize("changes", [{}, {"mixup": 0.2}, {"clip": 0.5}, {"ema": 0.9}], ids=str)
def test_recorded_passes_give_the_same_bits_as_eager_ones(changes):
    _, reports, weights, _ = trained(**changes)
    made, found, recorded, tape = trained(Tape, **changes)
    assert made._replayed.replaying and tape.replays == 12 - 3
    assert made.remark == ""
    assert found == reports
    assert all(torch.equal(recorded[key], value) for key, value in weights.items())


def test_without_a_cuda_device_passes_stay_eager_and_say_why():
    _, reports, weights, _ = trained()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tape, "__call__", lambda self, run: graph_of_cuda(run))
        made, found, recorded, _ = trained(Tape)
    assert not made._replayed.replaying
    assert made.remark.startswith("a pass could not be recorded")
    assert found == reports
    assert all(torch.equal(recorded[key], value) for key, value in weights.items())


graph_of_cuda = graph.record_cuda


def test_a_recording_that_gives_other_gradients_is_not_used():
    _, reports, weights, _ = trained()
    made, found, recorded, tape = trained(lambda network: Tape(network, spoil=0.1))
    assert not made._replayed.replaying and tape.replays == 1
    assert made.remark == "a recorded pass gave other gradients than an eager one"
    assert found == reports
    assert all(torch.equal(recorded[key], value) for key, value in weights.items())


def test_batches_of_another_shape_are_not_replayed():
    torch.manual_seed(0)
    network = build(SPEC, 3).eval()
    images, targets = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])

    def run(x, y):
        loss = torch.nn.functional.cross_entropy(network(x), y)
        loss.backward()
        return loss.detach()

    tape = Tape(network)
    passes = Replayed(run, network, tape)
    for count in (4, 4, 4, 4, 4, 3, 4):
        network.zero_grad()
        expected = torch.nn.functional.cross_entropy(network(images[:count]), targets[:count])
        torch.testing.assert_close(passes(images[:count], targets[:count]), expected.detach())
        assert all(p.grad is not None for p in network.parameters())
    assert tape.replays == 3  # when it was checked, and two more


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"accumulate": 4}], ids=str)
def test_steps_of_several_passes_stay_eager(changes):
    made, _, _, tape = trained(Tape, epochs=1, **changes)
    assert made._replayed is None and tape.replays == 0 and made.remark == ""


def test_proxies_are_recorded_on_a_gpu_alone():
    assert for_proxy(CPU) == Compute()
    assert str(Compute(graph=True)) == "channels last, fp32, CUDA graph"
